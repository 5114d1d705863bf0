"""What bytes travel over, as the engine holds it: a socket, or two pipes to a worker that was started here.

A round trip over pipes takes some microseconds less (benchmarks/wire.py), because the system does less for them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["LONGEST", "Line", "Pipes", "SocketLine"]

PIPE = 1 << 20  # bytes that a pipe may hold, where the system allows it
LONGEST = 1e6  # seconds of one wait: systems count them in milliseconds, in 31 bits

_DONTWAIT = int(socket.MSG_DONTWAIT)


class Line(Protocol):
    """Bytes both ways. reads, writes: the descriptors, for an event loop (they may be the same one)."""

    reads: int
    writes: int

    def send(self, data: Any) -> int:
        """Write what fits now; raises `BlockingIOError` where nothing does."""
        ...

    def recv(self, size: int, seconds: float) -> bytes:
        """What has come, or comes within so many seconds (0: what is there); raises `BlockingIOError` where nothing
        does, and gives b"" where the other side is gone.
        """
        ...

    def close(self) -> None:
        """Give the descriptors back."""
        ...


class SocketLine:
    """A connected stream socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reads = self.writes = sock.fileno()
        self._limit = -1.0  # of reads that wait, as the socket has it

    def send(self, data: Any) -> int:
        """What fits now."""
        return self.sock.send(data, _DONTWAIT)

    def recv(self, size: int, seconds: float) -> bytes:
        """What comes within so many seconds."""
        if seconds <= 0:
            return self.sock.recv(size, _DONTWAIT)
        if seconds != self._limit:  # one system call per change, not per read
            self._limit = seconds
            micro = max(1000, int(min(seconds, LONGEST) * 1e6))
            pair = struct.pack("@ll", micro // 1_000_000, micro % 1_000_000)
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pair)
        return self.sock.recv(size)

    def close(self) -> None:
        """Give the descriptors back."""
        self.sock.close()


class Pipes:
    """The ends of two pipes. theirs: the descriptors that the worker inherits, its reading end first."""

    reads = writes = -1
    theirs: tuple[int, ...] = ()

    def __init__(self) -> None:
        there, mine = os.pipe()
        try:
            back = os.pipe()
        except OSError:
            os.close(there)
            os.close(mine)
            raise
        self.reads, self.writes = back[0], mine
        self.theirs = (there, back[1])
        for fd in (self.reads, self.writes):
            os.set_blocking(fd, False)
            with contextlib.suppress(OSError, ImportError, AttributeError):  # other systems have one size
                import fcntl

                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE)
        self._poll = select.poll()
        self._poll.register(self.reads, select.POLLIN)
        self._wait: Callable[[float], Any] = self._poll.poll

    def send(self, data: Any) -> int:
        """What fits now."""
        return os.write(self.writes, data)

    def recv(self, size: int, seconds: float) -> bytes:
        """What comes within so many seconds."""
        if seconds > 0 and not self._wait((seconds if seconds < LONGEST else LONGEST) * 1000):
            raise BlockingIOError
        return os.read(self.reads, size)

    def handed(self) -> None:
        """The worker has its ends now: close them here, so that its end is seen."""
        for fd in self.theirs:
            os.close(fd)
        self.theirs = ()

    def close(self) -> None:
        """Give the descriptors back."""
        mine = (self.reads, self.writes)
        self.reads = self.writes = -1
        self._wait = _closed  # the numbers may be somebody else's soon
        for fd in (*mine, *self.theirs):
            if fd >= 0:
                os.close(fd)
        self.theirs = ()

    def __del__(self) -> None:
        self.close()


def _closed(_: float) -> Any:
    raise OSError(errno.EBADF, os.strerror(errno.EBADF))
