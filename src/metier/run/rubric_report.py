"""From a workbench's ratings to its report: the only reader of the key that says whose answers they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metier.errors import MetierError
from metier.evaluation.rubric import Rating, summarise
from metier.files import write_json, write_text
from metier.report.rubric import render_rubric
from metier.run.rubric import Workbench


def write_reports(bench: Workbench) -> tuple[Path, dict[str, Any]]:
    """Write ``report.html`` and ``report.json`` into the workbench; returns the page and the record.

    Raises:
        MetierError: nobody has rated, or a file is damaged.
    """
    record = report_record(bench)
    write_json(bench.folder / "report.json", record)
    page = bench.folder / "report.html"
    write_text(page, render_rubric(record))
    return page, record


def report_record(bench: Workbench) -> dict[str, Any]:
    """Everything that was measured, as JSON."""
    key, seed = _key(bench)
    ratings, raters = [], []
    for name, rater in bench.raters.items():
        said = bench.said(name)
        values = [value for choices in said.values() for value in choices.values()]
        about = {"name": name, "machine": rater.machine, "items": len(rater.items), "judged": bench.done(name)}
        raters.append(about | {"choices": len(values), "read": sum(value is not None for value in values)})
        for item, choices in said.items():
            question, systems = key[item]
            shown = systems[::-1] if rater.items[item] else systems
            ratings += [
                Rating(question, item, name, axis, shown, value) for axis, value in choices.items() if value is not None
            ]
    if not ratings:
        raise MetierError("nobody has rated yet", where=str(bench.folder), fix=f"metier rubric serve {bench.folder}")
    lengths = {
        (key[item.id][0], system): len(answer)
        for item in bench.items.values()
        for system, answer in zip(key[item.id][1], item.answers, strict=True)
    }
    head = {
        "name": bench.folder.resolve().name,
        "mode": bench.rubric.mode,
        "seed": seed,
        "rubric": bench.rubric.model_dump(),
        "questions": len({question for question, _ in key.values()}),
        "systems": sorted({system for _, systems in key.values() for system in systems}),
        "raters": raters,
    }
    return head | summarise(bench.rubric, ratings, bench.machines, lengths, seed=seed)


def _key(bench: Workbench) -> tuple[dict[str, tuple[str, tuple[str, ...]]], int]:
    """Question and systems of every item, and the seed."""
    path = bench.folder / "key.json"
    try:
        record = json.loads(path.read_text("utf-8"))
        key = {item: (str(one["question"]), tuple(one["systems"])) for item, one in record["items"].items()}
        seed = int(record["seed"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MetierError(
            f"the key of whose answers they are cannot be read: {error}", where=str(path),
            fix="bring back the file that metier rubric new wrote",
        ) from error  # fmt: skip
    if lacking := [item for item in bench.items if item not in key]:
        raise MetierError(f"the key lacks '{lacking[0]}'", where=str(path), fix="bring back the workbench's own key")
    return key, seed
