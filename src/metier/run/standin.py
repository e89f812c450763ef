"""Evaluation rows that were learnt because the training rows are out of reach: never an evaluation after that."""

from __future__ import annotations

from metier.errors import MetierError
from metier.recipe import Recipe
from metier.tasks import Task, get, names


def refuse(recipe: Recipe, task: Task) -> None:
    """Refuse to evaluate who learnt ``task``'s own evaluation rows as a stand-in for training data.

    Errors: :class:`MetierError` with the variant that was learnt.
    """
    learnt = recipe.needed_task()
    if learnt.file or learnt.name not in names() or task.name != learnt.name:
        return
    if (learnt.variant or next(iter(get(learnt.name).variants), "")) in get(learnt.name).stand_ins:
        raise MetierError(
            f"this specialist learnt the evaluation questions of '{task.name}' (variant '{learnt.variant}'): "
            "a score on them would be no evaluation",
            where=f"recipe '{recipe.name}', task.variant",
            fix="evaluate it on another task, such as medqa or mmlu-medical",
        )
