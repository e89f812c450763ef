from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from metier.evaluation.intervals import clopper_pearson
from metier.evaluation.paired import accuracy_difference, difference, mcnemar_exact

LABELS = ["positive", "neutral", "negative"]
answers = st.sampled_from([*LABELS, None])
triples = st.lists(st.tuples(st.sampled_from(LABELS), answers, answers), min_size=1, max_size=50)
Triples = list[tuple[str, str | None, str | None]]


def table(both: int, only_a: int, only_b: int, neither: int) -> tuple[list[bool], list[bool]]:
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    return a, [True] * both + [False] * only_a + [True] * only_b + [False] * neither


def test_published_example() -> None:
    # two media for culturing tubercle bacilli: Armitage & Berry 1994, p. 127; exact two-sided P = 0.0129
    result = mcnemar_exact(*table(20, 12, 2, 16))
    assert (result["only_a"], result["only_b"], round(result["p"], 4)) == (12, 2, 0.0129)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 50))
@settings(deadline=None)
def test_mcnemar_equals_the_binomial_test(only_a: int, only_b: int, both: int) -> None:
    p = mcnemar_exact(*table(both, only_a, only_b, 3))["p"]
    expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
    assert p == pytest.approx(expected, rel=1e-9)
    assert p == mcnemar_exact(*table(both, only_b, only_a, 3))["p"]
    assert 0 < p <= 1


def test_mcnemar_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="different numbers"):
        mcnemar_exact([True], [True, False])


def test_a_true_null_is_rejected_no_oftener_than_promised() -> None:
    generator = np.random.default_rng(3)
    rejected = [
        mcnemar_exact((generator.random(200) < 0.8).tolist(), (generator.random(200) < 0.8).tolist())["p"] < 0.05
        for _ in range(1000)
    ]
    assert np.mean(rejected) <= 0.06


@given(triples, st.randoms())
@settings(deadline=None, max_examples=60)
def test_difference_equals_scikit_learn_and_ignores_order(found: Triples, shuffle: random.Random) -> None:
    golds, a, b = (list(column) for column in zip(*found, strict=True))
    score = difference(golds, a, b, LABELS, seed=5, resamples=100)
    mine, theirs = (
        f1_score(golds, [x or "?" for x in side], labels=LABELS, average="weighted", zero_division=0) for side in (a, b)
    )
    assert score.value == pytest.approx(mine - theirs)
    assert score.low is not None
    assert score.high is not None
    assert -1 <= score.low <= score.value <= score.high <= 1
    shuffled = list(found)
    shuffle.shuffle(shuffled)
    assert difference(*(list(c) for c in zip(*shuffled, strict=True)), LABELS, seed=5, resamples=100) == score


def test_systems_that_never_disagree_do_not_claim_certainty() -> None:
    score = difference(["positive"] * 20, ["neutral"] * 20, ["neutral"] * 20, LABELS, seed=1)
    assert score.value == 0
    assert (score.low, score.high) == pytest.approx((-0.1684, 0.1684), abs=1e-4)


@pytest.mark.parametrize("metric", ["accuracy", "weighted_f1", "macro_f1"])
@pytest.mark.parametrize(
    ("golds", "this", "other"),
    [
        (["positive"] * 20, ["neutral"] * 20, [None] * 20),  # never right, each in its own way
        (["positive"] * 20, ["positive", "neutral"] * 10, ["positive", None] * 10),
        (["positive"], ["neutral"], [None]),
    ],
)
def test_what_no_sample_changes_is_no_certainty(
    golds: list[str], this: list[str | None], other: list[str | None], metric: str
) -> None:
    end = float(clopper_pearson(0, len(golds))[1])
    score = difference(golds, this, other, LABELS, metric=metric, seed=1)
    assert (score.value, score.low, score.high) == pytest.approx((0, -end, end))
    if len(golds) > 1:
        by_four = difference(golds, this, other, LABELS, metric=metric, seed=1, groups=np.arange(20) // 4)
        assert by_four.high == pytest.approx(float(clopper_pearson(0, 5)[1]))


@settings(max_examples=100)
@given(triples, st.sampled_from(["accuracy", "weighted_f1", "macro_f1"]), st.integers(1, 5))
def test_no_interval_is_without_width(found: Triples, metric: str, size: int) -> None:
    golds, a, b = (list(column) for column in zip(*found, strict=True))
    for groups in (None, np.arange(len(found)) // size):
        score = difference(golds, a, b, LABELS, metric=metric, seed=5, resamples=50, groups=groups)
        assert (score.high or 0) - (score.low or 0) > 1e-6


@pytest.mark.parametrize("value", [1, -1])
@pytest.mark.parametrize("metric", ["accuracy", "weighted_f1", "macro_f1"])
def test_always_right_against_never_does_not_claim_certainty(value: int, metric: str) -> None:
    golds, wrong = ["positive", "neutral"] * 10, ["neutral", "positive"] * 10
    this, other = (golds, wrong) if value == 1 else (wrong, golds)
    score = difference(golds, this, other, LABELS, metric=metric, seed=1)
    assert (score.value, score.low, score.high) == pytest.approx((value, *sorted((value, value * 0.8316))), abs=1e-4)
    pairs = difference(golds, this, other, LABELS, metric=metric, seed=1, groups=np.arange(20) // 4)
    assert min(abs(pairs.low or 0), abs(pairs.high or 0)) == pytest.approx(0.4782, abs=1e-4)  # five groups


def test_pairing_narrows_the_interval() -> None:
    golds = ["positive"] * 200
    a = ["positive"] * 150 + ["neutral"] * 50
    alike, crossed = ["positive"] * 140 + ["neutral"] * 60, ["neutral"] * 60 + ["positive"] * 140
    near = difference(golds, a, alike, LABELS, metric="accuracy", seed=1)
    far = difference(golds, a, crossed, LABELS, metric="accuracy", seed=1)
    assert near.value == pytest.approx(far.value) == pytest.approx(0.05)
    assert (near.high or 0) - (near.low or 0) < ((far.high or 0) - (far.low or 0)) / 2


def test_accuracy_difference_needs_no_labels() -> None:
    golds = ["positive"] * 10 + ["negative"] * 10
    a, b = ["positive"] * 20, ["negative"] * 5 + ["positive"] * 15
    right = [[g == x for g, x in zip(golds, side, strict=True)] for side in (a, b)]
    quick = accuracy_difference(right[0], right[1], seed=2)
    assert quick.value == pytest.approx(difference(golds, a, b, LABELS, metric="accuracy", seed=2).value)
    assert quick.n == 20


def test_difference_covers_near_95_percent() -> None:
    generator = np.random.default_rng(8)
    covered = []
    for trial in range(200):
        hard = generator.random(250) < 0.3
        a = generator.random(250) < np.where(hard, 0.5, 0.95)
        b = generator.random(250) < np.where(hard, 0.4, 0.90)
        truth = 0.3 * 0.1 + 0.7 * 0.05
        score = accuracy_difference(a.tolist(), b.tolist(), seed=trial, resamples=500)
        covered.append(score.low is not None and score.high is not None and score.low <= truth <= score.high)
    assert 0.89 <= np.mean(covered) <= 0.99
