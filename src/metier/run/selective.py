"""What a specialist is given so that it knows when to abstain, and what that does on examples it has not seen.

A demand sets half of the validation part aside, as ``calibration``: nothing else is chosen there, so that its answers
are like those to new texts. Without a demand the thresholds of sets come from the validation part, which also chose the
training step and the temperature, so that its answers look a little better; the test part says how much that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metier.errors import MetierError
from metier.evaluation.calibration import apply_temperature, log_probabilities, probability_matrix
from metier.evaluation.confidence import Rows, at_temperature
from metier.evaluation.conformal import Conformal, calibrate, measure_sets
from metier.evaluation.scores import Prediction
from metier.evaluation.selective import CANDIDATES, Promise, fewest_all_right
from metier.recipe import Recipe
from metier.recipe.selective import Selective
from metier.run.data import Data
from metier.tasks.splits import CALIBRATION


def check_demand(recipe: Recipe, data: Data) -> list[str]:
    """What is to be said of a recipe's demand before anything is done.

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
    needed = fewest_all_right(demand.accuracy, (1 - demand.confidence) / CANDIDATES)
    have = len(data.part(CALIBRATION))
    if have >= needed:
        return []
    return [
        f"an accuracy of {demand.accuracy:g} cannot be shown on {have} examples (half of the validation part), even if "
        f"all are right: it takes {needed}; the specialist will abstain from everything"
    ]


def calibrate_answers(
    predictions: Sequence[Prediction], labels: Sequence[str], temperature: float, demand: Selective | None, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Conformal thresholds and the demanded one from calibration answers, both measured on test answers.

    Without a calibration part they come from validation.

    Returns:
        what belongs into the specialist's ``calibration.json``, and into its entry of ``scores.json``.
    """
    parts = {part: [p for p in predictions if p.split == part] for part in (CALIBRATION, "validation", "test")}
    held = parts[CALIBRATION] or parts["validation"]
    rows = calibrated(held, labels, temperature)
    conformal = calibrate(rows, _gold(held, labels))
    promise = Promise.make(rows, [p.correct for p in held], **demand.model_dump()) if demand else None
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
    rows = calibrated(predictions, labels, temperature)
    found: dict[str, Any] = {}
    if conformal:
        gold = _gold(predictions, labels)
        found["conformal"] = measure_sets(conformal, rows, gold, names=labels or None, seed=seed)
    if promise:
        found["selective"] = {**promise.to_json(), "test": promise.measure(rows, [p.correct for p in predictions])}
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


def in_words(found: dict[str, Any]) -> str:
    """What became of a demand, as one line: of the entry ``selective``."""
    demand = f"accuracy ≥ {found['accuracy']:g} with {found['confidence']:.0%} confidence"
    if found["threshold"] is None:
        return f"{demand}: no threshold promises it ({found['reason']}), so it abstains from everything"
    test, told = found["test"], f"{found['by']} ≥ {found['threshold']:.3f}"
    if test["accuracy"] is None:
        return f"{demand}: {told}, and none of these examples reaches it"
    score, coverage = test["accuracy"], test["coverage"]
    return (
        f"{demand}: answers where {told}, {coverage['value']:.1%} of {coverage['n']}; accuracy {score['value']:.3f} "
        f"[{score['low']:.3f}, {score['high']:.3f}] there; {HELD[test['held']]}"
    )


HELD = {
    "shown": "the demand held beyond chance",
    "yes": "the demand held",
    "not refuted": "below the demand, but within chance of it",
    "no": "the demand did not hold",
    "nothing answered": "nothing was answered",
}
