"""``metier serve``: a specialist on a port of this machine, until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from metier.errors import MetierError
from metier.inference.specialist import Specialist
from metier.serving.gathering import Demand, Gatherer, Input
from metier.serving.wire import Limits, fields_of
from metier.tasks.choices import PLACE

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

BACKLOG = 200  # connections that wait to be taken


def serve(
    run: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    engine: str = "auto",
    device: str = "auto",
    offline: bool = False,
    abstain_below: float | None = None,
    limits: Limits | None = None,
    ready: Callable[[Specialist, str], None],
) -> int:
    """Load a specialist, warm it up, call ``ready`` with it and its address, and answer until a signal ends it.

    Returns the number of texts answered. SIGINT and SIGTERM end it when what was taken is answered, a second SIGINT at
    once; the caller sees to it that SIGTERM, which arrives once more at the end, raises ``KeyboardInterrupt``.

    Args:
        port: 0 takes a free one.
        limits: the usual ones if left out.

    Errors: :class:`MetierError` without the extra, for an address that cannot be used, and as ``Specialist.load``.
    """
    limits = limits or Limits()
    try:
        import uvicorn  # noqa: F401

        from metier.serving.app import create_app
        from metier.serving.gate import LOOPBACK
    except ImportError as error:
        raise MetierError(
            f"serving needs fastapi and uvicorn, which cannot be imported: {error}", fix="pip install 'metier[serve]'"
        ) from error
    with bind(host, port) as taken:
        specialist = Specialist.load(run, device=device, offline=offline, engine=engine)
        gatherer = Gatherer(specialist, waiting=limits.waiting)
        gatherer.ask(sample(specialist), Demand(abstain_below)).result()
        hosts = LOOPBACK | {host.lower()} if is_loopback(taken) else None
        app = create_app(specialist, gatherer, limits=limits, hosts=hosts, abstain_below=abstain_below)
        taken.listen(BACKLOG)  # whoever comes from now on waits for a moment, and is not turned away
        ready(specialist, address(host, taken))
        warmed = gatherer.answered
        with contextlib.suppress(KeyboardInterrupt):  # raised anew when everything is over
            http_server(app, limits).run(sockets=[taken])
        return gatherer.answered - warmed


def http_server(app: FastAPI, limits: Limits) -> uvicorn.Server:
    """What carries the application over HTTP; it believes no proxy, and logs faults alone: requests are private."""
    import uvicorn

    from metier.serving.connection import connection

    return uvicorn.Server(
        uvicorn.Config(
            app, http=connection(limits.head_seconds), ws="none", lifespan="on", log_level="warning", access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=int(limits.seconds) + 1,
        )
    )  # fmt: skip


def bind(host: str, port: int) -> socket.socket:
    """A socket of that address, bound and not listening yet.

    Errors: :class:`MetierError` for a host there is not, and a port that is taken or may not be used.
    """
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        what = f"'{host}' is no address of this machine: {error}"
        raise MetierError(what, where="--host", fix="leave --host out: 127.0.0.1") from error
    found = socket.socket(family, kind)
    if os.name == "posix":
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(place)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRNOTAVAIL:
            what = f"'{host}' is no address of this machine"
            raise MetierError(what, where="--host", fix="leave --host out: 127.0.0.1") from error
        what = f"port {port} is taken" if error.errno == errno.EADDRINUSE else f"port {port} cannot be used: {error}"
        raise MetierError(what, where="--port", fix="name another, or 0 for a free one") from error
    return found


def is_loopback(taken: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(str(taken.getsockname()[0])).is_loopback


def address(host: str, taken: socket.socket) -> str:
    """Where a browser finds it."""
    return f"http://{f'[{host}]' if ':' in host else host}:{taken.getsockname()[1]}/"


def sample(specialist: Specialist) -> list[Input]:
    """A text to warm up with: what is stored at the first call is stored before anybody waits."""
    task = specialist.bundle.task
    text: dict[str, str | list[str]] = dict.fromkeys(fields_of(task), "Sales rose a little in the third quarter.")
    if task.kind == "multiple_choice":
        text[PLACE] = [f"option {number}" for number in range(task.option_count or 2)]
    return [text]
