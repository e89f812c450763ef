"""``rss:https://…``, the entries of a feed: RSS 0.9 to 2.0 and Atom, read by feedparser.

A document is one entry, in its newest version where the feed has several: its title, then the longest of its content
and its summary, without HTML. Its source is the entry's link, its licence what the entry or else the feed says
(``cc:license``, ``rights``, ``copyright``), or ``unknown``. Authors are not kept. A feed holds only the newest entries:
collect it regularly to have them all.
"""

from __future__ import annotations

import calendar
import contextlib
import hashlib
import io
import logging
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urljoin

from metier.errors import MetierError
from metier.sources.document import Document
from metier.sources.markup import strip_html
from metier.sources.web import Answer, fetch_url

log = logging.getLogger(__name__)

_FEED_BYTES = 20_000_000
_REFERENCE = re.compile(rb"&#(?:[xX]([0-9a-fA-F]{1,16})|([0-9]{1,16}));")
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1f]")  # no XML has them, a damaged one may
_HARMLESS = ("CharacterEncodingOverride", "NonXMLContentType")  # only the server's label is wrong, not the text


def read_feed(url: str, *, offline: bool = False) -> Iterator[Document]:
    """The entries of the feed at ``url``, in its order.

    Raises:
        MetierError: no feedparser; not an address; no feed, or one too damaged to hold an entry; and every fault of
            the network, with the address.
    """
    try:
        import feedparser
    except ImportError as error:
        fix = "pip install 'metier[collect]'"
        raise MetierError(f"rss: needs feedparser, which cannot be imported: {error}", fix=fix) from error
    if not url.lower().startswith(("http://", "https://")):
        raise MetierError(f"not the address of a feed: {url!r}", fix="write rss:https://example.org/feed.xml")
    return _read(feedparser, url, offline)


def _read(feedparser: Any, url: str, offline: bool) -> Iterator[Document]:
    answer = fetch_url(url, offline=offline, max_bytes=_FEED_BYTES)
    headers = {"content-type": answer.content_type}  # with the feed's address the library makes addresses of ids, too
    data = _REFERENCE.sub(_whole_reference, answer.path.read_bytes())
    # a stream, for the library would take a string for an address or a file's name
    try:
        feed = feedparser.parse(io.BytesIO(data), response_headers=headers)
    except (ValueError, OverflowError, RecursionError) as error:
        fix = "tell who publishes the feed"
        raise MetierError(f"the feed is damaged beyond reading: {error!r:.100}", where=answer.url, fix=fix) from error
    _check(feed, answer)
    newest = _newest(feed.entries, answer.base)
    if repeated := len(feed.entries) - len(newest):
        log.warning("%s: %d older versions of entries that it repeats are left out", answer.url, repeated)
    for entry in newest:
        yield _document(entry, feed.feed, url, answer.base)


def _whole_reference(found: re.Match[bytes]) -> bytes:
    """A reference as it stands, or nothing: the library breaks off at half of a character (``&#xD83D;``)."""
    code = int(found[1], 16) if found[1] else int(found[2])
    return found[0] if code < 0xD800 or 0xDFFF < code <= 0x10FFFF else b""


def _newest(entries: Sequence[Any], base: str) -> list[Any]:
    """Each entry once, in its place: of those with one name what changed last, else what stands first."""
    found: dict[str, Any] = {}
    for entry in entries:
        before = found.setdefault(_name(entry, base), entry)
        if _changed(entry) > _changed(before):
            found[_name(entry, base)] = entry
    return list(found.values())


def _changed(entry: Any) -> tuple[int, ...]:
    # asked for one that is absent, the library gives the other and a warning
    return max((tuple(entry[key] or ()) for key in ("published_parsed", "updated_parsed") if key in entry), default=())


def _name(entry: Any, base: str) -> str:
    """What tells an entry from the others of its feed."""
    return entry.get("id") or f"{_link(entry, base)} {_title(entry)} {entry.get('published', '')}"


def _title(entry: Any) -> str:
    return strip_html(_CONTROL.sub("", entry.get("title", ""))).replace("\n", " ")


def _link(entry: Any, base: str) -> str:
    """The entry's address, or the feed's: where there is none the library gives the id, which may be no address."""
    link = entry.get("link") or ""
    if any(link == given.get("href") for given in entry.get("links", ())):
        link = urljoin(base, link)
    return link if link.startswith(("http://", "https://")) else base


def _check(feed: Any, answer: Answer) -> None:
    harmless = type(feed.get("bozo_exception")).__name__ in _HARMLESS
    fault = str(feed.get("bozo_exception", "")) if feed.bozo and not harmless else ""
    if not feed.get("version"):
        kind = f" (the server says it is {answer.content_type})" if answer.content_type else ""
        fix = "look at it in a browser; a site names its feed in <link rel=alternate type=application/rss+xml>"
        raise MetierError(f"not an RSS or Atom feed{kind}" + (f": {fault}" if fault else ""), where=answer.url, fix=fix)
    if fault and not feed.entries:
        fix = "try again later; if it stays so, tell who publishes the feed"
        raise MetierError(f"the feed is damaged, no entry can be read: {fault}", where=answer.url, fix=fix)
    if fault:
        log.warning("%s is damaged (%s): %d entries could be read", answer.url, fault, len(feed.entries))


def _document(entry: Any, feed: Any, url: str, base: str) -> Document:
    title = _title(entry)
    bodies = [_plain(part) for part in [*entry.get("content", []), entry.get("summary_detail", {})]]
    body = max(bodies, key=len)
    licences = (source.get(key) for source in (entry, feed) for key in ("license", "rights"))
    meta = {"feed": url, "feed_title": strip_html(feed.get("title", ""))}
    return Document(
        id=f"rss:{hashlib.sha256(f'{url} {_name(entry, base)}'.encode()).hexdigest()[:24]}",
        text=body if body.startswith(title) else f"{title}\n\n{body}".strip(),
        source=_link(entry, base),
        domain="news",
        date=_date(entry),
        licence=next((strip_html(text) for text in licences if text and text.strip()), "unknown"),
        title=title or None,
        meta={key: value for key, value in meta.items() if value},
    )


def _plain(part: Any) -> str:
    value = _CONTROL.sub("", part.get("value") or "")
    return value.strip() if part.get("type") == "text/plain" else strip_html(value)


def _date(entry: Any) -> str | None:
    """The day (UTC) that it was published, else changed."""
    for key in ("published", "updated"):  # asked for one that is absent, the library gives the other and a warning
        moment = entry.get(f"{key}_parsed") if key in entry else None
        if moment and _names_a_day(entry[key]):
            with contextlib.suppress(ValueError, OverflowError):
                return datetime.fromtimestamp(calendar.timegm(moment), UTC).date().isoformat()
    return None


def _names_a_day(written: str) -> bool:
    """Whether it is a day, or names a month: of other writings (``2024``, seconds) the library makes up a day."""
    found = re.match(r"\s*(\d{4})-?(\d\d)-?(\d\d)(?!\d)", written)
    with contextlib.suppress(ValueError):
        return bool(date(*map(int, found.groups()))) if found else re.search(r"[^\W\d_]{3}", written) is not None
    return False
