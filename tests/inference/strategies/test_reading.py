"""What a free text states, and what it only mentions; samples on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

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
    ],
)
def test_what_a_text_states(text: str, letter: str | None, word: str | None) -> None:
    assert read_choice(text, LETTERS) == letter
    assert read_choice(text, WORDS) == word


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
