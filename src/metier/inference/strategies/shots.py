"""Which solved examples stand in front of a question: the same for all, drawn anew for each, or the nearest."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from metier.errors import MetierError
from metier.inference.strategies.likelihood import Shots
from metier.inference.strategies.questions import Form, question, worded
from metier.inference.strategies.retrieval import Bm25
from metier.tasks import Example, Task

Select = Literal["fixed", "sampled", "nearest"]


def choose(
    task: Task, pool: Sequence[Example], count: int, select: Select, seed: int, answer: Form | None = None
) -> Shots:
    """``count`` solved examples of ``pool`` for each question, never the question itself.

    Args:
        select: ``fixed``: seeded, the same for every question that is not among them, labels or letters in turn;
            ``sampled``: drawn for each question, seeded by its id; ``nearest``: by BM25 to the question, the nearest
            last, next to it.
        answer: whether options are chosen by letter or by text.

    Errors: :class:`MetierError` where the pool is too small.
    """
    check_pool(pool, count)
    if select == "fixed":
        shown, labels = in_turn(worded(task, answer), pool, answer)
        own = {example.id: example for example in pool}

        def without(id: str | None) -> list[Example]:
            others = [example for example in shown if example.id != id]
            return [own[example.id] for example in fixed(others, labels, count, seed)]

        chosen = without(None)
        ids = {example.id for example in chosen}
        return lambda example: without(example.id) if example.id in ids else chosen
    if select == "sampled":
        return lambda example: _drawn(pool, example, count, seed)
    index = Bm25([example.text for example in pool])
    place = {example.id: number for number, example in enumerate(pool)}

    def nearest(example: Example) -> list[Example]:
        own = [place[example.id]] if example.id in place else []
        return [pool[number] for number in reversed(index.nearest(example.text, count, without=own))]

    return nearest


def check_pool(pool: Sequence[Example], count: int) -> None:
    """Errors: :class:`MetierError` for too few examples to choose ``count`` from for each question."""
    if len(pool) <= count:
        raise MetierError(
            f"{count} solved examples are wanted for each question and there are {len(pool)} to choose from",
            fix="ask for fewer, or use a task with a training part",
        )


def in_turn(task: Task, pool: Sequence[Example], answer: Form | None) -> tuple[list[Example], list[str]]:
    """Examples with the answers that a model is to give, and those that take turns: labels, or letters."""
    if task.kind == "classification":
        return list(pool), list(task.labels)
    asked = [question(task, example, answer) for example in pool]
    if not asked or asked[0].form == "text":
        return list(pool), []
    letters = [q.answers[q.texts.index(q.example.target)] for q in asked]
    shown = [replace(q.example, inputs=dict(q.inputs), target=a) for q, a in zip(asked, letters, strict=True)]
    return shown, sorted(set(letters))


def fixed(pool: Sequence[Example], labels: Sequence[str], count: int, seed: int) -> list[Example]:
    """Labels in turn, short texts (at most the median length), seeded order.

    Without labels there is nothing to take turns. A label with too few short texts gives its shortest ones: an example
    is shown twice only where its label has no other.
    """
    median = sorted(len(example.text) for example in pool)[len(pool) // 2]
    members = [[e for e in pool if e.target == label] for label in labels] or [list(pool)]
    each = math.ceil(count / max(1, sum(map(bool, members))))
    short = [_short(found, median, each) for found in members]
    generator = random.Random(seed)
    pools = [generator.sample(found, len(found)) for found in short if found]
    chosen = [pools[turn % len(pools)][turn // len(pools) % len(pools[turn % len(pools)])] for turn in range(count)]
    generator.shuffle(chosen)
    return chosen


def _short(members: Sequence[Example], median: int, count: int) -> Sequence[Example]:
    """Those of at most ``median`` characters; the ``count`` shortest where these are too few, all if there are none."""
    short = [example for example in members if len(example.text) <= median]
    if not short or len(short) >= count:
        return short or members
    return sorted(members, key=lambda example: len(example.text))[:count]


def _drawn(pool: Sequence[Example], example: Example, count: int, seed: int) -> list[Example]:
    drawn = random.Random(f"{seed} {example.id}").sample(pool, count + 1)
    return [shot for shot in drawn if shot.id != example.id][:count]
