"""Frozen matrices of a model's own modules once more, in the order that oneDNN multiplies in.

A matmul of a few dozen rows spends a third of its time on reordering the weights, the same ones every time. Where
nothing learns they are kept reordered beside the model: twice the memory, the same numbers but for the order of sums.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 64  # oneDNN chooses the order of the weights for about this many rows
# The weights are held twice: at most this share of the memory that is free.
MEMORY_SHARE = 0.25

_active: contextvars.ContextVar[dict[int, Tensor] | None] = contextvars.ContextVar("metier_reordered", default=None)


def reordered(weight: Tensor) -> Tensor:
    """``weight (out, in)`` for oneDNN's matmul. Errors: ``RuntimeError`` or ``AttributeError`` where torch cannot."""
    order: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
    return order


def why_not_twice(model: nn.Module) -> str | None:
    """Why a model's weights cannot be held once more in this order, or nothing."""
    weights = list(model.parameters())
    kinds = {(w.dtype, w.device.type) for w in weights}
    if len(kinds) > 1 or kinds not in ({(torch.float32, "cpu")}, {(torch.bfloat16, "cpu")}):
        return "only for float32 or bfloat16 on the processor"
    size = sum(w.numel() * w.element_size() for w in weights)
    if size > MEMORY_SHARE * psutil.virtual_memory().available:
        return "its weights would not fit into memory twice"
    return None


class Reordered:
    """The linear layers below ``module``, reordered. Errors: as :func:`reordered`."""

    def __init__(self, module: nn.Module) -> None:
        layers: list[Any] = [part for part in module.modules() if type(part) is nn.Linear]
        self._orders = {id(layer.weight): reordered(layer.weight) for layer in layers}
        self._kept = [layer.weight for layer in layers]  # else a number could come to stand for another tensor
        for layer in layers:
            layer.forward = functools.partial(_forward, layer)

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Within this context, in this thread, the layers multiply with the reordered weights."""
        token = _active.set(self._orders)
        try:
            yield
        finally:
            _active.reset(token)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x W' + bias``, ``(..., in) → (..., out)``, with the reordered weight if there is one in use."""
    orders = _active.get()
    order = None if orders is None else orders.get(id(weight))
    if order is None:
        return F.linear(x, weight, bias)
    found: Tensor = torch.ops.mkldnn._linear_pointwise.default(x, order, bias, "none", [], "")
    return found


def _forward(layer: Any, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)
