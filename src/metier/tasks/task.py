"""What a task is: data in YAML, versioned, never code."""

from __future__ import annotations

import string
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from metier.tasks.cells import Step

Kind = Literal["classification", "multiple_choice", "extraction", "generation", "perplexity"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Template(_Part):
    """The words around an example.

    ``system`` and ``instruction`` are the same for every example and come first, so that a model computes them
    once; ``input`` holds the fields and comes last. With ``chat`` false the prompt is ``input`` to the letter, whatever
    the base: no turns, no marks, which is how a published wording is kept. With ``options: lettered`` a question's
    options stand in ``{options}``, one ``(A) …`` a line, and the answer is a letter; hidden, the answer is their text.
    """

    system: str | None = None
    instruction: str = ""
    input: str = "{text}"
    chat: bool = True
    options: Literal["hidden", "lettered"] = "hidden"

    @model_validator(mode="after")
    def _all_in_the_input(self) -> Template:
        if not self.chat and (self.system or self.instruction):
            raise ValueError("a template without chat turns has all its words in its input")
        return self

    @model_validator(mode="after")
    def _options_have_a_place(self) -> Template:
        if self.options == "lettered" and "options" not in self.fields():
            raise ValueError("'options: lettered' needs {options} in the input")
        return self

    def fields(self) -> list[str]:
        """Names of the fields that the input needs, in order."""
        return [name for _, name, _, _ in string.Formatter().parse(self.input) if name]


class DataSource(_Part):
    """One place that a task's data can be read from.

    ``ref`` is a path below the data root (``local``) or the package (``embedded``), or a reference with ``hf:`` or
    ``pypi:``; ``{variant}`` stands for the variant's own value. ``reader`` names a function of ``formats.py``. A
    reference to a whole data set of the Hub (no ``!file``) reads the split that the option ``hub_split`` names.
    ``variants`` are those it holds, all if empty; ``group`` is the group of every row. A ``lesser`` place lacks
    something that the others have, and is read after them; ``note`` says what.
    """

    where: Literal["embedded", "local", "pypi", "hub"]
    ref: str
    reader: str = "table"
    split: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    variants: list[str] = Field(default_factory=list)
    group: str | None = None
    lesser: bool = False
    note: str = ""


class RowSplit(_Part):
    """A random split of rows in file order, as ``datasets.Dataset.train_test_split`` makes it."""

    test: float = Field(gt=0, lt=1)
    seed: int


class Protocol(_Part):
    """Somebody else's way of testing on a task's data, kept so that figures can stand beside theirs.

    Attributes:
        rows: ``same``: the published test rows, as they are, duplicates included; ``own``: the published split cannot
            be had, so the rows are metier's own, without duplicates and grouped.
        test_rows: how many test rows were published with; checked where the rows are the same.
        variant: the variant of the task that it is defined on.
        template: the published wording; None keeps the task's own.
        labels: the published labels; empty keeps the task's own.
        split: how rows become train and test; None where the sources say it, or where the rows are own.
        shots: solved examples drawn from train anew for every test example; 0 for none.
        sources: where its rows are read from; empty for the task's own places.
        note: what a reader should know.
    """

    title: str
    rows: Literal["same", "own"]
    test_rows: int
    variant: str | None = None
    template: Template | None = None
    labels: list[str] = Field(default_factory=list)
    split: RowSplit | None = None
    shots: int = Field(default=0, ge=0)
    sources: list[DataSource] = Field(default_factory=list)
    note: str = ""

    @property
    def mark(self) -> str:
        """``same rows`` or ``not the same rows``: whether a figure may be ranked against the published ones."""
        return "same rows" if self.rows == "same" else "not the same rows"


class Reading(_Part):
    """How the texts that were learnt were read beyond their columns: a specialist reads what it is asked alike.

    ``clean`` are steps of :data:`metier.tasks.cells.CLEANERS`. ``answered``: the texts were dialogues up to the last
    answer of an assistant, which was the target.
    """

    clean: list[Step] = Field(default_factory=list)
    answered: bool = False


class Task(_Part):
    """Labelled examples, a template and a metric; the version is printed with every score.

    ``labels`` are the answers of a classification and the types of an extraction. ``average_over`` names the input
    whose values are questions of their own: the metric is their plain mean. ``agreement`` is the share of annotators
    behind a label, by the narrowest variant that holds the row, where variants are cut by agreement. ``templates`` are
    the wordings of variants that have one of their own. ``option_count`` is the number of options of every question,
    None where it varies. ``stand_ins`` are variants that make the evaluation's rows into training data: who learnt them
    is never evaluated on this task. ``language`` is None where nobody said. ``reading`` is told by the place the
    examples came from; it is no part of what is hashed, and a specialist keeps it beside its task.
    """

    name: str
    version: int
    kind: Kind
    title: str
    description: str = ""
    domain: str = "general"
    language: str | None = "en"
    labels: list[str] = Field(default_factory=list)
    template: Template = Template()
    metric: str = "weighted_f1"
    average_over: str | None = None
    licence: str = "unknown"
    commercial: bool | None = None
    citation: str = ""
    homepage: str = ""
    variants: dict[str, str] = Field(default_factory=dict)
    templates: dict[str, Template] = Field(default_factory=dict)
    option_count: int | None = Field(default=None, ge=2)
    stand_ins: list[str] = Field(default_factory=list)
    agreement: dict[str, float] = Field(default_factory=dict)
    sources: list[DataSource] = Field(default_factory=list)
    protocols: dict[str, Protocol] = Field(default_factory=dict)
    reading: Reading = Field(default=Reading(), exclude=True)

    @property
    def written(self) -> bool:
        """Whether answers are written out, instead of chosen among candidates."""
        return self.kind in ("extraction", "generation")

    @model_validator(mode="after")
    def _labels_make_sense(self) -> Task:
        if self.kind == "classification" and len(set(self.labels)) < 2:
            raise ValueError("a classification task needs at least two different labels")
        return self
