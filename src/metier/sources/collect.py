"""Documents into one file, with a count of what was left out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from metier.errors import MetierError
from metier.files import replacing
from metier.sources.document import Document, read_documents


@dataclass
class Collected:
    """What became of a collection: counts of documents, and the first and last day."""

    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # by reason
    licences: Counter[str] = field(default_factory=Counter)
    undated: int = 0
    first: str | None = None
    last: str | None = None

    def add(self, document: Document) -> None:
        """Count a document that is kept."""
        self.kept += 1
        self.licences[document.licence] += 1
        if document.date is None:
            self.undated += 1
            return
        self.first = min(self.first or document.date, document.date)
        self.last = max(self.last or document.date, document.date)


def collect(
    ref: str,
    out: Path,
    *,
    limit: int | None = None,
    offline: bool = False,
    domain: str | None = None,
    progress: Callable[[int], None] = lambda kept: None,
) -> Collected:
    """Write what a reference names to ``out`` as JSON lines, one :class:`Document` a line.

    Empty texts and texts that were written already (by the SHA-256 of the text without space around it) are dropped
    and counted. The file appears when it is whole; if anything fails, an old one stays as it was.

    Args:
        ref: see :func:`~metier.sources.document.read_documents`.
        out: the file; its name must end in ``.jsonl``.
        limit: of documents that are kept.
        offline: never touch a network.
        domain: put in place of the source's own.
        progress: called with the number of documents kept, at each.

    Raises:
        MetierError: whatever the source meets; nothing to keep; a file that cannot be written.
    """
    if out.suffix != ".jsonl":
        raise MetierError(f"documents are written as JSON lines, not {out.suffix!r}", where=str(out), fix="*.jsonl")
    if limit is not None and limit < 1:
        raise MetierError(f"a limit of {limit} documents", fix="give 1 or more, or leave it out")
    documents = read_documents(ref, offline=offline, domain=domain)
    told, seen = Collected(), set()
    with replacing(out) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for document in documents:
            text = document.text.strip()
            digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
            if not text or digest in seen:
                told.dropped["same text as an earlier document" if text else "empty text"] += 1
                continue
            seen.add(digest)
            file.write(document.to_json() + "\n")
            told.add(document)
            progress(told.kept)
            if told.kept == limit:
                break
        if not told.kept:
            why = ", ".join(f"{count} {reason}" for reason, count in told.dropped.items()) or "the source holds none"
            raise MetierError(f"no document to keep: {why}", where=ref, fix="check the source; nothing was written")
    return told
