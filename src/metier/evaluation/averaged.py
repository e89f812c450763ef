"""Metrics of tasks that ask several questions of every text: the mean over questions, resampled by text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metier.evaluation.groups import interval
from metier.evaluation.intervals import (
    RESAMPLES,
    Floats,
    Ints,
    clopper_pearson,
    require_examples,
    resample_sums,
)
from metier.evaluation.metrics import Tally, encode, encode_golds, weighted_f1
from metier.evaluation.paired import extreme_difference
from metier.evaluation.scores import Prediction, Score
from metier.tasks import Example, Task

AVERAGE = "average_weighted_f1"


@dataclass(frozen=True)
class Slices:
    """Which question an example asks, and of which text, by example id."""

    question: Mapping[str, str]
    text: Mapping[str, str]

    @classmethod
    def of(cls, task: Task, examples: Sequence[Example]) -> Slices | None:
        """The slices of a task that averages over one of its inputs; None for any other task."""
        if task.average_over is None:
            return None
        return cls({e.id: e.inputs[task.average_over] for e in examples}, {e.id: e.group or e.id for e in examples})


def average_weighted_f1(
    predictions: Sequence[Prediction],
    labels: Sequence[str],
    slices: Slices,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Score:
    """Plain mean over the questions of each question's weighted F1 (Wu et al. 2023, section 5.3: nine tags).

    The interval is a percentile bootstrap over texts: all answers about a text are drawn together, because what makes
    a text hard makes it hard for several questions. ``n`` counts texts.

    Args:
        predictions: one for each example, in any order.
        labels: the task's labels.
        slices: the examples' questions and texts.
        seed: seed of the bootstrap.
        resamples: bootstrap samples.

    Raises:
        MetierError: nothing to score, or an undeclared label.
    """
    columns, shape = _columns(predictions, labels, slices)
    value = float(_mean(columns.sum(axis=0), shape))
    n, hits = len(columns), sum(p.correct for p in predictions)
    if hits in (0, len(predictions)):  # every bootstrap sample would be the same and claim certainty
        low, high = clopper_pearson(n if hits else 0, n)
        return Score(value, float(low), float(high), n)
    return interval(value, _mean(resample_sums(columns, seed=seed, resamples=resamples), shape), n, None)


def average_difference(
    this: Sequence[Prediction],
    other: Sequence[Prediction],
    labels: Sequence[str],
    slices: Slices,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Score:
    """``average_weighted_f1(this) - average_weighted_f1(other)`` on the same examples, paired by text.

    Arguments as in :func:`average_weighted_f1`. Where the systems never disagree, or one is always right and the other
    never, the interval is that of :func:`~metier.evaluation.paired.extreme_difference` for as many texts.
    """
    answers = {p.example_id: p.answer for p in other}
    a, shape = _columns(this, labels, slices)
    b, _ = _columns(other, labels, slices)
    if all(answers[p.example_id] == p.answer for p in this):
        return extreme_difference(0.0, len(a), None)
    value = float(_mean(a.sum(axis=0), shape) - _mean(b.sum(axis=0), shape))
    if abs(value) == 1:
        return extreme_difference(value, len(a), None)
    # the same seed and the same rows draw the same texts for both systems
    spread = [_mean(resample_sums(side, seed=seed, resamples=resamples), shape) for side in (a, b)]
    return interval(value, spread[0] - spread[1], len(a), None, ends=(-1.0, 1.0))


def _columns(
    predictions: Sequence[Prediction], labels: Sequence[str], slices: Slices
) -> tuple[Floats, tuple[int, int, int]]:
    """(texts, 3 · questions · labels): hits, right labels and answers of each text; and (3, questions, labels)."""
    require_examples(len(predictions))
    gold = encode_golds(labels, [p.gold for p in predictions])
    answer = encode(labels, [p.answer for p in predictions], "answer")
    text = _positions([slices.text[p.example_id] for p in predictions])
    question = _positions([slices.question[p.example_id] for p in predictions])
    k = len(labels)
    shape = (int(text.max()) + 1, 3, int(question.max()) + 1, k + 1)  # the last class holds what counts for none
    cells = [
        np.ravel_multi_index((text, np.full(len(text), kind), question, found), shape)
        for kind, found in enumerate((np.where(gold == answer, gold, k), gold, answer))
    ]
    counts = np.bincount(np.concatenate(cells), minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)
    kept = counts[..., :k]
    return kept.reshape(len(kept), -1), (3, kept.shape[2], k)


def _positions(values: Sequence[str]) -> Ints:
    index = {value: place for place, value in enumerate(sorted(set(values)))}
    return np.array([index[value] for value in values], np.int64)


def _mean(sums: Floats, shape: tuple[int, int, int]) -> Floats:
    """(..., columns) → (...): the mean over the questions that have examples in the sample."""
    parts = sums.reshape(*sums.shape[:-1], *shape)
    support = parts[..., 1, :, :].sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = weighted_f1(Tally(parts[..., 0, :, :], parts[..., 1, :, :], parts[..., 2, :, :]))
    return np.asarray(np.where(support > 0, each, 0.0).sum(-1) / (support > 0).sum(-1))
