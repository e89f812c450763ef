"""How much memory a training takes at its peak, reckoned before it begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from metier.errors import MetierError
from metier.models.alibi import BLOCK, SCORES_AT_ONCE
from metier.models.bloom import runs_fast
from metier.models.vocabulary_loss import LOGITS_IN_CACHE, LOGITS_TO_GRADIENTS
from metier.training import distributed

# What one layer of a BLOOM needs while it is computed, times this: buffers of other sizes before and behind it leave
# holes that the allocator keeps. Measured: with it seven shapes take 0.83 to 1.13 of what is reckoned.
HOLES = 4
SMALLER = "train a smaller model, or shard it over several machines with torchrun"


@dataclass(frozen=True)
class Footprint:
    """What decides the peak. Counts of numbers; ``width`` is bytes of a number in the model's format."""

    parameters: int
    head: int
    layers: int
    hidden: int
    inner: int
    heads: int
    fast: bool
    width: int
    sequence_length: int
    micro_batch_tokens: int
    checkpointed: bool
    processes: int = 1

    @classmethod
    def of(
        cls, causal: Any, *, sequence_length: int, micro_batch_tokens: int, checkpointed: bool, processes: int = 1
    ) -> Footprint:
        """Of a transformers model, in each of the ``processes`` that share it; one on the meta device will do."""
        config, unique = causal.config.get_text_config(), {id(p): p for p in causal.parameters()}.values()
        hidden = int(config.hidden_size)
        return cls(
            parameters=sum(p.numel() for p in unique),
            head=int(config.vocab_size) * hidden,
            layers=int(config.num_hidden_layers),
            hidden=hidden,
            inner=int(getattr(config, "intermediate_size", None) or 4 * hidden),
            heads=int(config.num_attention_heads),
            fast=runs_fast(causal),
            width=next(iter(unique)).element_size(),
            sequence_length=sequence_length,
            micro_batch_tokens=micro_batch_tokens,
            checkpointed=checkpointed,
            processes=processes,
        )

    @property
    def tokens(self) -> int:
        """Tokens run at once: whole sequences."""
        return max(1, self.micro_batch_tokens // self.sequence_length) * self.sequence_length

    @property
    def state(self) -> int:
        """Bytes that stay: weights, float32 masters where the weights are not, two moments, gradients and their sum.

        Several processes share them, but each begins with all weights.
        """
        masters = 0 if self.width == 4 else 4
        shared = self.parameters * (2 * self.width + masters + 8) // self.processes
        return max(shared, self.parameters * self.width) + 3 * self.head * 4

    @property
    def activations(self) -> int:
        """Bytes kept for the backward pass of one run of tokens, and what one layer needs while it is computed."""
        if self.fast:  # as in models/bloom.py: two norms in and out, query, key, value, context, inner; half a square
            layer = (8 * self.hidden + self.inner) * self.width
            layer += self.heads * (self.sequence_length + BLOCK) // 2 * self.width
        else:  # transformers' Llama: norms in float32, rotations, gate, up, their product, before and after
            layer = (24 * self.hidden + 4 * self.inner) * self.width
        working = 2 * self.inner * self.width + 4 * self.hidden * 4
        working *= HOLES if self.fast else 1
        kept = self.hidden * self.width * self.layers + layer if self.checkpointed else layer * self.layers
        scores = SCORES_AT_ONCE * (3 * 4 + 2 * self.width) if self.fast else 0
        logits = LOGITS_IN_CACHE * (2 * 4 + LOGITS_TO_GRADIENTS * self.width)
        return self.tokens * (kept + working) + scores + logits

    @property
    def peak(self) -> int:
        """Bytes in all."""
        return self.state + self.activations


def refuse_if_too_large(found: Footprint, available: int) -> None:
    """Compare with the ``available`` bytes.

    Errors: :class:`MetierError` that says what would fit.
    """
    if found.peak <= available:
        return
    fix = _what_fits(found, available)
    raise MetierError(
        f"training would need about {found.peak / 1e9:.1f} GB and {available / 1e9:.1f} GB are free "
        f"({found.state / 1e9:.1f} GB weights and optimizer, {found.activations / 1e9:.1f} GB activations)",
        where="recipe, pretrain" + (".micro_batch_tokens" if fix != SMALLER else ""),
        fix=fix,
    )


def _what_fits(found: Footprint, available: int) -> str:
    for checkpointed in dict.fromkeys((found.checkpointed, True)):
        sequences = found.tokens // found.sequence_length
        while sequences:
            tokens = sequences * found.sequence_length
            if replace(found, micro_batch_tokens=tokens, checkpointed=checkpointed).peak <= available:
                also = " and checkpoint_activations: true" if checkpointed and not found.checkpointed else ""
                return f"set micro_batch_tokens: {tokens}{also}"
            sequences //= 2
    return SMALLER


def available_bytes(device: str) -> int:
    """Bytes that are free now on a device, for each of the processes that share it."""
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    import psutil

    return int(psutil.virtual_memory().available) // distributed.processes_here()
