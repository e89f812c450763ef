"""The layers that no gradient reaches: run once for every prompt, their result kept for all epochs.

With adapters from layer K upwards the hidden states below K never change: once they are kept, the forward pass
of an epoch begins at K, as its backward pass ends there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metier.files import explain_os_errors
from metier.models.batching import TOKEN_BUDGET, sorted_runs
from metier.models.forward import Runner
from metier.models.layers import Entry
from metier.models.packed import Item

# Hidden states up to this many bytes stay in memory; more are kept in a file that the system pages in and out.
IN_MEMORY = 2 << 30

Showing = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Of a title and a total: shows how far something is, told how many more are done."""


@contextmanager
def unseen(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows nothing."""
    yield lambda done: None


@dataclass(frozen=True)
class Trunk:
    """Hidden states that enter layer ``lowest``, of a shared prefix and of every item behind it.

    Attributes:
        before: ``(prefix, hidden)``.
        states: ``(tokens, hidden)``, the items' tokens one after another.
        starts: row in ``states`` at which an item begins.
    """

    lowest: int
    prefix: tuple[int, ...]
    before: Tensor
    states: Tensor
    starts: dict[Item, int]

    def entry(self, items: Sequence[Item]) -> Entry:
        """The states of ``items`` behind the prefix, in the order in which a pack lays them out."""
        spans = [(self.starts[item], item.tokens) for item in items]
        rows = torch.cat([self.before, *(self.states[start : start + size] for start, size in spans)])
        return Entry(self.lowest, rows[None])


@torch.no_grad()
def compute_trunk(
    runner: Runner,
    lowest: int,
    prefix: Sequence[int],
    items: Sequence[Item],
    *,
    spill: Path,
    showing: Showing = unseen,
) -> Trunk | None:
    """Run the layers below ``lowest`` over ``items`` (prefix taken off), in an order that the items alone decide.

    Args:
        spill: file that holds the states when they exceed :data:`IN_MEMORY`; it goes with the process.
        showing: how many items are done.

    Returns:
        ``None`` where there is nothing to keep: no frozen layer, no items, or a model that is not run packed.
    """
    if not (lowest and items and runner.packing):
        return None
    unique = list(dict.fromkeys(items))
    starts, total = {}, 0
    for item in unique:
        starts[item] = total
        total += item.tokens
    runner.model.eval()
    before = runner.hidden_entering(lowest, prefix, [])
    states = _room(total, before, spill)
    with showing(f"layers below {lowest}", len(unique)) as tick:
        for run in sorted_runs(unique, TOKEN_BUDGET, prefix=len(prefix)):
            batch = [unique[i] for i in run]
            found = runner.hidden_entering(lowest, prefix, batch)
            at = len(prefix)
            for item in batch:
                states[starts[item] : starts[item] + item.tokens] = found[at : at + item.tokens]
                at += item.tokens
            tick(len(batch))
    return Trunk(lowest, tuple(prefix), before, states, starts)


def _room(tokens: int, like: Tensor, spill: Path) -> Tensor:
    shape = (tokens, like.shape[1])
    if tokens * shape[1] * like.dtype.itemsize <= IN_MEMORY or like.device.type != "cpu" or os.name != "posix":
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    with explain_os_errors(spill):
        spill.parent.mkdir(parents=True, exist_ok=True)
        flat = torch.from_file(str(spill), shared=True, size=tokens * shape[1], dtype=like.dtype)
        spill.unlink()  # the mapping keeps it alive, and a killed run leaves nothing behind
    return flat.view(shape)
