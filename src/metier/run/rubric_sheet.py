"""Rating without the page: a blinded sheet out, and the filled sheet back in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metier.errors import MetierError, nearest
from metier.evaluation.rubric_axes import HEAD, TEXTS, Axis
from metier.run.labelled import cell
from metier.run.rubric import Workbench
from metier.sources import Row, read_table, table_columns, write_table


def export_sheet(bench: Workbench, out: Path, raters: Sequence[str]) -> int:
    """Write the items of raters, in their order, with what they said so far; returns the number of rows.

    Raises:
        MetierError: an unknown rater; a file that exists: somebody may have filled it in.
    """
    if out.exists():
        raise MetierError(
            "the sheet exists already", where=str(out), fix="name another --out, or import this one first"
        )
    rows = []
    for name in raters:
        for item in bench.rater(name).items:
            shown = bench.shown(name, item)
            texts = dict(zip(TEXTS[bench.rubric.mode], shown.answers, strict=True))
            head = dict(zip(HEAD, (name, item, shown.question), strict=True))
            rows.append({**head, **texts, **bench.said(name).get(item, {})})
    return write_table(out, rows, [*HEAD, *TEXTS[bench.rubric.mode], *(axis.name for axis in bench.rubric.axes)])


@dataclass(frozen=True)
class Taken:
    """What an import found: choices that are new, that were known, that replace another, and cells left empty."""

    new: int
    same: int
    changed: int
    empty: int


def import_sheet(bench: Workbench, sheet: Path, *, rater: str | None = None, partial: bool = False) -> Taken:
    """Check a filled sheet whole, then take its ratings.

    Args:
        bench: the workbench that the sheet came from.
        sheet: any table with the columns that an export has; texts may be left out.
        rater: who filled it in, if it has no column ``rater``.
        partial: take what is there of an incomplete sheet.

    Raises:
        MetierError: with file, row and column: an unknown column, rater, answer, axis or option; a rater's answer
            twice; a text that is another one's; a sheet that is not complete.
    """
    _check_columns(bench, sheet, rater)
    choices: dict[tuple[str, str], dict[str, str]] = {}
    seen: dict[tuple[str, str], int] = {}
    empty: list[str] = []
    for row in read_table(sheet):
        key = _whose(bench, sheet, row, rater)
        if key in seen:
            raise MetierError(
                f"the rater '{key[0]}' judges answer '{key[1]}' twice",
                where=f"{sheet}, rows {seen[key]} and {row.number}, column 'item'",
                fix="keep one of the two rows",
            )
        seen[key] = row.number
        choices[key] = {}
        for axis in bench.rubric.axes:
            where = f"{sheet}, row {row.number}, column '{axis.name}'"
            if text := cell(row.values.get(axis.name)):
                choices[key][axis.name] = _option(bench, axis, text, where)
            else:
                empty.append(where)
    _check_whole(bench, sheet, seen, empty, partial)
    return _take(bench, choices, len(empty))


def _check_columns(bench: Workbench, sheet: Path, rater: str | None) -> None:
    columns = table_columns(sheet)
    axes = [axis.name for axis in bench.rubric.axes]
    known = [*HEAD, *TEXTS[bench.rubric.mode], *axes]
    if strange := next((column for column in columns if column not in known), None):
        raise MetierError(f"there is no axis '{strange}'", where=f"{sheet}, header", fix=nearest(strange, known))
    wanted = ["item", *axes, *([] if rater else ["rater"])]
    if missing := next((column for column in wanted if column not in columns), None):
        fix = (
            "name the rater with --rater" if missing == "rater" else "fill in the sheet that metier rubric export wrote"
        )
        raise MetierError(f"the column '{missing}' is missing", where=f"{sheet}, header", fix=fix)


def _whose(bench: Workbench, sheet: Path, row: Row, rater: str | None) -> tuple[str, str]:
    """The rater and the item of a row, both known, the texts those of the item."""
    where = f"{sheet}, row {row.number}, column "
    name = cell(row.values.get("rater")) or rater or ""
    if rater and name != rater:
        raise MetierError(f"the row is of '{name}', not of '{rater}'", where=f"{where}'rater'", fix="leave out --rater")
    if name not in bench.people:
        fix = nearest(name, bench.people) if name else "write the rater's name"
        raise MetierError(f"there is no rater '{name}'", where=f"{where}'rater'", fix=fix)
    item = cell(row.values.get("item"))
    if item not in bench.items:
        raise MetierError(
            f"there is no answer '{item}'", where=f"{where}'item'", fix="use the ids of the exported sheet"
        )
    if item not in bench.rater(name).items:
        raise MetierError(
            f"the answer '{item}' was not given to '{name}'", where=f"{where}'item'",
            fix="import the sheet that was exported for this rater",
        )  # fmt: skip
    shown = bench.shown(name, item)
    for column, text in zip(("question", *TEXTS[bench.rubric.mode]), (shown.question, *shown.answers), strict=True):
        found = cell(row.values.get(column))
        if found and found.split() != text.split():
            raise MetierError(
                f"the text is not that of '{item}'", where=f"{where}'{column}'",
                fix="rows may be sorted only as a whole: export the sheet again and copy the ratings into it",
            )  # fmt: skip
    return name, item


def _option(bench: Workbench, axis: Axis, text: str, where: str) -> str:
    known = {option.casefold(): option for option in bench.rubric.options(axis)}
    # pandas writes 3.0 where a cell of the column was empty
    found = known.get(text.casefold()) or known.get(text.removesuffix(".0"))
    if found is None:
        raise MetierError(f"'{text}' is no option of '{axis.name}'", where=where, fix=nearest(text, known.values()))
    return found


def _check_whole(
    bench: Workbench, sheet: Path, seen: dict[tuple[str, str], int], empty: Sequence[str], partial: bool
) -> None:
    if not seen:
        raise MetierError("the sheet has no row", where=str(sheet), fix="fill in the sheet that was exported")
    if partial:
        return
    fix = "fill it in, or take what is there with --partial"
    if empty:
        raise MetierError(f"the sheet is not complete: {len(empty)} cells are empty", where=empty[0], fix=fix)
    rows = Counter(name for name, _ in seen)
    for name, count in rows.items():
        if lacking := [item for item in bench.rater(name).items if (name, item) not in seen]:
            raise MetierError(
                f"the sheet is not complete: {len(lacking)} of the {count + len(lacking)} answers of '{name}' have no "
                f"row, the first is '{lacking[0]}'",
                where=f"{sheet}, column 'item'", fix=fix,
            )  # fmt: skip


def _take(bench: Workbench, choices: dict[tuple[str, str], dict[str, str]], empty: int) -> Taken:
    counts: Counter[str] = Counter()
    for (name, item), values in choices.items():
        before = bench.said(name).get(item, {})
        fresh = {axis: value for axis, value in values.items() if before.get(axis) != value}
        counts["same"] += len(values) - len(fresh)
        counts["changed"] += sum(axis in before for axis in fresh)
        counts["new"] += sum(axis not in before for axis in fresh)
        if fresh:
            bench.record(name, item, fresh, sheet=True)
    return Taken(counts["new"], counts["same"], counts["changed"], empty)
