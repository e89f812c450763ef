"""Rows of a table, checked and turned into examples. Every fault names the file, the rows and the column."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from metier.errors import MetierError, nearest
from metier.files import sha256_json
from metier.sources.tables import Row
from metier.tasks.cells import CLEANERS, cleaned, plain
from metier.tasks.dialogues import Kind, as_text, dialogue, lone_answer
from metier.tasks.example import Example
from metier.tasks.prepare import normalised

_SPLITS = {"train": "train", "training": "train", "validation": "validation", "valid": "validation"}
_SPLITS |= {"val": "validation", "dev": "validation", "test": "test", "testing": "test"}
_SHOWN = 5


class Columns(BaseModel):
    """Which columns of a table mean what.

    ``inputs`` maps the template's fields to columns. ``label_map`` renames what the file holds. ``thresholds`` turn a
    score into a label: ``(upper bound, label)`` in rising order, the last bound infinite; a score on a bound belongs to
    the label above it. For multiple choice, ``choices`` names the columns of the options (a row may lack the last
    ones), and the label, once mapped, names the column that holds the right one. ``agreement`` holds the share of
    annotators who gave the label, ``weight`` how many times as often as others a row is learnt from (1 where empty).
    ``clean`` names steps of :data:`metier.tasks.cells.CLEANERS`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: dict[str, str] = Field(default_factory=lambda: {"text": "text"})
    label: str | None = "label"
    labels: tuple[str, ...] | None = None
    choices: tuple[str, ...] = ()
    group: str | None = None
    id: str | None = None
    split: str | None = None
    agreement: str | None = None
    weight: str | None = None
    label_map: dict[str, str] = Field(default_factory=dict)
    thresholds: tuple[tuple[float, str], ...] | None = None
    clean: tuple[str, ...] = ()

    @field_validator("thresholds", mode="before")
    @classmethod
    def _unbounded(cls, pairs: Any) -> Any:
        """Read a bound of None, which is what JSON makes of infinity, as infinity."""
        if not isinstance(pairs, (list, tuple)):
            return pairs
        return [[math.inf, *pair[1:]] if list(pair)[:1] == [None] else pair for pair in pairs]

    @model_validator(mode="after")
    def _check(self) -> Columns:
        for step in self.clean:
            if step not in CLEANERS:
                raise ValueError(f"there is no cleaning step {step!r}: {nearest(step, CLEANERS)}")
        if self.thresholds is not None:
            bounds = [bound for bound, _ in self.thresholds]
            if len(bounds) < 2 or not all(a < b for a, b in pairwise(bounds)):
                raise ValueError(f"the bounds of the thresholds must rise (two at least): {bounds}")
            if bounds[-1] != math.inf:
                raise ValueError(f"the last bound must be .inf, so that every score has a label; found {bounds[-1]:g}")
        return self


_UNKNOWN = "unknown label"


class UnknownLabelError(MetierError):
    """A row's label is none of those that were declared."""


@dataclass
class _Faults:
    """The faults of one file, by kind; the first kind found is the one reported, with how often it occurs."""

    file: str
    seen: dict[tuple[str, str, str], list[tuple[int, str]]] = field(default_factory=dict)

    def add(self, what: str, column: str, fix: str, row: int, found: str = "") -> None:
        self.seen.setdefault((what, column, fix), []).append((row, found))

    def check(self) -> None:
        for (what, column, fix), places in self.seen.items():
            rows = ", ".join(str(row) for row, _ in places[:_SHOWN]) + (", …" if len(places) > _SHOWN else "")
            found = f": found {places[0][1]}" if places[0][1] else ""
            times = f" in {len(places)} rows" if len(places) > 1 else ""
            plural = "s" if len(places) > 1 else ""
            kind = UnknownLabelError if what == _UNKNOWN else MetierError
            raise kind(f"{what}{times}{found}", where=f"{self.file}, row{plural} {rows}, column {column!r}", fix=fix)


@dataclass(frozen=True)
class Read:
    """Examples of one file, what its labels looked like before matching letter case to the declared ones, and which
    columns hold dialogues or lists.
    """

    examples: list[Example]
    recased: Counter[tuple[str, str]]
    listed: dict[str, Kind] = field(default_factory=dict)


def to_examples(rows: Iterable[Row], source: Columns, file: str, *, columns: Sequence[str] | None = None) -> Read:
    """Read the columns that ``source`` names.

    Args:
        rows: numbered rows.
        source: columns, declared labels (None takes whatever the file holds), label map, thresholds, cleaning.
        file: the file's name, for messages and ``source_row``.
        columns: of the table; None takes those of its first row.

    Raises:
        MetierError: a missing column (with the nearest), an empty text or label, a cell that is not text, an unknown
            label, a score that is no number, an unknown split, an id used twice.
    """
    faults, recased, examples = _Faults(file), Counter[tuple[str, str]](), []
    listed: dict[str, Kind] = {}
    known = None if source.labels is None else {_folded(label): label for label in source.labels}
    first_with: dict[str, int] = {}
    for position, row in enumerate(rows):
        if position == 0:
            check_columns(columns or list(row.values), source, file)
        inputs = _inputs(row, source, faults, listed)
        choices, target = _answer(row, source, known, recased, faults)
        group = _optional(row, source.group)
        split = _split(row, source, faults)
        identity = _optional(row, source.id)
        if source.id and not identity:
            faults.add("an id is empty", source.id, "give every row an id, or leave the id column out", row.number)
        if identity:
            if identity in first_with:
                found = f"{identity!r}, also in row {first_with[identity]}"
                faults.add("an id is used twice", source.id or "", "ids must be unique", row.number, found)
            first_with.setdefault(identity, row.number)
        group = normalised(group) if group else None
        identity = identity or content_id(inputs, choices, group, split)
        place, agreement = f"{file}:{row.number}", _agreement(row, source, faults)
        weight = _weight(row, source, faults)
        examples.append(Example(identity, inputs, target, choices, group, split, place, agreement, weight))
    faults.check()
    if not examples:
        raise MetierError("the file holds no rows", where=file, fix="name a file with at least one labelled row")
    return Read(examples, recased, listed)


def check_columns(columns: Sequence[str], source: Columns, file: str) -> None:
    """Refuse a source that names a column the table does not have."""
    own = (source.label, source.group, source.id, source.split, source.agreement, source.weight)
    wanted = [*source.inputs.values(), *own, *source.choices[:2]]
    for column in wanted:
        if column is not None and column not in columns:
            raise MetierError(
                f"there is no column {column!r}",
                where=file,
                fix=f"{nearest(column, columns)} (the file's columns: {', '.join(columns)})",
            )


def _inputs(row: Row, source: Columns, faults: _Faults, listed: dict[str, Kind]) -> dict[str, str]:
    """Texts by field. Where a task has several inputs, numbers are inputs too and some may be empty, but not all.

    Columns of dialogues or lists, which are read as lines, are noted in ``listed``.
    """
    inputs: dict[str, str] = {}
    several = len(source.inputs) > 1
    column = next(iter(source.inputs.values()))
    for name, column in source.inputs.items():
        value, kind = as_text(row.values.get(column))
        if kind:
            listed.setdefault(column, kind)
        if value is not None and not isinstance(value, str) and not several:
            found = f"{value!r} ({type(value).__name__})"
            faults.add("a cell is not text", column, "format the column as text", row.number, found)
        inputs[name] = cleaned(plain(value), source.clean)
    if not any(inputs.values()):
        faults.add("the text is empty", column, "fill these rows or delete them", row.number)
    return inputs


def _answer(
    row: Row,
    source: Columns,
    known: Mapping[str, str] | None,
    recased: Counter[tuple[str, str]],
    faults: _Faults,
) -> tuple[tuple[str, ...], str]:
    """The choices of the row (multiple choice only) and its target."""
    if source.label is None:
        return (), ""
    value = row.values.get(source.label)
    if dialogue(value) is not None and (value := lone_answer(value)) is None:
        fix = 'write the one answer: [{"role": "assistant", "content": "…"}]'
        faults.add("a label is a dialogue, but not one answer of an assistant", source.label, fix, row.number)
        return (), ""
    if not (written := plain(value)):
        faults.add("the label is empty", source.label, "label these rows or delete them", row.number)
        return (), ""
    if source.thresholds is not None:
        return (), _scored(row, source, written, faults)
    label = _mapped(written, source.label_map)
    if source.choices:
        options = {name: plain(row.values[name]) for name in source.choices if row.values.get(name) not in (None, "")}
        if label not in options:
            faults.add("no choice for this answer", source.label, nearest(label, options), row.number, repr(written))
        return tuple(options.values()), options.get(label, "")
    if known is None or label in (source.labels or ()):
        return (), label
    folded = known.get(_folded(label))
    if folded is None:
        fix = nearest(_folded(label), {*source.label_map, *known.values()})
        fix = f"add it to label_map ({fix})" if source.label_map and fix.startswith("known") else fix
        faults.add(_UNKNOWN, source.label, fix, row.number, repr(written))
        return (), label
    recased[label, folded] += 1
    return (), folded


def _mapped(written: str, names: Mapping[str, str]) -> str:
    """The label's name by the map: as the file writes it, else by what is alike, if that leaves no choice."""
    if written in names or not names:
        return names.get(written, written)
    alike = {name for key, name in names.items() if _folded(key) == _folded(written)}
    return alike.pop() if len(alike) == 1 else written


def _folded(label: str) -> str:
    """Labels are alike whatever their letter case, and 1.0 is 1: so a column with gaps writes whole numbers."""
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", label.casefold())


def _scored(row: Row, source: Columns, written: str, faults: _Faults) -> str:
    assert source.thresholds is not None
    try:
        score = float(written)
    except ValueError:
        score = math.nan
    if math.isfinite(score):
        return next((label for bound, label in source.thresholds if score < bound), source.thresholds[-1][1])
    fix = "thresholds need numbers (with a point): mend these rows, or drop the thresholds"
    faults.add("a score is not a number", source.label or "", fix, row.number, repr(written))
    return source.thresholds[0][1]


def _split(row: Row, source: Columns, faults: _Faults) -> str | None:
    written = _optional(row, source.split)
    if written is None:
        return None
    if written.lower() not in _SPLITS:
        found = f"{written!r}"
        faults.add("unknown split", source.split or "", "write train, validation or test", row.number, found)
    return _SPLITS.get(written.lower(), "train")


def _agreement(row: Row, source: Columns, faults: _Faults) -> float | None:
    written = _optional(row, source.agreement)
    if written is None:
        return None
    try:
        share = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        fix = "write the share of annotators who gave the label: 0.75 or 75%"
        faults.add("an agreement is not a share", source.agreement or "", fix, row.number, repr(written))
    return share


def _weight(row: Row, source: Columns, faults: _Faults) -> float | None:
    written = _optional(row, source.weight)
    if written is None:
        return None
    try:
        weight = float(written)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        fix = "write how many times as often the row is learnt from, such as 100; leave it empty for 1"
        faults.add("a weight is not a number above 0", source.weight or "", fix, row.number, repr(written))
    return weight


def _optional(row: Row, column: str | None) -> str | None:
    value = row.values.get(column) if column else None
    return plain(value) or None


def content_id(
    inputs: Mapping[str, str], choices: Sequence[str] = (), group: str | None = None, split: str | None = None
) -> str:
    """Twelve hexadecimal digits that depend on what an example says, not on where in its file it stands.

    So a re-ordered or longer file keeps the names of its examples, and the order in which parts list them.
    """
    content: dict[str, object] = {"inputs": dict(inputs)}
    for name, value in (("choices", list(choices)), ("group", group), ("split", split)):
        if value:
            content[name] = value
    return sha256_json(content)[:12]


def unique_ids(examples: Iterable[Example]) -> Iterator[Example]:
    """The same examples; a repeated id has a number added, because rows that say the same share a content id."""
    seen: Counter[str] = Counter()
    for example in examples:
        seen[example.id] += 1
        times = seen[example.id]
        yield example if times == 1 else replace(example, id=f"{example.id}-{times}")
