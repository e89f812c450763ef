"""Which answers are given, and which labels belong to a set: a specialist's thresholds at work."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import TypeGuard

from metier.errors import MetierError
from metier.evaluation.confidence import Rows, probability
from metier.evaluation.conformal import LEVELS, METHODS, Method, prediction_sets, too_few
from metier.inference.bundle import Bundle

_AGAIN = "run `metier run` on its recipe again, with rows to calibrate on (not all of them to test on)"


def abstentions(bundle: Bundle, rows: Rows, below: float | None) -> list[bool]:
    """Whether it abstains from each row: below a threshold of probability, or by the promise that it carries.

    ``below`` overrides the promise, and 0 is never to abstain. A promise that could not be made abstains from all.
    """
    if below is not None:
        return [bool(value < below) for value in probability(rows)]
    if bundle.promise is None:
        return [False] * len(rows)
    return [not answered for answered in bundle.promise.answers(rows).tolist()]


def check_below(below: object) -> None:
    """Errors: :class:`MetierError` for a threshold that is no probability."""
    if below is not None and not (_is_number(below) and 0 <= float(below) <= 1):
        raise MetierError(f"a threshold of probability is a number from 0 to 1, not {below!r}", fix="abstain_below=0.8")


def _is_number(value: object) -> TypeGuard[numbers.Real]:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def policy(bundle: Bundle) -> str | None:
    """When it abstains unless told otherwise, as one sentence; None where it never does."""
    promise = bundle.promise
    if promise is None:
        return None
    demand = f"an accuracy of {promise.accuracy:g} with {promise.confidence:.0%} confidence"
    if promise.found.value is None:
        return (
            f"it abstains from everything: its recipe demanded {demand}, and no threshold promises that "
            f"({promise.found.reason}); --answer-all, or abstain_below=0, answers nevertheless"
        )
    return f"it abstains where its {promise.by} is below {promise.found.value:.3f}: its recipe demanded {demand}"


def label_sets(
    bundle: Bundle, labels: Sequence[str], rows: Rows, level: float, method: Method = "lac"
) -> list[tuple[str, ...]]:
    """Each row's conformal set: labels that together hold the right one with probability ``level``, in their order.

    Errors: :class:`MetierError` for a level or method there is not, and a specialist that carries no thresholds.
    """
    check_level(bundle, level, method)
    assert bundle.conformal is not None
    threshold = bundle.conformal.threshold(round(level, 2), method)
    chosen = prediction_sets(rows, threshold, method)
    return [tuple(label for label, ok in zip(labels, row, strict=True) if ok) for row in chosen.tolist()]


def check_level(bundle: Bundle, level: float, method: str) -> str | None:
    """What is to be said of the sets of a level: that they are of all labels, where too few examples were there."""
    if bundle.task.written:
        raise MetierError(
            f"a specialist for {bundle.task.kind} has no sets: its answers are written out, and carry no probability",
            fix="leave them out (--sets, sets)",
        )
    if method not in METHODS:
        raise MetierError(f"there are no sets of the kind '{method}'", fix=f"choose {' or '.join(METHODS)}")
    known = _is_number(level) and math.isclose(level, round(level, 2), abs_tol=1e-9) and round(level, 2) in LEVELS
    if not known:
        raise MetierError(
            f"sets hold the right label with a probability of 0.50 to 0.99 in steps of 0.01, not {level!r}",
            fix="give such a level, as 0.9",
        )
    if bundle.conformal is None:
        raise MetierError("this specialist carries no thresholds for sets", where=str(bundle.folder), fix=_AGAIN)
    n = bundle.conformal.n
    return too_few(n, level) if bundle.conformal.threshold(round(level, 2)) is None else None
