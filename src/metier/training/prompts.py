"""Learning from prompts and their answers: loss on the answers' tokens alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from metier.models.batching import sorted_runs
from metier.models.encode import split_prefix
from metier.models.forward import Runner
from metier.models.packed import Item
from metier.models.trunk import Showing, Trunk, compute_trunk, unseen
from metier.training.loop import Batch
from metier.training.order import epoch_batches, weighted_draw


class Prompts:
    """The work of fine-tuning.

    Args:
        steps: optimizer steps, if the epochs are not to be gone through to their end.
        batch_size: examples an optimizer step.
        micro_batch_tokens: tokens run at once.
        weights: how much more often one item is seen than another; equally often if left out.
        seed: of the order.
        lowest_layer: below it nothing trains; what those layers give is computed once and kept.
        showing: how far that is.
    """

    def __init__(
        self,
        runner: Runner,
        items: Sequence[Item],
        *,
        epochs: int = 3,
        steps: int | None = None,
        batch_size: int = 32,
        micro_batch_tokens: int = 4096,
        weights: Sequence[float] | None = None,
        seed: int = 0,
        lowest_layer: int = 0,
        showing: Showing = unseen,
    ) -> None:
        self.runner, self.budget, self.lowest, self.showing = runner, micro_batch_tokens, lowest_layer, showing
        self.prefix, self.items = split_prefix(items)
        batches = [batch for epoch in range(epochs) for batch in self._batches(batch_size, weights, seed, epoch)]
        self.batches, self.an_epoch = batches[:steps], len(batches) / epochs
        self.steps = len(self.batches)
        self.trunk: Trunk | None = None

    def _batches(self, size: int, weights: Sequence[float] | None, seed: int, epoch: int) -> list[list[int]]:
        seen = weighted_draw(weights, seed=seed, epoch=epoch) if weights else range(len(self.items))
        lengths = [self.items[i].tokens for i in seen]
        return [[seen[i] for i in b] for b in epoch_batches(lengths, batch_size=size, seed=seed, epoch=epoch)]

    @property
    def model(self) -> nn.Module:
        """The model that the runner runs."""
        return self.runner.model

    def prepare(self, folder: Path) -> None:
        """The hidden states that the frozen layers give."""
        spill = folder / "trunk"
        self.trunk = compute_trunk(self.runner, self.lowest, self.prefix, self.items, spill=spill, showing=self.showing)

    def accumulate(self, step: int) -> Batch:
        """Gradients of one batch."""
        batch = [self.items[i] for i in self.batches[step]]
        loss = accumulate(self.runner, self.prefix, batch, self.budget, self.trunk)
        return Batch(
            loss=loss,
            examples=len(batch),
            tokens=sum(item.tokens for item in batch) + len(self.prefix) + self.runner.soft_tokens,
            loss_tokens=sum(len(answer) for item in batch for answer in item.answers),
            shown={"epoch": round((step + 1) / self.an_epoch, 3)},
        )


def accumulate(
    runner: Runner, prefix: Sequence[int], batch: Sequence[Item], budget: int, trunk: Trunk | None = None
) -> float:
    """Gradients of the mean loss over the batch's answer tokens, however it is cut into runs; returns the loss.

    Where an item's answers have weights, it is the mean under them: cross-entropy with a target that is no single
    answer.
    """
    carried = sum(
        weight * len(answer) for item in batch for weight, answer in zip(_weights(item), item.answers, strict=True)
    )
    total = 0.0
    for run in sorted_runs(batch, budget, prefix=len(prefix) + runner.soft_tokens):
        part = [batch[i] for i in run]
        values, owner = runner.logprobs(part, prefix, entry=trunk.entry(part) if trunk else None)
        if any(item.weights for item in part):
            values = values * torch.tensor([w for item in part for w in _weights(item)], device=values.device)[owner]
        loss: Tensor = -values.sum() / carried
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach())
    return total


def _weights(item: Item) -> tuple[float, ...]:
    return item.weights or (1.0,) * len(item.answers)
