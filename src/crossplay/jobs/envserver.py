"""The engine's side of the env verbs: environments for trainers, over the wire or in this very process.

`Environments.handle` turns a message into its answer and knows no sockets. `serve` puts it on a connection;
`here` gives it to a trainer in the same interpreter.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from crossplay.jobs.rows import Rows, make_rows
from crossplay.kernel import CrossplayError, Env, Invalid
from crossplay.wire.arrays import Ring
from crossplay.wire.channel import Channel, welcome
from crossplay.wire.frames import FRAME, BadFrame, WireError
from crossplay.wire.messages import Error, Ok, State

__all__ = ["Environments", "Limits", "Served", "here", "inherited", "serve"]

SLOTS, SLOT_BYTES = 16, 64 << 20  # of the shared memory: pages that are never touched cost nothing


class Limits(msgspec.Struct, frozen=True):
    """What one trainer may have open. state: bytes of one answer."""

    envs: int = 64
    rows: int = 4096
    total_rows: int = 16384
    state: int = SLOTS * SLOT_BYTES


class Environments:
    """The environments of one trainer: `env.open`, `env.reset`, `env.step`, `env.close`.

    trust: whether filled seats may name commands and code. steps: rows stepped so far.
    """

    def __init__(self, limits: Limits = Limits(), trust: bool = False) -> None:  # noqa: B008 (frozen)
        self.limits, self.trust = limits, trust
        self.open: dict[int, Rows] = {}
        self.steps = 0
        self._number = 0
        self._door: Any = None  # the models of the agents that fill seats
        self._verbs: Mapping[str, Callable[[Any], Any]] = {
            "env.open": self._open,
            "env.reset": self._reset,
            "env.step": self._step,
            "env.close": self._close,
        }

    def handle(self, message: Any) -> Any:
        """The answer to a message: `ok`, `state` or `error`. Messages of the kit are understood as well."""
        tag = type(message).__struct_config__.tag
        verb = self._verbs.get(tag)
        if verb is None:
            return Error(id=message.id, code="UNSUPPORTED", message=f"{tag}: environments are served here, no more")
        try:
            return verb(message)
        except WireError as error:
            return Error(id=message.id, code=error.code, message=f"{tag}: {error.message}")
        except (Invalid, TypeError) as error:
            return Error(id=message.id, code="BAD_VALUE", message=f"{tag}: {error}")
        except CrossplayError as error:
            code = "BAD_STATE" if tag == "env.step" else "BAD_VALUE"
            return Error(id=message.id, code=code, message=f"{tag}: {error}")
        except Exception as error:  # whatever an environment of others raises
            return Error(id=message.id, code="INTERNAL", message=f"{tag}: {type(error).__name__}: {error}"[:500])

    # -- verbs -------------------------------------------------------------------------------------------
    def _open(self, message: Any) -> Ok:
        limits, rows = self.limits, message.rows
        if not 1 <= rows <= limits.rows:
            raise WireError("BAD_VALUE", f"rows = {rows}; from 1 to {limits.rows}")
        if len(self.open) >= limits.envs:
            raise WireError("BUDGET", f"{len(self.open)} environments are open, at most {limits.envs}")
        total = rows + sum(r.rows for r in self.open.values())
        if total > limits.total_rows:
            raise WireError("BUDGET", f"{total} rows would be open, at most {limits.total_rows}")
        with contextlib.ExitStack() as undo:  # what was opened, where anything goes wrong
            found, probe = make_rows(
                message.name,
                message.options,
                rows,
                message.view,
                message.root,
                message.fill,
                lambda s: self._agent(s, undo),
            )
            undo.callback(found.close)
            try:
                about = self._about(found, probe, message.view)
            finally:
                probe.close()
            found.closing = undo.pop_all()
        self._number += 1
        self.open[self._number] = found
        return Ok(id=message.id, data={"env": self._number, **about})

    def _about(self, rows: Rows, probe: Env, view: str) -> dict[str, Any]:
        """What a trainer has to know of an environment."""
        from crossplay.agents.remote.link import spec_data

        arrays = {s: np.asarray(probe.view(s, view)) for s in rows.trained} if view in ("array", "image") else {}
        size = rows.rows * sum(a.nbytes for a in arrays.values())
        if size > self.limits.state:
            raise WireError(
                "BAD_VALUE", f"{rows.rows} rows of {probe.id} are {size} bytes, at most {self.limits.state}"
            )
        acting = probe.to_act()
        return {
            "id": probe.id,
            "seats": list(rows.seats),
            "trained": list(rows.trained),
            "specs": {s: spec_data(probe.spec(s)) for s in rows.trained},
            "shapes": {s: list(a.shape) for s, a in arrays.items()},
            "dtypes": {s: a.dtype.str for s, a in arrays.items()},
            "masked": [s for s in rows.trained if s in acting and probe.legal(s) is not None],
            "rows": rows.rows,
            "horizon": probe.horizon or 0,
            "items": probe.items or 0,
            "rules": probe.rules,
            "simultaneous": set(acting) == set(probe.seats),
            "seat_ends": probe.seat_ends,
            "metrics": dict(probe.metrics),
        }

    def _agent(self, spec: Any, undo: contextlib.ExitStack) -> Any:
        """An agent that fills a seat; what it holds is freed by `undo`."""
        from crossplay.agents import Context, make_agent

        context = Context(door=self._door, trust=self.trust, closing=[])
        undo.callback(_freed, context.closing)
        if not isinstance(spec, (str, Mapping)):
            raise CrossplayError(f"fill: an agent is a name or a table, not {type(spec).__name__}")
        made = make_agent(spec, context)
        self._door = context.door
        return made

    def _rows(self, message: Any) -> Rows:
        found = self.open.get(message.env)
        if found is None:
            raise WireError("BAD_STATE", f"environment {message.env} is not open")
        return found

    def _reset(self, message: Any) -> State:
        rows = self._rows(message)
        rows.reset(message.row, message.block)
        return State(id=message.id, **rows.state())

    def _step(self, message: Any) -> State:
        rows = self._rows(message)
        running = rows.ended.count("")
        rows.step(message.actions)
        self.steps += running
        return State(id=message.id, **rows.state())

    def _close(self, message: Any) -> Ok:
        found = self._rows(message)
        del self.open[message.env]
        found.closing.close()
        return Ok(id=message.id)

    def close(self) -> None:
        """Close all environments, and what fills their seats."""
        while self.open:
            self.open.popitem()[1].closing.close()


def _freed(closing: list[Callable[[], None]]) -> None:
    for close in closing:
        close()


class Served:
    """Environments on a connection: give it as `on_message`; what is not of the env verbs goes to `rest`.

    Shared memory of an answer is free again when the trainer's next env verb comes: it copies what it reads.
    """

    def __init__(self, environments: Environments, channel: Channel, rest: Callable[[Any], None] | None = None) -> None:
        self.environments, self.channel, self.rest = environments, channel, rest
        self._slots: list[int] = []

    def __call__(self, message: Any) -> None:
        """Answer a message."""
        tag = type(message).__struct_config__.tag
        if tag.startswith("env."):
            if self._slots and self.channel.codec.ring is not None:
                self.channel.codec.ring.release(self._slots)
                self._slots = []
            answer = self.environments.handle(message)
            try:
                self._slots = self.channel.reply(answer)
            except BadFrame as error:
                self.channel.reply(Error(id=message.id, code="BAD_VALUE", message=f"{tag}: {error.message}"))
        elif tag in ("ping", "bye"):
            self.channel.reply(Ok(id=message.id))
        elif self.rest is not None:
            self.rest(message)
        elif getattr(message, "id", 0) and tag != "cancel":
            self.channel.reply(Error(id=message.id, code="UNSUPPORTED", message=f"{tag}: not on this connection"))


def serve(sock: socket.socket, *, ring: Ring | None = None, frame: int = FRAME, trust: bool = False) -> str:
    """Serve environments until the other side says bye or is gone; returns how it ended."""
    channel, _ = welcome(sock, ring=ring, frame=frame, inflight=1)
    environments = Environments(Limits() if channel.codec.ring is not None else Limits(state=frame), trust)
    channel.on_message = Served(environments, channel)
    try:
        return channel.listen()
    finally:
        environments.close()
        channel.close()


def inherited() -> tuple[socket.socket, Ring | None]:
    """The connection and the shared memory that the starting process left in CROSSPLAY_FD and CROSSPLAY_SHM."""
    try:
        sock = socket.socket(fileno=int(os.environ["CROSSPLAY_FD"]))
        memory = int(os.environ.get("CROSSPLAY_SHM", "-1"))
    except KeyError:
        raise CrossplayError(
            "worker envs: CROSSPLAY_FD is not set. This command is started by a trainer: crossplay_worker.envs.make(...)"
        ) from None
    except (ValueError, OSError) as error:
        raise CrossplayError(f"worker envs: CROSSPLAY_FD or CROSSPLAY_SHM is no open descriptor ({error})") from None
    return sock, shared(memory) if memory >= 0 else None


def shared(fd: int) -> Ring:
    """The owner's end of shared memory, for environments: slots that only grow where they are written."""
    os.ftruncate(fd, (SLOT_BYTES + 64) * SLOTS)
    return Ring(fd, SLOTS, SLOT_BYTES, True)


class _Here:
    """A connection that is none: the trainer runs in this interpreter."""

    def __init__(self, trust: bool) -> None:
        self.environments = Environments(trust=trust)
        self._lock = threading.Lock()
        weakref.finalize(self, self.environments.close)  # at the latest when the interpreter ends

    def ask(self, message: Any) -> Any:
        """The answer; raises `WireError` where it is an error."""
        with self._lock:
            answer = self.environments.handle(message)
        if isinstance(answer, Error):
            raise WireError(answer.code, answer.message)
        return answer

    def close(self) -> None:
        """Close the environments."""
        self.environments.close()


def here(trust: bool = False) -> _Here:
    """Environments for a trainer in this interpreter: `crossplay_worker.envs.make(name, crossplay=here())`."""
    return _Here(trust)
