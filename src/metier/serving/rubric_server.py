"""The rubric workbench over HTTP: for browsers on this machine alone.

It listens on the loopback, answers only requests that name it as their host (a name that another site points at the
loopback is refused), takes choices only from its own pages (same origin, and a token that other sites cannot read), and
bounds what it reads.
"""

from __future__ import annotations

import errno
import hmac
import json
import secrets
import sys
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from metier.errors import MetierError
from metier.serving import rubric_pages as pages
from metier.serving.page import page_headers
from metier.serving.rubric_pages import Desk

MAX_BYTES = 64_000  # of one form: names of axes and options
SECONDS = 30  # without a byte
_FIELD = "axis."


class _RefusedError(Exception):
    def __init__(self, status: HTTPStatus, what: str) -> None:
        super().__init__(what)
        self.status = status


@dataclass(frozen=True)
class _Reply:
    status: HTTPStatus
    body: str = ""
    kind: str = "text/html; charset=utf-8"
    to: str | None = None


def rubric_server(desk: Desk, token: str, port: int = 0) -> ThreadingHTTPServer:
    """A server for ``desk``, listening on 127.0.0.1 already; ``serve_forever`` answers.

    Args:
        desk: the workbench.
        token: secret that forms carry; the same after a restart, so that open pages go on working.
        port: 0 takes a free one.

    Raises:
        MetierError: the port is taken or may not be used.
    """

    class Handler(_Handler):
        pass

    Handler.desk, Handler.token = desk, token
    try:
        server = _Server(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        what = f"port {port} is taken" if taken else f"port {port} cannot be used: {error}"
        raise MetierError(what, where="--port", fix="name another, or 0 for a free one") from error
    places = ("", ":80") if server.server_port == 80 else (f":{server.server_port}",)  # browsers leave 80 out
    Handler.origins = {f"http://{name}{place}" for name in ("127.0.0.1", "localhost") for place in places}
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # a room of raters may open its pages at once

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A page that was closed before its answer came is no fault; anything else is told as it is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    desk: Desk
    token: str
    origins: set[str]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "metier", ""
    timeout = SECONDS

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, respond: Any) -> None:
        self.nonce = secrets.token_urlsafe(16)
        try:
            self._check_host()
            reply = respond()
        except _RefusedError as error:
            self.close_connection = True  # its body may not have been read
            reply = self._fault(error.status, str(error))
        except MetierError as error:
            reply = self._fault(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
        self._send(reply)

    def _fault(self, status: HTTPStatus, what: str) -> _Reply:
        if self._wants_json():
            return _Reply(status, json.dumps({"error": what}), "application/json")
        return _Reply(status, pages.fault_page(what, self.nonce))

    def _wants_json(self) -> bool:
        return self.headers.get("Accept") == "application/json"

    def _check_host(self) -> None:
        if f"http://{self.headers.get('Host', '')}" not in self.origins:
            raise _RefusedError(HTTPStatus.MISDIRECTED_REQUEST, "This page is for this machine, under its own address.")

    def _get(self) -> _Reply:
        parts = urlsplit(self.path)
        if parts.path == "/":
            return _Reply(HTTPStatus.OK, pages.home(self.desk, self.nonce))
        if parts.path != "/rate":
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is no such page.")
        asked = _fields(parts.query)
        rater = self._rater(asked)
        item = asked.get("item")
        if item is None:
            item = pages.next_item(self.desk, rater)
            if item is None:
                return _Reply(HTTPStatus.OK, pages.finished_page(self.desk, rater, self.nonce))
        self._check_item(rater, item)
        return _Reply(HTTPStatus.OK, pages.item_page(self.desk, rater, item, self.token, self.nonce))

    def _post(self) -> _Reply:
        self._check_own_page()
        fields = _fields(self._body())
        if urlsplit(self.path).path != "/rate":
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is no such page.")
        if not hmac.compare_digest(fields.get("token", "").encode(), self.token.encode()):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "This form is not from this workbench. Load the page again.")
        rater, item = self._rater(fields), fields.get("item", "")
        self._check_item(rater, item)
        self._keep(rater, item, fields)
        complete = self.desk.complete(rater, item)
        if self._wants_json():
            body = {"complete": complete, "done": self.desk.done(rater)}
            return _Reply(HTTPStatus.OK, json.dumps(body), "application/json")
        if not complete:
            said = self.desk.said(rater).get(item, {})
            missing = [axis.name for axis in self.desk.rubric.axes if axis.name not in said]
            page = pages.item_page(self.desk, rater, item, self.token, self.nonce, missing)
            return _Reply(HTTPStatus.UNPROCESSABLE_ENTITY, page)
        return _Reply(HTTPStatus.SEE_OTHER, to=pages.address(rater, pages.next_item(self.desk, rater, item)))

    def _keep(self, rater: str, item: str, fields: dict[str, str]) -> None:
        said = self.desk.said(rater).get(item, {})
        values: dict[str, str | None] = {}
        for name, value in fields.items():
            if name.startswith(_FIELD):
                axis = self.desk.rubric.axis(name.removeprefix(_FIELD))
                if axis is None or value not in self.desk.rubric.options(axis):
                    raise _RefusedError(HTTPStatus.BAD_REQUEST, f"There is no option '{value}' of '{name}'.")
                if said.get(axis.name) != value:
                    values[axis.name] = value
        if values:
            self.desk.record(rater, item, values)

    def _rater(self, fields: dict[str, str]) -> str:
        name = fields.get("rater", "")
        if name not in self.desk.people:
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"There is no rater '{name}' here.")
        return name

    def _check_item(self, rater: str, item: str) -> None:
        if item not in self.desk.rater(rater).items:
            raise _RefusedError(HTTPStatus.NOT_FOUND, f"The answer '{item}' was not given to '{rater}'.")

    def _check_own_page(self) -> None:
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site")
        if (origin is not None and origin not in self.origins) or site not in (None, "same-origin"):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "Another site may not rate here.")

    def _body(self) -> str:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "The request does not say how long it is.")
        if int(length) > MAX_BYTES:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The request is over {MAX_BYTES:,} bytes.")
        return self.rfile.read(int(length)).decode("utf-8", "replace")

    def _send(self, reply: _Reply) -> None:
        body = reply.body.encode("utf-8")
        self.send_response(reply.status)
        headers = {
            "Content-Type": reply.kind,
            "Content-Length": str(len(body)),
            **page_headers(self.nonce),
        } | ({"Location": reply.to} if reply.to else {})
        for name, value in headers.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: requests hold raters' names."""


def _fields(text: str) -> dict[str, str]:
    try:
        found = parse_qs(text, keep_blank_values=True, max_num_fields=300)
    except ValueError as error:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, f"The form cannot be read: {error}") from None
    return {name: values[-1] for name, values in found.items()}
