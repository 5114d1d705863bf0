"""One connection, as the engine holds it: requests matched to answers by id, from threads or an event loop.

A blocking socket, read by whoever waits: a thread that asks (`ask`) or the event loop that runs (`aask`).
Answers nobody waits for any more are dropped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import secrets
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from crossplay.wire.arrays import Ring
from crossplay.wire.frames import FRAME, BadFrame, Codec, Reader, WireError, agree
from crossplay.wire.lines import LONGEST, Line, Pipes, SocketLine
from crossplay.wire.messages import REQUESTS, Acts, Bye, Cancel, Error, Hello, Ok, Ping, State, Welcome

__all__ = ["Channel", "Gone", "welcome"]

TELL = 5.0  # seconds that sending may take where no answer is waited for
UNREAD = 4  # largest frames that may wait to be read by a worker
SHARED_FROM = 1 << 16  # bytes from which arrays go through shared memory: where it begins to pay (benchmarks/wire.py)

_NONE: list[int] = []  # slots of a message that has none
_ANSWERS = frozenset((Acts, Ok, Error, State))


class Gone(Exception):
    """The other side closed the connection or broke the protocol; the text says how."""


class _Waiting:
    """A request that has no answer yet."""

    __slots__ = ("answer", "done", "future", "loop", "slots")

    def __init__(self, slots: list[int], loop: asyncio.AbstractEventLoop | None) -> None:
        self.slots, self.loop = slots, loop
        self.future: asyncio.Future[Any] | None = loop.create_future() if loop else None
        self.done = False
        self.answer: Any = None

    def settle(self, answer: Any) -> None:
        self.answer, self.done = answer, True
        if self.future is None or self.loop is None:
            return
        if _runs_here(self.loop):
            _set(self.future, answer)
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(_set, self.future, answer)


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    return asyncio._get_running_loop() is loop


def _set(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():
        future.set_result(answer)


class Channel:
    """The engine's end of a connection.

    on_message: what else arrives (events, requests of a trainer), called where it was read. late: answers
    dropped because nobody waited any more. sent, received: bytes.
    """

    def __init__(
        self, line: Line | socket.socket, codec: Codec, on_message: Callable[[Any], None] | None = None
    ) -> None:
        self.line: Line = SocketLine(line) if isinstance(line, socket.socket) else line
        self.codec, self.on_message = codec, on_message
        self.late = self.sent = self.received = 0
        self.inflight = 0
        self.gone = ""  # why the connection is over
        self._ids = itertools.count(1)
        self._reader = Reader(codec.limit)
        self._waiting: dict[int, _Waiting] = {}
        self._lock = threading.RLock()  # of the socket's reading side
        self._write = threading.RLock()
        self._pushing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rest = bytearray()  # what the event loop could not send at once

    # -- asking ----------------------------------------------------------------------------------------
    def number(self) -> int:
        """A fresh request id."""
        return next(self._ids)

    def ask(self, message: Any, timeout: float) -> Any:
        """The answer to a request; raises `TimeoutError`, `Gone`, or `WireError` where it is an error."""
        with self._lock:
            if self.gone:
                raise Gone(self.gone)
            waiting = self._send_now(message, timeout)
            data: bytes | None = b""
            if type(waiting) is list:
                # The common case: it went out at once, and what comes next is the whole answer.
                data = self._receive(65536, timeout)
                whole = self._reader.whole(data) if data else None
                answer = None if whole is None else self._read(whole)
                if answer is not None and type(answer) in _ANSWERS and answer.id == message.id:
                    self.received += len(data or b"")
                    if waiting and self.codec.ring is not None:
                        self.codec.ring.release(waiting)
                    return _unwrap(answer)
                waiting = self._wait_for(message.id, waiting, None)
                if answer is not None:
                    self._dispatch(answer)
                elif data is not None:
                    self._take(data)
            until = time.monotonic() + (timeout if data is not None else 0.0)
            while not waiting.done:
                left = until - time.monotonic()
                if left <= 0:
                    raise self._give_up(message.id, timeout)
                self._read_blocking(left)
        return _unwrap(waiting.answer)

    def _send_now(self, message: Any, timeout: float) -> Any:
        """Send in a thread: the slots of a message that went out at once, else its `_Waiting`, known before the rest
        is sent, because its answer may be read meanwhile.
        """
        with self._write:  # slots belong to the message that is encoded
            ring = self.codec.ring
            frame = self.codec.frame(message)
            slots = ring.take() if ring is not None and ring.taken else _NONE
            if self._loop is None and not self._rest and not self._pushing:
                self.sent += len(frame)
                try:
                    done = self.line.send(frame)
                except BlockingIOError:
                    done = 0
                except OSError as error:
                    raise self._end(f"cannot write: {error.strerror or error}") from None
                if done == len(frame):
                    return slots
                frame = frame[done:]
                self.sent -= len(frame)
            waiting = self._wait_for(message.id, slots, None)
            self._send(frame, timeout, cut=True)
            return waiting

    def _wait_for(self, number: int, slots: list[int], loop: asyncio.AbstractEventLoop | None) -> _Waiting:
        waiting = self._waiting[number] = _Waiting(slots, loop)
        self.inflight += 1
        return waiting

    def _receive(self, size: int, seconds: float) -> bytes | None:
        """What has come, or comes within so many seconds; None: nothing."""
        try:
            return self.line.recv(size, seconds)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise self._end(f"cannot read: {error.strerror or error}") from None

    def _read(self, body: Any) -> Any:
        try:
            return self.codec.message(body)
        except WireError as error:
            raise self._end(str(error)) from None

    async def aask(self, message: Any, timeout: float) -> Any:
        """The same on the running event loop; a cancelled wait cancels the request."""
        loop = asyncio.get_running_loop()
        self._attach(loop)
        waiting = self._open(message, loop, timeout)
        assert waiting.future is not None
        timer = loop.call_later(timeout, _expire, waiting.future)
        try:
            answer = await waiting.future
        except asyncio.CancelledError:
            if not waiting.done:
                self._give_up(message.id, timeout)
            raise
        finally:
            timer.cancel()
        if answer is _EXPIRED:
            raise self._give_up(message.id, timeout)
        return _unwrap(answer)

    def tell(self, message: Any) -> None:
        """Send, and do not wait: where there is an answer, it is dropped."""
        if type(message).__struct_config__.tag in REQUESTS:
            self._wait_for(message.id, _NONE, None)
        self._send(self.codec.frame(message))

    def reply(self, message: Any) -> list[int]:
        """Send an answer; the slots of shared memory it refers to, which the caller releases when they were read."""
        ring = self.codec.ring
        with self._write:  # slots belong to the message that is encoded
            frame = self.codec.frame(message)
            slots = ring.take() if ring is not None else []
        self._send(frame)
        return slots

    def listen(self) -> str:
        """Read until the connection is over; what comes goes to `on_message`. Returns why it is over."""
        with self._lock:
            while not self.gone:
                with contextlib.suppress(Gone):
                    self._read_blocking(3600.0)
        return self.gone

    def _open(self, message: Any, loop: asyncio.AbstractEventLoop, timeout: float) -> _Waiting:
        ring = self.codec.ring
        with self._write:  # slots belong to the message that is encoded
            frame = self.codec.frame(message)
            waiting = self._wait_for(message.id, ring.take() if ring is not None and ring.taken else _NONE, loop)
        self._send(frame, timeout)
        return waiting

    def _give_up(self, number: int, timeout: float) -> TimeoutError:
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            self._release(waiting)
        if not self.gone:
            with contextlib.suppress(Gone):
                self.tell(Cancel(id=number))
        return TimeoutError(f"no answer in {timeout:g} s")

    def _release(self, waiting: _Waiting) -> None:
        self.inflight -= 1
        if waiting.slots and self.codec.ring is not None:
            self.codec.ring.release(waiting.slots)

    # -- writing ---------------------------------------------------------------------------------------
    def _send(self, frame: bytes, timeout: float = TELL, cut: bool = False) -> None:
        """cut: the beginning of the frame is out already, so nothing may come in between."""
        self.sent += len(frame)
        try:
            with self._write:
                if self._pushing and not cut:  # said while something is sent: it goes out next
                    self._keep(frame)
                elif self._loop is not None and _runs_here(self._loop):
                    self._send_some(frame)
                else:
                    self._push(frame, timeout)
        except OSError as error:
            raise self._end(f"cannot write: {error.strerror or error}") from None

    def _push(self, frame: bytes, timeout: float) -> None:
        """In a thread: all of it, within the time; what comes meanwhile is read, so that two full sides do not wait
        for each other. A frame that was sent in part cannot be taken back: then the connection is over.
        """
        if not self._rest:
            try:
                done = self.line.send(frame)
            except BlockingIOError:
                done = 0
            if done == len(frame):
                return
            frame = frame[done:]
        if self.gone:
            raise Gone(self.gone)
        self._rest += frame
        self._pushing = True
        poll, until = select.poll(), time.monotonic() + timeout
        reads, writes = self.line.reads, self.line.writes
        poll.register(reads, select.POLLIN)
        poll.register(writes, select.POLLOUT | (select.POLLIN if reads == writes else 0))
        try:
            while self._rest and not self.gone:
                left = until - time.monotonic()
                if left <= 0:
                    raise self._end(f"it did not read a frame in {timeout:g} s")
                for ready, event in poll.poll(min(left, LONGEST) * 1000):
                    if event & select.POLLOUT or (ready == writes != reads):  # an error shows when it is written to
                        with contextlib.suppress(BlockingIOError):
                            del self._rest[: self.line.send(self._rest)]
                    if ready == reads and event & ~select.POLLOUT:
                        self._readable()
        finally:
            self._pushing = False
        if self.gone:
            raise Gone(self.gone)

    def _send_some(self, frame: bytes) -> None:
        """On an event loop: as much as fits now, the rest when there is room."""
        assert self._loop is not None
        if not self._rest:
            try:
                done = self.line.send(frame)
            except BlockingIOError:
                done = 0
            if done == len(frame):
                return
            frame = frame[done:]
            self._loop.add_writer(self.line.writes, self._writable)
        self._keep(frame)

    def _keep(self, frame: bytes) -> None:
        """Bytes to be sent later; a worker that reads nothing does not fill the memory."""
        self._rest += frame
        if len(self._rest) > UNREAD * self.codec.limit:
            self._end("it reads nothing of what is sent to it")

    def _writable(self) -> None:
        try:
            done = self.line.send(self._rest)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(f"cannot write: {error.strerror or error}")
            return
        del self._rest[:done]
        if not self._rest and self._loop is not None:
            self._loop.remove_writer(self.line.writes)

    # -- reading ---------------------------------------------------------------------------------------
    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.gone:
            raise Gone(self.gone)
        if self._loop is loop:
            return
        if (
            self._loop is not None
            and self._loop.is_running()
            and any(w.loop is self._loop for w in self._waiting.values())
        ):
            raise WireError("INTERNAL", "a worker is asked from two event loops at once")
        self._detach()
        self._loop = loop
        try:
            loop.add_reader(self.line.reads, self._readable)
            if self._rest:
                loop.add_writer(self.line.writes, self._writable)
        except (OSError, ValueError):  # another thread closed it meanwhile
            raise Gone(self.gone or "closed here") from None

    def _detach(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self.line.reads)
            self._loop.remove_writer(self.line.writes)
        self._loop = None

    def _read_blocking(self, limit: float) -> None:
        data = self._receive(self._reader.wants, limit)
        if data is None:
            return
        self._take(data)
        if self.gone:
            raise Gone(self.gone)

    def _readable(self) -> None:
        if not self._lock.acquire(blocking=False):
            return  # a thread that asks is reading for everybody
        try:
            data = self.line.recv(self._reader.wants, 0.0)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._end(f"cannot read: {error.strerror or error}")
        else:
            self._take(data)
        finally:
            self._lock.release()

    def _take(self, data: bytes) -> None:
        if not data:
            self._end("the connection was closed")
            return
        self.received += len(data)
        try:
            for body in self._reader.feed(data):
                try:
                    message = self.codec.message(body)
                except BadFrame as error:
                    if error.tag not in REQUESTS or not error.id:
                        raise
                    self.tell(Error(id=error.id, code=error.code, message=error.message))
                    continue
                self._dispatch(message)
        except WireError as error:
            self._end(str(error))

    def _dispatch(self, message: Any) -> None:
        kind = type(message)
        if kind in _ANSWERS and message.id:
            waiting = self._waiting.pop(message.id, None)
            if waiting is None:
                self.late += 1
                return
            self._release(waiting)
            waiting.settle(message)
        elif kind is Error:
            self._end(f"{message.code}: {message.message}")
        elif self.on_message is not None:
            self.on_message(message)
        elif kind is Ping:
            self.tell(Ok(id=message.id))
        elif kind is Bye:
            self.tell(Ok(id=message.id))
            self._end("it said bye")
        elif (tag := kind.__struct_config__.tag) in REQUESTS:
            self.tell(Error(id=message.id, code="UNSUPPORTED", message=f"{tag}: not on this connection"))

    # -- the end -----------------------------------------------------------------------------------------
    def _end(self, why: str) -> Gone:
        if not self.gone:
            self.gone = why
            self._detach()
            waiting, self._waiting = self._waiting, {}
            for one in waiting.values():
                one.settle(Gone(why))
        return Gone(self.gone)

    def close(self, why: str = "closed here") -> None:
        """End the connection; what is waited for raises `Gone`."""
        self._end(why)
        self.line.close()
        if self.codec.ring is not None:
            self.codec.ring.close()
            self.codec.ring = None


_EXPIRED = object()


def _expire(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(_EXPIRED)


def _unwrap(answer: Any) -> Any:
    if isinstance(answer, Gone):
        raise Gone(str(answer))
    if isinstance(answer, Error):
        raise WireError(answer.code, answer.message, answer.retry, answer.detail, answer.id)
    return answer


def welcome(
    sock: socket.socket,
    *,
    timeout: float = 30.0,
    token: str = "",
    ring: Ring | None = None,
    pipes: Pipes | None = None,
    shared: int = SHARED_FROM,
    frame: int = FRAME,
    inflight: int = 64,
) -> tuple[Channel, Hello]:
    """Read the worker's hello, agree on a version, answer; the open channel and what was said.

    token: what the worker must send (compared in constant time). ring, pipes: shared memory and pipes the worker
    inherited; closed where it does not use them, and the socket where it does.
    Raises `Gone`, `TimeoutError` or `WireError` (VERSION, TOKEN, BAD_FRAME), the last also told to the worker.
    """
    reader, until = Reader(1 << 20), time.monotonic() + timeout
    bodies: list[Any] = []
    plain = Codec(limit=1 << 20)
    try:
        while not bodies:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no hello in {timeout:g} s")
            sock.settimeout(left)
            try:
                data = sock.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError as error:
                raise Gone(f"cannot read: {error.strerror or error}") from None
            if not data:
                raise Gone("the connection was closed before hello")
            bodies = reader.feed(data)
        hello = plain.message(bodies[0])
        if not isinstance(hello, Hello):
            raise BadFrame("the first frame is hello")
        if token and not hmac.compare_digest(token.encode(), hello.token.encode()):
            raise WireError("TOKEN", "the token is missing or wrong")
        version = agree(hello.v)
        codec = next((c for c in hello.codecs if c in ("msgpack", "json")), None)
        if codec is None:
            raise WireError("UNSUPPORTED", f"codecs {hello.codecs}; this side has msgpack and json")
    except WireError as error:
        _refuse(sock, plain, error)
        raise
    sharing = ring is not None and hello.shm and version[1] >= 1 and codec == "msgpack"
    if ring is not None and not sharing:
        ring.close()
        ring = None
    shm = {"slots": ring.slots, "size": ring.size, "from": shared} if ring is not None else {}
    piped = pipes is not None and hello.pipes and version[1] >= 1
    answer = Welcome(
        v=version, codec=codec, session=secrets.token_hex(6), frame=frame, inflight=inflight, shm=shm, pipes=piped
    )
    sock.settimeout(None)
    channel = Channel(sock, Codec(codec == "json", frame, version[1], ring, shared))
    channel._reader.limit = frame
    channel.tell(answer)
    if pipes is not None and piped:
        channel.line.close()
        channel.line = pipes
    elif pipes is not None:
        pipes.close()
    for body in bodies[1:]:
        channel._dispatch(channel.codec.message(body))
    return channel, hello


def _refuse(sock: socket.socket, codec: Codec, error: WireError) -> None:
    """Say why before the connection is closed."""
    with contextlib.suppress(OSError):
        sock.settimeout(1.0)
        sock.sendall(codec.frame(Error(id=0, code=error.code, message=error.message)))
