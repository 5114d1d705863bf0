"""The factory of open seats: `open` (whoever holds the object), `open:mcp` (an MCP server)."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossplay.agents.context import Context, NeedsTrust, options
from crossplay.agents.open_mailbox import Mailbox
from crossplay.agents.open_seat import VIEWS, OpenSeat
from crossplay.kernel import Agent, CrossplayError, Observation, Stop, nearest

__all__ = ["FRONTS", "Running", "ServedSeat", "open_seat"]

FRONTS = ("mcp",)
"""How a seat of a study can be served."""
TOLD = 3.0
"""Seconds for which the party is waited for at the end, so that it hears that all is over."""


class ServedSeat(OpenSeat):
    """An open seat that serves itself: its server starts with the first episode and ends with the run.

    Nothing starts when it is made, so that plans and verifications start nothing.
    """

    def __init__(self, *args: Any, running: Running, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.running = running

    def check(self, env: Any, seat: str) -> None:
        """What would keep the server from starting is heard of before anything is played."""
        self.running.ready()
        super().check(env, seat)

    async def begin(self, obs: Observation) -> None:
        """Serve, then wait for the party."""
        self.line_up(obs)
        await asyncio.to_thread(self.running.start, self)
        await super().begin(obs)


class Running:
    """Server and client of one seat; shared by copies of the agent.

    ready(): raises where they cannot be. house(seat) -> a server with url, open and close. client(url) -> a
    process with close, or None where nothing is started.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        house: Callable[[OpenSeat], Any],
        client: Callable[[str], Any] | None = None,
        ready: Callable[[], Any] = lambda: None,
    ) -> None:
        self.mailbox, self._house, self._client, self.ready = mailbox, house, client, ready
        self._lock = threading.Lock()
        self.house: Any = None
        self.client: Any = None

    def start(self, seat: OpenSeat) -> None:
        """Start what does not run yet; what cannot start ends the run."""
        with self._lock:
            if self.house is not None:
                return
            try:
                self.house = self._house(seat)
                self.house.open()
                if self._client is not None:
                    self.client = self._client(self.house.url)
            except Exception as error:
                what = str(error) if isinstance(error, CrossplayError) else f"{type(error).__name__}: {error}"
                raise Stop(f"{seat.name}: {what}") from error

    def close(self) -> None:
        """The run is over: the party is told, then client and server end."""
        self.mailbox.farewell(TOLD)
        if self.client is not None:
            self.client.close()
        if self.house is not None:
            self.house.close()


@options(
    kind={"type": "string", "default": "remote", "description": '"remote", or "human" where a person sits there'},
    views={"type": "array", "items": {"type": "string"}, "default": ["text", "data"], "description": f"what the party is shown: {', '.join(VIEWS)}"},
    http={"type": "string", "default": "127.0.0.1:0", "description": "HOST:PORT of the server; port 0: any free one"},
    hosts={"type": "array", "items": {"type": "string"}, "default": [], "description": "further names by which the server may be called"},
    token_env={"type": "string", "default": "", "description": "environment variable with the token; needed off loopback"},
    client={"type": "string", "default": "", "description": "a command that plays the seat, started with the run (needs trust)"},
    env={"type": "array", "items": {"type": "string"}, "default": [], "description": "environment variables that the client may see"},
    wait={"type": "number", "minimum": 0, "default": 600.0, "description": "seconds to wait for a party before an episode; then the run stops"},
    grace={"type": "number", "minimum": 0, "default": 300.0, "description": "seconds without a sign of the party in its turn; then the episode is void"},
    turn_s={"type": "number", "minimum": 0, "default": 600.0, "description": "seconds after which an unanswered turn is a timeout"},
    hold={"type": "number", "minimum": 0, "maximum": 600, "default": 25.0, "description": "seconds that one call of a client waits at most"},
    refusals={"type": "integer", "minimum": 1, "default": 5, "description": "wrong answers to one turn until it is lost"},
    at_once={"type": "integer", "minimum": 1, "default": 1, "description": "episodes that the party plays side by side"},
)  # fmt: skip
def open_seat(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """A seat for an outside party; rest: how it is served ("open:mcp"), or nothing: through the Python object."""
    from crossplay.wire.http.guard import split_address, token_from

    if rest and rest not in FRONTS:
        raise CrossplayError(f'agent "open:{rest}": unknown front.{nearest(rest, FRONTS)}')
    command = options["client"]
    if command and not context.trust:
        raise NeedsTrust(f'open:{rest}: client "{_shown(command)}" is a command named by a file; allow it with --trust')
    limits = {k: options[k] for k in ("grace", "refusals", "at_once")}
    mailbox = Mailbox("open", wait=options["wait"], turn=options["turn_s"], **limits)
    how = {"kind": options["kind"], "views": options["views"]}
    if not rest:
        return OpenSeat("open", mailbox, **how)
    host, port = split_address(options["http"])
    given = secrets.token_urlsafe(24) if command else ""

    def client(url: str) -> Any:
        from crossplay.serve.client import Client

        known = {"CROSSPLAY_SEAT_URL": url, "CROSSPLAY_SEAT_TOKEN": token()}
        return Client(command, known, options["env"], context.folder, mailbox.leave)

    def token() -> str:
        return token_from(options["token_env"], host, f"open:{rest}") or given

    def ready() -> None:
        if find_spec("mcp") is None:
            raise CrossplayError(f"open:{rest}: the package mcp is not installed; add it with the extra crossplay[mcp]")
        token()
        if not command and not port:
            raise CrossplayError(
                f'open:{rest}: a party that is not started by the study must know the address; name a port, e.g. http = "{host}:8765"'
            )

    def house(seat: OpenSeat) -> Any:
        from crossplay.serve.mcp_http import McpHouse

        return McpHouse(seat, host, port, token(), options["hosts"], options["hold"])

    front = {"type": rest, "http": options["http"], **({"client": _shown(command)} if command else {})}
    running = Running(mailbox, house, client if command else None, ready)
    context.closing.append(running.close)
    return ServedSeat("open", mailbox, front=front, running=running, **how)


def _shown(command: str) -> str:
    """A command as records show it: its first two words, without folders."""
    return " ".join([Path(w).name for w in command.split() if not w.startswith("-")][:2])
