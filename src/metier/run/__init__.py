"""From a recipe to a specialist and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metier.run.learning_curve import curve
    from metier.run.pipeline import run

__all__ = ["curve", "run"]


def __getattr__(name: str) -> Any:
    """Import torch only for those who train: curation and the search for overlap do not."""
    if name == "run":
        from metier.run.pipeline import run

        return run
    if name == "curve":
        from metier.run.learning_curve import curve

        return curve
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
