"""What a stage's key is made of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from metier.run.keys import data_key
from metier.tasks import Example, Task
from metier.tasks.records import content_id
from metier.tasks.task import Reading


def test_what_changes_no_example_starts_no_run_anew() -> None:
    task = Task(name="own", version=1, kind="generation", title="Own")
    reading = Reading(clean=["spaces"], answered=True)
    keys = [
        data_key(_data(one))
        for one in (task, task.model_copy(update={"language": None}), task.model_copy(update={"reading": reading}))
    ]
    assert keys[0] == keys[1] == keys[2]
    assert keys[0][1]["language"] == "en"
    assert "reading" not in keys[0][1]


@pytest.mark.parametrize(("own", "parts"), [(True, 3), (False, 2)])
def test_a_change_of_case_alone_is_seen_where_rows_name_themselves(own: bool, parts: int) -> None:
    task = Task(name="own", version=1, kind="generation", title="Own")
    keys = []
    for text in ("Sales rose.", "SALES rose."):
        row = Example(id="a" if own else content_id({"text": text}), inputs={"text": text}, target="up")
        keys.append(data_key(_data(task, row)))
    assert [len(key) for key in keys] == [parts, parts]
    assert (keys[0] != keys[1]) is own  # an id made from the content is in the hash, which stands still here


def _data(task: Task, *rows: Example) -> Any:
    return SimpleNamespace(task=task, to_json=lambda: {"hash": "0"}, split=SimpleNamespace(parts={"train": rows}))
