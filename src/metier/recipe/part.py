"""What every part of a recipe is."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Part(BaseModel):
    """A mapping of a recipe: unknown fields are errors."""

    # YAML reads 0 and 1 as numbers, and labels are often such
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


# YAML reads true and false as truth values, and labels are often such; a table's truth values are these words too
Word = Annotated[str, BeforeValidator(lambda value: str(value).lower() if isinstance(value, bool) else value)]

# what numpy, scikit-learn and torch all take
Seed = Annotated[int, Field(ge=0, le=4 * 10**9)]
