"""Texts as they are compared: letters and digits without case, and one blank for all that stands between words.

Spaces, line ends, punctuation and symbols are blanks, in Unicode as in ASCII (``patient's`` and ``patient’s`` are the
same); invisible format characters (soft hyphens, zero-width spaces) are nothing at all. Letters are taken apart:
ligatures and full-width letters into plain ones, letters with accents into the letter and its combining marks (NFKD),
so that a text is the same however it was encoded. A blank stands before the first and after the last word of a text, so
a word is what stands between two blanks.
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
_SEVERAL = 0x110000  # beyond all characters


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
        codes: ``(places,)`` uint32: a letter, a digit, a mark, or a blank; after every text a place that equals no
            other's.
        sums: ``(places + 1,)`` uint64, of :func:`~metier.corpus.words.running_sums`.
        raw: ``(places,)``: where each stands among the characters of all texts; a letter taken apart has several.
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
        characters the blank before and the blank behind stand for. Only part of a character at an edge is left out.
        """
        text = self.text_of(begin)
        low, high = self.low[text], self.high[text]
        before, behind = self.codes[begin] == _BLANK, self.codes[end - 1] == _BLANK
        first = np.clip(self.raw[begin] + (self.raw[begin - 1] == self.raw[begin]), low, high)
        after_first = np.clip(np.where(before, self.raw[begin + 1], first), low, high)
        last = np.clip(self.raw[end - 1], low, high)
        whole = self.raw[end] != self.raw[end - 1]
        after_last = np.clip(np.where(behind, self.raw[end], last + whole), low, high)
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
    codes, raw = _apart(points)
    starts = np.cumsum([0, *map(len, parts)])
    if not codes.all():
        there = np.flatnonzero(codes)
        codes, raw = codes[there], raw[there]
    word = codes != _BLANK
    word[1:] |= word[:-1].copy()  # of several blanks the first is kept
    word[:1] = True
    codes, raw = codes[word], raw[word]
    low = starts[:-1] + np.array([p.first for p in pieces], np.int64)
    high = starts[1:] - 1 - np.array([p.last for p in pieces], np.int64)
    sums = running_sums(_values()[codes & (_TABLE - 1)])
    return Folded(codes, sums, raw, low, high, np.flatnonzero(codes == _BLANK), np.flatnonzero(codes == _END))


def _apart(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What characters ``(characters,)`` are compared as, and of which character each place is, both ``(places,)``."""
    table, letters, begin, classes = _folding()
    codes, raw = table[np.minimum(points, _TABLE - 1)], np.arange(len(points))
    if points.max(initial=0) >= _TABLE:
        codes = np.where(points >= _TABLE, points, codes)
    several = np.flatnonzero(codes >= _SEVERAL)
    if not len(several):
        return codes, raw
    number = codes[several] - _SEVERAL
    sizes = begin[number + 1] - begin[number]
    counts = np.ones(len(codes), np.int64)
    counts[several] = sizes
    raw = np.repeat(raw, counts)
    codes = codes[raw]
    before = np.cumsum(sizes) - sizes
    within = np.arange(sizes.sum()) - np.repeat(before, sizes)
    codes[np.repeat(several + before - np.arange(len(several)), sizes) + within] = letters[
        np.repeat(begin[number], sizes) + within
    ]
    order = classes[np.minimum(codes, _TABLE - 1)]
    # the marks of a letter in canonical order, whether they came with it or after it
    while len(late := np.flatnonzero((order[:-1] > order[1:]) & (order[1:] > 0))):
        late = late[np.diff(late, prepend=-2) > 1]
        for values in (codes, order):
            values[late], values[late + 1] = values[late + 1], values[late]
    return codes, raw


@functools.cache
def _folding() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What characters are compared as; beyond the table every one is a letter.

    Returns:
        ``(65536,)``: the place of each, or from ``_SEVERAL`` on the number of one that is taken apart; the places of
        all that are, one after another; where each of them begins there; ``(65536,)`` canonical combining classes.
    """
    table, letters, begin = np.zeros(_TABLE, np.uint32), list[int](), [0]
    for code in range(_TABLE):
        found = _compared(chr(code))
        table[code] = found[0] if len(found) == 1 else _SEVERAL + len(begin) - 1
        if len(found) > 1:
            letters += found
            begin.append(len(letters))
    table[_END] = _END
    classes = np.array([unicodedata.combining(chr(code)) for code in range(_TABLE)], np.uint8)
    return table, np.array(letters, np.uint32), np.array(begin), classes


def _compared(letter: str) -> list[int]:
    """Letters and marks of a character, or a blank, or nothing."""
    kind = unicodedata.category(letter)
    if kind[0] not in "LNM":
        return [_NOTHING if kind == "Cf" else _BLANK]
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", letter).casefold())
    if all(unicodedata.category(part)[0] in "LNM" for part in parts):
        return [ord(part) for part in parts]
    return [ord(letter)]  # such as ½, 1⁄2: nothing that stands between words is within a letter


@functools.cache
def _values() -> np.ndarray:
    return np.random.default_rng(20240617).integers(1, 1 << 63, _TABLE, dtype=np.uint64)
