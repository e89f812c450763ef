"""Parquet and xlsx."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from metier.errors import MetierError, nearest
from metier.sources.archives import LIMIT_BYTES
from metier.sources.compression import explained, is_compressed, open_bytes
from metier.sources.headers import clean_header
from metier.sources.nested import holder
from metier.sources.tables import Moment, Nested, Rows, Value

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_ROWS = 2048


def _seekable(path: Path) -> IO[bytes]:
    """The file itself, or, of a compressed one, an unnamed temporary copy: both formats are read from their end."""
    with explained(path):
        if not is_compressed(path):
            return open(path, "rb")
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        with open_bytes(path) as file:
            shutil.copyfileobj(file, copy)
        copy.seek(0)
        return copy


_DAMAGED = "the file is damaged or cut off: copy or download it again"


def parquet_file(path: Path) -> pq.ParquetFile:
    """The file, also of a compressed one. Errors: :class:`MetierError` where it is not whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(_seekable(path))
    except (pa.ArrowException, OSError) as error:
        raise MetierError(f"not a whole parquet file: {error}", where=str(path), fix=_DAMAGED) from error


def open_parquet(path: Path, wanted: Sequence[str] | None = None) -> tuple[list[str], Rows]:
    """Columns of a parquet file and its rows, of which only what is ``wanted``; one row group at a time is held."""
    import pyarrow as pa

    table = parquet_file(path)
    stored = table.schema_arrow.names
    columns = clean_header(stored, str(path))
    named = dict(zip(stored, columns, strict=True))
    looked_at = None if wanted is None else {name if name in columns else holder(name, columns) for name in wanted}
    read = None if looked_at is None else [old for old, name in named.items() if name in looked_at]

    def rows() -> Rows:
        number = 0
        try:
            for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=read):
                names = [named[name] for name in batch.schema.names]
                for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    number += 1
                    where = f"{path}, record {number}"
                    yield number, {name: plain_value(v, where, name) for name, v in zip(names, values, strict=True)}
        except (pa.ArrowException, OSError) as error:
            raise MetierError(
                f"the parquet file cannot be read on: {error}", where=f"{path}, after record {number}", fix=_DAMAGED
            ) from error

    return columns, rows()


def inner_columns(path: Path) -> list[str]:
    """The names of what lies inside the structs of a parquet file: ``review.text``."""

    def inside(fields: Iterable[pa.Field], above: str) -> Iterator[str]:
        import pyarrow as pa

        for field in fields:
            if pa.types.is_struct(field.type):
                below = [field.type.field(place) for place in range(field.type.num_fields)]
                yield from (f"{above}{field.name}.{one.name}" for one in below)
                yield from inside(below, f"{above}{field.name}.")

    return list(inside(parquet_file(path).schema_arrow, ""))


def open_xlsx(
    path: Path, sheet: str | None, columns: list[str] | None, header_row: int | None = None
) -> tuple[list[str], Rows]:
    """Columns and rows of a sheet (the first, if none is named). Rows that are wholly blank are skipped, and so are
    those above ``header_row``.
    """
    rows, last = _sheet_rows(path, sheet), 0
    for first in rows:
        where, number, cells = first
        if number >= (header_row or 1):
            break
        last = number
    else:
        if last:
            fix = "name the row of the column names, or leave `header_row:` (--header-row) out"
            raise MetierError(f"row {header_row} is beyond the last row, {last}", where=str(path), fix=fix)
        raise MetierError("the sheet is empty", where=str(path), fix="name another with `sheet:`, or fill this one")
    if columns is None:
        names = clean_header(["" if cell is None else str(cell) for cell in cells], f"{where}, row {number}")
        return names, _from_sheet(rows, names)
    return columns, _from_sheet(_before(first, rows), columns)


def _before(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _from_sheet(rows: Iterator[tuple[str, int, list[Any]]], columns: list[str]) -> Rows:
    for where, number, cells in rows:
        if len(cells) > len(columns):
            raise MetierError(
                f"a ragged row: {len(cells)} cells found, {len(columns)} expected ({', '.join(columns)[:200]})",
                where=f"{where}, row {number}; the last is {cells[-1]!r:.60}",
                fix="name every column in the header, or clear the cells beyond it; if the header is a lower row, say "
                "which: `header_row:` in a recipe, --header-row",
            )
        cells += [None] * (len(columns) - len(cells))
        place = f"{where}, row {number}"
        yield (
            number,
            {name: plain_value(cell, place, name) or _zero(cell) for name, cell in zip(columns, cells, strict=True)},
        )


def _zero(cell: Any) -> Value:
    return cell if isinstance(cell, (bool, int, float)) and not cell else None  # an empty text is an empty cell


@contextlib.contextmanager
def _workbook(path: Path) -> Iterator[Any]:
    """The workbook, open for as long as its sheets are read: what is broken shows there or here."""
    import openpyxl

    broken = (
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        OSError,
        EOFError,
        SyntaxError,
        openpyxl.utils.exceptions.InvalidFileException,
    )
    fix = "the file is damaged or cut off, or is not an .xlsx: open it in a spreadsheet and save it again"
    try:
        with contextlib.closing(_seekable(path)) as file:
            _refuse_bomb(file, path)
            yield openpyxl.load_workbook(file, read_only=True, data_only=True)
    except broken as error:
        raise MetierError(f"not a whole xlsx file: {error}", where=str(path), fix=fix) from error


def _sheet_rows(path: Path, sheet: str | None) -> Iterator[tuple[str, int, list[Any]]]:
    """Where, row number and cells (without empty ones at the end) of each row that is not blank."""
    with _workbook(path) as book:
        pages = {page.title: page for page in book.worksheets}
        if sheet is not None and sheet not in pages:
            raise MetierError(f"there is no sheet {sheet!r}", where=str(path), fix=nearest(sheet, pages))
        if not pages:
            raise MetierError("the workbook holds no sheet of cells", where=str(path))
        page = pages[sheet] if sheet is not None else next(iter(pages.values()))
        page.reset_dimensions()  # the size that is written in the file is often wrong
        for number, cells in enumerate(page.iter_rows(values_only=True), 1):
            filled = list(cells)
            while filled and filled[-1] in (None, ""):
                filled.pop()
            if filled:
                yield f"{path}, sheet {page.title!r}", number, filled


def sheets_of(path: Path) -> list[str]:
    """The names of a workbook's sheets, in order. Errors: :class:`MetierError` where it is damaged."""
    with _workbook(path) as book:
        return [page.title for page in book.worksheets]


def _refuse_bomb(file: IO[bytes], path: Path) -> None:
    with zipfile.ZipFile(file) as zipped:
        size = sum(info.file_size for info in zipped.infolist())
    file.seek(0)
    if size > LIMIT_BYTES:
        raise MetierError(f"refused: it unpacks to {size:,} bytes; the limit is {LIMIT_BYTES:,}", where=str(path))


def plain_value(value: Any, where: str, field: str) -> Value:
    """A cell as text, number, truth value or None: dates as ISO text, nested values as JSON, NaN as None."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            fix = "leave the column out, or store text in it"
            raise MetierError("bytes that are not UTF-8 text", where=f"{where}, field {field!r}", fix=fix) from None
    if isinstance(value, (dict, list, tuple)):
        return Nested(json.dumps(value, ensure_ascii=False, default=str))
    return Moment(value.isoformat()) if hasattr(value, "isoformat") else str(value)
