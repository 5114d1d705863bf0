"""`House`: an ASGI application on a socket of its own, in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

from crossplay.kernel import CrossplayError

__all__ = ["House"]

OPENING = 15.0
"""Seconds until a server that does not come up counts as failed."""
CLOSING = 3.0
"""Seconds that open requests have at the end."""
FRAME = 1 << 16
"""Bytes of one message on a WebSocket at most, as it comes from outside."""
CONNECTIONS = 512
"""Connections at a time, also of strangers: those who say nothing make room for those who come (`crowd`)."""


class House:
    """Serves from `open` to `close`. port 0 takes a free one; `port` and `url` tell which.

    The socket is bound at once, so that an address in use is heard of before anything is played. sockets: whether
    WebSockets are served. extra: what to install where the server is missing.
    """

    def __init__(self, app: Any, host: str, port: int, *, sockets: bool = False, extra: str = "mcp") -> None:
        self.app, self.host, self.sockets, self.extra = app, host, sockets, extra
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # The protocol is named: asyncio sends small answers at once only where it is.
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            self._socket.listen(CONNECTIONS)
        except OSError as error:
            self._socket.close()
            raise CrossplayError(f"cannot serve at {host}:{port}: {error.strerror or error}") from None
        self.port = int(self._socket.getsockname()[1])
        self._server: Any = None
        self._crowd: Any = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()
        self._failed: BaseException | None = None

    @property
    def authority(self) -> str:
        """HOST:PORT, as addresses write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def open(self) -> None:
        """Serve; returns when requests are answered. Raises `CrossplayError` where that fails."""
        try:
            import uvicorn
        except ImportError as error:
            raise CrossplayError(
                f"the package uvicorn is not installed; it comes with crossplay[{self.extra}]"
            ) from error
        from crossplay.wire.http import crowd

        config = uvicorn.Config(
            self.app,
            http=crowd.HttpLine,  # by name: another parser that happens to be installed would be taken, with other rules
            log_config=None,
            log_level="error",
            access_log=False,
            # It would believe X-Forwarded-For of whoever connects from this machine, a proxy that passes on what strangers made up
            # among them. Whom to believe is said by name (`clients.Proxies`).
            proxy_headers=False,
            lifespan="on",
            timeout_graceful_shutdown=int(CLOSING),
            server_header=False,
            date_header=False,
            ws=crowd.SocketLine if self.sockets else "none",
            ws_max_size=FRAME,
        )
        self._crowd = config.crowd = crowd.Crowd(CONNECTIONS)  # type: ignore[attr-defined]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"crossplay seat {self.authority}")
        self._thread.start()
        if not self._up.wait(OPENING) or self._failed is not None:
            self.close()
            raise CrossplayError(f"the server at {self.authority} did not come up: {self._failed or 'no answer'}")

    def _run(self) -> None:
        async def serve() -> None:
            watching = asyncio.create_task(self._watch())
            try:
                await self._server.serve(sockets=[self._socket])
            finally:
                watching.cancel()

        try:
            asyncio.run(serve())
        except (Exception, SystemExit) as error:
            self._failed = error
        finally:
            self._up.set()

    async def _watch(self) -> None:
        """Tell `open` when the server has started; from then on look after its connections."""
        from crossplay.wire.http import crowd

        while not self._server.started:
            await asyncio.sleep(0.01)
        self._up.set()
        while True:
            await asyncio.sleep(crowd.EVERY)
            self._crowd.look()

    def close(self) -> None:
        """Let open requests end, then stop; may be called more than once."""
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join(CLOSING + 2)
            if self._thread.is_alive() and self._server is not None:
                self._server.force_exit = True
                self._thread.join(2)
        with contextlib.suppress(OSError):
            self._socket.close()
