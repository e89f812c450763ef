"""How far several raters agree on the same answers: Cohen's, Fleiss' and Randolph's κ, clustered by question."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metier.evaluation.agreement import corrected, with_interval, without_spread
from metier.evaluation.intervals import RESAMPLES, SAME, Floats, resample_sums
from metier.evaluation.scores import Score

_UNDEFINED = "one and the same option throughout: agreement by chance is certain"
_ONE = "one question has no spread to measure"

Parts = Callable[[Floats], tuple[Floats, Floats | float]]
"""From column sums to observed agreement and agreement by chance."""


@dataclass(frozen=True)
class Vote:
    """What one rater said of one item on one axis."""

    question: str
    item: str
    rater: str
    value: str


def item_agreement(counts: Floats) -> Floats:
    """P_i, the share of pairs of raters that agree on an item (Fleiss 1971, eq. 2).

    Args:
        counts: (..., options), raters that chose each option; at least two raters an item.
    """
    n = counts.sum(-1)
    return np.asarray((counts * (counts - 1)).sum(-1) / (n * (n - 1)))


def fleiss_kappa(counts: Floats) -> float:
    """Fleiss' κ (1971, "Measuring nominal scale agreement among many raters", eq. 7).

    Chance agreement is that of the options' overall shares. Items may have different numbers of raters, two at least;
    each item weighs the same.

    Args:
        counts: (items, options), raters that chose each option.

    Returns:
        not a number where all raters chose one option throughout.
    """
    return float(corrected(*_fleiss(_rows(counts).sum(axis=0))))


def randolph_kappa(counts: Floats) -> float:
    """Randolph's free-marginal κ (2005): chance agreement is one in the number of options, whatever was chosen.

    Args:
        counts: (items, options) with a column for every option, also those nobody chose.
    """
    return float(corrected(*_randolph(_rows(counts).sum(axis=0))))


def _rows(counts: Floats) -> Floats:
    """(items, 2 + options): P_i, one, and the shares of the options."""
    shares = counts / counts.sum(-1, keepdims=True)
    return np.concatenate([item_agreement(counts)[:, None], np.ones((len(counts), 1)), shares], axis=1)


def _raw(sums: Floats) -> tuple[Floats, Floats | float]:
    return sums[..., 0] / sums[..., 1], 0.0


def _fleiss(sums: Floats) -> tuple[Floats, Floats | float]:
    shares = sums[..., 2:] / sums[..., 1:2]
    return sums[..., 0] / sums[..., 1], (shares**2).sum(-1)


def _randolph(sums: Floats) -> tuple[Floats, Floats | float]:
    return sums[..., 0] / sums[..., 1], 1 / (sums.shape[-1] - 2)


def _square(sums: Floats) -> Floats:
    """Shares of a table of two raters: (..., options, options) from (..., options²)."""
    k = round(sums.shape[-1] ** 0.5)
    return np.reshape(sums / sums.sum(-1, keepdims=True), (*sums.shape[:-1], k, k))


def _raw_of_two(sums: Floats) -> tuple[Floats, Floats | float]:
    return np.trace(_square(sums), axis1=-2, axis2=-1), 0.0


def _cohen(sums: Floats) -> tuple[Floats, Floats | float]:
    shares = _square(sums)
    return np.trace(shares, axis1=-2, axis2=-1), (shares.sum(-1) * shares.sum(-2)).sum(-1)


def agreement_among(votes: Sequence[Vote], options: Sequence[str], *, seed: int) -> dict[str, Any] | None:
    """Agreement of all raters on the items that at least two of them rated.

    Returns:
        ``{"items", "ratings", "questions", "raw", "fleiss", "randolph"}``, each statistic a score over items, with a
        null value and the reason where it is undefined; None where no item has two raters.
    """
    chosen: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for vote in votes:
        chosen[vote.question, vote.item][vote.value] += 1
    twice = {key: found for key, found in chosen.items() if found.total() > 1}
    if not twice:
        return None
    counts = np.array([[found[option] for option in options] for found in twice.values()], np.float64)
    rows = _by_question([question for question, _ in twice], _rows(counts))
    statistics = {"raw": _raw, "fleiss": _fleiss, "randolph": _randolph}
    return {"items": len(twice), "ratings": int(counts.sum()), "questions": len(rows)} | {
        name: _scored(parts, rows, len(twice), seed) for name, parts in statistics.items()
    }


def agreement_of_pairs(votes: Sequence[Vote], options: Sequence[str], *, seed: int) -> list[dict[str, Any]]:
    """Cohen's κ and raw agreement of every two raters on the items that both rated; pairs without any are left out."""
    by_rater: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for vote in votes:
        by_rater[vote.rater][vote.question, vote.item] = vote.value
    place, k = {option: i for i, option in enumerate(options)}, len(options)
    found = []
    for first, second in itertools.combinations(sorted(by_rater), 2):
        both = [key for key in by_rater[first] if key in by_rater[second]]
        if not both:
            continue
        tables = np.zeros((len(both), k * k))
        cells = [place[by_rater[first][key]] * k + place[by_rater[second][key]] for key in both]
        tables[np.arange(len(both)), cells] = 1
        rows = _by_question([question for question, _ in both], tables)
        scores = {name: _scored(s, rows, len(both), seed) for name, s in (("raw", _raw_of_two), ("cohen", _cohen))}
        found.append({"raters": [first, second], "items": len(both), "questions": len(rows)} | scores)
    return found


def _by_question(questions: Sequence[str], rows: Floats) -> Floats:
    names = {name: place for place, name in enumerate(dict.fromkeys(questions))}
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, [names[name] for name in questions], rows)
    return sums


def _scored(parts: Parts, rows: Floats, n: int, seed: int) -> dict[str, Any]:
    """The statistic of all questions with its bootstrap over questions.

    Where raters agree on everything, on nothing, or on as much of every question, all samples do too and would claim
    certainty: there it is :func:`~metier.evaluation.agreement.without_spread` of so many questions.
    """
    observed, chance = parts(rows.sum(axis=0))
    value = float(corrected(observed, chance))
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None, "n": n, "reason": _UNDEFINED}
    if len(rows) < 2:
        return Score(value, None, None, n, reason=_ONE).to_json()
    drawn = parts(resample_sums(rows, seed=seed, resamples=RESAMPLES))
    if np.ptp(drawn[0]) < SAME:
        return without_spread(float(observed), float(chance), n, units=len(rows)).to_json()
    return with_interval(value, corrected(*drawn), n).to_json()
