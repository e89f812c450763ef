"""Reading labels out of what models write, also when they write something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.evaluation.parsing import parse_label

LABELS = ["negative", "neutral", "positive"]


@pytest.mark.parametrize(
    "text", ["positive", "Positive.", " POSITIVE\n", '"positive"', "**Positive**", "positive negative",
             "positive: profit rose", "Positive\n\nThe company", "ｐｏｓｉｔｉｖｅ", "posi\N{ZERO WIDTH SPACE}tive",
             "- positive", "positive, but not negative", "positive, neutral outlook", "positive. Or negative",
             "positive!", "positive and strong", "positive; negative", "positive, positive",
             "positive (not negative)"]
)  # fmt: skip
def test_the_first_label_at_the_start_counts(text: str) -> None:
    assert parse_label(text, LABELS) == "positive"


@pytest.mark.parametrize(
    "text", ["", " \n", "1", "not positive", "positively", "positives", "non-positive", "The answer is positive",
             "posit",
             "positive_1", "positif", "positiv", "позитивный", "积极", "إيجابي", "...", "<|im_end|>", "p o s i t i v e"]
)  # fmt: skip
def test_anything_else_cannot_be_read(text: str) -> None:
    assert parse_label(text, LABELS) is None


@pytest.mark.parametrize(
    "text", ["positive/negative", "neutral/positive", "{negative/neutral/positive}", "Neutral or positive",
             "neutral | positive", "**neutral** & **positive**", "neutral to positive", "neutral, positive.",
             "negative, neutral, positive", "negative, neutral or positive", "neutral, or positive"]
)  # fmt: skip
def test_several_labels_joined_state_none(text: str) -> None:
    """An echo of the list of labels must not count as the first of them, which may be the most frequent one."""
    assert parse_label(text, LABELS) is None


def test_labels_that_hold_signs_are_no_joined_labels() -> None:
    labels = ["n/a", "strong negative", "negative", "up and down"]
    said = ("n/a", "Strong negative.", "up and down", "negative/strong negative")
    assert [parse_label(text, labels) for text in said] == ["n/a", "strong negative", "up and down", None]
    assert [parse_label(text, ["-1", "0", "1"]) for text in ("-1/0", "-1, 0 or 1", "1 0")] == [
        None, None, "1",
    ]  # fmt: skip
    assert parse_label("Yes, no doubt", ["yes", "no"]) == "yes"
    assert parse_label("alone", ["alone"]) == "alone"


def test_the_longest_of_labels_that_begin_alike() -> None:
    labels = ["up", "up strongly", "goes down"]
    assert parse_label("Up strongly!", labels) == "up strongly"
    assert parse_label("Up, strongly", labels) == "up strongly"
    assert parse_label("up a bit", labels) == "up"
    assert parse_label("goes up", labels) is None


def test_labels_that_differ_in_punctuation_alone() -> None:
    assert [parse_label(text, ["-1", "0", "1"]) for text in ("-1", "1", "1.", "0", "+1", "10")] == [
        "-1", "1", "1", "0", None, None,
    ]  # fmt: skip
    assert [parse_label(text, ["+", "-"]) for text in ("+", "-", "", "plus")] == ["+", "-", None, None]


def test_labels_in_other_scripts_are_whole_words() -> None:
    assert parse_label("सकारात्मक।", ["सकारात्मक", "नकारात्मक"]) == "सकारात्मक"
    assert parse_label("सकारात्मकता", ["सकारात्मक", "नकारात्मक"]) is None
    assert parse_label("ПОЗИТИВНЫЙ", ["позитивный", "негативный"]) == "позитивный"


@given(st.text(max_size=30))
def test_it_answers_with_a_label_or_nothing(text: str) -> None:
    assert parse_label(text, LABELS) in (*LABELS, None)


@given(st.sampled_from(LABELS), st.text(max_size=20))
def test_what_follows_the_label_does_not_matter(label: str, rest: str) -> None:
    assert parse_label(f"{label.upper()}. {rest}", LABELS) == label
    assert parse_label(f"not {label} {rest}", LABELS) is None
