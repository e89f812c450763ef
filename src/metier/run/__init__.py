"""From a recipe to a specialist and its report."""

from __future__ import annotations

from metier.run.learning_curve import curve
from metier.run.pipeline import run

__all__ = ["curve", "run"]
