"""Answering a whole table: rows stream through, every column stays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metier.errors import MetierError, nearest
from metier.evaluation.conformal import Method
from metier.inference.answers import TextAnswer
from metier.inference.choices import ChoiceAnswer
from metier.inference.specialist import Specialist
from metier.sources import Row, read_table, table_columns, writable_format, write_beside, write_table
from metier.sources.tables import table_format
from metier.tasks import Task
from metier.tasks.cells import cleaned, plain
from metier.tasks.choices import PLACE, check_count, read_options
from metier.tasks.dialogues import as_text, before_answer
from metier.tasks.table import field_name
from metier.tasks.task import Reading

CHUNK = 256
ADDED = ("label", "probability", "abstained")
ADDED_WRITTEN = ("answer",)
ADDED_CHOICE = ("label", "answer", "probability", "abstained")
SET, REFERRAL = "set", "referral"


@dataclass
class Counts:
    """What happened to the rows of a table.

    Attributes:
        answered: dialogues that ended with an answer, which was not shown: of a specialist that learnt to give it.
        renamed: columns that were to be added and stood in the table already, and the names they were given instead.
    """

    rows: int = 0
    empty: int = 0
    abstained: int = 0
    referred: int = 0
    answered: int = 0
    renamed: dict[str, str] = field(default_factory=dict)


def check_paths(source: Path, target: Path, format: str | None = None) -> None:
    """Refuse a table that cannot be read or written at all, before a model is loaded for it.

    Errors: :class:`MetierError` for a ``source`` that is not there, a folder or of an unknown ending, a ``target`` as
    in :func:`metier.sources.writable_format`, and one that is the source.
    """
    if source.resolve() == target.resolve():
        raise MetierError("the table cannot be its own output", where=str(target), fix="give --out another name")
    if not source.exists():
        raise MetierError("the table to answer does not exist", where=str(source), fix="check the path after --in")
    if source.is_dir():
        raise MetierError("a folder, where a table is needed", where=str(source), fix="name one file in it: --in FILE")
    table_format(source, format)
    writable_format(target)


def predict_table(
    specialist: Specialist,
    source: Path,
    target: Path,
    *,
    columns: list[str],
    choices: list[str] | None = None,
    abstain_below: float | None = None,
    sets: float | None = None,
    sets_by: Method = "lac",
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Counts:
    """Read ``source``, answer its ``columns`` (one for each field of the template), write ``target``.

    Texts are read as they were in training: one of several may be empty, and a dialogue ends before its last answer
    where such answers were learnt. All columns are kept; ``label``, ``probability`` and ``abstained`` are added
    (``metier_label``, else ``metier_label_2`` and so on, where the table has such a column); from parquet to parquet
    the table's own keep their types. A row without any text gets no label and counts as abstained. Where answers are
    written out, ``answer`` is all that is added. ``choices`` are the columns of a question's options, or one with a
    list; then ``label`` is a letter, and ``answer`` its option. With ``sets`` there is ``set``, its labels between
    ``|``; in a domain with red flags ``referral``, empty for a text without one.
    """
    task = specialist.bundle.task
    fields, known = check_columns(task, source, columns, choices, **options)
    chooses = task.kind == "multiple_choice"
    added = list(ADDED_WRITTEN if specialist.writes else ADDED_CHOICE if chooses else ADDED)
    added += [SET] if sets is not None else []
    added += [REFERRAL] if specialist.guard else []
    names = {name: _free(name, known) for name in added}
    asked = {"abstain_below": abstain_below, "sets": sets, "sets_by": sets_by}
    counts = Counts(renamed={name: new for name, new in names.items() if new != name})
    pairs = list(zip(fields, columns, strict=True))
    lists = (choices[0] if len(choices) == 1 else choices) if choices else None
    kinds = {table_format(source, options.get("format")), writable_format(target)}
    beside, looked_at = kinds == {"parquet"}, [*columns, *(choices or [])]
    read = read_table(source, wanted=looked_at if beside else [*known, *looked_at], **options)
    rows = _answered(specialist, read, pairs, names, asked, counts, progress, (source.name, lists))
    if beside:
        write_beside(target, source, rows, list(names.values()))
    else:
        write_table(target, rows, [*known, *names.values()])
    return counts


def _free(name: str, taken: list[str]) -> str:
    """``name``, or what it becomes where the table has such a column."""
    others = (f"metier_{name}_{number}" for number in itertools.count(2))
    return next(new for new in itertools.chain([name, f"metier_{name}"], others) if new not in taken)


def check_columns(
    task: Task, source: Path, columns: list[str], choices: list[str] | None = None, **options: Any
) -> tuple[list[str], list[str]]:
    """The fields of a specialist's template that ``columns`` of ``source`` are for, and all columns that it has.

    Several columns that are called as those that were learnt are known by their names, others by their order.

    Errors: :class:`MetierError` for a table that cannot be opened, and columns that are missing or too many.
    """
    chooses = task.kind == "multiple_choice"
    _check_choices(task, chooses, choices)
    fields = [name for name in task.template.fields() if not (chooses and name == PLACE)]
    if len(columns) != len(fields):
        raise MetierError(f"this specialist reads {len(fields)} column(s): {', '.join(fields)}", fix="repeat --column")
    named = [field_name(column, place) for place, column in enumerate(columns, 1)]
    if sorted(named) == sorted(fields):
        fields = named
    known = table_columns(source, **options)
    wanted = [*columns, *(choices or [])]
    # JSON and xlsx are read whole: what lies inside their objects is looked for where a name is no column
    inner = known if set(wanted) <= set(known) else table_columns(source, nested=True, **options)
    absent = next((column for column in wanted if column not in inner), None)
    if absent is not None:
        fix = nearest(absent, inner)
        if table_format(source, options.get("format")) == "xlsx":
            fix += "; if the header is not the first row, name it: --header-row; another sheet: --sheet"
        raise MetierError(f"there is no column '{absent}'", where=str(source), fix=fix)
    return fields, known


def _check_choices(task: Task, chooses: bool, choices: list[str] | None) -> None:
    if chooses and not choices:
        raise MetierError(
            "this specialist chooses among the options of a question",
            fix="name their columns with --options (repeat it, or one column that holds a list)",
        )
    if choices and not chooses:
        raise MetierError(f"this specialist is for {task.kind}: it has no options", fix="leave --options out")


def _answered(
    specialist: Specialist,
    rows: Iterable[Row],
    pairs: list[tuple[str, str]],
    names: dict[str, str],
    asked: dict[str, Any],
    counts: Counts,
    progress: Callable[[int], None] | None,
    choices: tuple[str, str | list[str] | None],
) -> Iterator[dict[str, Any]]:
    iterator = iter(rows)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        reading = specialist.bundle.task.reading
        inputs: list[dict[str, Any]] = [
            {name: _read(row.values.get(column), reading, counts) for name, column in pairs} for row in chunk
        ]
        filled = [n for n, texts in enumerate(inputs) if any(cleaned(text, reading.clean) for text in texts.values())]
        file, lists = choices
        for index in filled if lists else ():
            where = f"{file}, row {chunk[index].number}"
            inputs[index][PLACE] = read_options(chunk[index].values, lists or "", where)
            check_count(specialist.bundle.task, len(inputs[index][PLACE]), where)
        answers = dict(zip(filled, specialist.predict([inputs[i] for i in filled], **asked), strict=True))
        for index, row in enumerate(chunk):
            answer = answers.get(index)
            counts.rows += 1
            counts.empty += answer is None
            counts.referred += answer is not None and answer.referral is not None
            more = {names[REFERRAL]: answer.referral if answer else None} if REFERRAL in names else {}
            if specialist.writes:
                yield {**row.values, names["answer"]: answer.answer if isinstance(answer, TextAnswer) else None, **more}
                continue
            assert not isinstance(answer, TextAnswer)
            counts.abstained += answer is None or answer.abstained
            if SET in names:
                more = {names[SET]: "|".join(answer.set or ()) if answer else None} | more
            yield {
                **row.values,
                names["label"]: answer.label if answer else None,
                **({names["answer"]: answer.text if isinstance(answer, ChoiceAnswer) else None} if lists else {}),
                names["probability"]: round(answer.probability, 6) if answer else None,
                names["abstained"]: answer.abstained if answer else True,
                **more,
            }
        if progress:
            progress(len(chunk))


def _read(value: object, reading: Reading, counts: Counts) -> str:
    """A cell as it was read in training; the specialist cleans it."""
    if reading.answered:
        value, cut = before_answer(value)
        counts.answered += cut
    return plain(as_text(value)[0])
