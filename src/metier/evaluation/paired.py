"""Two systems on the same examples: exact McNemar test and the interval of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from scipy.special import bdtr

from metier.evaluation.groups import interval, sign_flip_exact, summed
from metier.evaluation.intervals import RESAMPLES, Ints, require_examples, without_spread
from metier.evaluation.metrics import METRICS, distinct, encode, encode_golds, resampled, tally
from metier.evaluation.scores import Score


class McNemar(TypedDict):
    """Examples that only one of the two systems answers rightly, and the two-sided p value."""

    only_a: int
    only_b: int
    p: float


def mcnemar_exact(correct_a: Sequence[bool], correct_b: Sequence[bool], groups: Ints | None = None) -> McNemar:
    """Whether two systems differ in accuracy, judged by the examples on which just one is right (McNemar 1947).

    If they do not differ, each such example is a fair coin; p is the two-sided binomial probability of a split
    at least as uneven. Without any such example p is 1. With groups the coin is thrown for a whole group, for how many
    more of its examples one system is right on (:func:`~metier.evaluation.groups.sign_flip_exact`).

    Args:
        correct_a: (n,), whether the first system is right on each example.
        correct_b: (n,), the same for the second system, in the same order.
        groups: (n,), of examples that are no independent draws.
    """
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape:
        raise ValueError(f"the systems answered different numbers of examples: {a.shape} and {b.shape}")
    require_examples(len(a))
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if groups is not None:
        gaps = summed((a.astype(np.float64) - b)[:, None], groups)[:, 0].astype(np.int64)
        return {"only_a": only_a, "only_b": only_b, "p": sign_flip_exact(gaps)}
    p = 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5))
    return {"only_a": only_a, "only_b": only_b, "p": min(1.0, p)}


def difference(
    golds: Sequence[str],
    this: Sequence[str | None],
    other: Sequence[str | None],
    labels: Sequence[str],
    *,
    metric: str = "weighted_f1",
    seed: int,
    resamples: int = RESAMPLES,
    groups: Ints | None = None,
) -> Score:
    """``metric(this) - metric(other)`` with the percentile interval of a bootstrap over examples.

    Both systems are scored on the same bootstrap sample, so that what makes an example hard for both cancels.
    Where the two never disagree every bootstrap difference is 0 and would claim certainty: there the interval
    is plus and minus the Clopper-Pearson upper end of the share of examples on which they disagree. So it is within
    [-1, 1] where one of them is always right and the other never, and where all samples differ by the same, such as
    those of two systems that are never right.

    Args:
        golds: (n,), right labels.
        this: (n,), answers of the system in question; None where the output could not be read.
        other: (n,), answers of the system it is held against, in the same order.
        labels: the task's labels.
        metric: ``accuracy``, ``weighted_f1`` or ``macro_f1``.
        seed: seed of the bootstrap.
        resamples: bootstrap samples.
        groups: (n,), of examples that are no independent draws: whole groups are drawn then.

    Raises:
        MetierError: nothing to score, or a label that the task does not declare.
    """
    if not len(golds) == len(this) == len(other):
        raise ValueError(f"{len(golds)} right labels but {len(this)} and {len(other)} answers")
    k, n, measure = len(labels), len(golds), METRICS[metric]
    columns = [encode_golds(labels, golds), encode(labels, this, "answer"), encode(labels, other, "answer")]
    if np.array_equal(columns[1], columns[2]):
        return extreme_difference(0.0, n, groups)
    (gold, a, b), counts = distinct(columns, k + 1)
    weights = counts.astype(np.float64)
    value = float(measure(tally(weights, gold, a, k)) - measure(tally(weights, gold, b, k)))
    if abs(value) == 1:
        return extreme_difference(value, n, groups)
    samples = resampled(columns, k + 1, groups, seed=seed, resamples=resamples)
    spread = measure(tally(samples, gold, a, k)) - measure(tally(samples, gold, b, k))
    return interval(value, spread, n, groups, ends=(-1.0, 1.0))


def extreme_difference(value: float, n: int, groups: Ints | None) -> Score:
    """A difference of 0, 1 or -1, whose bootstrap would claim certainty: to both sides as far as the Clopper-Pearson
    upper end of 0 of as many units, within [-1, 1].
    """
    return without_spread(value, n, n if groups is None else int(groups.max()) + 1, ends=(-1.0, 1.0))


def accuracy_difference(
    correct_this: Sequence[bool],
    correct_other: Sequence[bool],
    *,
    seed: int,
    resamples: int = RESAMPLES,
    groups: Ints | None = None,
) -> Score:
    """:func:`difference` in accuracy where only right and wrong are known, as in multiple choice."""
    right = ["right"]
    a, b = ([right[0] if correct else None for correct in side] for side in (correct_this, correct_other))
    return difference(right * len(a), a, b, right, metric="accuracy", seed=seed, resamples=resamples, groups=groups)
