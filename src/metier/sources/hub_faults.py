"""Where the Hub is, whether it may be asked, and what its refusals mean."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from metier.errors import MetierError, nearest
from metier.sources.cache import cache_root

silent: set[str] = set()
"""Addresses that this process asked in vain (:func:`metier.sources.hub_reachable`): only their cache is used then."""


def endpoint() -> str:
    """The Hub's address: ``HF_ENDPOINT``, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def is_offline(offline: bool = False) -> bool:
    """Whether the Hub must not be asked: ``offline``, or ``HF_HUB_OFFLINE``."""
    return offline or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def why_offline() -> tuple[str, str]:
    """Why the Hub is not asked, and what to do about it: it did not answer before, or nobody wants it to be asked."""
    if endpoint() in silent and not is_offline():
        return f"{endpoint()} cannot be reached", "check the network and HF_ENDPOINT"
    fix = "run once without --offline (and without HF_HUB_OFFLINE), where the Hub can be reached"
    return "this run is offline", fix


def hub_cache() -> Path:
    """Where downloads from the Hub lie."""
    return cache_root() / "hub"


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
        why, fix = why_offline()
        return MetierError(f"it is not in the cache, and {why}", where=where, fix=fix)
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
