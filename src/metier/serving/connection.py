"""A connection that is closed where no request comes of it: half-sent ones must not stay open for ever."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class _Connection(H11Protocol):
    """Waits ``head_seconds`` for the head of a request, however its bytes drip; uvicorn itself waits without end."""

    head_seconds: float
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # its head is there
            self._unwatch()
        elif self._late is None:
            self._late = self.loop.call_later(self.head_seconds, self.timeout_keep_alive_handler)

    def _unwatch(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def connection(seconds: float) -> type[H11Protocol]:
    """The protocol of a server that waits so long for a request's head."""

    class Connection(_Connection):
        head_seconds = seconds

    return Connection
