from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.evaluation.conformal import (
    METHODS,
    Conformal,
    Method,
    calibrate,
    coverage_between,
    fewest_examples,
    measure_sets,
    prediction_sets,
    strangeness,
    too_few,
)
from metier.evaluation.intervals import clopper_pearson


def simulate(generator: np.random.Generator, n: int, labels: int, honest: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and right answers drawn from them; with ``honest`` above 1 the model is too sure, below unsure."""
    logits = generator.normal(0, 1.5, (n, labels))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gold = (true.cumsum(axis=1) > generator.random((n, 1))).argmax(axis=1)
    told = np.exp(honest * logits)
    return told / told.sum(axis=1, keepdims=True), gold


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
@pytest.mark.parametrize(("labels", "honest"), [(2, 1.0), (3, 3.0), (10, 0.5)])
def test_coverage_on_a_large_split_whatever_the_model(method: Method, level: float, labels: int, honest: float) -> None:
    generator = np.random.default_rng(labels)
    rows, gold = simulate(generator, 20_000, labels, honest)
    threshold = calibrate(rows[:10_000], gold[:10_000]).threshold(level, method)
    held = prediction_sets(rows[10_000:], threshold, method)[np.arange(10_000), gold[10_000:]].sum()
    assert held / 10_000 >= level - 0.012  # three standard errors of calibration and test together
    if method == "lac" and labels > 2:
        assert held / 10_000 <= level + 0.012  # and no more than asked, where no set would be empty


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [9, 60])
def test_small_calibrations_keep_the_guarantee_on_average(method: Method, n: int) -> None:
    generator = np.random.default_rng(n)
    held = 0
    for _ in range(1000):
        rows, gold = simulate(generator, n + 1, 4, 2.0)
        threshold = calibrate(rows[:-1], gold[:-1], [0.9]).threshold(0.9, method)
        held += prediction_sets(rows[-1:], threshold, method)[0, gold[-1]]
    assert clopper_pearson(held, 1000, 0.999)[1] >= 0.9


def test_the_coverage_of_one_calibration_lies_where_it_is_said_to() -> None:
    generator = np.random.default_rng(5)
    low, high = coverage_between(60, 0.9)
    found = []
    for _ in range(150):
        rows, gold = simulate(generator, 60, 5)
        fresh, right = simulate(generator, 800, 5)
        sets = prediction_sets(fresh, calibrate(rows, gold, [0.9]).threshold(0.9))
        found.append(sets[np.arange(800), right].mean())
    assert np.mean([low - 0.02 <= f <= high + 0.02 for f in found]) >= 0.92
    assert np.mean(found) >= 0.89


@given(st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=5))
def test_an_answer_is_as_strange_as_all_that_is_at_least_as_likely(weights: list[list[int]]) -> None:
    rows = [np.array(row) / max(1, sum(row)) for row in weights]
    strange, inside = strangeness(rows, "aps")
    for row, found, places in zip(rows, strange, inside, strict=True):
        by_hand = [row[row >= one - 1e-9].sum() for one in row]
        assert found[places] == pytest.approx(by_hand)
        assert places.sum() == len(row)


def test_memory_grows_with_the_labels_and_not_with_their_square() -> None:
    rows = np.random.default_rng(0).dirichlet(np.ones(300), size=200)
    tracemalloc.start()
    try:
        calibrate(rows, np.zeros(200, int), [0.9])
        assert tracemalloc.get_traced_memory()[1] < 20 * rows.nbytes
    finally:
        tracemalloc.stop()


def test_too_few_examples_give_all_labels_and_it_is_said() -> None:
    assert [fewest_examples(level) for level in (0.5, 0.8, 0.9, 0.95, 0.99)] == [1, 4, 9, 19, 99]
    rows, gold = simulate(np.random.default_rng(0), 18, 3)
    found = calibrate(rows, gold)
    assert found.threshold(0.94) is not None
    assert found.threshold(0.95) is None
    assert prediction_sets(rows, None).all()
    entry = next(e for e in measure_sets(found, rows, gold, seed=0) if e["level"] == 0.95)
    assert entry["note"] == too_few(18, 0.95)
    assert "it takes 19" in entry["note"]
    assert entry["coverage"]["value"] == 1
    assert entry["size"]["value"] == 3


@given(st.integers(0, 10_000), st.integers(2, 6), st.sampled_from(METHODS))
@settings(max_examples=30, deadline=None)
def test_sets_grow_with_the_level_and_hold_the_likeliest(seed: int, labels: int, method: Method) -> None:
    rows, gold = simulate(np.random.default_rng(seed), 120, labels)
    found = calibrate(rows, gold)
    before = None
    for level in (0.5, 0.7, 0.9, 0.99):
        sets = prediction_sets(rows, found.threshold(level, method), method)
        assert sets[np.arange(120), rows.argmax(axis=1)].all()
        # a set is a top of the ranking
        assert np.where(sets, rows, 2).min(axis=1) == pytest.approx(np.sort(rows)[range(120), -sets.sum(axis=1)])
        assert before is None or not (before & ~sets).any()
        before = sets


def test_questions_with_differing_numbers_of_options() -> None:
    generator = np.random.default_rng(8)
    drawn = [simulate(generator, 1, width) for width in generator.integers(2, 6, 6000)]
    rows, gold = [r[0] for r, _ in drawn], np.array([g[0] for _, g in drawn])
    found = calibrate(rows[:3000], gold[:3000])
    for method in METHODS:
        sets = prediction_sets(rows[3000:], found.threshold(0.9, method), method)
        assert sets[np.arange(3000), gold[3000:]].mean() >= 0.88
        assert not any(sets[i, len(row) :].any() for i, row in enumerate(rows[3000:]))


def test_by_hand_and_back_from_json() -> None:
    rows, gold = [[0.6, 0.3, 0.1]] * 4, [0, 0, 1, 2]
    found = calibrate(rows, gold, [0.5, 0.75])
    assert found.thresholds["lac"] == pytest.approx({0.5: 0.7, 0.75: 0.9})  # ranks 3 and 4 of 0.4, 0.4, 0.7, 0.9
    assert found.thresholds["aps"] == pytest.approx({0.5: 0.9, 0.75: 1.0})
    assert prediction_sets([[0.5, 0.35, 0.15]], found.threshold(0.5)).tolist() == [[True, True, False]]
    whole = calibrate(rows, gold)
    assert Conformal.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def test_a_right_answer_outside_its_row_is_refused() -> None:
    with pytest.raises(ValueError, match="position"):
        calibrate([[0.5, 0.5], [0.2, 0.3, 0.5]], [2, 1])
