"""What is learnt from: a task, how it is split, and other tasks mixed in."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_serializer, model_validator

from metier.recipe.part import Part, Seed, Word


class TaskChoice(Part):
    """A catalogue task by ``name``, or a table of one's own by ``file`` and its columns."""

    name: str | None = Field(
        default=None, description="a task of `metier tasks`, or the name to give to your own table"
    )
    variant: str | None = Field(default=None, description="e.g. 50agree, 66agree, 75agree, allagree for PhraseBank")
    kind: Literal["classification", "multiple_choice", "extraction", "generation"] = Field(
        default="classification", description="of your own table; a catalogue task has its own"
    )
    domain: Literal["finance", "medicine"] | None = Field(
        default=None, description="of your own table: its notices and red flags, and the words of its instruction"
    )
    language: Word | None = Field(
        default=None, description="of your own table, such as en (ISO 639-1): for the card; not named if left out"
    )
    options: str | list[str] | None = Field(
        default=None, description="of multiple choice: the columns of the options, or one column that holds a list"
    )
    answers: Literal["letter", "text"] | None = Field(
        default=None, description="of multiple choice: letter shows the options with letters, text takes the likeliest"
    )
    label_is: Literal["name", "text", "letter", "number", "number from 0"] | None = Field(
        default=None,
        description="of multiple choice: how label gives the right option (number: from 1); found out if left out",
    )
    file: str | None = Field(
        default=None, description="csv, tsv, jsonl, json, parquet, xlsx, txt or md, also .gz and .zst"
    )
    text: str | list[str] = Field(
        default="text", description="column(s) with the text; a list of messages is read as a dialogue"
    )
    label: str = Field(
        default="label",
        description="column with the label or score; of generation the answer, or text's dialogues: their last answer",
    )
    group: str | None = Field(
        default=None, description="column that keeps rows together in a split: document, patient, …"
    )
    id: str | None = None
    split: str | None = Field(default=None, description="column that says train, validation or test")
    agreement: str | None = Field(
        default=None, description="column with the share of annotators who gave the label; for adapt.soft_labels"
    )
    weight: str | None = Field(
        default=None, description="column that says how many times as often a row is learnt from; 1 where it is empty"
    )
    exemplars: str | None = Field(
        default=None, description="a small table of an expert's examples, columns as in the task; all are learnt from"
    )
    exemplar_weight: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="how many times as often as other rows they are learnt from"
    )
    labels: list[Word] | None = Field(default=None, description="the labels in order; found in the file if left out")
    label_map: dict[Word, Word] | None = Field(default=None, description="from what the file says to label names")
    thresholds: list[tuple[float, str]] | None = Field(
        None, description="turns scores into labels: (upper bound, label) in order, the last bound may be .inf"
    )
    instruction: str | None = Field(
        default=None, description="what the model is told; made from the labels if left out"
    )
    encoding: str | None = None
    delimiter: str | None = None
    format: str | None = None
    sheet: str | None = Field(default=None, description="of an xlsx; the first if left out")
    header_row: int | None = Field(default=None, ge=1, description="of an xlsx whose header is not its first row")

    @field_serializer("thresholds", when_used="json-unless-none")
    def _infinity_in_words(self, thresholds: list[tuple[float, str]]) -> list[tuple[float | str, str]]:
        """JSON has no infinity; the word is read back as one."""
        return [(bound if math.isfinite(bound) else str(bound), label) for bound, label in thresholds]

    @model_validator(mode="after")
    def _one_way(self) -> TaskChoice:
        if not self.name and not self.file:
            raise ValueError("give a task 'name' of the catalogue, or the 'file' of your own table")
        if not self.file and self.kind != "classification":
            raise ValueError("'kind' is for your own table: a task of the catalogue has its own")
        if not self.file and self.weight:
            raise ValueError("'weight' is a column of your own table: use exemplars with a task of the catalogue")
        if not self.exemplars and self.exemplar_weight != 1:
            raise ValueError("'exemplar_weight' is for the rows of 'exemplars': name that file")
        tables = _OF_TABLES if self.exemplars else (*_OF_TABLES, "label_map", "thresholds")
        if named := [] if self.file else [field for field in tables if getattr(self, field) is not None]:
            raise ValueError(f"'{named[0]}' is for your own table: a task of the catalogue has its own")
        if self.file and self.variant:
            raise ValueError("'variant' is of a task of the catalogue, not of your own table: leave it out")
        return self


# what a task of the catalogue says itself
_OF_TABLES = (
    "domain", "language", "options", "label_is", "labels", "instruction", "group", "id", "split", "agreement",
    "encoding", "delimiter", "format", "sheet", "header_row",
)  # fmt: skip


class SplitChoice(Part):
    """Shares of examples; the test share is looked at once, at the end."""

    seed: Seed = 0
    train: float = Field(default=0.7, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    most_train: int | None = Field(
        default=None, ge=2, description="learn from at most so many examples, labels in proportion; the rest is unused"
    )

    @model_validator(mode="after")
    def _whole(self) -> SplitChoice:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            shares = f"train {self.train:g}, validation {self.validation:g} and test {self.test:g}"
            raise ValueError(f"{shares} add up to {self.train + self.validation + self.test:g}: they must add up to 1")
        return self


class Mix(Part):
    """Other tasks with the same labels, learnt together with the main one by one adapter."""

    tasks: list[TaskChoice] = Field(min_length=1, description="tasks whose training parts are mixed in")
    temperature: float = Field(
        default=1.0, gt=0, description="a task's share is its size to the power 1/temperature; 1 keeps the sizes"
    )
    weights: list[float] | None = Field(
        default=None, description="shares given outright, the main task's first; instead of temperature"
    )
    examples: int | None = Field(default=None, ge=2, description="examples an epoch; as many as there are if left out")
    alone: bool = Field(default=True, description="also train an adapter for each task alone, and compare")

    @model_validator(mode="after")
    def _shares(self) -> Mix:
        if self.weights is not None and len(self.weights) != len(self.tasks) + 1:
            raise ValueError(f"weights needs {len(self.tasks) + 1} numbers: the main task's first")
        if self.weights is not None and min(self.weights) <= 0:
            raise ValueError("every weight is above 0")
        return self
