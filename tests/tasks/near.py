"""Which pairs of texts share most of their words."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", text.lower()))


def near_pairs(texts: Sequence[str], others: Sequence[str] | None, least: float) -> Iterator[tuple[float, str, str]]:
    """Pairs whose word sets have a Jaccard similarity of ``least`` or more: within ``texts``, or against ``others``.

    Two such sets share a word among the rarest ``n - ceil(least * n) + 1`` of each, so only those words are looked up.
    """
    left = [words(text) for text in texts]
    right = left if others is None else [words(text) for text in others]
    frequency = Counter(word for one in (*left, *right) for word in one)

    def rare(one: frozenset[str]) -> list[str]:
        ordered = sorted(one, key=lambda word: (frequency[word], word))
        return ordered[: len(one) - -int(-least * len(one) // 1) + 1]

    index: defaultdict[str, list[int]] = defaultdict(list)
    for place, one in enumerate(right):
        for word in rare(one):
            index[word].append(place)
    for place, one in enumerate(left):
        for found in {candidate for word in rare(one) for candidate in index[word]}:
            if others is None and found >= place:
                continue
            alike = len(one & right[found]) / max(1, len(one | right[found]))
            if alike >= least:
                yield alike, texts[place], (texts if others is None else others)[found]
