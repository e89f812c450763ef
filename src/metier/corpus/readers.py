"""Documents out of files of every format, one at a time, each asked for by its number before it is unpacked."""

from __future__ import annotations

import contextlib
import io
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from metier.corpus.source import FORMATS, MAX_CHARACTERS, Source, format_of, parse_date
from metier.corpus.text import Tally, Text, Texts
from metier.errors import MetierError, nearest
from metier.sources.compression import explained, open_bytes
from metier.sources.encodings import codec_of, decide_encoding
from metier.sources.lines import load_json
from metier.sources.tables import read_table

BINARY, TOO_LONG, UNREADABLE = "not text", "too long", "unreadable file"
TEXT_COLUMNS = ("text", "content", "body", "document", "article", "transcription", "transcript", "speech", "abstract")
DATE_COLUMNS = ("date", "filing_date", "published", "publication_date", "created", "timestamp")
EVERY = ("*",)  # as Source.text: all strings of a record, also nested ones
_ROW_BITS = 32  # of `order`; above it stand 24 bits of the file's number, and 8 of the source's


class Raw(NamedTuple):
    """A document as a reader gives it; ``row`` numbers it within its file."""

    row: int
    text: str
    date: str | None = None
    id: str | None = None
    group: str | None = None


Mine = Callable[[int], bool]
"""Whether a row of the file is wanted: asked before work is spent on it."""


def read_source(source: Source, tally: Tally, *, rank: int = 0, world_size: int = 1) -> Texts:
    """The documents of a source whose hash falls to ``rank`` of ``world_size``; the ranks together give all of them.

    Every rank goes through all rows; files that are one document are not opened by the others.

    Raises:
        MetierError: a damaged table, JSON line or archive; a column that is not there; an unknown format or encoding.
    """
    if source.encoding:  # a wrong name is no fault of the files, which would all count as no text
        codec_of(source.encoding, f"the source '{source.name}', encoding")
    for number, path in enumerate(source.files):
        label = f"{source.name}/{source.label(path)}"

        def mine(row: int, label: str = label) -> bool:
            return zlib.crc32(f"{label}#{row}".encode()) % world_size == rank

        dated = parse_date(path.name)
        for raw in _reader(path, source)(path, source, mine, tally):
            size = len(raw.text.encode("utf-8", "surrogatepass"))
            tally.read.update({"documents": 1, "bytes": size})
            id = f"{label}#{raw.row}" if raw.id is None else raw.id
            if len(raw.text) > MAX_CHARACTERS:
                tally.drop(TOO_LONG, id, f"more than {MAX_CHARACTERS:,} characters; split_on would cut txt and md")
                continue
            yield Text(number << _ROW_BITS | raw.row, id, raw.text, raw.date or dated, raw.group or id)


Reader = Callable[[Path, Source, Mine, Tally], Iterator[Raw]]


def _reader(path: Path, source: Source) -> Reader:
    kind = source.format or format_of(path)
    if kind not in FORMATS.values():
        fix = f"{nearest(str(kind), set(FORMATS.values()))}; declare `format:` for files whose names do not say it"
        raise MetierError(f"no format is known for {path.name!r}", where=str(path), fix=fix)
    if kind in ("html", "pdf", "xml"):
        from metier.corpus import markup

        return cast(Reader, {"html": markup.read_html, "pdf": markup.read_pdf, "xml": markup.read_xml}[kind])
    readers: dict[str, Reader] = {"txt": _text, "md": _text, "jsonl": _jsonl, "json": _json}
    return readers.get(str(kind), _table)


def text_encoding(
    path: Path, source: Source, tally: Tally, mine: Mine, stated: re.Pattern[bytes] | None = None
) -> str | None:
    """The encoding of a file of text, or None, counted, if it is none (binary under a text's name, or empty).

    Args:
        stated: as :func:`~metier.sources.encodings.decide_encoding` takes it.
    """
    try:
        return decide_encoding(path, source.encoding, stated)
    except MetierError as error:
        if mine(0):
            tally.read.update({"documents": 1, "bytes": path.stat().st_size})
            tally.drop("empty" if path.stat().st_size == 0 else BINARY, source.label(path), error.what)
        return None


def _text(path: Path, source: Source, mine: Mine, tally: Tally) -> Iterator[Raw]:
    if source.split_on == "file" and not mine(0):
        return
    encoding = text_encoding(path, source, tally, mine)
    if encoding is None:
        return
    if source.split_on == "file":
        with explained(path), io.TextIOWrapper(cast(io.BufferedReader, open_bytes(path)), encoding) as file:
            yield Raw(0, file.read(MAX_CHARACTERS + 1), group=None)
        return
    block: list[str] = []
    row = size = 0
    for _, line in _lines(path, encoding):
        if source.split_on == "line":
            if line.strip() and mine(row):
                yield Raw(row, line)
            row += bool(line.strip())
        elif line.strip() == ("" if source.split_on == "blank-line" else source.split_on):
            if block and mine(row):
                yield Raw(row, "\n".join(block))
            row, block, size = row + bool(block), [], 0
        elif size <= MAX_CHARACTERS:
            block.append(line)
            size += len(line) + 1
    if block and mine(row):
        yield Raw(row, "\n".join(block))


def _lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends. Of a line beyond the limit only so much is held that it counts as too long."""
    with explained(path), io.TextIOWrapper(cast(io.BufferedReader, open_bytes(path)), encoding) as file:
        number = 0
        while line := file.readline(MAX_CHARACTERS + 2):
            rest = line
            while not rest.endswith("\n") and (rest := file.readline(MAX_CHARACTERS + 2)):
                pass
            yield number, line.rstrip("\n")
            number += 1


def _jsonl(path: Path, source: Source, mine: Mine, tally: Tally) -> Iterator[Raw]:
    encoding = text_encoding(path, source, tally, mine)
    for number, line in _lines(path, encoding) if encoding else ():
        if not line.strip() or not mine(number):
            continue
        where = f"{path}, line {number + 1}"
        if len(line) > MAX_CHARACTERS:
            yield Raw(number, line)
            continue
        try:
            value = load_json(line, once=False)
        except ValueError as error:
            fix = "write one object a line, or leave the file out"
            raise MetierError(f"not JSON: {error}: {line[:60]!r}", where=where, fix=fix) from error
        if not isinstance(value, dict):
            raise MetierError("not an object", where=where, fix='each line is an object: {"text": "…"}')
        yield _record(number, value, source, where)


def _json(path: Path, source: Source, mine: Mine, tally: Tally) -> Iterator[Raw]:
    encoding = text_encoding(path, source, tally, mine)
    if encoding is None:
        return
    with explained(path), io.TextIOWrapper(cast(io.BufferedReader, open_bytes(path)), encoding) as file:
        try:
            value = load_json(file.read(), once=False)
        except ValueError:
            value = None  # JSON lines under another name, or a fault that read_table explains
    if isinstance(value, dict) and "filing_date" in value and any(key.startswith("item_") for key in value):
        yield from _edgar(value, mine)
    elif isinstance(value, dict) and all(not isinstance(part, (dict, list)) for part in value.values()):
        if mine(0):
            yield _record(0, value, source, str(path))
    else:
        yield from _table(path, source, mine, tally)


def _edgar(filing: dict[str, Any], mine: Mine) -> Iterator[Raw]:
    """A 10-K as edgar-crawler writes it: an item a document, grouped by company, dated by its filing."""
    group = f"edgar:{filing.get('cik') or filing.get('filename')}"
    items = [(key, value) for key, value in filing.items() if key.startswith("item_") and isinstance(value, str)]
    for row, (_, text) in enumerate(items):
        if text.strip() and mine(row):
            yield Raw(row, text, parse_date(filing["filing_date"]), group=group)


def _table(path: Path, source: Source, mine: Mine, tally: Tally) -> Iterator[Raw]:
    kind = source.format or format_of(path)
    for number, row in enumerate(read_table(path, format=kind, encoding=source.encoding)):
        if mine(number):
            nested = kind in ("json", "parquet")  # which give a list as its JSON
            values = {name: _list(value) for name, value in row.values.items()} if nested else row.values
            yield _record(number, values, source, f"{path}, row {row.number}")


def _list(value: Any) -> Any:
    """The list of text that a value of a table is the JSON of, or else the value itself."""
    if isinstance(value, str) and value[:2] == '["':
        with contextlib.suppress(ValueError):
            found = load_json(value)
            return found if all(isinstance(part, str) for part in found) else value
    return value


def _record(number: int, values: dict[str, Any], source: Source, where: str) -> Raw:
    if source.text == EVERY:
        return Raw(number, "\n".join(_strings(values)))
    columns = source.text or tuple(name for name in TEXT_COLUMNS if name in values)[:1]
    for name in [*columns, source.date, source.id, source.group]:
        if name is not None and name not in values:
            raise MetierError(f"there is no field {name!r}", where=where, fix=nearest(name, values))
    if not columns:
        fix = f"name it: text: one of {', '.join(list(values)[:12])}"
        raise MetierError("which field holds the text is not clear", where=where, fix=fix)
    text = "\n".join(_said(values[name], name, where) for name in columns if values[name] is not None)
    day = source.date or next((name for name in DATE_COLUMNS if name in values), None)
    id, group = (str(values[name]) if name and values[name] is not None else None for name in (source.id, source.group))
    return Raw(number, text, parse_date(values[day]) if day else None, id, group)


def _said(value: Any, name: str, where: str) -> str:
    """The text of a field: of a list its strings, a line each."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "\n".join(value)
    if isinstance(value, (list, dict)):
        kind = "an object" if isinstance(value, dict) else "a list of other things than text"
        fix = "name a field of text, or text: '*' for every string of a record"
        raise MetierError(f"the field {name!r} holds {kind}", where=where, fix=fix)
    return str(value)


def _strings(value: Any) -> Iterator[str]:
    """The strings in a value of JSON, in order; tables hold nested values as JSON text."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str) and found[:1] in ("[", "{"):
            nested = None
            with contextlib.suppress(ValueError):
                nested = load_json(found, once=False)
            found = nested if isinstance(nested, (list, dict)) else found
        if isinstance(found, str):
            yield found
        elif isinstance(found, (list, dict)):
            waiting += reversed(list(found.values() if isinstance(found, dict) else found))
