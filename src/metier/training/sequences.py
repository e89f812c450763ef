"""Learning from text: sequences of one length, every position carries loss."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import nn

from metier.errors import MetierError
from metier.models.sequences import SequenceModel
from metier.training import distributed
from metier.training.loop import Batch


class Sequence(Protocol):
    """``tokens`` is ``(sequence_length + 1,)``: inputs are all but the last, targets all but the first."""

    @property
    def source(self) -> str:
        """The name of its source."""

    @property
    def tokens(self) -> np.ndarray:
        """Ids, int64."""


class SequenceSource(Protocol):
    """Sequences by number: the order is a function of the number alone, so that a resumed run repeats it."""

    def sequence(self, i: int) -> Sequence:
        """Sequence ``i``."""


@dataclass(frozen=True)
class BatchSizes:
    """Sequences an optimizer step: ``first`` up to step ``until``, then ``then`` (BloombergGPT: 1,024 for 7,200 steps,
    then 2,048; Wu et al. 2023, section 3.3).
    """

    then: int
    first: int = 0
    until: int = 0

    def at(self, step: int) -> int:
        """Sequences of ``step`` (from 0)."""
        return self.first if step < self.until else self.then

    def before(self, step: int) -> int:
        """Sequences that the steps before ``step`` have read: the position in the data."""
        return min(step, self.until) * self.first + max(0, step - self.until) * self.then

    def steps_for(self, sequences: int) -> int:
        """The most steps that as many sequences allow."""
        early = min(self.until, sequences // self.first) if self.until else 0
        return early if early < self.until else early + (sequences - self.before(early)) // self.then


class Part(NamedTuple):
    """The sequences of one step that this process reads, and how many all processes read together."""

    tokens: torch.Tensor
    sources: Counter[str]
    sequences: int


class Sequences:
    """The work of pretraining, from nothing or continued.

    Args:
        model: under FSDP already sharded; it adds up what all processes find.
        micro_batch_tokens: tokens run at once in one process.

    Errors: :class:`MetierError` for batches that the processes cannot share evenly.
    """

    def __init__(
        self,
        model: SequenceModel,
        source: SequenceSource,
        *,
        steps: int,
        batch: BatchSizes,
        micro_batch_tokens: int = 4096,
    ) -> None:
        self._model, self.source, self.steps, self.batch = model, source, steps, batch
        self.budget = micro_batch_tokens
        self.ranks = distributed.world_size()
        for size in {batch.at(0), batch.then}:
            if size < 1 or size % self.ranks:
                raise MetierError(
                    f"{self.ranks} processes cannot share a batch of {size} sequences evenly",
                    where="recipe, pretrain.batch_sequences",
                    fix=f"use {max(1, round(size / self.ranks)) * self.ranks}",
                )

    @property
    def model(self) -> nn.Module:
        """The transformers model: its parameters' names are those of its files."""
        causal: nn.Module = self._model.causal
        return causal

    def prepare(self, folder: Path) -> None:
        """Nothing is shared by all steps."""

    def accumulate(self, step: int) -> Batch:
        """Gradients of the mean loss over the step's tokens, however they are cut into runs and processes."""
        part = self._read(step)
        length = part.tokens.shape[1] - 1
        carried = part.sequences * length
        at_once = max(1, self.budget // length)
        total = 0.0
        for tokens in torch.split(part.tokens.to(self._device), at_once):
            nats = self._model(tokens)
            # sharded gradients come out as the mean over processes
            (nats * (self.ranks / carried)).backward()
            total += float(nats.detach())
        position = self.batch.before(step + 1)
        shown: dict[str, Any] = {"sequences": position}
        if self.ranks == 1:  # of several processes each knows its own
            shown["sources"] = dict(sorted(part.sources.items()))
        loss = distributed.sum_over_ranks(total) / carried
        return Batch(loss, part.sequences, carried, carried, shown)

    def _read(self, step: int) -> Part:
        count, start, mine = self.batch.at(step), self.batch.before(step), distributed.rank()
        found = [self.source.sequence(i) for i in range(start + mine, start + count, self.ranks)]
        tokens = torch.from_numpy(np.stack([np.asarray(s.tokens, dtype=np.int64) for s in found]))
        return Part(tokens, Counter(s.source for s in found), count)

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device
