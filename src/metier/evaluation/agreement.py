"""How far two people, or a person and a model, give the same labels to the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metier.evaluation.intervals import (
    RESAMPLES,
    Floats,
    clopper_pearson,
    percentile_score,
    proportion,
    resample_counts,
)
from metier.evaluation.metrics import confusion, encode_golds
from metier.evaluation.scores import Score

_UNDEFINED = 0.05  # share of bootstrap samples without a kappa above which the others are no longer a fair picture


@dataclass(frozen=True)
class Agreement:
    """What two labellings of the same examples have in common.

    Attributes:
        labels: of the confusion table, in order.
        matrix: (labels, labels), a row for each label of the first, a column for each of the second; examples.
        raw: share of examples with the same label, Clopper-Pearson interval.
        kappa: Cohen's κ with a bootstrap interval; None where both gave one and the same label throughout: agreement
            by chance is then certain, and κ is 0/0.
    """

    labels: list[str]
    matrix: list[list[int]]
    raw: Score
    kappa: Score | None


def cohen_kappa(table: Floats) -> Floats:
    """κ = (p_o - p_e) / (1 - p_e) (Cohen 1960, "A coefficient of agreement for nominal scales", eq. 1).

    p_o is the share of examples with the same label; p_e is what it would be if both labelled independently, each with
    the shares of labels that they gave. Written out over tables, because the bootstrap needs thousands at once.

    Args:
        table: (..., labels, labels), examples by the first's and the second's label; the sum is above 0.

    Returns:
        (...), not a number where p_e is 1.
    """
    shares = table / table.sum((-2, -1), keepdims=True)
    observed = np.trace(shares, axis1=-2, axis2=-1)
    expected = (shares.sum(-1) * shares.sum(-2)).sum(-1)
    return corrected(observed, expected)


def agreement(
    first: Sequence[str], second: Sequence[str], labels: Sequence[str], *, seed: int, resamples: int = RESAMPLES
) -> Agreement:
    """Raw agreement, Cohen's κ and the confusion table of two labellings.

    κ has a percentile bootstrap over examples. Where the two agree on every example, or on none, all bootstrap samples
    do too and would claim certainty: there it is :func:`without_spread`. Samples in which both gave one and the same
    label have no κ and are left out; where they are more than one in twenty, there is no interval, and none where one
    of the two gave a single label.

    Args:
        first: (n,), labels of the first.
        second: (n,), labels of the second, in the same order.
        labels: all labels.
        seed: seed of the bootstrap.
        resamples: bootstrap samples.

    Raises:
        MetierError: nothing to compare, or a label that is not among ``labels``.
    """
    encode_golds(labels, first)
    table = np.asarray(confusion(first, second, labels)["matrix"], np.int64)
    n, k = len(first), len(labels)
    raw = proportion(int(np.trace(table)), n)
    value = float(cohen_kappa(table.astype(np.float64)))
    kappa: Score | None = None
    if np.isfinite(value) and 1 in (np.count_nonzero(table.sum(0)), np.count_nonzero(table.sum(1))):
        reason = "one of the two gave a single label: kappa is 0 then, whatever the other gave"
        kappa = Score(value, None, None, n, reason=reason)
    elif np.isfinite(value) and raw.value in (0.0, 1.0):
        expected = float((table.sum(0) / n) @ (table.sum(1) / n))
        kappa = without_spread(raw.value, expected, n, units=n)
    elif np.isfinite(value):
        samples = resample_counts(table.ravel(), seed=seed, resamples=resamples).reshape(-1, k, k)
        kappa = with_interval(value, cohen_kappa(samples), n)
    return Agreement(list(labels), table.tolist(), raw, kappa)


def corrected(observed: Floats, expected: Floats | float) -> Floats:
    """Agreement corrected for chance, element by element; not a number where chance agrees always."""
    room = 1 - expected
    # shares are rounded: what is left of 1 - 1 may be a hair above 0
    defined = room > 1e-12
    return np.where(defined, (observed - expected) / np.where(defined, room, 1.0), np.nan)


def without_spread(observed: float, expected: float, n: int, *, units: int) -> Score:
    """A kappa where every bootstrap sample has the same observed agreement, such as all of it or none.

    Its ends are the kappas of an agreement that is less and more by the Clopper-Pearson upper end of 0 of ``units``.
    """
    bound = float(clopper_pearson(0, units)[1])
    ends = np.clip(np.array([observed - bound, observed, observed + bound]), 0, 1)
    low, value, high = corrected(ends, expected).tolist()
    return Score(value, low, high, n)


def with_interval(value: float, resampled: Floats, n: int) -> Score:
    """A kappa with the percentiles of its bootstrap samples, or the reason why too few of them have one."""
    defined = resampled[np.isfinite(resampled)]
    if len(defined) < (1 - _UNDEFINED) * len(resampled):
        reason = "too few examples differ in label: many bootstrap samples hold only one label"
        return Score(value, None, None, n, reason=reason)
    return percentile_score(value, defined, n)
