"""Causal attention with linear biases, computed in blocks of queries: nothing above the diagonal, no bias in memory.

A block of queries meets only the keys up to its end, so that half the work of a masked square is never done. The bias
of ALiBi (Press et al. 2022, arXiv 2108.12409) is ``slope · key position``: softmax does not see what is added to a
whole row, so that the distance needs no query position.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from metier.models.gradient import call

BLOCK = 128  # queries at once: of each block's keys about half a block is computed in vain
SCORES_AT_ONCE = 1 << 21  # 8 MB of float32


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
        parts = qkv.permute(3, 0, 2, 1, 4).reshape(3, batch * heads, time, size)
        query, key, value = parts
        context = torch.empty_like(query)
        positions = torch.arange(time, device=qkv.device, dtype=torch.float32)
        slope = slopes(heads).to(qkv.device).repeat(batch)[:, None, None]
        future = torch.full((BLOCK, BLOCK), -torch.inf, device=qkv.device).triu_(1)
        numbers = None if documents is None else documents.repeat_interleave(heads, 0)
        kept = []
        for some, start, end in _blocks(batch * heads, time):
            # counted from the block's end, so that keys nearby have the small, exact numbers
            bias = (slope[some] * (positions[:end] - end)).repeat(1, end - start, 1)
            bias[:, :, start:].add_(future[: end - start, : end - start])
            scores = _scores(query[some, start:end], key[some, :end], bias)
            if numbers is not None:
                scores.masked_fill_(numbers[some, start:end, None] != numbers[some, None, :end], -torch.inf)
            weights = torch.softmax(scores, -1).to(qkv.dtype)
            context[some, start:end] = torch.bmm(weights, value[some, :end])
            kept.append(weights)
        ctx.save_for_backward(parts, *kept)
        ctx.heads = heads
        return context.view(batch, heads, time, size).transpose(1, 2).contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        parts, *kept = ctx.saved_tensors
        query, key, value = parts
        count, time, size = query.shape
        incoming = gradients[0].transpose(1, 2).reshape(count, time, size)
        result, scale = torch.zeros_like(parts), size**-0.5
        to_query, to_key, to_value = result
        for (some, start, end), weights in zip(_blocks(count, time), kept, strict=True):
            part = incoming[some, start:end]
            to_value[some, :end].baddbmm_(weights.transpose(1, 2), part)
            to_weights = torch.bmm(part, value[some, :end].transpose(1, 2))
            to_scores = torch._softmax_backward_data(to_weights, weights, -1, query.dtype)
            to_query[some, start:end] = torch.bmm(to_scores, key[some, :end]).mul_(scale)
            to_key[some, :end].baddbmm_(to_scores.transpose(1, 2), query[some, start:end], alpha=scale)
        return result.view(3, -1, ctx.heads, time, size).permute(1, 3, 2, 0, 4).contiguous(), None


def _blocks(count: int, time: int) -> Iterator[tuple[slice, int, int]]:
    """Which of ``count`` attentions, and the first and last query: as many at once as the cache holds scores of."""
    for start in range(0, time, BLOCK):
        end = min(start + BLOCK, time)
        at_once = max(1, SCORES_AT_ONCE // ((end - start) * end))
        for first in range(0, count, at_once):
            yield slice(first, first + at_once), start, end


def _scores(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """Scaled products and bias, ``(heads, queries, keys)`` in float32: bfloat16 could not tell positions apart."""
    scale = query.shape[-1] ** -0.5
    if query.dtype == torch.float32:
        return torch.baddbmm(bias, query, key.transpose(1, 2), alpha=scale)
    return bias.add_(torch.bmm(query, key.transpose(1, 2)), alpha=scale)
