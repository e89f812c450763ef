"""What is done and what is not: the run directory, its lock and the record of finished stages."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from metier import __version__
from metier.errors import MetierError
from metier.files import explain_os_errors, recover, sha256_json, write_json, write_text

PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "scikit-learn", "numpy")


class RunDirectory:
    """A run directory held by this process alone.

    ``manifest`` is what ``manifest.json`` holds; every finished stage stands in it with the hash of what it read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: dict[str, Any] = self._read_manifest()

    def _read_manifest(self) -> dict[str, Any]:
        file = self.path / "manifest.json"
        if not file.exists():
            return {"metier": __version__, "created": now(), "stages": {}}
        try:
            manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            manifest.setdefault("stages", {})
            return manifest
        except (ValueError, AttributeError) as error:
            raise MetierError(
                "the manifest is damaged", where=str(file), fix="delete it: the stages will be done again"
            ) from error

    @staticmethod
    def sha(reads: Any) -> str:
        """The key of a stage that reads ``reads``."""
        return sha256_json(reads)

    def record(self, **parts: Any) -> None:
        """Put parts into the manifest and write it."""
        self.manifest.update(parts)
        write_json(self.path / "manifest.json", self.manifest)

    def is_stale(self, name: str, reads: Any) -> bool:
        """Whether stage ``name`` was done with something else than ``reads``."""
        done = self.manifest["stages"].get(name)
        return done is not None and done["key"] != self.sha(reads)

    def forget(self, stage: str, *parts: str) -> None:
        """Take a stage and parts of the manifest out of the record."""
        self.manifest["stages"].pop(stage, None)
        for part in parts:
            self.manifest.pop(part, None)
        self.record()

    def stage(self, name: str, reads: Any, outputs: Sequence[Path], work: Callable[[], dict[str, Any] | None]) -> bool:
        """Do ``work`` unless it was done with the same ``reads`` and its outputs are there.

        Returns:
            Whether it was done now. What ``work`` returns is kept in the stage's record; ``seconds`` among it are those
            of all its attempts, and count where they are more than those of this one.
        """
        key = self.sha(reads)
        done = self.manifest["stages"].get(name)
        if done and done["key"] == key and all(path.exists() for path in outputs):
            return False
        start = time.perf_counter()
        more = work() or {}
        seconds = round(time.perf_counter() - start, 2)
        seconds = max(seconds, more.get("seconds", 0.0))
        self.manifest["stages"][name] = {"key": key, "finished": now(), **more, "seconds": seconds}
        self.record()
        return True


def stage_key(path: Path, name: str) -> str | None:
    """The key of a stage that another run directory has finished."""
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    key: str | None = manifest["stages"].get(name, {}).get("key")
    return key


@contextlib.contextmanager
def open_run(path: Path) -> Iterator[RunDirectory]:
    """Hold the run directory, mended of what a killed process has left half done.

    Errors: :class:`MetierError` that names another process which holds it.
    """
    fresh = not path.exists()
    with explain_os_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    owner = path / ".owner"
    lock = FileLock(path / ".lock")
    with explain_os_errors(path):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            who = owner.read_text(encoding="utf-8").strip() if owner.exists() else "another process"
            raise MetierError(
                f"the run directory is in use by {who}",
                where=str(path),
                fix="wait for it to finish, or give another --out",
            ) from None
    try:
        recover(path)
        write_text(owner, f"process {os.getpid()} on {platform.node()} since {now()}: {' '.join(sys.argv)}\n")
        yield RunDirectory(path)
    finally:
        owner.unlink(missing_ok=True)
        if fresh and {entry.name for entry in path.iterdir()} <= {".lock", "lock.json"}:  # it stopped before any stage
            shutil.rmtree(path, ignore_errors=True)
        lock.release()


def now() -> str:
    """UTC time to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version(), "metier": __version__}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
