"""One writer per run: a lock that the operating system drops when its holder dies."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path
from typing import Literal

from crossplay.records.errors import RunError, explained

__all__ = ["Lock", "writer_of"]

_held: set[str] = set()  # record locks do not exclude the process that holds them
_opening = threading.Lock()  # closing any descriptor of the file drops the lock that this process holds on it


class Lock:
    """Holds `path` for this process until `release`.

    Record locks of POSIX: released by the kernel when the process dies, so a file left by a SIGKILL
    is simply taken over; not inherited by forked workers, who would otherwise keep it alive. (On
    Windows a byte of the file is locked, with the same effect.) The file names the holder while there is one.
    """

    def __init__(self, path: Path) -> None:
        with _opening:
            self._take(path)

    def _take(self, path: Path) -> None:
        self._name = str(path.resolve())
        if _taken(self._name):
            raise RunError(f"{path.parent}: already open for writing in this process; one writer per run")
        with explained(path.parent, "open the run for writing"):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(self._fd)
        except OSError:
            holder = os.pread(self._fd, 200, 0).decode("utf-8", "replace").strip() if hasattr(os, "pread") else ""
            os.close(self._fd)
            raise RunError(
                f"{path.parent}: another process is writing this run ({holder or 'holder unknown'}); "
                "wait for it, or stop it and try again"
            ) from None
        with explained(path.parent, "open the run for writing"):
            os.ftruncate(self._fd, 0)
            os.write(self._fd, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        _held.add(self._name)
        self._pid = os.getpid()

    def release(self) -> None:
        """Let the next writer in."""
        if os.getpid() == self._pid:
            _held.discard(self._name)
            os.ftruncate(self._fd, 0)
        os.close(self._fd)


def writer_of(folder: Path) -> Literal["", "here", "elsewhere"]:
    """Who writes the run in this folder, as far as its lock file tells: a process of this machine that is there, one of
    another machine of which nothing else is known, or nobody. Takes no lock.
    """
    path = folder / "lock"
    with _opening:
        if _taken(str(path.resolve())):
            return "here"
        try:
            said = path.read_text("utf-8", "replace").split()
        except OSError:
            return ""
    match said:
        case ["process", pid, "on", host] if pid.isdecimal() and len(pid) < 20:
            if host != socket.gethostname():
                return "elsewhere"
            return "here" if int(pid) != os.getpid() and _alive(int(pid)) else ""
    return ""


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _taken(name: str) -> bool:
    return name in _held


def _lock(fd: int) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
