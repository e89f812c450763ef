"""95 % intervals: exact for proportions, by seeded bootstrap for everything else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, ndtr, ndtri, stdtrit

from metier.errors import MetierError
from metier.evaluation.scores import Score

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CONFIDENCE = 0.95
RESAMPLES = 2000
SAME = 1e-9  # statistics that are equal on paper differ in their last bits
_ELEMENTS = 4_000_000  # numbers held at once while resampling documents: 32 MB


def clopper_pearson(
    successes: npt.ArrayLike, n: npt.ArrayLike, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """The exact interval of a proportion (Clopper & Pearson 1934), element by element.

    Its ends are quantiles of beta distributions. It covers the true proportion with at least the stated
    probability for every n, and is never of no width: 0 of 20 gives [0, 0.168].

    Args:
        successes: how many of the trials succeeded, any shape; neither need be a whole number.
        n: number of trials, at least 1, same shape or broadcastable to it.
        confidence: coverage, between 0 and 1.

    Returns:
        the lower and the upper ends, in [0, 1].
    """
    x, total = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(n, np.float64))
    if np.any(total < 1) or np.any(x < 0) or np.any(x > total):
        raise ValueError("a proportion needs n >= 1 and 0 <= successes <= n")
    tail = (1 - confidence) / 2
    # the beta quantiles are undefined exactly where the interval is known to end at 0 or at 1
    low = np.where(x == 0, 0.0, betaincinv(np.where(x == 0, 1, x), total - x + 1, tail))
    high = np.where(x == total, 1.0, betaincinv(x + 1, np.where(x == total, 1, total - x), 1 - tail))
    return low, high


def proportion(successes: int, n: int) -> Score:
    """A share with its Clopper-Pearson interval.

    Raises:
        MetierError: there is nothing to score.
    """
    require_examples(n)
    low, high = clopper_pearson(successes, n)
    return Score(successes / n, float(low), float(high), n)


def proportion_difference(successes: int, n: int, other_successes: int, other_n: int) -> Score:
    """A share less that of other trials, with the score interval (Newcombe 1998, method 10).

    Wilson's ends of both shares are joined, so the interval never has no width, and stays within [-1, 1]. ``n`` of the
    result is that of both. Without trials on one side there is no difference.

    Raises:
        MetierError: there is nothing to score.
    """
    require_examples(min(n, other_n))
    value = successes / n - other_successes / other_n
    (low, high), (other_low, other_high) = _wilson(successes, n), _wilson(other_successes, other_n)
    a, b = successes / n, other_successes / other_n
    down = float(np.hypot(a - low, other_high - b))
    up = float(np.hypot(high - a, b - other_low))
    return Score(value, value - down, value + up, n + other_n)


def _wilson(successes: int, n: int) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927)."""
    z = float(ndtri(0.5 + CONFIDENCE / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return max(0.0, centre - half), min(1.0, centre + half)


def require_examples(n: int) -> None:
    """Refuse to score nothing: a mean of no examples is not 0."""
    if n < 1:
        raise MetierError("there is nothing to score: no examples", fix="check the split and the filters of the task")


def resample_counts(counts: Ints, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Draw bootstrap samples of a data set that is known by its distinct rows and how often each occurs.

    To draw n examples with replacement and to count the distinct ones is to draw once from a multinomial
    distribution with the observed shares, so this equals resampling examples, at a cost that does not grow
    with n.

    Args:
        counts: (cells,), how often each distinct row occurs.
        seed: seed of the generator.
        resamples: number of samples.

    Returns:
        (resamples, cells), each row summing to n.
    """
    n = int(counts.sum())
    require_examples(n)
    generator = np.random.default_rng(seed)
    return generator.multinomial(n, counts / n, size=resamples).astype(np.float64)


def percentile_score(value: float, resampled: Floats, n: int, *, units: int | None = None) -> Score:
    """The percentile interval (Efron 1979) around ``value``, widened where needed so that it contains it.

    Args:
        value: the statistic of the data themselves.
        resampled: (resamples,), the statistic of each bootstrap sample.
        n: examples behind the value.
        units: where few are resampled, at least 2: the tails are those of a t interval (the expanded percentile
            interval, Hesterberg 2015, arXiv:1411.5279, section 5.3), for the plain one is too narrow then.
    """
    tail = 50 * (1 - CONFIDENCE)
    if units is not None:
        reach = stdtrit(units - 1, 0.5 + CONFIDENCE / 2) * np.sqrt(units / (units - 1))
        tail = 100 * float(ndtr(-reach))
    low, high = np.percentile(resampled, [tail, 100 - tail])
    return Score(value, min(float(low), value), max(float(high), value), n)


def without_spread(value: float, n: int, units: int, *, ends: tuple[float, float] = (0.0, 1.0)) -> Score:
    """A value that every bootstrap sample repeats: to both sides as far as the Clopper-Pearson upper end of 0 of as
    many ``units``, within ``ends``.
    """
    bound = float(clopper_pearson(0, units)[1])
    return Score(value, max(ends[0], value - bound), min(ends[1], value + bound), n)


def ratio(
    numerators: Sequence[float], denominators: Sequence[float], *, seed: int, resamples: int = RESAMPLES
) -> Score:
    """Sum of numerators over sum of denominators, with a bootstrap over documents.

    For bits per byte: total bits over total bytes, which counts every byte the same, unlike a mean over
    documents. Documents, not bytes, are resampled, because the bytes of one document are not independent; the tails
    are widened for few of them (:func:`percentile_score`).

    Args:
        numerators: (documents,), such as the bits a model needs for each document.
        denominators: (documents,), each above 0, such as each document's bytes.
        seed: seed of the generator.
        resamples: number of bootstrap samples.
    """
    top, bottom = _columns(numerators, denominators)
    value = float(top.sum() / bottom.sum())
    if len(top) < 2:
        return Score(value, None, None, len(top), reason="one document has no spread to measure")
    totals = resample_sums(np.stack([top, bottom], axis=1), seed=seed, resamples=resamples)
    return percentile_score(value, totals[:, 0] / totals[:, 1], len(top), units=len(top))


def ratio_difference(
    this: Sequence[float],
    other: Sequence[float],
    denominators: Sequence[float],
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> Score:
    """``ratio(this) - ratio(other)`` on the same documents, with a paired bootstrap over documents, widened for few.

    Args:
        this: (documents,), such as a specialist's bits for each document.
        other: (documents,), such as the base's bits for the same documents in the same order.
        denominators: (documents,), each above 0.
        seed: seed of the generator.
        resamples: number of bootstrap samples.
    """
    a, bottom = _columns(this, denominators)
    b, _ = _columns(other, denominators)
    value = float((a - b).sum() / bottom.sum())
    if len(a) < 2:
        return Score(value, None, None, len(a), reason="one document has no spread to measure")
    totals = resample_sums(np.stack([a - b, bottom], axis=1), seed=seed, resamples=resamples)
    return percentile_score(value, totals[:, 0] / totals[:, 1], len(a), units=len(a))


def resample_sums(columns: Floats, *, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Column sums of bootstrap samples of rows.

    Args:
        columns: (rows, columns).
        seed: seed of the generator.
        resamples: number of samples.

    Returns:
        (resamples, columns).
    """
    rows = len(columns)
    generator = np.random.default_rng(seed)
    block = max(1, _ELEMENTS // (rows * columns.shape[1]))
    sums = []
    for start in range(0, resamples, block):
        drawn = generator.integers(0, rows, size=(min(block, resamples - start), rows))
        sums.append(columns[drawn].sum(axis=1))
    return np.concatenate(sums)


def _columns(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[Floats, Floats]:
    top, bottom = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    require_examples(len(top))
    if top.shape != bottom.shape or top.ndim != 1:
        raise ValueError(f"as many numerators as denominators are needed: {top.shape} and {bottom.shape}")
    if not np.all(np.isfinite(top)) or not np.all(bottom > 0):
        raise ValueError("numerators must be finite and denominators above 0")
    return top, bottom
