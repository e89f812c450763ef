"""What became of a demanded accuracy: how it is worded, on the terminal and on the page.

``found`` is the entry ``selective`` of ``scores.json``: :meth:`metier.evaluation.selective.Promise.to_json` and, under
``test``, what :meth:`~metier.evaluation.selective.Promise.measure` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HELD = {
    "shown": "beyond chance: the demand holds",
    "yes": "the demand holds on these examples, though its interval reaches below",
    "not refuted": "below the demand, but its interval reaches it",
    "no": "below the demand by more than chance: do not rely on it",
}
"""What the measured accuracy says of the demand; the keys are those of ``measure``."""


def in_words(found: Mapping[str, Any]) -> str:
    """A demand and what became of it, as one line."""
    demand = f"accuracy ≥ {found['accuracy']:g} with {found['confidence']:.0%} confidence"
    if found["threshold"] is None:
        return f"{demand}: no threshold promises it ({found['reason']}), so it abstains from everything"
    test, told = found["test"], f"{found['by']} ≥ {found['threshold']:.3f}"
    if found.get("drawn_from"):
        told += f" (from {found['n']} of {found['drawn_from']} examples, one a group)"
    if test["accuracy"] is None:
        return f"{demand}: {told}, and none of these examples reaches it"
    score, coverage = test["accuracy"], test["coverage"]
    return (
        f"{demand}: answers where {told}, {coverage['value']:.1%} of {coverage['n']}; accuracy {score['value']:.3f} "
        f"[{score['low']:.3f}, {score['high']:.3f}] there; {HELD[test['held']]}"
    )
