"""All segmentations of many short byte strings at once: which substrings occur, and how often each is expected.

Strings are laid out by time: strings sorted from long to short, first bytes of all, then second bytes of those that
have one, and so on. A step in time is then one operation on a contiguous block.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Strings by time.

    Attributes:
        codes: (bytes,), the byte at each place.
        counts: (strings,), how often each string occurs; strings from long to short.
        alive: (longest + 1,), how many strings have at least so many bytes; ``alive[0]`` are all.
        starts: (longest + 1,), the place where each step in time begins.
    """

    codes: Bytes
    counts: Doubles
    alive: Places
    starts: Places

    @property
    def longest(self) -> int:
        """Bytes of the longest string."""
        return len(self.alive) - 1

    @functools.cached_property
    def following(self) -> Places:
        """(bytes,), the place of the next byte of the same string, or -1."""
        following = np.full(len(self.codes), -1, dtype=np.int64)
        for time in range(self.longest - 1):
            width, start = int(self.alive[time + 2]), int(self.starts[time + 1])
            following[self.block(time, width)] = np.arange(start, start + width)
        return following

    def block(self, time: int, width: int) -> slice:
        """Places of the first ``width`` strings at a step in time."""
        return slice(int(self.starts[time]), int(self.starts[time]) + width)


def lay_out(strings: list[bytes], counts: list[int]) -> Layout:
    """Lay out strings that are not empty."""
    order = sorted(range(len(strings)), key=lambda i: (-len(strings[i]), strings[i]))
    lengths = np.array([len(strings[i]) for i in order])
    flat = np.frombuffer(b"".join(strings[i] for i in order), dtype=np.uint8)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    longest = int(lengths[0])
    alive = np.array([len(strings), *(np.searchsorted(-lengths, -t, side="right") for t in range(1, longest + 1))])
    codes = np.concatenate([flat[offsets[: alive[t + 1]] + t] for t in range(longest)])
    starts = np.concatenate([[0], np.cumsum(alive[1:])])
    return Layout(codes, np.array([counts[i] for i in order], dtype=np.float64), alive, starts)


@dataclass(frozen=True)
class Substrings:
    """Substrings that occur at least twice, and all single bytes that occur.

    Attributes:
        at: (longest substring, places), number of the substring of length ``row + 1`` that begins at a place, or -1.
        frequency: (substrings,), occurrences, counting each string as often as it occurs.
        length: (substrings,), bytes.
        place: (substrings,), a place where it begins.
        maximal: (substrings,), whether every longer substring around it is rarer.
    """

    at: Ints
    frequency: Doubles
    length: Ints
    place: Places
    maximal: npt.NDArray[np.bool_]


def find_substrings(layout: Layout, longest: int) -> Substrings:
    """Number the substrings of up to ``longest`` bytes, length by length, from one sorting of all places."""
    ahead, left = _ahead(layout, longest)
    keys = ahead.view(">u8")
    order = np.lexsort([left, *(keys[:, column] for column in reversed(range(keys.shape[1])))])
    ahead, left = ahead[order], left[order]
    weight = _weights(layout)[order]
    at = np.full((longest, len(order)), -1, dtype=np.int32)
    frequency, length, place, maximal = [], [], [], []
    new = np.zeros(len(order), dtype=bool)  # where a prefix differs from the one sorted before it
    new[0] = True
    first = 0
    for row in range(longest):
        new[1:] |= ahead[1:, row] != ahead[:-1, row]
        begins = np.flatnonzero(new)
        often = np.add.reduceat(np.where(left > row, weight, 0), begins)
        keep = often >= (1 if row == 0 else 2)
        count = int(keep.sum())
        if not count:
            break
        number = np.where(keep, np.cumsum(keep) - 1 + first, -1).astype(np.int32)
        at[row, order] = np.where(left > row, number[np.cumsum(new) - 1], -1)
        # strings that end too early are sorted to the front of their group: its last place is a real one
        lasts = np.append(begins[1:], len(order)) - 1
        frequency.append(often[keep])
        place.append(order[lasts[keep]])
        length.append(np.full(count, row + 1, dtype=np.int32))
        maximal.append(np.ones(count, dtype=bool))
        if row:
            _mark_contained(at, row, first, place, frequency, maximal, layout.following)
        first += count
    return Substrings(at, *(np.concatenate(part) for part in (frequency, length, place, maximal)))


def _ahead(layout: Layout, longest: int) -> tuple[Bytes, Ints]:
    """The bytes from each place on, ``(places, longest rounded up to 8)`` with zeros after the end, and how many."""
    ahead = np.zeros((len(layout.codes), -(-longest // 8) * 8), dtype=np.uint8)
    left = np.zeros(len(layout.codes), dtype=np.int32)
    now = np.arange(len(layout.codes))
    for row in range(longest):
        here = now >= 0
        ahead[here, row] = layout.codes[now[here]]
        left += here
        now = np.where(here, layout.following[now], -1)
    return ahead, left


def _mark_contained(
    at: Ints, row: int, first: int, place: list[Places], frequency: list[Doubles],
    maximal: list[npt.NDArray[np.bool_]], following: Places,
) -> None:  # fmt: skip
    """What is as frequent as a string one byte longer occurs only inside it, and is no candidate of its own."""
    before = first - len(frequency[-2])
    for inside in (at[row - 1, place[-1]], at[row - 1, following[place[-1]]]):
        local = inside - before
        same = frequency[-2][local] == frequency[-1]
        maximal[-2][local[same]] = False


def _weights(layout: Layout) -> Doubles:
    """How often the string of each place occurs."""
    return np.concatenate([layout.counts[: layout.alive[time + 1]] for time in range(layout.longest)])


def expected_counts(layout: Layout, at: Ints, scores: Floats) -> tuple[Doubles, float]:
    """One E step: how often each piece is expected over all segmentations, and the log-likelihood of the strings.

    Args:
        layout: the strings.
        at: (longest piece, places), piece of each length at each place; the last piece is the absent one.
        scores: (pieces,), natural-log probabilities; -inf for the absent piece.

    Returns:
        ``(pieces,)`` expected counts, and the sum of log-likelihoods.
    """
    forward, strings = _forward(layout, at, scores)
    expected = np.zeros(len(scores))
    ends = _ends(layout)
    backward = np.zeros(int(ends[-1]), dtype=np.float32)
    for time in range(layout.longest - 1, -1, -1):
        width = int(layout.alive[time + 1])
        pieces = at[: layout.longest - time, layout.block(time, width)]
        values = scores[pieces]
        for row in range(len(pieces)):
            few = int(layout.alive[time + row + 1])  # beyond them the piece is absent and the value -inf already
            values[row, :few] += backward[ends[time + row + 1] : ends[time + row + 1] + few]
        backward[ends[time] : ends[time] + width] = _log_sum(values)
        values += forward[ends[time] : ends[time] + width] - strings[:width]
        share = np.exp(values) * layout.counts[:width]
        expected += np.bincount(pieces.ravel(), share.ravel(), minlength=len(scores))
    expected[-1] = 0
    return expected, float(np.dot(strings.astype(np.float64), layout.counts))


def _ends(layout: Layout) -> Places:
    """Where the values after so many bytes begin: one for each string that has them."""
    return np.concatenate([[0], np.cumsum(layout.alive)])


def _forward(layout: Layout, at: Ints, scores: Floats) -> tuple[Floats, Floats]:
    """Log-probability of each prefix, laid out as :func:`_ends` says, and of each whole string."""
    ends = _ends(layout)
    forward = np.zeros(int(ends[-1]), dtype=np.float32)
    strings = np.zeros(int(layout.alive[0]), dtype=np.float32)
    for time in range(1, layout.longest + 1):
        width = int(layout.alive[time])
        reach = min(len(at), time)
        values = np.empty((reach, width), dtype=np.float32)
        for row in range(reach):
            start = time - row - 1
            np.add(scores[at[row, layout.block(start, width)]], forward[ends[start] : ends[start] + width], values[row])
        total = _log_sum(values)
        forward[ends[time] : ends[time] + width] = total
        strings[:width] = total
    return forward, strings


def _log_sum(values: Floats) -> Floats:
    """log Σ exp over the first axis; every column has a finite value, for every single byte is a piece."""
    most = values.max(axis=0)
    total: Floats = most + np.log(np.exp(values - most).sum(axis=0))
    return total
