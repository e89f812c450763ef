"""Options and right answers of a user's own table, however they are written."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.sources.tables import Row
from metier.tasks import Example, Task, Template
from metier.tasks.choices import (
    CHOICE,
    RIGHT,
    Scheme,
    alike_left_out,
    asked,
    choice_rows,
    own_choice_template,
    read_options,
    with_answers,
)

TEXTS = st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=12)


def read(
    golds: list[str], options: tuple[str, ...] = ("up", "down", "flat"), known: Scheme | None = None
) -> tuple[list[str], str]:
    rows = [Row(number, {"c": json.dumps(options), "gold": gold}) for number, gold in enumerate(golds, 2)]
    found, most, scheme = choice_rows(rows, "c", "gold", ["c", "gold"], "t.csv", known)
    assert most == len(options)
    return [str(row.values[RIGHT]).replace(CHOICE, "choice") for row in found], scheme


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


def test_numbers_as_pandas_writes_them() -> None:
    assert read(["1.0", "3.0"]) == (["choice1", "choice3"], "number")


def test_answers_that_no_way_reads_are_not_said_to_be_letters() -> None:
    with pytest.raises(MetierError, match="not letter, number or text of one of") as error:
        read(["A. up", "C. flat"])
    assert "are read by" not in str(error.value.fix)


@pytest.mark.parametrize("golds", [["A", "2", "B"], ["4", "1"], ["up", "sideways", "down"], ["A", "D"]])
def test_an_answer_that_is_none_of_the_options(golds: list[str]) -> None:
    with pytest.raises(MetierError, match=r"is not the (letter|number|text) of one of the options") as error:
        read(golds)
    assert "t.csv, row" in str(error.value.where)
    assert "column 'gold'" in str(error.value.where)


def test_numbers_that_may_count_from_0_or_from_1_are_not_guessed() -> None:
    with pytest.raises(MetierError, match="no row tells whether these count from 0 or from 1") as error:
        read(["1", "2", "1"])
    assert (error.value.where, "`label_is: number from 0`" in str(error.value.fix)) == ("t.csv, column 'gold'", True)
    assert read(["1", "2", "1"], known="number") == (["choice1", "choice2", "choice1"], "number")
    assert read(["1", "2", "1"], known="number from 0") == (["choice2", "choice3", "choice2"], "number from 0")
    with pytest.raises(MetierError, match="'3' is not the number from 0 of one of the options"):
        read(["1", "2", "3"], known="number from 0")
    with pytest.raises(MetierError, match="'0' is not the number of one of the options"):
        read(["1", "2", "0"], known="number")


def test_letters_and_texts_are_read_whatever_was_known() -> None:
    for known in ("letter", "number", "number from 0", "text", "name"):
        assert read(["B", "A"], known=known) == (["choice2", "choice1"], "letter")  # type: ignore[arg-type]
        assert read(["flat", "up"], known=known) == (["choice3", "choice1"], "text")  # type: ignore[arg-type]
    assert read(["A", "B"], ("B", "A"), known="letter") == (["choice1", "choice2"], "letter")
    assert read(["A", "B"], ("B", "A")) == (["choice2", "choice1"], "text")


@given(st.lists(TEXTS, min_size=2, max_size=6, unique=True), st.randoms(use_true_random=False))
def test_an_option_with_a_letter_keeps_it_wherever_it_stands(texts: list[str], shuffle: random.Random) -> None:
    lettered = list(zip("ABCDEF", texts, strict=False))
    letters, columns = [letter for letter, _ in lettered], dict(lettered)
    shuffle.shuffle(lettered)
    for cell in (
        json.dumps(dict(lettered)),
        json.dumps({letter.lower(): text for letter, text in lettered}),
        json.dumps({"text": [text for _, text in lettered], "label": [letter for letter, _ in lettered]}),
        "\n".join(f"({letter}) {text}" for letter, text in lettered),
    ):
        rows = [Row(n, {"c": cell, "gold": letter}) for n, letter in enumerate(letters, 2)]
        found, _, scheme = choice_rows(rows, "c", "gold", ["c", "gold"], "t.csv", "letter")
        assert [row.values[str(row.values[RIGHT])] for row in found] == texts, cell
        assert [found[0].values[f"{CHOICE}{n}"] for n in range(1, len(texts) + 1)] == texts, cell
        assert scheme == "letter"
    rows = [Row(n, {**columns, "gold": letter}) for n, letter in enumerate(letters, 2)]
    found, _, _ = choice_rows(rows, [letter for letter, _ in lettered], "gold", [*columns, "gold"], "t.csv", "letter")
    assert [row.values[str(row.values[RIGHT])] for row in found] == texts


@pytest.mark.parametrize(
    ("names", "golds", "right", "scheme"),
    [
        (("1", "0", "2"), ["1", "2"], ["a", "c"], "number from 0"),
        (("2", "1", "3"), ["1", "2"], ["b", "a"], "number"),
        (("opa", "opb", "opc"), ["opc", "OPA"], ["c", "a"], "name"),
        (("A", "C", "D"), ["C", "A"], ["b", "a"], "letter"),
    ],
)
def test_right_answers_by_the_keys_of_an_object(
    names: tuple[str, ...], golds: list[str], right: list[str], scheme: str
) -> None:
    cell = json.dumps(dict(zip(names, "abc", strict=True)))
    rows = [Row(n, {"c": cell, "gold": gold}) for n, gold in enumerate(golds, 2)]
    found, _, called = choice_rows(rows, "c", "gold", ["c", "gold"], "t.csv")
    assert [row.values[str(row.values[RIGHT])] for row in found] == right
    assert called == scheme


def test_a_letter_that_no_key_has() -> None:
    cell = json.dumps({"A": "a", "C": "c"})
    rows = [Row(2, {"c": cell, "gold": "A"}), Row(3, {"c": cell, "gold": "B"})]
    with pytest.raises(MetierError, match="the answer 'B' is not the") as error:
        choice_rows(rows, "c", "gold", ["c", "gold"], "t.csv")
    assert "row 3" in str(error.value.where)


@given(st.lists(TEXTS, min_size=2, max_size=6, unique=True))
def test_a_list_is_read_in_every_form(texts: list[str]) -> None:
    letters = "ABCDEF"
    forms = [
        json.dumps(texts),
        repr(texts),
        json.dumps(dict(zip(letters, texts, strict=False))),
        json.dumps({"label": list(letters[: len(texts)]), "text": texts}),
        json.dumps([{"key": letter, "value": text} for letter, text in zip(letters, texts, strict=False)][::-1]),
        "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=False)),
        " | ".join(texts),
        "; ".join(texts),
    ]
    for form in forms:
        assert read_options({"c": form}, "c", "t.csv, row 2") == texts, form


@pytest.mark.parametrize(
    ("cell", "message"),
    [(None, "missing"), ("only one", "one option only"), ('["a"]', "two options or more"), ('["a", "a"]', "the same"),
     ('["a", ""]', "is empty"), ("[a, b", "no list"),
     ("{'a', 'b'}", "no list"), ('{"text": ["a", "b", "c"], "label": ["A", "B"]}', "3 texts, labelled"),
     ('{"text": ["a", "b"], "label": ["A", "A"]}', "labels of the options do not fit"),
     ('[{"key": "A", "value": "a"}, {"key": "A", "value": "b"}]', "labels of the options do not fit"),
     ('[{"a": 1, "b": 2}, {"a": 3, "b": 4}]', "an option is no text"),
     ('{"A": ["a"], "B": "b"}', "an option is no text"),
     (json.dumps([str(n) for n in range(27)]), "26 letters")],
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
    with pytest.raises(MetierError, match="the question would not be shown") as error:
        own_choice_template("Choose.\n{options}", ["case", "text"], None)
    assert "name {case}, {text} too, or leave {options} out" in str(error.value.fix)
    own = "Text: {text}\nOptions: {options}"  # a wording that names the fields stays as it is, whatever it is
    assert own_choice_template(f"Choose.\n{own}", ["text"], None).input == own
    hidden = with_answers(shown, "text")
    assert (hidden.options, hidden.input) == ("hidden", "{text}")
    assert with_answers(hidden, "letter") == shown
    assert with_answers(shown, None) == shown
