"""Files and model repositories of the Hugging Face Hub, or of any server that speaks its protocol.

``HF_ENDPOINT``, ``HF_HUB_OFFLINE`` and ``HF_TOKEN`` are honoured as they stand at the time of the call. Downloads go
to the library's own cache format under ``<cache>/hub``.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import logging
import re
import threading
import urllib.error
import urllib.request
from pathlib import Path

from metier.errors import MetierError
from metier.files import sha256_file, sha256_json
from metier.sources.hub_faults import endpoint, explained, hub_cache, is_offline, silent, why_offline
from metier.sources.lock import Fetched, Lock
from metier.sources.refs import parse_repository

log = logging.getLogger(__name__)

MODEL_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.tiktoken", "README.md", "LICENSE*"]
"""What a model needs. Never a pickle (``*.bin``, ``*.pt``, ``*.pkl``): loading one can run any code."""
_NOT_OF_THE_MODEL = ["*/*.safetensors", "onnx/*", "openvino/*", "original/*", "runs/*", "checkpoint-*/*", ".*"]

_whole: set[tuple[str, int, int]] = set()  # (path, size, mtime_ns) of files that this process has found undamaged


def hub_reachable(offline: bool = False) -> bool:
    """Whether a Hub answers at :func:`endpoint` within three seconds. Asked once in a process."""
    if is_offline(offline):
        return False
    if not (found := _answers(endpoint())):
        silent.add(endpoint())
    return found


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
        why, fix = why_offline()
        raise MetierError(f"the file is damaged in the cache, and {why}", where=str(path), fix=fix)
    log.warning("%s is damaged in the cache: fetching it again", path)
    path.resolve().unlink()
    path.unlink()
