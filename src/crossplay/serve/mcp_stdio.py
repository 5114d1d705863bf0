"""The MCP server of a seat over stdin and stdout, beside the run that the seat plays in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from crossplay.serve.mcp_seat import HOLD, make_server

if TYPE_CHECKING:
    from crossplay.agents.open_seat import OpenSeat

__all__ = ["beside_stdio"]

T = TypeVar("T")


async def beside_stdio(seat: OpenSeat, play: Callable[[], T], say: Callable[[str], None], hold: float = HOLD) -> T:
    """Serve until the client closes its side; `play` runs in a thread meanwhile, and its result is returned.

    A client that leaves before the end stops the run where it stands. While this serves, whatever prints to
    stdout goes to stderr: stdout belongs to the protocol. say(text): for what is said last where a signal ends it.
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
        _on_signals(seat, playing, say)
        try:
            await server.run(reading, writing, server.create_initialization_options())
        finally:
            seat.mailbox.leave("the client has closed the connection")
            await asyncio.wait([playing])
    return playing.result()


def _on_signals(seat: OpenSeat, playing: asyncio.Task[T], say: Callable[[str], None]) -> None:
    """A signal closes the run, then the process: the SDK's thread that reads stdin cannot be interrupted."""

    def ended(task: asyncio.Task[T]) -> None:
        say(str(task.exception() or "stopped"))
        os._exit(130)

    def stop() -> None:
        seat.mailbox.leave("it was stopped by a signal")
        playing.add_done_callback(ended)

    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # another system, another thread
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(one, stop)
