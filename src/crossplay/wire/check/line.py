"""One connection as the check holds it: sends anything, also what no engine would; keeps what the worker did wrong."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Mapping
from typing import Any, Protocol

from crossplay.wire import lines
from crossplay.wire.arrays import Ring
from crossplay.wire.frames import FRAME, BadFrame, Codec, Reader
from crossplay.wire.messages import CODES, MAJOR, MINOR, Error, Hello

__all__ = ["Failed", "Line", "Process", "Skipped", "Trouble"]

_STRAYED = "all frames then travel over the pipes in CROSSPLAY_PIPES"
_FROM_WORKER = {"hello", "acts", "ok", "error", "event", "cancel", "ping", "bye"}
_FROM_WORKER |= {"env.open", "env.reset", "env.step", "env.close"}


class Failed(Exception):
    """What a check found to be wrong."""


class Trouble(Failed):
    """The worker did not answer, or went away, or broke the framing, so that nothing more can be asked of it."""


class Skipped(Exception):
    """Why a check does not apply."""


class Process(Protocol):
    """The worker's process, as the caller started it."""

    pid: int

    @property
    def alive(self) -> bool:
        """Whether it runs."""

    @property
    def code(self) -> int | None:
        """Exit code; negative: the signal that ended it; None: it runs."""

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came."""

    def kill(self) -> None:
        """End it at once."""

    def close(self, patience: float = 2.0) -> None:
        """End it and free what it held."""

    def printed(self) -> bytes:
        """The end of what it printed, at most 64 KiB."""


class Line:
    """Frames out and in. wrong: name of a check -> what the worker did against it, on whichever connection.

    patience: seconds an answer may take. limit: of frames, both ways, from the welcome on. pipes: those that the worker
    inherited; from a welcome with pipes on, frames travel over them, and nothing may come over the socket.
    """

    def __init__(
        self,
        sock: socket.socket,
        process: Process,
        patience: float,
        wrong: dict[str, list[str]],
        ring: Ring | None = None,
        pipes: lines.Pipes | None = None,
    ) -> None:
        self.sock, self.process, self.patience, self.wrong, self.ring = sock, process, patience, wrong, ring
        self.pipes = pipes
        self.carrier: lines.Line = lines.SocketLine(sock)
        self._left = False  # whether the socket is open and has been left for the pipes
        self.codec = Codec()
        self.reader = Reader(FRAME)
        self.hello: Hello | None = None
        self.eof = False
        self.usable = True  # until something about it went wrong
        self.json_seen = 0  # frames that came as JSON
        self._next = 1
        self._open: dict[int, str] = {}
        self._answers: dict[int, Any] = {}
        self._done: set[int] = set()
        self._gone: list[Any] = []  # errors of the connection itself
        sock.setblocking(True)

    # -- greeting ----------------------------------------------------------------------------------------
    def greet(self, seconds: float) -> Hello:
        """The worker's hello."""
        until = time.monotonic() + seconds
        while self.hello is None:
            left = until - time.monotonic()
            if left <= 0:
                raise self._trouble(f"no hello in {seconds:g} s{self._said()}")
            self._read(left)
            if self.eof and self.hello is None:
                raise self._trouble(f"closed the connection before hello{self._said()}")
        return self.hello

    def welcome(
        self,
        v: Any = None,
        codec: str = "msgpack",
        frame: int = FRAME,
        shm: Mapping[str, Any] | None = None,
        pipes: bool = False,
        **more: Any,
    ) -> None:
        """Take the worker; what may go through shared memory then does, and all frames go over the pipes. The socket
        stays open, so that it is seen what is said there: `leave` closes it, as an engine does at once.
        """
        version = [MAJOR, MINOR] if v is None else v
        if v is None and self.hello is not None:
            version = [MAJOR, min(MINOR, self.hello.v[1])]
        message = {"t": "welcome", "v": version, "codec": codec, "session": "check", "frame": frame, "inflight": 64}
        if shm:
            message["shm"] = dict(shm)
        if pipes:
            message["pipes"] = True
        self.send({**message, **more})
        ring = self.ring if shm else None
        self.codec = Codec(codec == "json", frame, MINOR, ring, int((shm or {}).get("from", 1 << 17)))
        self.reader.limit = frame
        if pipes:
            assert self.pipes is not None
            self.carrier, self._left = self.pipes, True

    def leave(self) -> None:
        """Close the socket, which was left for the pipes."""
        self._left = False
        self.sock.close()

    def cut(self) -> None:
        """Close the connection without a word."""
        self._left, self.eof = False, True
        self.sock.close()
        if self.pipes is not None:
            self.pipes.close()

    # -- out ---------------------------------------------------------------------------------------------
    def number(self) -> int:
        """A fresh request id."""
        self._next += 1
        return self._next - 1

    def frame(self, message: Any) -> bytes:
        """A message or plain map as one frame."""
        return self.codec.frame(message)

    def send(self, message: Any) -> None:
        """A message or a plain map."""
        self.raw(self.frame(message))

    def raw(self, data: bytes) -> None:
        """These bytes, whatever they are."""
        try:
            rest, until = memoryview(data), time.monotonic() + self.patience
            while rest:
                try:
                    rest = rest[self.carrier.send(rest) :]
                except BlockingIOError:
                    left = max(0.0, until - time.monotonic())
                    if not select.select([], [self.carrier.writes], [], left)[1]:
                        raise self._trouble(f"did not read what it was sent for {self.patience:g} s") from None
        except OSError:
            self._drain_quietly()
            raise self._trouble(f"is gone while it was written to; it {self.fate()}") from None

    def open(self, verb: str, number: int | None = None, **fields: Any) -> int:
        """Send a request; its id."""
        number = self.number() if number is None else number
        frame = self.frame({"t": verb, "id": number, **fields})
        self._open[number] = verb
        self.raw(frame)
        return number

    def expect(self, number: int, verb: str) -> None:
        """A request with this id was sent by other means."""
        self._open[number] = verb

    # -- in ----------------------------------------------------------------------------------------------
    def ask(self, verb: str, patience: float | None = None, **fields: Any) -> Any:
        """The answer to a request, an error included."""
        return self.answer(self.open(verb, **fields), patience)

    def answer(self, number: int, patience: float | None = None) -> Any:
        """The answer to the request with this id; raises `Trouble` where none comes."""
        verb = self._open.get(number, "request")
        seconds = self.patience if patience is None else patience
        until = time.monotonic() + seconds
        while number not in self._answers:
            left = until - time.monotonic()
            if left <= 0:
                raise self._trouble(f"no answer to {verb} in {seconds:g} s{self._said()}")
            self._read(left)
            if self._gone and number not in self._answers:
                error = self._gone[-1]
                raise self._trouble(f"ended the connection at {verb}: {error.code} {error.message}")
            if self.eof and number not in self._answers:
                raise self._trouble(f"went away at {verb}; it {self.fate()}")
        return self._answers.pop(number)

    def quiet(self, seconds: float) -> list[Any]:
        """Wait; the errors of the connection that came meanwhile."""
        until = time.monotonic() + seconds
        while not self.eof and (left := until - time.monotonic()) > 0:
            self._read(left)
        return self._gone

    def ended(self, seconds: float) -> bool:
        """Whether the worker closes the connection within so many seconds."""
        self.quiet(seconds)
        return self.eof

    def _read(self, seconds: float) -> None:
        watched = [self.carrier.reads, self.sock.fileno()] if self._left else [self.carrier.reads]
        ready, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if self._left and watched[1] in ready:
            self._strayed()
        if watched[0] not in ready:
            return
        try:
            data = self.carrier.recv(self.reader.wants, 0.0)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.eof = True
            if self.reader.partial:
                self.note("frames", "closed the connection in the middle of a frame")
            return
        try:
            bodies = self.reader.feed(data)
        except BadFrame as error:
            self.note("frames", f"sent {error.message}; something else than frames may be written to the socket")
            raise self._trouble(f"broke the framing: {error.message}") from None
        for body in bodies:
            self._take(body)

    def _strayed(self) -> None:
        """Something came over the socket, though all goes over the pipes; its end is in order."""
        try:
            data = self.sock.recv(1 << 16, socket.MSG_DONTWAIT)
        except OSError:
            data = b""
        self._left = False
        if data:
            self.note("pipes", f"sent {len(data)} bytes over the socket after a welcome with pipes: {_STRAYED}")
            raise self._trouble(f"went on over the socket: {_STRAYED}")

    def _take(self, body: bytes) -> None:
        self.json_seen += body[:1] == b"{"
        try:
            message = self.codec.message(body)
        except BadFrame as error:
            self.note("frames", f"sent what is no message: {error.message}")
            if error.id in self._open:
                self._open.pop(error.id)
                raise self._trouble(f"answered with what is no message: {error.message}") from None
            return
        tag = type(message).__struct_config__.tag
        if tag == "hello":
            if self.hello is not None:
                self.note("hello", "said hello twice")
            self.hello = self.hello or message
        elif tag in ("ok", "acts", "error"):
            self._answered(message)
        elif tag in ("ping", "bye"):
            with contextlib.suppress(Failed):
                self.send({"t": "ok", "id": message.id})
        elif tag not in _FROM_WORKER:
            self.note("frames", f"sent {tag}, which is not for a worker to send")

    def _answered(self, message: Any) -> None:
        if isinstance(message, Error):
            if message.code not in CODES:
                self.note("errors", f"answered with the code {message.code[:40]!r}, which is none of the protocol")
            if not message.message.strip():
                self.note("errors", f"answered with {message.code} and no message: say in one line what is wrong")
            if not message.id:
                self._gone.append(message)
                return
        if message.id in self._open:
            self._open.pop(message.id)
            self._done.add(message.id)
            self._answers[message.id] = message
        elif message.id in self._done:
            self.note("ids", f"answered request {message.id} twice")
        else:
            self.note("ids", f"answered {message.id}, which was not asked")
            if len(self._open) == 1:
                raise self._trouble(f"answered with id {message.id}, not {next(iter(self._open))}")

    # -- what is known about it --------------------------------------------------------------------------
    def note(self, check: str, text: str) -> None:
        """Remember what went against a check."""
        found = self.wrong.setdefault(check, [])
        if text not in found:
            found.append(text)

    def fate(self) -> str:
        """What became of the process, in words."""
        self.process.wait(1.0)
        code = self.process.code
        if code is None:
            return "still runs, without a connection" + self._said()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return how + self._said()

    def _said(self) -> str:
        text = self.process.printed()[-2000:].decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"; it printed last: {lines[-1][:200]}" if lines else ""

    def _trouble(self, text: str) -> Trouble:
        self.usable = False
        return Trouble(text)

    def _drain_quietly(self) -> None:
        with contextlib.suppress(Failed):
            self.quiet(0.05)

    def close(self) -> None:
        """Close the connection, end the process, free the memory."""
        self.usable = False
        with contextlib.suppress(OSError):
            self.cut()
        self.process.close(0.0)
        if self.ring is not None:
            self.ring.close()
            self.ring = None
