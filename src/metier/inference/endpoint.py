"""A chat model behind an OpenAI-compatible endpoint: patient within limits, and never trusted to answer sense."""

from __future__ import annotations

import http.client
import ipaddress
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from metier.errors import MetierError

MAX_BYTES = 4_000_000
LONGEST_WAIT_SECONDS = 30.0
_BUSY = (408, 409, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked.

    Attributes:
        url: up to and without ``/chat/completions``, such as ``http://127.0.0.1:8000/v1``.
        model: its name there.
        key: sent as a bearer token; None sends none.
        timeout_seconds: for one answer, from the first byte asked to the last one read.
        attempts: of one question, in all.
        temperature: 0 asks for the same words each time.
        max_tokens: of an answer.
    """

    url: str
    model: str
    key: str | None = None
    timeout_seconds: float = 60.0
    attempts: int = 4
    temperature: float = 0.0
    max_tokens: int = 1024

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            host, good = parts.hostname or "", parts.scheme in ("http", "https") and (parts.port or 1) > 0
        except ValueError:
            host, good = "", False
        if not good or not host:
            raise MetierError(f"not a web address: {self.url!r}", fix="such as http://127.0.0.1:8000/v1")
        if self.key and not (self.key.isascii() and self.key.isprintable()):  # never shown, also not by http.client
            raise MetierError(
                "the key holds a line break or another character that no key has",
                where=self.url,
                fix="set the key's variable to the key alone",
            )
        if self.key and parts.scheme == "http" and not _is_loopback(host):
            raise MetierError(
                "the key would travel unprotected", where=self.url, fix="use https, or unset the key's variable"
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def chat(endpoint: Endpoint, prompt: str, *, sleep: Callable[[float], None] = time.sleep) -> str:
    """What the model writes to one message.

    Faults that may pass (no connection, no answer in time, 429, 5xx, an answer that is not in the protocol) are tried
    again after one, two, four … seconds, or after the time that the server names.

    Raises:
        MetierError: a fault that stays after all attempts, or one that will not pass, such as a wrong key.
    """
    body = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": endpoint.temperature,
        "max_tokens": endpoint.max_tokens,
    }
    headers = {"Content-Type": "application/json", "User-Agent": "metier"}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    address = endpoint.url.rstrip("/") + "/chat/completions"
    request = urllib.request.Request(address, json.dumps(body).encode("utf-8"), headers, method="POST")
    last: _PassingError | None = None
    for attempt in range(endpoint.attempts):
        if last:
            sleep(min(2.0 ** (attempt - 1) if last.wait is None else last.wait, LONGEST_WAIT_SECONDS))
        try:
            return _attempt(request, endpoint.timeout_seconds)
        except _PassingError as error:
            last = error
    often = "once" if endpoint.attempts == 1 else f"{endpoint.attempts} times; at last"
    raise MetierError(
        f"the endpoint failed {often}: {last}", where=address,
        fix="start it, check its address or give it longer (--timeout), then run the same command again: what was "
        "answered is kept",
    )  # fmt: skip


class _PassingError(Exception):
    """A fault that may be gone the next time; ``wait`` is what the server asks for, in seconds."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        super().__init__(what)
        self.wait = wait


def _attempt(request: urllib.request.Request, seconds: float) -> str:
    slow = f"no answer within {seconds:g} seconds"
    try:
        return _content(_ask(request, seconds))
    except urllib.error.HTTPError as error:
        with error:
            if error.code not in _BUSY:
                raise _refused(error, request.full_url) from None
            asked = error.headers.get("Retry-After") or ""
        wait = float(asked) if asked.isascii() and asked.isdigit() else None
        raise _PassingError(f"it answers with status {error.code}", wait) from None
    except (OSError, http.client.HTTPException) as error:  # URLError and TimeoutError are OSErrors
        reason = getattr(error, "reason", None) or error
        said = slow if isinstance(reason, TimeoutError) else f"it cannot be reached, or broke off: {reason}"
        raise _PassingError(said) from error
    except ValueError as error:
        raise _PassingError(f"its answer is not that of a chat endpoint: {error}") from error


def _ask(request: urllib.request.Request, seconds: float) -> bytes:
    """The whole body within ``seconds``, however slowly it, its head or the look-up of its address drips.

    A socket's own timeout begins anew with every byte: a request that takes longer is left behind in its thread.
    """
    found: Future[bytes] = Future()

    def work() -> None:
        try:
            found.set_result(_body(request, seconds))
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=work, name="endpoint", daemon=True).start()
    return found.result(seconds)


def _body(request: urllib.request.Request, seconds: float) -> bytes:
    end = time.monotonic() + seconds
    with _opener.open(request, timeout=seconds) as response:
        blocks, size = [], 0
        while block := response.read1(1 << 16):
            blocks.append(block)
            size += len(block)
            if size > MAX_BYTES:
                raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
            if time.monotonic() > end:
                raise TimeoutError
    return b"".join(blocks)


def _content(body: bytes) -> str:
    try:
        found: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError(f"not JSON: {body[:80]!r}") from None
    try:
        content = found["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise ValueError("there is no choices[0].message.content in it") from None
    if isinstance(content, list):  # some servers send the text in parts
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _refused(error: urllib.error.HTTPError, address: str) -> MetierError:
    fixes = {
        401: "check the key: --key-from names the variable that holds it",
        403: "check the key and what it may use",
        404: "check the address (it ends before /chat/completions) and the model's name",
    }
    said = error.read(300).decode("utf-8", "replace").strip()
    what = f"the endpoint refuses with status {error.code}" + (f": {' '.join(said.split())}" if said else "")
    return MetierError(what, where=address, fix=fixes.get(error.code, "check the address and the model's name"))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key somewhere else: it is a refusal."""

    def redirect_request(self, *args: Any) -> None:
        return None


_opener = urllib.request.build_opener(_NoRedirects)
