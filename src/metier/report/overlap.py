"""What the page shows of ``data/overlap.json``: shares, accuracy with and without them, and where items were found."""

from __future__ import annotations

from typing import Any

from metier.files import sha256_file
from metier.report.read import Json, Run
from metier.report.words import system_key, system_title

View = dict[str, Any]
SHOWN = 20  # items of a task that are listed: the widest


def overlap_view(run: Run) -> View | None:
    """None where no corpus was searched for the run's test items."""
    found = run.overlap
    if not found["tasks"]:
        return None
    tasks = [_task(name, entry) for name, entry in found["tasks"].items()]
    return {"corpus": found["corpus"], "folding": found["folding"], "tasks": tasks, "stale": _stale(run)}


def _task(name: str, entry: Json) -> View:
    rows = [
        {"name": definition, "system": system_title(system), "css": "mine" if system == "specialist" else "", **apart}
        for definition, one in entry["definitions"].items()
        for system, apart in sorted((one["accuracy"] or {}).items(), key=lambda pair: system_key(pair[0]))
    ]
    found = sorted(entry["found"], key=lambda row: (-row["characters"], row["id"]))
    return {
        "name": name,
        "entry": entry,
        "unsought": entry["items"] - entry["looked_for"],
        "rows": rows,
        "found": found[:SHOWN],
        "count": len(found),
    }


def _stale(run: Run) -> bool:
    """Whether the answers have changed since the accuracies were worked out."""
    folder = run.path / "evidence" / "predictions"
    used = {name: digest for entry in run.overlap["tasks"].values() for name, digest in entry["evidence"].items()}
    return any(not (folder / name).is_file() or sha256_file(folder / name) != used[name] for name in used)
