"""Which row of a table stands for a text that is there several times."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from metier.run.labelled import read_items
from metier.sources import write_table


@given(st.lists(st.tuples(st.sampled_from(["rose", "Rose ", "fell"]), st.booleans()), min_size=1, max_size=8))
def test_of_a_repeated_text_the_first_that_is_labelled_is_kept_else_the_first(rows: list[tuple[str, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        cells = [{"n": n, "text": text, "label": "up" if labelled else ""} for n, (text, labelled) in enumerate(rows)]
        write_table(path, cells, ["n", "text", "label"])
        items = read_items(path)
    for key, item in items.by_key.items():
        same = [row for row in cells if str(row["text"]).strip().lower() == key]
        assert item.values["n"] == str(next((row for row in same if row["label"]), same[0])["n"])
    assert items.repeated == len(rows) - len(items.by_key)


def test_a_nested_field_becomes_a_column_that_is_found_again(tmp_path: Path) -> None:
    write_table(tmp_path / "t.jsonl", [{"review": {"text": "rose", "mood": "up"}}], ["review"])
    items = read_items(tmp_path / "t.jsonl", text="review.text", label="review.mood")
    assert [(item.text, item.label) for item in items.by_key.values()] == [("rose", "up")]
    assert items.columns == ["review", "review.text", "review.mood"]
    write_table(tmp_path / "t.csv", [item.values for item in items.by_key.values()], items.columns)
    again = read_items(tmp_path / "t.csv", text="review.text", label="review.mood")
    assert again.by_key.keys() == items.by_key.keys()
