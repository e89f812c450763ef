"""The schema of a recipe: the one file that says everything about one specialist."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from metier.errors import MetierError, nearest


class _Part(BaseModel):
    # YAML reads 0 and 1 as numbers, and labels are often such
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class TaskChoice(_Part):
    """A catalogue task by ``name``, or a table of one's own by ``file`` and its columns."""

    name: str | None = Field(
        default=None, description="a task of `metier tasks`, or the name to give to your own table"
    )
    variant: str | None = Field(default=None, description="e.g. 50agree, 66agree, 75agree, allagree for PhraseBank")
    kind: Literal["classification", "extraction", "generation"] = Field(
        default="classification", description="of your own table; a catalogue task has its own"
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
    sheet: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> TaskChoice:
        if not self.name and not self.file:
            raise ValueError("give a task 'name' of the catalogue, or the 'file' of your own table")
        if not self.file and self.kind != "classification":
            raise ValueError("'kind' is for your own table: a task of the catalogue has its own")
        return self


class SplitChoice(_Part):
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


class Adapt(_Part):
    """What is done to the base."""

    method: Literal["lora", "full"] = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float | None = Field(default=None, gt=0, description="2 × rank if left out")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = Field(
        default="all", description="all, attention, query-value, or names of linear layers"
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

    @property
    def rate(self) -> float:
        """The learning rate, given or usual for the method."""
        return self.learning_rate or (1e-3 if self.method == "lora" else 2e-5)

    @property
    def scale(self) -> float:
        """LoRA's alpha, given or twice the rank."""
        return self.alpha or 2.0 * self.rank


class Mix(_Part):
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


class Measure(_Part):
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


class Retention(_Part):
    """What the base could do before, measured again after."""

    tasks: list[str] = ["wikipedia-passages", "social-iqa"]
    documents: int = Field(default=80, ge=2, description="at most so many documents for bits per byte")
    questions: int = Field(default=300, ge=2, description="at most so many multiple-choice questions")


class Recipe(_Part):
    """One specialist, from data to report."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    task: TaskChoice
    protocol: Literal["metier", "fingpt", "bloomberg"] = Field(
        default="metier", description="whose rows and wording to test by: metier, fingpt or bloomberg"
    )
    base: str = "smollm2-135m-instruct"
    adapt: Adapt = Adapt()
    split: SplitChoice = SplitChoice()
    measure: Measure = Measure()
    retention: Retention | None = Retention()
    max_tokens: int = Field(default=1024, ge=32, description="longest prompt; the middle of a longer text is left out")
    seed: int = 0
    seeds: list[int] | None = Field(
        default=None, min_length=2, description="train once with each: mean and spread; the first is the specialist"
    )
    mix: Mix | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["auto", "bfloat16", "float32", "float16"] = "auto"

    @model_validator(mode="after")
    def _published_protocols_are_of_the_catalogue(self) -> Recipe:
        if self.protocol != "metier" and self.task.file:
            raise ValueError(
                f"the protocol '{self.protocol}' is for tasks of the catalogue, not for a table of one's own"
            )
        return self

    @model_validator(mode="after")
    def _first_seed(self) -> Recipe:
        if self.seeds and len(set(self.seeds)) < len(self.seeds):
            raise ValueError("every seed is another one")
        if self.seeds and "seed" in self.model_fields_set and self.seed != self.seeds[0]:
            raise ValueError("leave seed out where there are seeds: the first of them is the specialist's")
        return self.model_copy(update={"seed": self.seeds[0]}) if self.seeds and self.seed != self.seeds[0] else self


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Errors: :class:`MetierError` with file, line, field and the nearest valid name.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MetierError("there is no such recipe", where=str(path), fix="metier new NAME > recipe.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise MetierError(f"the recipe cannot be read: {error}", where=str(path)) from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # a date that is none raises ValueError
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise MetierError(
            f"the recipe is not valid YAML: {getattr(error, 'problem', error)}", where=f"{path}{line}"
        ) from error
    if not isinstance(values, dict):
        raise MetierError("a recipe is a mapping of fields", where=str(path), fix="see metier new finance-sentiment")
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise _explain(error, path, node) from error
    return _beside(recipe, path)


def _beside(recipe: Recipe, path: Path) -> Recipe:
    """A relative data file is looked for beside the recipe first, then from the current folder."""
    file = recipe.task.file
    if file and not Path(file).is_absolute() and (path.parent / file).exists():
        task = recipe.task.model_copy(update={"file": str(path.parent / file)})
        return recipe.model_copy(update={"task": task})
    return recipe


def _explain(error: ValidationError, path: Path, node: Any) -> MetierError:
    # an unknown field is often the misspelt name of one that is missing: tell that first
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    location = _location(first["loc"])
    name = ".".join(str(part) for part in location)
    where = f"{path}, line {_line(node, location)}, field '{name}'" if name else str(path)
    if first["type"] == "extra_forbidden":
        known = _known(location[:-1])
        return MetierError(f"unknown field '{location[-1]}'", where=where, fix=nearest(str(location[-1]), known))
    if first["type"] == "missing":
        return MetierError(f"the field '{name}' is missing", where=f"{path}, line {_line(node, location[:-1])}")
    found = first.get("input")
    shown = "" if isinstance(found, dict) else f", found {found!r}"
    more = f" ({len(error.errors()) - 1} more after it)" if len(error.errors()) > 1 else ""
    message = first["msg"].removeprefix("Value error, ")
    return MetierError(f"{message}{shown}{more}", where=where, fix=_hint(location))


def _location(parts: tuple[Any, ...]) -> tuple[Any, ...]:
    """A place as it stands in the file, without pydantic's names for a union's alternatives and a mapping's keys."""
    own = ("function-", "union", "list[", "dict[", "[key]")
    return tuple(part for part in parts if not str(part).startswith(own) and part not in ("str", "int", "float"))


def _part(location: tuple[Any, ...]) -> type[BaseModel] | None:
    model: type[BaseModel] = Recipe
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            return None
        options = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = [t for t in options if isinstance(t, type) and issubclass(t, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model


def _known(location: tuple[Any, ...]) -> list[str]:
    model = _part(location)
    return list(model.model_fields) if model else []


def _hint(location: tuple[Any, ...]) -> str | None:
    model = _part(location[:-1]) if location else None
    field = model.model_fields.get(str(location[-1])) if model else None
    return field.description if field else None


def _line(node: Any, location: tuple[Any, ...]) -> int:
    """1-based line of a field, or of its nearest parent that stands in the file."""
    line = int(node.start_mark.line) + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pairs = [(key, value) for key, value in node.value if key.value == str(part)]
            if not pairs:
                return line
            line, node = int(pairs[0][0].start_mark.line) + 1, pairs[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = int(node.start_mark.line) + 1
        else:
            return line
    return line
