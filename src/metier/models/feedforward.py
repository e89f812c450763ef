"""BLOOM's feed-forward layer with its residual, a few rows at a time: what GELU reads and writes stays in the cache.

GELU's tanh approximation (Hendrycks & Gimpel 2016) is written with the logistic function, of which it is the same,
``0.5 (1 + tanh u) = σ(2u)``, and which a processor computes three times as fast as tanh.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from metier.models.gradient import call

ROWS = 512  # tokens at once: 4 × hidden × 512 numbers fit the cache for the models that a processor can train
SLOPE = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715


def feed_forward(x: Tensor, residual: Tensor, up: Any, down: Any, shape: torch.Size) -> Tensor:
    """``residual + down(gelu(up(x)))`` in ``shape``; ``x`` and ``residual`` are ``(rows, hidden)``."""
    result: Tensor = call(_FeedForward, x, residual, up.weight, up.bias, down.weight, down.bias, shape)
    return result


def gate(x: Tensor) -> Tensor:
    """``σ(2 √(2/π) (x + 0.044715 x³))``: times ``x`` it is GELU."""
    return torch.addcmul(x.new_full((), SLOPE), x, x, value=SLOPE * CUBIC).mul_(x).sigmoid_()


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor,
        up: Tensor,
        up_b: Tensor,
        down: Tensor,
        down_b: Tensor,
        shape: torch.Size,
    ) -> Tensor:
        result, inner = residual.new_empty(shape), x.new_empty(len(x), len(up))
        flat = result.view_as(residual)
        for start in range(0, len(x), ROWS):
            rows = slice(start, start + ROWS)
            h = torch.addmm(up_b, x[rows], up.t(), out=inner[rows])
            torch.addmm(residual[rows] + down_b, gate(h).mul_(h), down.t(), out=flat[rows])
        ctx.save_for_backward(x, inner, up, down)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, up, down = ctx.saved_tensors
        g = gradients[0].reshape(x.shape)
        to_x, to_up, to_down = torch.empty_like(x), torch.zeros_like(up), torch.zeros_like(down)
        to_up_b = up.new_zeros(len(up))
        for start in range(0, len(x), ROWS):
            rows = slice(start, start + ROWS)
            h, part = inner[rows], g[rows]
            s = gate(h)
            a = s * h
            to_down.addmm_(part.t(), a)
            # d/dh of h σ(u): σ + a (1 - σ) du/dh
            slope = torch.addcmul(h.new_full((), SLOPE), h, h, value=3 * SLOPE * CUBIC).mul_(a)
            slope.mul_(1 - s).add_(s).mul_(part @ down)
            to_up.addmm_(slope.t(), x[rows])
            to_up_b += slope.sum(0)
            torch.mm(slope, up, out=to_x[rows])
        return to_x, g, to_up, to_up_b, to_down, g.sum(0), None
