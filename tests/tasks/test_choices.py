"""Options and right answers of a user's own table, however they are written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.sources.tables import Row
from metier.tasks import Example, Task, Template
from metier.tasks.choices import alike_left_out, asked, choice_rows, own_choice_template, read_options, with_answers

TEXTS = st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=12)


def read(golds: list[str], options: tuple[str, ...] = ("up", "down", "flat")) -> tuple[list[str], str]:
    rows = [Row(number, {"c": json.dumps(options), "gold": gold}) for number, gold in enumerate(golds, 2)]
    found, most, scheme = choice_rows(rows, "c", "gold", ["c", "gold"], "t.csv")
    assert most == len(options)
    return [str(row.values["answer"]) for row in found], scheme


@pytest.mark.parametrize(
    ("golds", "places", "scheme"),
    [
        (["A", "c", "(B)"], [1, 3, 2], "letter"),
        (["1", "3", "2"], [1, 3, 2], "number"),
        (["0", "2", "1"], [1, 3, 2], "number from 0"),
        (["up", "FLAT", "down"], [1, 3, 2], "text"),
    ],
)
def test_right_answers(golds: list[str], places: list[int], scheme: str) -> None:
    assert read(golds) == ([f"choice{place}" for place in places], scheme)


def test_an_option_that_is_a_number_is_meant_where_all_answers_are_options() -> None:
    assert read(["2", "1"], ("2", "3", "1")) == (["choice1", "choice3"], "text")
    assert read(["2", "3"], ("10", "20", "30")) == (["choice2", "choice3"], "number")


@pytest.mark.parametrize("golds", [["A", "2", "B"], ["4", "1"], ["up", "sideways", "down"], ["A", "D"]])
def test_an_answer_that_is_none_of_the_options(golds: list[str]) -> None:
    with pytest.raises(MetierError, match=r"is not the (letter|number|text) of one of the options") as error:
        read(golds)
    assert "t.csv, row" in str(error.value.where)
    assert "column 'gold'" in str(error.value.where)


@given(st.lists(TEXTS, min_size=2, max_size=6, unique=True))
def test_a_list_is_read_in_every_form(texts: list[str]) -> None:
    letters = "ABCDEF"
    forms = [
        json.dumps(texts),
        repr(texts),
        json.dumps(dict(zip(letters, texts, strict=False))),
        json.dumps({"label": list(letters[: len(texts)]), "text": texts}),
        "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=False)),
        " | ".join(texts),
        "; ".join(texts),
    ]
    for form in forms:
        assert read_options({"c": form}, "c", "t.csv, row 2") == texts, form


@pytest.mark.parametrize(
    ("cell", "message"),
    [(None, "missing"), ("only one", "one option only"), ('["a"]', "two options or more"), ('["a", "a"]', "the same"),
     ('["a", ""]', "is empty"), ("[a, b", "no list"), (json.dumps([str(n) for n in range(27)]), "26 letters")],
)  # fmt: skip
def test_a_bad_list_names_its_row_and_column(cell: str | None, message: str) -> None:
    with pytest.raises(MetierError, match=message) as error:
        read_options({"c": cell}, "c", "t.csv, row 7")
    assert "t.csv, row 7, column 'c'" in str(error.value.where)


def question(*choices: str) -> Example:
    return Example("1", {"text": "which?"}, choices[0], choices, source_row="t.csv:2")


def test_another_number_of_options_than_the_task_has() -> None:
    template = Template(options="lettered", input="{text}\n{options}")
    task = Task(name="t", version=1, kind="multiple_choice", title="t", template=template, option_count=3)
    assert asked(task, [question("a", "b", "c")])[0].inputs["options"] == "(A) a\n(B) b\n(C) c"
    with pytest.raises(MetierError, match="has 2 options where 't' has 3") as error:
        asked(task, [question("a", "b")])
    assert error.value.where == "t.csv:2"


def test_published_questions_that_hold_an_option_twice_are_counted() -> None:
    task = Task(name="t", version=1, kind="multiple_choice", title="t")
    kept, told = alike_left_out(task, [question("a", "b"), question("a", "a")])
    assert [e.choices for e in kept] == [("a", "b")]
    assert told == ["1 of 2 questions hold the same option twice: left out (t.csv:2)"]


def test_answers_by_letter_or_by_text() -> None:
    shown = own_choice_template(None, ["text"], None)
    assert (shown.options, shown.input) == ("lettered", "{text}\n{options}")
    assert own_choice_template("Choose.", ["case", "text"], "letter").input.endswith("Text: {text}\n{options}")
    assert own_choice_template("Pick {options} for {text}", ["text"], None).input == "Pick {options} for {text}"
    hidden = with_answers(shown, "text")
    assert (hidden.options, hidden.input) == ("hidden", "{text}")
    assert with_answers(hidden, "letter") == shown
    assert with_answers(shown, None) == shown
