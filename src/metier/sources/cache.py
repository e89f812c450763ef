"""One content-addressed cache for everything that is fetched or made from it.

Layout under :func:`cache_root`::

    blobs/<sha256>/<filename>   bytes, named by what they are
    names/<sha256 of key>.json  which blob a reference led to
    derived/<key>/              folders made from blobs (a converted model, for one)
    hub/                        huggingface_hub's own cache
    partial/, locks/            work in progress

Nothing appears under its final name before it is whole, and every piece of work is done under a file lock, so
any number of processes may share one cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from metier.errors import MetierError
from metier.files import UMASK, explain_os_errors, sha256_file, write_dir, write_json

log = logging.getLogger(__name__)

_verified: set[tuple[str, int, int]] = set()  # (path, size, mtime_ns) of blobs whose hash this process has checked


@dataclass(frozen=True)
class Blob:
    """A file of the cache: its place, the SHA-256 of its bytes, and how many there are."""

    path: Path
    sha256: str
    bytes: int


def cache_root() -> Path:
    """The cache's folder: ``METIER_CACHE``, or the platform's folder for caches."""
    place = os.environ.get("METIER_CACHE")
    if place:
        return Path(place).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("metier")


@contextlib.contextmanager
def locked(key: str) -> Iterator[None]:
    """Hold the cache's lock for ``key``: one process (and thread) at a time does this piece of work."""
    path = cache_root() / "locks" / f"{_digest(key)}.lock"
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=2)
        except Timeout:
            log.warning("waiting for another process that is working on %s", key)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def partial(key: str) -> Iterator[Path]:
    """An empty scratch folder for ``key``, removed at the end. Call it with the lock held.

    Its name depends on ``key`` alone, so what a killed process left there is cleared by the next one.
    """
    folder = cache_root() / "partial" / _digest(key)
    with explain_os_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def add_blob(finished: Path, filename: str | None = None) -> Blob:
    """Move a finished file (on the cache's own disk, see :func:`partial`) into the store."""
    name = _plain_name(filename or finished.name)
    digest, size = sha256_file(finished), finished.stat().st_size
    place = cache_root() / "blobs" / digest / name
    with explain_os_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(finished, "rb") as file:
            os.fsync(file.fileno())
        finished.chmod(0o666 & ~UMASK)
        finished.replace(place)
    _verified.add(_identity(place))
    return Blob(place, digest, size)


def get_blob(sha256: str, filename: str) -> Blob | None:
    """The stored file, or None if it is absent or damaged (a damaged one is removed, so that it is fetched anew).

    Its hash is checked at the first use in a process, and again whenever its size or time has changed.
    """
    place = cache_root() / "blobs" / sha256 / _plain_name(filename)
    try:
        identity = _identity(place)
        if identity not in _verified:
            if sha256_file(place) != sha256:
                log.warning("%s is damaged in the cache: fetching it again", place)
                place.unlink()
                return None
            _verified.add(identity)
    except FileNotFoundError:
        return None
    return Blob(place, sha256, identity[1])


def remember(key: str, blob: Blob, **facts: Any) -> None:
    """Note that ``key`` led to ``blob``, with any ``facts`` (JSON values) about how."""
    note = {"key": key, "sha256": blob.sha256, "filename": blob.path.name, "bytes": blob.bytes, **facts}
    write_json(cache_root() / "names" / f"{_digest(key)}.json", note)


def recall(key: str) -> tuple[Blob, dict[str, Any]] | None:
    """What :func:`remember` noted for ``key``, if its blob is still there and whole."""
    try:
        note = json.loads((cache_root() / "names" / f"{_digest(key)}.json").read_text("utf-8"))
        blob = get_blob(note["sha256"], note["filename"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # an unreadable note is only a forgotten one
    return (blob, note) if blob and note.get("key") == key else None


def derived(key: str, build: Callable[[Path], None]) -> Path:
    """A folder made once by ``build`` and then kept.

    Args:
        key: names the folder; put into it everything that what is built depends on (hashes, versions).
        build: fills the empty folder that it is given. If it raises, nothing is kept.

    Returns:
        ``<cache>/derived/<key>``. Of two processes that ask at once, one builds and the other waits.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,180}", key):
        raise ValueError(f"not a name for a folder: {key!r}")
    place = cache_root() / "derived" / key
    if place.is_dir():
        return place
    with locked(f"derived/{key}"):
        if not place.is_dir():
            for left in place.parent.glob(f".{key}.*.tmp"):  # of a process that was killed while building
                shutil.rmtree(left, ignore_errors=True)
            with write_dir(place) as temporary:
                build(temporary)
    return place


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8")).hexdigest()


def _identity(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_size, status.st_mtime_ns


def _plain_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise MetierError(f"not a file name: {name!r}")
    return name
