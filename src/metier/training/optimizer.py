"""AdamW on float32 masters of the trained weights, with warm-up and cosine."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def learning_rate(step: int, *, peak: float, warmup: int, total: int, floor: float = 0.0) -> float:
    """Rate at ``step`` (from 0): linear to ``peak`` in ``warmup`` steps, then half a cosine down to ``floor``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class MasterAdamW:
    """AdamW (Loshchilov & Hutter 2019) whose state and weights are float32, whatever format the model runs in.

    Weight decay leaves vectors (norm gains, biases) alone.
    """

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], *, decay: float, betas: tuple[float, float]) -> None:
        self.named = [(name, parameter) for name, parameter in named if parameter.requires_grad]
        self.masters = [parameter.detach().float().clone() for _, parameter in self.named]
        matrices = [m for m in self.masters if m.ndim > 1]
        vectors = [m for m in self.masters if m.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
        self.inner = torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=betas, foreach=True)

    def step(self, rate: float, clip: float) -> float:
        """One update; returns the gradient norm before clipping. Gradients are cleared."""
        for (_, parameter), master in zip(self.named, self.masters, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        norm = float(torch.nn.utils.clip_grad_norm_(self.masters, clip))
        for group in self.inner.param_groups:
            group["lr"] = rate
        self.inner.step()
        self.write_back()
        return norm

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the masters into the model, rounded to its format."""
        for (_, parameter), master in zip(self.named, self.masters, strict=True):
            parameter.copy_(master)

    def state(self) -> dict[str, Tensor]:
        """Everything an exact continuation needs, by name."""
        tensors = {}
        for (name, _), master in zip(self.named, self.masters, strict=True):
            tensors[f"master.{name}"] = master
            for key, value in self.inner.state.get(master, {}).items():
                tensors[f"{key}.{name}"] = value
        return tensors

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take up where :meth:`state` was written."""
        for (name, _), master in zip(self.named, self.masters, strict=True):
            master.copy_(tensors[f"master.{name}"])
            kept = {
                key: tensors[f"{key}.{name}"].clone()
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}.{name}" in tensors
            }
            if kept:
                self.inner.state[master] = kept
        self.write_back()
