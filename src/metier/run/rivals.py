"""Other ways of adapting that learn from the same examples: what each gives at every size of a curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metier.evaluation.averaged import AVERAGE
from metier.evaluation.evidence import against, read_predictions
from metier.evaluation.groups import in_groups
from metier.evaluation.scores import Prediction
from metier.recipe import Adapt, Recipe
from metier.tasks import Example

Learn = Callable[[Recipe, Path], Path]
"""Carries out a recipe in a run directory of its own; stages that are done are not repeated."""


def rival_recipe(recipe: Recipe, adapt: Adapt) -> Recipe:
    """``recipe`` adapted in another way, with nothing else to measure."""
    changes = {"adapt": adapt, "seeds": None, "search": None, "curve": None, **unmeasured(recipe)}
    return recipe.model_copy(update=changes)


def unmeasured(recipe: Recipe, systems: Sequence[str] = ()) -> dict[str, Any]:
    """What a recipe that is carried out again for one score leaves out: all that is measured besides ``systems``."""
    measure = recipe.measure.model_copy(update={"systems": list(systems), "generation": False})
    return {"measure": measure, "retention": None, "strategies": None}


def learn_rivals(rivals: Mapping[str, Recipe], size: int, path: Path, learn: Learn) -> dict[str, Path]:
    """A run directory for each rival, from ``size`` examples, below ``path/curve``."""
    return {name: learn(recipe, path / "curve" / name / str(size)) for name, recipe in rivals.items()}


def rival_differences(
    folder: Path,
    rivals: Mapping[str, Path],
    task: str,
    labels: list[str],
    metric: str,
    seed: int,
    test: Sequence[Example] = (),
) -> dict[str, Any]:
    """The specialist's metric minus each rival's on the same test examples, with interval; nothing where the metric is
    not one of labels.

    ``test`` knows which examples belong together: the interval is over their groups.
    """
    if metric == AVERAGE or not labels:
        return {}
    mine = in_groups(_answers(folder, task), test)
    pairs = {
        name: against(mine, _answers(other, task), labels=labels, metric=metric, seed=seed)
        for name, other in rivals.items()
    }
    return {name: pair["difference"] for name, pair in pairs.items()}


def _answers(folder: Path, task: str) -> list[Prediction]:
    file = folder / "evidence" / "predictions" / f"{task}.specialist.parquet"
    return [prediction for prediction in read_predictions(file) if prediction.split == "test"]
