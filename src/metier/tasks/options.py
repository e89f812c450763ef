"""The options of a multiple-choice question: in which order they stand, with letters or without."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass

from metier.errors import MetierError
from metier.tasks.example import Example
from metier.tasks.task import Template

LETTERS = string.ascii_uppercase


@dataclass(frozen=True)
class Shown:
    """A question as a model sees it.

    Attributes:
        inputs: the fields of the template, with ``options`` where it shows them.
        answers: the candidate answers in the order shown: letters where these are shown, else the options' texts.
        gold: place of the right one among ``answers``.
        order: ``order[place]`` is the option's place in ``Example.choices``.
    """

    inputs: dict[str, str]
    answers: tuple[str, ...]
    gold: int
    order: tuple[int, ...]


def show(template: Template, example: Example, order: Sequence[int] | None = None) -> Shown:
    """An example's options in ``order`` (a permutation of their places; as they are if left out).

    Errors: :class:`MetierError` for fewer than two options, two that are the same, more than there are letters, and a
    gold answer that is not among them.
    """
    _check(example)
    places = tuple(range(len(example.choices))) if order is None else tuple(order)
    if sorted(places) != list(range(len(example.choices))):
        raise ValueError(f"{places} is not an order of {len(example.choices)} options")
    texts = tuple(example.choices[place] for place in places)
    gold = texts.index(example.target)
    if template.options == "hidden":
        return Shown(example.inputs, texts, gold, places)
    return Shown({**example.inputs, "options": lettered(texts)}, tuple(LETTERS[: len(texts)]), gold, places)


def lettered(texts: Sequence[str]) -> str:
    """One option a line, ``(A) …``."""
    return "\n".join(f"({letter}) {text}" for letter, text in zip(LETTERS, texts, strict=False))


def check_options(found: Sequence[str], where: str) -> None:
    """The options of one question can be told apart.

    Errors: :class:`MetierError` at ``where`` for fewer than two, two that are the same, more than there are letters.
    """
    if len(found) < 2:
        what = f"a question needs two options or more, this has {len(found)}"
        raise MetierError(what, where=where, fix="give it its options, or leave the row out")
    if len(found) > len(LETTERS):
        what = f"a question has {len(found)} options; there are {len(LETTERS)} letters"
        raise MetierError(what, where=where, fix="leave some of the wrong ones out")
    if twice := next((text for text in found if found.count(text) > 1), None):
        raise MetierError(f"two options are the same: '{twice}'", where=where, fix="leave one out, or mend its text")


def _check(example: Example) -> None:
    """The same, and they hold its answer."""
    found, where = example.choices, example.source_row or f"question '{example.id}'"
    check_options(found, where)
    if example.target not in found:
        what = f"the answer '{example.target}' is not among the options: {', '.join(found)}"
        raise MetierError(what, where=where, fix="mend the answer or the options of that row, or leave it out")
