"""BM25 over passages, by bm25s: the same texts and the same query give the same order, ties by place."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metier.errors import MetierError

PASSAGE_WORDS = 120
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Passage:
    """A piece of a document, ``id`` being the document's with the number of the piece."""

    id: str
    text: str


class Bm25:
    """An index of texts (Robertson & Zaragoza 2009; Lucene's variant, k1 = 1.5, b = 0.75).

    Errors: :class:`MetierError` for no text with a word in it.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s

        words = [words_of(text) for text in texts]
        if not any(words):
            raise MetierError("there is no text to search in", fix="give documents with words in them")
        self._index: Any = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
        self._index.index(words, show_progress=False)
        self.size = len(texts)

    def nearest(self, query: str, count: int, without: Iterable[int] = ()) -> list[int]:
        """Places of the ``count`` best texts for ``query``, the best first; those that share no word come last."""
        asked = words_of(query)
        scores = np.asarray(self._index.get_scores(asked), np.float64) if asked else np.zeros(self.size)
        left_out = set(without)
        order = np.lexsort((np.arange(self.size), -scores))
        return [int(place) for place in order if int(place) not in left_out][:count]

    def score(self, query: str) -> np.ndarray:
        """``(texts,)``: BM25 of every text for ``query``; 0 for one that shares no word."""
        asked = words_of(query)
        return np.asarray(self._index.get_scores(asked), np.float64) if asked else np.zeros(self.size)


def words_of(text: str) -> list[str]:
    """Words in lower case, as they stand: without a list of stop words or a stemmer, which know one language."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def passages(id: str, text: str, words: int = PASSAGE_WORDS) -> list[Passage]:
    """A document in pieces of about ``words`` words, cut between paragraphs, or sentences where these are longer."""
    pieces: list[list[str]] = [[]]
    held = 0
    for part in _parts(text, words):
        size = len(part.split())
        if held and held + size > words:
            pieces.append([])
            held = 0
        pieces[-1].append(part)
        held += size
    joined = [" ".join(" ".join(piece).split()) for piece in pieces]
    return [Passage(f"{id}#{number}", piece) for number, piece in enumerate(joined) if piece]


def _parts(text: str, words: int) -> Iterable[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        if len(paragraph.split()) <= words:
            yield paragraph
            continue
        for sentence in re.split(r"(?<=[.!?])\s+", paragraph):
            found = sentence.split()
            for start in range(0, len(found), words):
                yield " ".join(found[start : start + words])
