"""AdamW on float32 masters of the trained weights, with warm-up and cosine."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from metier.training.distributed import whole


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
        # a float32 parameter is its own master
        self.masters = [p if p.dtype == torch.float32 else p.detach().float().clone() for _, p in self.named]
        matrices = [m for m in self.masters if m.ndim > 1]
        vectors = [m for m in self.masters if m.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
        self.inner = torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=betas, fused=True)

    def gather(self) -> float:
        """Move the gradients to the masters; returns their norm."""
        for (_, parameter), master in zip(self.named, self.masters, strict=True):
            if master is not parameter:
                master.grad = None if parameter.grad is None else parameter.grad.float()
                parameter.grad = None
        gradients = [master.grad for master in self.masters if master.grad is not None]
        return float(whole(torch.nn.utils.get_total_norm(gradients)))

    def step(self, rate: float, norm: float, clip: float) -> None:
        """One update with gradients of ``norm``, scaled down where it exceeds ``clip``. Gradients are cleared."""
        torch.nn.utils.clip_grads_with_norm_(self.masters, clip, torch.tensor(norm))
        for group in self.inner.param_groups:
            group["lr"] = rate
        self.inner.step()
        self.drop()
        self.write_back()

    def drop(self) -> None:
        """Forget the gradients."""
        for master in self.masters:
            master.grad = None

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the masters into the model, rounded to its format."""
        for (_, parameter), master in zip(self.named, self.masters, strict=True):
            if master is not parameter:
                parameter.copy_(master)

    def state(self) -> dict[str, Tensor]:
        """Everything an exact continuation needs, by name."""
        tensors = {}
        for (name, _), master in zip(self.named, self.masters, strict=True):
            tensors[f"master.{name}"] = master.detach()
            for key, value in self.inner.state.get(master, {}).items():
                tensors[f"{key}.{name}"] = value
        return tensors

    def blank(self) -> dict[str, Tensor]:
        """Room for what :meth:`state` gives after a step, in the same shapes and shards."""
        tensors = {}
        for (name, _), master in zip(self.named, self.masters, strict=True):
            tensors[f"step.{name}"] = torch.zeros(())
            for key in ("master", "exp_avg", "exp_avg_sq"):
                tensors[f"{key}.{name}"] = torch.zeros_like(master, requires_grad=False)
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
