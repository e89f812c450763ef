"""From a recipe to a specialist and its report."""

from __future__ import annotations

from metier.run.pipeline import curve, run

__all__ = ["curve", "run"]
