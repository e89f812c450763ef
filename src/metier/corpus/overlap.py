"""Evaluation questions in a corpus: every run of characters that a text shares with one and that is long enough.

Long enough is the whole question, 512 or 120 characters of it (Med-PaLM 2: Singhal et al. 2025, overlap analysis), or
13 words (GPT-3: Brown et al. 2020, appendix C). Texts are compared as :mod:`metier.corpus.folded` folds them; a run may
begin and end within a word, whole words are counted, and characters are those of the question as it is written. Only
a question of fewer than 32 characters has to stand between other words, not within them.

Windows of the questions (seeds) stand in tables, so close together that no run of that length can pass between them:
8 words at every sixth of 13, and 32 characters (folded) in any run of 120 and at the head of a question. The corpus
streams past: the hash of every window is looked up, what is found is extended both ways by comparing hashes of ever
shorter spans, and what is long enough is compared character by character: nothing is reported that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metier.corpus.folded import MOST_MARGIN, PIECE, Folded, Piece, cut, fold
from metier.corpus.words import plain_hashes, window_hashes

NGRAM = 13  # Brown et al. 2020, appendix C
CHARACTERS = (512, 120)  # Singhal et al. 2025
WHOLE = "whole question"
WIDTHS = (WHOLE, *(f"{limit} characters" for limit in CHARACTERS), f"{NGRAM} words")
SHORTEST = 5  # words of a question that is looked for as a whole; fewer are any sentence's
_SEED_WORDS = 8
_SEED_CHARACTERS = 32
_PAIRS = 1 << 17  # candidates that are extended at once
_BATCH_TEXTS = 512


@dataclass(frozen=True)
class Match:
    """A run that a text shares with a question: which, how it counts, and its span in the text's characters."""

    task: str
    question: int
    widths: tuple[str, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Found:
    """A match in a piece: the piece, the number of the question over all tasks, widths as bits, characters."""

    piece: Piece
    question: int
    bits: int
    begin: int
    end: int


class Questions:
    """Evaluation texts, indexed.

    Args:
        tasks: by the task's name its questions or texts, without options and answers.
        shortest: words of the shortest question that counts as a whole.
    """

    def __init__(self, tasks: Mapping[str, Sequence[str]], shortest: int = SHORTEST) -> None:
        self._names = list(tasks)
        self._owner = [(task, number) for task, texts in enumerate(tasks.values()) for number in range(len(texts))]
        texts = [text for found in tasks.values() for text in found]
        self._text = fold([Piece(number, text) for number, text in enumerate(texts)])
        self._end = self._text.ends
        self._begin = np.concatenate([[0], self._end + 1])[:-1].astype(np.int64)
        self._blank = np.searchsorted(self._text.blanks, self._begin)  # the number of each question's first blank
        self.words = np.diff(np.append(self._blank, len(self._text.blanks))) - 1
        """``(questions,)``: words of each; below ``shortest`` it is not looked for."""
        self._shortest = max(1, shortest)
        longest = max([*map(len, texts), *(self._end - self._begin).tolist()], default=0)  # a text may be taken apart
        self.margin = min(MOST_MARGIN, 2 * longest + 256)
        """Characters that pieces of a long text share."""
        self._by_words = {n: _Table(*self._word_seeds(n)) for n in sorted(set(self._seed_words().tolist())) if n}
        places = np.array(self._character_seeds(), np.int64)
        hashes = plain_hashes(self._text.sums, places, places + _SEED_CHARACTERS)
        self._by_characters = _Table(hashes, places) if len(places) else None

    def __len__(self) -> int:
        """Questions that are looked for."""
        return int((self.words >= self._shortest).sum())

    def _seed_words(self) -> np.ndarray:
        """``(questions,)``: words of each question's seeds; 0 where it is not looked for."""
        return np.where(self.words >= self._shortest, np.minimum(self.words, _SEED_WORDS), 0)

    def _word_seeds(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Hashes and places of all seeds of n words, with the blanks around them."""
        chosen = np.flatnonzero(self._seed_words() == n)
        step = NGRAM - _SEED_WORDS + 1
        counts = np.where(self.words[chosen] >= NGRAM, (self.words[chosen] - n) // step + 1, 1)
        blank = np.repeat(self._blank[chosen], counts) + step * _within(counts)
        begin, end = self._text.blanks[blank], self._text.blanks[blank + n] + 1
        return plain_hashes(self._text.sums, begin, end), begin

    def _character_seeds(self) -> list[int]:
        """Places of seeds such that every run of 120 characters that folds to as much as a seed holds a whole one, and
        so does the whole of every question without its outer blanks.
        """
        limit, places = min(CHARACTERS), []
        for begin, end, low, high in zip(self._begin, self._end, self._text.low, self._text.high, strict=True):
            if end - begin < _SEED_CHARACTERS + 2:
                continue
            places.append(int(begin) + 1)
            if high - low < limit:
                continue
            raw = np.clip(self._text.raw[begin : end + 1], low, high)
            reach = np.searchsorted(raw[1:], raw[:-1] + limit) + 1  # where the shortest run from each place ends
            at = 0
            while at < end - begin and reach[at] <= end - begin:
                place = int(reach[at]) - _SEED_CHARACTERS
                if place >= at:
                    places.append(int(begin) + place)
                at = max(at, place) + 1
        return places

    def find(self, texts: Sequence[str]) -> list[list[Match]]:
        """The matches in each text."""
        found: list[list[Match]] = [[] for _ in texts]
        pieces = (piece for number, text in enumerate(texts) for piece in cut(number, [text], self.margin))
        for one in self.search(pieces):
            task, number = self._owner[one.question]
            widths = tuple(width for place, width in enumerate(WIDTHS) if one.bits >> place & 1)
            begin, end = one.piece.offset + one.begin, one.piece.offset + one.end
            found[one.piece.document].append(Match(self._names[task], number, widths, begin, end))
        return found

    def search(self, pieces: Iterable[Piece]) -> Iterator[Found]:
        """The matches in texts that come one by one, document by document.

        What two pieces share may be found in both.
        """
        batch: list[Piece] = []
        size = 0
        for piece in pieces:
            batch.append(piece)
            size += len(piece.text)
            if size >= PIECE or len(batch) >= _BATCH_TEXTS:
                yield from self._batch(batch)
                batch, size = [], 0
        if batch:
            yield from self._batch(batch)

    def _batch(self, pieces: list[Piece]) -> list[Found]:
        corpus, matches = fold(pieces), list[Found]()
        seen: set[tuple[int, int]] = set()
        for at, place in self._candidates(corpus):
            begin, there, size = self._extended(corpus, at, place)
            bits = self._bits(corpus, begin, there, size)
            for one in np.flatnonzero(bits).tolist():
                here = slice(begin[one], begin[one] + size[one])
                run = (int(begin[one]), int(there[one]))
                if run in seen or not np.array_equal(
                    corpus.codes[here], self._text.codes[there[one] : there[one] + size[one]]
                ):
                    continue
                seen.add(run)
                low, high, _, _ = corpus.spans(begin[one : one + 1], begin[one : one + 1] + size[one : one + 1])
                piece = pieces[int(corpus.text_of(begin[one]))]
                question = int(self._text.text_of(there[one]))
                matches.append(Found(piece, question, int(bits[one]), int(low[0]), int(high[0])))
        return sorted(matches, key=lambda match: match.piece.document)  # each table of seeds went through all of them

    def _candidates(self, corpus: Folded) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Places in the corpus and in the questions at which a seed begins, by its hash."""
        for n, table in self._by_words.items():
            begin, end = corpus.blanks[:-n], corpus.blanks[n:] + 1
            for hit, place in table.pairs(plain_hashes(corpus.sums, begin, end)):
                yield begin[hit], place
        if self._by_characters:
            yield from self._by_characters.pairs(window_hashes(corpus.sums, _SEED_CHARACTERS))

    def _extended(self, corpus: Folded, at: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The longest runs through pairs of equal places, each once: begin in corpus and questions, and size."""
        question = self._text.text_of(place)
        back = np.minimum(at, place - self._begin[question])
        ahead = np.minimum(len(corpus.codes) - at, self._end[question] - place)
        behind = _agree(corpus.sums, at, self._text.sums, place, back, -1)
        size = behind + _agree(corpus.sums, at, self._text.sums, place, ahead, 1)
        runs = np.unique(np.stack([at - behind, place - behind, size]), axis=1)
        return runs[0], runs[1], runs[2]

    def _bits(self, corpus: Folded, begin: np.ndarray, there: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Of each run, a bit for every one of :data:`WIDTHS` that it reaches."""
        question, end = self._text.text_of(there), there + size
        length = self._end[question] - self._begin[question]
        spare = np.where(length >= _SEED_CHARACTERS + 2, 1, 0)  # a short question must stand between other words
        whole = (there <= self._begin[question] + spare) & (end >= self._end[question] - spare)
        whole &= self.words[question] >= self._shortest
        low, high, before, behind = self._text.spans(there, end)
        _, _, here_before, here_behind = corpus.spans(begin, begin + size)
        width = high - low + np.minimum(before, here_before) + np.minimum(behind, here_behind)
        words = np.searchsorted(self._text.blanks, end) - np.searchsorted(self._text.blanks, there) - 1
        bits = np.zeros(len(there), np.int64)
        for bit, reached in enumerate([whole, *(width >= limit for limit in CHARACTERS), words >= NGRAM]):
            bits |= reached.astype(np.int64) << bit
        return bits


class _Table:
    """Hashes of seeds with their places: sorted, behind a filter that most of a corpus does not pass."""

    def __init__(self, hashes: np.ndarray, places: np.ndarray) -> None:
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._places = hashes[order], places[order]
        bits = max(16, int(len(hashes) * 64).bit_length())  # at most one hash in 64 passes by chance
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits, bool)
        self._filter[self._hashes >> self._shift] = True

    def pairs(self, hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """``(numbers of hashes that stand in the table, places of their seeds)``, so many at once as can be held."""
        near = np.flatnonzero(self._filter[hashes >> self._shift])
        low = np.searchsorted(self._hashes, hashes[near])
        same = self._hashes[np.minimum(low, len(self._hashes) - 1)] == hashes[near]
        near, low = near[same], low[same]
        counts = np.searchsorted(self._hashes, hashes[near], side="right") - low
        turns = np.cumsum(counts) // _PAIRS
        for part in np.split(np.arange(len(near)), np.flatnonzero(np.diff(turns)) + 1):
            if len(part):
                yield (
                    np.repeat(near[part], counts[part]),
                    self._places[np.repeat(low[part], counts[part]) + _within(counts[part])],
                )


def _within(counts: np.ndarray) -> np.ndarray:
    """0 … count - 1 for each count, one after another."""
    within: np.ndarray = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return within


def _agree(
    sums: np.ndarray, at: np.ndarray, other: np.ndarray, place: np.ndarray, most: np.ndarray, way: int
) -> np.ndarray:
    """How many places from ``at`` and ``place`` on agree, at most ``most``; ``way`` is 1 forwards, -1 backwards.

    Halving: equal spans have equal hashes, so the longest equal one is found in steps of powers of two.
    """
    found = np.zeros(len(at), np.int64)
    for bit in reversed(range(int(most.max(initial=0)).bit_length())):
        size = found + (1 << bit)
        able = np.flatnonzero(size <= most)
        if way > 0:
            begin, there, size = at[able], place[able], size[able]
        else:
            begin, there, size = at[able] - size[able], place[able] - size[able], size[able]
        same = plain_hashes(sums, begin, begin + size) == plain_hashes(other, there, there + size)
        found[able[same]] += 1 << bit
    return found
