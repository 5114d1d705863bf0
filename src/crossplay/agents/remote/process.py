"""A process that belongs to this one: own group, limits, a log; killed when this one ends, however it ends."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from crossplay.kernel import CrossplayError

__all__ = ["Child", "environment", "split_command"]

# Reads process groups, one command a line; when its input ends, its parent is gone, and so are they.
_GUARD = """
import os, signal, sys
groups = set()
for line in sys.stdin.buffer:
    verb, number = line.split()
    groups.add(int(number)) if verb == b"+" else groups.discard(int(number))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


class _Guard:
    """One small process per engine process that outlives it just long enough to kill what it leaves behind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def tell(self, verb: str, group: int) -> None:
        """Watch over ("+") or forget ("-") a process group."""
        with self._lock:
            if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", _GUARD],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
                self._owner = os.getpid()
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.write(f"{verb} {group}\n".encode())
                self._process.stdin.flush()


_guard = _Guard()


class Child:
    """A started command.

    Its standard output and error go to `log` (the latter to `errors`, where given). fds: descriptors it inherits. memory_mb, cpu_s: limits of the
    system on address space and processor time (Linux; 0: none). Raises `CrossplayError` where it cannot start.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        fds: Sequence[int] = (),
        folder: Path | None = None,
        memory_mb: int = 0,
        cpu_s: int = 0,
        log: Path | None = None,
        errors: Path | None = None,
    ) -> None:
        self.command = list(command)
        self._log: IO[bytes] = log.open("ab+") if log is not None else tempfile.TemporaryFile()  # noqa: SIM115
        self._errors: IO[bytes] = errors.open("ab+") if errors is not None else self._log
        self.started = time.monotonic()
        found = shutil.which(self.command[0], path=env.get("PATH"))
        if found is None and not (folder and (folder / self.command[0]).exists()):
            raise CrossplayError(f'worker: there is no program "{self.command[0]}"')
        try:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._errors,
                cwd=folder,
                env=dict(env),
                pass_fds=fds,
                process_group=0,
            )
        except OSError as error:
            self._log.close()
            self._errors.close()
            raise CrossplayError(f"worker: cannot start {self.command[0]} ({error.strerror or error})") from None
        self.pid = self.process.pid
        _guard.tell("+", self.pid)
        self._limit(memory_mb, cpu_s)

    def _limit(self, memory_mb: int, cpu_s: int) -> None:
        import resource

        if not hasattr(resource, "prlimit"):
            return  # other systems: the process is unlimited, and the page on workers says so
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if memory_mb:
                resource.prlimit(self.pid, resource.RLIMIT_AS, (memory_mb << 20, memory_mb << 20))
            if cpu_s:
                resource.prlimit(self.pid, resource.RLIMIT_CPU, (cpu_s, cpu_s))

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return not self.alive

    def signal(self) -> None:
        """Kill the whole group, without waiting for its end."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End the whole group at once."""
        self.signal()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5.0)

    def reason(self) -> str:
        """How it ended, in words, with the end of what it printed."""
        code = self.process.poll()
        if code is None:
            how = "still runs"
        elif code < 0:
            name = signal.Signals(-code).name if -code in signal.Signals._value2member_map_ else str(-code)
            how = f"was killed by {name}"
        else:
            how = {
                0: "ended by itself (exit code 0)",
                3: "ended with exit code 3: it speaks another version of the wire",
            }.get(code, f"ended with exit code {code}")
        tail = self.tail()
        return how + (f"; it printed last: {tail}" if tail else "")

    def tail(self, characters: int = 400) -> str:
        """The end of what it printed, in one line."""
        try:
            log = self._errors if os.fstat(self._errors.fileno()).st_size else self._log
            size = os.fstat(log.fileno()).st_size
            text = os.pread(log.fileno(), 4 * characters, max(0, size - 4 * characters)) if self._readable() else b""
        except (OSError, ValueError):
            return ""
        lines = [line.strip() for line in text.decode("utf-8", "replace").splitlines() if line.strip()]
        return " | ".join(lines[-3:])[-characters:]

    def _readable(self) -> bool:
        return "+" in self._log.mode

    def close(self, patience: float = 2.0) -> None:
        """Give it a moment to end by itself (or to be watched to its end), then kill its group."""
        self.wait(patience)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)  # also what it started and left behind
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5.0)
        _guard.tell("-", self.pid)
        self._log.close()
        self._errors.close()


def environment(extra: Mapping[str, str], keep: Any = ()) -> dict[str, str]:
    """The environment of a worker: this process's, without names that look like secrets unless kept."""
    secret = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
    plain = {k: v for k, v in os.environ.items() if k in keep or not any(word in k.upper() for word in secret)}
    return {**plain, "PYTHONUNBUFFERED": "1", **extra}


def split_command(command: str | Sequence[str], python: str, folder: Path) -> tuple[str, ...]:
    """The command as a list; `python` stands for the interpreter named, or for this one."""
    try:
        words = shlex.split(command) if isinstance(command, str) else [str(word) for word in command]
    except ValueError as error:
        raise CrossplayError(f"worker: {command}: {error}") from None
    if not words:
        raise CrossplayError("worker: the command is empty")
    if words[0] in ("python", "python3") or words[0].endswith(".py"):
        interpreter = str((folder / python).absolute()) if python else sys.executable
        words = [interpreter, *(words if words[0].endswith(".py") else words[1:])]
    return tuple(words)
