"""BLOOM's feed-forward layer with its residual; GELU a few rows at a time, so that what its steps hand on stays in the
cache.

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
        inner = torch.addmm(up_b, x, up.t())
        active = torch.empty_like(inner)
        for h, a in zip(torch.split(inner, ROWS), torch.split(active, ROWS), strict=True):
            torch.mul(gate(h), h, out=a)
        result = torch.addmm(residual + down_b, active, down.t()).view(shape)
        ctx.save_for_backward(x, inner, up, down)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, up, down = ctx.saved_tensors
        g = gradients[0].reshape(x.shape)
        slope = g @ down
        active = torch.empty_like(inner)
        for h, a, to_h in zip(*(torch.split(t, ROWS) for t in (inner, active, slope)), strict=True):
            s = gate(h)
            torch.mul(s, h, out=a)
            # d/dh of h σ(u): σ + a (1 - σ) du/dh
            steep = torch.addcmul(h.new_full((), SLOPE), h, h, value=3 * SLOPE * CUBIC).mul_(a)
            to_h.mul_(steep.mul_(1 - s).add_(s))
        to_x, to_up, to_up_b, to_down = slope @ up, slope.t() @ x, slope.sum(0), g.t() @ active
        return to_x, g, to_up, to_up_b, to_down, g.sum(0), None
