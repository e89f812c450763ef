"""The same recipe again: with other seeds, on other bases, with each task of a mixture alone, from fewer examples."""

from __future__ import annotations

import math
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.evaluation import times
from metier.evaluation.evidence import read_scores
from metier.evaluation.written import NOT_APPLICABLE
from metier.files import write_json
from metier.recipe import Adapt, Recipe
from metier.run.mixture import alone
from metier.run.rivals import learn_rivals, rival_differences, rival_recipe, unmeasured
from metier.tasks import Example

Carry = Callable[[Recipe, Path], Path]
"""Carries out a recipe in a run directory of its own; stages that are done are not repeated."""

FEWEST_STEPS = 60
"""Optimizer steps that the smallest set is given: a handful of steps would measure the schedule, not the data."""


def with_other_seeds(recipe: Recipe, path: Path, task: str, metric: str, carry: Carry) -> None:
    """Train once with each further seed in ``seeds/<n>`` and write mean and spread to ``evidence/seeds.json``."""
    assert recipe.seeds is not None
    found = [{"seed": recipe.seeds[0], **_score(path, task, "specialist", metric)}]
    for seed in recipe.seeds[1:]:
        changes: dict[str, Any] = {"seed": seed, "seeds": None, **unmeasured(recipe)}
        if recipe.mix:
            changes["mix"] = recipe.mix.model_copy(update={"alone": False})
        folder = carry(recipe.model_copy(update=changes), path / "seeds" / str(seed))
        found.append({"seed": seed, **_score(folder, task, "specialist", metric)})
    write_json(path / "evidence" / "seeds.json", {"task": task, "metric": metric, "runs": found, **spread(found)})


def spread(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Mean, sample standard deviation and range of the runs' values."""
    values = [float(run["value"]) for run in runs]
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values),
        "min": min(values),
        "max": max(values),
    }


def each_alone(recipe: Recipe, path: Path, names: Sequence[str], carry: Carry) -> None:
    """Train an adapter for each task of the mixture alone; its answers become the system ``alone``."""
    for number, name in enumerate(names):
        _as_system(carry(alone(recipe, number), path / "alone" / name), path, name, "alone")


def on_other_bases(recipe: Recipe, path: Path, task: str, bases: Mapping[str, str], carry: Carry) -> None:
    """Learn the task in the same way on each of ``bases``, in ``beside/<name>``: a system of that name."""
    plain: dict[str, Any] = dict.fromkeys(("pretrain", "corpus", "tokenizer", "seeds", "search", "curve"))
    if recipe.mix:
        plain["mix"] = recipe.mix.model_copy(update={"alone": False})
    plain |= unmeasured(recipe)
    for name, base in bases.items():
        own = recipe.model_copy(update={**plain, "base": base})
        _as_system(carry(own, path / "beside" / name), path, task, name)


def _as_system(folder: Path, path: Path, task: str, system: str) -> None:
    answers = Path("evidence") / "predictions"
    found, wanted = folder / answers / f"{task}.specialist.parquet", path / answers / f"{task}.{system}.parquet"
    if times.seconds_file(found).exists():
        shutil.copyfile(times.seconds_file(found), times.seconds_file(wanted))
    shutil.copyfile(found, wanted)


def sizes_up_to(count: int, smallest: int = 64) -> list[int]:
    """Doubling from ``smallest``, the last one being all ``count`` examples."""
    doubled = [smallest * 2**power for power in range(max(0, math.ceil(math.log2(max(count, 1) / smallest))))]
    return [*(size for size in doubled if size < count), count]


def from_fewer(
    recipe: Recipe,
    path: Path,
    task: str,
    metric: str,
    count: int,
    carry: Carry,
    sizes: Sequence[int] | None = None,
    labels: Sequence[str] = (),
    test: Sequence[Example] = (),
) -> Path:
    """Learn from 64, 128, … examples in ``curve/<n>`` and write every system's scores to ``evidence/curve.json``.

    The smaller sets are parts of the larger ones and keep the labels' proportions; test and validation stay the same.
    The run in ``path`` itself is the last point. The rivals of the recipe's curve learn from the same examples, all of
    them too, in ``curve/<name>/<n>``.

    Args:
        labels: of the task, for the differences to the rivals; none where answers are written out.
        test: the test part, whose groups the intervals of these differences are over.

    Errors: :class:`MetierError` for sizes that the training part does not have.
    """
    chosen = sorted(set(sizes or sizes_up_to(count)) | {count})
    check_sizes(chosen, count)
    kept = [name for name in ("tfidf", "base-fewshot") if name in recipe.measure.systems]
    rivals = {
        name: rival_recipe(recipe, adapt) for name, adapt in (recipe.curve.rivals if recipe.curve else {}).items()
    }
    points: list[dict[str, Any]] = []
    for size in chosen:
        folder = path if size == count else carry(_smaller(recipe, size, kept), path / "curve" / str(size))
        measured = [name for name in (*kept, "specialist") if _applies(folder, task, name)]
        systems = {name: _score(folder, task, name, metric) for name in measured}
        others = {name: other if size == count else _smaller(other, size, []) for name, other in rivals.items()}
        folders = learn_rivals(others, size, path, carry)
        systems |= {name: _score(other, task, "specialist", metric) for name, other in folders.items()}
        gaps = rival_differences(folder, folders, task, list(labels), metric, recipe.seed, test)
        points.append({"examples": size, "systems": systems, "against": {**_against(folder, task), **gaps}})
    everywhere = set.intersection(*(set(point["systems"]) for point in points))
    for point in points:
        point["systems"] = {name: score for name, score in point["systems"].items() if name in everywhere}
    target = path / "evidence" / "curve.json"
    methods = {"specialist": recipe.adapt.method, **{name: other.adapt.method for name, other in rivals.items()}}
    found = {"task": task, "metric": metric, "methods": methods, "points": points, "wins_from": wins_from(points)}
    write_json(target, found)
    return target


def check_sizes(sizes: Sequence[int], count: int) -> None:
    """Errors: :class:`MetierError` for sizes that a training part of ``count`` examples does not have."""
    if min(sizes) < 2 or max(sizes) > count:
        fix = f"give sizes from 2 to {count}"
        raise MetierError(f"the training part has {count} examples", where="recipe, curve.sizes, or --sizes", fix=fix)


def _smaller(recipe: Recipe, size: int, systems: Sequence[str]) -> Recipe:
    changes = {} if recipe.adapt.steps else _enough_steps(recipe.adapt, size)
    return recipe.model_copy(
        update={
            "split": recipe.split.model_copy(update={"most_train": size}),
            "adapt": recipe.adapt.model_copy(update=changes),
            "seeds": None,
            "mix": None,
            "curve": None,
            **unmeasured(recipe, systems),
        }
    )


def _enough_steps(adapt: Adapt, size: int) -> dict[str, int]:
    epochs = max(adapt.epochs, math.ceil(FEWEST_STEPS / math.ceil(size / adapt.batch_size)))
    validations = max(1, round(adapt.epochs * adapt.validations_per_epoch / epochs))
    return {"epochs": epochs, "validations_per_epoch": validations}


def wins_from(points: Sequence[dict[str, Any]]) -> int | None:
    """The smallest size from which on the specialist beats TF-IDF at every size, each beyond chance (95 %)."""
    first = None
    for point in reversed(points):
        found = point["against"].get("tfidf")
        if not found or found["low"] <= 0:
            break
        first = int(point["examples"])
    return first


def _applies(folder: Path, task: str, system: str) -> bool:
    """Whether the system can answer such a task, with these prompts."""
    return bool(read_scores(folder / "evidence" / "scores.json")[task][system].get("status") != NOT_APPLICABLE)


def _score(folder: Path, task: str, system: str, metric: str) -> dict[str, Any]:
    entry = read_scores(folder / "evidence" / "scores.json")[task][system]
    if entry.get("status") != "ok":
        raise MetierError(f"{system} was not scored: {entry.get('reason')}", where=str(folder))
    found: dict[str, Any] = entry["metrics"][metric]
    return found


def _against(folder: Path, task: str) -> dict[str, Any]:
    entry = read_scores(folder / "evidence" / "scores.json")[task]["specialist"]
    return {name: pair["difference"] for name, pair in entry.get("against", {}).items() if "difference" in pair}
