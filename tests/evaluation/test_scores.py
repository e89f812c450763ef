from __future__ import annotations

import math

import pytest

from metier.evaluation.scores import Prediction, Score


def test_json_round_trip() -> None:
    for score in (Score(0.5, 0.4, 0.6, 10), Score(1.2, None, None, 1, reason="one document")):
        assert Score.from_json(score.to_json()) == score
    assert Score(0.5, 0.4, 0.6, 10).to_json() == {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}


@pytest.mark.parametrize(
    ("value", "low", "high"), [(0.5, 0.6, 0.7), (0.5, 0.1, 0.2), (math.nan, 0.1, 0.2), (0.5, None, 0.6)]
)
def test_a_score_that_means_nothing_is_refused(value: float, low: float | None, high: float) -> None:
    with pytest.raises(ValueError, match=r"interval|finite"):
        Score(value, low, high, 3)


def test_a_missing_interval_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        Score(0.5, None, None, 3)


def predicted(answer: str | None, parsed: bool) -> Prediction:
    return Prediction(
        example_id="1",
        split="test",
        text="t",
        gold="up",
        answer=answer,
        probabilities={"up": 0.7, "down": 0.3},
        parsed=parsed,
        tokens=3,
        seconds=0.1,
    )


def test_correct_and_confidence() -> None:
    assert (predicted("up", True).correct, predicted("up", True).confidence) == (True, 0.7)
    assert (predicted("down", True).correct, predicted("down", True).confidence) == (False, 0.3)
    assert (predicted(None, False).correct, predicted(None, False).confidence) == (False, 0.0)


@pytest.mark.parametrize(("answer", "parsed"), [("up", False), (None, True)])
def test_no_substitute_for_an_unreadable_output(answer: str | None, parsed: bool) -> None:
    with pytest.raises(ValueError, match="parsed"):
        predicted(answer, parsed)
