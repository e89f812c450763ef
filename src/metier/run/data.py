"""From the recipe's task to parts without duplicates."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.inference.strategies.shots import fixed
from metier.recipe import Recipe, TaskChoice
from metier.run import choices
from metier.run.exemplars import with_exemplars
from metier.sources import Lock
from metier.tasks import (
    Example,
    Loaded,
    Split,
    Task,
    fewer,
    from_table,
    load_task,
    only_test,
    prepare,
    protocols,
    split,
)
from metier.tasks.choices import asked
from metier.tasks.protocols import OWN
from metier.tasks.splits import with_calibration

Shots = list[tuple[dict[str, str], str]]


@dataclass(frozen=True)
class Data:
    """The task's examples, ready to learn from."""

    loaded: Loaded
    split: Split
    duplicates: dict[str, Any]
    protocol: dict[str, Any]

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

    def answers(self) -> set[str]:
        """Every answer that is learnt or scored, as it is given: of lettered options the letters."""
        every = [example for part in self.split.parts.values() for example in asked(self.task, part)]
        return {*self.task.labels, *(answer for e in every for answer in (e.choices or (e.target,)))}

    def shown(self) -> list[Example]:
        """Examples that a prompt is shown with: of train, or of test where there is nothing to learn from."""
        return self.part("train") or self.part("test")

    def to_json(self) -> dict[str, Any]:
        """What ``data/splits.json`` holds."""
        labels = self.task.labels if self.task.kind == "classification" else []
        return {**self.split.to_json(labels, self.duplicates), "protocol": self.protocol}


def load(
    choice: TaskChoice,
    *,
    data_root: Path | None,
    lock: Lock | None,
    offline: bool,
    protocol: str = OWN,
    agreement: bool = False,
) -> Loaded:
    """The examples a recipe names: of the catalogue, or of a table."""
    if choice.file:
        return from_table(
            choice.name or Path(choice.file).name.lstrip(".").split(".")[0],
            choice.file,
            lock=lock,
            offline=offline,
            **choice.model_dump(exclude={"name", "variant", "file", "exemplars", "exemplar_weight"}),
        )
    loaded = load_task(
        str(choice.name),
        choice.variant,
        protocol=protocol,
        agreement=agreement,
        data_root=data_root,
        lock=lock,
        offline=offline,
    )
    return choices.answered_by(loaded, choice.answers)


def prepare_data(recipe: Recipe, *, data_root: Path | None, lock: Lock | None, offline: bool) -> Data:
    """Load, merge duplicates, split. Published rows are kept as they are, and only validation is cut out of train."""
    choice, soft = recipe.needed_task(), recipe.adapt.soft_labels
    if soft and choice.file and not choice.agreement:
        raise MetierError(
            "soft labels need the column that says how many annotators agreed",
            where="recipe, adapt.soft_labels",
            fix="name it: task.agreement, a column of shares such as 0.75 or 75%",
        )
    try:
        loaded = load(choice, data_root=data_root, lock=lock, offline=offline, protocol=recipe.protocol, agreement=soft)
    except MetierError as error:
        fix = error.fix
        if choice.file and error.where == choice.file and not Path(choice.file).exists() and recipe.looked_in:
            fix = f"{fix} (it is not in {recipe.looked_in} either)"
        where = error.where or ("recipe, task" if choice.file else "recipe, task.name")
        raise MetierError(error.what, where=where, fix=fix) from error
    if soft:
        _refuse_few_votes(loaded)
    about = protocols.describe(recipe.protocol, loaded.protocol)
    shares = {"train": recipe.split.train, "validation": recipe.split.validation, "test": recipe.split.test}
    stratify = loaded.task.kind == "classification"
    if loaded.protocol and loaded.protocol.rows == "same":
        _refuse_exemplars(choice, recipe.protocol)
        parts = _calibrated(recipe, split(loaded.examples, seed=recipe.split.seed, fractions=shares, stratify=stratify))
        return Data(loaded, _at_most(recipe, loaded.task, parts), protocols.untouched(parts.parts), about)
    choices.check(recipe, loaded.task)
    if asked_only := _asked_only(recipe, loaded):
        told = "all rows are there to test on: no majority, TF-IDF or few-shot beside them, and no calibration"
        loaded = replace(loaded, warnings=[*loaded.warnings, told])
    prepared = prepare(loaded.examples)
    if loaded.task.kind == "perplexity":
        raise MetierError(
            f"'{loaded.task.name}' is a task of kind {loaded.task.kind}, which is measured but not trained on",
            where="recipe, task.name",
            fix="name it under retention.tasks, or choose another task to train on",
        )
    cut = only_test if asked_only else split
    parts = _calibrated(recipe, cut(prepared.examples, seed=recipe.split.seed, fractions=shares, stratify=stratify))
    parts = _at_most(recipe, loaded.task, parts)
    if choice.exemplars:
        parts = replace(parts, parts=with_exemplars(parts.parts, choice, loaded, lock=lock, offline=offline))
    return Data(loaded, parts, prepared.report, about)


def _at_most(recipe: Recipe, task: Task, parts: Split) -> Split:
    """The parts with no more to learn from than the recipe says."""
    most, train = recipe.split.most_train, parts.parts["train"]
    if not most or most >= len(train):
        return parts
    chosen = fewer(train, most, recipe.split.seed, written=task.written)
    return replace(parts, parts={**parts.parts, "train": chosen})


def _refuse_few_votes(loaded: Loaded) -> None:
    """Errors: :class:`MetierError` for answers that are no classes, and where another label must have had more votes
    than the one that stands there.
    """
    if loaded.task.kind != "classification":
        raise MetierError(
            f"'adapt.soft_labels' is for classes, not for {loaded.task.kind.replace('_', ' ')}",
            where="recipe, adapt.soft_labels",
            fix="leave it out",
        )
    least = 1 / len(loaded.task.labels)
    few = [e.source_row for e in loaded.examples if e.agreement is not None and e.agreement < least - 1e-9]
    if few:
        raise MetierError(
            f"{len(few)} labels had less than one vote in {len(loaded.task.labels)}, so another label had more",
            where=", ".join(few[:5]),
            fix="give the share of annotators who gave the label that stands there, or leave these rows out",
        )


FEW_TESTED = 5  # rows of a label, below which its score is largely chance


def thin_labels(data: Data) -> list[str]:
    """Notes of labels that nothing is learnt of, that nothing is tested on, or that few test rows are of."""
    if data.task.kind != "classification" or not data.part("train"):
        return []
    counts = data.to_json()["counts"]
    train, test = counts["train"], counts["test"]
    there = [label for label in data.task.labels if any(part[label] for part in counts.values())]
    told = {
        "no row of train is labelled {}: nothing of it is learnt": [label for label in there if not train[label]],
        "no row of test is labelled {}: nothing of it is measured": [label for label in there if not test[label]],
        f"fewer than {FEW_TESTED} rows of test are labelled {{}}: how well it is found is largely chance there": [
            label for label in there if 0 < test[label] < FEW_TESTED
        ],
    }
    return [note.format(_listed(labels)) for note, labels in told.items() if labels]


def _listed(labels: Sequence[str]) -> str:
    more = f", and so with {len(labels) - 3} more" if len(labels) > 3 else ""
    return ", ".join(repr(label) for label in labels[:3]) + more


def measurable(recipe: Recipe, data: Data) -> Recipe:
    """The recipe with the systems that can be measured: a training part that is empty fits and solves nothing."""
    if data.part("train"):
        return recipe
    systems = [name for name in recipe.measure.systems if name == "base"]
    return recipe.model_copy(update={"measure": recipe.measure.model_copy(update={"systems": systems})})


def _refuse_exemplars(choice: TaskChoice, protocol: str) -> None:
    if choice.exemplars:
        raise MetierError(
            f"the protocol '{protocol}' says which rows are learnt from",
            where="recipe, task.exemplars",
            fix="leave exemplars or protocol out",
        )


def _calibrated(recipe: Recipe, parts: Split) -> Split:
    """A demand needs examples that chose nothing else: half of validation is set aside for it.

    Errors: :class:`MetierError` where that leaves nothing to choose by.
    """
    if not recipe.selective:
        return parts
    halves = with_calibration(parts)
    if parts.parts["validation"] and not halves.parts["validation"]:
        raise MetierError(
            f"the demand takes all {len(parts.parts['validation'])} rows of validation: too few rows a label to share",
            where="recipe, selective",
            fix="give validation a larger share (split.validation), or leave selective out",
        )
    return halves


def _asked_only(recipe: Recipe, loaded: Loaded) -> bool:
    """Whether all rows are there to test on, and nothing is to be learnt from them.

    Errors: :class:`MetierError` for a set without right answers, and for one to test on where something is learnt.
    """
    task = loaded.task
    if task.kind != "perplexity" and not any(example.target for example in loaded.examples):
        raise MetierError(
            f"'{task.name}' has questions without right answers: nothing can be learnt from it or scored on it",
            where="recipe, task.name",
            fix="write answers to it and have people rate them, or choose another task",
        )
    if not loaded.examples or any(example.split != "test" for example in loaded.examples):
        return False
    file = recipe.needed_task().file
    learnt = {"adapt.method": recipe.adapt.method != "none", "selective": recipe.selective,
              "task.exemplars": recipe.needed_task().exemplars}  # fmt: skip
    if field := next((name for name, given in learnt.items() if given), None):
        raise MetierError(
            f"'{task.name}' has only rows to test on: nothing to learn from",
            where=f"{loaded.where}; recipe, {field}",
            fix="ask the base only (adapt: {method: none}), or learn something else and run: metier evaluate RUN "
            + (f"--in {file}" if file else f"--task {task.name}"),
        )
    return True


def solved_pool(data: Data, asked_now: Sequence[Example]) -> list[Example]:
    """Examples that may be shown solved: of train; where there is none, those of test that are not asked."""
    asked_ids = {example.id for example in asked_now}
    return data.part("train") or [example for example in data.part("test") if example.id not in asked_ids]


def few_shots(data: Data, count: int, seed: int) -> tuple[Shots, dict[str, Shots]]:
    """The shots before every prompt, and those of each test example where the protocol draws them anew (by its id)."""
    drawn = data.protocol["shots"]
    if not drawn:
        return choose_shots(data, count, seed), {}
    train = asked(data.task, data.part("train"))
    count = min(drawn, len(train))
    return [], {
        example.id: [(e.inputs, e.target) for e in random.Random(f"{seed} {example.id}").sample(train, count)]
        for example in data.part("test")
    }


def choose_shots(data: Data, count: int, seed: int) -> Shots:
    """Solved examples from train, as the strategy few-shot chooses fixed ones."""
    train = asked(data.task, data.part("train"))
    turns = [label for label in choices.in_turn(data.task, train) if label is not None]
    chosen = fixed(train, turns, count, seed)
    return [(example.inputs, example.target) for example in chosen]
