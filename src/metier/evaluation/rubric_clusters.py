"""Shares, differences and tests where the question is the unit: ratings of one question are not independent.

Every array has a row for each question. A bootstrap sample draws questions, not ratings; a permutation swaps two
systems in whole questions.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from metier.evaluation.intervals import RESAMPLES, SAME, Floats, percentile_score, require_examples, without_spread
from metier.evaluation.scores import Score

PERMUTATIONS = 10_000  # as in Singhal et al. 2025
_ONE = "one question has no spread to measure"


def clustered(
    statistic: Callable[[Floats], Floats], rows: Floats, *, n: int, seed: int, ends: tuple[float, float] = (0.0, 1.0)
) -> Score:
    """A statistic of column sums with its percentile bootstrap over questions, its tails widened for few of them.

    Where every sample gives the same value the percentiles would claim certainty. Then the interval reaches as far as
    the Clopper-Pearson end of "none of this many questions", held inside ``ends``.

    Args:
        statistic: of sums (..., columns) to values (...); not a number where it is undefined.
        rows: (questions, columns), what each question adds.
        n: ratings behind the value.
        seed: seed of the bootstrap.
        ends: the least and the greatest value there can be.
    """
    questions = len(rows)
    require_examples(questions)
    value = float(statistic(rows.sum(axis=0)))
    if questions < 2:
        return Score(value, None, None, n, reason=_ONE)
    drawn = statistic(_draws(questions, seed) @ rows)
    drawn = drawn[np.isfinite(drawn)]
    if np.ptp(drawn) < SAME:
        return without_spread(value, n, questions, ends=ends)
    return percentile_score(value, drawn, n, units=questions)


@functools.lru_cache(maxsize=2)
def _draws(questions: int, seed: int) -> Floats:
    """(resamples, questions): how often each question is in each bootstrap sample."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(questions, np.full(questions, 1 / questions), size=RESAMPLES).astype(np.float64)


def share(hits: Floats, n: Floats, *, seed: int) -> Score:
    """Hits among all ratings, clustered by question; ``hits`` and ``n`` are (questions,), rows of none left out."""
    rows = np.stack([hits, n], axis=1)[n > 0]
    return clustered(lambda sums: sums[..., 0] / sums[..., 1], rows, n=int(n.sum()), seed=seed)


def difference(first: Floats, second: Floats, *, seed: int) -> Score:
    """Share of the first minus share of the second, on the questions that have ratings of both.

    Args:
        first: (questions, 2), hits and ratings of the first system.
        second: (questions, 2), of the second, in the same order.
        seed: seed of the bootstrap.
    """
    rows = np.concatenate(shared(first, second), axis=1)
    ratings = int(rows[:, [1, 3]].sum())
    return clustered(
        lambda sums: sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3],
        rows, n=ratings, seed=seed, ends=(-1.0, 1.0),
    )  # fmt: skip


def shared(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """The rows of the questions that both have ratings of."""
    both = (first[:, 1] > 0) & (second[:, 1] > 0)
    return first[both], second[both]


def permutation_p(first: Floats, second: Floats, *, seed: int, permutations: int = PERMUTATIONS) -> float:
    """Two-sided p of the difference in shares if the systems' names meant nothing.

    Under that hypothesis the two systems of each question may be swapped, all ratings of the question together, so that
    raters and the question's difficulty stay where they are. Every assignment of names is tried where they are few
    enough; else ``permutations`` are drawn, and the one observed is counted among them (Phipson & Smyth 2010), so that
    p is never 0.

    Args:
        first: (questions, 2), hits and ratings of the first system; each question has ratings of both.
        second: (questions, 2), of the second.
        seed: seed of the drawing.
        permutations: how many are drawn at most.
    """
    questions = len(first)
    require_examples(questions)
    exact = 2**questions <= permutations
    if exact:
        swaps = np.array(list(itertools.product((0.0, 1.0), repeat=questions)))
    else:
        swaps = np.random.default_rng(seed).integers(0, 2, size=(permutations, questions)).astype(np.float64)
    change = second - first
    a, b = first.sum(axis=0) + swaps @ change, second.sum(axis=0) - swaps @ change
    found = np.abs(a[:, 0] / a[:, 1] - b[:, 0] / b[:, 1])
    observed = abs(first[:, 0].sum() / first[:, 1].sum() - second[:, 0].sum() / second[:, 1].sum())
    as_extreme = int((found >= observed - SAME).sum())
    return as_extreme / len(found) if exact else (as_extreme + 1) / (len(found) + 1)


def least_p(questions: int, permutations: int = PERMUTATIONS) -> float:
    """The smallest p that :func:`permutation_p` can give with so many questions."""
    return 2 / 2**questions if 2**questions <= permutations else 1 / (permutations + 1)


def tally(questions: npt.NDArray[np.int64], values: Floats, count: int) -> Floats:
    """(count, 2): the sum of ``values`` and how many there are, by question."""
    hits = np.bincount(questions, weights=values, minlength=count)
    return np.stack([hits, np.bincount(questions, minlength=count).astype(np.float64)], axis=1)
