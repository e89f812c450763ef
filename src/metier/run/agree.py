"""Two labelled tables held against each other."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

from metier.errors import MetierError
from metier.evaluation.agreement import Agreement, agreement
from metier.evaluation.scores import Score
from metier.run.labelled import Item, Items, cell, checked_labels, read_items
from metier.sources import write_table

_SHOWN, _WIDTH = 20, 100
COLUMNS = ("text", "label_a", "label_b", "row_a", "row_b", "label")


@dataclass(frozen=True)
class Compared:
    """Two tables, row by row.

    Attributes:
        found: the statistics.
        disagreements: the rows on which the two differ, in the order of the first table.
        counts: rows matched, in one table only, without a label, repeated, and labelled with a suggestion in view.
    """

    found: Agreement
    disagreements: list[dict[str, str | int]]
    counts: dict[str, int]

    def to_text(self) -> str:
        """For a terminal: disagreements, counts, confusion table, raw agreement and κ."""
        found, differing = self.found, self.disagreements
        lines = [
            f"{row['label_a']} | {row['label_b']} | {textwrap.shorten(str(row['text']), _WIDTH, placeholder=' …')}"
            for row in differing[:_SHOWN]
        ]
        if len(differing) > _SHOWN:
            lines.append(f"… and {len(differing) - _SHOWN} more")
        lines.append("rows: " + ", ".join(f"{count} {what}" for what, count in self.counts.items()))
        width = max(len(label) for label in [*found.labels, "A \\ B"]) + 2
        lines.append("".join(name.ljust(width) for name in ["A \\ B", *found.labels]).rstrip())
        for label, counts in zip(found.labels, found.matrix, strict=True):
            lines.append("".join(str(value).ljust(width) for value in [label, *counts]).rstrip())
        lines.append(f"agreement      {_shown(found.raw)}")
        undefined = "undefined: both gave one and the same label throughout"
        lines.append(f"Cohen's kappa  {_shown(found.kappa) if found.kappa else undefined}")
        return "\n".join(lines)


def _shown(score: Score) -> str:
    interval = f"[{score.low:.3f}, {score.high:.3f}]" if score.low is not None else f"(no interval: {score.reason})"
    return f"{score.value:.3f} {interval}, n = {score.n}"


def compare_tables(
    first: Path,
    second: Path,
    *,
    text: str = "text",
    identity: str | None = None,
    label: str = "label",
    out: Path | None = None,
    seed: int = 0,
) -> Compared:
    """Match the rows of two labelled tables by id or by normalised text, and measure how far their labels agree.

    Args:
        out: a table for the rows on which they differ, with an empty column ``label`` for whoever decides.

    Raises:
        MetierError: a missing column, an id used twice, no labelled row in both, an ``out`` that is one of the tables.
    """
    if out is not None and out.resolve() in (first.resolve(), second.resolve()):
        raise MetierError("the rows that differ would replace a labelled table", where=str(out), fix="another --out")
    a, b = (read_items(path, text=text, identity=identity, label=label) for path in (first, second))
    for items in (a, b):
        if label not in items.columns:
            raise MetierError(f"there is no column '{label}'", where=str(items.path), fix="name it with --gold")
    labels = _labels(a, b)
    given_a, given_b = (checked_labels(items, labels, label) for items in (a, b))
    shared = [key for key in a.by_key if key in b.by_key]
    both = [key for key in shared if key in given_a and key in given_b]
    if not both:
        raise MetierError(
            "the two tables have no labelled row in common",
            where=f"{first} and {second}: {len(shared)} rows match by {identity or 'text'}",
            fix="compare labels of the same texts; name a shared column of ids with --id",
        )
    found = agreement([given_a[key] for key in both], [given_b[key] for key in both], labels, seed=seed)
    differing = [
        {
            **({identity: key} if identity else {}),
            **dict(zip(COLUMNS, _row(a.by_key[key], b.by_key[key], given_a[key], given_b[key]), strict=True)),
        }
        for key in both
        if given_a[key] != given_b[key]
    ]
    counts = {
        "matched": len(both),
        "only in the first": len(a.by_key) - len(shared),
        "only in the second": len(b.by_key) - len(shared),
        "without a label": len(shared) - len(both),
        "repeated or empty": a.repeated + b.repeated + a.empty + b.empty,
        "labelled with a suggestion in view": sum(_suggested(a, key) or _suggested(b, key) for key in both),
    }
    if out is not None:
        columns = list(dict.fromkeys([*([identity] if identity else []), *COLUMNS]))
        write_table(out, differing, columns)
    return Compared(found, differing, counts)


def _row(a: Item, b: Item, label_a: str, label_b: str) -> tuple[str | int, ...]:
    return a.text, label_a, label_b, a.number, b.number, ""


def _suggested(items: Items, key: str) -> bool:
    return bool(cell(items.by_key[key].values.get("suggested")))


def _labels(a: Items, b: Items) -> list[str]:
    """All labels of both tables, sorted; of spellings that differ in letter case the first."""
    found: dict[str, str] = {}
    for items in (a, b):
        for item in items.by_key.values():
            if item.label:
                found.setdefault(item.label.casefold(), item.label)
    return sorted(found.values())
