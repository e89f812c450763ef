"""Which solved examples stand in front of a question: the same for all, drawn anew for each, or the nearest."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from metier.errors import MetierError
from metier.inference.strategies.likelihood import Shots
from metier.inference.strategies.retrieval import Bm25
from metier.tasks import Example

Select = Literal["fixed", "sampled", "nearest"]


def choose(pool: Sequence[Example], labels: Sequence[str], count: int, select: Select, seed: int) -> Shots:
    """``count`` solved examples of ``pool`` for each question, never the question itself.

    Args:
        labels: of a classification, which take turns among fixed examples; empty for other tasks.
        select: ``fixed``: seeded, the same for every question; ``sampled``: drawn for each question, seeded by its id;
            ``nearest``: by BM25 to the question, the nearest last, next to it.

    Errors: :class:`MetierError` where the pool is too small.
    """
    if len(pool) <= count:
        raise MetierError(
            f"{count} solved examples are wanted for each question and there are {len(pool)} to choose from",
            fix="ask for fewer, or use a task with a training part",
        )
    if select == "fixed":
        chosen = fixed(pool, labels, count, seed)
        return lambda example: chosen
    if select == "sampled":
        return lambda example: _drawn(pool, example, count, seed)
    index = Bm25([example.text for example in pool])
    place = {example.id: number for number, example in enumerate(pool)}

    def nearest(example: Example) -> list[Example]:
        own = [place[example.id]] if example.id in place else []
        return [pool[number] for number in reversed(index.nearest(example.text, count, without=own))]

    return nearest


def fixed(pool: Sequence[Example], labels: Sequence[str], count: int, seed: int) -> list[Example]:
    """Labels in turn, short texts (at most the median length), seeded order.

    Without labels there is nothing to take turns.
    """
    median = sorted(len(example.text) for example in pool)[len(pool) // 2]
    members = [[e for e in pool if e.target == label] for label in labels] or [list(pool)]
    short = [[e for e in found if len(e.text) <= median] or found for found in members]
    generator = random.Random(seed)
    pools = [generator.sample(found, len(found)) for found in short if found]
    chosen = [pools[turn % len(pools)][turn // len(pools) % len(pools[turn % len(pools)])] for turn in range(count)]
    generator.shuffle(chosen)
    return chosen


def _drawn(pool: Sequence[Example], example: Example, count: int, seed: int) -> list[Example]:
    drawn = random.Random(f"{seed} {example.id}").sample(pool, count + 1)
    return [shot for shot in drawn if shot.id != example.id][:count]
