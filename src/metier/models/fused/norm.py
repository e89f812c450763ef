"""The gradient of RMSNorm (Zhang & Sennrich 2019) in a few steps; its value is the module's own."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from metier.models.gradient import call


class _Norm(torch.autograd.Function):
    """``w · x / rms(x)`` for a frozen ``w``: ``dx = r g w - x r³ mean(g w x)`` with ``r = 1 / rms(x)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module, weight: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        found: Tensor = type(module).forward(module, x)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (x, weight), (g,) = ctx.saved_tensors, gradients
        size = x.shape[-1]
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        r = torch.rsqrt(norm.square() / size + ctx.eps)
        # LayerNorm's gradient around a mean of 0 is this but for - r mean(g w)
        zero, gain = torch.zeros_like(r), weight.float()
        to_x = torch.ops.aten.native_layer_norm_backward(g, x, [size], zero, r, gain, None, [True, False, False])[0]
        return (
            to_x.add_((torch.mv(g.reshape(-1, size), weight).view_as(r) * r).div_(size).to(x.dtype)),
            None,
            None,
            None,
        )


def fuse_norms(model: nn.Module) -> None:
    """Give every frozen RMSNorm of ``model`` the gradient of :class:`_Norm`."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and (weight := _weight(module)) is not None:
            module.forward = functools.partial(_forward, module, weight)


def _weight(module: Any) -> Tensor | None:
    """What the module multiplies with, found by a trial: its weight, or one more (Gemma); None for something else."""
    weight, eps = getattr(module, "weight", None), _eps(module)
    if weight is None or eps is None or weight.requires_grad or weight.dim() != 1 or weight.device.type != "cpu":
        return None
    x = torch.linspace(-1, 2, 3 * len(weight), device=weight.device).view(3, -1).to(weight.dtype)
    with torch.no_grad():
        expected = type(module).forward(module, x).float()
        plain = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + eps)
        for factor in (weight.detach(), (1.0 + weight.detach().float())):
            gap = (plain * factor.float() - expected).norm() / expected.norm().clamp(min=1e-6)
            if float(gap) < (1e-2 if weight.dtype != torch.float32 else 1e-5):
                kept: Tensor = factor.to(weight.dtype)
                return kept
    return None


def _eps(module: Any) -> float | None:
    found = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    return found if isinstance(found, float) else None


def _forward(module: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    found: Tensor = call(_Norm, x, module, weight, _eps(module))
    return found
