"""One way to ask a web server: bounded in size and time, patient where it is told to be, kept for offline runs."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import logging
import ssl
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from metier.errors import MetierError
from metier.files import explain_os_errors
from metier.sources import cache

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30.0  # without a byte
DEADLINE_SECONDS = 300.0  # for one whole answer
LONGEST_WAIT_SECONDS = 30  # that a server may ask for and get
ATTEMPTS = 3
_BUSY = (429, 502, 503, 504)

_turns = threading.Lock()
_last_request: dict[str, float] = {}  # by host, on the monotonic clock


class GoneError(MetierError):
    """There is nothing at this address (status 404 or 410), while the server itself is well."""


@dataclass(frozen=True)
class Answer:
    """A server's answer, kept in the cache: the file with its body, and what kind the server says it is.

    ``base`` is the address at which redirects ended: what is relative in the body is relative to it.
    """

    url: str
    path: Path
    content_type: str
    base: str


def fetch_url(
    url: str,
    *,
    offline: bool = False,
    unchanging: bool = False,
    max_bytes: int = 50_000_000,
    headers: Mapping[str, str] | None = None,
    pause: float = 0.0,
    fixes: Mapping[int, str] | None = None,
) -> Answer:
    """GET one address into the cache.

    Args:
        url: ``http:`` or ``https:``.
        offline: give what an earlier run kept; never touch a network.
        unchanging: what is kept is as good as new, so do not ask again.
        max_bytes: of the body, after decompression.
        headers: besides ``User-Agent: metier`` and ``Accept-Encoding: gzip``.
        pause: seconds between two requests of this process to the same host, at least.
        fixes: what to do about a status, where the caller knows better.

    A server that is busy (429, 502, 503, 504) is asked three times in all, after the time that it names in
    ``Retry-After`` (up to 30 seconds; else after one and two seconds).

    Raises:
        GoneError: status 404 or 410.
        MetierError: offline and not kept; not an address; unreachable; another status than 200; too large; too slow.
    """
    _check_address(url)
    key = f"GET {url}"
    kept = cache.recall(key) if offline or unchanging else None
    if kept:
        return Answer(url, kept[0].path, str(kept[1].get("content_type", "")), str(kept[1].get("base", url)))
    if offline:
        fix = "run once without --offline, where it can be reached; what came is kept"
        raise MetierError("it was never fetched, and this run is offline", where=url, fix=fix)
    with cache.locked(key), cache.partial(key) as folder:
        target = folder / "body"
        kind, base = _download(url, target, dict(headers or {}), max_bytes, pause, fixes or {})
        blob = cache.add_blob(target)
        cache.remember(key, blob, content_type=kind, base=base)
    return Answer(url, blob.path, kind, base)


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or any(character.isspace() or ord(character) < 32 for character in url):
        raise MetierError(f"not a web address: {url!r}", fix="write it whole: https://example.org/feed.xml")
    if not url.isascii():
        fix = "write other letters as a browser's address bar copies them: %C3%BC for ü, xn--… in the server's name"
        raise MetierError(f"the address has letters beyond ASCII: {url!r}", fix=fix)


def _download(
    url: str, target: Path, headers: dict[str, str], max_bytes: int, pause: float, fixes: Mapping[int, str]
) -> tuple[str, str]:
    """Save the body; returns its kind, as the server says, and the address at which redirects ended."""
    request = urllib.request.Request(url, headers={"User-Agent": "metier", "Accept-Encoding": "gzip", **headers})
    for attempt in range(1, ATTEMPTS + 1):
        _take_turn(urlsplit(url).netloc, pause)
        try:
            with _explained(url), _opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                _save(response, target, url, max_bytes)
                return str(response.headers.get("Content-Type", "")), str(response.geturl())
        except urllib.error.HTTPError as error:
            with error:
                wait = _wait(error, attempt)
            if wait is None:
                _refuse(error, url, fixes)
        log.warning("%s is busy: asking again in %d s", url, wait)
        time.sleep(wait)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _wait(error: urllib.error.HTTPError, attempt: int) -> float | None:
    """Seconds to wait before asking again; None if asking again is no use."""
    if error.code not in _BUSY or attempt == ATTEMPTS:
        return None
    asked = _retry_after(error)
    if asked is None:
        return float(attempt)
    return asked if asked <= LONGEST_WAIT_SECONDS else None


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    """``Retry-After`` in seconds: a number or a date (RFC 9110, 10.2.3)."""
    value = (error.headers.get("Retry-After") or "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    with contextlib.suppress(ValueError):
        when = email.utils.parsedate_to_datetime(value)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return None


def _refuse(error: urllib.error.HTTPError, url: str, fixes: Mapping[int, str]) -> NoReturn:
    if error.code in _BUSY:
        asked = _retry_after(error)
        wait = f"; it asks to wait {asked:.0f} seconds" if asked else ""
        fix = "too many requests, or a fault of the server: run the same command again later"
        raise MetierError(f"the server answered with status {error.code}{wait}", where=url, fix=fix) from None
    circle = "it redirects in a circle, or to what is no web page: give the address at which a browser ends"
    usual = {
        **dict.fromkeys((301, 302, 303, 307, 308), circle),
        401: "it wants a login, which metier does not do: download it yourself and use posts:FOLDER",
        403: "the server does not let this in: look at the address in a browser, and at the site's terms",
        404: "check the address",
        410: "it is gone for good: remove it",
    }
    fix = fixes.get(error.code) or usual.get(error.code, "check the address in a browser, or try again later")
    fault = GoneError if error.code in (404, 410) else MetierError
    raise fault(f"the server answered with status {error.code}", where=url, fix=fix) from None


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except TimeoutError as error:
        fix = "try again later"
        raise MetierError(f"no answer within {TIMEOUT_SECONDS:.0f} seconds", where=url, fix=fix) from error
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        ConnectionError,
        ssl.SSLError,
        EOFError,
        zlib.error,
    ) as error:
        said = getattr(error, "reason", None) or str(error) or type(error).__name__
        fix = "check the address, the network and the proxy's settings (HTTPS_PROXY); --offline reads what is kept"
        raise MetierError(f"the server cannot be reached, or broke off: {said}", where=url, fix=fix) from error


def _save(response: Any, target: Path, url: str, max_bytes: int) -> None:
    """Write the body to ``target``, unpacked, within ``max_bytes`` and the deadline."""
    packed = response.headers.get("Content-Encoding", "").lower() in ("gzip", "x-gzip")
    unpacker = zlib.decompressobj(wbits=31) if packed else None
    declared = response.headers.get("Content-Length", "")
    wanted = int(declared) if declared.isdigit() else None
    end, read, written = time.monotonic() + DEADLINE_SECONDS, 0, 0
    with open(target, "wb", buffering=0) as file:
        while block := response.read1(1 << 16):
            read += len(block)
            data = unpacker.decompress(block, max_bytes + 1 - written) if unpacker else block
            written += len(data)
            if written > max_bytes or (unpacker and unpacker.unconsumed_tail):
                fix = "name something smaller, or download it yourself"
                raise MetierError(f"the answer is larger than {max_bytes:,} bytes", where=url, fix=fix)
            if time.monotonic() > end:
                raise MetierError(f"not whole after {DEADLINE_SECONDS:.0f} seconds", where=url, fix="try again later")
            with explain_os_errors(target):
                file.write(data)
    if (wanted is not None and read < wanted) or (unpacker and not unpacker.eof):
        raise EOFError(f"the answer was cut off after {read:,} bytes")


def _take_turn(host: str, pause: float) -> None:
    """Wait until ``pause`` seconds have passed since this process last asked ``host``; threads queue."""
    with _turns:
        left = _last_request.get(host, float("-inf")) + pause - time.monotonic()
        if left > 0:
            time.sleep(left)
        _last_request[host] = time.monotonic()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the web only, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        secure = urlsplit(req.full_url).scheme == "https"
        if urlsplit(newurl).scheme not in (("https",) if secure else ("http", "https")):
            raise MetierError(
                f"redirected to {newurl!r}, which is refused", where=req.full_url, fix="check the address"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener = urllib.request.build_opener(_Redirects)
