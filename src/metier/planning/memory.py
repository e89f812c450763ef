"""Bytes on one device: weights, gradients, optimizer, what ZeRO-3 gathers, activations; and the KV cache."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from metier.models.shapes import Shape
from metier.planning.hardware import Hardware

Attention = Literal["fused", "eager"]
STATES_SOURCE = "Rajbhandari et al. 2020 (arXiv 1910.02054), section 3"
ACTIVATIONS_SOURCE = "after Korthikanti et al. 2022 (arXiv 2205.05198), section 4"

STATES = {2: (2, 2, 12), 4: (4, 4, 8)}
"""Bytes a parameter by the bytes of a number: weight, gradient, AdamW (in bf16 an fp32 copy and two moments)."""


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a training step on one device."""

    weights: int
    gradients: int
    optimizer: int
    gathered: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.gathered + self.activations + self.logits

    def fits(self, hardware: Hardware) -> bool:
        """Whether it is within what a device can use."""
        return self.total <= hardware.usable_bytes

    def to_json(self) -> dict[str, int]:
        """Bytes, by what they are for."""
        return {**asdict(self), "total": self.total}


def training_memory(
    shape: Shape,
    hardware: Hardware,
    *,
    sequence_length: int,
    micro_batch: int,
    checkpointing: bool,
    attention: Attention = "fused",
) -> Memory:
    """What a step of AdamW needs.

    Weights, gradients and optimizer (:data:`STATES`) are divided by the shard; then the weights of two blocks (one in
    use, one on its way), of the embedding, and the gradients of a block are gathered.

    Args:
        shape: the model.
        hardware: shard and bytes of a number.
        sequence_length: tokens of a sequence.
        micro_batch: sequences run at once on a device.
        checkpointing: keep each layer's input only, and run the layer again in the backward pass.
        attention: eager keeps the (heads, time, time) scores, fused does not.
    """
    width, shard = hardware.compute_bytes, hardware.shard
    weights, gradients, optimizer = (-(-shape.parameters * size // shard) for size in STATES[width])
    gathered = width * (3 * shape.block + shape.embedding) if shard > 1 else 0
    tokens = micro_batch * sequence_length
    layer = layer_activations(shape, sequence_length, attention, width) * tokens
    ends = end_activations(shape, width) * tokens
    kept = shape.layers * shape.hidden * width * tokens + layer if checkpointing else shape.layers * layer
    # logits, their log-softmax and its gradient, the last two in fp32
    logits = tokens * shape.vocabulary * (width + 8)
    return Memory(weights, gradients, optimizer, gathered, kept + ends, logits)


def layer_activations(shape: Shape, sequence_length: int, attention: Attention, width: int) -> int:
    """Bytes a token that one layer keeps for its backward pass, without dropout: what transformers' layers keep.

    BLOOM: both norms' inputs and outputs (4D), queries, keys, values (3D), the attended values (D), the feed-forward
    layer before and behind GELU (8D): 16D numbers, the 34·s·b·h bytes of Korthikanti et al. 2022 without the masks
    of dropout. Llama: norms (4D, and 2D more in fp32), queries (D), keys and values, the attended values (D), gate,
    its SiLU, up and their product. Eager attention adds its softmax, in fp32 with a copy in bf16, and keys and values
    repeated for every head.
    """
    keys = shape.heads if attention == "eager" else shape.kv_heads
    if shape.family == "bloom":
        kept, statistics = (8 * shape.hidden + 2 * shape.ffn) * width, 4 * width
    else:
        kept = (6 * shape.hidden + 2 * keys * shape.head_dim + 4 * shape.ffn) * width + 2 * 4 * shape.hidden
        statistics = 2 * 4
    if attention == "fused":
        return kept + statistics + 4 * shape.heads
    return kept + statistics + shape.heads * sequence_length * (4 if width == 4 else 6)


def end_activations(shape: Shape, width: int) -> int:
    """Bytes a token kept outside the layers: the last norm's input and output, and of BLOOM the first norm's input."""
    return shape.hidden * (3 * width if shape.family == "bloom" else 2 * width + 4)


def kv_cache(shape: Shape, width: int = 2) -> int:
    """Bytes a token of keys and values of all layers, when generating."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * width
