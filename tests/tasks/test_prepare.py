"""Duplicates are merged, contradictions dropped, and the order of rows changes nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.tasks import Example, prepare
from metier.tasks.prepare import key_of, normalised

TEXTS = st.sampled_from(
    ["Sales rose.", "sales  rose", "SALES ROSE!", "Sales fell", "Costs +5 %", "Costs -5 %", "EUR 1.5", "EUR 15"]
)
ROWS = st.lists(
    st.tuples(TEXTS, st.sampled_from("ab"), st.sampled_from(["train", "validation", "test"])), min_size=1, max_size=30
)


def example(number: int, text: str, target: str = "a", split: str | None = None, group: str | None = None) -> Example:
    return Example(f"{number:04}", {"text": text}, target, (), group, split, f"f.csv:{number}")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Sales rose.", "sales\u00a0 ROSE"),
        ("ﬁrm profits", "firm profits"),
        ("state-of-the-art", "state of the art"),
        ("soft\u00adware", "software"),
        ("Acme up https://t.co/abc1", "Acme up https://t.co/xyz2"),
        ("STRASSE", "straße"),
    ],
)
def test_texts_that_say_the_same(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dow +1.2%", "Dow -1.2%"),
        ("EUR 1.5 mn", "EUR 15 mn"),
        ("change of -$5", "change of $5"),
        ("what a day :)", "what a day :("),
        ("🚀", "📉"),
        ("?", "!"),
        ("का", "की"),
        ("see https://a.example/x", "see https://b.example/y"),
    ],
)
def test_texts_that_do_not(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_the_point_before_a_number_counts_in_duplicates() -> None:
    rows = [example(1, "rose .5 percent", "a"), example(2, "rose 5 percent", "b"), example(3, "Rose 0.5 percent.", "a")]
    done = prepare(rows)
    assert [e.id for e in done.examples] == ["0001", "0002"]
    assert done.report["normalised_merged"] == 1
    assert done.report["contradictory_texts"] == 0
    assert key_of(example(1, "so ...5 of them")) == key_of(example(2, "so 5 of them"))


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a result of (12.5) million", "a result of 12.5 million", False),
        ("a result of (12.5) million", "a result of -12.5 million", True),
        ("a result of ( $3,1 )", "a result of -$3,1", True),
        ("up 5 % on the year", "up 5 on the year", False),
        ("up 5 % on the year", "Up 5% on the year.", True),
        ("up 5 % on the year", "up 5 percent on the year", True),
        ("f(2) of it", "f 2 of it", True),
        ("sales (net) rose", "sales net rose", True),
    ],
)
def test_brackets_and_percent_make_another_number(one: str, other: str, same: bool) -> None:
    assert (key_of(example(1, one)) == key_of(example(2, other))) is same


@given(st.text(max_size=40))
def test_normalising_ignores_case_and_space_and_keeps_something(text: str) -> None:
    assert normalised(f"  {text}\n") == normalised(text)
    assert bool(normalised(text)) == bool(text.strip()) or not text.strip().isprintable()


def test_counts_and_contradictions() -> None:
    rows = [
        example(1, "Sales rose"),
        example(2, "Sales rose"),
        example(3, "SALES ROSE!"),
        example(4, "Sales fell", "a"),
        example(5, "sales fell", "b"),
        example(6, "Sales flat"),
    ]
    done = prepare(rows)
    assert [e.id for e in done.examples] == ["0001", "0006"]
    report = done.report
    assert (report["rows"], report["kept"], report["exact_merged"], report["normalised_merged"]) == (6, 2, 1, 1)
    assert (report["contradictory_texts"], report["contradictory_rows_dropped"]) == (1, 2)
    assert report["contradictory_samples"] == [
        {"text": "Sales fell", "labels": ["a", "b"], "rows": ["f.csv:4", "f.csv:5"]}
    ]


def test_of_copies_the_largest_weight_counts() -> None:
    rows = [replace(example(n, "Sales rose"), weight=weight) for n, weight in enumerate((2.0, 5.0, None))]
    assert [e.weight for e in prepare(rows).examples] == [5.0]


def test_texts_that_all_contradict_themselves_are_named() -> None:
    rows = [example(1, "Sales rose", "a"), example(2, "Sales rose", "b"), example(3, "x", "a"), example(4, "x", "b")]
    with pytest.raises(MetierError, match="each of the 2 texts stands there with several labels") as error:
        prepare(rows)
    assert "'Sales rose' is 'a', 'b'" in error.value.what
    assert error.value.where == "f.csv:1, f.csv:2; f.csv:3, f.csv:4"
    assert "keep the right label" in str(error.value.fix)


def test_a_text_in_two_published_parts_leaves_training() -> None:
    rows = [
        example(1, "Sales rose", "a", "train"),
        example(2, "Sales rose", "b", "test"),
        example(3, "x", "a", "train"),
    ]
    done = prepare(rows)
    assert [(e.id, e.split) for e in done.examples] == [("0002", "test"), ("0003", "train")]
    assert done.report["crossing_parts"] == 1
    assert done.report["contradictory_texts"] == 0


@given(ROWS, st.randoms(use_true_random=False))
def test_whatever_the_order(rows: list[tuple[str, str, str]], shuffle: random.Random) -> None:
    rows = [*rows, ("a row that contradicts no other", "a", "train")]
    examples = [example(i, text, target, split) for i, (text, target, split) in enumerate(rows)]
    done = prepare(examples)
    keys = [key_of(e) for e in done.examples]
    assert len(set(keys)) == len(keys)
    shuffle.shuffle(examples)
    again = prepare(examples)
    assert {e.id for e in again.examples} == {e.id for e in done.examples}
    report = done.report
    gone = report["exact_merged"] + report["normalised_merged"] + report["contradictory_rows_dropped"]
    assert report["rows"] == report["kept"] + gone
    assert {k: v for k, v in again.report.items() if k != "contradictory_samples"} == {
        k: v for k, v in report.items() if k != "contradictory_samples"
    }


def question(number: int, choices: tuple[str, ...], target: str, split: str | None = None) -> Example:
    return Example(f"{number:04}", {"text": "Which?"}, target, choices, None, split, f"f.csv:{number}")


@given(st.permutations(["Aspirin", "Statins", "Zinc"]), st.permutations(["aspirin.", "STATINS", "Zinc"]))
def test_options_in_another_order_are_the_same_question(one: list[str], other: list[str]) -> None:
    rows = [question(1, tuple(one), "Zinc", "test"), question(2, tuple(other), "Zinc", "train")]
    done = prepare(rows)
    assert [e.id for e in done.examples] == ["0001"]
    assert (done.report["crossing_parts"], done.report["normalised_merged"]) == (1, 1)
    opposed = [question(1, tuple(one), "Zinc"), question(2, tuple(reversed(one)), "Statins")]
    report = prepare([*opposed, question(3, ("Iron", "Zinc"), "Zinc")]).report
    assert (report["kept"], report["contradictory_texts"]) == (1, 1)
    assert report["contradictory_samples"][0]["labels"] == ["Statins", "Zinc"]
    assert key_of(question(1, ("a", "b"), "a")) != key_of(question(1, ("a", "b", "c"), "a"))


def test_empty_texts_are_named() -> None:
    with pytest.raises(MetierError, match=r"1 rows? ha.* empty text") as error:
        prepare([example(1, "x"), example(2, " ")])
    assert error.value.where == "f.csv:2"
