"""Near-duplicates that a split leaves between train and test: counted and shown, not removed."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from metier.tasks.example import Example
from metier.tasks.prepare import normalised

THRESHOLD = 0.8
KEPT_SAMPLES = 10


def near_duplicates(train: Sequence[Example], test: Sequence[Example], threshold: float = THRESHOLD) -> dict[str, Any]:
    """Pairs of a training and a test text whose sets of words have a Jaccard index of ``threshold`` or more.

    Exact, without comparing all pairs: two such sets share a word among the rarest ``n - ceil(threshold n) + 1`` of
    each (prefix filtering, Chaudhuri et al. 2006).

    Returns:
        ``measure``, ``threshold``, ``pairs``, ``test_examples`` that have such a twin, and the closest as ``samples``.
    """
    sets = {part: [_words(example) for example in examples] for part, examples in (("train", train), ("test", test))}
    frequency = Counter(word for part in sets.values() for words in part for word in words)

    def rarest(words: frozenset[str]) -> list[str]:
        ordered = sorted(words, key=lambda word: (frequency[word], word))
        return ordered[: len(ordered) - math.ceil(threshold * len(ordered)) + 1]

    index = defaultdict[str, list[int]](list)
    for place, words in enumerate(sets["train"]):
        for word in rarest(words):
            index[word].append(place)
    found = []
    for place, words in enumerate(sets["test"]):
        for other in sorted({candidate for word in rarest(words) for candidate in index[word]}):
            similarity = jaccard(words, sets["train"][other])
            if similarity >= threshold:
                found.append((similarity, place, other))
    closest = sorted(found, key=lambda pair: (-pair[0], pair[1:]))[:KEPT_SAMPLES]
    return {
        "measure": "Jaccard index of the sets of words",
        "threshold": threshold,
        "pairs": len(found),
        "test_examples": len({place for _, place, _ in found}),
        "samples": [
            {
                "test": test[place].text, "train": train[other].text, "similarity": round(similarity, 3),
                "same_label": test[place].target == train[other].target,
            }
            for similarity, place, other in closest
        ],
    }  # fmt: skip


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    """Words in both sets over words in either; 0 for two empty ones."""
    return len(a & b) / len(a | b) if a or b else 0.0


def _words(example: Example) -> frozenset[str]:
    return frozenset(word for value in example.inputs.values() for word in normalised(value).split())
