"""Label likelihoods: one forward an example, the shared prompt computed once, batches near in length."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from metier.models.batching import sorted_runs
from metier.models.encode import split_prefix
from metier.models.forward import Runner
from metier.models.packed import Item
from metier.models.trunk import Trunk


@dataclass(frozen=True)
class Scored:
    """Log-likelihoods of every candidate of every item, with what they cost.

    Attributes:
        logprobs: one array per item, ``(candidates,)``, natural logs, unnormalised.
        tokens: tokens run for each item, the shared prefix not counted.
        seconds: wall-clock for all items.
    """

    logprobs: list[np.ndarray]
    tokens: list[int]
    seconds: float


def score(
    runner: Runner,
    items: Sequence[Item],
    *,
    prefix: Sequence[int] | None = None,
    trunk: Trunk | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scored:
    """Score every answer of ``items`` (whole prompts).

    Args:
        prefix: tokens known to begin every prompt; found from the items when not given.
        trunk: what the frozen layers give for these items, its prefix the one all of them begin with.
        progress: called with the number of items finished since the last call.
    """
    start = time.perf_counter()
    shared, bare = split_prefix(items) if prefix is None else (tuple(prefix), _without(items, len(prefix)))
    result: list[np.ndarray] = [np.empty(0)] * len(items)
    with torch.inference_mode():
        stored = None if trunk else runner.store_prefix(shared)
        for run in sorted_runs(bare, prefix=runner.soft_tokens + len(shared)):
            batch = [bare[i] for i in run]
            entry = trunk.entry(batch) if trunk else None
            values = runner.answer_logprobs(batch, shared, stored, entry).cpu().double().numpy()  # MPS has no doubles
            ends = np.cumsum([len(item.answers) for item in batch])
            for index, part in zip(run, np.split(values, ends[:-1]), strict=True):
                result[index] = part
            if progress:
                progress(len(run))
    return Scored(result, [item.tokens for item in bare], time.perf_counter() - start)


def _without(items: Sequence[Item], count: int) -> list[Item]:
    return [Item(item.trunk[count:], item.answers) for item in items]


def normalise(logprobs: np.ndarray) -> np.ndarray:
    """Probabilities over the candidates: softmax along the last axis."""
    shifted = np.exp(logprobs - logprobs.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))
