"""``log.jsonl``: one line an event, cut back to the checkpoint that is continued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metier.files import explain_os_errors, write_text

STEPS = ("train", "validation", "spike")  # events of a step, done again when a checkpoint before it is continued


def append(path: Path, **entry: Any) -> None:
    """Write one event at the end."""
    with explain_os_errors(path), open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def cut_back(path: Path, step: int) -> None:
    """Forget what was logged after ``step``, where a checkpoint is continued."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the line that was being written when the run was killed
            continue
        if entry["event"] not in STEPS or entry["step"] <= step:
            kept.append(line)
    write_text(path, "".join(line + "\n" for line in kept))
