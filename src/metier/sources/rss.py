"""``rss:https://…``, the entries of a feed: RSS 0.9 to 2.0 and Atom, read by feedparser.

A document is one entry: its title, then the longest of its content and its summary, without HTML. Its source is the
entry's link, its licence what the entry or else the feed says (``cc:license``, ``rights``, ``copyright``), or
``unknown``. Authors are not kept. A feed holds only the newest entries: collect it regularly to have them all.
"""

from __future__ import annotations

import calendar
import hashlib
import io
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

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
    headers = {"content-type": answer.content_type, "content-location": url}
    # a stream, for the library would take a string for an address or a file's name
    feed = feedparser.parse(io.BytesIO(answer.path.read_bytes()), response_headers=headers)
    _check(feed, answer)
    for entry in feed.entries:
        yield _document(entry, feed.feed, url)


def _check(feed: Any, answer: Answer) -> None:
    fault = str(feed.get("bozo_exception", "")) if feed.bozo else ""
    if not feed.get("version"):
        kind = f" (the server says it is {answer.content_type})" if answer.content_type else ""
        fix = "look at it in a browser; a site names its feed in <link rel=alternate type=application/rss+xml>"
        raise MetierError(f"not an RSS or Atom feed{kind}" + (f": {fault}" if fault else ""), where=answer.url, fix=fix)
    if fault and not feed.entries:
        fix = "try again later; if it stays so, tell who publishes the feed"
        raise MetierError(f"the feed is damaged, no entry can be read: {fault}", where=answer.url, fix=fix)
    if fault and type(feed.bozo_exception).__name__ not in _HARMLESS:
        log.warning("%s is damaged (%s): %d entries could be read", answer.url, fault, len(feed.entries))


def _document(entry: Any, feed: Any, url: str) -> Document:
    title = strip_html(entry.get("title", "")).replace("\n", " ")
    bodies = [_plain(part) for part in [*entry.get("content", []), entry.get("summary_detail", {})]]
    body = max(bodies, key=len)
    link = entry.get("link", "")  # where there is none, the library puts the id in its place
    link = link if link.startswith(("http://", "https://")) else url
    name = entry.get("id") or f"{link} {title} {entry.get('published', '')}"
    licences = (source.get(key) for source in (entry, feed) for key in ("license", "rights"))
    meta = {"feed": url, "feed_title": strip_html(feed.get("title", ""))}
    return Document(
        id=f"rss:{hashlib.sha256(f'{url} {name}'.encode()).hexdigest()[:24]}",
        text=body if body.startswith(title) else f"{title}\n\n{body}".strip(),
        source=link,
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
