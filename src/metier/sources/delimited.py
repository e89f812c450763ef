"""Comma-, semicolon-, tab- and bar-separated tables (RFC 4180 quoting)."""

from __future__ import annotations

import csv
import io
import logging
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO, cast

from metier.errors import MetierError
from metier.sources.compression import explained, open_bytes
from metier.sources.headers import clean_header
from metier.sources.tables import Rows, Value

log = logging.getLogger(__name__)

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_SAMPLE_CHARACTERS = 1 << 17


def open_delimited(
    path: Path, encoding: str, delimiter: str | None, columns: list[str] | None
) -> tuple[list[str], Rows]:
    """Header and rows. The delimiter is sniffed if none is given; ``columns`` means that there is no header line."""
    _raise_field_limit()
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise MetierError(f"the delimiter {delimiter!r} is not a single character", where=str(path))
    chosen = delimiter or _sniff(path, encoding)
    quoting = _quoting(path, encoding, chosen) if chosen == "\t" else csv.QUOTE_MINIMAL
    records = _records(path, encoding, chosen, quoting)
    how = f"separated by {DELIMITERS.get(chosen, repr(chosen))}"
    if columns is None:
        first = next(records, None)
        if first is None:
            raise MetierError("the file has no header and no rows", where=str(path), fix="give it at least one row")
        columns = clean_header(first[2], f"{path}, line {first[1]} ({how})")
    return columns, _rows(path, records, columns, how)


def _rows(path: Path, records: Iterator[tuple[int, int, list[str]]], columns: list[str], how: str) -> Rows:
    for number, line, fields in records:
        if len(fields) != len(columns):
            shown = " | ".join(field[:30] for field in fields[-3:])
            raise MetierError(
                f"a ragged row: {len(fields)} fields found, {len(columns)} expected ({', '.join(columns)[:200]})",
                where=f"{path}, line {line} ({how}); it ends in: {shown}",
                fix='put fields that hold the delimiter or a line break in double quotes (a quote inside is ""), '
                "or declare `delimiter:`",
            )
        values: dict[str, Value] = {name: field or None for name, field in zip(columns, fields, strict=True)}
        yield number, values


def _records(path: Path, encoding: str, delimiter: str, quoting: int) -> Iterator[tuple[int, int, list[str]]]:
    """Row as a spreadsheet shows it, first line (both from 1) and fields of each record.

    Blank lines are rows of a sheet, but no records.
    """
    with explained(path), _text(path, encoding) as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
        begun = 1
        try:
            for row, fields in enumerate(reader, 1):
                if fields:
                    yield row, begun, fields
                begun = reader.line_num + 1
        except csv.Error as error:
            raise MetierError(
                f"the quotes do not pair up: {error}",
                where=f"{path}, in the row that begins on line {begun}",
                fix='close every field that begins with a double quote, and write a quote inside it as ""',
            ) from error


def _text(path: Path, encoding: str) -> TextIO:
    return io.TextIOWrapper(cast(io.BufferedReader, open_bytes(path)), encoding=encoding, newline="")


def _sniff(path: Path, encoding: str) -> str:
    with explained(path), _text(path, encoding) as file:
        sample = file.read(_SAMPLE_CHARACTERS)
        whole = not file.read(1)
    scores = {delimiter: _fit(sample, delimiter, whole) for delimiter in DELIMITERS}
    chosen = max(scores, key=lambda delimiter: scores[delimiter])  # the first of equals: comma before the others
    if chosen != ",":
        log.info("%s is read as separated by %s", path, DELIMITERS[chosen])
    return chosen


def _fit(sample: str, delimiter: str, whole: bool) -> tuple[bool, float, int]:
    """How well a delimiter explains a sample: splits the header; share of rows as wide as it; its width."""
    try:
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
        rows = [fields for fields in islice(reader, 2000) if fields]
    except csv.Error:
        return False, 0.0, 0
    if not whole and len(rows) > 1:
        rows.pop()  # cut in the middle
    if not rows or len(rows[0]) < 2:
        return False, 0.0, 0
    width = len(rows[0])
    return True, sum(len(fields) == width for fields in rows) / len(rows), width


def _quoting(path: Path, encoding: str, delimiter: str) -> int:
    """Whether quotes mean anything: many tab-separated files know none, and a lone quote would swallow rows."""

    def uniform(quoting: int) -> bool:
        try:
            widths = {len(fields) for *_, fields in _records(path, encoding, delimiter, quoting)}
        except MetierError:
            return False
        return len(widths) == 1

    with explained(path), _text(path, encoding) as file:
        quoted = any('"' in line for line in file)
    if not quoted or uniform(csv.QUOTE_MINIMAL) or not uniform(csv.QUOTE_NONE):
        return csv.QUOTE_MINIMAL
    log.info("%s: double quotes do not pair up, and every row fits without them: read as plain characters", path)
    return csv.QUOTE_NONE


def _raise_field_limit() -> None:
    limit = sys.maxsize
    while csv.field_size_limit() < 2**31 - 1:  # the limit is a C long, whose size differs between platforms
        try:
            csv.field_size_limit(limit)
        except OverflowError:
            limit //= 2
