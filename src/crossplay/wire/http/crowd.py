"""Connections of a server: how many there may be, and how long one may say nothing, or take nothing.

The server library waits for ever for the first request of a connection, for a body and for whoever reads an answer, and
refuses everybody once it has as many connections as it may. Here those who say nothing make room for those who come.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

__all__ = ["Crowd", "HttpLine", "SocketLine"]

EVERY = 1.0
"""Seconds between two looks at all connections."""
HEAD_S = 20.0
"""Seconds for the head of a request, from the connection or the last answer on."""
HEAD = 16 << 10
"""Bytes of a head: target, names and values."""
BODY_S = 60.0
"""Seconds for a body."""
STALL_S = 60.0
"""Seconds in which whoever is sent something must take some of it."""
LEAST = 16 << 10
"""Bytes that count as some, where not all is taken."""
PARTS = 64
"""Frames of one message on a WebSocket at most: empty ones would come without end."""
PINGS = 100
"""Pings and pongs of one WebSocket between two looks at most."""
REFUSED = (
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"connection", b"close"),
)
"""Headers of what is answered before any application is asked."""


class Crowd:
    """All connections of a server, the oldest first. most: how many there may be."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.lines: dict[Any, _Line] = {}

    def enter(self, transport: Any, protocol: HttpLine | SocketLine) -> None:
        """A connection is made, or goes on as a WebSocket. Where there are too many, the oldest that says nothing ends."""
        known = self.lines.get(transport)
        if known is not None:
            known.protocol = protocol
            return
        self.lines[transport] = _Line(protocol, asyncio.get_running_loop().time())
        if len(self.lines) > self.most:
            silent = next(
                (t for t, line in self.lines.items() if t is not transport and line.protocol.spare), transport
            )
            self._end(silent)

    def leave(self, transport: Any) -> None:
        """A connection is over."""
        self.lines.pop(transport, None)

    def look(self) -> None:
        """End the connections that have waited, or kept us waiting, for too long."""
        now = asyncio.get_running_loop().time()
        for transport, line in list(self.lines.items()):
            size = transport.get_write_buffer_size()
            if size == 0 or size <= line.size - LEAST:
                line.size, line.moved = size, now
            line.size = max(line.size, size)
            protocol = line.protocol
            protocol.control = 0
            if now - line.moved > STALL_S or now - protocol.since > protocol.patience:
                self._end(transport)

    def _end(self, transport: Any) -> None:
        self.leave(transport)
        transport.abort()


class _Line:
    """One connection. size: bytes that wait to be sent, the most since some were taken; moved: when that was."""

    def __init__(self, protocol: HttpLine | SocketLine, now: float) -> None:
        self.protocol, self.size, self.moved = protocol, 0, now


class _Heads(h11.Connection):
    """Requests whose heads are not too long: the library bounds those alone that do not come at once."""

    def next_event(self) -> Any:
        """What comes next. Raises `h11.RemoteProtocolError` for too long a head."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            size = len(event.target) + sum(len(name) + len(value) for name, value in event.headers)
            if size > HEAD:
                raise h11.RemoteProtocolError(f"a head of {size} bytes", error_status_hint=431)
        return event


class HttpLine(H11Protocol):
    """HTTP on one connection. since: when it began to wait for what it waits for now."""

    control = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = _Heads(h11.SERVER, HEAD)

    def connection_made(self, transport: Any) -> None:
        """A client has come."""
        super().connection_made(transport)
        self.since = self.loop.time()
        self.config.crowd.enter(transport, self)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """It says something."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self.since = self.loop.time()

    def on_response_complete(self) -> None:
        """It was answered."""
        self.since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self.config.crowd.leave(self.transport)  # type: ignore[attr-defined]
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What it said is no request: no application hears of it."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()  # in the middle of an answer
            return
        body = msg.encode()
        headers = [*REFUSED, (b"content-length", str(len(body)).encode())]
        answer = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    @property
    def patience(self) -> float:
        """Seconds that it may take over what it is saying."""
        return {h11.IDLE: HEAD_S, h11.SEND_BODY: BODY_S}.get(self.conn.their_state, float("inf"))

    @property
    def spare(self) -> bool:
        """Whether it makes room for others: whoever has not asked yet, or not to the end."""
        return self.patience < float("inf")


class SocketLine(WebSocketsSansIOProtocol):
    """A WebSocket. control: control frames since the last look."""

    patience = float("inf")
    since = 0.0

    def connection_made(self, transport: Any) -> None:
        """An HTTP connection goes on as a WebSocket."""
        super().connection_made(transport)
        self.control, self.spare = 0, True
        self.config.crowd.enter(transport, self)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self.config.crowd.leave(self.transport)  # type: ignore[attr-defined]
        super().connection_lost(exc)

    def send_receive_event_to_app(self) -> None:
        """A message is there: from now on it is somebody's who says something."""
        self.spare = False
        super().send_receive_event_to_app()

    def handle_cont(self, event: Any) -> None:
        """A further part of a message."""
        if len(self.frames) >= PARTS:
            self._fail(f"a message comes in {PARTS} parts at most")
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """A ping, which the library has answered. Whoever does not read the answers must not be sent ever more of them."""
        self._count()
        super().handle_ping()

    def handle_pong(self, event: Any) -> None:
        """A pong."""
        self._count()
        super().handle_pong(event)

    def _count(self) -> None:
        self.control += 1
        if self.control > PINGS:
            self._fail("too many pings")

    def _fail(self, why: str) -> None:
        if not self.transport.is_closing():
            self.conn.fail(1008, why)
            self.handle_parser_exception()
