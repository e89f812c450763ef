"""What every request passes before it is looked at: its host, its site, and how much it sends.

A page of another site must not use this server through a visitor's browser: a name that such a site points at the
loopback is refused, and so is a request that a browser sends from elsewhere. Nothing allows other origins (CORS).
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metier.serving.wire import Limits, RefusedError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_QUOTED = 500  # characters of a refusal
_LATER = 5  # seconds after which one may ask again
_DRAINED = 100  # times the limit: so much of a body that is too long is read, that its sender sees the answer


def fault(
    status: int, what: str, *, where: str | None = None, fix: str | None = None, retry_after: int | None = None
) -> JSONResponse:
    """A refusal, in the words of a :class:`MetierError`: ``{"error": {"what", "where", "fix"}}``."""
    parts = {"what": what, "where": where, "fix": fix}
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse({"error": {k: _quoted(v) for k, v in parts.items() if v is not None}}, status, headers)


def _quoted(text: str) -> str:
    """Words that may hold part of a request: not all of it, and no half characters (lone surrogates)."""
    return text[:_QUOTED].encode("utf-8", "replace").decode("utf-8")


class Gate:
    """ASGI middleware: refuses by number, host and site, and reads bodies whole, within bounds."""

    def __init__(self, app: ASGIApp, *, limits: Limits, hosts: frozenset[str] | None) -> None:
        """``hosts``: names that a request may call this server by; None for any."""
        self.app, self.limits, self.hosts = app, limits, hosts
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.running += 1
        try:
            await self._pass(scope, receive, send)
        finally:
            self.running -= 1

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:

        async def send_unkept(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers.setdefault("X-Content-Type-Options", "nosniff")
            await send(message)

        try:
            self._check_number()
            _check(Headers(scope=scope), scope["method"], self.hosts)
            body = await asyncio.wait_for(self._body(Headers(scope=scope), receive), self.limits.seconds)
        except RefusedError as error:
            later = _LATER if error.status == 503 else None
            reply = fault(error.status, error.what, where=error.where, fix=error.fix, retry_after=later)
            reply.headers["Connection"] = "close"  # its body may not have been read
            await reply(scope, receive, send_unkept)
            return
        except TimeoutError:
            await fault(408, f"the request did not arrive whole in {self.limits.seconds:g} s")(scope, receive, send)
            return
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send_unkept)

    def _check_number(self) -> None:
        if self.running > self.limits.requests:
            what = f"more than {self.limits.requests} requests are under way"
            raise RefusedError(503, what, fix=f"ask again in {_LATER} s")

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        most = self.limits.body_bytes
        declared = int(headers.get("content-length", "0"))  # the server has seen to it that it is a number
        waits = headers.get("expect", "").lower() == "100-continue"  # its sender asks first, and need not send at all
        parts, size, more = [], 0, not (waits and declared > most)
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            part = message.get("body", b"")
            size += len(part)
            if size <= most:
                parts.append(part)
            elif size > _DRAINED * most:
                break
            more = message.get("more_body", False)
        if max(size, declared) > most:
            what = f"a request may have {most:,} bytes, this has {max(size, declared):,}"
            raise RefusedError(413, what, fix="send fewer or shorter texts, or several requests")
        return b"".join(parts)


def _check(headers: Headers, method: str, hosts: frozenset[str] | None) -> None:
    """The host is one of ours, and a browser's request comes from our own page."""
    host = headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if hosts is not None and name not in hosts:
        raise RefusedError(421, "this server is for this machine, under its own address", where=f"Host: {host}")
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    foreign = site not in (None, "same-origin") or (origin is not None and urlsplit(origin).netloc != host)
    if method == "POST" and foreign:
        raise RefusedError(403, "pages of other sites may not ask here")
    if method == "POST" and headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        fix = "send the header Content-Type: application/json"
        raise RefusedError(415, "a request is JSON, and says so", fix=fix)
