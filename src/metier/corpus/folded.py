"""Texts as they are compared: letters and digits without case, and one blank for all that stands between words.

Spaces, line ends, punctuation and symbols are blanks, in Unicode as in ASCII (``patient's`` and ``patient’s`` are the
same); invisible format characters (soft hyphens, zero-width spaces) are nothing at all. Combining marks belong to their
letter. A blank stands before the first and after the last word of a text, so a word is what stands between two blanks.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from metier.corpus.words import running_sums

PIECE = 1 << 18  # characters that are looked at together: numpy's overhead is small, and so is what is held
MOST_MARGIN = 1 << 17  # characters that two pieces of a long text share
_TABLE = 1 << 16
_BLANK, _NOTHING = ord(" "), 0  # fold relies on the 0
_END = 0xFFFF  # no character: stands between texts


@dataclass(frozen=True)
class Piece:
    """A text, or a part of one that is too long to be held.

    Attributes:
        document: a number that the parts of one text share.
        offset: characters of the text before this part.
        first, last: whether the text begins and ends with it.
        name: of the text, for whoever reads what was found.
    """

    document: int
    text: str
    offset: int = 0
    first: bool = True
    last: bool = True
    name: str = ""


def cut(document: int, blocks: Iterable[str], margin: int, name: str = "") -> Iterator[Piece]:
    """A text that comes in blocks, as pieces of which each repeats the last ``margin`` characters of the one before.

    Whatever is at most ``margin`` characters long stands in one of them whole.
    """
    held, offset = "", 0
    for block in blocks:
        held += block
        while len(held) > PIECE + margin:
            yield Piece(document, held[: PIECE + margin], offset, offset == 0, False, name)
            held, offset = held[PIECE:], offset + PIECE
    yield Piece(document, held, offset, offset == 0, True, name)


@dataclass(frozen=True)
class Folded:
    """Several texts, one after another.

    Attributes:
        codes: ``(places,)`` uint32: a letter, a digit, or a blank; after every text a place that equals no other's.
        sums: ``(places + 1,)`` uint64, of :func:`~metier.corpus.words.running_sums`.
        raw: ``(places,)``: where each stands among the characters of all texts.
        low, high: ``(texts,)``: where each text begins and ends there.
        blanks: the places that are blank.
        ends: ``(texts,)``: the place after each text.
    """

    codes: np.ndarray
    sums: np.ndarray
    raw: np.ndarray
    low: np.ndarray
    high: np.ndarray
    blanks: np.ndarray
    ends: np.ndarray

    def text_of(self, places: np.ndarray) -> np.ndarray:
        """The number of the text of each place."""
        return np.searchsorted(self.ends, places, side="right")

    def spans(self, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of spans of places in characters of their text: begin and end without blanks at their edges, and how many
        characters the blank before and the blank behind stand for.
        """
        text = self.text_of(begin)
        low, high = self.low[text], self.high[text]
        before, behind = self.codes[begin] == _BLANK, self.codes[end - 1] == _BLANK
        first = np.clip(self.raw[begin], low, high)
        after_first = np.clip(np.where(before, self.raw[begin + 1], first), low, high)
        last = np.clip(self.raw[end - 1], low, high)
        after_last = np.clip(np.where(behind, self.raw[end], last + 1), low, high)
        return (
            after_first - low,
            np.where(behind, last, after_last) - low,
            np.where(before, after_first - first, 0),
            np.where(behind, after_last - last, 0),
        )


def fold(pieces: Sequence[Piece]) -> Folded:
    """Fold texts. A part of a text has no blank where the text goes on."""
    parts = [f"{' ' * p.first}{p.text.replace(chr(_END), ' ')}{' ' * p.last}{chr(_END)}" for p in pieces]
    points = np.frombuffer("".join(parts).encode("utf-32-le", "surrogatepass"), np.uint32)
    codes = _folding()[np.minimum(points, _TABLE - 1)]
    if points.max(initial=0) >= _TABLE:
        codes = np.where(points >= _TABLE, points, codes)
    starts = np.cumsum([0, *map(len, parts)])
    raw = np.arange(len(codes)) if codes.all() else np.flatnonzero(codes)
    codes = codes[raw] if len(raw) < len(codes) else codes
    word = codes != _BLANK
    word[1:] |= word[:-1].copy()  # of several blanks the first is kept
    word[:1] = True
    codes, raw = codes[word], raw[word]
    low = starts[:-1] + np.array([p.first for p in pieces], np.int64)
    high = starts[1:] - 1 - np.array([p.last for p in pieces], np.int64)
    sums = running_sums(_values()[codes & (_TABLE - 1)])
    return Folded(codes, sums, raw, low, high, np.flatnonzero(codes == _BLANK), np.flatnonzero(codes == _END))


@functools.cache
def _folding() -> np.ndarray:
    """``(65536,)`` uint32: what a character is compared as. Beyond the table every character is a letter."""
    found = np.full(_TABLE, _BLANK, np.uint32)
    for code in range(_TABLE):
        kind = unicodedata.category(chr(code))
        if kind[0] in "LNM":
            low = chr(code).casefold()
            found[code] = ord(low) if len(low) == 1 else code
        elif kind == "Cf":
            found[code] = _NOTHING
    found[_END] = _END
    return found


@functools.cache
def _values() -> np.ndarray:
    return np.random.default_rng(20240617).integers(1, 1 << 63, _TABLE, dtype=np.uint64)
