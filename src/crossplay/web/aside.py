"""`Aside`: work on what studies name, done in a process of its own.

Environments of other libraries may take long, take all memory, print, or end the process that makes them; the server
must not.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

from crossplay.kernel import CrossplayError
from crossplay.web.desk import Desk, TooMany

__all__ = ["aside"]

T = TypeVar("T")
SECONDS = 60.0
"""That one piece of work may take."""
MEMORY = 4 << 30
"""Bytes that it may take, and half of what the machine has where that is less; environments take some hundred megabytes."""
WAITING = 8
"""Who may wait for it at a time: each holds one of the threads in which the server answers everybody."""


def aside(desk: Desk, work: Callable[..., T], *given: Any) -> T:
    """What `work(*given)` gives (both picklable), done beside the server; its `CrossplayError`s are raised here."""
    return desk.part("aside", _Aside).call(work, *given)


class _Aside:
    """One process, started when it is first needed, and again where it was ended."""

    def __init__(self, desk: Desk) -> None:
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._waiting = 0
        self._pool: ProcessPoolExecutor | None = None
        desk.closing.append(self.close)

    def call(self, work: Callable[..., T], *given: Any) -> T:
        with self._count:
            if self._waiting >= WAITING:
                raise TooMany(f"{WAITING} studies are being looked at already; try again in a moment")
            self._waiting += 1
        try:
            return self._called(work, *given)
        finally:
            with self._count:
                self._waiting -= 1

    def _called(self, work: Callable[..., T], *given: Any) -> T:
        if not self._turn.acquire(timeout=SECONDS):
            raise TooMany("another study is being looked at; try again in a moment")
        try:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=(_most(),))
            fine, found = self._pool.submit(_work, work, given).result(SECONDS)
        except TimeoutError:
            self._end()
            raise CrossplayError(f"this took longer than {SECONDS:g} s and was ended") from None
        except BrokenExecutor:
            self._end()
            raise CrossplayError("this ended the process that looked at it: an environment or an agent cannot be made so") from None  # fmt: skip
        finally:
            self._turn.release()
        if not fine:
            raise CrossplayError(found)
        return found  # type: ignore[no-any-return]

    def _end(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            for process in list(getattr(pool, "_processes", None) or {}):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            pool.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the process."""
        self._end()


def _most() -> int:
    """Bytes that the process may take."""
    try:
        return min(MEMORY, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    except (AttributeError, OSError, ValueError):  # a system that does not say
        return MEMORY


def _limit(most: int) -> None:
    """No more memory than so many bytes, where the system can be told so: it gives an error instead of taking the machine."""
    try:
        import resource
    except ImportError:  # Windows
        return
    # What is written to, where that is counted: libraries reserve far more addresses than they use.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    hard = resource.getrlimit(kind)[1]
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _begin(most: int) -> None:
    """Ctrl-C is for the server, which ends this; what libraries print is for nobody."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(most)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    threading.Thread(target=_outlive_nobody, args=(os.getppid(),), daemon=True).start()


def _outlive_nobody(parent: int) -> None:
    """End with the server, also where it was killed and could not say so."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(0)


def _work(work: Callable[..., Any], given: tuple[Any, ...]) -> tuple[bool, Any]:
    try:
        return True, work(*given)
    except Exception as error:  # ours, or of a library
        if any(isinstance(e, MemoryError) for e in (error, error.__cause__, error.__context__)):
            return False, f"this takes more memory than looking at a study may ({_most() >> 20:,} MB)"
        return False, str(error) if isinstance(error, CrossplayError) else f"{type(error).__name__}: {error}"
