"""Stages whose files are compared with their checksums before they are used again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from metier.files import sha256_file
from metier.run.progress import console
from metier.run.stages import RunDirectory, now


def is_done(run: RunDirectory, name: str, reads: Any, outputs: Sequence[Path]) -> bool:
    """Whether stage ``name`` was done with the same ``reads`` and its outputs are as they were written.

    A record of an earlier version has no checksums: its files are believed, and have theirs from then on.
    """
    found = run.manifest["stages"].get(name)
    if not found or found["key"] != run.sha(reads) or not all(path.exists() for path in outputs):
        return False
    files = _checksums(run, outputs)
    if "files" not in found:
        found["files"] = files
        run.record()
    changed = [file for file, sha256 in files.items() if found["files"].get(file) != sha256]
    for file in changed:
        console.print(f"[yellow]again[/] {escape(str(run.path / file))} is not as it was written: its SHA-256 differs")
    return not changed


def record(run: RunDirectory, name: str, reads: Any, outputs: Sequence[Path], since: float | None = None) -> None:
    """Put a stage that was done just now, ``since`` a time of ``perf_counter``, into the run's record."""
    seconds = round(time.perf_counter() - since, 2) if since else 0.0
    done = {"key": run.sha(reads), "finished": now(), "files": _checksums(run, outputs), "seconds": seconds}
    run.manifest["stages"][name] = done
    run.record()


def checked(run: RunDirectory, name: str, reads: Any, outputs: Sequence[Path], work: Callable[[], None]) -> bool:
    """Do ``work`` unless the stage is done; returns whether it was done now."""
    if is_done(run, name, reads, outputs):
        return False
    start = time.perf_counter()
    work()
    record(run, name, reads, outputs, start)
    return True


def _checksums(run: RunDirectory, outputs: Sequence[Path]) -> dict[str, str]:
    return {path.relative_to(run.path).as_posix(): sha256_file(path) for path in outputs}
