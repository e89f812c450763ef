from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.evaluation.calibration import risk_coverage
from metier.evaluation.confidence import By
from metier.evaluation.intervals import clopper_pearson
from metier.evaluation.selective import (
    CANDIDATES,
    Promise,
    Threshold,
    accuracy_at_deferral,
    aurc,
    choose_threshold,
    curves,
    fewest_all_right,
)

answers = st.lists(st.tuples(st.integers(0, 10).map(lambda x: x / 10), st.booleans()), min_size=1, max_size=60)


def test_accuracy_at_medpalms_deferral_by_hand() -> None:
    sure = np.linspace(0, 1, 41)
    right = sure > 0.4
    found = accuracy_at_deferral(sure, right, 0.45)
    assert found.accuracy.n == 23  # 55 % of 41, rounded up: never defers more than asked
    assert found.deferred == pytest.approx(18 / 41)
    assert found.accuracy.value == 1
    assert found.accuracy.low == pytest.approx(0.025 ** (1 / 23))


@given(answers, st.sampled_from([0.0, 0.1, 0.45, 0.8]))
def test_never_more_is_deferred_than_asked_and_equals_stay_together(
    drawn: list[tuple[float, bool]], asked: float
) -> None:
    sure, right = map(np.array, zip(*drawn, strict=True))
    found = accuracy_at_deferral(sure, right, asked)
    assert found.deferred <= asked + 1e-9
    assert found.accuracy.n == (sure >= found.threshold).sum()
    assert accuracy_at_deferral(sure, right, 0.0).accuracy.value == pytest.approx(right.mean())


@given(answers)
@settings(max_examples=30, deadline=None)
def test_the_area_has_an_interval_and_is_that_of_the_curve(drawn: list[tuple[float, bool]]) -> None:
    sure, right = map(np.array, zip(*drawn, strict=True))
    found = aurc(sure, right, seed=1, resamples=50)
    assert found.value == pytest.approx(risk_coverage(sure, right).aurc)
    assert found == aurc(sure, right, seed=1, resamples=50)


def test_the_interval_of_the_area_covers_that_of_all_examples() -> None:
    generator = np.random.default_rng(0)
    sure = generator.random(40_000)
    right = generator.random(40_000) < 0.5 + 0.5 * sure
    true = risk_coverage(sure, right).aurc
    samples = [generator.choice(40_000, 120, replace=False) for _ in range(120)]
    found = [aurc(sure[s], right[s], seed=0, resamples=120) for s in samples]
    assert 0.88 <= np.mean([f.low <= true <= f.high for f in found]) <= 0.995  # type: ignore[operator]


@pytest.mark.parametrize(("right", "value"), [(True, 0.0), (False, 1.0)])
def test_an_area_that_no_sample_changes_is_no_certainty(right: bool, value: float) -> None:
    area = aurc(np.linspace(0.1, 0.9, 20), [right] * 20, seed=0)
    assert area.value == value
    assert (area.low, area.high) == pytest.approx((0, 0.1684) if right else (0.8316, 1), abs=1e-4)
    assert aurc([0.9], [right], seed=0).high == pytest.approx(0.975 if right else 1.0)


def test_curves_of_votes_and_of_an_unread_answer() -> None:
    rows: list[list[float]] = [[0.9, 0.1], [0.5, 0.3, 0.2], []]
    found = curves(rows, [True, True, False], seed=0)
    assert set(found) == {"probability", "margin", "entropy"}
    for entry in found.values():
        assert [p["asked"] for p in entry["points"]][4] == 0.45
        assert entry["curve"][0]["accuracy"] == 1
        assert entry["curve"][-1] == pytest.approx(entry["curve"][-1] | {"coverage": 1, "accuracy": 2 / 3})


def simulate(generator: np.random.Generator, n: int, worst: float, top: float) -> tuple[np.ndarray, np.ndarray]:
    """Confidence u, right with probability top - worst (1 - u)²: above t the accuracy is top - worst (1 - t)² / 3."""
    sure = generator.random(n)
    return sure, generator.random(n) < top - worst * (1 - sure) ** 2


@pytest.mark.parametrize(("worst", "top"), [(0.0, 0.8999), (0.3, 0.98), (1.0, 1.0)])
@pytest.mark.parametrize("n", [80, 400])
def test_the_promise_is_broken_in_at_most_5_percent_of_simulated_splits(n: int, worst: float, top: float) -> None:
    generator = np.random.default_rng(n)
    broken, chosen = 0, 0
    for _ in range(600):
        found = choose_threshold(*simulate(generator, n, worst, top), accuracy=0.9)
        if found.value is not None:
            chosen += 1
            broken += top - worst * (1 - found.value) ** 2 / 3 < 0.9
    assert clopper_pearson(broken, 600, 0.999)[0] <= 0.05
    if n == 400 and worst:
        assert chosen > 60  # it does find thresholds


def test_answers_good_enough_as_they_are_are_all_given() -> None:
    generator = np.random.default_rng(0)
    found = choose_threshold(*simulate(generator, 1000, 0.0, 0.97), accuracy=0.9)
    assert found.value == 0.0
    assert found.answered == 1000


def test_the_threshold_is_where_accuracy_is_enough_and_counts_what_it_says() -> None:
    sure, right = simulate(np.random.default_rng(3), 4000, 1.0, 1.0)
    found = choose_threshold(sure, right, accuracy=0.9)
    assert found.value is not None
    assert 0.452 < found.value < 0.6  # 1 - √0.3 is where it is just enough
    answered = sure >= found.value
    assert (found.answered, found.right) == (answered.sum(), right[answered].sum())
    level = 0.05 / CANDIDATES
    assert clopper_pearson(found.right, found.answered, 1 - 2 * level)[0] >= 0.9  # the one-sided bound


def test_too_few_examples_and_a_hopeless_model_are_told_apart() -> None:
    few = choose_threshold(np.linspace(0, 1, 20), np.ones(20), accuracy=0.9)
    assert few.value is None
    assert f"it would take {fewest_all_right(0.9, 0.005)} examples" in str(few.reason)
    poor = choose_threshold(np.linspace(0, 1, 200), np.arange(200) % 2, accuracy=0.9)
    assert poor.value is None
    assert "100 of 200 answers are right" in str(poor.reason)


def test_all_equally_sure_is_all_or_nothing() -> None:
    sure = np.full(300, 0.7)
    right = np.arange(300) % 20 > 0
    assert choose_threshold(sure, right, accuracy=0.9).answered == 300
    assert choose_threshold(sure, right, accuracy=0.94).value is None


@pytest.mark.parametrize(("accuracy", "held"), [(0.85, "shown"), (0.94, "yes"), (0.97, "not refuted"), (0.99, "no")])
def test_what_became_of_a_promise(accuracy: float, held: str) -> None:
    rows = [[0.9, 0.1]] * 100 + [[0.6, 0.4]] * 100
    right = [True] * 95 + [False] * 5 + [False] * 100
    promise = Promise(accuracy, 0.95, "probability", Threshold(0.8, 300, 150, 140))
    found = promise.measure(rows, right)
    assert found["coverage"]["value"] == 0.5
    assert found["accuracy"]["value"] == 0.95
    assert found["held"] == held
    assert Promise.from_json(json.loads(json.dumps(promise.to_json()))) == promise


def test_a_promise_that_cannot_be_made_answers_nothing() -> None:
    promise = Promise.make([[0.7, 0.3]] * 30, [True] * 30, accuracy=0.9, confidence=0.95, by="margin")
    assert not promise.met
    assert not promise.answers([[1.0, 0.0]]).any()
    assert promise.measure([[1.0, 0.0]], [True])["held"] == "nothing answered"


@pytest.mark.parametrize("by", ["probability", "margin", "entropy"])
def test_a_promise_under_each_confidence(by: By) -> None:
    generator = np.random.default_rng(2)
    logits = generator.normal(0, 2, (3000, 4))
    rows = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = rows.max(axis=1) > generator.random(3000)
    promise = Promise.make(rows[:1500], right[:1500], accuracy=0.85, confidence=0.95, by=by)
    assert promise.met
    assert promise.answers(rows[:1500]).sum() == promise.found.answered
    assert promise.measure(rows[1500:], right[1500:])["held"] in ("shown", "yes")
