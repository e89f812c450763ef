"""What platforms give their users of their own posts, where it is no table: X, Mastodon, Telegram.

Each is known by the name that the platform gives the file: ``tweets.js`` (X's archive, a script that holds the list),
``outbox.json`` (Mastodon's, ActivityPub) and ``result.json`` (Telegram's, of one channel or chat).
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.sources.markup import strip_html

Post = tuple[int, str, Any]  # its place in the file, from 1; its text; its moment as the file has it


def is_script(path: Path) -> bool:
    """Whether the name is that of the posts in X's archive, whose other scripts hold no posts."""
    return re.fullmatch(r"tweets?(-part\d+)?\.js", path.name) is not None


def platform_posts(path: Path) -> list[Post] | None:
    """The posts of a platform's own export; None where the file is something else.

    Raises:
        MetierError: a script of X's archive that holds no list of posts.
    """
    if is_script(path):
        return list(_x(path))
    if path.name not in ("outbox.json", "result.json"):
        return None
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # reading it as a table says what is wrong
    if not isinstance(held, dict):
        return None
    if path.name == "outbox.json" and isinstance(held.get("orderedItems"), list):
        return list(_mastodon(held["orderedItems"]))
    if path.name == "result.json" and isinstance(held.get("messages"), list):
        return list(_telegram(held["messages"]))
    return None


def _x(path: Path) -> Iterator[Post]:
    """``window.YTD.tweets.part0 = [{"tweet": {"full_text": …, "created_at": …}}, …]``, in older ones without "tweet".

    Texts are escaped as in HTML (``&amp;``).
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8").partition("=")[2].rstrip("; \n\r\t"))
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
