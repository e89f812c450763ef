"""The words of a batch of texts as numpy arrays: where they stand, their hashes, hashes of n words in a row.

Every byte adds ``random[byte] × B^position`` modulo 2^64 to a running sum, so the hash of any span is a difference of
two sums, times B^-begin: no loop over words. Letters of ASCII are compared without case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

_B = 0x9E3779B97F4A7C15 | 1
_B_INVERSE = pow(_B, -1, 1 << 64)
_VALUES = np.random.default_rng(20240617).integers(1, 1 << 63, 256, dtype=np.uint64)
_SPACE = np.isin(np.arange(256), list(b" \t\n\r\x0b\x0c\x00"))
_LETTER = np.array([chr(b).isalpha() if b < 128 else True for b in range(256)])
_WORD = np.array([chr(b).isalnum() if b < 128 else True for b in range(256)])
_powers = [np.ones(1, np.uint64), np.ones(1, np.uint64)]


@dataclass(frozen=True)
class Words:
    """Words of several texts, one after another.

    Attributes:
        data: ``(bytes,)`` uint8: the texts in UTF-8, ASCII lowered, with a line feed between them.
        texts: ``(texts + 1,)``: where each text begins in ``data``; the last is beyond the end.
        begin, end: ``(words,)``: spans in ``data``.
        hashes: ``(words,)`` uint64.
        first: ``(texts + 1,)``: the number of each text's first word.
        sums: ``(bytes + 1,)`` uint64: the running sums of :func:`span_hashes`.
    """

    data: np.ndarray
    texts: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    hashes: np.ndarray
    first: np.ndarray
    sums: np.ndarray

    def text_of_words(self) -> np.ndarray:
        """``(words,)``: the number of the text of each word."""
        return np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))

    def ngrams(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of n words in a row within a text, and the number of the first word of each."""
        if len(self.hashes) < n:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        found = hash_ngrams(self.hashes, n)
        inside = np.ones(len(found), bool)
        for back in range(1, n):  # those that would run into the next text
            places = self.first[1:-1] - back
            inside[places[(places >= 0) & (places < len(found))]] = False
        return found[inside], np.flatnonzero(inside)


def words_of(texts: Sequence[str], by: Literal["space", "word"] = "word") -> Words:
    """Words of texts: between white space, or runs of letters and digits (anything beyond ASCII counts as letter)."""
    encoded = [text.encode() for text in texts]
    data = np.frombuffer(b"\n".join(encoded).lower(), np.uint8)
    starts = np.cumsum([0, *(len(text) + 1 for text in encoded)])
    inside = ~_SPACE[data] if by == "space" else _WORD[data]
    edges = np.flatnonzero(np.diff(inside.view(np.int8), prepend=0, append=0))
    begin, end = edges[::2], edges[1::2]
    sums = running_sums(_VALUES[data])
    return Words(
        data, starts, begin, end, span_hashes(sums, begin, end), np.searchsorted(begin, starts), sums
    )  # fmt: skip


def span_hashes(sums: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """``(spans,)`` uint64 hashes of spans of bytes; equal bytes give equal hashes wherever they stand."""
    return mixed(plain_hashes(sums, begin, end))


def plain_hashes(sums: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """As :func:`span_hashes`, without the mixing: enough to compare spans, and to sort them by."""
    _grow(len(sums))  # the sums may have come from another process
    return np.asarray((sums[end] - sums[begin]) * _powers[1][begin])


def window_hashes(sums: np.ndarray, width: int) -> np.ndarray:
    """:func:`plain_hashes` of the span of ``width`` at every place."""
    _grow(len(sums))
    return np.asarray((sums[width:] - sums[:-width]) * _powers[1][: max(0, len(sums) - width)])


def hash_ngrams(hashes: np.ndarray, n: int) -> np.ndarray:
    """``(words - n + 1,)`` uint64 from ``(words,)``."""
    found = hashes[: len(hashes) - n + 1].copy()
    for place in range(1, n):
        found *= np.uint64(_B)
        found += hashes[place : len(hashes) - n + 1 + place]
    return mixed(found)


def letters(words: Words) -> np.ndarray:
    """``(words,)``: whether a word holds a letter."""
    counts = np.concatenate([[0], np.cumsum(_LETTER[words.data], dtype=np.int32)])
    return np.asarray(counts[words.end] > counts[words.begin])


def characters(words: Words) -> np.ndarray:
    """``(bytes + 1,)``: characters before each byte (continuation bytes of UTF-8 count nothing)."""
    return np.concatenate([[0], np.cumsum((words.data & 0xC0) != 0x80, dtype=np.int64)])


def mixed(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function, in place."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def running_sums(values: np.ndarray) -> np.ndarray:
    """``(places + 1,)`` uint64: what hashes of spans are differences of, from a value ``(places,)`` a place."""
    _grow(len(values) + 1)
    sums = np.zeros(len(values) + 1, np.uint64)
    np.cumsum(values * _powers[0][: len(values)], out=sums[1:])
    return sums


def _grow(length: int) -> None:
    if len(_powers[0]) < length:
        for place, base in enumerate((_B, _B_INVERSE)):
            steps = np.full(max(length, 1 << 20), base, np.uint64)
            steps[0] = 1
            _powers[place] = np.cumprod(steps)
