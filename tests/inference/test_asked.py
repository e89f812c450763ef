"""What is asked, and what is refused before a model sees it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from metier.errors import MetierError
from metier.inference.asked import listed, refuse_unreadable, text_fields


class Frame(dict[str, list[str]]):
    """Like a data frame: what it gives one by one are the names of its columns."""

    columns = ("text",)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (Frame(text=["a"]), r"this is a table[\s\S]*a column of it"),
        (pa.table({"text": ["a"]}), "this is a table"),
        (np.array([["a"]]), "this is a table"),
        (io.StringIO("a\nb\n"), "this is a file"),
        (np.array("a"), "a value of type ndarray"),
    ],
)
def test_tables_and_files_are_no_lists_of_texts(given: Any, told: str) -> None:
    with pytest.raises(MetierError, match=told):
        listed(given)


def test_what_gives_texts_one_by_one_is_a_list() -> None:
    for texts in (("a", "b"), iter(["a", "b"]), np.array(["a", "b"]), {"a": 1, "b": 2}.keys(), pa.array(["a", "b"])):
        assert [str(text) for text in listed(texts)] == ["a", "b"]


def test_half_characters_are_refused() -> None:
    with pytest.raises(MetierError, match="text 2 of 2 is not UTF-8"):
        refuse_unreadable(["a", "b\udcff"])
    with pytest.raises(MetierError, match="text 2 of 2 is empty"):
        refuse_unreadable(["a", " "])
    with pytest.raises(MetierError, match="text 1 of 1 is not UTF-8"):
        text_fields(["text"], "a\ud800b", "text 1 of 1")
    with pytest.raises(MetierError, match="the field 'b' of text 1 of 1 is not UTF-8"):
        text_fields(["a", "b"], {"a": "x", "b": "\ud800"}, "text 1 of 1")


def test_texts_are_cleaned_as_those_that_were_learnt() -> None:
    steps = ["entities", "outer_quotes", "spaces"]
    assert text_fields(["text"], ' """It&#039;s   good""" ', "text 1 of 1", steps) == {"text": "It's good"}
    assert text_fields(["text"], "  a  b\n", "text 1 of 1") == {"text": "a  b"}
    with pytest.raises(MetierError, match="text 1 of 1 is empty"):
        text_fields(["text"], "&#32;", "text 1 of 1", steps)
