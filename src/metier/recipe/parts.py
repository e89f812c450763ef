"""The parts of a recipe that stand by themselves."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator


class Part(BaseModel):
    """A mapping of a recipe: unknown fields are errors."""

    # YAML reads 0 and 1 as numbers, and labels are often such
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class TaskChoice(Part):
    """A catalogue task by ``name``, or a table of one's own by ``file`` and its columns."""

    name: str | None = Field(
        default=None, description="a task of `metier tasks`, or the name to give to your own table"
    )
    variant: str | None = Field(default=None, description="e.g. 50agree, 66agree, 75agree, allagree for PhraseBank")
    kind: Literal["classification", "multiple_choice", "extraction", "generation"] = Field(
        default="classification", description="of your own table; a catalogue task has its own"
    )
    options: str | list[str] | None = Field(
        default=None, description="of multiple choice: the columns of the options, or one column that holds a list"
    )
    answers: Literal["letter", "text"] | None = Field(
        default=None, description="of multiple choice: letter shows the options with letters, text takes the likeliest"
    )
    file: str | None = Field(
        default=None, description="csv, tsv, jsonl, json, parquet, xlsx, txt or md, also .gz and .zst"
    )
    text: str | list[str] = Field(default="text", description="column(s) with the text")
    label: str = Field(default="label", description="column with the label or score")
    group: str | None = Field(
        default=None, description="column that keeps rows together in a split: document, patient, …"
    )
    id: str | None = None
    split: str | None = Field(default=None, description="column that says train, validation or test")
    agreement: str | None = Field(
        default=None, description="column with the share of annotators who gave the label; for adapt.soft_labels"
    )
    labels: list[str] | None = Field(default=None, description="the labels in order; found in the file if left out")
    label_map: dict[str, str] | None = Field(default=None, description="from what the file says to label names")
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
        if not self.file and self.options is not None:
            raise ValueError("'options' are columns of your own table: a task of the catalogue has its own")
        return self


class SplitChoice(Part):
    """Shares of examples; the test share is looked at once, at the end."""

    seed: int = 0
    train: float = Field(default=0.7, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    most_train: int | None = Field(
        default=None, ge=2, description="learn from at most so many examples, labels in proportion; the rest is unused"
    )

    @model_validator(mode="after")
    def _whole(self) -> SplitChoice:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError(
                f"train, validation and test must add up to 1, not {self.train + self.validation + self.test:g}"
            )
        return self


class Adapt(Part):
    """What is done to the base."""

    method: Literal["lora", "full"] = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float | None = Field(default=None, gt=0, description="2 × rank if left out")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = Field(
        default="all", description="all, attention, query-value, or names of linear layers"
    )
    soft_labels: bool = Field(
        default=False, description="learn how many annotators agreed with a label, where that is known"
    )
    lowest_layer: int | Literal["auto"] = Field(
        default=0, description="train from this layer upwards, those below are computed once; auto is half the depth"
    )
    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=32, ge=1, description="examples an optimizer step")
    learning_rate: float | None = Field(default=None, gt=0, description="1e-3 for lora, 2e-5 for full if left out")
    warmup: float = Field(default=0.06, ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    validations_per_epoch: int = Field(default=2, ge=1)
    patience: int = Field(default=0, ge=0, description="stop after so many looks without a rise; 0 never")
    checkpoint_every: int = Field(default=20, ge=1, description="steps")
    micro_batch_tokens: int = Field(default=4096, ge=64, description="tokens run at once; less memory when lower")

    @field_validator("method", mode="before")
    @classmethod
    def _pretraining_is_elsewhere(cls, value: object) -> object:
        if value in ("scratch", "continue"):
            raise ValueError(f"'{value}' is pretraining: write it as pretrain.method, beside the field corpus")
        return value

    @property
    def rate(self) -> float:
        """The learning rate, given or usual for the method."""
        return self.learning_rate or (1e-3 if self.method == "lora" else 2e-5)

    @property
    def scale(self) -> float:
        """LoRA's alpha, given or twice the rank."""
        return self.alpha or 2.0 * self.rank


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


class Measure(Part):
    """What the specialist is compared with."""

    systems: list[Literal["majority", "tfidf", "base", "base-fewshot"]] = [
        "majority",
        "tfidf",
        "base",
        "base-fewshot",
    ]
    shots: int = Field(default=6, ge=1, description="solved examples in front of every prompt of base-fewshot")
    generation: bool = Field(
        default=False, description="also let base and specialist write the label, beside its likelihood"
    )


class Retention(Part):
    """What the base could do before, measured again after."""

    tasks: list[str] = ["wikipedia-passages", "social-iqa"]
    documents: int = Field(default=80, ge=2, description="at most so many documents for bits per byte")
    questions: int = Field(default=300, ge=2, description="at most so many multiple-choice questions")


class Trial(Part):
    """What one trial of a search changes of the recipe; empty for the recipe as it is."""

    base: str | None = None
    adapt: Adapt = Adapt()


class Search(Part):
    """Settings that are tried before the run; the best on validation is used."""

    trials: list[Trial] = Field(min_length=2, description="what each changes, such as {adapt: {rank: 16}}; {} nothing")
    examples: int | None = Field(
        default=None, ge=2, description="learn from at most so many examples in a trial; from all if left out"
    )
