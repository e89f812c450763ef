"""Published figures on tasks of the catalogue, as data, with the uncertainty that their test sizes imply."""

from __future__ import annotations

import functools
import math
from importlib import resources
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from metier.errors import MetierError

Z = 1.959964  # two-sided 95 % of the normal distribution


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Test(_Part):
    """One test: metric, number of examples, shots; ``classes`` are its examples by class, where published."""

    metric: str
    n: int | None = None
    shots: int | None = None
    classes: dict[str, int] = Field(default_factory=dict)
    note: str = ""


class System(_Part):
    """One system's figures by task (shares of 1), and what it cost; None where nothing was published."""

    title: str
    scores: dict[str, float]
    shots: int | None = None
    parameters: float | None = None
    hardware: str | None = None
    hours: float | None = None
    cost_usd: float | None = None
    note: str = ""


class Table(_Part):
    """Figures that were published together, on one protocol."""

    title: str
    source: str
    mark: Literal["verified", "secondary", "computed"]
    protocol: str
    tests: dict[str, Test]
    systems: list[System]
    notes: list[str] = Field(default_factory=list)


class Figure(_Part):
    """One published value on one task.

    ``low`` and ``high`` are what a proportion of ``n`` examples would have (normal approximation); None without n. F1
    is no proportion, so they are approximate.
    """

    system: System
    value: float
    low: float | None
    high: float | None
    n: int | None
    metric: str
    protocol: str
    shots: int | None
    source: str
    mark: str
    notes: list[str]


@functools.cache
def tables() -> tuple[Table, ...]:
    """All published tables."""
    text = (resources.files("metier.evaluation") / "published.yaml").read_text(encoding="utf-8")
    return tuple(Table.model_validate(entry) for entry in yaml.safe_load(text)["tables"])


def published_tasks() -> list[str]:
    """The tasks on which something is published, sorted."""
    return sorted({name for table in tables() for name in table.tests})


def figures(task: str) -> list[Figure]:
    """Everything published on a task, table by table, a table's majority baseline first where its classes are known.

    Raises:
        MetierError: nothing is published on the task, with those that have figures.
    """
    known = published_tasks()
    if task not in known:
        raise MetierError(
            f"no published figures are known for '{task}'",
            fix="metier evaluate RUN --task NAME, then metier compare RUN --task NAME, of which there are figures: "
            + ", ".join(known),
        )
    return [figure for table in tables() if task in table.tests for figure in _of_table(table, task)]


def _of_table(table: Table, task: str) -> list[Figure]:
    test = table.tests[task]
    notes = [note for note in (test.note, *table.notes) if note]
    found = [
        _figure(table, test, system, system.scores[task], [note for note in (system.note, *notes) if note])
        for system in table.systems
        if task in system.scores
    ]
    if test.classes:
        constant = System(
            title=f"Always '{max(test.classes, key=lambda name: test.classes[name])}'", scores={}, shots=0
        )
        value = majority_weighted_f1(test.classes)
        found.insert(0, _figure(table, test, constant, value, ["computed from the published class counts"], "computed"))
    return found


def _figure(
    table: Table, test: Test, system: System, value: float, notes: list[str], mark: str | None = None
) -> Figure:
    width = half_width(value, test.n) if test.n else None
    return Figure(
        system=system,
        value=value,
        low=None if width is None else max(0.0, value - width),
        high=None if width is None else min(1.0, value + width),
        n=test.n,
        metric=test.metric,
        protocol=table.protocol,
        shots=test.shots if system.shots is None else system.shots,
        source=f"{table.title}; {table.source}",
        mark=mark or table.mark,
        notes=notes,
    )


def half_width(value: float, n: int) -> float:
    """Half of the 95 % interval of a proportion ``value`` of ``n`` examples (normal approximation)."""
    return Z * math.sqrt(value * (1 - value) / n)


def majority_weighted_f1(classes: dict[str, int]) -> float:
    """Weighted F1 of always answering the largest class: with its share p, p · 2p / (1 + p)."""
    share = max(classes.values()) / sum(classes.values())
    return 2 * share**2 / (1 + share)
