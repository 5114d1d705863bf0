"""The MCP server of a seat over streamable HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from crossplay.serve.mcp_seat import HOLD, make_server
from crossplay.wire.http.guard import Guard
from crossplay.wire.http.house import House

if TYPE_CHECKING:
    from crossplay.agents.open_seat import OpenSeat

__all__ = ["McpHouse"]

PATH = "/mcp"
BODY = 256 * 1024
"""Bytes of a request at most."""
SESSIONS = 32
"""Sessions of clients that speak versions with sessions, at a time."""


class McpHouse:
    """One seat, served at `url` from `open` to `close`. token: "" for none (loopback only)."""

    def __init__(
        self, seat: OpenSeat, host: str = "127.0.0.1", port: int = 0, token: str = "", names: Iterable[str] = (),
        hold: float = HOLD,
    ) -> None:  # fmt: skip
        from mcp.server.transport_security import TransportSecuritySettings

        server = make_server(seat, "http", hold)
        app = server.streamable_http_app(
            streamable_http_path=PATH,
            max_request_body_size=BODY,
            max_sessions=SESSIONS,
            # Host and Origin are checked by the guard, which knows addresses other than loopback too.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        self.house = House(Guard(app, host, token, names), host, port)
        self.url = f"http://{self.house.authority}{PATH}"

    def open(self) -> None:
        """Serve."""
        self.house.open()

    def close(self) -> None:
        """Stop; calls that wait are answered first where they can be."""
        self.house.close()
