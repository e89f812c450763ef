"""``posts:FOLDER``, exports of posts: the csv, tsv, jsonl, json, parquet and xlsx files of a folder, and the files in
which X, Mastodon, Telegram, StockTwits and Reddit give what was written (:mod:`metier.sources.exports`).

::

    posts:exports                                     columns are found by their usual names
    posts:exports?text=body&date=posted&licence=CC-BY-4.0

Each row is a document. Columns are declared in the reference (``text``, ``date``, ``title``) or found by their usual
names, whatever their case, at the top or else inside objects (``tweet.full_text``). **Authors are not kept**: of a row
only text, title and day go on, and its source is the file and row, never a link or a handle. Names inside the texts
stay: they are for de-identification.

A file without a column of text, such as the votes and contacts in a platform's archive, is left out with a warning;
where no file has one that is an error. Zip archives are to be unpacked first.

A date is understood as ISO 8601 (also ``2024/1/31``), as in e-mail (RFC 5322), as ``Wed Oct 10 20:19:24 +0000 2018``
or as seconds or milliseconds since 1970. One that can be read in two ways (``03/04/2024``) is not understood: the
document has none.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import logging
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl

from metier.errors import MetierError, nearest
from metier.sources.document import Document
from metier.sources.encodings import refuse_unwritable_name
from metier.sources.exports import GONE, is_script, platform_posts
from metier.sources.lines import NotATableError
from metier.sources.refs import local_path
from metier.sources.tables import Value, read_table, table_columns

log = logging.getLogger(__name__)

_ENDINGS = {".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx"}
_USUAL = {
    "text": (
        *("text", "full_text", "body", "content", "selftext", "message", "post", "tweet", "comment", "caption"),
        "sharecommentary",  # LinkedIn's
    ),
    "date": ("date", "created_at", "created_utc", "created", "published_at", "published", "timestamp", "time", "ts"),
    "title": ("title", "headline", "subject"),
}
_Post = tuple[int, str, Value, str]  # number, text, moment and title of a row
_PARAMETERS = ("text", "date", "title", "licence")


class _NoColumnError(MetierError):
    """A sound table without a column that is needed."""


def read_posts(body: str) -> Iterator[Document]:
    """The rows of every table below the folder, files in the order of their names.

    Raises:
        MetierError: no folder, no table in it, an unknown parameter (all at once); a table without a column of text or
            without a declared column, and whatever :func:`~metier.sources.tables.read_table` says of a file.
    """
    folder, given = _parse(body)
    if not body or not folder.is_dir():
        what = "a file, where a folder is needed" if folder.is_file() else "the folder does not exist"
        raise MetierError(what, where=str(folder), fix="name the folder that holds the exports: posts:exports")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder)))
    zipped = [path for path in found if path.suffix.lower() == ".zip"]
    files = [path for path in found if _is_table(path)]
    if not files:
        fix = f"unpack {zipped[0].name} first" if zipped else f"export as one of {', '.join(sorted(_ENDINGS))}"
        raise MetierError("no export lies in the folder", where=str(folder), fix=fix)
    for path in zipped:
        log.warning("%s is left out: unpack it first", path)
    return _read_all(files, folder, given)


def _parse(body: str) -> tuple[Path, dict[str, str]]:
    whole = local_path(body)
    if not body or whole.exists() or "?" not in body:  # a folder's own name may hold "?"
        return whole, {}
    name, _, parameters = body.rpartition("?")
    given = dict(parse_qsl(parameters, keep_blank_values=True))
    for key, value in given.items():
        if key not in _PARAMETERS or not value:
            fix = nearest(key, _PARAMETERS) if value else f"{key}=NAME"
            raise MetierError(f"not a parameter: {key}={value}", where=f"posts:{body}", fix=fix)
    return local_path(name), given


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "~$")) for part in path.parts)  # a spreadsheet that is open has a "~$name.xlsx"


def _is_table(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".zst"):
        suffixes.pop()
    return is_script(path) or (bool(suffixes) and suffixes[-1] in _ENDINGS)


def _read_all(files: list[Path], folder: Path, given: dict[str, str]) -> Iterator[Document]:
    faults = list[MetierError]()
    for path in files:
        refuse_unwritable_name(path)
        try:
            posts = _posts(path, given)
        except (NotATableError, _NoColumnError) as error:
            faults.append(error)
            continue
        yield from _documents(posts, path, folder, given)
    if len(faults) == len(files):
        raise faults[0]
    for fault in faults:
        log.warning("%s is left out: %s", fault.where, fault.what)


def _documents(posts: Iterable[_Post], path: Path, folder: Path, given: dict[str, str]) -> Iterator[Document]:
    name = path.relative_to(folder).as_posix()
    for number, body, moment, heading in posts:
        whole = body if not heading or body.startswith(heading) else f"{heading}\n\n{body}".strip()
        yield Document(
            id=f"posts:{hashlib.sha256(f'{name} {number} {whole}'.encode()).hexdigest()[:24]}",
            text=whole,
            source=f"{path}#{number}",
            domain="social",
            date=_day(moment),
            licence=given.get("licence", "unknown"),
            title=heading or None,
        )


def _posts(path: Path, given: dict[str, str]) -> Iterable[_Post]:
    exported = platform_posts(path)
    if exported is not None:
        # some platforms cut a text within a character: half of one is nothing
        whole = ((number, text.encode("utf-8", "ignore").decode(), moment) for number, text, moment in exported)
        return [(number, text.strip(), moment, "") for number, text, moment in whole]
    columns = table_columns(path, nested=True)
    text, date, title = (_column(kind, columns, given, path) for kind in ("text", "date", "title"))
    return _rows(path, text, date, title)


def _rows(path: Path, text: str | None, date: str | None, title: str | None) -> Iterator[_Post]:
    linkedin = (text or "").lower() == "sharecommentary"
    for row in read_table(path, wanted=[name for name in (text, date, title) if name]):
        body, moment, heading = (row.values.get(name) if name else None for name in (text, date, title))
        whole = _string(body)
        # LinkedIn writes every line of a post in quotes of its own
        yield row.number, re.sub('"?\n"?', "\n", whole) if linkedin else whole, moment, _string(heading)


def _column(kind: str, columns: Sequence[str], given: dict[str, str], path: Path) -> str | None:
    """The declared column, or the first of the usual names that the table has; only text is required."""
    if declared := given.get(kind):
        if declared in columns:
            return declared
        raise _NoColumnError(f"there is no column {declared!r}", where=str(path), fix=nearest(declared, columns))
    plain = [name for name in columns if not any(other.startswith(f"{name}.") for other in columns)]  # no object
    inside = [name for name in plain if name.rpartition(".")[0] in columns]
    for names in ([name for name in plain if name not in inside], inside):
        ends = {(name.rpartition(".")[2] if names is inside else name).lower(): name for name in reversed(names)}
        if found := next((ends[usual] for usual in _USUAL[kind] if usual in ends), None):
            return found
    if kind == "text":
        fix = f"declare it: posts:FOLDER?text=COLUMN, one of {', '.join(columns)[:300]}"
        raise _NoColumnError("no column has a usual name for the text of a post", where=str(path), fix=fix)
    return None


def _string(value: Value) -> str:
    text = "" if value is None else str(value).strip()
    return "" if text in GONE else text


def _day(value: Value) -> str | None:
    """The day of a moment as it stands (in its own time zone; UTC for seconds since 1970), or None."""
    if value is None or isinstance(value, bool):
        return None
    text = re.sub(r"^(\d{4})[/-](\d{1,2})[/-](\d{1,2})\b", _iso, str(value).strip())
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}(?:[T ].*)?", text):
        return _try_iso(text)
    with contextlib.suppress(ValueError, OverflowError, OSError):
        seconds = float(text)
        if math.isfinite(seconds) and seconds >= 1e8:  # 1973; below it could be a year or a yyyymmdd
            return datetime.fromtimestamp(seconds / (1000 if seconds >= 1e11 else 1), UTC).date().isoformat()
        return datetime.strptime(text, "%Y%m%d").date().isoformat() if re.fullmatch(r"\d{8}", text) else None
    with contextlib.suppress(ValueError):
        return datetime.strptime(text, "%a %b %d %H:%M:%S %z %Y").date().isoformat()
    with contextlib.suppress(ValueError, IndexError, TypeError):
        return email.utils.parsedate_to_datetime(text).date().isoformat()
    return None


def _iso(found: re.Match[str]) -> str:
    return f"{found[1]}-{int(found[2]):02}-{int(found[3]):02}"


def _try_iso(text: str) -> str | None:
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text).date().isoformat()
    with contextlib.suppress(ValueError):  # "2024-01-31 10:00:00 UTC" and the like: the day is plain
        return datetime.strptime(text[:10], "%Y-%m-%d").date().isoformat()
    return None
