"""Writing so that nothing is lost: a temporary name first, then a rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metier.errors import MetierError

UMASK = os.umask(0o077)  # it can only be read by setting it, which is not for threads: once, and put back
os.umask(UMASK)


@contextlib.contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a missing right or a missing folder into a :class:`MetierError` that names the file."""
    try:
        yield
    except MetierError:
        raise
    except Exception as error:
        number = _os_error(error)
        if number is None:
            raise
        if number in (errno.ENOSPC, errno.EDQUOT):
            fix = "free some space and run the same command again: it continues where it stopped"
            raise MetierError("the disk is full", where=str(path), fix=fix) from error
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise MetierError(
                f"cannot write: {os.strerror(number)}",
                where=str(path),
                fix="choose another folder or change its rights",
            ) from error
        raise MetierError(f"cannot write: {os.strerror(number) if number else error}", where=str(path)) from error


def _os_error(error: Exception) -> int | None:
    """The system's number of a failure, 0 if it is not told; libraries in Rust and lxml only write it as words."""
    if isinstance(error, OSError):
        return error.errno or 0
    if named := re.search(r"\bIO_(E[A-Z0-9]+)\b", str(error)):
        return int(getattr(errno, named[1], 0))
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; on success flush it to disk and rename it to ``path``.

    A device or a pipe (``/dev/null``) is itself given: a file may not take its place.
    """
    if path.exists() and not path.is_dir() and (not path.is_file() or path.parent == Path("/dev")):
        with explain_os_errors(path):
            yield path
        return
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            os.chmod(temporary, 0o666 & ~UMASK)  # mkstemp makes private files; results have the rights of others
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the old file or the new one, never half of it."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, by rename."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, by rename. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def write_dir(path: Path) -> Iterator[Path]:
    """Give a temporary directory beside ``path``; on success it takes the place of ``path``."""
    with explain_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        try:
            yield temporary
            os.chmod(temporary, 0o777 & ~UMASK)
            replace_dir(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def replace_dir(temporary: Path, path: Path) -> None:
    """Rename a directory to ``path``, where another one may stand; a kill in between is mended by :func:`recover`."""
    if not path.exists():
        os.replace(temporary, path)
        return
    old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".old"))
    os.replace(path, old / "old")
    os.replace(temporary, path)
    shutil.rmtree(old)


def recover(root: Path) -> None:
    """Put back what a killed process had moved away below ``root``, and remove what it had not finished.

    To be called by the only process that writes there: below a folder with a ``.lock`` of its own it may be another.
    """
    for place, folders, files in os.walk(root):
        here = Path(place)
        if here != root and ".lock" in files:
            folders.clear()
            continue
        for name in [*folders, *files]:
            if found := _UNFINISHED.fullmatch(name):
                _clear_away(here / name, here / found["target"])
        folders[:] = [name for name in folders if not _UNFINISHED.fullmatch(name)]


_UNFINISHED = re.compile(r"\.(?P<target>.+)\.(?:[a-z0-9_]{8}|parts)\.(?:tmp|old)")  # as mkstemp and mkdtemp name them


def _clear_away(leftover: Path, target: Path) -> None:
    with explain_os_errors(leftover):
        if (leftover / "old").is_dir() and not target.exists():
            os.replace(leftover / "old", target)
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def sha256_file(path: Path) -> str:
    """The file's SHA-256 in hexadecimal, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of the canonical JSON of ``value``: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
