"""Tables that are answered row by row: read as they were learnt."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metier.errors import MetierError
from metier.inference.answers import TextAnswer
from metier.inference.files import Counts, predict_table
from metier.sources import write_table
from metier.tasks import Task, from_table
from metier.tasks.cells import CLEANERS
from metier.tasks.task import Reading


def ask(
    task: Task, source: Path, columns: list[str], target: Path | None = None
) -> tuple[list[dict[str, str]], Counts]:
    """The inputs that a specialist of ``task`` is asked of a table."""
    asked: list[dict[str, str]] = []

    def predict(inputs: list[dict[str, str]], **_: Any) -> list[TextAnswer]:
        asked.extend(dict(one) for one in inputs)
        return [TextAnswer("Rest.", True) for _ in inputs]

    specialist: Any = SimpleNamespace(bundle=SimpleNamespace(task=task), writes=True, guard=None, predict=predict)
    return asked, predict_table(specialist, source, target or source.parent / "out.jsonl", columns=columns)


CELLS = st.none() | st.booleans() | st.sampled_from([0, 0.0, 2.0, 1.5, "", " a ", "b\n c", '["d", "e"]'])


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5))
def test_several_fields_are_read_as_they_were_learnt(rows: list[tuple[Any, Any, Any]], tmp_path_factory: Any) -> None:
    table = tmp_path_factory.mktemp("t") / "t.jsonl"
    names = ["one", "two", "three"]
    said = [dict(zip(names, cells, strict=True)) for cells in rows]
    write_table(table, [{**one, "three": "z", "label": "x"} for one in said], [*names, "label"])
    learnt = from_table("own", table, text=names, kind="generation", instruction="Go on.")
    asked, counts = ask(learnt.task, table, names)
    assert asked == [example.inputs for example in learnt.examples]
    assert counts.empty == 0
    write_table(table, said, names)
    asked, counts = ask(learnt.task, table, names)
    assert all(any(one.values()) for one in asked)
    assert counts.empty == len(rows) - len(asked)


def test_columns_called_as_those_that_were_learnt_are_known_in_any_order(tmp_path: Path) -> None:
    write_table(tmp_path / "in.csv", [{"head": "h", "the body": "b", "label": "x"}], ["head", "the body", "label"])
    learnt = from_table("own", tmp_path / "in.csv", text=["head", "the body"], kind="generation", instruction="Go on.")
    asked, _ = ask(learnt.task, tmp_path / "in.csv", ["the body", "head"])
    assert asked == [{"head": "h", "the_body": "b"}]
    asked, _ = ask(learnt.task, tmp_path / "in.csv", ["label", "head"])  # other names: in the order of the fields
    assert asked == [{"head": "x", "the_body": "h"}]


DIALOGUE = [
    {"role": "user", "content": "I cough."},
    {"role": "assistant", "content": "Since when?"},
    {"role": "user", "content": "Since May,\n\nI think."},
    {"role": "assistant", "content": "Rest."},
]


def dialogues(folder: Path, *cells: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "in.jsonl").write_text("\n".join(json.dumps({"m": cell, "about": "lung"}) for cell in cells))
    return folder / "in.jsonl"


def test_a_dialogue_is_asked_without_the_answer_that_was_learnt(tmp_path: Path) -> None:
    table = dialogues(tmp_path, DIALOGUE, DIALOGUE[:2])
    learnt = from_table("own", table, text="m", label="m", kind="generation", instruction="Answer.")
    asked, counts = ask(learnt.task, table, ["m"])
    assert asked == [example.inputs for example in learnt.examples]
    assert asked[1] == {"text": "I cough."}
    assert counts.answered == 2
    # one that waits for its answer is asked whole; an answer to nothing leaves nothing to ask
    asked, counts = ask(learnt.task, dialogues(tmp_path, DIALOGUE[:3], "plain", DIALOGUE[3:]), ["m"])
    assert asked == [
        {"text": "User: I cough.\nAssistant: Since when?\nUser: Since May,\n\n  I think."},
        {"text": "plain"},
    ]
    assert (counts.answered, counts.empty) == (1, 1)


def test_a_dialogue_that_was_learnt_whole_is_asked_whole(tmp_path: Path) -> None:
    table = dialogues(tmp_path, DIALOGUE, DIALOGUE[:2])
    learnt = from_table("own", table, text="m", label="about", kind="generation", instruction="What is it about?")
    asked, counts = ask(learnt.task, table, ["m"])
    assert asked == [example.inputs for example in learnt.examples]
    assert asked[1] == {"text": "User: I cough.\nAssistant: Since when?"}
    assert counts.answered == 0


def test_texts_are_left_to_the_specialist_to_clean(tmp_path: Path) -> None:
    reading = Reading(clean=["entities", "outer_quotes"])
    task = Task(name="own", version=1, kind="generation", title="Own", reading=reading)
    assert set(reading.clean) <= set(CLEANERS)
    asked, counts = ask(task, dialogues(tmp_path, "&amp;#039;", "&#32;", '""'), ["m"])
    assert asked == [{"text": "&amp;#039;"}]  # cleaned once, not twice
    assert counts.empty == 2


def test_a_parquet_table_keeps_its_types_and_a_nested_field_is_answered(tmp_path: Path) -> None:
    rows = [{"review": {"text": f"t{n}"}, "photo": b"\xff", "day": datetime.date(2024, 1, 1 + n)} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    (tmp_path / "in.jsonl").write_text("\n".join(json.dumps({"review": row["review"]}) for row in rows))
    learnt = from_table(
        "own", dialogues(tmp_path / "x", "a", "b"), text="m", label="about", kind="generation", instruction="Go on."
    )
    for name in ("in.parquet", "in.jsonl"):
        asked, _ = ask(learnt.task, tmp_path / name, ["review.text"], tmp_path / name.replace("in", "out"))
        assert asked == [{"text": f"t{n}"} for n in range(3)]
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == [{**row, "answer": "Rest."} for row in rows]
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first == {"review": {"text": "t0"}, "answer": "Rest."}
    with pytest.raises(MetierError, match=r"no column 'review.txt'[\s\S]*did you mean 'review.text'"):
        ask(learnt.task, tmp_path / "in.jsonl", ["review.txt"])
