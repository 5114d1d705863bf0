"""Parties in processes of their own, and a counter of what goes over a connection."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossplay import CrossplayError

__all__ = ["Peer", "Standing", "Tap", "free_port", "python"]

LONGEST = 60.0
"""Seconds that a party may take to come up."""


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


class Peer:
    """A started command. Its output goes to a file, so that it never waits for a reader."""

    def __init__(self, *words: str) -> None:
        self._out = tempfile.NamedTemporaryFile("w+")  # noqa: SIM115  it lives as long as the process
        env = {k: v for k, v in os.environ.items() if not k.startswith("CROSSPLAY_")}
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=self._out, stderr=self._out, env=env, start_new_session=True
        )

    def lines(self) -> list[str]:
        """What it has printed so far."""
        return Path(self._out.name).read_text(errors="replace").splitlines()

    def says(self, text: str) -> str:
        """Wait for a line that holds the text; an error names the last one where it ends before that."""
        until = time.monotonic() + LONGEST
        while True:
            alive = self.process.poll() is None
            lines = self.lines()
            for line in lines:
                if text in line:
                    return line
            if not alive or time.monotonic() > until:
                raise CrossplayError(
                    f"agent_protocols: {_words(self.process.args)} ended or was silent; it said: {lines[-1:]}"
                )
            time.sleep(0.01)

    def wait(self) -> int:
        """Its exit code, when it has ended by itself."""
        try:
            return self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            raise CrossplayError(
                f"agent_protocols: {_words(self.process.args)} does not end; it said: {self.lines()[-1:]}"
            ) from None

    def end(self, sign: int = signal.SIGINT) -> list[str]:
        """Ask it to end (its group is killed where it does not), and what it printed."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        lines = self.lines()
        self._out.close()
        return lines


def _words(args: Any) -> str:
    return " ".join(Path(w).name for w in list(args)[1:4])


def python(*words: Any) -> list[str]:
    """A command of this interpreter."""
    return [sys.executable, *map(str, words)]


class Standing:
    """A server for several users, one after the other: ended when nobody has used it for a while, and with this process."""

    def __init__(self, idle: float = 20.0) -> None:
        self._idle, self._lock = idle, threading.Lock()
        self._peer: Peer | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._timer: threading.Timer | None = None
        atexit.register(self.end)

    def start(self, folder: Path) -> Peer:
        """The process, when it can be used."""
        raise NotImplementedError

    @contextlib.contextmanager
    def used(self) -> Iterator[Path]:
        """Its folder, while it is used by nobody else."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="protocols-")
            if self._peer is None:
                self._peer = self.start(Path(self._folder.name))
            try:
                yield Path(self._folder.name)
            finally:
                self._timer = threading.Timer(self._idle, self.end)
                self._timer.daemon = True
                self._timer.start()

    def end(self) -> None:
        """End it; the next user starts it again."""
        with self._lock:
            peer, self._peer = self._peer, None
            folder, self._folder = self._folder, None
        if peer is not None:
            peer.end()
        if folder is not None:
            folder.cleanup()


class Tap:
    """Stands before an address, passes everything on and counts: bytes both ways, and messages.

    at, to: (host, port) or the path of a Unix socket; it waits for `to` to be there. wire: messages are frames
    of the wire in both directions; else the requests of HTTP.
    """

    def __init__(self, to: Any, at: Any = ("127.0.0.1", 0), wire: bool = False) -> None:
        self.to, self.wire = to, wire
        self.up = self.down = 0  # bytes towards `to`, and back
        self.sent = self.answered = 0  # messages towards `to`, and back (HTTP: not counted)
        self._door = socket.socket(socket.AF_UNIX if isinstance(at, str) else socket.AF_INET)
        self._door.bind(at)
        self._door.listen(64)
        self._open: list[socket.socket] = []
        self.at = self._door.getsockname()
        threading.Thread(target=self._serve, daemon=True, name="tap").start()

    def counts(self) -> tuple[int, int, int, int]:
        """(messages towards it, messages back, bytes towards it, bytes back)."""
        return self.sent, self.answered, self.up, self.down

    def _serve(self) -> None:
        while True:
            try:
                here, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(here,), daemon=True, name="tap").start()

    def _connect(self, here: socket.socket) -> None:
        until = time.monotonic() + LONGEST
        while True:
            there = socket.socket(socket.AF_UNIX if isinstance(self.to, str) else socket.AF_INET)
            try:
                there.connect(self.to)
                break
            except OSError:
                there.close()
                if time.monotonic() > until or self._door.fileno() < 0:
                    here.close()
                    return
                time.sleep(0.01)
        for sock in (here, there):
            if sock.family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open += [here, there]
        threading.Thread(target=self._pump, args=(there, here, False), daemon=True, name="tap").start()
        self._pump(here, there, True)

    def _pump(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        rest = b""
        try:
            while data := source.recv(1 << 16):
                rest, n = (_frames if self.wire else _requests)(rest + data)
                if up:
                    self.up, self.sent = self.up + len(data), self.sent + n
                else:
                    self.down, self.answered = self.down + len(data), self.answered + n
                target.sendall(data)
        except OSError:
            for sock in (source, target):
                _shut(sock, socket.SHUT_RDWR)
        else:
            _shut(target, socket.SHUT_WR)  # what comes back is still passed on

    def close(self) -> None:
        """Close all connections."""
        for sock in (self._door, *self._open):
            _shut(sock, socket.SHUT_RDWR)
            sock.close()


def _shut(sock: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(how)


def _frames(data: bytes) -> tuple[bytes, int]:
    """(what is left, whole frames): u32 length, then so many bytes."""
    n = start = 0
    while len(data) - start >= 4:
        size = struct.unpack_from("<I", data, start)[0]
        if len(data) - start - 4 < size:
            break
        start, n = start + 4 + size, n + 1
    return data[start:], n


_LINE = b" HTTP/1.1\r\n"


def _requests(data: bytes) -> tuple[bytes, int]:
    """(the end, which may hold the start of a request line; request lines)."""
    return data[-len(_LINE) + 1 :], data.count(_LINE)
