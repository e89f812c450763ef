"""``metier overlap``: evaluation items in a training corpus, and what they do to a run's scores."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metier.corpus.folded import Piece, cut
from metier.corpus.overlap import SHORTEST, WIDTHS, Found, Questions
from metier.corpus.text import Tally
from metier.errors import MetierError
from metier.evaluation.overlap import MEANINGS, accuracy_apart, overlapping, share
from metier.files import write_json
from metier.run.overlap_corpus import Part, Reading, corpus_parts
from metier.run.overlap_items import Asked, Item
from metier.run.progress import bar

FOLDING = "compared without case; white space, punctuation and symbols between words are one blank"
_AROUND = 60  # characters of the text that are shown on either side of what was found
_SHOWN = 300  # at most, of a question or of what was found


@dataclass
class Stand:
    """What was found of one item: in how many documents, and the widest run, where it stands."""

    documents: int = 0
    last: int = -1
    place: tuple[int, int, dict[str, Any]] | None = None

    def add(self, found: Found) -> None:
        """One more match; matches come document by document."""
        self.documents += found.piece.document != self.last
        self.last = found.piece.document
        wide = (found.end - found.begin, -found.piece.document)
        if self.place is None or wide > self.place[:2]:
            text = found.piece.text
            excerpt = text[max(0, found.begin - _AROUND) : min(found.end, found.begin + _SHOWN) + _AROUND]
            where = {"document": found.piece.name, "offset": found.piece.offset + found.begin, "characters": wide[0]}
            self.place = (*wide, {**where, "excerpt": " ".join(excerpt.split())})


@dataclass
class Searched:
    """What was read."""

    documents: int = 0
    characters: int = 0
    bytes: int = 0


class Task:
    """A task's questions within all that are looked for, and what was found of each."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        # a short field beside others (a company's name) is no question of its own
        self.owner = [n for n, item in enumerate(asked.items) for _ in item.texts]
        self.texts = [text if _counts(item, text) else "" for item in asked.items for text in item.texts]
        self.bits = np.zeros(len(self.texts), np.int64)
        self.stands: dict[int, Stand] = {}
        self.documents, self.last = 0, -1

    def add(self, number: int, found: Found) -> None:
        """A match of this task's ``number``-th text."""
        self.bits[number] |= found.bits
        self.stands.setdefault(self.owner[number], Stand()).add(found)
        self.documents += found.piece.document != self.last
        self.last = found.piece.document

    def to_json(self, words: np.ndarray) -> dict[str, Any]:
        """Counts as in a corpus's ledger, shares by definition, accuracy by system, and every item found."""
        items, owner = self.asked.items, np.array(self.owner, np.int64)

        def by_item(flags: np.ndarray) -> np.ndarray:
            return np.bincount(owner[flags], minlength=len(items)) > 0

        looked_for = by_item(words > 0)
        counts = {width: int(by_item((self.bits >> bit & 1) > 0).sum()) for bit, width in enumerate(WIDTHS)}
        found: dict[str, Any] = {
            "read_from": self.asked.where,
            "items": len(items),
            "looked_for": int(looked_for.sum()),
            "overlap": {**counts, "questions": len(self.stands), "documents": self.documents},
            "definitions": {},
            "evidence": self.asked.evidence,
        }
        ids = [item.id for item in items]
        overlaps = {}
        for name, of_text in overlapping(self.bits, words).items():
            flags = overlaps[name] = by_item(of_text)
            found["definitions"][name] = {
                "meaning": MEANINGS[name],
                "share": share(flags[looked_for]) if looked_for.any() else None,
                "only_short": int((flags & ~by_item(of_text & (words >= SHORTEST))).sum()),
                "accuracy": {system: accuracy_apart(ids, flags, right) for system, right in self.asked.right.items()},
            }
        found["found"] = [
            self._row(n) | {"overlaps_by": [name for name, flags in overlaps.items() if flags[n]]}
            for n in sorted(self.stands)
        ]
        return found

    def _row(self, number: int) -> dict[str, Any]:
        stand, item = self.stands[number], self.asked.items[number]
        bits = int(np.bitwise_or.reduce(self.bits[np.array(self.owner) == number]))
        assert stand.place is not None
        return {
            "id": item.id,
            "question": " ".join(item.texts)[:_SHOWN],
            "widths": [width for bit, width in enumerate(WIDTHS) if bits >> bit & 1],
            "documents": stand.documents,
            **stand.place[2],
        }


def overlap(
    asked: Sequence[Asked],
    places: Sequence[str],
    out: Path,
    *,
    reading: Reading | None = None,
    data_root: Path | None = None,
    offline: bool = False,
) -> dict[str, Any]:
    """Search a corpus for evaluation items; writes ``out`` when all is read, and returns what it holds.

    Memory holds the questions, what was found of each, and a few pieces of the corpus, whatever its size.

    Raises:
        MetierError: no question with a word in it; a corpus that cannot be read or is empty.
    """
    start = time.perf_counter()
    tasks = [Task(one) for one in asked]
    questions = Questions({task.asked.name: task.texts for task in tasks}, shortest=1)
    if not len(questions):
        where = ", ".join(one.where for one in asked)
        raise MetierError("there is no question to look for", where=where, fix="name the column that holds the texts")
    starts = np.cumsum([0, *(len(task.texts) for task in tasks)])
    tally, searched = Tally(), Searched()
    with tempfile.TemporaryDirectory() as fetched:
        parts = corpus_parts(places, reading or Reading(), Path(fetched), data_root=data_root, offline=offline)
        total = sum(part.bytes for part in parts)
        with bar("searching (kB)", max(1, total // 1000)) as advance:
            for found in questions.search(_pieces(parts, tally, searched, questions.margin, advance)):
                owner = int(np.searchsorted(starts, found.question, side="right")) - 1
                tasks[owner].add(found.question - int(starts[owner]), found)
    if not searched.characters:
        told = ", ".join(f"{count} {reason}" for reason, count in tally.dropped.items()) or "no text in it"
        fix = "check the files, or say which fields hold the text: --corpus-text NAME"
        raise MetierError(f"the corpus is empty: {told}", where=", ".join(places), fix=fix)
    seconds = time.perf_counter() - start
    result = {
        "corpus": {
            "places": list(places),
            "parts": len(parts),
            "documents": searched.documents,
            "characters": searched.characters,
            "bytes": searched.bytes,
            "not_searched": dict(sorted(tally.dropped.items())),
        },
        "folding": FOLDING,
        "tasks": {
            task.asked.name: task.to_json(questions.words[low:high])
            for task, low, high in zip(tasks, starts[:-1], starts[1:], strict=True)
        },
        "seconds": round(seconds, 2),
        "mb_per_s": round(searched.bytes / 1e6 / seconds, 2),
        "peak_rss_mb": peak_rss_mb(),
    }
    write_json(out, result)
    return result


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, in MB (10^6 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024  # of getrusage
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _counts(item: Item, text: str) -> bool:
    return len(item.texts) == 1 or len(text.split()) >= SHORTEST


def _pieces(
    parts: Sequence[Part], tally: Tally, searched: Searched, margin: int, advance: Callable[..., None]
) -> Iterator[Piece]:
    """All documents in pieces, counted; progress is told in the bytes of the files."""
    before, told = 0, 0

    def tick(done: int) -> None:
        nonlocal told
        advance(done // 1000 - told)
        told = done // 1000

    def counted(blocks: Iterator[str], part: Part, start: int) -> Iterator[str]:
        for block in blocks:
            searched.characters += len(block)
            searched.bytes += len(block.encode("utf-8", "surrogatepass"))
            tick(before + min(part.bytes, searched.bytes - start))  # a packed file's texts are longer than the file
            yield block

    for part in parts:
        start = searched.bytes
        for document in part.read(tally):
            searched.documents += 1
            yield from cut(searched.documents, counted(document.blocks, part, start), margin, document.id)
        before += part.bytes
        tick(before)
