"""What a recipe says about pretraining: from nothing, or continued from a base."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from metier.recipe.part import Part

SHAPE = ("architecture", "layers", "hidden", "heads")


class SpikeChoice(Part):
    """Steps whose loss or gradient norm is far above the running median."""

    action: Literal["skip", "stop"] = Field(default="skip", description="leave such a step out, or end the run there")
    loss: float = Field(default=1.5, gt=1, description="times the median loss")
    norm: float = Field(default=10.0, gt=1, description="times the median gradient norm")
    window: int = Field(default=50, ge=2, description="steps the medians are over")
    patience: int = Field(default=10, ge=1, description="steps skipped in a row that end the run all the same")


class Pretrain(Part):
    """Pretraining. The share of replayed general text is the weight of its source in the mixture."""

    method: Literal["scratch", "continue"]
    architecture: Literal["bloom", "llama"] | None = Field(default=None, description="of scratch; bloom if left out")
    layers: int | None = Field(default=None, ge=1)
    hidden: int | None = Field(default=None, ge=8)
    heads: int | None = Field(default=None, ge=1)
    sequence_length: int = Field(default=512, ge=16, description="tokens")
    document_mask: bool = Field(default=False, description="keep the documents of a sequence from seeing each other")
    tokens: int | None = Field(default=None, ge=1, description="to train on; or give steps")
    steps: int | None = Field(default=None, ge=1, description="optimizer steps; or give tokens")
    batch_sequences: int = Field(default=16, ge=1, description="sequences an optimizer step")
    first_batch_sequences: int | None = Field(
        default=None, ge=1, description="sequences a step until batch_warmup_steps are done"
    )
    batch_warmup_steps: int = Field(default=0, ge=0)
    learning_rate: float | None = Field(default=None, gt=0, description="1e-3 for scratch, 1e-4 for continue")
    final_rate: float = Field(default=0.1, ge=0, le=1, description="share of learning_rate at the end of the cosine")
    warmup: float = Field(
        default=0.02, ge=0, description="of the learning rate: share of the steps, or steps from 1 on"
    )
    weight_decay: float = Field(default=0.1, ge=0, description="of matrices; norms and biases never decay")
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = Field(default=1.0, gt=0)
    spikes: SpikeChoice | None = SpikeChoice()
    evaluate_every: int = Field(
        default=100, ge=0, description="steps between looks at the hold-outs; 0 at the end only"
    )
    evaluate_tokens: int = Field(default=50_000, ge=1, description="of each hold-out at a look")
    measure_tokens: int | None = Field(
        default=None, ge=1, description="of each hold-out at the start and the end, in whole documents; all if left out"
    )
    checkpoint_every: int = Field(default=100, ge=1, description="steps")
    checkpoint_activations: bool = Field(default=False, description="compute activations twice and keep few of them")
    micro_batch_tokens: int = Field(default=2048, ge=16, description="tokens run at once; less memory when lower")
    stop: Literal["first-exhausted", "repeat", "error"] | int = Field(
        default="first-exhausted", description="when a source runs out: end, repeat, fail, or so many epochs"
    )
    mixes: dict[str, dict[str, float]] | None = Field(
        default=None,
        description="models of one shape, tokens and schedule to compare: weights of sources by the mix's name; "
        "`mixed` is compared with each of the others",
    )

    @model_validator(mode="after")
    def _mixes_are_comparable(self) -> Pretrain:
        if self.mixes is None:
            return self
        if "mixed" not in self.mixes or len(self.mixes) < 2:
            raise ValueError("mixes: one is named 'mixed', and there is at least one other to compare it with")
        for name, weights in self.mixes.items():
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
                raise ValueError(f"mixes: '{name}' is no name for a folder")
            if not weights or min(weights.values()) <= 0:
                raise ValueError(f"mixes.{name}: name at least one source, every weight above 0")
        if self.stop not in ("repeat", "error"):
            raise ValueError("mixes are compared after the same tokens: set stop to repeat or error")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Pretrain:
        if (self.tokens is None) == (self.steps is None):
            raise ValueError("give either 'tokens' or 'steps'")
        if self.method == "scratch" and not (self.layers and self.hidden and self.heads):
            raise ValueError("a model from scratch needs 'layers', 'hidden' and 'heads'")
        if self.method == "continue" and any(getattr(self, name) for name in SHAPE):
            raise ValueError("the base has its own shape: leave out " + ", ".join(SHAPE))
        if bool(self.first_batch_sequences) != bool(self.batch_warmup_steps):
            raise ValueError("'first_batch_sequences' and 'batch_warmup_steps' belong together")
        sequences = self.first_batch_sequences or self.batch_sequences
        if self.tokens is not None and self.tokens < sequences * self.sequence_length:
            raise ValueError(
                f"{self.tokens:,} tokens are less than one batch of {sequences} sequences of {self.sequence_length}: "
                "raise 'tokens', or lower 'batch_sequences' or 'sequence_length'"
            )
        return self

    @property
    def rate(self) -> float:
        """The learning rate, given or usual for the method."""
        return self.learning_rate or (1e-3 if self.method == "scratch" else 1e-4)
