"""What a rubric's ratings say: shares by axis and system, tests between systems, agreement, and the length of answers.

People and machines are never pooled: every machine is summarised alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from metier.evaluation.intervals import Floats
from metier.evaluation.rubric_agreement import Vote, agreement_among, agreement_of_pairs
from metier.evaluation.rubric_axes import Axis, Rubric
from metier.evaluation.rubric_clusters import difference, least_p, permutation_p, share, shared, tally
from metier.evaluation.rubric_length import by_thirds, length_by_system, longer_is_better, unequal_pairs

Lengths = Mapping[tuple[str, str], int]
TIE = "tie"


@dataclass(frozen=True)
class Rating:
    """One rater's choice on one axis.

    Attributes:
        systems: whose answer was judged; of a comparison the two in the order in which they were shown, A then B.
        value: the chosen option; of a comparison ``A``, ``B`` or ``tie``.
    """

    question: str
    item: str
    rater: str
    axis: str
    systems: tuple[str, ...]
    value: str

    @property
    def chosen(self) -> str:
        """Of a comparison: the system whose answer was chosen, or ``tie``."""
        return TIE if self.value == TIE else self.systems[self.value == "B"]

    def preferred(self, axis: Axis) -> str:
        """Of a comparison: the system whose answer is the better one by this rating, or ``tie``."""
        if self.value == TIE or axis.prefer == "chosen":
            return self.chosen
        return self.systems[self.value == "A"]


def summarise(
    rubric: Rubric, ratings: Sequence[Rating], machines: Sequence[str], lengths: Lengths, *, seed: int
) -> dict[str, Any]:
    """Everything a report shows.

    Args:
        rubric: the axes.
        ratings: of people and machines.
        machines: names of the raters that are machines.
        lengths: characters of every answer, by question and system.
        seed: seed of bootstraps and permutations.

    Returns:
        ``{"lengths", "groups", "between"}``: ``groups`` by name, ``people`` first, then each machine; ``between`` is
        the agreement of each machine with each person.
    """
    people = [rating for rating in ratings if rating.rater not in machines]
    groups = {"people": people} | {
        f"machine: {name}": [rating for rating in ratings if rating.rater == name] for name in machines
    }
    return {
        "lengths": length_by_system(lengths),
        "groups": {name: _group(rubric, own, lengths, seed) for name, own in groups.items() if own},
        "between": {axis.name: _between(rubric, axis, ratings, machines, seed) for axis in rubric.axes},
    }


def _group(rubric: Rubric, ratings: Sequence[Rating], lengths: Lengths, seed: int) -> dict[str, Any]:
    axes = {}
    for axis in rubric.axes:
        own = [rating for rating in ratings if rating.axis == axis.name]
        if own:
            measure = _independent if rubric.mode == "independent" else _pairwise
            axes[axis.name] = {"n": len(own), **measure(rubric, axis, own, lengths, seed)}
            axes[axis.name] |= _agreement(rubric, axis, own, seed)
    family = [test for found in axes.values() for test in found["tests"]]
    for test in family:
        test["p_bonferroni"] = min(1.0, test["p"] * len(family))
    return {
        "raters": sorted({rating.rater for rating in ratings}),
        "ratings": len(ratings),
        "items": len({rating.item for rating in ratings}),
        "questions": len({rating.question for rating in ratings}),
        "tests": len(family),
        "axes": axes,
    }


def _places(ratings: Sequence[Rating]) -> dict[str, int]:
    return {name: place for place, name in enumerate(dict.fromkeys(rating.question for rating in ratings))}


def _sums(ratings: Sequence[Rating], values: Sequence[float], places: Mapping[str, int]) -> Floats:
    questions = np.array([places[rating.question] for rating in ratings], np.int64)
    return tally(questions, np.asarray(values, np.float64), len(places))


def _independent(rubric: Rubric, axis: Axis, ratings: Sequence[Rating], lengths: Lengths, seed: int) -> dict[str, Any]:
    places, good = _places(ratings), rubric.good(axis)
    systems: dict[str, Any] = {}
    sums: dict[str, Floats] = {}
    for system in sorted({rating.systems[0] for rating in ratings}):
        own = [rating for rating in ratings if rating.systems[0] == system]
        sums[system] = _sums(own, [rating.value in good for rating in own], places)
        systems[system] = {
            "n": len(own),
            "questions": int((sums[system][:, 1] > 0).sum()),
            "good": share(*sums[system].T, seed=seed).to_json(),
            "options": {
                option: {"count": sum(rating.value == option for rating in own)}
                | share(*_sums(own, [rating.value == option for rating in own], places).T, seed=seed).to_json()
                for option in axis.options
            },
        }
    rated = [(rating.question, rating.systems[0], rating.value in good) for rating in ratings]
    length = {
        "thirds": by_thirds(rated, lengths, seed=seed),
        "longer": longer_is_better(unequal_pairs(rated, lengths), seed=seed),
    }
    pairs = itertools.combinations(systems, 2)
    tests = [_test(a, b, sums[a], sums[b], seed) for a, b in pairs]
    return {"systems": systems, "tests": [test for test in tests if test], "length": length}


def _pairwise(rubric: Rubric, axis: Axis, ratings: Sequence[Rating], lengths: Lengths, seed: int) -> dict[str, Any]:
    tests, pairs = [], []
    for first, second in sorted({tuple(sorted(rating.systems)) for rating in ratings}):
        own = [rating for rating in ratings if set(rating.systems) == {first, second}]
        places, won = _places(own), [rating.preferred(axis) for rating in own]
        parts = {}
        for name, winner in ((first, first), (TIE, TIE), (second, second)):
            sums = _sums(own, [who == winner for who in won], places)
            count = int(sums[:, 0].sum())
            parts[name] = {"count": count, **share(*sums.T, seed=seed).to_json()}
        points = [1.0 if who == first else 0.5 if who == TIE else 0.0 for who in won]
        sums = _sums(own, points, places)
        rate = share(*sums.T, seed=seed).to_json()
        pairs.append({"first": first, "second": second, "n": len(own), "questions": len(places),
                      "wins": parts[first], "ties": parts[TIE], "losses": parts[second], "win_rate": rate})  # fmt: skip
        opposite = np.stack([sums[:, 1] - sums[:, 0], sums[:, 1]], axis=1)
        test = _test(first, second, sums, opposite, seed)
        if test:
            test["difference"]["n"] = len(own)  # each comparison is a rating of both
            tests.append(test)
    decided = [rating for rating in ratings if rating.value != TIE]
    longer = [
        (rating.question, lengths[rating.question, rating.preferred(axis)] == max(sizes))
        for rating in decided
        if len(sizes := {lengths[rating.question, system] for system in rating.systems}) == 2
    ]
    places = _places(decided)
    on_a = share(*_sums(decided, [rating.value == "A" for rating in decided], places).T, seed=seed) if decided else None
    return {
        "pairs": pairs,
        "tests": tests,
        "length": {"longer": longer_is_better(longer, seed=seed)},
        "side_a": on_a.to_json() if on_a else None,
    }


def _test(first: str, second: str, a: Floats, b: Floats, seed: int) -> dict[str, Any] | None:
    """Two systems on the questions that both have ratings of; None where there is none."""
    both = shared(a, b)
    if not len(both[0]):
        return None
    questions = len(both[0])
    return {
        "first": first,
        "second": second,
        "questions": questions,
        "difference": difference(*both, seed=seed).to_json(),
        "p": permutation_p(*both, seed=seed),
        "least_p": least_p(questions),
    }


def _vote(rubric: Rubric, rating: Rating) -> Vote:
    """What raters are compared by: of a comparison the system chosen, since each may have had it on another side."""
    if rubric.mode == "independent":
        return Vote(rating.question, rating.item, rating.rater, rating.value)
    first = min(rating.systems)
    side = TIE if rating.value == TIE else "first" if rating.chosen == first else "second"
    return Vote(rating.question, rating.item, rating.rater, side)


def _options(rubric: Rubric, axis: Axis) -> list[str]:
    return list(axis.options) if rubric.mode == "independent" else ["first", TIE, "second"]


def _agreement(rubric: Rubric, axis: Axis, ratings: Sequence[Rating], seed: int) -> dict[str, Any]:
    votes, options = [_vote(rubric, rating) for rating in ratings], _options(rubric, axis)
    return {
        "agreement": agreement_among(votes, options, seed=seed),
        "pairs_of_raters": agreement_of_pairs(votes, options, seed=seed),
    }


def _between(
    rubric: Rubric, axis: Axis, ratings: Sequence[Rating], machines: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """Cohen's κ of each machine with each person: machines stand second."""
    votes = [_vote(rubric, rating) for rating in ratings if rating.axis == axis.name]
    found = []
    for machine in machines:
        for person in sorted({vote.rater for vote in votes} - set(machines)):
            # the names are sorted inside: these say who is who
            two = [
                replace(vote, rater="0" if vote.rater == person else "1")
                for vote in votes
                if vote.rater in (person, machine)
            ]
            for pair in agreement_of_pairs(two, _options(rubric, axis), seed=seed):
                found.append(pair | {"raters": [person, machine]})
    return found
