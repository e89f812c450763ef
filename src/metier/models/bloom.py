"""BLOOM run on whole sequences, fast: the same modules, weights and files as transformers' own, other arithmetic.

transformers computes its attention over the full square with the mask added, GELU in eight passes and dropout even
where it is 0. The numbers here are the same but for the order of rounding.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metier.models.alibi import alibi_attention
from metier.models.feedforward import feed_forward


def runs_fast(causal: Any) -> bool:
    """Whether ``causal`` is a BLOOM that these blocks compute exactly."""
    config = causal.config
    return bool(
        config.model_type == "bloom"
        and not (config.hidden_dropout or config.attention_dropout)
        and not config.apply_residual_connection_post_layernorm
        and not (config.pretraining_tp > 1 and config.slow_but_exact)
    )


def fuse_bloom(causal: Any) -> None:
    """Let every block compute as :func:`_block` when it is called by :func:`bloom_hidden`, and as ever otherwise."""
    for block in causal.transformer.h:
        block.forward = functools.partial(_forward, block)


def bloom_hidden(causal: Any, ids: Tensor, documents: Tensor | None = None) -> Tensor:
    """Hidden states after the last norm, ``(batch, time, hidden)``; arguments as in :func:`alibi_attention`."""
    trunk = causal.transformer
    hidden = trunk.word_embeddings_layernorm(trunk.word_embeddings(ids))
    for block in trunk.h:
        hidden = block(hidden, Layout(documents))
    result: Tensor = trunk.ln_f(hidden)
    return result


class Layout:
    """Tells a block that it is called with whole sequences."""

    def __init__(self, documents: Tensor | None) -> None:
        self.documents = documents


def _forward(block: Any, hidden: Tensor, layout: Any = None, **kwargs: Any) -> Any:
    if not isinstance(layout, Layout):
        arguments = () if layout is None else (layout,)
        return type(block).forward(block, hidden, *arguments, **kwargs)
    if block.gradient_checkpointing and block.training and torch.is_grad_enabled():
        return checkpoint(_block, block, hidden, layout.documents, use_reentrant=False)
    return _block(block, hidden, layout.documents)


def _block(block: Any, hidden: Tensor, documents: Tensor | None) -> Tensor:
    batch, time, width = hidden.shape
    attention, heads = block.self_attention, block.num_heads
    rows = hidden.reshape(-1, width)
    normed = block.input_layernorm(rows)
    qkv = F.linear(normed, attention.query_key_value.weight, attention.query_key_value.bias)
    context = alibi_attention(qkv.view(batch, time, heads, 3, width // heads), documents).view(-1, width)
    attended = torch.addmm(rows + attention.dense.bias, context, attention.dense.weight.t())
    feed = block.mlp
    normed = block.post_attention_layernorm(attended)
    return feed_forward(normed, attended, feed.dense_h_to_4h, feed.dense_4h_to_h, hidden.shape)
