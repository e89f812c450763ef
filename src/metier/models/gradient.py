"""Calling a function that has a gradient of its own."""

from __future__ import annotations

from typing import Any

import torch


class _Nowhere:
    """A context that keeps nothing."""

    def save_for_backward(self, *tensors: Any) -> None:
        pass


def call(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """``function`` of ``arguments``; where nothing learns, without a trace in autograd (nor for an exporter)."""
    if torch.is_grad_enabled():
        return function.apply(*arguments)  # type: ignore[no-untyped-call]
    return function.forward(_Nowhere(), *arguments)
