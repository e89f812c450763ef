"""Names with dots for what lies inside nested objects: ``review.text`` is the field ``text`` of the column ``review``.

A column that is itself called so comes first.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metier.sources.tables import Rows, Value


def holder(name: str, columns: Collection[str]) -> str | None:
    """The column that a name with dots begins with, the longest; None where there is none."""
    return max((column for column in columns if name.startswith(f"{column}.")), key=len, default=None)


def with_inner(rows: Rows, names: Sequence[str]) -> Rows:
    """The rows, with those of ``names`` added that are no columns of theirs and lie inside an object."""
    for number, values in rows:
        yield number, {**values, **{name: _inner(values, name) for name in names if name not in values}}


def inner_names(rows: Iterable[Mapping[str, Value]]) -> list[str]:
    """Every name with dots by which the rows' nested values are found, in the order in which they come up."""
    return list(dict.fromkeys(name for values in rows for name in _names({k: _object(v) for k, v in values.items()})))


def _names(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from (f"{above}{name}.{inside}" for inside in value)
            yield from _names(value, f"{above}{name}.")


def _inner(values: Mapping[str, Any], name: str) -> Value:
    if name in values:
        value = values[name]
        return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
    column = holder(name, values)
    return None if column is None else _inner(_object(values[column]), name[len(column) + 1 :])


def _object(value: Any) -> dict[str, Any]:
    """A nested value as an object: where rows are read it is its JSON text; empty for any other value."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}
