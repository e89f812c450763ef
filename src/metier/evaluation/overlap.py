"""What items that stand in a training corpus do to a score: their share, and accuracy with and without them.

The definitions are those of Med-PaLM 2 (Singhal et al. 2025, overlap analysis), at two lengths, and 13 words in a row
as in GPT-3's (Brown et al. 2020, appendix C).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metier.corpus.overlap import NGRAM, WIDTHS
from metier.evaluation.intervals import proportion, proportion_difference

FEW = 10  # items on one side: below it no difference that could be expected would show

_WHOLE, _LONG, _SHORT, _WORDS = (1 << bit for bit in range(len(WIDTHS)))
DEFINITIONS = (
    "whole question or 512 characters",
    "whole question or 120 characters",
    "13 words in a row or a shorter question whole",
)
MEANINGS = {
    DEFINITIONS[0]: "the whole question, or 512 characters of it in a row (Med-PaLM 2)",
    DEFINITIONS[1]: "the whole question, or 120 characters of it in a row (Med-PaLM 2, repeated)",
    DEFINITIONS[2]: f"{NGRAM} words of the question in a row, or the whole of one with fewer (GPT-3)",
}


def overlapping(bits: np.ndarray, words: np.ndarray) -> dict[str, np.ndarray]:
    """By definition ``(items,)`` bool: whether an item overlaps.

    Args:
        bits: ``(items,)``: one for each of :data:`~metier.corpus.overlap.WIDTHS` that was found.
        words: ``(items,)``: words of the item.
    """
    whole = (bits & _WHOLE) > 0
    return {
        DEFINITIONS[0]: whole | ((bits & _LONG) > 0),
        DEFINITIONS[1]: whole | ((bits & _SHORT) > 0),
        DEFINITIONS[2]: ((bits & _WORDS) > 0) | (whole & (words < NGRAM)),
    }


def share(flags: np.ndarray) -> dict[str, Any]:
    """How many items overlap, of how many: a share with its interval."""
    return {"overlapping": int(flags.sum()), **proportion(int(flags.sum()), len(flags)).to_json()}


def accuracy_apart(ids: Sequence[str], flags: np.ndarray, correct: Mapping[str, bool]) -> dict[str, Any]:
    """Accuracy on overlapping and on clean items, and the first less the second with its interval.

    The items of the two are different ones, so the difference is between independent shares.

    Args:
        ids: ``(items,)``.
        flags: ``(items,)``: whether each overlaps.
        correct: by id whether the system was right; items that it was not asked are left out.

    Returns:
        ``overlapping`` and ``clean``: scores, or None without items; ``difference``: a score, or None; ``note``: why
        there is none, or why it says little.
    """
    sides = [
        [bool(correct[id]) for id, flag in zip(ids, flags.tolist(), strict=True) if flag is wanted and id in correct]
        for wanted in (True, False)
    ]
    scores = [proportion(sum(side), len(side)).to_json() if side else None for side in sides]
    found: dict[str, Any] = {"overlapping": scores[0], "clean": scores[1], "difference": None, "note": None}
    fewest = min(map(len, sides))
    name = ("overlapping", "clean")[len(sides[1]) < len(sides[0])]
    if not fewest:
        found["note"] = f"no {name} item: nothing to compare"
        return found
    (a, b) = sides
    found["difference"] = proportion_difference(sum(a), len(a), sum(b), len(b)).to_json()
    if fewest < FEW:
        plural = "s" * (fewest != 1)
        found["note"] = f"only {fewest} {name} item{plural}: too few to say whether overlap matters"
    return found
