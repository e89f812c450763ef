"""Split and merge: a Unigram model for each part of a corpus, averaged into one (Wu et al. 2023, section 2.3).

Memory is that of one part and of the merged table, however long the corpus is. BloombergGPT trained 5,632 models of
65,536 pieces in this way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from metier.errors import MetierError
from metier.tokenization.unigram import LONGEST, train_unigram
from metier.tokenization.words import count_windows, in_parts

PART_BYTES = 1_000_000
PART_SIZE = 16_384


@dataclass(frozen=True)
class Model:
    """Probabilities of pieces, and the bytes of text that they were learnt from."""

    chances: dict[bytes, float]
    weight: int


def merge(models: Iterable[Model]) -> Model:
    """The average weighted by bytes, where a piece that a model lacks has probability 0 in it.

    Merged models may be merged again: the hierarchy does not change the result beyond rounding.
    """
    sums: defaultdict[bytes, float] = defaultdict(float)
    weight = 0
    for model in models:
        weight += model.weight
        for piece, chance in model.chances.items():
            sums[piece] += chance * model.weight
    return Model({piece: value / weight for piece, value in sums.items()}, weight)


def train_split(
    texts: Iterable[str],
    *,
    part_bytes: int = PART_BYTES,
    part_size: int = PART_SIZE,
    longest: int = LONGEST,
    progress: Callable[[int], None] | None = None,
) -> Model:
    """Train on each part and merge. ``progress`` is told the bytes of each part that is done."""

    def models() -> Iterator[Model]:
        for part, size in in_parts(texts, part_bytes):
            if windows := count_windows(part):
                yield Model(train_unigram(windows, part_size, longest=longest), size)
            if progress:
                progress(size)

    merged = merge(models())
    if not merged.chances:
        raise MetierError("there is no text to learn a vocabulary from", fix="check the files and the column of texts")
    return merged


def cut(chances: dict[bytes, float], size: int, fix: str = "ask for fewer, or give more text") -> dict[bytes, float]:
    """The likeliest pieces, all 256 bytes among them, renormalised: ``size - 1``, for the end token is one more.

    A byte that was not seen gets the probability of the rarest piece.

    Raises:
        MetierError: there are not so many pieces; the message says how many there could be.
    """
    longer = sorted((piece for piece in chances if len(piece) > 1), key=lambda piece: (-chances[piece], piece))
    room = size - 1 - 256
    if room < 0:
        raise MetierError(
            f"a vocabulary of {size} has no room for the 256 bytes and the end token", fix="ask for 257 or more"
        )
    if room > len(longer):
        raise MetierError(
            f"a vocabulary of {size} is larger than the text supports: the largest possible is {len(longer) + 257}",
            where="vocab_size",
            fix=fix,
        )
    kept = {piece: chances[piece] for piece in longer[:room]}
    least = min([*kept.values(), *(chance for chance in chances.values() if chance > 0)])
    kept |= {bytes([byte]): chances.get(bytes([byte]), 0.0) or least for byte in range(256)}
    total = sum(kept.values())
    return {piece: chance / total for piece, chance in kept.items()}
