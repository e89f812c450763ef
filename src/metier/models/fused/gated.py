"""The gated feed-forward layer (Shazeer 2020, GLU variants) with LoRA on its three matrices, in one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from metier.models.fused.lora import Update, apply, is_on, is_plain, update_of
from metier.models.gradient import call


class Activation(NamedTuple):
    """A function of a number and its gradient ``(gradient behind it, number)``."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor]


SILU = Activation(torch.ops.aten.silu.default, torch.ops.aten.silu_backward.default)
GELU = Activation(
    functools.partial(torch.ops.aten.gelu.default, approximate="tanh"),
    functools.partial(torch.ops.aten.gelu_backward.default, approximate="tanh"),
)
ACTIVATIONS = {"SiLU": SILU, "SiLUActivation": SILU, "GELUTanh": GELU, "PytorchGELUTanh": GELU}


class _Gated(torch.autograd.Function):
    """``down(activation(gate(x)) · up(x))`` of rows ``(n, hidden)``; each of the three is an :class:`Update`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: Activation, scales: tuple[float, ...], *tensors: Tensor) -> Tensor:
        gate, up, down = _updates(tensors, scales)
        low_gate, low_up = (x @ torch.cat([gate.a, up.a]).t()).tensor_split([len(gate.a)], 1)
        gated, lifted = apply(x, gate, low_gate), apply(x, up, low_up)
        active = activation.value(gated)
        inner = active * lifted
        low_down = inner @ down.a.t()
        ctx.save_for_backward(x, low_gate, low_up, low_down, gated, lifted, active, *tensors)
        ctx.activation, ctx.scales = activation, scales
        return apply(inner, down, low_down)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, low_gate, low_up, low_down, gated, lifted, active, *tensors = ctx.saved_tensors
        gate, up, down = _updates(tensors, ctx.scales)
        (g,) = gradients
        back = g @ down.b
        to_inner = (g @ down.weight).addmm_(back, down.a, alpha=down.scale)
        of_down = (back.t() @ (active * lifted), low_down.t() @ g)
        to_up = active.mul_(to_inner)  # nothing reads it again
        to_gate = ctx.activation.slope(to_inner.mul_(lifted), gated)
        back = torch.cat([to_gate @ gate.b, to_up @ up.b], 1)
        to_x = None
        if ctx.needs_input_grad[0]:
            both = torch.cat([gate.a * gate.scale, up.a * up.scale])
            to_x = (to_gate @ gate.weight).addmm_(to_up, up.weight).addmm_(back, both)
        of_gate_a, of_up_a = (back.t() @ x).tensor_split([len(gate.a)])
        of = ((of_gate_a, low_gate.t() @ to_gate), (of_up_a, low_up.t() @ to_up), of_down)
        found = [
            part
            for u, (to_a, to_b) in zip((gate, up, down), of, strict=True)
            for part in (None, None, to_a * u.scale, (to_b * u.scale).t())
        ]
        return to_x, None, None, *found


def _updates(tensors: Any, scales: tuple[float, ...]) -> list[Update]:
    return [Update(*tensors[4 * i : 4 * i + 4], scales[i]) for i in range(len(scales))]  # type: ignore[call-arg]


def fuse_gated(model: nn.Module) -> None:
    """Let every gated layer of ``model`` whose three matrices carry plain LoRA compute as :class:`_Gated`."""
    for module in model.modules():
        if _is_gated(module):
            module.forward = functools.partial(_forward, module)


def _is_gated(module: Any) -> bool:
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    if not all(is_plain(part) for part in parts) or type(getattr(module, "act_fn", None)).__name__ not in ACTIVATIONS:
        return False
    like = module.gate_proj.weight
    x = torch.linspace(-2, 2, 3 * like.shape[1], device=like.device).view(3, -1).to(like.dtype)
    with torch.no_grad():  # a layer of these parts that does something else with them is left alone
        expected, found = type(module).forward(module, x), _forward(module, x)
    gap = float((found - expected).float().norm() / expected.float().norm().clamp(min=1e-6))
    return gap < (0.02 if x.dtype != torch.float32 else 1e-4)


def _forward(module: Any, x: Tensor) -> Tensor:
    parts = (module.gate_proj, module.up_proj, module.down_proj)
    if not all(is_on(part) for part in parts):
        result: Tensor = type(module).forward(module, x)
        return result
    updates = [update_of(part) for part in parts]
    tensors = [tensor for u in updates for tensor in u[:4]]
    activation, scales = ACTIVATIONS[type(module.act_fn).__name__], tuple(u.scale for u in updates)
    rows: Tensor = call(_Gated, x.flatten(0, -2), activation, scales, *tensors)
    return rows.view(x.shape)
