"""Worked examples: questions with their reasoning and their answer, which stand in front of a chain of thought."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from metier.errors import MetierError, nearest
from metier.files import sha256_file
from metier.sources import read_table
from metier.sources.tables import Row
from metier.tasks.choices import Scheme, choice_examples
from metier.tasks.example import Example
from metier.tasks.records import Columns, to_examples
from metier.tasks.task import Task

FOLDER = resources.files("metier.tasks") / "exemplars"
OPTIONS, RATIONALE, ANSWER = "options", "rationale", "answer"


@dataclass(frozen=True)
class Worked:
    """A solved example with the reasoning that leads to its answer."""

    example: Example
    rationale: str


def shipped() -> list[str]:
    """Names of the files that come with metier, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in FOLDER.iterdir() if entry.name.endswith(".yaml"))


def worked_file(named: str) -> Path:
    """The file of worked examples: of a name in :func:`shipped`, or a path.

    Errors: :class:`MetierError` where there is none.
    """
    path = Path(str(FOLDER / f"{named}.yaml")) if named in shipped() else Path(named)
    if not path.is_file():
        fix = f"name a YAML or jsonl file, or what comes with metier; {nearest(named, shipped())}"
        raise MetierError("there is no such file of worked examples", where=named, fix=fix)
    return path


def worked_hash(named: str | None) -> str | None:
    """What the file holds, as a hash; None where none is named."""
    return sha256_file(worked_file(named)) if named else None


def read_worked(named: str, task: Task, label_is: Scheme | None = None) -> list[Worked]:
    """Worked examples for ``task``, in the file's order.

    Each has the fields of the task's template (where that is one, under any name), ``rationale``, ``answer`` and, of
    multiple choice, ``options``: a list. An answer is a label, or an option's letter, number or text; ``label_is`` says
    how the task's own table writes it, so that numbers count from where they count there.

    Errors: :class:`MetierError` with file and row for a field missing, empty or unknown, and an answer that is none.
    """
    path = worked_file(named)
    rows = _rows(path)
    for row in rows:
        for field in (RATIONALE, ANSWER):
            if not str(row.values.get(field) or "").strip():
                where = f"{path.name}, row {row.number}, field '{field}'"
                fix = f"write it; the row has {', '.join(row.values)}"
                raise MetierError(f"a worked example lacks its {field}", where=where, fix=fix)
    own = list(dict.fromkeys(name for row in rows for name in row.values))
    columns = Columns(inputs=_inputs(task, own), label=ANSWER, labels=tuple(task.labels) or None)
    if task.kind == "multiple_choice":
        read, _ = choice_examples(rows, columns, OPTIONS, own, path.name, label_is)
    else:
        read = to_examples(rows, columns, path.name, columns=own)
    return [Worked(e, str(row.values[RATIONALE]).strip()) for e, row in zip(read.examples, rows, strict=True)]


def _inputs(task: Task, own: Sequence[str]) -> dict[str, str]:
    """Columns by field of the template."""
    fields = [name for name in task.template.fields() if name != OPTIONS]
    others = [name for name in own if name not in (OPTIONS, RATIONALE, ANSWER)]
    if len(fields) == len(others) == 1:
        return {fields[0]: others[0]}
    return {name: name for name in fields}


def _rows(path: Path) -> list[Row]:
    """The entries of a YAML list, each with its line; or the rows of a table."""
    if path.suffix.lower() not in (".yaml", ".yml"):
        return list(read_table(path))
    fix = "write a list: - question: …, its fields, rationale and answer below it"
    try:
        text = path.read_text(encoding="utf-8")
        # every value is the text that stands there: an answer `no` is a word
        node: Any = yaml.compose(text, Loader=yaml.BaseLoader)
        entries = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise MetierError(f"not valid YAML: {getattr(error, 'problem', error)}", where=where, fix=fix) from error
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise MetierError("not a list of worked examples", where=str(path), fix=fix)
    marks = [item.start_mark.line + 1 for item in node.value]
    return [Row(line, _plain(entry)) for line, entry in zip(marks, entries, strict=True)]


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): value if isinstance(value, str) else json.dumps(value) for name, value in entry.items()}
