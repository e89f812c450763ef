from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from metier.errors import MetierError
from metier.evaluation.calibration import (
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    log_probabilities,
    probability_matrix,
    reliability,
    risk_coverage,
)

logprobs = arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 5)), elements=st.floats(-200, 50))
answers = st.lists(st.tuples(st.integers(0, 20).map(lambda x: x / 20), st.booleans()), min_size=1, max_size=80)
Answers = list[tuple[float, bool]]


def softmax(rows: np.ndarray) -> np.ndarray:
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@given(logprobs)
@settings(deadline=None)
def test_temperature_one_changes_nothing(rows: np.ndarray) -> None:
    assert apply_temperature(rows, 1.0) == pytest.approx(softmax(rows))
    again = apply_temperature(log_probabilities(softmax(rows)), 1.0)
    assert again == pytest.approx(softmax(rows), abs=1e-12)


@given(logprobs, st.floats(0.05, 20))
@settings(deadline=None)
def test_temperature_keeps_the_order_and_sums_to_one(rows: np.ndarray, temperature: float) -> None:
    found = apply_temperature(rows, temperature)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(rows)))
    best = rows.argmax(axis=1)
    assert np.all(found[np.arange(len(rows)), best] >= found.max(axis=1) - 1e-12)


@given(logprobs)
@settings(deadline=None)
def test_a_hotter_temperature_is_less_certain(rows: np.ndarray) -> None:
    cold, warm, hot = (apply_temperature(rows, t).max(axis=1) for t in (0.5, 1, 3))
    assert np.all(cold >= warm - 1e-12)
    assert np.all(warm >= hot - 1e-12)


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_found(true: float) -> None:
    generator = np.random.default_rng(1)
    rows = generator.normal(0, 2, (20_000, 3))
    gold = (apply_temperature(rows, true).cumsum(axis=1) > generator.random((20_000, 1))).argmax(axis=1)
    found = fit_temperature(rows, gold)
    assert found.value == pytest.approx(true, rel=0.05)
    assert not found.at_bound
    assert found.warning is None
    assert found.nll_after <= found.nll_before


@given(logprobs, st.data())
@settings(deadline=None, max_examples=60)
def test_the_fit_is_within_bounds_and_never_worse(rows: np.ndarray, data: st.DataObject) -> None:
    gold = data.draw(arrays(np.int64, len(rows), elements=st.integers(0, rows.shape[1] - 1)))
    found = fit_temperature(rows, gold)
    assert 0.05 <= found.value <= 20
    assert found.nll_after <= found.nll_before + 1e-9
    assert np.isfinite([found.nll_before, found.nll_after]).all()


def test_all_right_by_a_wide_margin_stops_at_the_bound_and_says_so() -> None:
    rows = np.array([[0.0, -4.0], [-5.0, 0.0], [0.0, -6.0]])
    found = fit_temperature(rows, [0, 1, 0])
    assert (found.value, found.at_bound, found.n) == (0.05, True, 3)
    assert found.warning is not None
    assert "3 examples" in found.warning
    # so certain already that no temperature makes a difference: left as it is
    assert fit_temperature(rows * 1e4, [0, 1, 0]).value == 1
    assert found.served == 1
    # sure and wrong: as modest as can be, never left as it is
    wrong = fit_temperature(rows, [1, 0, 1])
    assert (wrong.value, wrong.served, wrong.at_bound) == (20, 20, True)


def test_no_information_leaves_the_temperature_at_one() -> None:
    found = fit_temperature(np.zeros((4, 3)), [0, 1, 2, 0])
    assert (found.value, found.at_bound) == (1, False)


def test_an_impossible_label_is_only_very_unlikely() -> None:
    found = fit_temperature(np.array([[0.0, -np.inf], [-1.0, 0.0]]), [1, 1])
    assert np.isfinite([found.value, found.nll_before, found.nll_after]).all()
    assert apply_temperature([[0.0, -np.inf]], 1.0) == pytest.approx(np.array([[1.0, 0.0]]))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(MetierError, match="nothing to score"):
        fit_temperature(np.zeros((0, 3)), [])
    with pytest.raises(ValueError, match="finite"):
        apply_temperature([[np.nan, 0.0]], 1.0)
    with pytest.raises(ValueError, match="above 0"):
        apply_temperature([[0.0, 0.0]], 0.0)
    with pytest.raises(ValueError, match="position"):
        fit_temperature(np.zeros((2, 3)), [0, 3])


def test_calibration_error_by_hand() -> None:
    confidence, correct = [0.95, 0.95, 0.95, 0.95, 0.55, 0.55], [True, True, True, False, True, False]
    found = reliability(confidence, correct, bins=10)
    assert found.ece == pytest.approx((4 * 0.20 + 2 * 0.05) / 6)
    assert [(b.low, b.high, b.n) for b in found.bins] == [(0.5, 0.6, 2), (0.9, 1.0, 4)]
    assert found.to_json()["binning"] == "10 bins of equal width"


@given(answers)
@settings(deadline=None)
def test_reliability_invariants(found: Answers) -> None:
    confidence, correct = zip(*found, strict=True)
    result = reliability(confidence, correct)
    assert 0 <= result.ece <= 1
    assert sum(b.n for b in result.bins) == len(found)
    assert all(b.low - 1e-12 <= b.confidence <= b.high + 1e-12 and 0 <= b.accuracy <= 1 for b in result.bins)
    assert sum(b.n * b.accuracy for b in result.bins) == pytest.approx(sum(correct))
    # the error is at least the distance of the overall means, and one bin attains it
    gap = abs(np.mean(confidence) - np.mean(correct))
    assert result.ece >= gap - 1e-9
    assert expected_calibration_error(confidence, correct, bins=1) == pytest.approx(gap)
    assert expected_calibration_error(confidence[::-1], correct[::-1]) == pytest.approx(result.ece)


def test_fitting_lowers_the_calibration_error_of_an_overconfident_model() -> None:
    generator = np.random.default_rng(4)
    rows = generator.normal(0, 3, (4000, 3))
    gold = (apply_temperature(rows, 3).cumsum(axis=1) > generator.random((4000, 1))).argmax(axis=1)
    right = rows.argmax(axis=1) == gold
    fitted = fit_temperature(rows[:2000], gold[:2000]).value
    before, after = (
        expected_calibration_error(apply_temperature(rows[2000:], t).max(axis=1), right[2000:]) for t in (1, fitted)
    )
    assert before > 0.15
    assert after < 0.05


@given(answers)
@settings(deadline=None)
def test_risk_coverage_invariants(found: Answers) -> None:
    confidence, correct = zip(*found, strict=True)
    curve = risk_coverage(confidence, correct)
    assert curve.points[-1].coverage == 1
    assert curve.points[-1].risk == pytest.approx(1 - np.mean(correct))
    assert len(curve.points) == len(set(confidence))
    assert all(0 <= p.low <= p.risk <= p.high <= 1 for p in curve.points)
    assert [p.threshold for p in curve.points] == sorted(set(confidence), reverse=True)
    for point in curve.points:
        kept = [c for x, c in found if x >= point.threshold]
        assert point.coverage == pytest.approx(len(kept) / len(found))
        assert point.risk == pytest.approx(1 - np.mean(kept))
    assert 0 <= curve.aurc <= 1
    assert risk_coverage(confidence[::-1], correct[::-1]) == curve


def test_area_by_hand() -> None:
    # without ties: the mean risk of the k surest, here 0, 0, 1/3, 1/4
    assert risk_coverage([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1]).aurc == pytest.approx((1 / 3 + 1 / 4) / 4)
    # all tied: one threshold, whose risk is the error rate
    assert risk_coverage([0.5] * 4, [1, 1, 0, 1]).aurc == pytest.approx(0.25)


def test_long_curves_are_thinned_but_keep_their_ends() -> None:
    confidence = np.linspace(0.3, 1, 1000)
    curve = risk_coverage(confidence, np.arange(1000) % 3 > 0)
    thin = curve.to_json()
    assert len(thin) == 200
    assert thin[0] == vars(curve.points[0])
    assert thin[-1] == vars(curve.points[-1])


def test_confidence_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        risk_coverage([1.2], [True])
    with pytest.raises(MetierError, match="nothing to score"):
        reliability([], [])


def test_probability_matrix_fills_what_is_missing() -> None:
    matrix = probability_matrix([{"a": 1.0}, {"b": 0.4, "a": 0.6}], ["b", "a"])
    assert matrix.tolist() == [[0, 1], [0.4, 0.6]]
    assert probability_matrix([], ["a", "b"]).shape == (0, 2)
