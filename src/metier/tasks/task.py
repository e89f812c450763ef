"""What a task is: data in YAML, versioned, never code."""

from __future__ import annotations

import string
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["classification", "multiple_choice", "extraction", "generation", "perplexity"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Template(_Part):
    """The words around an example.

    ``system`` and ``instruction`` are the same for every example and come first, so that a model computes them
    once; ``input`` holds the fields and comes last.
    """

    system: str | None = None
    instruction: str = ""
    input: str = "{text}"

    def fields(self) -> list[str]:
        """Names of the fields that the input needs, in order."""
        return [name for _, name, _, _ in string.Formatter().parse(self.input) if name]


class DataSource(_Part):
    """One place that a task's data can be read from.

    ``ref`` is a path below the data root (``local``) or the package (``embedded``), or a reference with ``hf:`` or
    ``pypi:``; ``{variant}`` stands for the variant's own value. ``reader`` names a function of ``formats.py``.
    """

    where: Literal["embedded", "local", "pypi", "hub"]
    ref: str
    reader: str = "table"
    split: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class Task(_Part):
    """Labelled examples, a template and a metric; the version is printed with every score."""

    name: str
    version: int
    kind: Kind
    title: str
    description: str = ""
    domain: str = "general"
    language: str = "en"
    labels: list[str] = Field(default_factory=list)
    template: Template = Template()
    metric: str = "weighted_f1"
    licence: str = "unknown"
    commercial: bool | None = None
    citation: str = ""
    homepage: str = ""
    variants: dict[str, str] = Field(default_factory=dict)
    sources: list[DataSource] = Field(default_factory=list)

    @property
    def written(self) -> bool:
        """Whether answers are written out, instead of chosen among candidates."""
        return self.kind in ("extraction", "generation")

    @model_validator(mode="after")
    def _labels_make_sense(self) -> Task:
        if self.kind == "classification" and len(set(self.labels)) < 2:
            raise ValueError("a classification task needs at least two different labels")
        return self
