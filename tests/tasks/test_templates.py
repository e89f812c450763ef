"""Prompts: the shared instruction first, the text last, and braces in a text are only braces."""

from __future__ import annotations

import pytest

from metier.errors import MetierError
from metier.tasks import Task, Template, messages, plain
from metier.tasks.templates import default_instruction, own_template

TASK = Task(
    name="toy",
    version=1,
    kind="classification",
    title="Toy",
    labels=["good", "bad"],
    template=Template(instruction="Good or bad?", input="{text}"),
)
SHOTS = [({"text": "one"}, "good"), ({"text": "two"}, "bad")]


def test_messages_with_shots() -> None:
    turns = messages(TASK, {"text": "a {brace} {0} {"}, SHOTS)
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert turns[0]["content"] == "Good or bad?"
    assert turns[2]["content"] == "good"
    assert turns[-1]["content"] == "a {brace} {0} {"


def test_plain() -> None:
    prompt, lead = plain(TASK, {"text": "three"}, SHOTS[:1])
    assert prompt + lead + "bad" == "Good or bad?\n\none\nAnswer: good\n\nthree\nAnswer: bad"


def test_a_field_that_is_missing() -> None:
    with pytest.raises(MetierError, match="needs the field 'text'"):
        messages(TASK, {"body": "x"})


@pytest.mark.parametrize(
    ("wording", "instruction", "filled"),
    [
        ("Good or bad?", "Good or bad?", "x"),
        ('Answer as {"label": 1}.\n\nText: {text}', 'Answer as {"label": 1}.', "Text: x"),
        ('Is it good?\nHere: {text} {"a"}', "Is it good?", 'Here: x {"a"}'),
        ("Rate {text} now", "", "Rate x now"),
    ],
)
def test_own_wording(wording: str, instruction: str, filled: str) -> None:
    template = own_template(wording, ["text"])
    assert template.instruction == instruction
    assert template.fields() == ["text"]
    task = TASK.model_copy(update={"template": template})
    assert messages(task, {"text": "x"})[-1]["content"] == filled


def test_own_wording_with_an_unknown_field() -> None:
    with pytest.raises(MetierError, match=r"the field \{txt\}") as error:
        own_template("Good?\n{txt}", ["text", "title"])
    assert "did you mean 'text'?" in str(error.value.fix)


def test_made_instructions() -> None:
    assert default_instruction(["no", "maybe", "yes"], domain="claims", question="Is it covered") == (
        "Read the text about claims. Is it covered? Answer with one word: no, maybe or yes."
    )
    assert default_instruction(["not at all", "fully"]).endswith("Answer with exactly one of these: not at all; fully.")
