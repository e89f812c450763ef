"""Numbers as a reader wants them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.report import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (9.96, "10 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (372, "6 min 12 s"), (3840, "1 h 4 min"),
     (None, "–")],
)  # fmt: skip
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds).replace(words.NBSP, " ") == text


def test_numbers_have_a_true_minus_sign_and_no_negative_zero() -> None:
    assert words.number(-0.25, 2) == "−0.25"
    assert words.number(-0.0001, 2) == "0.00"
    assert words.number(0.0001, 2, sign=True) == "0.00"
    assert words.number(0.5, 1, sign=True) == "+0.5"
    assert words.number(None) == "–"


def test_scores_carry_their_interval_or_say_that_they_have_none() -> None:
    score = {"value": 0.8771, "low": 0.855, "high": 0.897, "n": 968}
    assert words.scored(score).replace(words.NBSP, " ") == "0.877 [0.855, 0.897]"
    assert words.span({"value": 1.0, "low": None, "high": None}) == "(no interval)"


@given(st.floats(0, 1))
def test_a_p_value_is_never_said_to_be_zero(p: float) -> None:
    assert "0.000" not in words.p_value(p)


@given(st.floats(0, 1))
def test_a_threshold_is_rounded_down(p: float) -> None:
    assert float(words.threshold(p)) <= p


def test_systems_stand_from_cheap_to_dear_with_the_specialist_last() -> None:
    names = ["specialist", "zebra", "base-fewshot", "base", "tfidf", "majority", "another"]
    assert sorted(names, key=words.system_key) == [
        "majority", "tfidf", "base", "base-fewshot", "another", "zebra", "specialist",
    ]  # fmt: skip


def test_other_small_words() -> None:
    assert words.joined(["a"]) == "a"
    assert words.joined(["a", "b", "c"]) == "a, b and c"
    assert words.plural(1, "look") == "1 look"
    assert words.plural(1200, "look") == "1,200 looks"
    assert words.size(92_871_040).replace(words.NBSP, " ") == "92.9 MB"
    assert words.size(12).replace(words.NBSP, " ") == "12 B"
    assert words.metric("rouge_l").title == "rouge l"
    assert words.date("2026-10-18T07:31:44Z") == "2026-10-18 07:31 UTC"
    assert words.speed(9.42) == "9.4"
    assert words.speed(12_500.2) == "12,500"


def test_a_way_of_asking_names_its_worked_examples() -> None:
    from metier.report.asking import _setting

    about = {"settings": {"samples": 3, "exemplars": "/data/worked.yaml", "temperature": 0.7}}
    assert _setting(about) == "3 samples, temperature 0.7, worked examples of worked.yaml"
