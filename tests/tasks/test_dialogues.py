"""Cells of messages: what is said keeps its lines, and every turn can be told from the next."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from metier.sources.tables import Row
from metier.tasks.dialogues import as_text, before_answer, dialogue, last_answers, lone_answer, written

ROLES = ("System", "User", "Assistant", "Patient")
WORDS = st.text(alphabet="ab \n\t:-`é").map(str.strip).filter(bool)
TURNS = st.lists(st.tuples(st.sampled_from(ROLES), WORDS | st.just("hi\nAssistant: no\n\n  x")), min_size=2, max_size=4)


def cell(*turns: tuple[str, object]) -> str:
    return json.dumps([{"role": who, "content": said} for who, said in turns])


@given(TURNS)
def test_turns_can_be_told_apart_and_keep_their_words(turns: list[tuple[str, str]]) -> None:
    assert dialogue(cell(*turns)) == turns
    text = written(turns)
    starts = [match.start() for match in re.finditer(rf"^({'|'.join(ROLES)}): ", text, re.MULTILINE)]
    assert len(starts) == len(turns)
    for (who, said), start, end in zip(turns, starts, [*starts[1:], len(text) + 1], strict=True):
        lines = text[start : end - 1].removeprefix(f"{who}: ").split("\n")
        assert [line.strip() for line in lines] == [line.strip() for line in said.split("\n")]


def test_code_keeps_its_shape() -> None:
    said = "Look:\n```\nif x:\n    y()\n\nz()\n```"
    shown = "User: Look:\n  ```\n  if x:\n      y()\n\n  z()\n  ```\nAssistant: Yes."
    assert as_text(cell(("user", f"\n{said} "), ("assistant", "Yes."))) == (shown, "dialogues")


@given(WORDS)
def test_what_a_user_says_alone_is_the_text_itself(said: str) -> None:
    assert as_text(cell(("user", said))) == (said, "dialogues")
    assert as_text(cell(("patient", "I cough.")))[0] == "Patient: I cough."


def test_parts_of_text_are_read_and_other_parts_are_not() -> None:
    text = [{"type": "text", "text": "one"}, {"type": "input_text", "text": "two"}]
    assert dialogue(cell(("user", text), ("assistant", "yes"))) == [("User", "one\ntwo"), ("Assistant", "yes")]
    image = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert dialogue(cell(("user", image), ("assistant", "a dog"))) is None


def test_an_answer_is_found_and_taken_away() -> None:
    asked, answer = ("user", "Well?"), ("assistant", "- a\n- b")
    assert lone_answer(cell(answer)) == "- a\n- b"
    for other in (cell(asked), cell(asked, answer), "[]", "yes", None):
        assert lone_answer(other) is None
    assert shown(cell(asked, answer)) == ("Well?", True)
    assert shown(cell(asked, answer, asked, answer)) == ("User: Well?\nAssistant: - a\n  - b\nUser: Well?", True)
    assert shown(cell(answer)) == ("", True)
    for open_still in (cell(asked), cell(asked, answer, asked), "plain", None, 3):
        assert before_answer(open_still) == (open_still, False)
        assert before_answer(open_still)[0] is open_still


def shown(value: str) -> tuple[object, bool]:
    """What is shown of a cell, and whether an answer was taken away."""
    left, cut = before_answer(value)
    return as_text(left)[0], cut


def test_turns_that_are_written_out_are_read_as_messages() -> None:
    said = [("Patient", "My arm itches.\nSince Monday: all of it."), ("Doctor", "Use a cream.")]
    listed = json.dumps(["patient: My arm itches.\nSince Monday: all of it.", "doctor: Use a cream."])
    plain = "Patient: My arm itches.\nSince Monday: all of it.\n\nDOCTOR : Use a cream.\n"
    asked = "Patient: My arm itches.\n  Since Monday: all of it."
    assert dialogue(listed) == said
    assert as_text(listed) == (f"{asked}\nDoctor: Use a cream.", "dialogues")
    assert shown(listed) == shown(plain) == shown(f"\n{plain}") == (asked, True)
    assert shown("Patient: My arm itches.\nSince Monday: all of it.") == (asked, False)
    (row,) = last_answers([Row(1, {"talk": plain})], "talk", "answer", "talks.csv")
    assert (as_text(row.values["talk"])[0], row.values["answer"]) == (asked, "Use a cream.")
    # a text that is not asked for its last answer stays as it is, and so does one that only mentions a speaker
    assert as_text(plain) == (plain, None)
    assert dialogue(json.dumps(["patient: I cough.", "He sneezes."])) is None
    for other in ("The doctor: a novel.", "Outpatient: seen.", "Doctors: two"):
        assert before_answer(other) == (other, False)


def test_a_list_of_texts_is_one_a_line_and_so_are_objects_that_hold_one() -> None:
    snippets = [{"text": "Iron helped.", "document": "d1"}, {"text": "In adults."}]
    for held in (["Iron helped.", "In adults."], snippets, [snippets[0], "In adults."]):
        assert as_text(json.dumps(held)) == ("Iron helped.\nIn adults.", "lists of texts")
    for other in ([{"text": 3}], [{"title": "x"}], ["a", 1], []):
        assert as_text(json.dumps(other)) == (json.dumps(other), None)
