"""A client that a study starts for one of its seats: a process with the server's address, ended with the run."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crossplay.kernel import CrossplayError

__all__ = ["Client"]

PASSED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER", "VIRTUAL_ENV", "SYSTEMROOT")
"""Variables that a client sees of this process beside those it is given."""
LEAVING = 5.0
"""Seconds that a client has to end by itself when all is over."""


class Client:
    """A command line in a process group of its own. ended(why): called when it ends before `close`."""

    def __init__(
        self, command: str, given: Mapping[str, str], names: Sequence[str], folder: Path, ended: Callable[[str], None]
    ) -> None:
        """given: variables it gets. names: variables of this process that it may see as well."""
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise CrossplayError(f"client: {command}: {error}") from None
        if not words:
            raise CrossplayError("client: the command is empty")
        for name in names:
            if name not in os.environ:
                raise CrossplayError(f"client: the environment variable {name} is not set")
        env = {n: os.environ[n] for n in (*PASSED, *names) if n in os.environ}
        self._ended, self._closing = ended, False
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  it lives as long as the process
        try:
            self._process = subprocess.Popen(
                words,
                env={**env, **given},
                cwd=folder.resolve(),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise CrossplayError(f"client: cannot start {words[0]}: {error.strerror or error}") from None
        self._thread = threading.Thread(target=self._watch, daemon=True, name=f"client {self._process.pid}")
        self._thread.start()

    def _watch(self) -> None:
        code = self._process.wait()
        if not self._closing:
            self._ended(f"its client ended with code {code} before all was played{self._last_words()}")

    def _last_words(self) -> str:
        """The last line that it wrote."""
        try:
            self._log.seek(0)
            lines = [line.strip() for line in self._log.read()[-4000:].splitlines() if line.strip()]
        except (ValueError, OSError):
            return ""
        return f"; it said: {lines[-1][:200]}" if lines else ""

    def close(self) -> None:
        """Let it end by itself, then end its whole group."""
        self._closing = True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(LEAVING)
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
        self._thread.join(2)
        self._log.close()
