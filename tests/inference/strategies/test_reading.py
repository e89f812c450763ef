"""What a free text states, and what it only mentions; samples on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.inference.strategies import Sample, read_samples, write_samples
from metier.inference.strategies.questions import Question
from metier.inference.strategies.reading import read_choice
from metier.inference.strategies.samples import seed_of
from metier.tasks import Example

TEXTS = ("red", "light blue", "green")
EXAMPLE = Example("q", {"text": "Colour?"}, "green", TEXTS)
LETTERS = Question(EXAMPLE, {}, ("A", "B", "C"), TEXTS, ("0", "1", "2"), "letter")
WORDS = Question(EXAMPLE, {}, TEXTS, TEXTS, ("0", "1", "2"), "text")


@pytest.mark.parametrize(
    ("text", "letter", "word"),
    [
        ("Grass grows. The answer is (C).", "2", None),
        ("the answer is C", "2", None),
        ("The answer is: (C) green", "2", "2"),
        ("Answer: light blue", "1", "1"),
        ("B. light blue", "1", None),
        ("(B)", "1", None),
        ("It may be red or green. Who knows?", None, None),
        ("The answer is (A). No: the answer is (B).", "1", None),
        ("A: green", None, None),  # the letter of one option with the words of another
        ("The answer is (D).", None, None),
        ("A common question", None, None),
        ("thinking\nGreen.", "2", "2"),
        ("", None, None),
        ("The answer is option C because grass is.", "2", None),
        ("The answer to this question is B.", "1", None),
        ("So \\boxed{B} it is", "1", None),
        ("Finally: $\\boxed{\\text{green}}$.", "2", "2"),
        ("**Answer:** B", "1", None),
        ("Answer (B)", "1", None),
        ("C because grass is green", "2", None),
        ("Green, because grass is.", "2", "2"),
        ("Green. Grass is.", "2", "2"),
        ("C: green", "2", None),
        # only mentioned
        ("Green grass is seen in spring.", None, None),
        ("Green, red and blue are colours.", None, None),
        ("It is so.\nRed light says nothing.", None, None),
        ("A. 45-year-old man sees red.", None, None),
        ("A) red is wrong", None, None),
        ("A, B and C are all possible. The answer could be anything.", None, None),
        ("The answer is (A) or (B).", None, None),
        ("The answer is red or green.", None, None),
        ("I cannot answer. Red light says nothing.", None, None),
    ],
)
def test_what_a_text_states(text: str, letter: str | None, word: str | None) -> None:
    assert read_choice(text, LETTERS) == letter
    assert read_choice(text, WORDS) == word


@given(st.sampled_from(TEXTS), st.from_regex(r"[a-z]{2,8}( [a-z]{2,8}){0,3}", fullmatch=True))
def test_words_behind_an_option_make_it_a_mention(option: str, more: str) -> None:
    assert read_choice(option, WORDS) == read_choice(f"{option}.", LETTERS) == str(TEXTS.index(option))
    mentioned = f"{option} {more}"
    stated = more.split()[0] in ("because", "since")
    assert read_choice(mentioned, WORDS) == (str(TEXTS.index(option)) if stated else None)


def test_samples_are_kept_as_they_are(tmp_path: Path) -> None:
    samples = [
        Sample("q", "rationale", 0, "hm\n\u2026", True, "0", 0.5, None, None, 7, 0.25),
        Sample("q", "summary", 1, "", False, document="a#0"),
    ]
    write_samples(tmp_path / "s.parquet", samples)
    assert read_samples(tmp_path / "s.parquet") == samples
    with pytest.raises(MetierError, match="cannot be read"):
        read_samples(tmp_path / "absent.parquet")


def test_seeds_differ_by_question_stage_and_number() -> None:
    seeds = {seed_of(s, q, stage, n) for s in (0, 1) for q in ("a", "b") for stage in ("x", "y") for n in range(3)}
    assert len(seeds) == 24
    assert seed_of(0, "a", "x", 0) == seed_of(0, "a", "x", 0)
