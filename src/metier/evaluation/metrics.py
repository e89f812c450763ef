"""Accuracy and F1 of classification, from the joint counts of right labels and answers.

An answer of None (output that could not be read as a label) is wrong and belongs to no class: it lowers
the recall of the example's class and touches no precision. It is never counted as a frequent class, which
would lend an unreadable system the score of the majority baseline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metier.errors import MetierError, nearest
from metier.evaluation.groups import extreme_share, interval, resample_cells, share
from metier.evaluation.intervals import (
    RESAMPLES,
    Floats,
    Ints,
    require_examples,
    resample_counts,
)
from metier.evaluation.scores import Score


@dataclass(frozen=True)
class Tally:
    """What accuracy and F1 are made of, for one sample or for many at once.

    Attributes:
        hits: (..., labels), examples of a class answered with it.
        support: (..., labels), examples of a class.
        answered: (..., labels), answers of a class.
    """

    hits: Floats
    support: Floats
    answered: Floats


def accuracy(tally: Tally) -> Floats:
    """Share of right answers, (...)."""
    return np.asarray(tally.hits.sum(-1) / tally.support.sum(-1))


def weighted_f1(tally: Tally) -> Floats:
    """Mean of the classes' F1 weighted by their examples, (...)."""
    return np.asarray((tally.support * _f1(tally)).sum(-1) / tally.support.sum(-1))


def macro_f1(tally: Tally) -> Floats:
    """Plain mean of F1 over the classes that have examples, (...): without examples F1 has no meaning."""
    present = tally.support > 0
    return np.asarray((present * _f1(tally)).sum(-1) / present.sum(-1))


METRICS: dict[str, Callable[[Tally], Floats]] = {
    "accuracy": accuracy,
    "weighted_f1": weighted_f1,
    "macro_f1": macro_f1,
}


def _f1(tally: Tally) -> Floats:
    total = tally.support + tally.answered
    return np.divide(2 * tally.hits, total, out=np.zeros_like(total), where=total > 0)


def encode(labels: Sequence[str], values: Sequence[str | None], what: str) -> Ints:
    """Positions of ``values`` in ``labels``, (n,); None becomes ``len(labels)``.

    Raises:
        MetierError: a value is not a declared label.
    """
    if not labels or len(set(labels)) != len(labels):
        raise ValueError(f"labels must be distinct and at least one: {list(labels)}")
    index: dict[str | None, int] = {label: i for i, label in enumerate(labels)}
    index[None] = len(labels)
    unknown = next((value for value in values if value not in index), None)
    if unknown is not None:
        raise MetierError(f"the {what} '{unknown}' is not a label of the task", fix=nearest(unknown, labels))
    return np.fromiter((index[value] for value in values), np.int64, len(values))


def encode_golds(labels: Sequence[str], golds: Sequence[str]) -> Ints:
    """Positions of the right labels, (n,).

    Raises:
        MetierError: there are none, one is missing, or one is not a declared label.
    """
    require_examples(len(golds))
    gold = encode(labels, golds, "right label")
    if gold.max() >= len(labels):
        raise MetierError("an example has no right label", fix="leave such examples out of what is scored")
    return gold


def distinct(columns: Sequence[Ints], size: int) -> tuple[list[Ints], Ints]:
    """The distinct rows among ``columns`` of values below ``size``, in sorted order, and how often each occurs."""
    code = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        code = code * size + column
    codes, counts = np.unique(code, return_counts=True)
    rows = [codes // size**power % size for power in reversed(range(len(columns)))]
    return rows, counts.astype(np.int64)


def resampled(columns: Sequence[Ints], size: int, groups: Ints | None, *, seed: int, resamples: int) -> Floats:
    """How often each of the :func:`distinct` rows occurs in bootstrap samples of rows or groups, (resamples, cells)."""
    if groups is None:
        return resample_counts(distinct(columns, size)[1], seed=seed, resamples=resamples)
    _, cells = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    return resample_cells(cells.ravel(), int(cells.max()) + 1, groups, seed=seed, resamples=resamples)


def tally(counts: Floats, gold: Ints, answer: Ints, k: int) -> Tally:
    """Add up distinct rows.

    Args:
        counts: (..., cells), how often each distinct row occurs in each sample.
        gold: (cells,), below k.
        answer: (cells,), k where there is none.
        k: number of labels.
    """
    is_gold = (gold[:, None] == np.arange(k)).astype(np.float64)
    is_answer = (answer[:, None] == np.arange(k)).astype(np.float64)
    return Tally(counts @ (is_gold * is_answer), counts @ is_gold, counts @ is_answer)


def classification_metrics(
    golds: Sequence[str],
    answers: Sequence[str | None],
    labels: Sequence[str],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    groups: Ints | None = None,
) -> dict[str, Score]:
    """``accuracy``, ``weighted_f1`` and ``macro_f1`` with 95 % intervals.

    Accuracy has the Clopper-Pearson interval, F1 a percentile bootstrap over examples. Where all answers
    are right, or all wrong, every bootstrap sample is the same and would claim certainty: there F1 takes the
    interval of accuracy, which it then equals. With groups both are a bootstrap over groups.

    Args:
        golds: (n,), right labels.
        answers: (n,), given labels; None where the output could not be read.
        labels: the task's labels.
        seed: seed of the bootstrap.
        resamples: bootstrap samples.
        groups: (n,), of rows that are no independent draws.

    Raises:
        MetierError: nothing to score, or a label that the task does not declare.
    """
    gold, answer = encode_golds(labels, golds), encode(labels, answers, "answer")
    _same_length(golds, answers)
    (cell_gold, cell_answer), counts = distinct([gold, answer], len(labels) + 1)
    whole = tally(counts.astype(np.float64), cell_gold, cell_answer, len(labels))
    drawn = resampled([gold, answer], len(labels) + 1, groups, seed=seed, resamples=resamples)
    samples = tally(drawn, cell_gold, cell_answer, len(labels))
    n, hits = len(golds), int(whole.hits.sum())
    scores = {"accuracy": share(gold == answer, groups)}
    for name in ("weighted_f1", "macro_f1"):
        value = float(METRICS[name](whole))
        if hits in (0, n):
            scores[name] = extreme_share(value, n, groups)
        else:
            scores[name] = interval(value, METRICS[name](samples), n, groups)
    return scores


def per_class(
    golds: Sequence[str], answers: Sequence[str | None], labels: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    """``{label: {"precision", "recall", "f1", "support"}}``.

    A figure without meaning is None: the precision of a class that was never answered, the recall and the F1
    of a class without examples.
    """
    gold, answer = encode_golds(labels, golds), encode(labels, answers, "answer")
    _same_length(golds, answers)
    ones = np.ones(len(gold))
    found = tally(ones, gold, answer, len(labels))
    table: dict[str, dict[str, float | int | None]] = {}
    for label, hits, support, answered in zip(labels, found.hits, found.support, found.answered, strict=True):
        table[label] = {
            "precision": float(hits / answered) if answered else None,
            "recall": float(hits / support) if support else None,
            "f1": float(2 * hits / (support + answered)) if support else None,
            "support": int(support),
        }
    return table


def confusion(golds: Sequence[str], answers: Sequence[str | None], labels: Sequence[str]) -> dict[str, Any]:
    """``{"labels", "matrix"}`` with a row for each right label and a column for each answer.

    Answers that could not be read are in no column; where there are any, ``"unparsed"`` counts them by right
    label, so that a row and its unparsed answers add up to the class's examples.
    """
    gold, answer = encode_golds(labels, golds), encode(labels, answers, "answer")
    _same_length(golds, answers)
    counts = np.zeros((len(labels), len(labels) + 1), np.int64)
    np.add.at(counts, (gold, answer), 1)
    record: dict[str, Any] = {"labels": list(labels), "matrix": counts[:, :-1].tolist()}
    return record | ({"unparsed": counts[:, -1].tolist()} if counts[:, -1].any() else {})


def majority_share(golds: Sequence[str]) -> float:
    """Share of the most frequent right label: what a constant answer would score here in accuracy."""
    require_examples(len(golds))
    return max(Counter(golds).values()) / len(golds)


def _same_length(golds: Sequence[str], answers: Sequence[str | None]) -> None:
    if len(golds) != len(answers):
        raise ValueError(f"{len(golds)} right labels but {len(answers)} answers")
