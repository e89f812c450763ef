"""From the recipe's task to parts without duplicates."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.recipe import Recipe, TaskChoice
from metier.sources import Lock
from metier.tasks import Example, Loaded, Split, Task, from_table, load_task, prepare, split


@dataclass(frozen=True)
class Data:
    """The task's examples, ready to learn from."""

    loaded: Loaded
    split: Split
    duplicates: dict[str, Any]

    @property
    def task(self) -> Task:
        """The task itself."""
        return self.loaded.task

    def part(self, name: str) -> list[Example]:
        """Examples of ``train``, ``validation`` or ``test``."""
        return self.split.parts[name]

    def to_json(self) -> dict[str, Any]:
        """What ``data/splits.json`` holds."""
        return self.split.to_json([] if self.task.written else self.task.labels, self.duplicates)


def load(choice: TaskChoice, *, data_root: Path | None, lock: Lock | None, offline: bool) -> Loaded:
    """The examples a recipe names: of the catalogue, or of a table."""
    if choice.file:
        return from_table(
            choice.name or Path(choice.file).name.split(".")[0],
            choice.file,
            lock=lock,
            offline=offline,
            **choice.model_dump(exclude={"name", "variant", "file"}),
        )
    return load_task(str(choice.name), choice.variant, data_root=data_root, lock=lock, offline=offline)


def prepare_data(recipe: Recipe, *, data_root: Path | None, lock: Lock | None, offline: bool) -> Data:
    """Load, merge duplicates, split."""
    loaded = load(recipe.task, data_root=data_root, lock=lock, offline=offline)
    prepared = prepare(loaded.examples)
    fractions = {"train": recipe.split.train, "validation": recipe.split.validation, "test": recipe.split.test}
    if loaded.task.kind in ("multiple_choice", "perplexity"):
        raise MetierError(
            f"'{loaded.task.name}' is a task of kind {loaded.task.kind}, which is measured but not trained on",
            where="recipe, task.name",
            fix="name it under retention.tasks, or choose another task to train on",
        )
    classes = not loaded.task.written
    parts = split(prepared.examples, seed=recipe.split.seed, fractions=fractions, classes=classes)
    return Data(loaded, parts, prepared.report)


def choose_shots(data: Data, count: int, seed: int) -> list[tuple[dict[str, str], str]]:
    """Solved examples from train: labels in turn, short texts (at most the median length), seeded order.

    Where answers are written out there is nothing to take turns.
    """
    median = sorted(len(example.text) for example in data.part("train"))[len(data.part("train")) // 2]
    labels = [None] if data.task.written else data.task.labels
    members = {label: [e for e in data.part("train") if label in (None, e.target)] for label in labels}
    by_label = {label: [e for e in pool if len(e.text) <= median] or pool for label, pool in members.items()}
    generator = random.Random(seed)
    pools = [generator.sample(pool, len(pool)) for pool in by_label.values() if pool]
    chosen = [pools[turn % len(pools)][turn // len(pools) % len(pools[turn % len(pools)])] for turn in range(count)]
    generator.shuffle(chosen)
    return [(example.inputs, example.target) for example in chosen]
