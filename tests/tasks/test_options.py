"""A question's options in any order, with letters or without."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.tasks.example import Example
from metier.tasks.options import LETTERS, show
from metier.tasks.task import Template

HIDDEN = Template(input="{question}")
LETTERED = Template(input="{question}\n{options}", options="lettered")


def question(choices: list[str], target: str) -> Example:
    return Example("q1", {"question": "Which?"}, target, tuple(choices), source_row="own.csv:2")


@given(st.lists(st.text(min_size=1), min_size=2, max_size=26, unique=True), st.data())
def test_any_order_keeps_the_answer(choices: list[str], data: st.DataObject) -> None:
    example = question(choices, data.draw(st.sampled_from(choices)))
    order = data.draw(st.permutations(range(len(choices))))
    hidden, lettered = show(HIDDEN, example, order), show(LETTERED, example, order)
    assert hidden.answers[hidden.gold] == example.target == choices[order[lettered.gold]]
    assert lettered.answers == tuple(LETTERS[: len(choices)])
    assert f"({LETTERS[lettered.gold]}) {example.target}" in lettered.inputs["options"]
    assert "options" not in hidden.inputs


@pytest.mark.parametrize(
    ("choices", "target", "says"),
    [
        (["a"], "a", "two options or more"),
        (["a", "b", "a"], "b", "two options are the same: 'a'"),
        (["a", "b"], "c", "not among the options"),
        ([str(n) for n in range(27)], "1", "27 options"),
    ],
)
def test_options_that_cannot_be_asked(choices: list[str], target: str, says: str) -> None:
    with pytest.raises(MetierError, match=says) as error:
        show(HIDDEN, question(choices, target))
    assert "own.csv:2" in str(error.value)


def test_letters_need_their_place() -> None:
    with pytest.raises(ValueError, match="options"):
        Template(input="{question}", options="lettered")
