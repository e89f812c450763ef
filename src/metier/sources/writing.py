"""Writing tables: the formats of :mod:`metier.sources.tables`, row by row, under a temporary name until whole."""

from __future__ import annotations

import csv
import datetime
import functools
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from metier.errors import MetierError
from metier.files import replacing
from metier.sources.compression import SUFFIXES, create_bytes
from metier.sources.lines import load_json
from metier.sources.tables import Moment, Nested, table_format

Record = Mapping[str, Any]
_WRITABLE = ("csv", "tsv", "jsonl", "json", "parquet", "xlsx")
_BATCH_ROWS = 4096
_CELL_CHARACTERS, _SHEET_ROWS = 32767, 1048576  # Excel's own limits


def write_table(
    path: Path,
    rows: Iterable[Record],
    columns: Sequence[str],
    *,
    format: str | None = None,
) -> int:
    """Write ``rows`` to ``path`` in the format of its name (``.gz`` and ``.zst`` compress) and count them.

    Only ``columns`` are written, in that order; a column that a row lacks is empty there. A :class:`Nested` value is
    one again in JSON, and a :class:`Moment` in xlsx. csv, tsv, JSON lines, JSON
    and xlsx stream; parquet is spooled to a temporary file first, to know each column's type. Text is UTF-8 and lines
    end in a line feed. Rows are taken one by one, so they may come from reading another table.

    Raises:
        MetierError: as :func:`writable_format`; a value that the format cannot hold (row and column named); a
            full disk. ``path`` is then as it was before.
    """
    path = Path(path)
    kind = writable_format(path, format)
    suffix = path.suffix.lower() if path.suffix.lower() in SUFFIXES else ""
    writers: dict[str, Callable[[IO[bytes], Iterator[list[Any]], list[str], Path], int]] = {
        **{
            "csv": _write_csv,
            "tsv": functools.partial(_write_csv, delimiter="\t"),
            "jsonl": _write_jsonl,
            "json": _write_json,
        },
        **{"parquet": _write_parquet, "xlsx": _write_xlsx},
    }
    names = list(columns)
    with replacing(path) as temporary, create_bytes(temporary, suffix) as file:
        return writers[kind](file, ([row.get(name) for name in names] for row in rows), names, path)


def write_beside(path: Path, source: Path, rows: Iterable[Record], columns: Sequence[str]) -> int:
    """Write the parquet table ``source`` to ``path`` with ``columns`` added: a record of ``rows`` for each of its rows.

    The table's own columns are copied with their types and descriptions. Errors: as :func:`write_table`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from metier.sources.binary import parquet_file

    names, suffix = list(columns), path.suffix.lower() if path.suffix.lower() in SUFFIXES else ""
    with replacing(path) as temporary, tempfile.TemporaryFile(dir=path.parent) as spool:
        number = _write_parquet(spool, ([row.get(name) for name in names] for row in rows), names, path)
        spool.seek(0)
        added, own = pq.read_table(spool), parquet_file(source)
        schema = pa.schema([*own.schema_arrow, *added.schema], own.schema_arrow.metadata)
        begun = 0
        with create_bytes(temporary, suffix) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in own.iter_batches(batch_size=_BATCH_ROWS):
                part = added.slice(begun, batch.num_rows)
                writer.write_table(pa.Table.from_arrays([*batch.columns, *part.columns], schema=schema))
                begun += batch.num_rows
    return number


def writable_format(path: Path, format: str | None = None) -> str:
    """The format in which a table is written to ``path``; to be asked before its rows are made, where that takes long.

    Raises:
        MetierError: a folder, an unknown ending, a format that is only read.
    """
    if path.is_dir():
        raise MetierError("a folder, where a file is to be written", where=str(path), fix="name a file in it")
    try:
        kind = table_format(path, format)
    except MetierError as error:
        kind, what = "", error.what
    else:
        what = f"tables are not written as {kind!r}"
    if kind not in _WRITABLE:
        endings = ", ".join(f".{name}" for name in _WRITABLE)
        raise MetierError(what, where=str(path), fix=f"end its name in one of {endings} (also with .gz or .zst)")
    return kind


def _fail(what: str, path: Path, number: int, column: str | None, fix: str) -> MetierError:
    return MetierError(what, where=f"{path}, row {number}" + (f", column {column!r}" if column else ""), fix=fix)


def _check_text(value: object, path: Path, number: int, column: str) -> None:
    if isinstance(value, str):
        if "\0" in value:
            raise _fail("a NUL character cannot be written to a table", path, number, column, "remove it from the text")
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                fix = "remove the lone surrogate from the text"
                raise _fail("half of a character cannot be written", path, number, column, fix) from None


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return "" if value is None else str(value)


def _write_csv(file: IO[bytes], rows: Iterator[list[Any]], columns: list[str], path: Path, delimiter: str = ",") -> int:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    plain = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    quoted = csv.writer(text, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    # another delimiter in a header could be taken for the one in use, and a bare carriage return for a line's end
    (quoted if any(sign in name for name in columns for sign in ",;|\t\r") else plain).writerow(columns)
    number = 0
    for number, values in enumerate(rows, 1):
        cells = [_cell(value) for value in values]
        for name, cell in zip(columns, cells, strict=True):
            _check_text(cell, path, number, name)
        (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)
    text.detach()
    return number


def _dump(values: Record, path: Path, number: int) -> str:
    nested = {name: load_json(value, once=False) for name, value in values.items() if isinstance(value, Nested)}
    try:
        text = json.dumps({**values, **nested}, ensure_ascii=False, allow_nan=False, default=str)
        text.encode("utf-8")
    except ValueError as error:  # NaN, infinity; UnicodeEncodeError is one too
        fix = "write None for a number that is missing, and whole characters"
        raise _fail(f"a value that JSON cannot hold: {error}", path, number, None, fix) from error
    return text


def _write_jsonl(file: IO[bytes], rows: Iterator[list[Any]], columns: list[str], path: Path) -> int:
    number = 0
    for number, values in enumerate(rows, 1):
        file.write((_dump(dict(zip(columns, values, strict=True)), path, number) + "\n").encode("utf-8"))
    return number


def _write_json(file: IO[bytes], rows: Iterator[list[Any]], columns: list[str], path: Path) -> int:
    number = 0
    file.write(b"[")
    for number, values in enumerate(rows, 1):
        text = _dump(dict(zip(columns, values, strict=True)), path, number)
        file.write((("\n" if number == 1 else ",\n") + text).encode("utf-8"))
    file.write(b"\n]\n")
    return number


def _write_parquet(file: IO[bytes], rows: Iterator[list[Any]], columns: list[str], path: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: list[set[type]] = [set() for _ in columns]
    number = 0
    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=path.parent) as spool:
        for number, values in enumerate(rows, 1):
            for kind, name, value in zip(kinds, columns, values, strict=True):
                _check_text(value, path, number, name)
                if value is not None:
                    kind.add(type(value) if type(value) in (bool, int, float) else str)
                    if type(value) is int and not -(2**63) <= value < 2**63:
                        kind.add(str)
            spool.write(json.dumps(values, default=str) + "\n")
        types = [_column_type(kind) for kind in kinds]
        arrow = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
        schema = pa.schema([(name, arrow[kind]) for name, kind in zip(columns, types, strict=True)])
        spool.seek(0)
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for batch in _batches(spool):
                arrays = [
                    pa.array([_as(kind, value) for value in column], field.type)
                    for kind, column, field in zip(types, zip(*batch, strict=True), schema, strict=True)
                ]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return number


def _column_type(kinds: set[type]) -> type:
    if len(kinds) == 1:
        return next(iter(kinds))
    return float if kinds == {int, float} else str


def _as(kind: type, value: Any) -> Any:
    if value is None:
        return None
    return _cell(value) if kind is str else kind(value)


def _batches(spool: IO[str]) -> Iterator[list[list[Any]]]:
    batch: list[list[Any]] = []
    for line in spool:
        batch.append(json.loads(line))
        if len(batch) == _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _spreadsheet_date(text: Moment) -> datetime.date | None:
    """The date, or date and time; None where a spreadsheet has none such: before 1900, a time zone, a time alone."""
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo or moment.year < 1900:
        return None
    return moment if moment.time() != datetime.time.min else moment.date()


def _write_xlsx(file: IO[bytes], rows: Iterator[list[Any]], columns: list[str], path: Path) -> int:
    import openpyxl
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.utils.exceptions import IllegalCharacterError

    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet("table")

    def cell(value: Any, number: int, column: str) -> Any:
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Moment) and (date := _spreadsheet_date(value)):
            return date
        text = _cell(value)
        _check_text(text, path, number, column)
        if len(text) > _CELL_CHARACTERS:
            what = f"a text of {len(text):,} characters; a cell of a spreadsheet holds {_CELL_CHARACTERS:,}"
            raise _fail(what, path, number, column, "write .csv, .jsonl or .parquet")
        try:
            made = WriteOnlyCell(page, value=text)
        except IllegalCharacterError:
            fix = "remove control characters, or write .csv, .jsonl or .parquet"
            raise _fail("a character that a spreadsheet cannot hold", path, number, column, fix) from None
        made.data_type = "s"  # a text that begins with "=" is a text, not a formula
        return made

    number = 0
    try:
        page.append([cell(name, 0, name) for name in columns])
        for number, values in enumerate(rows, 1):
            if number >= _SHEET_ROWS:
                raise _fail(f"a sheet holds {_SHEET_ROWS:,} rows", path, number, None, "write .csv, .jsonl or .parquet")
            page.append([cell(value, number, name) for value, name in zip(values, columns, strict=True)])
    finally:
        page.close()  # else the library complains on standard error when it is collected half written
    with tempfile.TemporaryFile(dir=path.parent) as whole:  # a zip needs a file that it can go back in
        book.save(whole)
        whole.seek(0)
        shutil.copyfileobj(whole, file)
    return number
