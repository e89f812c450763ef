"""Statistics of rubrics against worked examples and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from metier.evaluation.rubric_agreement import (
    Vote,
    agreement_among,
    agreement_of_pairs,
    fleiss_kappa,
    randolph_kappa,
)
from metier.evaluation.rubric_clusters import difference, least_p, permutation_p, share, tally
from metier.evaluation.rubric_length import by_thirds, length_by_system, longer_is_better, unequal_pairs

# 14 raters, 10 subjects, 5 categories: the worked example in general use for Fleiss' κ; P̄ = 0.378, P_e = 0.213
FLEISS = np.array(
    [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ],
    np.float64,
)  # fmt: skip


def votes_of(counts: np.ndarray) -> list[Vote]:
    return [
        Vote(f"q{row}", f"i{row}", f"r{rater}", str(option))
        for row, line in enumerate(counts)
        for rater, option in enumerate(np.repeat(np.arange(len(line)), line.astype(int)))
    ]


def test_fleiss_and_randolph_by_hand() -> None:
    assert fleiss_kappa(FLEISS) == pytest.approx(0.210, abs=5e-4)
    assert randolph_kappa(FLEISS) == pytest.approx((0.37802 - 0.2) / 0.8, abs=1e-4)
    # two raters, two options, three items: agree, agree, differ. P̄ = 2/3; shares 0.5 and 0.5: both κ = 1/3
    small = np.array([[2, 0], [0, 2], [1, 1]], np.float64)
    assert fleiss_kappa(small) == pytest.approx(1 / 3)
    assert randolph_kappa(small) == pytest.approx(1 / 3)
    # nearly all one option: Fleiss falls below 0 while nine of ten items agree, Randolph does not
    skewed = np.array([[2, 0]] * 9 + [[1, 1]], np.float64)
    assert fleiss_kappa(skewed) == pytest.approx((0.9 - (0.95**2 + 0.05**2)) / (1 - (0.95**2 + 0.05**2)))
    assert fleiss_kappa(skewed) < 0
    assert randolph_kappa(skewed) == pytest.approx(0.8)


def test_agreement_of_all_has_the_same_values_and_holds_them() -> None:
    found = agreement_among(votes_of(FLEISS), list("01234"), seed=0)
    assert found is not None
    assert (found["items"], found["ratings"], found["questions"]) == (10, 140, 10)
    assert found["fleiss"]["value"] == pytest.approx(fleiss_kappa(FLEISS))
    assert found["randolph"]["value"] == pytest.approx(randolph_kappa(FLEISS))
    for name in ("raw", "fleiss", "randolph"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
        assert found[name]["n"] == 10
    assert agreement_among(votes_of(FLEISS), list("01234"), seed=0) == found


def test_full_agreement_and_none_at_all() -> None:
    same = [Vote(f"q{i}", f"i{i}", rater, "yes" if i % 2 else "no") for i in range(20) for rater in "ab"]
    found = agreement_among(same, ["yes", "no"], seed=0)
    assert found is not None
    assert (found["fleiss"]["value"], found["fleiss"]["high"]) == (1, 1)
    # lower Clopper-Pearson end of 20 of 20, corrected for an agreement by chance of one half
    assert found["randolph"]["low"] == pytest.approx((0.025 ** (1 / 20) - 0.5) / 0.5)
    always = [Vote(f"q{i}", f"i{i}", rater, "yes") for i in range(5) for rater in "ab"]
    flat = agreement_among(always, ["yes", "no"], seed=0)
    assert flat is not None
    assert flat["fleiss"]["value"] is None
    assert "by chance" in flat["fleiss"]["reason"]
    assert flat["randolph"]["value"] == 1
    assert agreement_among([Vote("q", "i", "a", "yes")], ["yes", "no"], seed=0) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2, max_size=40))
@settings(deadline=None, max_examples=40)
def test_cohen_of_pairs_equals_scikit_learn(drawn: list[tuple[str, str]]) -> None:
    votes = [
        Vote(f"q{i // 2}", f"i{i}", f"r{place}", one) for i, both in enumerate(drawn) for place, one in enumerate(both)
    ]
    [pair] = agreement_of_pairs(votes, list("abc"), seed=0)
    assert pair["raters"] == ["r0", "r1"]
    assert pair["items"] == len(drawn)
    if len({one for both in drawn for one in both}) == 1:
        assert pair["cohen"]["value"] is None
    else:
        assert pair["cohen"]["value"] == pytest.approx(cohen_kappa_score(*zip(*drawn, strict=True)), abs=1e-9)


def test_no_agreement_and_the_same_of_every_question_are_not_certainty() -> None:
    never = [Vote(f"q{n}", "i", rater, value) for n in range(20) for rater, value in (("a", "yes"), ("b", "no"))]
    found = agreement_among(never, ["yes", "no"], seed=0)
    assert found is not None
    end = 1 - 0.025 ** (1 / 20)
    assert (found["raw"]["value"], found["raw"]["low"], found["raw"]["high"]) == pytest.approx((0, 0, end))
    assert (found["randolph"]["low"], found["randolph"]["high"]) == pytest.approx((-1, 2 * end - 1))
    two_of_three = [*never, *(Vote(f"q{n}", "i", "c", "yes") for n in range(20))]
    third = agreement_among(two_of_three, ["yes", "no"], seed=0)
    assert third is not None
    assert (third["raw"]["low"], third["raw"]["high"]) == pytest.approx((1 / 3 - end, 1 / 3 + end))


def test_permutation_by_hand() -> None:
    all_good, none_good = np.array([[1.0, 1]] * 3), np.array([[0.0, 1]] * 3)
    # of the 8 ways to name them only two are as far apart
    assert permutation_p(all_good, none_good, seed=0) == pytest.approx(2 / 8)
    assert permutation_p(all_good, all_good, seed=0) == 1
    assert least_p(3) == 2 / 8
    assert least_p(100) == 1 / 10_001
    many = permutation_p(np.array([[1.0, 1]] * 40), np.array([[0.0, 1]] * 40), seed=0)
    assert many == pytest.approx(1 / 10_001)


def test_permutation_p_is_uniform_where_names_mean_nothing() -> None:
    generator = np.random.default_rng(4)
    found = []
    for trial in range(400):
        hard = generator.uniform(0.2, 0.8, size=40)  # each question is as hard for both
        first, second = (np.stack([generator.binomial(200, hard), np.full(40, 200)], 1).astype(float) for _ in range(2))
        found.append(permutation_p(first, second, seed=trial, permutations=499))
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert stats.binomtest(sum(p <= 0.05 for p in found), 400, 0.05).pvalue > 0.01


def test_permutation_with_few_ratings_never_exceeds_its_level() -> None:
    generator = np.random.default_rng(5)
    small = [
        permutation_p(*(np.stack([generator.integers(0, 2, 9), np.ones(9)], 1).astype(float) for _ in range(2)), seed=0)
        for _ in range(300)
    ]
    assert sum(p <= 0.05 for p in small) / 300 <= 0.05 + 2 * (0.05 * 0.95 / 300) ** 0.5


def test_clustered_intervals_cover_though_ratings_of_a_question_are_alike() -> None:
    generator = np.random.default_rng(1)
    covered = naive = 0
    for _ in range(300):
        level = generator.beta(1.5, 0.5, size=60)  # mean 0.75, questions far apart
        hits = generator.binomial(8, level).astype(float)
        score = share(hits, np.full(60, 8.0), seed=0)
        assert score.low is not None
        assert score.high is not None
        covered += score.low <= 0.75 <= score.high
        half = 1.96 * (score.value * (1 - score.value) / 480) ** 0.5
        naive += abs(score.value - 0.75) <= half
    assert 0.91 <= covered / 300 <= 0.98
    assert naive / 300 < 0.75  # as if all ratings were independent: this is why questions are resampled


def test_few_questions_have_wider_tails() -> None:
    hits, n = np.arange(12.0) % 4, np.full(12, 3.0)
    score = share(hits, n, seed=0)
    drawn = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=2000) @ hits / 36
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert (score.high or 0) - (score.low or 0) > 1.08 * (high - low)


def test_no_spread_is_not_certainty() -> None:
    every = share(np.full(20, 3.0), np.full(20, 3.0), seed=0)
    assert (every.value, every.high, every.n) == (1, 1, 60)
    assert every.low == pytest.approx(0.025 ** (1 / 20))  # 20 questions, not 60 ratings
    apart = difference(np.array([[1.0, 1]] * 20), np.array([[0.0, 1]] * 20), seed=0)
    assert (apart.value, apart.high) == (1, 1)
    assert apart.low == pytest.approx(0.025 ** (1 / 20))
    alone = share(np.array([1.0]), np.array([2.0]), seed=0)
    assert alone.low is None
    assert alone.reason


def test_difference_is_on_shared_questions() -> None:
    first = np.array([[2.0, 2], [1, 2], [5, 5]])
    second = np.array([[0.0, 2], [1, 2], [0, 0]])
    found = difference(first, second, seed=0)
    assert found.value == pytest.approx(3 / 4 - 1 / 4)
    assert found.n == 8
    assert tally(np.array([0, 0, 2]), np.array([1.0, 0, 1]), 3).tolist() == [[1, 2], [0, 0], [1, 1]]


def test_length_of_answers() -> None:
    lengths = {
        (f"q{i}", system): 10 * i + (100 if system == "long" else 1) for i in range(30) for system in ("long", "short")
    }
    assert length_by_system(lengths)["long"] == {"low": 172.5, "median": 245.0, "high": 317.5, "n": 30}
    by_length = [(q, s, n >= 200) for (q, s), n in lengths.items()]
    thirds = by_thirds(by_length, lengths, seed=0)
    assert [third["answers"] for third in thirds] == [20, 20, 20]
    assert [third["third"] for third in thirds] == ["shortest", "middle", "longest"]
    assert thirds[0]["share"]["value"] == 0
    assert thirds[2]["share"]["value"] == 1
    assert thirds[0]["to"] < thirds[1]["from"] <= thirds[1]["to"] < thirds[2]["from"]
    told = longer_is_better(unequal_pairs(by_length, lengths), seed=0)
    assert told is not None
    assert told["value"] == 1
    reverse = [(q, s, s == "short") for q, s in lengths]
    told = longer_is_better(unequal_pairs(reverse, lengths), seed=0)
    assert told is not None
    assert told["value"] == 0
    assert longer_is_better(unequal_pairs([(q, s, True) for q, s in lengths], lengths), seed=0) is None
    same = dict.fromkeys(lengths, 5)
    assert sum(third["answers"] for third in by_thirds(by_length, same, seed=0)) == 60
