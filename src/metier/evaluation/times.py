"""Seconds beside scores, in files of their own: a recipe gives the same scores to the byte, never the same seconds."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metier.files import write_text

NAMES = ("seconds", "examples_per_s")

Entries = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Task, then system, then what is said of it."""


def apart(scores: Entries) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores without times, and the times at the same places: of an entry, and of how a strategy asked."""
    left: dict[str, Any] = copy.deepcopy({task: dict(systems) for task, systems in scores.items()})
    taken: dict[str, dict[str, Any]] = {}
    for task, systems in left.items():
        for system, entry in systems.items():
            found = _take(entry)
            if isinstance(asked := entry.get("strategy"), dict) and (spent := _take(asked)):
                found["strategy"] = spent
            if found:
                taken.setdefault(task, {})[system] = found
    return left, taken


def together(scores: dict[str, Any], times: Any) -> None:
    """Put the ``times`` of :func:`apart` back into ``scores``; what they belong to no longer is left out."""
    for task, systems in scores.items():
        for system, entry in systems.items() if isinstance(systems, dict) else ():
            found = _within(_within(times, task), system)
            if isinstance(entry.get("strategy"), dict):
                entry["strategy"] |= _within(found, "strategy")
            entry |= {name: found[name] for name in NAMES if name in found}


def file_of(scores: Path) -> Path:
    """Where the times of ``scores.json`` stand."""
    return scores.with_name("times.json")


def read(path: Path) -> Any:
    """A file of times; nothing where there is none, or none that can be read: nothing rests on them."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def seconds_file(predictions: Path) -> Path:
    """Where the seconds of a file of predictions stand."""
    return predictions.with_suffix(".seconds.json")


def write_seconds(predictions: Path, seconds: Sequence[float]) -> None:
    """Seconds of each row, in the rows' order."""
    write_text(seconds_file(predictions), json.dumps(list(seconds)) + "\n")


def read_seconds(predictions: Path, rows: int) -> list[float]:
    """Seconds of each of so many rows; 0 where they are not known."""
    found = read(seconds_file(predictions))
    return [float(s) for s in found] if isinstance(found, list) and len(found) == rows else [0.0] * rows


def _within(record: Any, name: str) -> dict[str, Any]:
    """The mapping of that name in a mapping; an empty one for anything else."""
    found = record.get(name) if isinstance(record, dict) else None
    return found if isinstance(found, dict) else {}


def _take(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record.pop(name) for name in NAMES if name in record}
