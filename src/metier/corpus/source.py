"""What a source of documents is, and the files it is made of."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from metier.corpus.quality import MIN_WORDS, Rules
from metier.errors import MetierError, nearest
from metier.sources.encodings import refuse_unwritable_name

FORMATS = {
    **{".txt": "txt", ".text": "txt", ".md": "md", ".markdown": "md", ".html": "html", ".htm": "html", ".pdf": "pdf"},
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet", ".pq": "parquet"},
    **{".xml": "xml", ".cnxml": "xml", ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".xlsx": "xlsx"},
}
_LISTED = 8  # names of a folder
MAX_CHARACTERS = 8_000_000  # of one document: a book of 1,300,000 words; what bounds the memory of a step


@dataclass(frozen=True)
class Source:
    """Files that hold documents, and how to read and judge them.

    Attributes:
        name: in the ledger, the weights and the folders.
        files: in the order of reading.
        split_on: in txt and md: ``file`` (a document a file), ``line``, ``blank-line``, or a line that separates.
        text: columns of a table, fields of JSON, or path expressions inside a record of XML; joined by line feeds.
            Left out, the usual names are looked for.
        records: a path expression (XPath, names without namespaces) whose elements are the documents of XML.
        date, id, group: column or field with the day of publication, the document's id, and what it belongs to.
        language: kept texts are in it; None keeps every language.
        quality, min_words: rules of :mod:`metier.corpus.quality`.
        deidentify, names: replace what identifies a person; also names, by presidio.
        labels: filled at first use.
    """

    name: str
    files: tuple[Path, ...]
    domain: str = "unknown"
    licence: str = "unknown"
    redistributable: bool | None = None
    format: str | None = None
    encoding: str | None = None
    split_on: str = "file"
    text: tuple[str, ...] = ()
    records: str | None = None
    date: str | None = None
    id: str | None = None
    group: str | None = None
    language: str | None = "en"
    quality: Rules = "standard"
    min_words: int = MIN_WORDS
    deidentify: bool = True
    names: bool = False
    labels: dict[Path, str] = field(default_factory=dict, compare=False)

    def label(self, path: Path) -> str:
        """A file's name in ids: below the folder that holds all files of the source. A :class:`MetierError` where it is
        not UTF-8.
        """
        if not self.labels:
            for file in self.files:
                refuse_unwritable_name(file)
            root = os.path.commonpath([file.parent for file in self.files])
            self.labels.update({file: file.relative_to(root).as_posix() for file in self.files})
        return self.labels[path]

    def settings(self) -> dict[str, Any]:
        """What decides the outcome beside the files' bytes."""
        skip = ("files", "labels", "domain", "licence", "redistributable")
        return {key: getattr(self, key) for key in self.__dataclass_fields__ if key not in skip} | {
            "labels": [self.label(file) for file in self.files]
        }


def expand(pattern: str, roots: Sequence[Path]) -> list[Path]:
    """The files of a path, a folder (with all below it) or a glob, from the first root that has any, sorted.

    Raises:
        MetierError: nothing there, with the nearest name.
    """
    for root in [Path()] if Path(pattern).is_absolute() else roots:
        whole = root / pattern
        if whole.is_file():
            return [_placed(whole)]
        if whole.is_dir():
            return _readable(whole)
        if any(sign in pattern for sign in "*?[") and (found := _matched(root, Path(pattern))):
            return found
    name = Path(pattern).name
    parents = ((root / pattern).parent for root in roots)
    beside = next(([path.name for path in parent.iterdir()] for parent in parents if parent.is_dir()), [])
    looked = ", ".join(str(root.resolve()) for root in roots)
    fix = _near(name, beside) if beside else "check the path; relative ones are looked for in these folders"
    raise MetierError(f"no file is named by {pattern!r}", where=f"looked in {looked}", fix=fix)


def _near(name: str, beside: list[str]) -> str:
    """As :func:`~metier.errors.nearest`; of a folder of many files the first are listed."""
    told, known, _ = nearest(name, beside).partition("known: ")
    more = f", … ({len(beside):,} in all)" if len(beside) > _LISTED else ""
    return told + known + ", ".join(sorted(beside)[:_LISTED]) + more if known else told


def _placed(path: Path) -> Path:
    """The whole path; of a link its own name, which says the format and the day, unless only its target's does."""
    named, target = path.parent.resolve() / path.name, path.resolve()
    return target if format_of(named) is None and format_of(target) else named


def _matched(root: Path, pattern: Path) -> list[Path]:
    """The files of a glob. Folders that are there are taken by their names, even where these have signs of a glob."""
    base = root / pattern.anchor
    parts = list(pattern.relative_to(pattern.anchor).parts)
    while (base / parts[0]).is_dir():
        base /= parts.pop(0)
    return sorted(_placed(path) for path in base.glob("/".join(parts)) if path.is_file())


def shown_files(folder: Path) -> list[Path]:
    """All files below a folder that are not hidden, sorted."""
    return _shown(folder, Path.is_file)


def _blind_links(folder: Path) -> list[Path]:
    """Links below a folder to another folder, which are not followed, or to nothing."""
    return _shown(folder, lambda path: path.is_symlink() and not path.is_file())


def _shown(folder: Path, wanted: Callable[[Path], bool]) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if wanted(path))
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def left_out(pattern: str, roots: Sequence[Path]) -> list[Path]:
    """Where :func:`expand` reads a folder: the files in it that it leaves out, because their names say no format, and
    links that lead to no file.
    """
    for root in [Path()] if Path(pattern).is_absolute() else roots:
        if (folder := root / pattern).is_dir():
            return [path for path in shown_files(folder) if format_of(_placed(path)) is None] + _blind_links(folder)
    return []


def told_left_out(files: Sequence[Path]) -> str:
    """How many files and links :func:`left_out` found, and of what kinds."""
    links = [file for file in files if not file.is_file()]
    others = [file for file in files if file.is_file()]
    told = []
    if others:
        kinds = ", ".join(sorted({file.suffix or file.name for file in others})[:5])
        one = "1 file of a format that is not read is"
        many = f"{len(others):,} files of formats that are not read are"
        told.append(f"{one if len(others) == 1 else many} left out ({kinds})")
    if links:
        names = ", ".join(link.name for link in links[:5])
        told.append(f"links to folders or to nothing are not followed: {len(links):,} ({names})")
    return "; ".join(told)


def _readable(folder: Path) -> list[Path]:
    """Files below a folder whose names say a format; hidden ones are left out."""
    shown = shown_files(folder)
    found = [_placed(path) for path in shown if format_of(path) is not None]
    if not found:
        names = ", ".join(path.name for path in shown[:5]) or "nothing"
        names += "; " + told_left_out(links) if (links := _blind_links(folder)) else ""
        fix = f"a folder holds files of {', '.join(FORMATS)}; name others one by one with `format:`"
        raise MetierError(f"the folder holds no file to read: {names}", where=str(folder), fix=fix)
    return found


def format_of(path: Path) -> str | None:
    """The format that a file's name says, before ``.gz`` or ``.zst``; None if it says none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    return FORMATS.get(suffixes[-1]) if suffixes else None


_ISO = re.compile(r"(?<!\d)((?:19|20)\d\d)[-/._]?(0[1-9]|1[0-2])[-/._]?(0[1-9]|[12]\d|3[01])(?!\d)")
_FORMS = ("%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%a, %d %b %Y")


def parse_date(value: object) -> str | None:
    """A date of publication as ISO text, or None: ``2020-01-31…``, ``26-FEB-1987 15:01``, ``January 31, 2020``.

    Days and months in figures alone (01/02/2020) are not guessed at.
    """
    found = str(value or "").strip()
    if match := _ISO.search(found):
        try:
            return date(*map(int, match.groups())).isoformat()
        except ValueError:
            return None
    for form in _FORMS:
        for words in (1, 3, 4):
            try:
                return datetime.strptime(" ".join(found.split()[:words]), form).date().isoformat()
            except ValueError:
                continue
    return None
