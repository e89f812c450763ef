"""Sets of labels that hold the right one as often as was asked: split conformal prediction.

The guarantee: if the examples of calibration and the new one are exchangeable (drawn alike), the set of a new example
holds its right answer with probability at least ``level``, whatever the model. It is an average over examples and over
the calibration examples drawn: not a promise for each label, nor for texts of another kind (Vovk, Gammerman & Shafer
2005; Angelopoulos & Bates 2023, arXiv:2107.07511).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from metier.evaluation.confidence import Rows, padded
from metier.evaluation.groups import share, summed
from metier.evaluation.intervals import CONFIDENCE, Floats, Ints, ratio, require_examples

Method = Literal["lac", "aps"]
METHODS: tuple[Method, ...] = get_args(Method)
TITLES = {
    "lac": "least ambiguous sets (Sadinle, Lei & Wasserman 2019, JASA 114)",
    "aps": "adaptive sets (Romano, Sesia & Candès 2020, arXiv:2006.02544; without randomisation)",
}
LEVELS = tuple(round(percent / 100, 2) for percent in range(50, 100))
REPORTED = (0.8, 0.9, 0.95)
_TOLERANCE = 1e-9  # sums of probabilities that are equal on paper differ in their last bits


def strangeness(rows: Rows, method: Method) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """How strange each answer would be: (n, widest), and which places there are.

    ``lac``: 1 less its probability. ``aps``: all the probability of answers that are at least as likely.
    """
    table, widths = padded(rows)
    inside = np.arange(table.shape[1]) < widths[:, None]
    if method == "lac":
        return 1 - table, inside
    rising = np.sort(table, axis=1)
    likeliest = rising[:, ::-1].cumsum(axis=1)  # of the likeliest 1, 2, …; empty places add nothing
    pairs = zip(rising, table, strict=True)
    ahead = np.array([np.searchsorted(ranked, row - _TOLERANCE) for ranked, row in pairs], np.int64)
    return np.take_along_axis(likeliest, table.shape[1] - 1 - ahead.reshape(table.shape), axis=1), inside


def fewest_examples(level: float) -> int:
    """How many calibration examples a level needs: with fewer, only the set of all labels keeps the guarantee."""
    return math.ceil(round(1 / (1 - level) - 1, 9))


@dataclass(frozen=True)
class Conformal:
    """Thresholds of strangeness by method and level, from ``n`` calibration examples.

    A threshold is None where n is too small for the level: the set is then of all labels, which says nothing.
    """

    n: int
    thresholds: dict[Method, dict[float, float | None]]

    def threshold(self, level: float, method: Method = "lac") -> float | None:
        """The threshold of a level, one of ``LEVELS``. Errors: :class:`KeyError` for another."""
        return self.thresholds[method][level]

    def to_json(self) -> dict[str, Any]:
        """``{"n", "lac": {"0.90": threshold or null, …}, "aps": {…}}``."""
        return {"n": self.n} | {
            method: {f"{level:.2f}": value for level, value in by_level.items()}
            for method, by_level in self.thresholds.items()
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Conformal:
        """The inverse of :meth:`to_json`."""
        found = {m: {float(level): value for level, value in record[m].items()} for m in METHODS}
        return cls(int(record["n"]), found)


def calibrate(rows: Rows, gold: npt.ArrayLike, levels: Sequence[float] = LEVELS) -> Conformal:
    """Thresholds from examples that were not learnt from: the ⌈(n + 1) · level⌉-th least strangeness of right answers.

    Args:
        rows: probabilities of each example, of any width.
        gold: (n,), position of the right answer in its row.
        levels: coverage wanted, each below 1.
    """
    places = np.asarray(gold, np.int64)
    require_examples(len(places))
    found: dict[Method, dict[float, float | None]] = {}
    for method in METHODS:
        strange, inside = strangeness(rows, method)
        if len(places) != len(strange) or not inside[np.arange(len(places)), places].all():
            raise ValueError("each row needs the position of its right answer")
        order = np.sort(strange[np.arange(len(places)), places])
        found[method] = {}
        for level in levels:
            rank = math.ceil(round((len(order) + 1) * level, 9))
            found[method][level] = float(order[rank - 1]) if rank <= len(order) else None
    return Conformal(len(places), found)


def prediction_sets(rows: Rows, threshold: float | None, method: Method = "lac") -> npt.NDArray[np.bool_]:
    """Which answers belong to each example's set, (n, widest).

    The likeliest answer is always in, also where the threshold would leave a set empty: that only adds coverage.
    """
    strange, inside = strangeness(rows, method)
    chosen = inside if threshold is None else inside & (strange <= threshold + _TOLERANCE)
    likeliest = np.where(inside, padded(rows)[0], -1).argmax(axis=1)
    chosen[np.arange(len(chosen)), likeliest] = True
    return chosen


def coverage_between(n: int, level: float) -> tuple[float, float]:
    """Where the coverage of one calibration lies in 95 % of cases: it is Beta(rank, n + 1 - rank) over calibrations.

    (Vovk 2012, arXiv:1209.2673; exact for strangeness without ties and sets that may be empty.) Each calibration has a
    coverage of its own, and the guarantee is about their mean: from few examples it may be far off.
    """
    rank = math.ceil(round((n + 1) * level, 9))
    if rank > n:
        return 1.0, 1.0
    tail = (1 - CONFIDENCE) / 2
    return float(betaincinv(rank, n + 1 - rank, tail)), float(betaincinv(rank, n + 1 - rank, 1 - tail))


def measure_sets(
    conformal: Conformal,
    rows: Rows,
    gold: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    groups: Ints | None = None,
    seed: int,
) -> list[dict[str, Any]]:
    """Coverage and mean size of the sets on examples that had no part in the calibration, for each level and method.

    Args:
        conformal: the thresholds.
        rows: probabilities of each example.
        gold: (n,), position of each right answer.
        names: labels by position, for the coverage of each label; None where positions have no meaning.
        groups: (n,), of examples that are no independent draws: intervals are over these.
        seed: of the bootstrap.

    Returns:
        ``[{"level", "method", "threshold", "calibrated_on", "between", "coverage": score, "size": score,
        "alone": share of sets of one, "by_label": {label: score}, "note"}]``.
    """
    places = np.asarray(gold, np.int64)
    require_examples(len(places))
    found = []
    for level in REPORTED:
        for method in METHODS:
            threshold = conformal.threshold(level, method)
            sets = prediction_sets(rows, threshold, method)
            held = sets[np.arange(len(places)), places]
            sizes = sets.sum(axis=1).astype(float)
            counted = summed(np.stack([sizes, np.ones(len(sizes))], axis=1), groups).T.tolist()
            low, high = coverage_between(conformal.n, level)
            entry: dict[str, Any] = {"level": level, "method": method, "threshold": threshold,
                                     "calibrated_on": conformal.n, "between": [low, high],
                                     "coverage": share(held, groups).to_json(),
                                     "size": ratio(*counted, seed=seed).to_json() | {"n": len(sizes)},
                                     "alone": float((sizes == 1).mean())}  # fmt: skip
            if names:
                of_label = {name: places == i for i, name in enumerate(names)}
                entry["by_label"] = {
                    name: share(held[own], None if groups is None else groups[own]).to_json()
                    for name, own in of_label.items()
                    if own.any()
                }
            if threshold is None:
                entry["note"] = too_few(conformal.n, level)
            found.append(entry)
    return found


def too_few(n: int, level: float) -> str:
    """What is said where the validation part is too small for a level."""
    needed = fewest_examples(level)
    return f"{n} calibration examples are too few for {level:.0%}: it takes {needed}, and the sets are of all labels"
