"""Documents: raw text with provenance, whatever place it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import date as calendar_date
from itertools import islice

from metier.errors import MetierError, nearest

SCHEMES = ("edgar", "rss", "posts")


@dataclass(frozen=True)
class Document:
    """One text, and where it comes from.

    ``id`` is the same each time the same text is read from the same place. ``source`` is an address or a file and row
    that a person can look up. ``domain`` is the field that it speaks of. ``date`` is the day of publication, ISO
    ``yyyy-mm-dd``, or None where the source gives none that can be understood. ``licence`` is what the source says
    about its use, or ``unknown``. ``meta`` holds what only some sources know (form, company, item).

    Raises:
        ValueError: a date that is not ISO.
    """

    id: str
    text: str
    source: str
    domain: str
    date: str | None
    licence: str
    title: str | None = None
    meta: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.date is not None and calendar_date.fromisoformat(self.date).isoformat() != self.date:
            raise ValueError(f"not a date of the form yyyy-mm-dd: {self.date!r}")

    def to_json(self) -> str:
        """One line of JSON lines."""
        return json.dumps(asdict(self), ensure_ascii=False)


def read_documents(
    ref: str, *, offline: bool = False, limit: int | None = None, domain: str | None = None
) -> Iterator[Document]:
    """Read the documents that a reference names, one by one, as they come.

    Args:
        ref: ``edgar:AAPL/10-K?limit=3`` (:mod:`metier.sources.edgar`), ``rss:https://…`` (:mod:`metier.sources.rss`)
            or ``posts:FOLDER`` (:mod:`metier.sources.posts`).
        offline: never touch a network: answers that an earlier run kept are read again, the rest is an error.
        limit: no more documents than this.
        domain: put in place of the source's own (finance for ``edgar:``, news for ``rss:``, social for ``posts:``).

    Raises:
        MetierError: an unknown scheme, a reference that is not well formed (both at once); and whatever the source
            meets while it is read.
    """
    scheme, colon, body = ref.partition(":")
    if not colon or scheme not in SCHEMES:
        fix = f"{nearest(scheme, SCHEMES)}; write edgar:AAPL/10-K, rss:https://… or posts:FOLDER"
        raise MetierError(f"not a source of documents: {ref!r}", fix=fix)
    if limit is not None and limit < 1:
        raise MetierError(f"a limit of {limit} documents", fix="give 1 or more, or leave it out")
    documents = _reader(scheme)(body, offline)
    if domain is not None:
        documents = (replace(document, domain=domain) for document in documents)
    return islice(documents, limit)


def _reader(scheme: str) -> Callable[[str, bool], Iterator[Document]]:
    if scheme == "edgar":
        from metier.sources.edgar import read_edgar

        return lambda body, offline: read_edgar(body, offline=offline)
    if scheme == "rss":
        from metier.sources.rss import read_feed

        return lambda body, offline: read_feed(body, offline=offline)
    from metier.sources.posts import read_posts

    return lambda body, offline: read_posts(body)
