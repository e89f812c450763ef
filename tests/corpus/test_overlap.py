from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.corpus import words
from metier.corpus.decontaminate import DROPPED, overlap_step
from metier.corpus.overlap import Questions
from metier.corpus.text import Tally, Text
from tests.corpus.prose import prose

QUESTION = (
    "A 34-year-old woman comes to the clinic with two weeks of fever, a dry cough and pain in both knees; "
    "which of the following organisms is the most likely cause of her present illness?"
)
SHORT = "What causes yellow fever outbreaks?"


def cleaned(text: str, tasks: dict[str, list[str]]) -> tuple[list[str], Tally]:
    tally = Tally()
    found = overlap_step(Questions(tasks))(iter([Text(0, "d", text, None, "g")]), tally)
    return [one.text for one in found], tally


def counts(tally: Tally, task: str) -> dict[str, int]:
    return {width: len(found) for width, found in tally.overlap.get(task, {}).items()}


def test_a_question_is_cut_with_its_margin_and_counted() -> None:
    before, after = prose(1, 150), prose(2, 150)
    kept, tally = cleaned(f"{before}\n{QUESTION.upper()}\n{after}", {"medqa": [prose(9), QUESTION]})
    assert len(kept) == 1
    assert "knees" not in kept[0].lower()
    assert kept[0].startswith(before[: len(before) - 210])
    assert kept[0].endswith(after[220:])
    assert counts(tally, "medqa") == {
        "whole question": 1,
        "13 words": 1,
        "120 characters": 1,
        "questions": 1,
        "documents": 1,
    }


def test_a_part_of_thirteen_words_is_enough_and_twelve_are_not() -> None:
    words = QUESTION.split()
    around = prose(3, 100), prose(4, 100)
    part = " ".join(words[5:17])
    kept, tally = cleaned(f"{around[0]} {part} {around[1]}", {"t": [QUESTION]})
    assert part in kept[0]
    assert not tally.overlap
    part = " ".join(words[5:18])
    kept, tally = cleaned(f"{around[0]} {part} {around[1]}", {"t": [QUESTION]})
    assert part not in kept[0]
    assert counts(tally, "t") == {"13 words": 1, "questions": 1, "documents": 1}


def test_a_short_question_counts_only_as_a_whole() -> None:
    around = prose(3, 100), prose(4, 100)
    kept, tally = cleaned(f"{around[0]} {SHORT} {around[1]}", {"t": [SHORT]})
    assert "yellow" not in kept[0]
    assert counts(tally, "t")["whole question"] == 1
    kept, tally = cleaned(f"{around[0]} what causes yellow fever {around[1]}", {"t": [SHORT]})
    assert "yellow" in kept[0]
    assert not tally.overlap


def test_120_and_512_characters_of_a_long_question() -> None:
    long = prose("exam", 200)
    kept, tally = cleaned(f"{prose(1, 100)} {long[100:700]} {prose(2, 100)}", {"t": [long]})
    assert long[150:650] not in kept[0]
    assert counts(tally, "t")["512 characters"] == 1
    _, tally = cleaned(f"{prose(1, 100)} {long[100:400]} {prose(2, 100)}", {"t": [long]})
    assert "512 characters" not in counts(tally, "t")
    assert counts(tally, "t")["120 characters"] == 1


def test_a_text_that_is_the_question_or_falls_to_pieces_is_dropped() -> None:
    kept, tally = cleaned(QUESTION, {"t": [QUESTION]})
    assert not kept
    assert tally.dropped == {DROPPED: 1}
    assert tally.samples[DROPPED][0]["detail"] == "t"
    many = " ".join(f"{prose(n, 150)} {QUESTION}" for n in range(12))
    assert not cleaned(many, {"t": [QUESTION]})[0]


def test_questions_longer_than_a_million_characters_are_found_in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = Questions({"t": [prose(n, 3000) for n in range(60)]})
    monkeypatch.setattr(words, "_powers", [powers[: 1 << 20] for powers in words._powers])  # as a worker begins
    last = prose(59, 3000)
    found = questions.find([f"{prose('before', 100)} {last[-900:]} {prose('behind', 100)}"])
    assert [match.question for match in found[0] if "512 characters" in match.widths] == [59]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(13, 40), st.integers(0, 3))
def test_any_run_of_a_question_is_found_wherever_it_stands(first: int, length: int, seed: int) -> None:
    question = prose(f"q{seed}", 110)
    part = " ".join(question.split()[first : first + length])
    found = Questions({"a": [prose(8), question]}).find([prose(11, 60), f"{prose(12, 40)} {part} {prose(13, 40)}"])
    assert not found[0]
    assert any(match.question == 1 and "13 words" in match.widths for match in found[1])
