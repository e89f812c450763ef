"""Entries of ``scores.json`` for tasks whose answers are written out: extraction and generation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from metier.evaluation.evidence import head, pair_record, paired, speed
from metier.evaluation.extraction import (
    entity_f1_difference,
    exact,
    exact_match,
    extraction_metrics,
    read_golds,
    same_entities,
)
from metier.evaluation.groups import groups_of
from metier.evaluation.paired import accuracy_difference, mcnemar_exact
from metier.evaluation.scores import Prediction, Score
from metier.tasks import parse_entities

LEFT_OUT = "its answers are written out, token by token: there is no probability of an answer to be measured by"
NOT_APPLICABLE = "not applicable"


def not_applicable(reason: str) -> dict[str, Any]:
    """The entry of a system that cannot answer this kind of task: neither scored nor failed."""
    return {"status": NOT_APPLICABLE, "reason": reason}


def is_right(kind: str, prediction: Prediction) -> bool:
    """Whether a written answer is the right one: just the right entities, or the same text or number."""
    if kind == "extraction":
        [gold] = read_golds([prediction.gold])
        return prediction.answer is not None and same_entities(gold, parse_entities(prediction.answer))
    return exact(prediction.gold, prediction.answer)


def evaluate_written(
    kind: str,
    predictions: Sequence[Prediction],
    *,
    seed: int,
    types: Collection[str] = (),
    others: Mapping[str, Sequence[Prediction]] | None = None,
) -> dict[str, Any]:
    """One system's entry in ``scores.json``; ``left_out`` says which sections do not apply, and why.

    Args:
        kind: ``extraction`` or ``generation``.
        types: the entity types there are.
        others: systems to hold this one against, by name, on the same examples.

    Errors: :class:`MetierError` for nothing to score, a right answer in another form, other examples.
    """
    golds, answers = [p.gold for p in predictions], [p.answer for p in predictions]
    groups = groups_of(predictions)
    if kind == "extraction":
        read = [None if answer is None else parse_entities(answer, types) for answer in answers]
        scores = extraction_metrics(read_golds(golds, types), read, seed=seed, groups=groups)
    else:
        scores = {"exact_match": exact_match(golds, answers, groups)}
    entry = head(predictions) | {
        "metrics": {name: score.to_json() for name, score in scores.items()},
        "left_out": dict.fromkeys(("confusion", "calibration", "abstaining"), LEFT_OUT),
    }
    if others:
        entry["against"] = {name: _against(kind, predictions, other, types, seed) for name, other in others.items()}
    return entry | speed(predictions)


def _against(
    kind: str, this: Sequence[Prediction], other: Sequence[Prediction], types: Collection[str], seed: int
) -> dict[str, Any]:
    pairs = paired(this, other)
    right_a, right_b = ([is_right(kind, pair[side]) for pair in pairs] for side in (0, 1))
    groups = groups_of([a for a, _ in pairs])
    test = mcnemar_exact(right_a, right_b, groups)
    gap: Score
    if kind == "extraction":
        golds = read_golds([a.gold for a, _ in pairs], types)
        read = [
            [None if p.answer is None else parse_entities(p.answer, types) for p in side]
            for side in zip(*pairs, strict=True)
        ]
        metric, gap = "entity_f1", entity_f1_difference(golds, read[0], read[1], seed=seed, groups=groups)
    else:
        metric, gap = "exact_match", accuracy_difference(right_a, right_b, seed=seed, groups=groups)
    return pair_record(test, metric, gap, groups)
