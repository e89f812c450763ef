"""The Unigram model (Kudo 2018, arXiv:1804.10959): many candidate pieces, fitted by EM, pruned by what each is worth.

The steps are those of the libraries' trainers. It is done here, over bytes and for all strings at once, because the
trainer of ``tokenizers`` visits strings in an order that changes from process to process, so that its sums and its
files do too, and is several times slower where tokens span words.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import digamma

from metier.errors import MetierError
from metier.tokenization.lattice import (
    Doubles,
    Floats,
    Ints,
    Layout,
    Substrings,
    expected_counts,
    find_substrings,
    lay_out,
)  # fmt: skip

LONGEST = 16  # bytes in a piece, the bound of the tokenizers and sentencepiece trainers
SEEDS_PER_PIECE = 8  # candidates to begin with for each piece wanted; sentencepiece's million for a vocabulary of 128k
SHRINK = 0.5  # share of the pieces that a round of pruning keeps
EM_STEPS = 2  # EM steps before each pruning, as in sentencepiece
_LEAST = 0.5  # a piece expected less often is dropped, as in sentencepiece


def train_unigram(strings: Mapping[bytes, int], size: int, *, longest: int = LONGEST) -> dict[bytes, float]:
    """Probabilities of up to ``size`` pieces, every byte that occurs among them; fewer where no more occur twice.

    Args:
        strings: what no piece crosses, with how often each occurs; none is empty.
        size: pieces wanted.
        longest: most bytes in a piece.

    Raises:
        MetierError: there is nothing to learn from, or not even room for the bytes that occur.
    """
    if not strings:
        raise MetierError("there is no text to learn a vocabulary from", fix="check the files and the column of texts")
    layout = lay_out(list(strings), list(strings.values()))
    found = find_substrings(layout, longest)
    single = int((found.length == 1).sum())
    if single > size:
        raise MetierError(
            f"a vocabulary of {size} has no room for the {single} different bytes that occur",
            fix=f"ask for {single} or more",
        )
    members = _seeds(found, single, SEEDS_PER_PIECE * size)
    worth = (found.frequency * found.length)[members]
    scores = np.log(worth / worth.sum())
    while True:
        for _ in range(EM_STEPS):
            members, scores, counts = _em_step(layout, found, members, scores, single)
        if len(members) <= size:
            break
        keep = _worth_most(layout, found, members, scores, counts, single, max(size, int(SHRINK * len(members))))
        members, scores = members[keep], scores[keep]
    pieces, chances = _strings(layout, found, members), np.exp(scores)
    return dict(zip(pieces, (chances / chances.sum()).tolist(), strict=True))


Members = npt.NDArray[np.int64]


def _seeds(found: Substrings, single: int, most: int) -> Members:
    """All single bytes, then the substrings of the highest frequency × length that no longer one makes redundant."""
    candidates = single + np.flatnonzero(found.maximal[single:])
    worth = (found.frequency * found.length)[candidates]
    best = candidates[np.argsort(-worth, kind="stable")[: max(0, most - single)]]
    return np.concatenate([np.arange(single), np.sort(best)])


def _numbered(found: Substrings, members: Members) -> Ints:
    """``found.at`` by place in ``members``; the absent piece is ``len(members)``."""
    number = np.full(len(found.length) + 1, len(members), dtype=np.int32)
    number[members] = np.arange(len(members), dtype=np.int32)
    return number[found.at]


def _em_step(
    layout: Layout, found: Substrings, members: Members, scores: Doubles, single: int
) -> tuple[Members, Doubles, Doubles]:
    """Pieces that remain, their new scores and expected counts. Digamma favours few pieces (Liang & Klein 2007)."""
    table: Floats = np.append(scores, -np.inf).astype(np.float32)
    expected = expected_counts(layout, _numbered(found, members), table)[0][:-1]
    keep = expected >= _LEAST
    keep[:single] = True
    counts = np.maximum(expected[keep], _LEAST)
    return members[keep], digamma(counts) - digamma(counts.sum()), counts


def _worth_most(
    layout: Layout, found: Substrings, members: Members, scores: Doubles, counts: Doubles, single: int, keep: int
) -> Members:
    """Which pieces to keep: all bytes, and those whose loss would cost the corpus the most likelihood."""
    at = _numbered(found, members)
    table = np.append(scores, -np.inf)
    places, lengths = _places(layout, found, members), found.length[members]
    best = np.full((len(members), places.shape[1] + 1), -np.inf)
    best[:, 0] = 0
    for end in range(1, places.shape[1] + 1):
        for row in range(end):
            piece = at[row, places[:, end - row - 1]]
            value = best[:, end - row - 1] + np.where(row + 1 == lengths, -np.inf, table[piece])
            np.maximum(best[:, end], value, out=best[:, end])
    without = best[np.arange(len(members)), lengths]
    loss = counts * (scores - np.where(np.isfinite(without), without, 0))
    loss[:single] = np.inf
    return np.sort(np.argsort(-loss, kind="stable")[:keep])


def _places(layout: Layout, found: Substrings, members: Members) -> npt.NDArray[np.int64]:
    """The place of each byte of each member, ``(members, longest)``; -1 after its end."""
    following = layout.following
    places = np.full((len(members), int(found.length[members].max())), -1, dtype=np.int64)
    now = found.place[members]
    for column in range(places.shape[1]):
        here = found.length[members] > column
        places[here, column] = now[here]
        now = np.where(here, following[now], -1)
    return places


def _strings(layout: Layout, found: Substrings, members: Members) -> list[bytes]:
    """The bytes of each member."""
    places = _places(layout, found, members)
    rows = layout.codes[places]
    return [row[:length].tobytes() for row, length in zip(rows, found.length[members], strict=True)]
