"""What is measured: rivals, what is forgotten, and a curve over the number of examples."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from metier.recipe.adapt import Adapt
from metier.recipe.part import Part


class Measure(Part):
    """What the specialist is compared with."""

    systems: list[Literal["majority", "tfidf", "base", "base-fewshot"]] = Field(
        default=["majority", "tfidf", "base", "base-fewshot"]
    )
    shots: int = Field(default=6, ge=1, description="solved examples in front of every prompt of base-fewshot")
    generation: bool = Field(
        default=False, description="also let base and specialist write the label, beside its likelihood"
    )


class Retention(Part):
    """What the base could do before, measured again after."""

    tasks: list[str] = Field(default=["wikipedia-passages", "social-iqa"])
    documents: int = Field(default=80, ge=2, description="at most so many documents for bits per byte")
    questions: int = Field(default=300, ge=2, description="at most so many multiple-choice questions")


class Curve(Part):
    """What ``metier curve`` learns besides the recipe itself."""

    sizes: list[int] | None = Field(
        default=None, min_length=1, description="numbers of examples; doubling from 64 if left out"
    )
    rivals: dict[str, Adapt] = Field(
        default={}, description="other adaptations from the same examples, such as {lora: {method: lora}}"
    )

    @field_validator("rivals")
    @classmethod
    def _own_names(cls, rivals: dict[str, Adapt]) -> dict[str, Adapt]:
        for name in rivals:
            if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", name):
                raise ValueError(f"a rival's name begins with a letter and has letters, digits, - and _: not {name!r}")
            if name in ("majority", "tfidf", "base", "base-fewshot", "specialist", "alone"):
                raise ValueError(f"'{name}' is the name of another system: call the rival something else")
        return rivals
