"""Formats made of lines or JSON: JSON lines, JSON, plain text, Markdown paragraphs, and ``text@label`` lines."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO, cast

from metier.errors import MetierError
from metier.sources.compression import explained, open_bytes
from metier.sources.tables import Nested, Rows, Value

_LISTS = ("data", "rows", "examples", "records", "items", "instances")


class NotATableError(MetierError):
    """A sound JSON file that holds no table."""


def _text(path: Path, encoding: str) -> TextIO:
    return io.TextIOWrapper(cast(io.BufferedReader, open_bytes(path)), encoding=encoding)


def _numbered(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    with explained(path), _text(path, encoding) as file:
        for number, line in enumerate(file, 1):
            yield number, line.rstrip("\n")


def read_lines(path: Path, encoding: str) -> Rows:
    """One row, column ``text``, for each line that is not blank."""
    for number, line in _numbered(path, encoding):
        if line.strip():
            yield number, {"text": line}


def read_paragraphs(path: Path, encoding: str) -> Rows:
    """One row, column ``text``, for each block of lines between blank ones; numbered by its first line."""
    begun, block = 0, list[str]()
    for number, line in _numbered(path, encoding):
        if line.strip():
            begun = begun if block else number
            block.append(line)
        elif block:
            yield begun, {"text": "\n".join(block)}
            block = []
    if block:
        yield begun, {"text": "\n".join(block)}


def open_rsplit(path: Path, encoding: str, delimiter: str, columns: list[str]) -> tuple[list[str], Rows]:
    """Two columns: what stands before and after the last ``delimiter`` of each line that is not blank."""
    if len(columns) != 2:
        found = ", ".join(columns)
        raise MetierError(f"rsplit gives two columns; named are {len(columns)}: {found}", where=str(path))
    return columns, _rsplit(path, encoding, delimiter, columns)


def _rsplit(path: Path, encoding: str, delimiter: str, columns: list[str]) -> Rows:
    for number, line in _numbered(path, encoding):
        if not line.strip():
            continue
        before, found, after = line.rpartition(delimiter)
        if not found:
            raise MetierError(
                f"no {delimiter!r} in the line, which should be {columns[0]}{delimiter}{columns[1]}",
                where=f"{path}, line {number}: {line[:60]}",
                fix=f"end the line with {delimiter}{columns[1]}, or declare another `delimiter:`",
            )
        yield number, {columns[0]: before or None, columns[1]: after.strip() or None}


def read_jsonl(path: Path, encoding: str) -> Rows:
    """One object a line; blank lines are skipped."""
    for number, line in _numbered(path, encoding):
        if line.strip():
            where = f"{path}, line {number}"
            yield number, _record(_parse(line, where), where)


def read_json(path: Path, encoding: str) -> Rows:
    """A list of objects, an object that holds one (``{"data": [ … ]}``) or names each by its id, columns as pandas
    writes them, or JSON lines under another name.
    """
    with explained(path), _text(path, encoding) as file:
        text = file.read()
    try:
        value = load_json(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and "\n" in text[: error.pos]:
            return read_jsonl(path, encoding)
        raise _bad_json(error, f"{path}, line {error.lineno}, column {error.colno}") from error
    except _TwiceError as error:
        raise _twice(error, str(path)) from error
    return _from_json(_records(value, path), path)


def _records(value: Any, path: Path) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        lists = [value[name] for name in _LISTS if isinstance(value.get(name), list)]
        if not lists and len(value) == 1:  # alone under another name, such as the `questions` of BioASQ
            lists = [v for v in value.values() if isinstance(v, list) and v and all(isinstance(r, dict) for r in v)]
        if len(lists) == 1:
            return cast(list[Any], lists[0])
        if not lists and value and all(isinstance(v, dict) and v for v in value.values()):
            return _keyed(value)
        if not lists and value and not any(isinstance(v, (dict, list)) for v in value.values()):
            return [value]  # JSON lines of a single line
    found = f"an object with the keys {', '.join(list(value)[:6])}" if isinstance(value, dict) else f"{value!r:.60}"
    fix = 'write a list of objects [{"text": "…"}, …], {"data": [ … ]}, or one object a line'
    raise NotATableError(f"the file does not hold a table: it is {found}", where=str(path), fix=fix)


def _keyed(value: dict[str, dict[str, Any]]) -> list[Any]:
    """Records under their ids, as in PubMedQA's file; or columns of numbered rows, as ``DataFrame.to_json`` writes."""
    rows = list(next(iter(value.values())))
    if rows and all(row.isdigit() for row in rows) and all(list(column) == rows for column in value.values()):
        return [{name: column[row] for name, column in value.items()} for row in rows]
    return [{"id": id, **record} for id, record in value.items()]


def _from_json(records: list[Any], path: Path) -> Rows:
    for number, record in enumerate(records, 1):
        yield number, _record(record, f"{path}, record {number}")


def _record(value: Any, where: str) -> dict[str, Value]:
    if not isinstance(value, dict):
        fix = 'each row is an object: {"text": "…", "label": "…"}'
        raise MetierError(f"not an object but {json.dumps(value)[:60]}", where=where, fix=fix)
    record = {str(name): _plain(item) for name, item in value.items()}
    for name, item in record.items():
        if isinstance(item, str) and not item.isascii():
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                fix = "write the character itself, or both halves of its \\u escape"
                raise MetierError(
                    "half of a character (a lone surrogate)", where=f"{where}, field {name!r}", fix=fix
                ) from None
    return record


def _plain(value: Any) -> Value:
    if isinstance(value, (dict, list)):
        return Nested(json.dumps(value, ensure_ascii=False))
    return cast(Value, value)


class _TwiceError(ValueError):
    """A key that stands twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return found


def load_json(text: str, *, once: bool = True) -> Any:
    """A value of JSON. NaN is null: pandas and json.dump write a missing number so.

    Raises:
        ValueError: no JSON; nested too deeply; with ``once``, a key that stands twice in one object.
    """
    hook = _object if once else None
    try:
        return json.loads(
            text, object_pairs_hook=hook, parse_constant=lambda word: None if word == "NaN" else float(word)
        )
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", text, 0) from error


def _parse(line: str, where: str) -> Any:
    try:
        return load_json(line)
    except json.JSONDecodeError as error:
        raise _bad_json(error, f"{where}, column {error.colno}: {line.strip()[:60]}") from error
    except _TwiceError as error:
        raise _twice(error, where) from error


def _bad_json(error: json.JSONDecodeError, where: str) -> MetierError:
    return MetierError(f"not JSON: {error.msg}", where=where, fix="write valid JSON: double quotes, no trailing comma")


def _twice(error: _TwiceError, where: str) -> MetierError:
    return MetierError(f"the field {str(error)!r} stands twice in one object", where=where, fix="keep one of them")
