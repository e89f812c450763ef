"""From a recipe to a specialist and its report."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metier.run.learning_curve import curve
    from metier.run.pipeline import run

__all__ = ["curve", "run"]

_HOMES = {"curve": "metier.run.learning_curve", "run": "metier.run.pipeline"}


def __getattr__(name: str) -> Any:
    """Training's libraries take seconds to import: what never trains, such as labelling, does not wait for them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
