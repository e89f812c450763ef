from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from metier.errors import MetierError
from metier.evaluation.intervals import (
    clopper_pearson,
    proportion,
    ratio,
    ratio_difference,
    resample_counts,
    resample_sums,
)

documents = st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1e5), st.integers(1, 100_000)), min_size=2, max_size=30)


@st.composite
def trials(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 3000))
    return draw(st.integers(0, n)), n


@given(trials(), st.sampled_from([0.8, 0.95, 0.99]))
@settings(deadline=None)
def test_clopper_pearson_equals_scipy(trial: tuple[int, int], confidence: float) -> None:
    expected = binomtest(*trial).proportion_ci(confidence, method="exact")
    assert clopper_pearson(*trial, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_published_interval_of_med_palm_2() -> None:
    # Singhal et al. 2023, arXiv:2305.09617: MedQA 86.5 [84.5, 88.3], n = 1273
    score = proportion(round(0.865 * 1273), 1273)
    assert score.low is not None
    assert score.high is not None
    assert [round(100 * x, 1) for x in (score.value, score.low, score.high)] == [86.5, 84.5, 88.3]


@pytest.mark.parametrize("n", [1, 2, 20, 1000])
def test_none_and_all_are_exact(n: int) -> None:
    bound = 0.025 ** (1 / n)
    assert clopper_pearson(0, n) == pytest.approx((0, 1 - bound))
    assert clopper_pearson(n, n) == pytest.approx((bound, 1))


def test_clopper_pearson_takes_arrays() -> None:
    low, high = clopper_pearson([0, 5, 10], [10, 10, 10])
    assert low.shape == high.shape == (3,)
    assert (low[0], high[2]) == (0, 1)


@given(trials(), st.integers(2, 5))
@settings(deadline=None)
def test_proportion_contains_its_point_and_widens_with_fewer_examples(trial: tuple[int, int], times: int) -> None:
    hits, n = trial
    few, many = proportion(hits, n), proportion(hits * times, n * times)
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert 0 <= few.low <= few.value <= few.high <= 1
    assert few.high - few.low > many.high - many.low


@pytest.mark.parametrize(("hits", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_proportions_are_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="proportion"):
        clopper_pearson(hits, n)


def test_nothing_to_score_is_a_fault_and_not_zero() -> None:
    with pytest.raises(MetierError, match="nothing to score"):
        proportion(0, 0)
    with pytest.raises(MetierError, match="nothing to score"):
        ratio([], [], seed=1)


def test_exact_interval_covers_at_least_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    for n, p in ((15, 0.1), (60, 0.5), (400, 0.87)):
        low, high = clopper_pearson(generator.binomial(n, p, 4000), n)
        assert np.mean((low <= p) & (p <= high)) >= 0.945


def test_resampling_counts_is_resampling_examples() -> None:
    counts = np.array([1, 4, 15, 80])
    quick = resample_counts(counts, seed=1, resamples=20_000)
    assert np.all(quick.sum(axis=1) == 100)
    examples = np.repeat(np.arange(4), counts)
    drawn = np.random.default_rng(2).choice(examples, size=(20_000, 100))
    slow = (drawn[:, :, None] == np.arange(4)).sum(axis=1)
    assert quick.mean(axis=0) == pytest.approx(slow.mean(axis=0), rel=0.03)
    assert np.cov(quick.T) == pytest.approx(np.cov(slow.T), rel=0.1, abs=0.15)


@given(documents)
@settings(deadline=None, max_examples=40)
def test_ratio_contains_its_point_and_is_seeded(rows: list[tuple[float, float, int]]) -> None:
    bits, _, size = zip(*rows, strict=True)
    score = ratio(bits, size, seed=3, resamples=200)
    assert score == ratio(bits, size, seed=3, resamples=200)
    assert score.value == pytest.approx(sum(bits) / sum(size))
    assert score.low is not None
    assert score.high is not None
    assert min(b / s for b, s in zip(bits, size, strict=True)) <= score.low + 1e-9
    assert score.high <= max(b / s for b, s in zip(bits, size, strict=True)) + 1e-9


@given(documents)
@settings(deadline=None, max_examples=40)
def test_ratio_difference_is_antisymmetric(rows: list[tuple[float, float, int]]) -> None:
    a, b, size = zip(*rows, strict=True)
    there = ratio_difference(a, b, size, seed=3, resamples=200)
    back = ratio_difference(b, a, size, seed=3, resamples=200)
    assert there.value == pytest.approx(-back.value)
    assert there.low == pytest.approx(-float(back.high or 0), abs=1e-9)
    assert there.value == pytest.approx(
        ratio(a, size, seed=3, resamples=10).value - ratio(b, size, seed=3, resamples=10).value, abs=1e-6
    )


def test_one_document_has_no_interval_and_says_why() -> None:
    score = ratio([80.0], [100], seed=1)
    assert (score.value, score.low, score.high, score.n) == (0.8, None, None, 1)
    assert score.to_json()["reason"]


def test_more_documents_than_fit_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metier.evaluation.intervals._ELEMENTS", 1000)
    bits = np.random.default_rng(1).normal(100, 10, 300)
    score = ratio(bits.tolist(), [100] * 300, seed=1)
    half = 1.96 * 0.1 / 300**0.5
    assert score.high == pytest.approx(score.value + half, abs=half / 5)


def test_few_documents_have_wider_tails() -> None:
    """Plain percentiles of 20 documents are those of a normal distribution with a variance of 19 for 20."""
    generator = np.random.default_rng(0)
    size, gap = generator.uniform(200, 900, 20), generator.normal(0.1, 0.1, 20)
    sums = resample_sums(np.stack([gap * size, size], axis=1), seed=1)
    low, high = np.percentile(sums[:, 0] / sums[:, 1], [2.5, 97.5])
    for score in (ratio(gap * size, size, seed=1), ratio_difference(gap * size, 0 * size, size, seed=1)):
        wider = ((score.high or 0) - (score.low or 0)) / (high - low)
        assert wider == pytest.approx(2.093 / 1.96 * (20 / 19) ** 0.5, abs=0.06)


def test_ratio_covers_near_95_percent() -> None:
    generator = np.random.default_rng(5)
    covered = []
    for trial in range(200):
        size = generator.integers(200, 2000, 80)
        bits = size * generator.normal(0.9, 0.15, 80)
        score = ratio(bits.tolist(), size.tolist(), seed=trial, resamples=500)
        covered.append(score.low is not None and score.high is not None and score.low <= 0.9 <= score.high)
    assert 0.89 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize(("bits", "size"), [([1.0], [1, 2]), ([1.0, 2.0], [0, 1]), ([float("nan"), 1.0], [1, 1])])
def test_ratio_refuses_what_cannot_be(bits: list[float], size: list[float]) -> None:
    with pytest.raises(ValueError, match=r"denominators"):
        ratio(bits, size, seed=1)
