"""Tables that people label: their rows, told apart by id or by text, and the labels that they hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metier.errors import MetierError, nearest
from metier.sources import read_table, table_columns
from metier.sources.tables import Value
from metier.tasks.prepare import normalised


@dataclass(frozen=True)
class Item:
    """One text of a table. ``label`` is what the file says, trimmed; empty where there is none."""

    key: str
    number: int
    text: str
    label: str
    values: dict[str, Value]


@dataclass(frozen=True)
class Items:
    """The texts of a table, each once, and how many rows were left out."""

    path: Path
    columns: list[str]
    by_key: dict[str, Item]
    empty: int
    repeated: int


def cell(value: Value) -> str:
    """A cell as text: spreadsheets keep a label such as 1 as 1.0, and JSON has true and false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()


def read_items(path: Path, *, text: str = "text", identity: str | None = None, label: str = "label") -> Items:
    """Read a table whose rows are told apart by the column ``identity``, else by their normalised text.

    Rows with an empty text are left out and counted, and so are those whose text stood before; of these the first that
    is labelled is kept. The column ``label`` may be absent.

    Raises:
        MetierError: a column that is not there, an id that is empty or used twice, one text with two labels.
    """
    columns = table_columns(path)
    inner = table_columns(path, nested=True)
    for column in (text, identity):
        if column is not None and column not in inner:
            raise MetierError(
                f"there is no column '{column}'",
                where=str(path),
                fix=f"{nearest(column, inner)}; name the text with --text, the id with --id",
            )
    named = [column for column in (text, identity, label) if column in inner]
    columns = list(dict.fromkeys([*columns, *named]))  # what is named with dots becomes a column of its own
    found: dict[str, Item] = {}
    empty = repeated = 0
    for row in read_table(path, wanted=columns):
        body = cell(row.values.get(text))
        if not body:
            empty += 1
            continue
        key = normalised(body) if identity is None else cell(row.values.get(identity))
        item = Item(key, row.number, body, cell(row.values.get(label)), row.values)
        before = found.setdefault(key, item)
        if before is not item:
            _check_repeated(before, item, path, identity, label)
            repeated += 1
            found[key] = item if item.label and not before.label else before
        elif not key:
            fix = "give every row an id, or leave --id out"
            raise MetierError("an id is empty", where=f"{path}, row {row.number}, column '{identity}'", fix=fix)
    return Items(path, columns, found, empty, repeated)


def _check_repeated(before: Item, item: Item, path: Path, identity: str | None, label: str) -> None:
    where = f"{path}, rows {before.number} and {item.number}"
    if identity is not None:
        raise MetierError(
            f"the id '{item.key}' is used twice", where=f"{where}, column '{identity}'", fix="ids must be unique"
        )
    if before.label and item.label and before.label.casefold() != item.label.casefold():
        raise MetierError(
            f"one text has two labels: '{before.label}' and '{item.label}'",
            where=f"{where}, column '{label}'",
            fix="give both rows the same label, or name a column of ids with --id",
        )


def checked_labels(items: Items, labels: Sequence[str], column: str = "label") -> dict[str, str]:
    """The declared label of each item that has one, by key; letter case does not count.

    Raises:
        MetierError: a label that is not declared, with its row and the nearest that is.
    """
    known = {label.casefold(): label for label in labels}
    held = [item for item in items.by_key.values() if item.label]
    strange = [item for item in held if item.label.casefold() not in known]
    if strange:
        times = Counter(item.label for item in strange)[strange[0].label]
        more = f" in {times} rows" if times > 1 else ""
        raise MetierError(
            f"unknown label '{strange[0].label}'{more}",
            where=f"{items.path}, row {strange[0].number}, column '{column}'",
            fix=nearest(strange[0].label, labels),
        )
    return {item.key: known[item.label.casefold()] for item in held}
