"""Models from nothing: BLOOM-type and Llama-type from a shape, as transformers' own classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM

from metier.errors import MetierError
from metier.models.packed import ATTENTION


@dataclass(frozen=True)
class Shape:
    """The size of a model.

    Attributes:
        architecture: ``bloom``: ALiBi, GELU, biases, LayerNorm after the embedding, tied head (BloombergGPT, App. A);
            ``llama``: rotary positions, SwiGLU, RMSNorm, no biases, tied head.
        feed_forward: inner width; of a BLOOM always 4 × hidden. None: 4 × hidden, for a Llama 8/3 × hidden rounded
            up to a multiple of 64, which has as many weights.
    """

    architecture: Literal["bloom", "llama"]
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    sequence_length: int
    feed_forward: int | None = None

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise MetierError(
                f"a width of {self.hidden} is not divisible by {self.heads} heads",
                where="recipe, pretrain.hidden and pretrain.heads",
                fix=f"use hidden: {math.ceil(self.hidden / self.heads) * self.heads}",
            )
        if self.architecture == "bloom" and self.feed_forward not in (None, 4 * self.hidden):
            raise MetierError("the inner width of a BLOOM is 4 × hidden", where="recipe, pretrain.feed_forward",
                              fix="leave it out")  # fmt: skip
        if self.architecture == "llama" and self.hidden // self.heads % 2:
            raise MetierError("rotary positions need heads of an even size", where="recipe, pretrain.heads",
                              fix="choose hidden / heads even")  # fmt: skip

    @property
    def inner(self) -> int:
        """The width inside the feed-forward layer."""
        if self.feed_forward:
            return self.feed_forward
        return 4 * self.hidden if self.architecture == "bloom" else math.ceil(8 * self.hidden / 3 / 64) * 64


def build(shape: Shape, *, end: int, seed: int = 0) -> Any:
    """A model in float32 with fresh weights, the same for the same seed.

    Weights are drawn from N(0, 1/(3 · hidden)); the matrices that write into the residual stream (attention output,
    second of the feed-forward layer) are divided by √(2 · layers) (BloombergGPT, arXiv 2303.17564, App. A.3).

    Args:
        end: the end-of-text token.
    """
    torch.manual_seed(seed)
    config = _config(shape, end)
    if shape.architecture == "bloom":
        model: Any = BloomForCausalLM(config)
    else:
        model = LlamaForCausalLM._from_config(config, attn_implementation=ATTENTION)
    rescale_init(model, shape)
    return model


def _config(shape: Shape, end: int) -> Any:
    common: dict[str, Any] = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "initializer_range": (3 * shape.hidden) ** -0.5,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "tie_word_embeddings": True,
        "dtype": "float32",
    }
    if shape.architecture == "bloom":
        # a BLOOM has no bound of positions; the length it was trained on is what tools read as one
        return BloomConfig(n_layer=shape.layers, n_head=shape.heads, seq_length=shape.sequence_length, **common)
    return LlamaConfig(
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=shape.sequence_length,
        **common,
    )


@torch.no_grad()
def rescale_init(model: nn.Module, shape: Shape) -> None:
    """Draw every matrix anew, those that write into the residual stream 1/√(2 · layers) as wide."""
    z = (3 * shape.hidden) ** -0.5
    writers = ("self_attention.dense.weight", "dense_4h_to_h.weight", "o_proj.weight", "down_proj.weight")
    for name, parameter in model.named_parameters():  # tied weights come once
        if parameter.ndim > 1:
            parameter.normal_(0, z / math.sqrt(2 * shape.layers) if name.endswith(writers) else z)
