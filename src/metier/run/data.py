"""From the recipe's task to parts without duplicates."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metier.recipe import Recipe, TaskChoice
from metier.sources import Lock
from metier.tasks import Example, Loaded, Split, Task, fewer, from_table, load_task, prepare, split


@dataclass(frozen=True)
class Data:
    """The task's examples, ready to learn from."""

    loaded: Loaded
    split: Split
    duplicates: dict[str, Any]

    @property
    def name(self) -> str:
        """The task's name in the evidence."""
        return self.loaded.task.name

    @property
    def task(self) -> Task:
        """The task itself."""
        return self.loaded.task

    def part(self, name: str) -> list[Example]:
        """Examples of ``train``, ``validation`` or ``test``."""
        return self.split.parts[name]

    def to_json(self) -> dict[str, Any]:
        """What ``data/splits.json`` holds."""
        return self.split.to_json(self.task.labels, self.duplicates)


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
    made = split(prepared.examples, seed=recipe.split.seed, fractions=fractions)
    if recipe.split.most_train and recipe.split.most_train < len(made.parts["train"]):
        train = fewer(made.parts["train"], recipe.split.most_train, recipe.split.seed)
        made = replace(made, parts={**made.parts, "train": train})
    return Data(loaded, made, prepared.report)


def choose_shots(data: Data, count: int, seed: int) -> list[tuple[dict[str, str], str]]:
    """Solved examples from train: labels in turn, short texts (at most the median length), seeded order."""
    median = sorted(len(example.text) for example in data.part("train"))[len(data.part("train")) // 2]
    by_label = {
        label: [e for e in data.part("train") if e.target == label and len(e.text) <= median]
        or [e for e in data.part("train") if e.target == label]
        for label in data.task.labels
    }
    generator = random.Random(seed)
    pools = [generator.sample(pool, len(pool)) for pool in by_label.values() if pool]
    chosen = [pools[turn % len(pools)][turn // len(pools) % len(pools[turn % len(pools)])] for turn in range(count)]
    generator.shuffle(chosen)
    return [(example.inputs, example.target) for example in chosen]
