"""Models from nothing: BLOOM-type and Llama-type from a shape, as transformers' own classes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM

from metier.models.packed import ATTENTION
from metier.models.shapes import Shape


def build(shape: Shape, *, end: int, sequence_length: int, seed: int = 0) -> Any:
    """A model in float32 with fresh weights, the same for the same seed.

    Weights are drawn from N(0, 1/(3 · hidden)); the matrices that write into the residual stream (attention output,
    second of the feed-forward layer) are divided by √(2 · layers) (BloombergGPT, arXiv 2303.17564, App. A.3).

    Args:
        end: the end-of-text token.
        sequence_length: tokens it will be trained on at once. A BLOOM has no bound of positions, but tools read one.
    """
    torch.manual_seed(seed)
    special = {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    length = "seq_length" if shape.family == "bloom" else "max_position_embeddings"
    model = empty(
        shape, initializer_range=(3 * shape.hidden) ** -0.5, dtype="float32", **special, **{length: sequence_length}
    )
    rescale_init(model, shape)
    return model


def empty(shape: Shape, **settings: Any) -> Any:
    """transformers' model of a shape, on the device in force; ``settings`` go into its config."""
    common = {"vocab_size": shape.vocabulary, "hidden_size": shape.hidden, "tie_word_embeddings": shape.tied}
    if shape.family == "bloom":
        return BloomForCausalLM(BloomConfig(n_layer=shape.layers, n_head=shape.heads, **common, **settings))
    config = LlamaConfig(
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.ffn,
        **common,
        **settings,
    )
    return LlamaForCausalLM._from_config(config, attn_implementation=ATTENTION)


@torch.no_grad()
def rescale_init(model: nn.Module, shape: Shape) -> None:
    """Draw every matrix anew, those that write into the residual stream 1/√(2 · layers) as wide."""
    z = (3 * shape.hidden) ** -0.5
    writers = ("self_attention.dense.weight", "dense_4h_to_h.weight", "o_proj.weight", "down_proj.weight")
    for name, parameter in model.named_parameters():  # tied weights come once
        if parameter.ndim > 1:
            parameter.normal_(0, z / math.sqrt(2 * shape.layers) if name.endswith(writers) else z)
