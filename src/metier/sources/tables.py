"""Reading tables: one row type for csv, tsv, JSON lines, JSON, parquet, xlsx, plain text and Markdown.

A table is read as it is: nothing is coerced, replaced or dropped. What cannot be read is a
:class:`~metier.errors.MetierError` that names file, row and field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from metier.errors import MetierError, nearest
from metier.sources.compression import SUFFIXES, explained
from metier.sources.nested import inner_names, with_inner

Value = str | int | float | bool | None
Rows = Iterator[tuple[int, dict[str, Value]]]

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "xlsx", "txt", "md", "rsplit")
_BY_SUFFIX = {
    **{".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"},
    **{".parquet": "parquet", ".pq": "parquet", ".xlsx": "xlsx", ".xlsm": "xlsx", ".txt": "txt"},
    **{".md": "md", ".markdown": "md"},
}


class Nested(str):
    """A list or an object as its JSON text, which JSON is given back as what it was."""

    __slots__ = ()


class Moment(str):
    """A date or time as its ISO text, which a spreadsheet is given back as what it was."""

    __slots__ = ()


@dataclass(frozen=True)
class Row:
    """One row of a table.

    ``number`` (from 1) is what a person would look for: in csv, tsv and xlsx the row as a spreadsheet shows it (the
    header is row 1; a record of several lines is one row), in JSON lines, txt, md (a block's first) and rsplit the
    line, in JSON and parquet the record.
    ``values`` by column; an empty cell and a JSON null are None; nested values are their JSON text.
    """

    number: int
    values: dict[str, Value]


def table_format(path: Path, declared: str | None = None) -> str:
    """``declared``, or the format that the file's name says (before ``.gz`` or ``.zst``)."""
    if declared is not None:
        if declared in FORMATS:
            return declared
        raise MetierError(f"unknown format {declared!r}", where=str(path), fix=nearest(declared, FORMATS))
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in SUFFIXES:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix == ".xls":
        fix = "open it in a spreadsheet and save it as .xlsx"
    else:
        known = nearest(suffix, _BY_SUFFIX) + " or " if suffix else ""
        fix = f"{known}declare it (`format:` in a recipe, --format), one of {', '.join(FORMATS)}"
    raise MetierError(f"no format is known for the extension {suffix or '(none)'!r}", where=str(path), fix=fix)


def read_table(
    path: Path,
    *,
    format: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
    sheet: str | None = None,
    header_row: int | None = None,
    wanted: Sequence[str] | None = None,
) -> Iterator[Row]:
    """Read a table, row by row (JSON and xlsx as a whole).

    Args:
        path: the file; gzip and zstd are recognised by their content.
        format: one of :data:`FORMATS`, if the name does not say it. ``rsplit`` splits each line once, at the last
            ``delimiter``, into two columns: ``sentence@label``.
        encoding: of text formats; else a byte-order mark, UTF-8 or a detector decides, for the whole file, before
            the first row is given out.
        delimiter: of csv (else the best of comma, semicolon, tab and bar is taken and named in every message and,
            where it is not the comma, in the log) and of rsplit (else ``@``).
        columns: names for a csv, tsv or xlsx that has no header line; the two names of rsplit (else text, label).
        sheet: of an xlsx (else the first).
        header_row: of an xlsx (else the first row that is not blank); what stands above it is passed over.
        wanted: the columns that the caller looks at. Of JSON and parquet a name with dots is found inside nested
            objects (``review.text``), and of parquet no other column is read; None gives every column of the table.

    Returns:
        An iterator of rows. The file is opened, its encoding decided and its header read before this returns; faults
        of a row are raised when the iteration comes to it.

    Raises:
        MetierError: absent, empty, damaged or cut off; an unknown format; mixed encodings; a ragged row; a bad
            header; a line that is not JSON.
    """
    rows = _open(Path(path), format, encoding, delimiter, columns, sheet, header_row, wanted)[1]
    if dotted := [name for name in wanted or () if "." in name]:
        rows = with_inner(rows, dotted)
    return (Row(number, values) for number, values in rows)


def table_columns(
    path: Path,
    *,
    format: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    columns: Sequence[str] | None = None,
    sheet: str | None = None,
    header_row: int | None = None,
    nested: bool = False,
) -> list[str]:
    """The table's columns, in order. In JSON, where rows may differ: those of the first thousand rows.

    With ``nested``, behind them the names of what lies inside nested objects of JSON and parquet (``review.text``).
    """
    path = Path(path)
    names, rows = _open(path, format, encoding, delimiter, columns, sheet, header_row)
    if names:
        kind = table_format(path, format) if nested else ""
        return [*names, *(name for name in _inside_parquet(path, kind) if name not in names)]
    first = [values for _, values in islice(rows, 1000)]
    inside = inner_names(first) if nested else []
    return list(dict.fromkeys([*(name for values in first for name in values), *inside]))


def _inside_parquet(path: Path, kind: str) -> list[str]:
    if kind != "parquet":
        return []
    from metier.sources.binary import inner_columns

    return inner_columns(path)


def _open(
    path: Path,
    declared: str | None,
    encoding: str | None,
    delimiter: str | None,
    columns: Sequence[str] | None,
    sheet: str | None,
    header_row: int | None,
    wanted: Sequence[str] | None = None,
) -> tuple[list[str], Rows]:
    """Columns (none where each row has its own) and rows with their numbers."""
    with explained(path):
        if path.is_dir():
            raise IsADirectoryError
    kind = table_format(path, declared)
    if delimiter is not None and kind not in ("csv", "tsv", "rsplit"):
        raise MetierError(
            f"'delimiter' is for csv, tsv and rsplit, this is {kind}", where=str(path), fix="leave it out"
        )
    if sheet is not None and kind != "xlsx":
        raise MetierError(f"'sheet' is for xlsx, this is {kind}", where=str(path), fix="leave it out")
    names = _checked(columns, path) if columns else None
    with explained(path):
        if path.stat().st_size == 0:
            raise MetierError("the file is empty", where=str(path), fix="give a file with at least one row")
    # openpyxl and pyarrow take a while to import: only those who read such files pay for it
    if kind in ("parquet", "xlsx"):
        from metier.sources import binary

        if kind == "parquet":
            return binary.open_parquet(path, wanted)
        return binary.open_xlsx(path, sheet, names, header_row)
    from metier.sources import delimited, lines
    from metier.sources.encodings import decide_encoding

    if header_row is not None:
        raise MetierError("'header_row' is for xlsx", where=str(path), fix="delete the lines above the header instead")
    codec = decide_encoding(path, encoding)
    if kind in ("csv", "tsv"):
        return delimited.open_delimited(path, codec, delimiter or ("\t" if kind == "tsv" else None), names)
    if kind == "rsplit":
        return lines.open_rsplit(path, codec, delimiter or "@", names or ["text", "label"])
    if kind in ("txt", "md"):
        return ["text"], (lines.read_lines if kind == "txt" else lines.read_paragraphs)(path, codec)
    return [], (lines.read_json if kind == "json" else lines.read_jsonl)(path, codec)


def _checked(columns: Sequence[str], path: Path) -> list[str]:
    twice = {name for name in columns if list(columns).count(name) > 1}
    if twice or isinstance(columns, str):
        raise MetierError(f"columns are named twice: {sorted(twice)}", where=str(path), fix="give each its own name")
    return list(columns)
