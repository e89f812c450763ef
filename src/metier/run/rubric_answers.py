"""Answers of several systems to the same questions, gathered from tables and from runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from metier.errors import MetierError, nearest
from metier.evaluation.evidence import read_predictions
from metier.run.labelled import cell
from metier.sources import Row, read_table, table_columns
from metier.tasks.prepare import normalised


@dataclass(frozen=True)
class Columns:
    """Names of a table's columns. ``answers``: several of them are several systems, called by their column."""

    question: str = "question"
    answers: tuple[str, ...] = ("answer",)
    system: str = "system"
    identity: str | None = None


@dataclass(frozen=True)
class Question:
    """A question with each system's answer."""

    id: str
    text: str
    answers: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Answer:
    key: str
    question: str
    system: str
    text: str
    where: str


def gather(
    sources: Sequence[str],
    columns: Columns,
    *,
    task: str | None = None,
    gold: str | None = None,
    systems: Sequence[str] | None = None,
    common: bool = False,
) -> list[Question]:
    """Questions that all systems answered, in the order found.

    Args:
        sources: each ``PATH`` or ``NAME=PATH``; a path is a table, or a run's directory whose systems wrote answers.
        columns: of the tables.
        task: of a run with answers to several tasks.
        gold: a name under which a run's right answers are one more system.
        systems: only these.
        common: leave out questions that a system did not answer, instead of refusing.

    Raises:
        MetierError: with file, row and column: a missing column, an empty cell, a question that a system answered
            twice, fewer than one system, an answer that is missing.
    """
    found: dict[str, Question] = {}
    names: dict[str, None] = {}
    known: set[str] = set()
    for answer in (one for source in sources for one in _read(source, columns, task, gold)):
        known.add(answer.system)
        if systems is None or answer.system in systems:
            names.setdefault(answer.system)
            _add(found, answer)
    if lacking := [name for name in systems or [] if name not in names]:
        raise MetierError(f"no source has answers of '{lacking[0]}'", fix=nearest(lacking[0], known))
    if not found:
        raise MetierError("there is no answer to judge", where=", ".join(sources), fix="name tables or runs with some")
    whole = [question for question in found.values() if len(question.answers) == len(names)]
    if len(whole) < len(found) and not common:
        question = next(one for one in found.values() if len(one.answers) < len(names))
        missing = next(name for name in names if name not in question.answers)
        raise MetierError(
            f"{len(found) - len(whole)} of {len(found)} questions are not answered by every system: '{missing}' has no "
            f"answer to '{question.text[:80]}'",
            where=next(iter(question.places.values())),
            fix="add the answers, or leave such questions out with --common; tables are matched by the question's "
            "text unless --id names a column",
        )
    if not whole:
        raise MetierError("no question is answered by every system", fix="compare the questions, or match them by --id")
    return whole


def _add(found: dict[str, Question], answer: _Answer) -> None:
    question = found.setdefault(answer.key, Question(answer.key, answer.question))
    if normalised(question.text) != normalised(answer.question):
        raise MetierError(
            f"two questions have the id '{answer.key}'", where=f"{next(iter(question.places.values()))} and "
            f"{answer.where}", fix="give each question its own id",
        )  # fmt: skip
    if answer.system in question.answers:
        raise MetierError(
            f"'{answer.system}' answers one question twice: '{answer.question[:80]}'",
            where=f"{question.places[answer.system]} and {answer.where}",
            fix="keep one of the two, or tell questions apart by a column: --id NAME",
        )
    question.answers[answer.system] = answer.text
    question.places[answer.system] = answer.where


def _read(source: str, columns: Columns, task: str | None, gold: str | None) -> Iterator[_Answer]:
    name, _, rest = source.partition("=")
    named = bool(rest) and not Path(source).exists()
    path = Path(rest if named else source)
    if path.is_dir():
        return _read_run(path, name if named else None, columns, task, gold)
    return _read_table(path, name.strip() if named else None, columns)


def _read_table(path: Path, name: str | None, columns: Columns) -> Iterator[_Answer]:
    known = table_columns(path)
    by_column = name is None and columns.system in known and len(columns.answers) == 1
    wanted = [columns.question, *columns.answers, *([columns.identity] if columns.identity else [])]
    if missing := next((column for column in wanted if column not in known), None):
        fix = f"{nearest(missing, known)} Name columns with --question, --answer, --system, --id"
        raise MetierError(f"there is no column '{missing}'", where=str(path), fix=fix)
    if name is None and not by_column and len(columns.answers) == 1:
        raise MetierError(
            "it is not known whose answers these are", where=str(path),
            fix="write NAME=FILE, name the column that says it (--system), or repeat --answer for a column a system",
        )  # fmt: skip
    if name is not None and len(columns.answers) > 1:
        raise MetierError(
            "a named table has one column of answers", where=str(path), fix="leave out NAME=, or --answer"
        )
    for row in read_table(path):
        question = _filled(path, row, columns.question)
        key = _filled(path, row, columns.identity) if columns.identity else normalised(question)
        for column in columns.answers:
            system = name or (_filled(path, row, columns.system) if by_column else column)
            where = f"{path}, row {row.number}, column '{column}'"
            yield _Answer(key, question, system, _filled(path, row, column), where)


def _filled(path: Path, row: Row, column: str) -> str:
    if found := cell(row.values.get(column)):
        return found
    where = f"{path}, row {row.number}, column '{column}'"
    raise MetierError("the cell is empty", where=where, fix="fill it in, or delete the row")


def _holds_answers(file: Path) -> bool:
    """Not the bits of general text, which are kept beside the answers."""
    try:
        return "answer" in pq.read_schema(file).names
    except (OSError, pa.ArrowException):  # who reads it says what is wrong with it
        return True


def _read_run(path: Path, name: str | None, columns: Columns, task: str | None, gold: str | None) -> Iterator[_Answer]:
    files = [file for file in sorted((path / "evidence" / "predictions").glob("*.parquet")) if _holds_answers(file)]
    if not files:
        raise MetierError("no predictions are kept here", where=str(path), fix="name a finished run, or a table")
    by_task = [file for file in files if task is None or file.name.startswith(f"{task}.")]
    if not by_task:
        tasks = sorted({file.stem.rpartition(".")[0] for file in files})
        raise MetierError(f"the run has no task '{task}'", where=str(path), fix=nearest(str(task), tasks))
    written = {}
    for file in by_task:
        rows = [p for p in read_predictions(file) if p.split == "test"]
        if any(p.output is not None for p in rows):
            written[file] = rows
    if not written:
        raise MetierError(
            "no system of this run wrote its answers: they were chosen by likelihood", where=str(path),
            fix="name a run whose task is a generation, or a table of answers",
        )  # fmt: skip
    tasks = sorted({file.stem.rpartition(".")[0] for file in written})
    if len(tasks) > 1:
        raise MetierError(f"the run has several tasks: {', '.join(tasks)}", where=str(path), fix="name one with --task")
    for place, (file, rows) in enumerate(written.items()):
        system = file.stem.rpartition(".")[2]
        called = system if name is None else name if len(written) == 1 else f"{name} {system}"
        for p in rows:
            key = p.example_id if columns.identity else normalised(p.text)
            where = f"{file}, example '{p.example_id}'"
            yield _Answer(key, p.text, called, (p.output or "").strip() or "(no answer)", where)
            if gold and not place:
                yield _Answer(key, p.text, gold, p.gold, where)
