"""What is told of the rows of a user's table that may not mean what they seem to; nothing of it is an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from metier.tasks.example import Example
from metier.tasks.prepare import normalised
from metier.tasks.records import Columns
from metier.tasks.task import Template

FEW = 10  # questions that may have their right options at one place by chance


def objects(source: Columns, columns: Sequence[str]) -> list[str]:
    """A warning for each text column of objects, which is learnt with its braces and the names of its fields."""
    inside = {column: [c for c in columns if c.startswith(f"{column}.")] for column in source.inputs.values()}
    return [
        f"column {column!r} holds objects, read as their JSON: for one field of them name it, such as {names[0]}"
        for column, names in inside.items()
        if names
    ]


def same_place(examples: Sequence[Example]) -> list[str]:
    """A warning where the right option stands at one place in every row, which is learnt instead of the answers."""
    places = {example.choices.index(example.target) + 1 for example in examples}
    if len(places) != 1 or len(examples) < FEW:
        return []
    return [
        f"the right option is number {places.pop()} in every row: its place alone scores 1.000 here, and says nothing "
        "of questions whose options stand in another order; shuffle the options of each row"
    ]


def not_shown(template: Template, inputs: Mapping[str, str]) -> list[str]:
    """A warning for each text column that the wording of the prompt does not show."""
    return [
        f"the prompt does not show column {column!r}, which is named under text: write {{{field}}} in the instruction"
        for field, column in inputs.items()
        if field not in template.fields()
    ]


def without_group(examples: Sequence[Example], column: str) -> list[str]:
    """A warning where some rows name no group: they can come into any part of a split."""
    count = sum(not example.group for example in examples)
    if not count:
        return []
    told = f"{count} of {len(examples)} rows have no {column!r}: each is taken for a group of its own"
    return [f"{told} (merged cells of a sheet hold their value in the first row alone)"]


def shared_texts(examples: Sequence[Example]) -> list[str]:
    """A warning where one of several inputs repeats: its rows can come into different parts of a split."""
    if len(examples[0].inputs) < 2:
        return []
    longest = max(examples[0].inputs, key=lambda name: sum(len(example.inputs[name]) for example in examples))
    counts = Counter(normalised(example.inputs[longest]) for example in examples)
    repeated = sum(count for count in counts.values() if count > 1)
    if not repeated:
        return []
    return [f"{repeated} rows share their {longest!r} with another row: name it as group to keep such rows together"]
