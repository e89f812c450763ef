"""LoRA's arithmetic with nothing written twice: the update is added inside the matmul that makes it.

peft computes ``W x + s · B (A x)`` as a matmul, two small ones, a product and a sum, each of which writes a tensor as
large as the layer's output; on a processor these writes cost as much as a third of the matmuls.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from metier.models.gradient import call
from metier.models.reordered import linear


class Update(NamedTuple):
    """A frozen layer with its adapter: ``x W' + bias + s · (x A') B'`` (Hu et al. 2021, equation 3)."""

    weight: Tensor  # (out, in)
    bias: Tensor | None
    a: Tensor  # (rank, in)
    b: Tensor  # (out, rank)
    scale: float


def update_of(layer: Any) -> Update:
    """What a plain LoRA layer computes with."""
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    return Update(layer.base_layer.weight, layer.base_layer.bias, a, b, layer.scaling["default"])


def is_plain(layer: Any) -> bool:
    """Whether ``layer`` is one LoRA adapter, without dropout or a variant, on a frozen linear layer."""
    from peft.tuners.lora import Linear

    return (
        isinstance(layer, Linear)
        and type(layer.base_layer) is nn.Linear
        and not layer.base_layer.weight.requires_grad
        and list(layer.lora_A) == ["default"]
        and not layer.lora_variant
        and not layer.fan_in_fan_out
        and isinstance(layer.lora_dropout["default"], nn.Identity)
        and layer.lora_A["default"].bias is None
        and layer.lora_B["default"].bias is None
    )


def is_on(layer: Any) -> bool:
    """Whether the adapter is there, and neither switched off nor part of the weight already."""
    return not getattr(layer, "disable_adapters", True) and not layer.merged


def apply(x: Tensor, u: Update, low: Tensor) -> Tensor:
    """``x W' + bias + s · low B'``, rows ``(n, in)`` and ``low`` ``(n, rank)`` to ``(n, out)``."""
    return linear(x, u.weight, u.bias).addmm_(low, u.b.t(), alpha=u.scale)


class _LoraLinear(torch.autograd.Function):
    """An :class:`Update` of rows ``(n, in) → (n, out)``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        low = x @ a.t()  # (n, rank)
        ctx.save_for_backward(x, weight, a, b, low)
        ctx.scale = scale
        return apply(x, Update(weight, bias, a, b, scale), low)

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
    for module in model.modules():
        if is_plain(module):
            module.forward = functools.partial(_forward, module)


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if not is_on(layer) or args or kwargs:
        result: Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return result
    rows: Tensor = call(_LoraLinear, x.flatten(0, -2), *update_of(layer))
    return rows.reshape(*x.shape[:-1], rows.shape[-1])
