"""Several tasks with one set of labels, learnt together by one adapter and measured on each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metier.errors import MetierError
from metier.recipe import Mix, Recipe
from metier.run.data import Data, prepare_data, thin_labels
from metier.run.rivals import unmeasured
from metier.sources import Lock
from metier.tasks import Example, Task
from metier.tasks.prepare import key_of


@dataclass(frozen=True)
class Mixture:
    """What is learnt together.

    Attributes:
        main: the recipe's own task, whose prompt all share.
        others: the tasks mixed in, each with its own split.
        train: examples of one epoch, drawn from the training parts after everything was split and de-duplicated.
        drawn: for each task: examples in its training part, how many were left out because they stand in the
            validation or test part of another task, and how many the epoch draws.
    """

    main: Data
    others: list[Data]
    train: list[Example]
    drawn: dict[str, dict[str, int]]

    def warnings(self) -> list[str]:
        """What is to be said of how the tasks mixed in were read, each with its task's name."""
        return [f"{data.name}: {told}" for data in self.others for told in [*data.loaded.warnings, *thin_labels(data)]]


def mix_tasks(recipe: Recipe, main: Data, *, data_root: Path | None, lock: Lock | None, offline: bool) -> Mixture:
    """Load, split and draw.

    Errors: :class:`MetierError` for a task with other labels or other fields than the main one.
    """
    assert recipe.mix is not None
    others = []
    for choice in recipe.mix.tasks:
        data = prepare_data(recipe.model_copy(update={"task": choice}), data_root=data_root, lock=lock, offline=offline)
        _check(main, data)
        others.append(data)
    parts = [main, *others]
    names = [data.name for data in parts]
    if len(set(names)) < len(names):
        raise MetierError(
            f"a task is mixed in twice: {', '.join(names)}",
            where="recipe, mix.tasks",
            fix="name each once; tables of one's own get different names by task.name",
        )
    held_out = {key_of(e) for data in parts for part in data.split.parts if part != "train" for e in data.part(part)}
    free = [[e for e in data.part("train") if key_of(e) not in held_out] for data in parts]
    for data, pool in zip(parts, free, strict=True):
        if not pool:
            raise MetierError(
                f"nothing of {data.name} is left to learn: all {len(data.part('train'))} texts of its training part "
                "stand in the validation or test part of another task",
                where="recipe, mix.tasks",
                fix="leave it out of the mix, or give texts of its own",
            )
    counts = shares([len(pool) for pool in free], recipe.mix)
    train, drawn = [], {}
    for number, (data, pool, count) in enumerate(zip(parts, free, counts, strict=True)):
        train += _draw(pool, count, random.Random(f"{recipe.seed} {number}"))
        all_of_it = len(data.part("train"))
        drawn[data.name] = {"train": all_of_it, "held_out_elsewhere": all_of_it - len(pool), "an_epoch": count}
    return Mixture(main, others, train, drawn)


def shares(sizes: Sequence[int], mix: Mix) -> list[int]:
    """Examples of each task in an epoch: by the given weights, or by size to the power 1/temperature."""
    raw = mix.weights or [size ** (1 / mix.temperature) for size in sizes]
    total = mix.examples or sum(sizes)
    return [max(1, round(total * weight / sum(raw))) for weight in raw]


def _draw(pool: Sequence[Example], count: int, generator: random.Random) -> list[Example]:
    """Every example equally often, but for a remainder drawn at random."""
    whole, rest = divmod(count, len(pool))
    return [*pool] * whole + generator.sample(list(pool), rest)


def _check(main: Data, other: Data) -> None:
    if main.task.written or other.task.written:
        raise MetierError(
            "tasks whose answers are written out have no labels to share", where="recipe, mix", fix="leave mix out"
        )
    ours, theirs = main.task.labels, other.task.labels
    if set(ours) != set(theirs):
        raise MetierError(
            f"{other.name} has the labels {', '.join(theirs)}, {main.name} has {', '.join(ours)}",
            where="recipe, mix.tasks",
            fix="mix tasks with the same labels, or map them onto each other with label_map",
        )
    if set(main.task.template.fields()) != set(other.task.template.fields()):
        raise MetierError(
            f"{other.name} gives the fields {', '.join(other.task.template.fields())}, the prompt of {main.name} needs "
            f"{', '.join(main.task.template.fields())}",
            where="recipe, mix.tasks",
            fix="mix tasks that are asked about the same fields" + _variants(other.task),
        )


def _variants(task: Task) -> str:
    return f"; variants of {task.name}: {', '.join(task.variants)}" if task.variants else ""


def alone(recipe: Recipe, number: int) -> Recipe:
    """The recipe of one task of the mixture by itself: 0 is the main one."""
    assert recipe.mix is not None
    choice = [recipe.needed_task(), *recipe.mix.tasks][number]
    return recipe.model_copy(update={"task": choice, "mix": None, "seeds": None, **unmeasured(recipe)})
