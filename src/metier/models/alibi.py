"""Causal attention with linear biases, computed in blocks of queries: nothing above the diagonal, no bias in memory.

A block of queries meets only the keys up to its end, so that half the work of a masked square is never done. The bias
of ALiBi (Press et al. 2022, arXiv 2108.12409) is ``slope · key position``: softmax does not see what is added to a
whole row, so that the distance needs no query position.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from metier.models.gradient import call

BLOCK = 128  # queries at once: of each block's keys about half a block is computed in vain


def slopes(heads: int) -> Tensor:
    """``(heads,)``: powers of 2^(-8/heads); where heads is no power of two, every second of the next one fills up."""
    whole = 2 ** math.floor(math.log2(heads))
    powers = [2 ** (-8 * (i + 1) / whole) for i in range(whole)]
    return torch.tensor(powers + [2 ** (-4 * (2 * i + 1) / whole) for i in range(heads - whole)])


def alibi_attention(qkv: Tensor, documents: Tensor | None = None) -> Tensor:
    """Attention of all heads, softmax in float32.

    Args:
        qkv: ``(batch, time, heads, 3, head_dim)``: query, key and value as BLOOM's one matmul leaves them.
        documents: ``(batch, time)``, rising numbers; tokens see none of another number. None: one document a row.

    Returns:
        ``(batch, time, heads, head_dim)``.
    """
    context: Tensor = call(_AlibiAttention, qkv, documents)
    return context


class _AlibiAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, documents: Tensor | None) -> Tensor:
        batch, time, heads, _, size = qkv.shape
        context = qkv.new_empty(batch, time, heads, size)
        positions = torch.arange(time, device=qkv.device, dtype=torch.float32)
        bias = slopes(heads).to(qkv.device)[:, None, None] * positions
        future = torch.full((BLOCK, BLOCK), -torch.inf, device=qkv.device).triu_(1)
        kept = []
        for row in range(batch):
            query, key, value = qkv[row].permute(2, 1, 0, 3)  # (heads, time, head_dim) each, not copied
            for start in range(0, time, BLOCK):
                end = min(start + BLOCK, time)
                scores = _scores(query[:, start:end], key[:, :end], bias[:, :, :end])
                scores[:, :, start:].add_(future[: end - start, : end - start])
                if documents is not None:
                    other = documents[row, start:end, None] != documents[row, None, :end]
                    scores.masked_fill_(other, -torch.inf)
                weights = torch.softmax(scores, -1).to(qkv.dtype)
                context[row, start:end] = torch.bmm(weights, value[:, :end]).transpose(0, 1)
                kept.append(weights)
        ctx.save_for_backward(qkv, *kept)
        return context

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        qkv, *kept = ctx.saved_tensors
        (gradient,) = gradients
        batch, time, heads, _, size = qkv.shape
        result, scale = torch.empty_like(qkv), size**-0.5
        to_key, to_value = qkv.new_empty(heads, time, size), qkv.new_empty(heads, time, size)
        blocks = iter(kept)
        for row in range(batch):
            query, key, value = qkv[row].permute(2, 1, 0, 3)
            incoming = gradient[row].transpose(0, 1)
            to_key.zero_()
            to_value.zero_()
            for start in range(0, time, BLOCK):
                end, weights = min(start + BLOCK, time), next(blocks)
                part = incoming[:, start:end]
                to_value[:, :end].baddbmm_(weights.transpose(1, 2), part)
                to_weights = torch.bmm(part, value[:, :end].transpose(1, 2))
                to_scores = torch._softmax_backward_data(to_weights, weights, -1, qkv.dtype)
                result[row, start:end, :, 0] = torch.bmm(to_scores, key[:, :end]).mul_(scale).transpose(0, 1)
                to_key[:, :end].baddbmm_(to_scores.transpose(1, 2), query[:, start:end], alpha=scale)
            result[row, :, :, 1], result[row, :, :, 2] = to_key.transpose(0, 1), to_value.transpose(0, 1)
        return result, None


def _scores(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """Scaled products and bias, ``(heads, queries, keys)`` in float32: bfloat16 could not tell positions apart."""
    scale = query.shape[-1] ** -0.5
    if query.dtype == torch.float32:
        return torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scale)
    return torch.bmm(query, key.transpose(1, 2)).float().mul_(scale).add_(bias)
