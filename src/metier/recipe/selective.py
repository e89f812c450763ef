"""A demand on what a specialist answers: accurate enough, or it abstains."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from metier.recipe.part import Part


class Selective(Part):
    """Answer only where the answers given are accurate enough.

    The threshold is chosen on half of the validation part, which is set aside: training does not look at it.
    """

    accuracy: float = Field(gt=0, lt=1, description="share of the answers given that must be right, such as 0.9")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="how certain that must be, such as 0.95")
    by: Literal["probability", "margin", "entropy"] = Field(
        default="probability", description="what is held against the threshold: probability, margin or entropy"
    )
