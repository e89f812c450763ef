"""The labels of a user's own table: declared, or those that the file holds."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from metier.errors import MetierError, nearest
from metier.tasks.example import Example

MOST_LABELS = 50
"""More different labels than this are taken for free text."""


def declared_labels(
    labels: Sequence[str] | None, mapping: Mapping[str, str], thresholds: Sequence[tuple[float, str]] | None
) -> tuple[str, ...] | None:
    """The labels as the caller orders them: given, or those that a map or thresholds make; None if none are known.

    Errors: :class:`MetierError` for one that is made but not declared, has no name, or differs from another in letter
    case alone; fewer than two that are declared.
    """
    made = tuple(dict.fromkeys([*mapping.values(), *(str(name) for _, name in thresholds or ())]))
    if labels is None and not made:
        return None
    stated = made if labels is None else tuple(str(label).strip() for label in labels)
    for label in made:
        if label not in stated:
            where = "label_map or thresholds, against labels"
            raise MetierError(f"the label {label!r} is made but not declared", where=where, fix=nearest(label, stated))
    where = "labels, label_map or thresholds"
    if not all(label.strip() for label in stated):
        raise MetierError("a label has no name", where=where, fix="name it, or leave its rows out of the table")
    if len({label.casefold() for label in stated}) != len(stated) or (labels is not None and len(stated) < 2):
        raise MetierError(f"at least two labels are needed, each once; declared: {', '.join(stated)}", where=where)
    return stated


def inferred_labels(examples: Sequence[Example], file: str, column: str) -> tuple[str, ...]:
    """The labels that the file holds, sorted (as numbers if all are)."""
    counts = Counter(example.target for example in examples)
    where = f"{file}, column {column!r}"
    if lists := [label for label in counts if _is_list(label)]:
        rows = [example.source_row for example in examples if example.target in lists]
        raise MetierError(
            f"the label is a list of labels in {len(rows)} rows: found {lists[0][:60]}",
            where=f"{', '.join(rows[:5])}, column {column!r}",
            fix=f"{ONE_LABEL}; name another column, or write one label a row",
        )
    numeric = all(_number(label) is not None for label in counts)
    if len(counts) > MOST_LABELS:
        few = ", ".join(repr(label[:30]) for label in list(counts)[:3])
        fix = "give thresholds that turn the scores into labels" if numeric else "name the column that holds the labels"
        raise MetierError(f"{len(counts)} different labels, such as {few}: this is not a class", where=where, fix=fix)
    folded: dict[str, str] = {}
    for label in counts:
        other = folded.setdefault(label.casefold(), label)
        if other != label:
            found = f"{other!r} ({counts[other]} rows) and {label!r} ({counts[label]} rows)"
            names = ", ".join(dict.fromkeys(label.casefold() for label in counts))
            fix = f"declare the labels, whose letter case then does not matter, such as labels: [{names}]"
            raise MetierError(f"two labels differ only in letter case: {found}", where=where, fix=fix)
    return tuple(sorted(counts, key=lambda label: (_number(label) or 0.0 if numeric else 0.0, label)))


def check_labels(
    labels: Sequence[str], examples: Sequence[Example], file: str, column: str, mapping: Mapping[str, str]
) -> list[str]:
    """Warnings about the labels, which ``mapping`` made of what the file says.

    Raises:
        MetierError: all rows have the same label.
    """
    counts = Counter(example.target for example in examples)
    if len(counts) < 2:
        raise MetierError(
            f"all {len(examples)} rows have the label {next(iter(counts))!r}",
            where=f"{file}, column {column!r}",
            fix="a classifier needs at least two classes: add rows of another, or name another label column",
        )
    warnings = [f"no row is labelled {label!r}" for label in labels if label not in counts]
    if missing := [label for label in labels if label.casefold() in _MISSING and counts[label]]:
        told = f"{counts[missing[0]]} rows are labelled {missing[0]!r}, which is learnt as a class"
        warnings.append(f"{told}: if it means that there is no label, leave these rows out")
    if several := [label for label in labels if joined(label, labels)]:
        warnings.append(f"{several[0]!r} is learnt as a class of its own, beside those it names: {ONE_LABEL}")
    if all(_number(label) is not None for label in labels):
        listed = ", ".join(labels)
        turned = [f"{number}: {name}" for name, number in mapping.items()]
        advice = f"write label_map from number to name, {{{', '.join(turned)}}}" if turned else "add a label_map"
        warnings.append(f"the labels are bare numbers ({listed}); a language model reads names better: {advice}")
    return warnings


ONE_LABEL = "a row has one label; for several make a column for each, and a recipe for each column"


def joined(label: str, labels: Collection[str]) -> bool:
    """Whether a label is made of several of ``labels``: ``rates; credit`` beside ``rates`` and ``credit``."""
    parts = [part.strip() for part in re.split(r"[,;|]", label)]
    return len(parts) > 1 and all(part in labels for part in parts)


def _is_list(label: str) -> bool:
    try:
        return label.startswith("[") and isinstance(json.loads(label), list)
    except (ValueError, RecursionError):
        return False


_MISSING = ("nan", "null", "<na>", "#n/a")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
