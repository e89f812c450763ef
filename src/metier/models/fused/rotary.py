"""Rotary position embeddings (Su et al. 2021, RoFormer, equation 34) in three steps, forwards and backwards."""

from __future__ import annotations

import types
from typing import Any

import torch
from torch import Tensor, nn

from metier.models.gradient import call

NAME = "apply_rotary_pos_emb"  # what transformers' attention modules call


class _Rotate(torch.autograd.Function):
    """``x cos + half-turned x · sin``, ``(..., head_dim)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return torch.addcmul(x * cos, _turned(x), sin)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (cos, sin), (g,) = ctx.saved_tensors, gradients
        return torch.addcmul(g * cos, _turned(g), _turned(sin)), None, None


def _turned(x: Tensor) -> Tensor:
    return x.roll(x.shape[-1] // 2, -1)


def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, unsqueeze_dim: int = 1) -> tuple[Tensor, Tensor]:
    """transformers' function of that name: queries and keys ``(batch, heads, tokens, head_dim)``."""
    half = sin.shape[-1] // 2
    cos, sin = cos.unsqueeze(unsqueeze_dim), torch.cat([-sin[..., :half], sin[..., half:]], -1).unsqueeze(unsqueeze_dim)
    queries, keys = (call(_Rotate, x, cos, sin) for x in (q, k))
    return queries, keys


def fuse_rotary(model: nn.Module) -> None:
    """Let every attention module of ``model`` that turns its queries and keys in transformers' way do so here."""
    for module in model.modules():
        forward = type(module).forward
        names = getattr(getattr(forward, "__code__", None), "co_names", ())
        if NAME in names and _is_usual(forward.__globals__.get(NAME)):
            own = types.FunctionType(
                forward.__code__, {**forward.__globals__, NAME: rotate}, forward.__name__,
                forward.__defaults__, forward.__closure__,
            )  # fmt: skip
            own.__kwdefaults__ = forward.__kwdefaults__
            module.forward = types.MethodType(own, module)


def _is_usual(function: Any) -> bool:
    """Whether ``function`` gives what :func:`rotate` gives on a trial."""
    x = torch.linspace(-1, 1, 48).view(1, 2, 3, 8)
    angle = torch.linspace(0, 3, 12).view(1, 3, 4).repeat(1, 1, 2)
    try:
        expected = function(x, x * 2, angle.cos(), angle.sin())
    except (TypeError, RuntimeError, ValueError):
        return False
    found = rotate(x, x * 2, angle.cos(), angle.sin())
    return all(a.shape == b.shape and torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, found, strict=True))
