"""Rows that come in groups, such as the notes of one patient: they are no independent draws, groups are.

Intervals of shares then take the effective number of rows, others a bootstrap over groups; tests change signs in whole
groups. Rows of no group are groups of one; where all are, nothing differs from independent rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from metier.evaluation.intervals import (
    CONFIDENCE,
    RESAMPLES,
    SAME,
    Floats,
    Ints,
    clopper_pearson,
    percentile_score,
    proportion,
    without_spread,
)
from metier.evaluation.scores import Prediction, Score
from metier.tasks import Example

_ELEMENTS = 4_000_000  # numbers held at once while resampling groups: 32 MB
TEST = "exact sign-flip test over groups"


def in_groups(predictions: Sequence[Prediction], examples: Sequence[Example]) -> list[Prediction]:
    """The predictions with the group of their example."""
    known = {example.id: example.group for example in examples}
    return [replace(p, group=known.get(p.example_id)) for p in predictions]


def groups_of(predictions: Sequence[Prediction]) -> Ints | None:
    """The number of each prediction's group, (n,); None where no two share one."""
    names = [f"g:{p.group}" if p.group else f"i:{place}" for place, p in enumerate(predictions)]
    return numbered(np.array(names)) if any(p.group for p in predictions) else None


def numbered(groups: npt.NDArray[np.generic] | None) -> Ints | None:
    """Groups as 0, 1, …; None where no two rows share one."""
    if groups is None:
        return None
    names, numbers = np.unique(groups, return_inverse=True)
    return np.asarray(numbers, np.int64) if len(names) < len(groups) else None


def one_of_each(predictions: Sequence[Prediction], seed: int) -> list[Prediction]:
    """One prediction a group, drawn by the hash of seed and id whatever the order; all where no two share a group.

    Of groups drawn independently these are independent draws, which every row is not.
    """
    groups = groups_of(predictions)
    if groups is None:
        return list(predictions)
    drawn = [hashlib.sha256(f"{seed}\x1f{p.example_id}".encode()).digest() for p in predictions]
    first: dict[int, int] = {}
    for place in sorted(range(len(predictions)), key=lambda place: drawn[place]):
        first.setdefault(int(groups[place]), place)
    return [predictions[place] for place in sorted(first.values())]


def summed(columns: Floats, groups: Ints | None) -> Floats:
    """Rows added up by group: (n, columns) → (groups, columns); as they are without groups."""
    if groups is None:
        return columns
    sums = np.zeros((int(groups.max()) + 1, columns.shape[1]))
    np.add.at(sums, groups, columns)
    return sums


def resample_cells(cells: Ints, count: int, groups: Ints, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """How often each of ``count`` kinds of row occurs in bootstrap samples of groups, (resamples, count).

    Args:
        cells: (n,), the kind of each row.
        count: how many kinds there are.
        groups: (n,), from 0.
        seed: of the generator.
        resamples: number of samples.
    """
    units = int(groups.max()) + 1
    table = np.bincount(groups * count + cells, minlength=units * count).reshape(units, count).astype(np.float64)
    generator, even = np.random.default_rng(seed), np.full(units, 1 / units)
    block = max(1, _ELEMENTS // units)
    sizes = [min(block, resamples - begin) for begin in range(0, resamples, block)]
    return np.concatenate([generator.multinomial(units, even, size=size) @ table for size in sizes])


def interval(
    value: float, resampled: Floats, n: int, groups: Ints | None, *, ends: tuple[float, float] = (0.0, 1.0)
) -> Score:
    """The percentile interval of bootstrap samples of rows or groups, its tails widened for few groups.

    A single group has no spread to measure: its interval reaches to the ``ends``, the least and the greatest value.
    Samples that are all the same would claim certainty: there it is :func:`without_spread`.

    Args:
        value: the statistic of the data themselves.
        resampled: (resamples,), the statistic of each bootstrap sample.
        n: rows behind the value; without groups also the units that were drawn.
        groups: (n,), from 0.
        ends: the least and the greatest value there can be.
    """
    units = None if groups is None else int(groups.max()) + 1
    if units == 1:
        return Score(value, *ends, n)
    if np.ptp(resampled) < SAME:
        return without_spread(value, n, units or n, ends=ends)
    return percentile_score(value, resampled, n, units=units)


def extreme_share(value: float, n: int, groups: Ints | None) -> Score:
    """A share of 0 or 1, whose bootstrap would claim certainty: as far as Clopper & Pearson go for as many units."""
    units = n if groups is None else int(groups.max()) + 1
    low, high = clopper_pearson(round(value) * units, units)
    return Score(value, float(low), float(high), n)


def share(hits: Sequence[bool] | npt.NDArray[np.bool_], groups: npt.NDArray[np.generic] | None = None) -> Score:
    """A share with its interval: Clopper & Pearson's, at the effective number of rows where they come in groups.

    So many independent rows would have the variance that the groups show, less what is lost by estimating it from few
    groups (Korn & Graubard 1998, Survey Methodology 24, section 2); never more than there are, and at least one.
    """
    right = np.asarray(hits, bool)
    alone, found = proportion(int(right.sum()), len(right)), numbered(groups)
    if found is None:
        return alone
    n, value, units = alone.n, alone.value, int(found.max()) + 1
    if units == 1:
        return Score(value, 0.0, 1.0, n)
    if value in (0.0, 1.0):
        return extreme_share(value, n, found)
    rests = summed((right - value)[:, None], found)
    variance = units / (units - 1) * float((rests**2).sum()) / n**2
    half = 0.5 + CONFIDENCE / 2
    few = (stdtrit(n - 1, half) / stdtrit(units - 1, half)) ** 2
    effective = max(1.0, min(n, few * value * (1 - value) / variance)) if variance > 0 else n
    low, high = clopper_pearson(value * effective, effective)
    return Score(value, float(low), float(high), n)


def sign_flip_exact(differences: Ints) -> float:
    """Two-sided p of a sum of differences, one a group, if each might as well have the other sign.

    All 2^groups ways of giving signs are counted, by adding one group after another to the distribution of the sum.
    With differences of 1 it is the exact McNemar test.
    """
    sizes = np.abs(differences[differences != 0])
    total, observed = int(sizes.sum()), abs(int(differences.sum()))
    chance = np.zeros(total + 1)  # of each sum of the sizes that are given a plus
    chance[0] = 1.0
    for size in sizes.tolist():
        chance /= 2
        chance[size:] += chance[: total + 1 - size].copy()
    extreme = np.abs(2 * np.arange(total + 1) - total) >= observed
    return min(1.0, float(chance[extreme].sum()))
