"""LoRA's arithmetic with nothing written twice: the update is added inside the matmul that makes it.

peft computes ``W x + s · B (A x)`` as a matmul, two small ones, a product and a sum, each of which writes a tensor as
large as the layer's output; on a processor these writes cost as much as a third of the matmuls. The numbers are the
same but for the order of rounding; the modules, their names and their files stay peft's.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _LoraLinear(torch.autograd.Function):
    """``x W' + s · (x A') B' + bias`` for a frozen ``W`` (Hu et al. 2021, equation 3), rows ``(n, in) → (n, out)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        low = x @ a.t()  # (n, rank)
        ctx.save_for_backward(x, weight, a, b, low)
        ctx.scale = scale
        return F.linear(x, weight, bias).addmm_(low, b.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        x, weight, a, b, low = ctx.saved_tensors
        (g,) = gradients
        back = g @ b  # (n, rank)
        to_x = (g @ weight).addmm_(back, a, alpha=ctx.scale) if ctx.needs_input_grad[0] else None
        # few rows by many columns: the transposed product is ten times slower
        to_a, to_b = (back.t() @ x).mul_(ctx.scale), (low.t() @ g).mul_(ctx.scale).t()
        return to_x, None, None, to_a, to_b, None


def fuse_lora(model: nn.Module) -> None:
    """Let every plain LoRA layer of ``model`` compute as :class:`_LoraLinear`; others (dropout, DoRA) stay."""
    from peft.tuners.lora import Linear

    for module in model.modules():
        if isinstance(module, Linear) and _is_plain(module):
            module.forward = functools.partial(_forward, module)


def _is_plain(layer: Any) -> bool:
    return (
        type(layer.base_layer) is nn.Linear
        and not layer.base_layer.weight.requires_grad
        and list(layer.lora_A) == ["default"]
        and not layer.lora_variant
        and not layer.fan_in_fan_out
        and isinstance(layer.lora_dropout["default"], nn.Identity)
        and layer.lora_A["default"].bias is None
        and layer.lora_B["default"].bias is None
    )


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if layer.disable_adapters or layer.merged or args or kwargs:
        result: Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return result
    base, a, b = layer.base_layer, layer.lora_A["default"].weight, layer.lora_B["default"].weight
    rows: Tensor = _LoraLinear.apply(x.flatten(0, -2), base.weight, base.bias, a, b, layer.scaling["default"])  # type: ignore[no-untyped-call]
    return rows.reshape(*x.shape[:-1], rows.shape[-1])
