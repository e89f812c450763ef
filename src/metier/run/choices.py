"""Multiple choice in a run: options in place of labels, whose texts differ from question to question."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from metier.errors import MetierError
from metier.evaluation.choices import answer_choices
from metier.evaluation.scores import Prediction
from metier.models.encode import Encoder
from metier.models.forward import Runner
from metier.models.trunk import Trunk
from metier.recipe import Recipe
from metier.run.progress import Tick
from metier.tasks import Example, Loaded, Task
from metier.tasks.choices import Answers, with_answers


def check(recipe: Recipe, task: Task) -> None:
    """Refuse what has no meaning for multiple choice, and to measure what was learnt as a stand-in.

    Errors: :class:`MetierError` with the field.
    """
    learnt = recipe.needed_task()
    if learnt.variant in task.stand_ins and task.name in (recipe.retention.tasks if recipe.retention else []):
        raise MetierError(
            f"the recipe learns the evaluation questions of '{task.name}' and measures forgetting on them",
            where="recipe, retention.tasks",
            fix="name another task there",
        )
    if task.kind != "multiple_choice":
        return
    asked_for = {
        "mix": recipe.mix is not None,
        "measure.generation": recipe.measure.generation,
    }
    for field, given in asked_for.items():
        if given:
            raise MetierError(f"'{field}' is for classes, not for multiple choice", where=f"recipe, {field}",
                              fix="leave it out")  # fmt: skip


def answered_by(loaded: Loaded, answers: Answers | None) -> Loaded:
    """A catalogue task with answers by letter or by text, as a recipe asks."""
    if answers is None:
        return loaded
    if loaded.task.kind != "multiple_choice":
        raise MetierError(
            f"'{loaded.task.name}' is a task of kind {loaded.task.kind}: 'answers' is for multiple choice",
            where="recipe, task.answers",
            fix="leave it out",
        )
    task = loaded.task.model_copy(update={"template": with_answers(loaded.task.template, answers)})
    return replace(loaded, task=task)


def in_turn(task: Task, shown: Sequence[Example]) -> list[str | None]:
    """What solved examples take turns in: labels, or letters; nothing where answers are free text."""
    if task.kind == "classification":
        return list(task.labels)
    if task.kind == "multiple_choice" and task.template.options == "lettered":
        return [*sorted({example.target for example in shown})]
    return [None]


def most_frequent_place(train: Sequence[Example], examples: Sequence[Example]) -> tuple[str, list[Prediction]]:
    """The majority baseline: always the place that is right most often in train; the first of equals.

    A question that has fewer options gets its last one.
    """
    counts = Counter(example.choices.index(example.target) for example in train)
    best = min(counts, key=lambda place: (-counts[place], place))
    found = [
        Prediction(example_id=e.id, split="test", text=e.text, gold=str(e.choices.index(e.target)),
                   answer=str(min(best, len(e.choices) - 1)), probabilities={}, parsed=True, tokens=0, seconds=0.0)
        for e in examples
    ]  # fmt: skip
    return str(best), found


def choice_metrics(
    runner: Runner,
    encoder: Encoder,
    examples: Sequence[Example],
    trunk: Trunk | None = None,
    tick: Tick | None = None,
) -> dict[str, float]:
    """Accuracy, and the loss in nats of the right option among the options, on the validation part."""
    found = answer_choices(runner, encoder, examples, tick, part="validation", trunk=trunk)
    accuracy = float(np.mean([p.correct for p in found]))
    loss = float(np.mean([-np.log(max(p.probabilities[p.gold], 1e-12)) for p in found]))
    error = math.sqrt(accuracy * (1 - accuracy) / len(found))
    return {"metric": accuracy, "accuracy": accuracy, "standard_error": error, "loss": loss}


def answer_tokens(encoder: Encoder, shown: Sequence[Example]) -> dict[str, tuple[int, ...]]:
    """Token ids of the answers that the manifest tells: all letters, or the first example's options."""
    if encoder.task.template.options == "hidden":
        return {text: encoder.answer(text) for text in shown[0].choices}
    return {text: encoder.answer(text) for text in sorted({text for e in shown for text in e.choices})}
