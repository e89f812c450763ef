"""``rss:https://…``, the entries of a feed: RSS 0.9 to 2.0 and Atom, read by feedparser.

A document is one entry, in its newest version where the feed has several: its title, then the longest of its content
and its summary, without HTML. Its source is the entry's link, its licence what the entry or else the feed says
(``cc:license``, ``rights``, ``copyright``), or ``unknown``. Authors are not kept. A feed holds only the newest entries:
collect it regularly to have them all.
"""

from __future__ import annotations

import calendar
import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

from metier.errors import MetierError
from metier.sources.document import Document
from metier.sources.markup import strip_html
from metier.sources.web import Answer, fetch_url

log = logging.getLogger(__name__)

_FEED_BYTES = 20_000_000
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
    # a stream, for the library would take a string for an address or a file's name
    feed = feedparser.parse(io.BytesIO(answer.path.read_bytes()), response_headers=headers)
    _check(feed, answer)
    newest = _newest(feed.entries, url)
    if repeated := len(feed.entries) - len(newest):
        log.warning("%s: %d older versions of entries that it repeats are left out", answer.url, repeated)
    for entry in newest:
        yield _document(entry, feed.feed, url)


def _newest(entries: Sequence[Any], url: str) -> list[Any]:
    """Each entry once, in its place: of those with one name what changed last, else what stands first."""
    found: dict[str, Any] = {}
    for entry in entries:
        before = found.setdefault(_name(entry, url), entry)
        if _changed(entry) > _changed(before):
            found[_name(entry, url)] = entry
    return list(found.values())


def _changed(entry: Any) -> tuple[int, ...]:
    # asked for one that is absent, the library gives the other and a warning
    return max((tuple(entry[key] or ()) for key in ("published_parsed", "updated_parsed") if key in entry), default=())


def _name(entry: Any, url: str) -> str:
    """What tells an entry from the others of its feed."""
    return entry.get("id") or f"{_link(entry, url)} {_title(entry)} {entry.get('published', '')}"


def _title(entry: Any) -> str:
    return strip_html(entry.get("title", "")).replace("\n", " ")


def _link(entry: Any, url: str) -> str:
    """The entry's address, or the feed's: where there is none the library gives the id, which may be no address."""
    link = entry.get("link") or ""
    if any(link == given.get("href") for given in entry.get("links", ())):
        link = urljoin(url, link)
    return link if link.startswith(("http://", "https://")) else url


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


def _document(entry: Any, feed: Any, url: str) -> Document:
    title = _title(entry)
    bodies = [_plain(part) for part in [*entry.get("content", []), entry.get("summary_detail", {})]]
    body = max(bodies, key=len)
    licences = (source.get(key) for source in (entry, feed) for key in ("license", "rights"))
    meta = {"feed": url, "feed_title": strip_html(feed.get("title", ""))}
    return Document(
        id=f"rss:{hashlib.sha256(f'{url} {_name(entry, url)}'.encode()).hexdigest()[:24]}",
        text=body if body.startswith(title) else f"{title}\n\n{body}".strip(),
        source=_link(entry, url),
        domain="news",
        date=_date(entry),
        licence=next((strip_html(text) for text in licences if text and text.strip()), "unknown"),
        title=title or None,
        meta={key: value for key, value in meta.items() if value},
    )


def _plain(part: Any) -> str:
    value = part.get("value") or ""
    return value.strip() if part.get("type") == "text/plain" else strip_html(value)


def _date(entry: Any) -> str | None:
    """The day (UTC) that it was published, else changed."""
    moment = entry.get("published_parsed") or entry.get("updated_parsed")
    try:
        return datetime.fromtimestamp(calendar.timegm(moment), UTC).date().isoformat() if moment else None
    except (ValueError, OverflowError):
        return None
