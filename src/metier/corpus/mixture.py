"""Several sources as one order of training sequences, by declared weights; every sequence is found from its number.

There is no state to save: sequence ``i`` depends on ``i``, the seed and the shards alone, so a run that is resumed at
step n reads what it would have read. Of each block of :data:`BLOCK` sequences every source gets its share, rounded so
that the error never adds up; within a source an epoch is a permutation without repeats.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from metier.corpus.shards import TokenShards
from metier.errors import MetierError, nearest

BLOCK = 1024  # sequences within which the shares hold
Stop = Literal["first-exhausted", "repeat", "error"] | int
_ROUNDS = 6  # of the Feistel network; four are enough for a pseudo-random permutation (Luby and Rackoff 1988)
_MASK = (1 << 64) - 1


class Sequence(NamedTuple):
    """One training sequence.

    Attributes:
        source: the name of its source.
        tokens: ``(sequence_length + 1,)`` int64: inputs are all but the last, targets all but the first.
        starts: positions in ``tokens`` where a document begins, 0 always first (there may stand a document's middle).
    """

    source: str
    tokens: np.ndarray
    starts: np.ndarray


class Mixture:
    """Named sources, weights and a rule for when one runs out.

    Args:
        shards: token shards by the name of the source.
        weights: shares by name, of any sum; None is by size.
        sequence_length: T; a sequence has T + 1 tokens and shares its last with the next one's first, so that every
            token but a source's first is predicted once an epoch. Tokens beyond the last whole sequence are left out.
        seed: of all orders.
        stop: ``first-exhausted`` ends the mixture before a source would be read again; ``repeat`` goes on for ever;
            ``error`` is a :class:`MetierError` at that point; a number allows as many epochs of a source.

    Raises:
        MetierError: weights that name no source, leave one out or are not above 0; a source shorter than a sequence;
            sources of different vocabularies or tokenizers.
    """

    def __init__(
        self,
        shards: dict[str, TokenShards],
        weights: dict[str, float] | None,
        sequence_length: int,
        seed: int,
        stop: Stop = "first-exhausted",
    ) -> None:
        self.shards, self.sequence_length, self.seed, self.stop = shards, sequence_length, seed, stop
        self.names = list(shards)
        _check(shards, weights, sequence_length, stop)
        self.sizes = [(shards[name].tokens - 1) // sequence_length for name in self.names]  # sequences an epoch
        raw = [weights[name] for name in self.names] if weights else [float(size) for size in self.sizes]
        self.weights = {name: value / sum(raw) for name, value in zip(self.names, raw, strict=True)}
        # boundaries between the sources' shares; the last is 1 whatever the rounding
        self._bounds = np.append(np.cumsum(raw)[:-1] / sum(raw), 1.0)
        self.sequences: int | None = None if stop in ("repeat", "error") else self._length()

    def sequence(self, i: int) -> Sequence:
        """Sequence ``i`` of the mixture.

        Raises:
            IndexError: below 0, or at and beyond :attr:`sequences`.
            MetierError: a source that has run out, where ``stop`` is ``error``.
        """
        if i < 0 or (self.sequences is not None and i >= self.sequences):
            raise IndexError(f"sequence {i} of {self.sequences}")
        block, inside = divmod(i, BLOCK)
        order = self._order(block)
        source = int(order[inside])
        epoch, number = divmod(int(self._given(block)[source] + (order[:inside] == source).sum()), self.sizes[source])
        if epoch and self.stop == "error":
            raise MetierError(
                f"the source '{self.names[source]}' has run out after {i:,} sequences",
                where=str(self.shards[self.names[source]].folder),
                fix="train on fewer tokens, lower its weight, or declare stop: repeat or a number of epochs",
            )
        place = _permuted(number, self.sizes[source], hash_seed=(self.seed, source, epoch))
        return self._read(self.names[source], place * self.sequence_length)

    def epochs(self, n_sequences: int) -> dict[str, float]:
        """How often the first ``n_sequences`` go through each source."""
        block, inside = divmod(n_sequences, BLOCK)
        counts = self._given(block) + np.bincount(self._order(block)[:inside], minlength=len(self.names))
        return {name: int(c) / size for name, c, size in zip(self.names, counts, self.sizes, strict=True)}

    def _read(self, name: str, start: int) -> Sequence:
        shards = self.shards[name]
        tokens = shards.read(start, self.sequence_length + 1)
        first, last = np.searchsorted(shards.starts, [start + 1, start + len(tokens)])
        return Sequence(name, tokens, np.concatenate([[0], shards.starts[first:last] - start]).astype(np.int64))

    def _given(self, block: int) -> np.ndarray:
        """``(sources,)``: sequences of each source before the block; they add up to ``block × BLOCK``."""
        return np.diff(np.floor(self._bounds * (block * BLOCK) + 0.5).astype(np.int64), prepend=0)

    def _order(self, block: int) -> np.ndarray:
        """``(BLOCK,)``: the source of each sequence of the block."""
        return _block_order(self.seed, block, tuple((self._given(block + 1) - self._given(block)).tolist()))

    def _length(self) -> int:
        """Sequences before the first source would be read beyond its allowed epochs."""
        allowed = np.array(self.sizes) * (self.stop if isinstance(self.stop, int) else 1)
        low, high = 0, int(np.ceil((allowed / np.array(list(self.weights.values()))).min() / BLOCK)) + 2
        while low < high:  # the last block that can be given out whole
            middle = (low + high + 1) // 2
            low, high = (middle, high) if (self._given(middle) <= allowed).all() else (low, middle - 1)
        left, order = allowed - self._given(low), self._order(low)
        taken = [np.flatnonzero(order == source) for source in range(len(self.names))]
        return low * BLOCK + min(
            [int(places[left[source]]) for source, places in enumerate(taken) if len(places) > left[source]],
            default=BLOCK,
        )


@lru_cache(maxsize=64)
def _block_order(seed: int, block: int, counts: tuple[int, ...]) -> np.ndarray:
    order = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng([seed, block]).permutation(order)


def _permuted(number: int, size: int, hash_seed: tuple[int, ...]) -> int:
    """Where a pseudo-random permutation of ``range(size)`` takes ``number``: a Feistel network with cycle walking."""
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    key = 0
    for part in hash_seed:
        key = _mixed(key ^ (part & _MASK))
    while True:
        left, right = number >> half, number & mask
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_mixed(key + (turn << 56) + right) & mask)
        number = (left << half) | right
        if number < size:
            return number


def _mixed(value: int) -> int:
    """SplitMix64's output function (Steele, Lea and Flood 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def _check(shards: dict[str, TokenShards], weights: dict[str, float] | None, length: int, stop: Stop) -> None:
    where = "mixture"
    if not shards or length < 1:
        raise MetierError("a mixture needs a source and a sequence length of 1 or more", where=where)
    if isinstance(stop, int) and stop < 1:
        raise MetierError(f"{stop} epochs of a source", where=where, fix="allow 1 or more")
    for name in weights or {}:
        if name not in shards:
            raise MetierError(f"a weight for '{name}', which is no source", where=where, fix=nearest(name, shards))
    for name in shards if weights else {}:
        if not weights or not weights.get(name, 0) > 0:
            fix = "give every source a weight above 0, or leave the source out"
            raise MetierError(f"no weight above 0 for the source '{name}'", where=where, fix=fix)
    first = next(iter(shards.values())).index
    for name, found in shards.items():
        if any(found.index[key] != first[key] for key in ("vocabulary", "end_token", "tokenizer_sha256")):
            fix = "curate all sources with one tokenizer"
            raise MetierError(f"'{name}' was tokenized by another tokenizer", where=str(found.folder), fix=fix)
        if found.tokens <= length:
            raise MetierError(
                f"'{name}' holds {found.tokens:,} tokens, fewer than one sequence of {length:,} and its last target",
                where=str(found.folder),
                fix="give more text, shorter sequences, or leave the source out",
            )
