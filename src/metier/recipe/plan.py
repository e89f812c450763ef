"""The part of a recipe that is planned: budget, hardware, model, data, schedule."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from metier.errors import nearest
from metier.planning.budget import Kind
from metier.planning.hardware import names
from metier.recipe.part import Part


class BudgetChoice(Part):
    """What may be spent: one of four."""

    gpu_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="hours × devices")
    flops: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="FLOPs of training, 6 × parameters × tokens"
    )
    dollars: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="at dollars_per_hour a device")
    hours: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="until the deadline")
    reserve: float = Field(default=0.0, ge=0, lt=1, description="share kept back for failures and restarts")

    @model_validator(mode="after")
    def _one(self) -> BudgetChoice:
        kinds = [kind for kind in get_args(Kind) if getattr(self, kind) is not None]
        if len(kinds) != 1:
            raise ValueError(f"give one of gpu_hours, flops, dollars and hours, not {' and '.join(kinds) or 'none'}")
        return self

    @property
    def given(self) -> tuple[Kind, float]:
        """Which of the four, and how much."""
        kind: Kind = next(kind for kind in get_args(Kind) if getattr(self, kind) is not None)
        return kind, getattr(self, kind)


class PlanHardware(Part):
    """What a plan runs on."""

    device: str | None = Field(
        default=None, description="this-machine or an accelerator by name: " + ", ".join(names())
    )
    devices: int = Field(default=1, ge=1, description="how many, at least 1")
    shard: int | None = Field(
        default=None, ge=1, description="devices that weights and optimizer are spread over; all if left out"
    )
    tflops: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="sustained TFLOP/s of one device, recomputation counted"
    )
    seconds_per_step: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="as measured; computed from the rate if left out"
    )
    memory_gb: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="of one device")
    watts: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="of one device")
    dollars_per_hour: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="of one device")

    @field_validator("device")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in names():
            raise ValueError(f"there is no such device; {nearest(value, names())}")
        return value

    @field_validator("shard")
    @classmethod
    def _divides(cls, value: int | None, info: Any) -> int | None:
        devices = info.data.get("devices")
        if value and devices and devices % value:
            raise ValueError(f"{devices} devices cannot be grouped by {value}: use a divisor of devices")
        return value


class PlanModel(Part):
    """What is known of the model; the rest is chosen."""

    family: Literal["bloom", "llama"] = "llama"
    vocabulary: int | None = Field(
        default=None, ge=2, le=10_000_000, description="tokens in the vocabulary; at most 32,768 if left out"
    )
    parameters: float | None = Field(
        default=None, ge=1, allow_inf_nan=False, description="the size to come near to; or give layers"
    )
    layers: int | None = Field(default=None, ge=1, le=1000)
    head_dim: int | None = Field(default=None, ge=1, description="size of a head")
    heads: int | None = Field(default=None, ge=1)
    hidden: int | None = Field(default=None, ge=1, description="width; by Levine's rule if left out")
    kv_heads: int | None = Field(default=None, ge=1, description="as many as heads if left out")
    ffn: int | None = Field(default=None, ge=1, description="width of the feed-forward layer")
    tied: bool = Field(default=True, description="one matrix for the token embedding and the output")

    @field_validator("layers")
    @classmethod
    def _one_size(cls, value: int | None, info: Any) -> int | None:
        if value is not None and info.data.get("parameters") is not None:
            raise ValueError("layers and parameters both set the size: leave one out")
        return value

    @field_validator("hidden")
    @classmethod
    def _whole_heads(cls, value: int | None, info: Any) -> int | None:
        heads, size = info.data.get("heads"), info.data.get("head_dim")
        if value and heads and size and value != heads * size:
            raise ValueError(f"{heads} heads of {size} make a width of {heads * size:,}: leave one of the three out")
        for name, step in (("heads", heads), ("head_dim", size)):
            if value and step and value % step:
                raise ValueError(f"the width does not divide by {name}: {step}")
        return value

    @model_validator(mode="after")
    def _sizes_need_a_depth(self) -> PlanModel:
        if (self.hidden or self.heads) and self.layers is None:
            raise ValueError("hidden and heads are of one shape: give layers too, or leave them to the plan")
        return self


class PlanData(Part):
    """How much text there is."""

    tokens: float | None = Field(
        default=None, ge=1, allow_inf_nan=False, description="distinct tokens there are; without end if left out"
    )
    epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="how often they may be seen")

    @field_validator("epochs")
    @classmethod
    def _of_tokens(cls, value: float, info: Any) -> float:
        if "tokens" in info.data and info.data["tokens"] is None:
            raise ValueError("epochs of how many tokens is not said; give the distinct tokens there are, too")
        return value


class PlanWarmup(Part):
    """Steps with a smaller batch at the beginning."""

    steps: int = Field(ge=1)
    sequences: int = Field(ge=1, description="sequences a step")


class PlanSchedule(Part):
    """Steps and batches."""

    sequence_length: int = Field(default=2048, ge=1, description="tokens of a sequence")
    sequences: int | None = Field(default=None, ge=1, description="sequences an optimizer step, over all devices")
    warmup: list[PlanWarmup] = Field(default=[], description="batch warm-up: steps and sequences, in order")
    micro_batch: int = Field(default=1, ge=1, description="sequences run at once on a device")
    steps: int | None = Field(default=None, ge=1)
    tokens: float | None = Field(default=None, ge=1, allow_inf_nan=False, description="to train on; or give steps")

    @field_validator("tokens")
    @classmethod
    def _one_length(cls, value: float | None, info: Any) -> float | None:
        if value is not None and info.data.get("steps") is not None:
            raise ValueError("steps and tokens both set the length: leave one out")
        return value


class PlanChoice(Part):
    """What `metier plan` works out: from a budget, from a model, or from both."""

    budget: BudgetChoice | None = None
    hardware: PlanHardware = PlanHardware()
    model: PlanModel = PlanModel()
    data: PlanData = PlanData()
    schedule: PlanSchedule = PlanSchedule()
    law: Literal[
        "chinchilla-corrected", "chinchilla-published", "bloomberggpt-a1", "bloomberggpt-a2", "twenty-to-one"
    ] = "chinchilla-corrected"
    checkpointing: Literal[True, False, "auto"] = Field(
        default="auto", description="run layers again instead of keeping activations: true, false or auto"
    )
    attention: Literal["fused", "eager"] = Field(default="fused", description="eager keeps all scores")

    @model_validator(mode="after")
    def _something_to_plan_from(self) -> PlanChoice:
        if self.budget is None and self.model.parameters is None and self.model.layers is None:
            raise ValueError("give a budget, or model.parameters, or model.layers: there is nothing to plan from")
        return self
