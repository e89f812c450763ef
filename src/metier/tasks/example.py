"""One labelled example."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metier.tasks.choices import Scheme
    from metier.tasks.task import Protocol, Task


BETWEEN = " | "
"""What stands between the inputs of an example where they are one string."""


@dataclass(frozen=True)
class Example:
    """One example, as every part of metier passes it on.

    Attributes:
        inputs: the fields that the template names.
        target: the gold answer: a label, or the text of the right choice; empty for a perplexity task.
        choices: the candidate answers of a multiple-choice question.
        group: examples of one group never stand in two parts of a split.
        split: the part that the data itself assigns, if it does.
        agreement: share of the annotators who gave this label, 0 to 1, where it is known.
        weight: how much more often than a row without one it is learnt from, where that is said.
        source_row: "file:row", for messages.
    """

    id: str
    inputs: dict[str, str]
    target: str
    choices: tuple[str, ...] = ()
    group: str | None = None
    split: str | None = None
    source_row: str = ""
    agreement: float | None = None
    weight: float | None = None

    @property
    def text(self) -> str:
        """All inputs in one string, for baselines and tables."""
        return BETWEEN.join(self.inputs.values())


@dataclass(frozen=True)
class Loaded:
    """A task with its examples, where they came from, and what a user should know about them.

    ``protocol`` is the published way of testing that the examples follow; None is metier's own. ``label_is`` says how a
    table of multiple choice writes which option is right.
    """

    task: Task
    examples: list[Example]
    where: str
    warnings: list[str] = field(default_factory=list)
    protocol: Protocol | None = None
    label_is: Scheme | None = None
