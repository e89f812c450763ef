"""Whether raters may have judged length: answers' lengths by system, and ratings against length."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metier.evaluation.rubric_clusters import share, tally

THIRDS = ("shortest", "middle", "longest")


def length_by_system(lengths: Mapping[tuple[str, str], int]) -> dict[str, dict[str, float | int]]:
    """Quartiles of the answers' characters; ``lengths`` by question and system."""
    by_system: dict[str, list[int]] = defaultdict(list)
    for (_, system), characters in lengths.items():
        by_system[system].append(characters)
    return {
        system: dict(zip(("low", "median", "high"), map(float, np.percentile(values, [25, 50, 75])), strict=True))
        | {"n": len(values)}
        for system, values in sorted(by_system.items())
    }


def by_thirds(
    rated: Sequence[tuple[str, str, bool]], lengths: Mapping[tuple[str, str], int], *, seed: int
) -> list[dict[str, Any]]:
    """Share of good ratings among the shortest, the middle and the longest third of the rated answers.

    Args:
        rated: question, system and whether the rating was good.
        lengths: characters by question and system.
        seed: seed of the bootstrap over questions.

    Returns:
        for each third that has answers: its name, least and most characters, answers and the share.
    """
    answers = sorted({(question, system) for question, system, _ in rated}, key=lambda key: (lengths[key], key))
    places = {name: place for place, name in enumerate(dict.fromkeys(question for question, _, _ in rated))}
    # answers of one length belong to one third
    cuts = [lengths[answers[len(answers) * part // 3]] for part in (1, 2)]
    found = []
    for third, name in enumerate(THIRDS):
        mine = {key for key in answers if sum(lengths[key] >= cut for cut in cuts) == third}
        rows = [(places[question], good) for question, system, good in rated if (question, system) in mine]
        if not rows:
            continue
        sums = tally(np.array([q for q, _ in rows]), np.array([good for _, good in rows], np.float64), len(places))
        found.append(
            {
                "third": name,
                "from": min(lengths[key] for key in mine),
                "to": max(lengths[key] for key in mine),
                "answers": len(mine),
                "share": share(sums[:, 0], sums[:, 1], seed=seed).to_json(),
            }
        )
    return found


def unequal_pairs(
    rated: Sequence[tuple[str, str, bool]], lengths: Mapping[tuple[str, str], int]
) -> list[tuple[str, bool]]:
    """Pairs of answers to one question that differ in length and in their share of good ratings.

    Returns:
        question, and whether the longer answer is the better one.
    """
    goods: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for question, system, good in rated:
        goods[question][system].append(good)
    found = []
    for question, by_system in goods.items():
        for a, b in itertools.combinations(sorted(by_system), 2):
            gap = float(np.mean(by_system[a]) - np.mean(by_system[b]))
            longer = lengths[question, a] - lengths[question, b]
            if gap and longer:
                found.append((question, (gap > 0) == (longer > 0)))
    return found


def longer_is_better(pairs: Sequence[tuple[str, bool]], *, seed: int) -> dict[str, Any] | None:
    """Share of unequal pairs in which the longer answer is the better one, clustered by question; half is no sign of
    length. None without any pair.
    """
    if not pairs:
        return None
    places = {name: place for place, name in enumerate(dict.fromkeys(question for question, _ in pairs))}
    questions = np.array([places[question] for question, _ in pairs])
    sums = tally(questions, np.array([longer for _, longer in pairs], np.float64), len(places))
    return share(sums[:, 0], sums[:, 1], seed=seed).to_json()
