"""The worker's end of a connection: where the engine is, frames in and out, hello and welcome."""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections import deque
from typing import Any

from .arrays import Ring
from .frames import FRAME, BadFrame, Codec, Reader, WireError, agree
from .messages import Cancel, Error, Hello, Welcome

__all__ = ["BROKEN_EXIT", "VERSION_EXIT", "Connection", "connect", "greet", "watch"]

VERSION_EXIT, BROKEN_EXIT = 3, 4


def connect(address: str = "") -> socket.socket:
    """The connection to the engine: the inherited descriptor, `tcp://HOST:PORT` or `unix:PATH`.

    address: default: the environment variables CROSSPLAY_FD, then CROSSPLAY_ADDRESS.
    """
    if not address and "CROSSPLAY_FD" in os.environ:
        return socket.socket(fileno=int(os.environ["CROSSPLAY_FD"]))
    address = address or os.environ.get("CROSSPLAY_ADDRESS", "")
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(address[5:])
        return sock
    if address.startswith("tcp://"):
        host, _, port = address[6:].rpartition(":")
        sock = socket.create_connection((host.strip("[]"), int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sys.exit(
        'crossplay-worker: no engine. A worker is started by Crossplay (type = "worker" in a study, or '
        '"crossplay worker check COMMAND"), or connects to CROSSPLAY_ADDRESS=tcp://HOST:PORT with CROSSPLAY_TOKEN.'
    )


class Pipes:
    """Two inherited pipes in the place of a socket: "READING,WRITING" descriptors."""

    def __init__(self, inherited: str) -> None:
        self.reads, self.writes = map(int, inherited.split(","))
        self._poll = select.poll()
        self._poll.register(self.reads, select.POLLIN)

    def fileno(self) -> int:
        return self.reads

    def recv(self, size: int, flags: int = 0) -> bytes:
        if flags and not self._poll.poll(0):
            raise BlockingIOError
        return os.read(self.reads, size)

    def sendall(self, data: Any) -> None:
        done = os.write(self.writes, data)
        while done < len(data):
            data = memoryview(data)[done:]
            done = os.write(self.writes, data)

    def close(self) -> None:
        os.close(self.reads)
        os.close(self.writes)


class Connection:
    """Frames in and out, with the requests that wait to be handled."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock: Any = sock  # or `Pipes`
        self.codec = Codec()
        self.reader = Reader(FRAME)
        self.queue: deque[tuple[float, Any, list[tuple[int, int]]]] = deque()
        self.cancelled: set[int] = set()
        self.working = 0  # id of the training that runs
        self._write = threading.Lock()

    def send(self, message: Any) -> None:
        """One frame out; an answer that is too large or cannot be sent becomes an error."""
        with self._write:
            try:
                frame = self.codec.frame(message)
            except (WireError, TypeError, ValueError, OverflowError) as error:
                number = getattr(message, "id", 0)
                if not number or isinstance(message, Error):
                    raise
                text = "the answer cannot be sent: " + (getattr(error, "message", "") or str(error))
                frame = self.codec.frame(Error(id=number, code="INTERNAL", message=text[:500]))
            self.sock.sendall(frame)

    def take(self, wait: bool) -> bool:
        """Read what has come (or wait for something); False when the engine is gone."""
        try:
            data = self.sock.recv(self.reader.wants, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self._sort(data)
        return True

    def _sort(self, data: bytes) -> None:
        for body in self.reader.feed(data):
            ring = self.codec.ring
            try:
                message = self.codec.message(body)
            except BadFrame as error:
                if not error.id:
                    raise
                if ring is not None:
                    ring.read = []
                self.send(Error(id=error.id, code=error.code, message=error.message))
                continue
            read, refs = ([], ring.read) if ring is not None else ([], [])
            if refs and ring is not None:
                read, ring.read = ring.read, []
            if isinstance(message, Cancel):
                if message.id == self.working or any(getattr(m, "id", 0) == message.id for _, m, _ in self.queue):
                    self.cancelled.add(message.id)
            else:
                self.queue.append((time.monotonic(), message, read))

    def next(self) -> Any:
        """The next message to handle, with when it came (0: just now) and the shared memory it refers to; None: gone."""
        while not self.queue:
            try:
                data = self.sock.recv(self.reader.wants)
            except OSError:
                return None
            if not data:
                return None
            body = self.reader.whole(data)
            if body is None:
                self._sort(data)
                continue
            ring = self.codec.ring  # the common case: one whole frame
            try:
                message = self.codec.message(body)
            except BadFrame as error:
                if not error.id:
                    raise
                if ring is not None:
                    ring.read = []
                self.send(Error(id=error.id, code=error.code, message=error.message))
                continue
            if type(message) is Cancel:
                continue  # nothing is open that it could be about
            if ring is None or not ring.read:
                return 0.0, message, _NOTHING
            read, ring.read = ring.read, []
            return 0.0, message, read
        return self.queue.popleft()


_NOTHING: list[tuple[int, int]] = []


def greet(conn: Connection, hello: Hello) -> Welcome:
    """Hello and welcome; exits with code 3 when the engine speaks another version, 4 when it refuses."""
    conn.send(hello)
    found = conn.next()
    if found is None:
        sys.exit("crossplay-worker: the engine closed the connection")
    message = found[1]
    if isinstance(message, Error):
        print("crossplay-worker: the engine refused:", message.code, message.message, file=sys.stderr)
        sys.exit(VERSION_EXIT if message.code == "VERSION" else BROKEN_EXIT)
    if not isinstance(message, Welcome):
        sys.exit("crossplay-worker: the engine did not welcome")
    try:
        version = agree(message.v)
    except WireError as error:
        print("crossplay-worker:", error, file=sys.stderr)
        sys.exit(VERSION_EXIT)
    ring = None
    if message.shm:
        ring = Ring(int(os.environ["CROSSPLAY_SHM"]), message.shm["slots"], message.shm["size"], False)
    conn.codec = Codec(message.codec == "json", message.frame, version[1], ring)
    conn.reader.limit = message.frame
    if message.pipes:
        conn.sock.close()
        conn.sock = Pipes(os.environ["CROSSPLAY_PIPES"])
    return message


def watch(sock: Any) -> None:
    """End the process when the engine is gone, also while it computes."""
    poll = select.poll()
    poll.register(sock.fileno(), getattr(select, "POLLRDHUP", 0) | select.POLLHUP)
    poll.poll()
    time.sleep(1.0)
    os._exit(0)
