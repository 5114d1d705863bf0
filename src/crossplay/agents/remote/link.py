"""One worker: its process, its connection, the seats it is bound to. Started when first needed, and again when it is gone."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from crossplay.agents.remote.process import Child, environment
from crossplay.kernel import ActionSpec, CrossplayError, Stop
from crossplay.wire.arrays import Ring
from crossplay.wire.channel import SHARED_FROM, Channel, Gone, welcome
from crossplay.wire.frames import WireError
from crossplay.wire.lines import Pipes
from crossplay.wire.messages import Bind, Bye, Hello, Seat

STRANGERS = 32  # connections that may be greeted at once where a worker is waited for

__all__ = ["Link", "Start", "spec_data"]


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker comes into being.

    command: started as a process with an inherited socket; or listen: "tcp://HOST:PORT" or "unix:PATH" where it will
    connect. token: what it must send, always on TCP. Times in seconds. restarts: how often a process that ended is started again.
    """

    command: tuple[str, ...] = ()
    listen: str = ""
    token: str = ""
    folder: Path = Path()
    env: Mapping[str, str] = msgspec.field(default_factory=dict)
    keep: tuple[str, ...] = ()
    memory_mb: int = 0
    cpu_s: int = 0
    start_s: float = 60.0
    restarts: int = 20
    shm_slots: int = 8
    shm_mb: float = 8.0
    shm_from: int = SHARED_FROM
    log: Path | None = None


class Link:
    """The engine's side of one worker. Thread-safe; at most one process at a time.

    deaths: how often it went away; reasons: how. started: processes so far.
    """

    def __init__(self, name: str, start: Start, config: Mapping[str, Any]) -> None:
        self.name, self.start, self.config = name, start, dict(config)
        self.seats: dict[tuple[str, str, str, bytes], Seat] = {}
        self.hello: Hello | None = None
        self.deaths = self.started = self.timeouts = 0
        self._late_at = 0.0
        self.reasons: list[str] = []
        self.late = 0
        self._bound: tuple[Channel | None, int] = None, 0  # who was told of how many seats
        self._channel: Channel | None = None
        self._child: Child | None = None
        self._door: socket.socket | None = None
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=_Forget(self))

    # -- start and end -----------------------------------------------------------------------------------
    @property
    def alive(self) -> bool:
        """Whether its connection is open, so that `channel` gives it at once."""
        return self._channel is not None and not self._channel.gone

    @property
    def channel(self) -> Channel:
        """The open connection; starts the worker where it does not run. Raises `CrossplayError`, `Stop`."""
        found = self._channel
        if found is not None and not found.gone:
            return found
        with self._lock:
            if self._channel is None or self._channel.gone:
                self._bury()
                self._open()
            assert self._channel is not None
            return self._channel

    def _open(self) -> None:
        if self.deaths > self.start.restarts:
            raise Stop(f"worker {self.name} went away {self.deaths} times; the last time it {self.reasons[-1]}")
        channel, hello = self._come()
        if self.hello is not None and msgspec.msgpack.encode(hello) != msgspec.msgpack.encode(self.hello):
            channel.close()
            self.close()
            raise Stop(f"worker {self.name}: it came back as another one ({hello.name} {hello.version})")
        self.hello = hello
        self.started += 1
        self._channel = channel  # last: whoever sees it finds the rest in order

    def _come(self) -> tuple[Channel, Hello]:
        """A greeted worker. One that ran before is started some times more, where it goes away before it can say hello;
        then the run stops, and can be resumed: nothing is substituted for it.
        """
        for last in (False, False, True):
            try:
                return self._accept() if self.start.listen else self._start()
            except CrossplayError as error:
                if self.hello is None:
                    raise
                if last:
                    raise Stop(f"{error}; it had gone away: it {self.reasons[-1]}") from None
        raise AssertionError

    def _accept(self) -> tuple[Channel, Hello]:
        """Wait for a worker that knows the token; others are told no, and do not end the wait."""
        if self._door is None:
            self._door = _door(self.start.listen)
        until = time.monotonic() + self.start.start_s
        greeted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        refused = ""
        self._door.settimeout(0.1)
        greeting: list[threading.Thread] = []
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                sock, _ = self._door.accept()
                greeting = [t for t in greeting if t.is_alive()]
                if len(greeting) >= STRANGERS:
                    sock.close()
                    continue
                # Each by itself: strangers who say nothing do not keep the worker waiting.
                greeting.append(threading.Thread(target=self._greet, args=(sock, greeted), daemon=True))
                greeting[-1].start()
            with contextlib.suppress(queue.Empty):
                found = greeted.get_nowait()
                if isinstance(found, tuple):
                    return found
                refused = f" (refused: {found})"
        raise CrossplayError(
            f"worker {self.name}: nobody came to {self.address} in {self.start.start_s:g} s{refused}; start it with "
            f"CROSSPLAY_ADDRESS={self.address} and the token in CROSSPLAY_TOKEN"
        )

    def _greet(self, sock: socket.socket, greeted: queue.SimpleQueue[Any]) -> None:
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            greeted.put(welcome(sock, timeout=5.0, token=self.start.token))
        except (Gone, TimeoutError, WireError) as error:
            sock.close()
            greeted.put(error)

    @property
    def address(self) -> str:
        """Where a worker is waited for; "" for one that is started here."""
        if self._door is not None and self._door.family != socket.AF_UNIX:
            host, port = self._door.getsockname()[:2]
            return f"tcp://{host}:{port}"
        return self.start.listen

    def _start(self) -> tuple[Channel, Hello]:
        sock, pipes, ring = self._spawn()
        try:
            return welcome(
                sock, timeout=self.start.start_s, token=self.start.token, ring=ring, pipes=pipes,
                shared=self.start.shm_from,
            )  # fmt: skip
        except (Gone, TimeoutError, WireError) as error:
            sock.close()
            pipes.close()
            if ring is not None:
                ring.close()
            why = str(error)
            if self._child is not None:
                if isinstance(error, Gone):
                    self._child.wait(2.0)
                why = f"{error}; the process {self._child.reason()}"
                self._child.kill()
                self._child.close(0.0)
                self._child = None
            raise CrossplayError(f"worker {self.name}: {why}") from None

    def _spawn(self) -> tuple[socket.socket, Pipes, Ring | None]:
        ours, theirs = socket.socketpair()
        pipes = Pipes()
        ring = Ring.create(self.start.shm_slots, int(self.start.shm_mb * (1 << 20))) if self.start.shm_slots else None
        inherited = "{},{}".format(*pipes.theirs)
        extra = {**self.start.env, "CROSSPLAY_FD": str(theirs.fileno()), "CROSSPLAY_PIPES": inherited}
        fds = [theirs.fileno(), *pipes.theirs]
        if ring is not None:
            extra["CROSSPLAY_SHM"] = str(ring.fd)
            fds.append(ring.fd)
        try:
            self._child = Child(
                self.start.command, environment(extra, self.start.keep), fds=fds, folder=self.start.folder,
                memory_mb=self.start.memory_mb, cpu_s=self.start.cpu_s, log=self.start.log,
            )  # fmt: skip
        except CrossplayError:
            ours.close()
            pipes.close()
            if ring is not None:
                ring.close()
            raise
        finally:
            theirs.close()
        pipes.handed()
        return ours, pipes, ring

    def _bury(self) -> None:
        """Note how a worker went away, and free what it held."""
        if self._channel is None:
            return
        why = self._channel.gone
        self.late += self._channel.late
        self._channel.close()
        self._channel = None
        if self._child is not None:
            self._child.wait(0.5)
            why = self._child.reason() if not self._child.alive else f"closed its connection ({why})"
            self._child.kill()
            self._child.close(0.0)
            self._child = None
        self.deaths += 1
        self.reasons.append(why)

    def fallen(self, channel: Channel) -> str:
        """Called by whoever found one gone: how it went away. One that is open stays: the trouble was with the one before."""
        with self._lock:
            if self._channel is channel and channel.gone:
                self._bury()
            return self.reasons[-1] if self.reasons else channel.gone

    def hang(self, channel: Channel, sent: float) -> None:
        """A frame, sent then (`time.monotonic`), was not answered in time. When one that was sent after a late one is late
        as well, and nothing was answered in between, the worker is ended. Frames that waited together are late once.
        """
        with self._lock:
            if self.timeouts and sent < self._late_at:
                return
            self.timeouts += 1
            self._late_at = time.monotonic()
            if self.timeouts >= 2 and self._channel is channel:
                channel._end("did not answer twice in a row, so it was ended")
                if self._child is not None:
                    self._child.signal()
                self.timeouts = 0

    def close(self) -> None:
        """Say bye and end the process."""
        with self._lock:
            channel, self._channel = self._channel, None
            child, self._child = self._child, None
            if channel is not None:
                self.late += channel.late
                if not channel.gone:
                    with contextlib.suppress(Gone, WireError, TimeoutError, CrossplayError):
                        channel.ask(Bye(id=channel.number()), 2.0)
                channel.close()
            if child is not None:
                child.close()
            if self._door is not None:
                self._door.close()
                if self.start.listen.startswith("unix:"):
                    Path(self.start.listen[5:]).unlink(missing_ok=True)
                self._door = None

    # -- seats ---------------------------------------------------------------------------------------------
    def view_of(self, offered: Sequence[str]) -> str | None:
        """The first view of the worker that an environment offers."""
        assert self.hello is not None
        return next((v for v in self.hello.views if v in offered), None)

    def slot(self, env: Any, env_id: str, seat: str, spec: ActionSpec, agent: str) -> Seat:
        """The seat as the worker knows it, made when it is first met."""
        place = (env_id, seat, agent, b"" if spec is env.spec(seat) else msgspec.msgpack.encode(spec_data(spec)))
        found = self.seats.get(place)
        if found is None:
            view = self.view_of(env.views)
            if view is None:
                offered = ", ".join(env.views)
                wanted = ", ".join(self.hello.views if self.hello else ())
                raise CrossplayError(f"worker {self.name}: it reads {wanted}; {env_id} offers {offered}")
            shape = env.array_shape(seat) if view == "array" else None
            with self._lock:
                found = self.seats.setdefault(
                    place,
                    Seat(
                        slot=len(self.seats), seat=seat, agent=agent, env=env_id, view=view, spec=spec_data(spec),
                        shape=list(shape or ()), dtype="<f4" if view == "array" else "", rules=env.rules,
                        horizon=env.horizon or 0,
                    ),
                )  # fmt: skip
        return found

    def unbound(self, channel: Channel) -> bool:
        """Whether there are seats that the worker at that end does not know yet. It is asked of a connection: whoever
        still holds one that is gone must not bind in the name of the process that was started since.
        """
        return self._bound != (channel, len(self.seats))

    def bind(self, channel: Channel) -> Bind:
        """The message that tells the worker at that end of all seats."""
        with self._lock:
            self._bound = channel, len(self.seats)
            return Bind(id=channel.number(), seats=list(self.seats.values()), config=self.config)


class _Forget:
    """In a forked process: the worker belongs to the parent; this one starts its own when it needs one."""

    def __init__(self, link: Link) -> None:
        self.link = weakref.ref(link)

    def __call__(self) -> None:
        link = self.link()
        if link is not None:
            link._channel, link._child, link._lock = None, None, threading.RLock()


def spec_data(spec: ActionSpec) -> dict[str, Any]:
    """An action specification as plain data; open bounds are left out."""
    data: dict[str, Any] = {"kind": spec.kind}
    if spec.kind == "names":
        data["names"] = list(spec.names)
    elif spec.kind == "box":
        low, high = spec.bounds()
        data["shape"] = list(spec.shape)
        data |= {k: v.ravel().tolist() for k, v in (("low", low), ("high", high)) if np.isfinite(v).all()}
    elif spec.kind == "text":
        data["max_len"] = spec.max_len
    else:
        data["schema"] = spec.schema
    if isinstance(spec.noop, (int, float, str)):
        data["noop"] = spec.noop
    return data


def _door(address: str) -> socket.socket:
    """A listening socket; raises `CrossplayError`."""
    try:
        if address.startswith("unix:"):
            door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            door.bind(address[5:])
            Path(address[5:]).chmod(0o600)
        else:
            host, _, port = address.removeprefix("tcp://").rpartition(":")
            door = socket.create_server((host.strip("[]") or "127.0.0.1", int(port)))
        door.listen(4)
        return door
    except (OSError, ValueError, OverflowError) as error:
        raise CrossplayError(f'worker: cannot listen at "{address}" ({error}); e.g. tcp://127.0.0.1:7070') from None
