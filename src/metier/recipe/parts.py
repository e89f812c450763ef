"""The parts of a recipe that stand by themselves."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from metier.recipe.methods import GRIDS, PRESETS, fits, refuse_misplaced, unnamed


class Part(BaseModel):
    """A mapping of a recipe: unknown fields are errors."""

    # YAML reads 0 and 1 as numbers, and labels are often such
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


# YAML reads true and false as truth values, and labels are often such; a table's truth values are these words too
Word = Annotated[str, BeforeValidator(lambda value: str(value).lower() if isinstance(value, bool) else value)]


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
        if not self.file and self.domain:
            raise ValueError("'domain' is for your own table: a task of the catalogue has its own")
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

    method: Literal["lora", "full", "prompt", "none"] = Field(
        default="lora", description="none measures the base as it is"
    )
    preset: Literal["med-palm"] | None = Field(
        default=None, description="published settings, which other fields may change: med-palm"
    )
    length: int = Field(default=100, ge=1, description="of the soft prompt, in vectors of the size of a token's")
    init: Literal["text", "vocabulary", "uniform"] = Field(
        default="vocabulary", description="the soft prompt begins as: a text, tokens drawn from the vocabulary, uniform"
    )
    init_text: str | None = Field(default=None, min_length=1, description="the task's instruction if left out")
    init_spread: float = Field(default=0.5, gt=0, description="uniform from minus this to this")
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
    steps: int | None = Field(
        default=None, ge=1, description="optimizer steps, instead of epochs; ten looks at validation on the way"
    )
    batch_size: int = Field(default=32, ge=1, description="examples an optimizer step")
    learning_rate: float | None = Field(
        default=None, gt=0, description="1e-3 for lora, 3e-3 for prompt, 2e-5 for full if left out"
    )
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

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, values: Any) -> Any:
        """A preset's settings where the recipe gives none; a text to begin as means that it begins as one."""
        if not isinstance(values, dict):
            return values
        if values.get("init_text") is not None:
            values = {"init": "text", **values}
        published = dict(PRESETS.get(str(values.get("preset")), {}))
        if "epochs" in values:
            published.pop("steps", None)
        if values.get("init", "uniform") != "uniform":
            published.pop("init_spread", None)
        return {**published, **values}

    @model_validator(mode="after")
    def _of_its_method(self) -> Adapt:
        if not isinstance(self, Changes):
            refuse_misplaced(self.method, self.model_fields_set, self.init)
        return self

    @model_serializer(mode="wrap")
    def _without_foreign(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        left_out = unnamed(self.method, self.init, self.steps, self.model_fields_set)
        return {name: value for name, value in dump(self).items() if name not in left_out}

    def changed(self, changes: Adapt) -> Adapt:
        """This adaptation with what ``changes`` sets; what belongs to a method that it leaves stays behind.

        Errors: :class:`ValueError` where a field means nothing for the method.
        """
        given = {name: getattr(changes, name) for name in changes.model_fields_set}
        method = given.get("method", self.method)
        kept = {name: getattr(self, name) for name in self.model_fields_set if fits(name, method)}
        if "steps" in given:
            kept.pop("epochs", None)
        if "epochs" in given:
            kept.pop("steps", None)
        return Adapt.model_validate({**kept, **given})

    def updates(self, examples: int) -> int:
        """Optimizer steps that learning from so many examples takes."""
        return self.steps or self.epochs * -(-examples // self.batch_size)

    def passes(self, examples: int) -> float:
        """Times that so many examples are gone through."""
        return self.updates(examples) / -(-examples // self.batch_size) if self.steps else self.epochs

    @property
    def soft_tokens(self) -> int:
        """Positions that a soft prompt takes up in front of every prompt."""
        return self.length if self.method == "prompt" else 0

    @property
    def rate(self) -> float:
        """The learning rate, given or usual for the method."""
        return self.learning_rate or {"lora": 1e-3, "prompt": 3e-3}.get(self.method, 2e-5)

    @property
    def scale(self) -> float:
        """LoRA's alpha, given or twice the rank."""
        return self.alpha or 2.0 * self.rank


class Changes(Adapt):
    """Some fields of ``adapt``, to be put into a whole one."""


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


class Trial(Part):
    """What one trial of a search changes of the recipe; empty for the recipe as it is."""

    base: str | None = None
    adapt: Changes = Changes()


class Search(Part):
    """Settings that are tried before the run; the best on validation is used."""

    trials: list[Trial] = Field(min_length=2, description="what each changes, such as {adapt: {rank: 16}}; {} nothing")
    grid: Literal["med-palm"] | None = Field(default=None, description="published trials, instead of trials: med-palm")
    examples: int | None = Field(
        default=None, ge=2, description="learn from at most so many examples in a trial; from all if left out"
    )

    @model_validator(mode="before")
    @classmethod
    def _published_trials(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("grid") not in GRIDS:
            return values
        if values.get("trials"):
            raise ValueError("give 'grid' or 'trials', not both")
        return {**values, "trials": GRIDS[values["grid"]]}
