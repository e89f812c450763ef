"""A question as a strategy asks it: which candidates there are, how they are shown, what the prompt says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from metier.errors import MetierError
from metier.tasks import Example, Task
from metier.tasks.options import LETTERS, show

Form = Literal["letter", "text"]

CHOOSE = "Answer with the letter of one option."


@dataclass(frozen=True)
class Question:
    """An example with its options in one order.

    Attributes:
        inputs: the template's fields.
        answers: candidate answers in the order shown: letters or texts.
        texts: what they stand for, in the same order.
        names: how evidence calls them, in the same order: a label, or the option's place in the example.
        form: whether ``answers`` are letters or texts.
    """

    example: Example
    inputs: Mapping[str, str]
    answers: tuple[str, ...]
    texts: tuple[str, ...]
    names: tuple[str, ...]
    form: Form

    @property
    def gold(self) -> str:
        """The right one by its name in evidence."""
        return self.names[self.texts.index(self.example.target)]


def worded(task: Task, form: Form | None) -> Task:
    """The task with a template that asks for a letter; as it is for ``text``, or where nothing is asked for.

    Errors: :class:`MetierError` for a task without options, and for a wording kept to the letter that lists none.
    """
    if task.kind not in ("classification", "multiple_choice"):
        raise MetierError(
            f"'{task.name}' is a task of kind {task.kind}: its answers are not chosen among options",
            fix="use the strategy chain-of-retrieval or zero-shot, or a task with labels or choices",
        )
    template = task.template
    if form != "letter" or template.options == "lettered":
        return task
    if not template.chat:
        raise MetierError(
            f"the wording of '{task.name}' is kept as published and lists no options: it has no letters",
            fix="use answer: text",
        )
    text = f"{template.input}\n{{options}}\n{CHOOSE}"
    return task.model_copy(update={"template": template.model_copy(update={"input": text, "options": "lettered"})})


def question(task: Task, example: Example, form: Form | None = None, order: Sequence[int] | None = None) -> Question:
    """An example of ``task`` (as :func:`worded` gave it) with its options in ``order``.

    Errors: :class:`MetierError` for options that cannot be told apart or lack the answer.
    """
    choices = example.choices or tuple(task.labels)
    shown = show(task.template, replace(example, choices=choices), order)
    texts = tuple(choices[place] for place in shown.order)
    names = texts if task.kind == "classification" else tuple(str(place) for place in shown.order)
    letters = form == "letter" or (form is None and task.template.options == "lettered")
    answers = tuple(LETTERS[: len(texts)]) if letters else texts
    return Question(example, shown.inputs, answers, texts, names, "letter" if letters else "text")


def orders(count: int, wanted: int, seed: int, example: str) -> list[tuple[int, ...]]:
    """``wanted`` different orders of ``count`` options (all there are, if fewer), the given order first; seeded."""
    import random

    generator = random.Random(f"{seed} order {example}")
    found = [tuple(range(count))]
    while len(found) < min(wanted, math.factorial(count)):
        drawn = list(range(count))
        generator.shuffle(drawn)
        if tuple(drawn) not in found:
            found.append(tuple(drawn))
    return found
