"""How sure an answer is: by its probability, its lead over the next one, or how little is spread over the others.

All work on rows of probabilities, one an example, whose widths may differ: labels of a classification, options of a
question, or shares of sampled votes (:func:`vote_shares`), whose largest is the agreement among the samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from metier.evaluation.calibration import apply_temperature, log_probabilities
from metier.evaluation.intervals import Floats, Ints

Rows = Sequence[npt.ArrayLike] | Floats
By = Literal["probability", "margin", "entropy"]
BY: tuple[By, ...] = get_args(By)


def vote_shares(votes: Sequence[str | None]) -> dict[str, float]:
    """What sampled answers to one question say: each answer's share of all samples, the most frequent first.

    The first is the plurality and its share is the agreement, Med-PaLM's confidence (Singhal et al. 2023, Nature 620,
    section on selective prediction: 41 decodes). A sample that could not be read (None) is a vote for nobody: it
    lowers every share, so that the shares may sum to less than 1. Of equals the one that came first is first.
    """
    counts = Counter(vote for vote in votes if vote is not None)
    return {answer: count / len(votes) for answer, count in counts.most_common()}


def padded(rows: Rows) -> tuple[Floats, Ints]:
    """Rows of differing widths as one array, (n, widest) with zeros at the ends, and the widths, (n,).

    Errors: :class:`ValueError` for an empty row, a probability outside [0, 1], or a row that sums to more than 1.
    """
    arrays = [np.asarray(row, np.float64).ravel() for row in rows]
    widths = np.array([len(row) for row in arrays], np.int64)
    if len(arrays) and widths.min() < 1:
        raise ValueError("each example needs a probability")
    table = np.zeros((len(arrays), int(widths.max(initial=1))))
    table[np.arange(table.shape[1]) < widths[:, None]] = np.concatenate(arrays) if arrays else []
    if not (np.all(table >= 0) and np.all(table.sum(axis=1) <= 1 + 1e-6)):  # also refuses NaN
        raise ValueError("probabilities are at least 0 and sum to at most 1")
    return table, widths


def probability(rows: Rows) -> Floats:
    """The largest probability of each row, (n,)."""
    return np.asarray(padded(rows)[0].max(axis=1))


def margin(rows: Rows) -> Floats:
    """The largest probability less the second largest, (n,) in [0, 1]; the only one's own where there is no second."""
    table, _ = padded(rows)
    if table.shape[1] == 1:
        return table[:, 0]
    top = np.sort(table, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0])


def entropy(rows: Rows) -> Floats:
    """1 less the entropy as a share of the largest there can be, (n,) in [0, 1]: 1 is certain, 0 knows nothing.

    The largest is the logarithm of a row's width, so that rows of differing widths can be held against one threshold.
    What is missing to a sum of 1 (votes that could not be read) counts as spread over all.
    """
    table, widths = padded(rows)
    inside = np.arange(table.shape[1]) < widths[:, None]
    missing = np.maximum(0, 1 - table.sum(axis=1)) / widths
    table = np.where(inside, table + missing[:, None], 0)
    spread = -np.sum(table * np.log(np.where(table > 0, table, 1)), axis=1)
    return np.asarray(np.clip(1 - spread / np.log(np.maximum(widths, 2)), 0, 1))


_FUNCTIONS: Mapping[By, Callable[[Rows], Floats]] = {"probability": probability, "margin": margin, "entropy": entropy}


def confidence(rows: Rows, by: By) -> Floats:
    """Confidence of each row's likeliest answer, (n,) in [0, 1]; larger is surer."""
    return _FUNCTIONS[by](rows) if len(rows) else np.zeros(0)


def at_temperature(rows: Rows, temperature: float) -> list[Floats]:
    """Each row divided by a temperature in its logarithms, and normalised: calibrated, as a specialist answers."""
    return [apply_temperature(log_probabilities(row)[None], temperature)[0] for row in map(np.asarray, rows)]
