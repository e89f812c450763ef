"""Texts from files, folders and patterns: one text a line of txt, a paragraph of md, a row of a table."""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metier.corpus.source import shown_files
from metier.errors import MetierError, nearest
from metier.files import sha256_file
from metier.run.progress import console
from metier.sources import read_table, table_columns
from metier.sources.encodings import decide_encoding, refuse_unwritable_name
from metier.sources.refs import local_path

_TEXT = (".txt", ".md", ".markdown")
_TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".pq")
_TABLES_BY_NAME = (".tab", ".xlsx", ".xlsm")  # read where a file is named, not looked for in folders
_PACKED = (".gz", ".zst")


@dataclass(frozen=True)
class TextSource:
    """Files that are read as one source.

    Attributes:
        column: holds the text where they are tables.
        skipped: hold no text.
        others: files of the folder whose names say none of the formats that are read here.
    """

    name: str
    files: tuple[Path, ...]
    column: str = "text"
    skipped: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()

    def check(self) -> None:
        """Look for the column in every table, before work is spent on those that have it.

        Raises:
            MetierError: a table without it, or one that cannot be read.
        """
        for file in self.files:
            if _suffix(file) not in _TEXT:
                self._checked(file)

    def texts(self) -> Iterator[str]:
        """Every text that is not blank, in the order of the files; those of txt and md end in a line break.

        Raises:
            MetierError: a file that cannot be read, a column that is not there, a cell that is no text.
        """
        for file in self.files:
            lines = _suffix(file) in _TEXT
            column = "text" if lines else self._checked(file)
            with _nothing_declared():
                for row in read_table(file):
                    value = row.values.get(column)
                    if value is not None and not isinstance(value, str):
                        where = f"{file}, row {row.number}, {column}"
                        raise MetierError(f"not a text but {value!r:.60}", where=where, fix="name a column of texts")
                    if value and value.strip():
                        yield value + "\n" if lines else value

    def _checked(self, file: Path) -> str:
        with _nothing_declared():
            columns = table_columns(file)
        if self.column in columns:
            return self.column
        raise MetierError(
            f"there is no column '{self.column}'", where=str(file), fix=f"{nearest(self.column, columns)}; use --column"
        )

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(file.stat().st_size for file in self.files)

    def to_json(self) -> dict[str, object]:
        """What was read: names and hashes of the files."""
        return {
            "name": self.name,
            "column": self.column,
            "files": [{"name": file.name, "sha256": sha256_file(file)} for file in self.files],
        }


def find_sources(places: Sequence[str], column: str = "text") -> list[TextSource]:
    """One source for each place: a file, a folder (searched through) or a pattern; ``NAME=PLACE`` names it.

    Of several files those are skipped that are called txt or md and hold no text: binary or empty; of a folder also
    hidden ones.

    Raises:
        MetierError: a place that does not exist or holds no file of text.
    """
    found = [_source(place, column) for place in places]
    if not found:
        raise MetierError("there is no text", fix="name files, folders or patterns such as 'corpus/*.txt'")
    return found


def tell_skipped(sources: Sequence[TextSource]) -> None:
    """Say how many files of which source are not read."""
    for source in sources:
        if source.skipped:
            told = f"{source.name}: {len(source.skipped)} files hold no text and are skipped"
            console.print(f"[yellow]note[/] {told}, such as {source.skipped[0].name}")
        if source.others:
            told = f"{source.name}: {len(source.others)} files are of another format and are left out"
            console.print(f"[yellow]note[/] {told}, such as {source.others[0].name}")


def _source(place: str, column: str) -> TextSource:
    name, equals, rest = place.partition("=")
    if not equals or Path(place).exists():
        name, rest = "", place
    path = local_path(rest)
    known: tuple[str, ...] = _TEXT + _TABLES
    if path.is_dir():
        found = shown_files(path)
    else:
        known += _TABLES_BY_NAME
        found = sorted(Path(file) for file in glob.glob(str(path), recursive=True) if Path(file).is_file())  # noqa: PTH207
        found = [path] if path.is_file() else found
    files = [file for file in found if _suffix(file) in known]
    for file in files:
        refuse_unwritable_name(file)
    others = [file for file in found if _suffix(file) not in known]
    if not files:
        raise MetierError(
            "no file of text is there", where=rest, fix=f"name a file, folder or pattern with {', '.join(known)}"
        )
    skipped = [file for file in files if _suffix(file) in _TEXT and not _holds_text(file)] if len(files) > 1 else []
    if len(skipped) == len(files):
        raise MetierError(f"none of {len(files)} files holds text", where=rest, fix="give files of text")
    stem = path.name.split(".")[0].strip("*?") or path.parent.name
    kept = tuple(file for file in files if file not in skipped)
    return TextSource(name or stem, kept, column, tuple(skipped), tuple(others))


@contextlib.contextmanager
def _nothing_declared() -> Iterator[None]:
    """Faults of a table without the advice to declare something of it, for which these verbs have no place."""
    try:
        yield
    except MetierError as error:
        fix = error.fix and re.sub(
            r"[,;] or(?:, if the file is UTF-16,)? declare .*|^declare `encoding:`, or ", "", error.fix
        )
        raise MetierError(error.what, where=error.where, fix=fix) from error


def _holds_text(file: Path) -> bool:
    try:
        return bool(decide_encoding(file))
    except MetierError:
        return False


def _suffix(file: Path) -> str:
    """The ending that says the format, before ``.gz`` or ``.zst``."""
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() not in _PACKED]
    return suffixes[-1] if suffixes else ""
