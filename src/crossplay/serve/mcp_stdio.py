"""The MCP server of a seat over stdin and stdout, beside the run that the seat plays in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from crossplay.serve.mcp_seat import HOLD, make_server

if TYPE_CHECKING:
    from crossplay.agents.open_seat import OpenSeat

__all__ = ["beside_stdio"]

T = TypeVar("T")


async def beside_stdio(seat: OpenSeat, play: Callable[[], T], hold: float = HOLD) -> T:
    """Serve until the client closes its side; `play` runs in a thread meanwhile, and its result is returned.

    A client that leaves before the end stops the run where it stands. While this serves, whatever prints to
    stdout goes to stderr: stdout belongs to the protocol.
    """
    from mcp.server.stdio import stdio_server

    server = make_server(seat, "stdio", hold)

    def played() -> T:
        try:
            return play()
        finally:
            seat.mailbox.finish()

    async with stdio_server() as (reading, writing):
        playing = asyncio.create_task(asyncio.to_thread(played))
        try:
            await server.run(reading, writing, server.create_initialization_options())
        finally:
            seat.mailbox.leave("the client has closed the connection")
            await asyncio.wait([playing])
    return playing.result()
