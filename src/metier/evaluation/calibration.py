"""Whether a probability means what it says, and what is gained by abstaining where it is low."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from metier.evaluation.intervals import Floats, clopper_pearson, require_examples

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0
MAX_POINTS = 200
_FLOOR = -708.0  # the logarithm of the smallest normal double: below it a probability has no digits left


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature and what it did on the examples it was fitted on.

    Attributes:
        value: what the log-probabilities are divided by, in [0.05, 20]; above 1 makes answers less certain.
        at_bound: whether the best value lies at or beyond an end of that range, so that it says little.
        nll_before: mean negative log-likelihood of the right label at temperature 1, in nats.
        nll_after: the same at ``value``.
        n: examples it was fitted on.
    """

    value: float
    at_bound: bool
    nll_before: float
    nll_after: float
    n: int

    @property
    def served(self) -> float:
        """The temperature that a specialist answers with: 1 where hardly anything speaks for being surer."""
        return 1.0 if self.at_bound and self.value < 1 else self.value

    @property
    def warning(self) -> str | None:
        """Why this temperature should not be trusted, None if nothing speaks against it."""
        if not self.at_bound:
            return None
        cause = "hardly any validation answer is wrong" if self.value < 1 else "the probabilities carry no information"
        return f"the temperature ran to {self.value:g}, the end of its range, on {self.n} examples: {cause}"


def apply_temperature(logprobs: npt.ArrayLike, temperature: float) -> Floats:
    """Probabilities of the labels at a temperature: softmax of ``logprobs / temperature``.

    Args:
        logprobs: (n, labels), log-likelihoods of the labels; they need not be normalised. Minus infinity is a
            label without any likelihood.
        temperature: above 0; 1 only normalises.

    Returns:
        (n, labels), rows summing to 1. The order of a row's labels is kept.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"a temperature is above 0: {temperature}")
    powers = np.exp(_centred(logprobs) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(logprobs: npt.ArrayLike, gold_index: npt.ArrayLike) -> Temperature:
    """The temperature under which the right labels are likeliest (Guo et al. 2017, arXiv:1706.04599).

    The negative log-likelihood is convex in 1 / T and so has one minimum in log T, which is searched in
    [0.05, 20]. If every answer is right the likelihood rises for ever as T falls: the result is then the end
    of the range, marked ``at_bound``. If no temperature is better than 1 the result is 1.

    Args:
        logprobs: (n, labels), log-likelihoods of the labels on examples that were not trained on.
        gold_index: (n,), position of the right label.

    Raises:
        MetierError: there are no examples.
    """
    from scipy.optimize import minimize_scalar

    gold = np.asarray(gold_index, np.int64)
    require_examples(len(gold))
    centred = _centred(logprobs)
    if len(gold) != len(centred) or gold.min() < 0 or gold.max() >= centred.shape[1]:
        raise ValueError("each row of log-probabilities needs the position of its right label")

    def nll(log_temperature: float) -> float:
        scaled = centred * math.exp(-log_temperature)
        right = scaled[np.arange(len(gold)), gold]
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - right))

    ends = (math.log(COLDEST), math.log(HOTTEST))
    found = minimize_scalar(nll, bounds=ends, method="bounded", options={"xatol": 1e-7})
    # the bounded search approaches an end without touching it
    candidates = [1.0, COLDEST, HOTTEST, math.exp(float(found.x))]
    losses = [nll(math.log(candidate)) for candidate in candidates]
    best = next(i for i, loss in enumerate(losses) if loss <= min(losses) + 1e-12)
    return Temperature(candidates[best], best in (1, 2), losses[0], losses[best], len(gold))


def log_probabilities(probabilities: npt.ArrayLike) -> Floats:
    """Logarithms of probabilities (n, labels), those of zero set to that of the smallest normal double."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(np.asarray(probabilities, np.float64)), _FLOOR)


def _centred(logprobs: npt.ArrayLike) -> Floats:
    """Each row less its largest entry: (n, labels) in [-708, 0], so that no power overflows."""
    rows = np.asarray(logprobs, np.float64)
    if rows.ndim != 2 or not rows.shape[1]:
        raise ValueError(f"log-probabilities have the shape (n, labels), not {rows.shape}")
    if not len(rows):
        return rows
    largest = rows.max(axis=1, keepdims=True)
    if not np.all(np.isfinite(largest)):
        raise ValueError("each example needs a label with a finite log-probability, and none may be NaN")
    return np.asarray(np.maximum(rows - largest, _FLOOR))


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence lies in (low, high]: their mean confidence, their accuracy, their number."""

    low: float
    high: float
    confidence: float
    accuracy: float
    n: int


@dataclass(frozen=True)
class Reliability:
    """Expected calibration error and the bins it is made of; bins without answers are left out."""

    ece: float
    bins: list[Bin]
    binning: str

    def to_json(self) -> dict[str, Any]:
        """``{"ece", "binning", "bins": [{"low", "high", "confidence", "accuracy", "n"}]}``."""
        return {"ece": self.ece, "binning": self.binning, "bins": [vars(entry) for entry in self.bins]}


def reliability(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = BINS) -> Reliability:
    """Confidence against accuracy in bins of equal width (Guo et al. 2017), 15 unless told otherwise.

    The expected calibration error is the mean over answers of the distance between accuracy and mean
    confidence in the answer's bin. A confidence of exactly 0 belongs to the first bin.

    Args:
        confidence: (n,), probability of each given answer.
        correct: (n,), whether each answer is right.
        bins: number of bins between 0 and 1.

    Raises:
        MetierError: there are no answers.
    """
    sure, right = _answers(confidence, correct)
    edges = np.arange(bins + 1) / bins
    place = np.clip(np.searchsorted(edges, sure, side="left") - 1, 0, bins - 1)
    found, gap = [], 0.0
    for i in np.unique(place):
        inside = place == i
        mean, accuracy, n = float(sure[inside].mean()), float(right[inside].mean()), int(inside.sum())
        found.append(Bin(float(edges[i]), float(edges[i + 1]), mean, accuracy, n))
        gap += n * abs(mean - accuracy)
    return Reliability(gap / len(sure), found, f"{bins} bins of equal width")


def expected_calibration_error(confidence: npt.ArrayLike, correct: npt.ArrayLike, bins: int = BINS) -> float:
    """The expected calibration error of :func:`reliability`, in [0, 1]."""
    return reliability(confidence, correct, bins).ece


@dataclass(frozen=True)
class RiskPoint:
    """Answer only where confidence is at least ``threshold``: the share answered, and the share of those wrong.

    ``low`` and ``high`` are the risk's 95 % Clopper-Pearson interval.
    """

    coverage: float
    risk: float
    low: float
    high: float
    threshold: float


@dataclass(frozen=True)
class RiskCoverage:
    """The risk-coverage curve from the least to the full coverage, and the area under it."""

    points: list[RiskPoint]
    aurc: float

    def to_json(self, most: int = MAX_POINTS) -> list[dict[str, float]]:
        """The points as ``{"coverage", "risk", "low", "high", "threshold"}``, thinned evenly to ``most``.

        The first and the last point are always kept.
        """
        keep = np.unique(np.linspace(0, len(self.points) - 1, min(most, len(self.points))).round().astype(int))
        return [dict(vars(self.points[i])) for i in keep]


def risk_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> RiskCoverage:
    """What abstaining below a threshold of confidence leaves to be answered, and how wrong that is.

    Answers of the same confidence cannot be told apart by a threshold, so they make one point. The area under
    the curve is the mean, over answers, of the risk at the threshold that just admits the answer (Geifman &
    El-Yaniv 2017, arXiv:1705.08500): it does not depend on the order of the examples.

    Args:
        confidence: (n,), probability of each given answer.
        correct: (n,), whether each answer is right.

    Raises:
        MetierError: there are no answers.
    """
    sure, right = _answers(confidence, correct)
    thresholds, group = np.unique(-sure, return_inverse=True)
    sizes = np.bincount(group)
    answered = np.cumsum(sizes)
    wrong = np.cumsum(np.bincount(group, weights=1 - right))
    risk = wrong / answered
    low, high = clopper_pearson(wrong, answered)
    columns = (answered / len(sure), risk, low, high, -thresholds)
    points = [RiskPoint(*(float(x) for x in row)) for row in zip(*columns, strict=True)]
    return RiskCoverage(points, float((sizes * risk).sum() / len(sure)))


def _answers(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> tuple[Floats, Floats]:
    sure, right = np.asarray(confidence, np.float64), np.asarray(correct, bool).astype(np.float64)
    require_examples(len(sure))
    if sure.shape != right.shape:
        raise ValueError(f"{sure.shape} confidences but {right.shape} answers")
    if not (np.all(sure >= -1e-6) and np.all(sure <= 1 + 1e-6)):
        raise ValueError("confidences lie between 0 and 1")
    return np.clip(sure, 0, 1), right


def probability_matrix(probabilities: Sequence[dict[str, float]], labels: Sequence[str]) -> Floats:
    """Probabilities by label as an array, (n, labels); a label without one has 0."""
    return np.array([[row.get(label, 0.0) for label in labels] for row in probabilities], np.float64).reshape(
        len(probabilities), len(labels)
    )
