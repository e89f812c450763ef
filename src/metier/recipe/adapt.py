"""What is done to the base, and settings of it that are tried before."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from metier.recipe.methods import GRIDS, OF_INIT, PRESETS, fits, refuse_misplaced, unnamed
from metier.recipe.part import Part


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
    lowest_layer: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
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
    validations_per_epoch: int = Field(
        default=2,
        ge=1,
        description="looks; where answers are chosen, the last within a standard error of the best is kept",
    )
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
        if "init" in given:
            kept = {name: value for name, value in kept.items() if name not in OF_INIT}
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
