"""Files and model repositories of the Hugging Face Hub, or of any server that speaks its protocol.

``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and ``HF_TOKEN`` are honoured as they stand at the time of the call. Downloads go
to the library's own cache format under ``<cache>/hub``.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import functools
import hashlib
import logging
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metier.errors import MetierError, nearest
from metier.files import sha256_file, sha256_json
from metier.sources.cache import cache_root
from metier.sources.lock import Fetched, Lock
from metier.sources.refs import parse_repository

log = logging.getLogger(__name__)

MODEL_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.tiktoken", "README.md", "LICENSE*"]
"""What a model needs. Never a pickle (``*.bin``, ``*.pt``, ``*.pkl``): loading one can run any code."""
_NOT_OF_THE_MODEL = ["*/*.safetensors", "onnx/*", "openvino/*", "original/*", "runs/*", "checkpoint-*/*", ".*"]

_whole: set[tuple[str, int, int]] = set()  # (path, size, mtime_ns) of files that this process has found undamaged


def endpoint() -> str:
    """The Hub's address: ``HF_ENDPOINT``, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def is_offline(offline: bool = False) -> bool:
    """Whether the Hub must not be asked: ``offline``, or ``HF_HUB_OFFLINE``."""
    return offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def hub_reachable(offline: bool = False) -> bool:
    """Whether a Hub answers at :func:`endpoint` within three seconds. Asked once in a process."""
    return not is_offline(offline) and _answers(endpoint())


@functools.cache
def _answers(address: str) -> bool:
    found: list[bool] = []

    def ask() -> None:
        request = urllib.request.Request(f"{address}/api/models?limit=1", headers={"User-Agent": "metier"})
        try:
            with urllib.request.urlopen(request, timeout=3) as response:
                found.append("json" in response.headers.get("Content-Type", ""))  # and not a hotel's login page
        except urllib.error.HTTPError as error:
            found.append(error.code in (401, 429))  # it is there, and wants a token or a rest
        except (OSError, ValueError):
            found.append(False)

    # the time-out of a request does not cover the resolver's, which can be long
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(3)
    return bool(found and found[0])


def hub_cache() -> Path:
    """Where downloads from the Hub lie."""
    return cache_root() / "hub"


def fetch_repo_file(
    repository: str, revision: str | None, filename: str, *, offline: bool = False, kind: str = "dataset"
) -> tuple[Path, str]:
    """One file of a repository: its path in the cache and the commit it belongs to. A damaged copy is fetched anew."""
    from huggingface_hub import hf_hub_download

    def get(revision: str | None) -> Path:
        with explained(repository, revision, filename, kind=kind, offline=offline):
            place = hf_hub_download(
                repository,
                filename,
                repo_type=kind,
                revision=revision,
                endpoint=endpoint(),
                cache_dir=hub_cache(),
                local_files_only=is_offline(offline),
            )
        return Path(place)

    path = get(revision)
    commit = _commit(path)
    if not _is_whole(path):
        _discard_damaged(path, offline)
        path = get(commit)
    return path, commit


def fetch_model_repo(ref: str, *, lock: Lock | None = None, offline: bool = False) -> Path:
    """The folder of a model: configuration, tokenizer and safetensors, never pickled weights or code.

    Args:
        ref: ``hf:owner/name[@revision]``.
        lock: a revision that it pins is used again; what came is recorded in it, with one hash for all files.
        offline: use the cache only.

    Raises:
        MetierError: not found, gated, unreachable, not cached; no configuration or no safetensors; other bytes than
            the lock has.
    """
    repository, revision = parse_repository(ref)
    pinned = lock.pinned(ref) if lock else None
    folder = fetch_snapshot(
        repository,
        pinned["revision"] if pinned else revision,
        MODEL_FILES,
        ignore=_NOT_OF_THE_MODEL,
        kind="model",
        offline=offline,
    )
    fetched = describe_folder(ref, folder, MODEL_FILES, _NOT_OF_THE_MODEL)
    if not (folder / "config.json").is_file():
        raise MetierError("the repository holds no config.json: not a model for transformers", where=ref)
    if not any(folder.glob("*.safetensors")):
        fix = "choose a repository or a revision (hf:owner/name@revision) with *.safetensors; pickles are not loaded"
        raise MetierError("the repository holds no safetensors", where=ref, fix=fix)
    if pinned and pinned["sha256"] != fetched.sha256:
        fix = "another set of files than the run began with: start a new run"
        raise MetierError(f"wrong hash: {fetched.sha256}; the lock has {pinned['sha256']}", where=ref, fix=fix)
    if lock is not None:
        lock.record(fetched)
    return folder


def fetch_snapshot(
    repository: str,
    revision: str | None,
    patterns: list[str],
    *,
    ignore: list[str] | None = None,
    kind: str = "dataset",
    offline: bool = False,
) -> Path:
    """The folder of one commit, with the files that match ``patterns`` and not ``ignore``. Damaged ones come anew."""
    from huggingface_hub import snapshot_download

    with explained(repository, revision, None, kind=kind, offline=offline):
        folder = Path(
            snapshot_download(
                repository,
                repo_type=kind,
                revision=revision,
                endpoint=endpoint(),
                cache_dir=hub_cache(),
                local_files_only=is_offline(offline),
                allow_patterns=patterns,
                ignore_patterns=ignore,
            )
        )
    for name in _matching(folder, patterns, ignore):
        if not _is_whole(folder / name):
            fetch_repo_file(repository, folder.name, name, offline=offline, kind=kind)
    return folder


def describe_folder(ref: str, folder: Path, patterns: list[str], ignore: list[str] | None = None) -> Fetched:
    """A snapshot's entry for the lock: one hash over the names and hashes of its files."""
    hashes = {name: sha256_file(folder / name) for name in _matching(folder, patterns, ignore)}
    size = sum((folder / name).stat().st_size for name in hashes)
    return Fetched(ref, folder, sha256_json(hashes), size, revision=folder.name, trust="revision")


def _matching(folder: Path, patterns: list[str], ignore: list[str] | None) -> list[str]:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    def match(name: str, globs: list[str]) -> bool:  # as the library does: a star crosses folders
        return any(fnmatch.fnmatch(name, glob) for glob in globs)

    return [name for name in names if match(name, patterns) and not match(name, ignore or [])]


def _commit(path: Path) -> str:
    parts = path.parts
    return parts[len(parts) - 1 - parts[::-1].index("snapshots") + 1]


def _is_whole(path: Path) -> bool:
    """Whether a cached file still has the hash that the Hub gave it, which names its blob: SHA-256, or git's SHA-1."""
    if not path.is_symlink():
        return True  # a system without links: the library checks the size alone
    wanted = Path(path.readlink()).name
    status = path.stat()
    identity = (str(path), status.st_size, status.st_mtime_ns)
    if identity in _whole:
        return True
    if re.fullmatch(r"[0-9a-f]{64}", wanted):
        found = sha256_file(path)
    elif re.fullmatch(r"[0-9a-f]{40}", wanted):
        with open(path, "rb") as file:
            digest = hashlib.sha1(f"blob {status.st_size}\0".encode(), usedforsecurity=False)
            while block := file.read(1 << 20):
                digest.update(block)
        found = digest.hexdigest()
    else:
        return True
    if found == wanted:
        _whole.add(identity)
    return found == wanted


def _discard_damaged(path: Path, offline: bool) -> None:
    if is_offline(offline):
        fix = "run once without --offline, to fetch it again"
        raise MetierError("the file is damaged in the cache, and this run is offline", where=str(path), fix=fix)
    log.warning("%s is damaged in the cache: fetching it again", path)
    path.resolve().unlink()
    path.unlink()


@contextlib.contextmanager
def explained(
    repository: str, revision: str | None, filename: str | None, *, kind: str, offline: bool
) -> Iterator[None]:
    """Turn the library's faults into :class:`MetierError`, each with what to do about it."""
    from huggingface_hub import errors

    # httpx's base error, under whichever name the library's release imports it
    network: Any = next(base for base in errors.HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    where = f"hf:{repository}" + (f"@{revision}" if revision else "") + (f"!{filename}" if filename else "")
    page = f"{endpoint()}/{'datasets/' if kind == 'dataset' else ''}{repository}"
    thing = "data set" if kind == "dataset" else "model"
    try:
        yield
    except errors.GatedRepoError as error:
        fix = f"accept its terms at {page}, then set HF_TOKEN or run `hf auth login`"
        raise MetierError(f"the {thing} is gated", where=where, fix=fix) from error
    except errors.RepositoryNotFoundError as error:
        fix = "check owner and name; if it is private, set HF_TOKEN or run `hf auth login`"
        raise MetierError(f"there is no such {thing} on {endpoint()}", where=where, fix=fix) from error
    except errors.RevisionNotFoundError as error:
        fix = f"see its branches, tags and commits at {page}"
        raise MetierError(f"the {thing} has no revision {revision!r}", where=where, fix=fix) from error
    except errors.RemoteEntryNotFoundError as error:
        fix = _near_files(repository, revision, filename or "", kind)
        raise MetierError(f"the {thing} has no such file", where=where, fix=fix) from error
    except errors.LocalEntryNotFoundError as error:
        raise _not_cached(error, where, offline) from error
    except errors.HFValidationError as error:
        raise MetierError(f"not a name on the Hub: {error}", where=where, fix="write hf:owner/name") from error
    except errors.HfHubHTTPError as error:
        raise _refused(error, where) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            fix = "free some space and run the same command again"
            raise MetierError("the disk is full", where=str(hub_cache()), fix=fix) from error
        raise _unreachable(error, where) from error
    except network as error:
        raise _unreachable(error, where) from error


def _not_cached(error: BaseException, where: str, offline: bool) -> MetierError:
    if is_offline(offline):
        fix = "run once without --offline (and without HF_HUB_OFFLINE), where the Hub can be reached"
        return MetierError("it is not in the cache, and this run is offline", where=where, fix=fix)
    cause = error.__cause__
    if getattr(cause, "response", None) is not None:
        return _refused(cause, where)
    return _unreachable(cause or error, where)


def _refused(error: Any, where: str) -> MetierError:
    status = error.response.status_code
    fixes = {
        401: "the token is not accepted: set HF_TOKEN anew or run `hf auth login`",
        403: "the token may not read it: ask for access, or set another HF_TOKEN",
        429: "too many requests: wait a few minutes, or set HF_TOKEN",
    }
    fix = fixes.get(status, "the Hub has a fault: run the same command again later")
    return MetierError(f"{endpoint()} answered with status {status}", where=where, fix=fix)


def _unreachable(error: BaseException, where: str) -> MetierError:
    said = str(error).strip().split("\n")[0] or type(error).__name__
    fix = "check the network and HF_ENDPOINT; what is cached still works with --offline"
    return MetierError(f"{endpoint()} cannot be reached: {said}", where=where, fix=fix)


def _near_files(repository: str, revision: str | None, filename: str, kind: str) -> str:
    from huggingface_hub import HfApi

    try:
        names = HfApi(endpoint=endpoint()).list_repo_files(repository, revision=revision, repo_type=kind)
    except Exception:  # only a suggestion is at stake
        return "check the path in the repository"
    return nearest(filename, names)[:500]
