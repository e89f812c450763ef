"""What was fetched, and the lock that pins it for the next time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from metier.errors import MetierError
from metier.files import write_json

Trust = Literal["catalogue", "given", "lock", "revision", "first use", "local"]
"""Why the bytes are believed to be the right ones.

``catalogue``: the distribution's hash is recorded with metier. ``given``: the caller named the hash. ``lock``: an
earlier run recorded it. ``revision``: the Hub served it for that commit. ``first use``: nothing was known about it
before; its hash is recorded from now on. ``local``: a file of the user's own.
"""


@dataclass(frozen=True)
class Fetched:
    """A file (or the folder of a model) that is now on this machine.

    ``sha256`` is that of the file; of a folder, that of the canonical JSON ``{file name: sha256}``. ``bytes`` is its
    size. ``revision`` is the Hub's commit. ``origin`` names the distribution that a file was read from.
    """

    ref: str
    path: Path
    sha256: str
    bytes: int
    revision: str | None = None
    trust: Trust = "first use"
    origin: str | None = None


class Lock:
    """Every reference that a run fetched, with the hash and revision of what came, in the order of fetching."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Any]] = {}

    def record(self, fetched: Fetched) -> None:
        """Add an entry; one with the same reference is replaced where it stands.

        Why bytes were trusted at first stays on record when they are confirmed later.
        """
        entry: dict[str, Any] = {"ref": fetched.ref, "sha256": fetched.sha256, "bytes": fetched.bytes}
        entry |= {"revision": fetched.revision, "trust": fetched.trust, "origin": fetched.origin}
        before = self._entries.get(fetched.ref)
        if before and fetched.trust == "lock" and before["sha256"] == fetched.sha256:
            entry["trust"] = before.get("trust", "lock")
        self._entries[fetched.ref] = entry

    def entries(self) -> list[dict[str, Any]]:
        """Copies of the entries: ``ref``, ``sha256``, ``bytes``, ``revision``, ``trust``, ``origin``."""
        return [dict(entry) for entry in self._entries.values()]

    def pinned(self, ref: str) -> dict[str, Any] | None:
        """The entry of ``ref``, if there is one."""
        entry = self._entries.get(ref)
        return dict(entry) if entry else None

    def save(self, path: Path) -> None:
        """Write the lock as JSON, by rename."""
        write_json(path, {"entries": self.entries()})

    @classmethod
    def load(cls, path: Path) -> Lock:
        """Read a saved lock; a file that does not exist is an empty lock."""
        lock = cls()
        try:
            for entry in json.loads(path.read_text("utf-8"))["entries"]:
                lock._entries[str(entry["ref"])] = {**entry, "sha256": str(entry["sha256"])}
        except FileNotFoundError:
            return lock
        except (OSError, ValueError, KeyError, TypeError) as error:
            fix = "restore it, or delete it to fetch and pin everything anew"
            raise MetierError(f"the lock cannot be read: {error}", where=str(path), fix=fix) from error
        return lock
