"""A small table of an expert's examples, learnt from more often than its size would have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from metier.errors import MetierError
from metier.recipe import TaskChoice
from metier.sources import Lock, fetch_file, read_table, table_columns
from metier.tasks import Example, Loaded
from metier.tasks.choices import PLACE, choice_examples
from metier.tasks.prepare import key_of, prepare
from metier.tasks.records import Columns, to_examples, unique_ids
from metier.tasks.table import input_columns


def with_exemplars(
    parts: Mapping[str, Sequence[Example]], choice: TaskChoice, loaded: Loaded, *, lock: Lock | None, offline: bool
) -> dict[str, list[Example]]:
    """The parts, the expert's examples in train: in the place of rows there that say the same.

    An example whose text stands in another part is left out, so that nothing that is measured was learnt.

    Errors: :class:`MetierError` for what is wrong with the table, and where nothing of it is left.
    """
    found = _read(choice, loaded, lock, offline)
    held_out = {key_of(example) for name in parts if name != "train" for example in parts[name]}
    chosen = [example for example in found if key_of(example) not in held_out]
    if not chosen:
        raise MetierError(
            "every exemplar stands in the validation or test part",
            where=f"recipe, task.exemplars: {choice.exemplars}",
            fix="give examples that are not rows of the task's own data",
        )
    keys = {key_of(example) for example in chosen}
    others = [example for example in parts["train"] if key_of(example) not in keys]
    ids = {example.id for rows in parts.values() for example in rows}
    weighted = [
        replace(e, id=f"exemplar-{e.id}" if e.id in ids else e.id, weight=choice.exemplar_weight, split=None)
        for e in chosen
    ]
    train = sorted([*others, *weighted], key=lambda example: example.id)
    return {**{name: list(rows) for name, rows in parts.items()}, "train": train}


def _read(choice: TaskChoice, loaded: Loaded, lock: Lock | None, offline: bool) -> list[Example]:
    """The columns are the task's own; of one of the catalogue its fields and, of multiple choice, ``options``."""
    assert choice.exemplars
    task, choosing = loaded.task, loaded.task.kind == "multiple_choice"
    fields = [field for field in task.template.fields() if not (choosing and field == PLACE)]
    own = input_columns(choice.text) if choice.file else {field: field for field in fields}
    bounds = None if choice.thresholds is None else tuple(choice.thresholds)
    columns = Columns(
        inputs=own, label=choice.label, labels=tuple(task.labels) if task.kind == "classification" else None,
        label_map=choice.label_map or {}, thresholds=bounds,
    )  # fmt: skip
    path = fetch_file(choice.exemplars, lock=lock, offline=offline).path
    rows, names = read_table(path), table_columns(path)
    if choosing:
        read, _ = choice_examples(list(rows), columns, choice.options or PLACE, names, path.name, loaded.label_is)
    else:
        read = to_examples(rows, columns, path.name, columns=names)
    return prepare(list(unique_ids(read.examples))).examples
