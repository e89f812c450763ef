"""Which vocabulary size writes a text in the fewest bits (Wu et al. 2023, section 2.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from metier.tokenization.compare import count_tokens


@dataclass(frozen=True)
class Size:
    """A candidate: its tokens on the sample and tokens × log2(vocabulary), in bits if every token costs the same."""

    vocabulary: int
    tokens: int
    bits: float


def size_curve(at: Callable[[int], Tokenizer], sizes: Sequence[int], sample: Sequence[str]) -> list[Size]:
    """Tokenise ``sample`` with each size; the best is the one of the fewest ``bits``."""
    curve = []
    for size in sorted(set(sizes)):
        tokens = int(count_tokens(at(size), sample).tokens.sum())
        curve.append(Size(size, tokens, tokens * math.log2(size)))
    return curve
