"""What a stage's key is made of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from metier.run.keys import data_key
from metier.tasks import Task
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


def _data(task: Task) -> Any:
    return SimpleNamespace(task=task, to_json=lambda: {"hash": "0"})
