"""What every part of a recipe is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A mapping of a recipe: unknown fields are errors."""

    # YAML reads 0 and 1 as numbers, and labels are often such
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
