"""Answering only where it is sure enough: what deferring buys, and a threshold that keeps a promise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from metier.evaluation.calibration import risk_coverage
from metier.evaluation.confidence import BY, By, Rows
from metier.evaluation.confidence import confidence as sureness
from metier.evaluation.groups import interval, share
from metier.evaluation.intervals import CONFIDENCE, Ints, require_examples
from metier.evaluation.scores import Score

MEDPALM_DEFERRAL = 0.45
"""The point at which Med-PaLM's deferral curve is quoted: MedQA accuracy 0.825 (Singhal et al. 2023, Nature 620)."""

DEFERRALS = (0.0, 0.1, 0.2, 0.3, MEDPALM_DEFERRAL, 0.6, 0.8)
POINTS = 60  # of a curve in scores.json
AREAS = 500  # bootstrap samples of an area: three confidences of every system are resampled
CANDIDATES = 10  # thresholds that are tested for a promise: each more costs the others some power
_BLOCK = 1_000_000  # numbers held at once while resampling: 8 MB a table


@dataclass(frozen=True)
class Deferral:
    """Defer the least certain answers to a person: accuracy (Clopper-Pearson, over groups) of what is still answered.

    ``asked`` is the share to defer, ``deferred`` what a threshold can defer without exceeding it: answers of the same
    confidence cannot be told apart.
    """

    asked: float
    deferred: float
    threshold: float
    accuracy: Score

    def to_json(self) -> dict[str, Any]:
        """``{"asked", "deferred", "threshold", "accuracy": {"value", "low", "high", "n"}}``."""
        return {**vars(self), "accuracy": self.accuracy.to_json()}


def accuracy_at_deferral(
    sure: npt.ArrayLike, correct: npt.ArrayLike, asked: float, groups: Ints | None = None
) -> Deferral:
    """Accuracy when at most the share ``asked`` of the answers, the least certain, is deferred.

    Args:
        sure: (n,), confidence of each answer.
        correct: (n,), whether each answer is right.
        asked: share to defer, in [0, 1); the surest answer (and its equals) is always given.
        groups: (n,), of answers that are no independent draws: the interval is over these.
    """
    values, right = np.asarray(sure, np.float64), np.asarray(correct, bool)
    require_examples(len(values))
    kept = max(1, math.ceil(round((1 - asked) * len(values), 9)))
    threshold = float(np.sort(values)[-kept])
    answered = values >= threshold
    accuracy = share(right[answered], None if groups is None else groups[answered])
    return Deferral(asked, 1 - accuracy.n / len(values), threshold, accuracy)


def aurc(
    sure: npt.ArrayLike, correct: npt.ArrayLike, *, seed: int, resamples: int = AREAS, groups: Ints | None = None
) -> Score:
    """Area under the risk-coverage curve (Geifman & El-Yaniv 2017), with a bootstrap over examples; less is better.

    With ``groups``, (n,) from 0, whole groups are drawn.
    """
    values, right = np.asarray(sure, np.float64), np.asarray(correct, bool)
    value = risk_coverage(np.clip(values, 0, 1), right).aurc
    n, order = len(values), np.argsort(-values, kind="stable")
    units = n if groups is None else int(groups.max()) + 1
    ranked, wrong = values[order], ~right[order]
    first = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))  # answers of one confidence come together
    generator, areas = np.random.default_rng(seed), []
    block = max(1, _BLOCK // n)
    for begin in range(0, resamples, block):
        count = min(block, resamples - begin)
        places = generator.integers(0, units, (count, units)) + units * np.arange(count)[:, None]
        drawn = np.bincount(places.ravel(), minlength=count * units).reshape(count, units)
        drawn = drawn if groups is None else drawn[:, groups[order]]
        sizes, mistakes = drawn, drawn * wrong
        if len(first) < n:
            sizes, mistakes = (np.add.reduceat(table, first, axis=1) for table in (sizes, mistakes))
        mistakes = mistakes.cumsum(axis=1)
        areas.append((sizes * mistakes / np.maximum(sizes.cumsum(axis=1), 1)).sum(axis=1) / drawn.sum(axis=1))
    return interval(value, np.concatenate(areas), n, groups)


def over_groups(
    line: list[dict[str, float]], sure: npt.ArrayLike, correct: npt.ArrayLike, groups: Ints | None
) -> list[dict[str, float]]:
    """Points of the risk-coverage curve of ``sure`` and ``correct``, its intervals over ``groups``, (n,)."""
    if groups is None:
        return line
    values, wrong = np.clip(np.asarray(sure, np.float64), 0, 1), ~np.asarray(correct, bool)
    given = [values >= point["threshold"] for point in line]
    found = [share(wrong[each], groups[each]).to_json() for each in given]
    return [point | {"low": score["low"], "high": score["high"]} for point, score in zip(line, found, strict=True)]


def curves(rows: Rows, correct: Sequence[bool], *, seed: int, groups: Ints | None = None) -> dict[str, Any]:
    """What deferring buys under each confidence, as it stands in ``scores.json`` under ``deferral``.

    Args:
        rows: probabilities of each example, of any width; empty where an output could not be read: deferred first.
        correct: whether the likeliest answer is right.
        seed: of the bootstrap.
        groups: (n,), of examples that are no independent draws: intervals are over these.

    Returns:
        by confidence ``{"aurc": score, "points": [Deferral …], "curve": [{"coverage", "accuracy", "low", "high",
        "threshold"}]}``; each point of a curve has its own 95 % Clopper-Pearson interval.
    """
    read = [np.size(row) > 0 for row in rows]
    found: dict[str, Any] = {}
    for by in BY:
        sure = np.zeros(len(rows))
        sure[read] = sureness([row for row, ok in zip(rows, read, strict=True) if ok], by)
        line = risk_coverage(sure, correct).to_json(POINTS)
        found[by] = {
            "aurc": aurc(sure, correct, seed=seed, groups=groups).to_json(),
            "points": [accuracy_at_deferral(sure, correct, asked, groups).to_json() for asked in DEFERRALS],
            "curve": [
                {"coverage": p["coverage"], "accuracy": 1 - p["risk"], "low": 1 - p["high"], "high": 1 - p["low"],
                 "threshold": p["threshold"]}
                for p in over_groups(line, sure, correct, groups)
            ],
        }  # fmt: skip
    return found


@dataclass(frozen=True)
class Threshold:
    """A threshold that keeps a promise of accuracy, or that none does.

    Attributes:
        value: answer where the confidence is at least this; None where no threshold keeps the promise.
        n: examples that it was chosen on.
        answered: those of them at or above it.
        right: those answered rightly.
        reason: why there is none.
    """

    value: float | None
    n: int
    answered: int
    right: int
    reason: str | None = None


def fewest_all_right(accuracy: float, level: float) -> int:
    """How many answers, all of them right, show an accuracy at a level: the least m with accuracy^m ≤ level."""
    return max(1, math.ceil(round(math.log(level) / math.log(accuracy), 9)))


def choose_threshold(
    sure: npt.ArrayLike, correct: npt.ArrayLike, *, accuracy: float, confidence: float = CONFIDENCE
) -> Threshold:
    """The threshold that answers most, such that the accuracy of what is answered is at least ``accuracy``.

    With probability at least ``confidence`` over the examples drawn, that accuracy holds for new examples of the same
    kind. The examples must be independent draws: of rows that come in groups one a group
    (:func:`~metier.evaluation.groups.one_of_each`), and the accuracy is then that of any one row of a new group.

    Each of 10 candidates answers what is surer than the (m+1)-th surest example, with m fixed by n alone. Given
    that example, those above it are independent draws from what the candidate answers, so that the number of right
    ones is binomial (Geifman & El-Yaniv 2017, arXiv:1705.08500), and "its accuracy is lower than that" is rejected by
    the exact one-sided test, which is Clopper & Pearson's lower bound. A tenth of the error for each test (Bonferroni)
    bounds the chance of any false rejection, so that the widest candidate that passed may be taken: "learn then test"
    (Angelopoulos, Bates, Candès, Jordan & Lei 2021, arXiv:2110.01052). Testing in a fixed sequence would share the
    error better, but asks for thresholds that do not come from the same examples.

    Args:
        sure: (n,), confidence of each answer, on examples that were not learnt from.
        correct: (n,), whether each answer is right.
        accuracy: demanded of what is answered, in (0, 1).
        confidence: probability of the promise, in (0, 1).
    """
    values, right = np.asarray(sure, np.float64), np.asarray(correct, bool)
    n, level = len(values), (1 - confidence) / CANDIDATES
    require_examples(n)
    if not (0 < accuracy < 1 and 0 < confidence < 1):
        raise ValueError("accuracy and confidence lie between 0 and 1")
    fewest = fewest_all_right(accuracy, level)
    if fewest > n:
        reason = f"even if all answers were right it would take {fewest} examples to show it, and there are {n}"
        return Threshold(None, n, 0, 0, reason)
    order = np.sort(values)[::-1]
    ranks = np.linspace(fewest, n, CANDIDATES + 1)[1:].round().astype(int)
    below = np.array([order[m] if m < n else -np.inf for m in ranks])  # answered is what lies above this
    answered = (values > below[:, None]).sum(axis=1)
    rightly = ((values > below[:, None]) & right).sum(axis=1)
    # the chance of as many right or more, were the accuracy just the demanded one
    passed = np.flatnonzero(binom.sf(rightly - 1, answered, accuracy) <= level)
    if not len(passed):
        full = f"{int(right.sum())} of {n} answers are right when all are given"
        return Threshold(None, n, 0, 0, f"no threshold is shown to be accurate enough; {full}")
    best = passed[-1]
    value = 0.0 if below[best] < 0 else float(np.nextafter(below[best], 2))
    return Threshold(value, n, int(answered[best]), int(rightly[best]))


@dataclass(frozen=True)
class Promise:
    """What was demanded of the answers that are given, and the threshold of confidence that was found for it.

    ``drawn_from`` counts the examples of which one a group was drawn for it; None where all were used.
    """

    accuracy: float
    confidence: float
    by: By
    found: Threshold
    drawn_from: int | None = None

    @classmethod
    def make(cls, rows: Rows, correct: Sequence[bool], *, accuracy: float, confidence: float, by: By) -> Promise:
        """Choose the threshold on examples that were not learnt from; see :func:`choose_threshold`."""
        found = choose_threshold(sureness(rows, by), correct, accuracy=accuracy, confidence=confidence)
        return cls(accuracy, confidence, by, found)

    @property
    def met(self) -> bool:
        """Whether there is such a threshold. Where there is none nothing may be answered."""
        return self.found.value is not None

    def answers(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Which rows it is sure enough of to answer, (n,)."""
        if self.found.value is None:
            return np.zeros(len(rows), bool)
        return np.asarray(sureness(rows, self.by) >= self.found.value)

    def measure(self, rows: Rows, correct: Sequence[bool], groups: Ints | None = None) -> dict[str, Any]:
        """Whether the promise held on examples that had no part in it; with ``groups`` intervals are over these.

        Returns:
            ``{"coverage": score, "accuracy": score or null, "held"}``: ``held`` is ``shown`` where the whole 95 %
            interval reaches the demand, ``yes`` where the value does, ``not refuted`` where only the interval's upper
            end does, ``no`` where all of it lies below, and ``nothing answered``.
        """
        right, answered = np.asarray(correct, bool), self.answers(rows)
        require_examples(len(right))
        count = int(answered.sum())
        coverage = share(answered, groups).to_json()
        if not count:
            return {"coverage": coverage, "accuracy": None, "held": "nothing answered"}
        score = share(right[answered], None if groups is None else groups[answered]).to_json()
        reached = (word for end, word in _HELD if score[end] >= self.accuracy)
        return {"coverage": coverage, "accuracy": score, "held": next(reached, "no")}

    def to_json(self) -> dict[str, Any]:
        """``{"accuracy", "confidence", "by", "threshold", "n", "answered", "right", "reason"}``.

        Also ``"drawn_from"`` where one example a group was drawn.
        """
        about = dict(vars(self.found))
        about["threshold"] = about.pop("value")
        about |= {} if self.drawn_from is None else {"drawn_from": self.drawn_from}
        return {"accuracy": self.accuracy, "confidence": self.confidence, "by": self.by, **about}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Promise:
        """The inverse of :meth:`to_json`."""
        found = Threshold(record["threshold"], record["n"], record["answered"], record["right"], record.get("reason"))
        if record["by"] not in BY:
            raise ValueError(f"unknown confidence {record['by']!r}")
        demand = float(record["accuracy"]), float(record["confidence"]), record["by"]
        return cls(*demand, found, record.get("drawn_from"))


_HELD = (("low", "shown"), ("value", "yes"), ("high", "not refuted"))
