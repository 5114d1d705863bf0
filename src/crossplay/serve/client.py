"""A client that a study starts for one of its seats: a process with the server's address, ended with the run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crossplay.agents.remote.process import Child, split_command
from crossplay.kernel import CrossplayError

__all__ = ["Client"]

PASSED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "USER", "VIRTUAL_ENV", "SYSTEMROOT")
"""Variables that a client sees of this process beside those it is given."""
LEAVING = 5.0
"""Seconds that a client has to end by itself when all is over."""


class Client:
    """A command line in a process group of its own; `python` in it is this interpreter. It does not outlive this
    process. ended(why): called when it ends before `close`.
    """

    def __init__(
        self, command: str, given: Mapping[str, str], names: Sequence[str], folder: Path, ended: Callable[[str], None]
    ) -> None:
        """given: variables it gets. names: variables of this process that it may see as well."""
        for name in names:
            if name not in os.environ:
                raise CrossplayError(f"client: the environment variable {name} is not set")
        env = {n: os.environ[n] for n in (*PASSED, *names) if n in os.environ}
        try:
            self._child = Child(split_command(command, "", folder), {**env, **given}, folder=folder.resolve())
        except CrossplayError as error:
            raise CrossplayError(f"client: {str(error).removeprefix('worker: ')}") from None
        self._ended, self._closing = ended, False
        self._thread = threading.Thread(target=self._watch, daemon=True, name=f"client {self._child.pid}")
        self._thread.start()

    def _watch(self) -> None:
        self._child.process.wait()
        if not self._closing:
            self._ended(f"its client {self._child.reason()}, before all was played")

    def close(self) -> None:
        """Let it end by itself, then end its whole group."""
        self._closing = True
        self._child.wait(LEAVING)
        self._thread.join(2)
        self._child.close(0.0)
