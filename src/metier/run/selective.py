"""What a specialist is given so that it knows when to abstain, and what that does on examples it has not seen.

A demand sets half of the validation part aside, as ``calibration``: nothing else is chosen there, so that its answers
are like those to new texts. Without a demand the thresholds of sets come from the validation part, which also chose the
training step and the temperature, so that its answers look a little better; the test part says how much that matters.

Thresholds ask for independent examples. Of examples that come in groups one a group is taken, drawn by the seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.evaluation.calibration import apply_temperature, log_probabilities, probability_matrix
from metier.evaluation.confidence import Rows, at_temperature
from metier.evaluation.conformal import Conformal, calibrate, measure_sets
from metier.evaluation.groups import groups_of, one_of_each
from metier.evaluation.scores import Prediction
from metier.evaluation.selective import CANDIDATES, Promise, fewest_all_right
from metier.files import write_json
from metier.recipe import Recipe
from metier.recipe.selective import Selective
from metier.run.data import Data
from metier.run.scoring import fitted_temperature
from metier.tasks import Task
from metier.tasks.splits import CALIBRATION


def check_demand(recipe: Recipe, data: Data) -> list[str]:
    """What is to be said of a recipe's demand before anything is done: where it does not reach, or cannot be shown.

    Errors: :class:`MetierError` where answers are written out, and so carry no probability.
    """
    demand = recipe.selective
    if demand is None:
        return []
    if data.task.written:
        raise MetierError(
            f"a specialist for {data.task.kind} cannot abstain: its answers are written out, and carry no probability",
            where="recipe, selective",
            fix="leave the field out",
        )
    told = [_OF_STRATEGIES] if recipe.strategies else []
    needed = fewest_all_right(demand.accuracy, (1 - demand.confidence) / CANDIDATES)
    examples = data.part(CALIBRATION)
    have = len({("group", e.group) if e.group else ("id", e.id) for e in examples})
    if have >= needed:
        return told
    kind = "examples" if have == len(examples) else "groups of examples"
    return [
        *told,
        f"an accuracy of {demand.accuracy:g} cannot be shown on {have} {kind} (half of the validation part), even if "
        f"all are right: it takes {needed}; the specialist will abstain from everything",
    ]


_OF_STRATEGIES = (
    "the demand on accuracy is for what the specialist answers by likelihood, as predict and serve do; strategies are "
    "asked on the test part alone: scores.json says what deferring by their agreement buys there, and promises nothing"
)


def write_calibration(
    folder: Path, task: Task, predictions: Sequence[Prediction], demand: Selective | None, seed: int
) -> dict[str, Any]:
    """Write a specialist's ``calibration.json``: the temperature that it divides its log-probabilities by, and the
    thresholds of its answers.

    Returns:
        what belongs into its entry of ``scores.json``.
    """
    validation = [p for p in predictions if p.split == "validation"]
    if not validation:
        nothing = {"temperature": 1.0, "fitted_on": 0, "warning": "there was no validation part to fit it on"}
        write_json(folder / "calibration.json", nothing)
        return {}
    temperature = fitted_temperature(task, validation)
    shipped, measured = calibrate_answers(predictions, task.labels, temperature.served, demand, seed)
    about = {"temperature": temperature.served, "fitted_on": len(validation), "warning": temperature.warning}
    write_json(folder / "calibration.json", about | shipped)
    return measured


def calibrate_answers(
    predictions: Sequence[Prediction], labels: Sequence[str], temperature: float, demand: Selective | None, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Conformal thresholds and the demanded one from calibration answers, both measured on test answers.

    Without a calibration part they come from validation. Of answers in groups one a group is taken.

    Returns:
        what belongs into the specialist's ``calibration.json``, and into its entry of ``scores.json``.
    """
    parts = {part: [p for p in predictions if p.split == part] for part in (CALIBRATION, "validation", "test")}
    part = parts[CALIBRATION] or parts["validation"]
    held = one_of_each(part, seed)
    rows = calibrated(held, labels, temperature)
    conformal = calibrate(rows, _gold(held, labels))
    promise = Promise.make(rows, [p.correct for p in held], **demand.model_dump()) if demand else None
    if promise and len(held) < len(part):
        promise = replace(promise, drawn_from=len(part))
    shipped = {"conformal": conformal.to_json(), "selective": promise and promise.to_json()}
    return shipped, measure_shipped(conformal, promise, parts["test"], labels, temperature, seed)


def measure_shipped(
    conformal: Conformal | None,
    promise: Promise | None,
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    temperature: float,
    seed: int,
) -> dict[str, Any]:
    """``conformal`` and ``selective`` of an entry: what a specialist's thresholds do on examples it has not seen."""
    rows, groups = calibrated(predictions, labels, temperature), groups_of(predictions)
    found: dict[str, Any] = {}
    if conformal:
        gold = _gold(predictions, labels)
        found["conformal"] = measure_sets(conformal, rows, gold, names=labels or None, groups=groups, seed=seed)
    if promise:
        measured = promise.measure(rows, [p.correct for p in predictions], groups)
        found["selective"] = {**promise.to_json(), "test": measured}
    return found


def _gold(predictions: Sequence[Prediction], labels: Sequence[str]) -> list[int]:
    """The right answers' places: among the labels, or among the options of a question, which are known by theirs."""
    return [list(labels).index(p.gold) if labels else int(p.gold) for p in predictions]


def calibrated(predictions: Sequence[Prediction], labels: Sequence[str], temperature: float) -> Rows:
    """Probabilities as the specialist serves them, (n, labels); without labels a row for the options of a question."""
    if not labels:
        return at_temperature([list(p.probabilities.values()) for p in predictions], temperature)
    return apply_temperature(
        log_probabilities(probability_matrix([p.probabilities for p in predictions], labels)), temperature
    )
