"""Published ways of testing on a task's data: their wording, their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from metier.errors import MetierError
from metier.tasks.example import Example
from metier.tasks.prepare import key_of
from metier.tasks.task import Protocol, Task

OWN = "metier"
"""Without duplicates, grouped, split by content: what holds unless a recipe asks for a published protocol."""


def under(task: Task, name: str) -> tuple[Task, Protocol | None]:
    """The task as the protocol puts it, and the protocol; None for metier's own.

    Raises:
        MetierError: the task has no such protocol, with those it has.
    """
    bare = task.model_copy(update={"protocols": {}})
    if name == OWN:
        return bare, None
    if name not in task.protocols:
        raise MetierError(
            f"the protocol '{name}' is not defined for '{task.name}'",
            where="recipe, protocol",
            fix=f"'{task.name}' has: {', '.join([OWN, *task.protocols])}",
        )
    chosen = task.protocols[name]
    own = {"template": chosen.template, "labels": chosen.labels, "sources": chosen.sources}
    changed: dict[str, Any] = {field: value for field, value in own.items() if value}
    if chosen.template:  # no wording of a variant takes its place
        changed["templates"] = {}
    return bare.model_copy(update=changed), chosen


def arrange(examples: Sequence[Example], protocol: Protocol, task: str) -> list[Example]:
    """Examples with the part that a published split gives them; unchanged where the rows are metier's own.

    The split is made by the ``datasets`` library itself on the rows' places, so that it is the published one row for
    row.

    Args:
        examples: in the order of the published file.
        protocol: whose rows are wanted.
        task: the task's name, for the message.

    Raises:
        MetierError: the test part has not as many rows as was published: the file is another one.
    """
    if protocol.rows == "own":
        return list(examples)
    found = list(examples)
    if protocol.split is not None:
        from datasets import Dataset

        places = Dataset.from_dict({"row": list(range(len(found)))})
        halves = places.train_test_split(test_size=protocol.split.test, seed=protocol.split.seed)
        part = dict.fromkeys(halves["train"]["row"], "train") | dict.fromkeys(halves["test"]["row"], "test")
        found = [replace(example, split=part[place]) for place, example in enumerate(found)]
    tested = sum(example.split == "test" for example in found)
    if tested != protocol.test_rows:
        raise MetierError(
            f"{protocol.title} has {protocol.test_rows} test rows, this data gives {tested} of {len(found)}",
            where=task,
            fix="read the original file, whole and in its own order, or leave protocol out",
        )
    return found


def describe(name: str, protocol: Protocol | None) -> dict[str, Any]:
    """What the manifest and ``data/splits.json`` say about the protocol."""
    if protocol is None:
        title = "metier's own split: no duplicates, groups kept together"
        return {"name": OWN, "title": title, "rows": "own", "mark": "not the same rows", "shots": 0, "note": ""}
    about = {"name": name, "title": protocol.title, "rows": protocol.rows, "mark": protocol.mark}
    return about | {"shots": protocol.shots, "note": protocol.note}


def untouched(parts: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """The report of duplicates where rows are kept as published: how many test rows also stand in train."""
    seen = Counter(key_of(example) for part in ("train", "validation") for example in parts[part])
    rows = sum(len(part) for part in parts.values())
    crossing = sum(seen[key_of(example)] > 0 for example in parts["test"])
    return {"rows": rows, "exact_merged": 0, "normalised_merged": 0, "test_rows_also_in_train": crossing, "kept": rows}
