"""What platforms give of posts, where it is no table: X, Mastodon, Telegram, StockTwits, Reddit.

X's archive is known by the name ``tweets.js``, a script that holds the list; the others are JSON, known by their shape:
ActivityPub's collection (Mastodon's ``outbox.json``), Telegram's ``result.json`` of one chat, or of all, of which
channels and public groups are read, the messages of StockTwits' API, and a listing of Reddit's.
"""

from __future__ import annotations

import html
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.sources.lines import load_json
from metier.sources.markup import strip_html

log = logging.getLogger(__name__)

GONE = ("[deleted]", "[removed]")  # what Reddit puts in the place of a text

Post = tuple[int, str, Any]  # its place in the file, from 1; its text; its moment as the file has it


def is_script(path: Path) -> bool:
    """Whether the name is that of the posts in X's archive, whose other scripts hold no posts."""
    return re.fullmatch(r"tweets?(-part\d+)?\.js", path.name) is not None


def platform_posts(path: Path) -> list[Post] | None:
    """The posts of a platform's own file; None where it is something else.

    Raises:
        MetierError: a script of X's archive that holds no list of posts.
    """
    if is_script(path):
        return list(_x(path))
    if path.suffix.lower() != ".json":
        return None
    try:
        held = load_json(path.read_text(encoding="utf-8-sig"), once=False)
    except (OSError, ValueError):
        return None  # reading it as a table says what is wrong
    if not isinstance(held, dict):
        return None
    if isinstance(held.get("orderedItems"), list):
        return list(_mastodon(held["orderedItems"]))
    if isinstance(messages := held.get("messages"), list):
        if any(_inside(message, "type") in ("message", "service") for message in messages):
            return list(_telegram(messages))
        if any(_inside(message, "body") and _inside(message, "created_at") for message in messages):
            return list(_stocktwits(messages))
    if isinstance(chats := _inside(held, "chats", "list"), list):
        public = [chat for chat in chats if re.search("channel|public", str(_inside(chat, "type")))]
        if private := len(chats) - len(public):
            log.warning("%s: %d private chats are left out", path, private)
        return list(_telegram([message for chat in public for message in _inside(chat, "messages") or ()]))
    if held.get("kind") == "Listing" and isinstance(children := _inside(held, "data", "children"), list):
        return list(_reddit(children))
    return None


def _inside(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _x(path: Path) -> Iterator[Post]:
    """``window.YTD.tweets.part0 = [{"tweet": {"full_text": …, "created_at": …}}, …]``, in older ones without "tweet".

    Texts are escaped as in HTML (``&amp;``).
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8-sig").partition("=")[2].rstrip("; \n\r\t"))
        for number, record in enumerate(records, 1):
            post = record.get("tweet", record)
            yield number, html.unescape(post["full_text"]), post.get("created_at")
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        fix = "copy it from the archive again, or keep other scripts out of the folder"
        raise MetierError(f"not the posts of X's archive: {error!r:.100}", where=str(path), fix=fix) from error


def _mastodon(items: list[Any]) -> Iterator[Post]:
    """What was written; what was passed on of others (``Announce``) is only an address."""
    for number, item in enumerate(items, 1):
        note = item.get("object") if isinstance(item, dict) else None
        if isinstance(note, dict):
            yield number, strip_html(str(note.get("content") or "")), note.get("published") or item.get("published")


def _telegram(messages: list[Any]) -> Iterator[Post]:
    """Messages; notices of who joined (``service``) are none. A text with links is a list of its pieces."""
    for number, message in enumerate(messages, 1):
        if isinstance(message, dict) and message.get("type") == "message":
            text = message.get("text") or ""
            pieces = text if isinstance(text, list) else [text]
            parts = [str(piece.get("text", "")) if isinstance(piece, dict) else str(piece) for piece in pieces]
            yield number, "".join(parts), message.get("date")


def _stocktwits(messages: list[Any]) -> Iterator[Post]:
    for number, message in enumerate(messages, 1):
        if isinstance(message, dict):
            yield number, html.unescape(str(message.get("body") or "")), message.get("created_at")


def _reddit(children: list[Any]) -> Iterator[Post]:
    """Posts (title and text) and comments; what was deleted is empty."""
    for number, child in enumerate(children, 1):
        post = _inside(child, "data") or {}
        parts = (str(post.get(name) or "").strip() for name in ("title", "selftext", "body"))
        yield (
            number,
            "\n\n".join(html.unescape(part) for part in parts if part not in ("", *GONE)),
            post.get("created_utc"),
        )
