"""The order in which examples are seen: a function of seed and epoch alone, so that a resumed run repeats it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def epoch_batches(lengths: Sequence[int], *, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Batches of example indices for one epoch: shuffled, then near in length within windows of 16 batches.

    Every index appears exactly once. Batches of like lengths waste little attention; the windows keep the
    epoch random.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    window = 16 * batch_size
    batches: list[list[int]] = []
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window].tolist(), key=lambda i: (lengths[i], i))
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def weighted_draw(weights: Sequence[float], *, seed: int, epoch: int) -> list[int]:
    """As many indices as there are weights: each ``n · weight / sum`` times, rounded up or down.

    Systematic sampling (Madow 1949) in a random order: what one epoch rounds down another rounds up.
    """
    random = np.random.default_rng([seed, epoch, 1])
    order = random.permutation(len(weights))
    ends = np.cumsum(np.asarray(weights, dtype=float)[order])
    points = (random.random() + np.arange(len(order))) * ends[-1] / len(order)
    return [int(index) for index in order[np.searchsorted(ends[:-1], points, side="right")]]
