"""Commits to SQLite in groups: on the event loop where nothing there waits for a disk, else on a thread."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, Generic, TypeVar

__all__ = ["Commit", "Statement", "Writer"]

GROUP = 256
"""Most writes of one commit."""
FOLD = 1024
"""Statements after which the log is folded into the file: some 2,000 pages."""
PATIENCE_MS = 30_000
"""How long a commit waits for another process that holds the file."""

Statement = tuple[str, tuple[Any, ...]]
T = TypeVar("T")
NOBODY: list[Any] = []
"""Who waits for what is over; never added to. One list, as most commits are over at once."""


class Waiter:
    """What is to happen once in an event loop, when a commit is over."""

    __slots__ = ("_call", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
        self.loop = loop
        self._call: Callable[[], None] | None = call

    def wake(self) -> None:
        """Let it happen, if it has not yet; in its loop."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Commit(Generic[T]):
    """A write under way: `await` it in an event loop, or ask for its `result()` anywhere.

    Whoever stops waiting for it does not stop it.
    """

    __slots__ = ("_error", "_value", "_waiters", "_writer", "ready", "statements")

    def __init__(self, writer: Writer | None, statements: Sequence[Statement], value: T) -> None:
        self._writer, self.statements, self._value = writer, statements, value
        self._error: BaseException | None = None
        self.ready = writer is None  # without a writer there is nothing to commit, and nobody waits
        self._waiters: list[Waiter] = NOBODY if writer is None else []

    def __await__(self) -> Generator[Any, None, T]:
        if not self.ready:
            waiter = asyncio.get_running_loop().create_future()
            self.then(lambda: None if waiter.done() else waiter.set_result(None))  # done: its task was cancelled
            yield from waiter
        return self.get()

    def then(self, call: Callable[[], None]) -> None:
        """call() in this event loop, once, when it is over; at once where it is over already."""
        if self.ready:
            call()
            return
        waiter = Waiter(asyncio.get_running_loop(), call)
        self._waiters.append(waiter)
        if self.ready:  # looked at after the waiter can be seen, so that no thread can miss it
            waiter.wake()

    def result(self) -> T:
        """The value, once it is committed; raises the error that the commit met."""
        writer = self._writer
        while not self.ready and writer is not None:
            writer.flush(patient=True)
            with writer.lock:  # a commit of another thread that holds this write is over now
                pass
        return self.get()

    @staticmethod
    def failed(error: BaseException) -> Commit[Any]:
        """A commit that met an error at once."""
        commit: Commit[Any] = Commit(None, (), None)
        commit._error = error
        return commit

    def settle(self, error: BaseException | None) -> list[Waiter]:
        """It is over; gives who waits to hear of it."""
        self._error = error
        self.ready = True
        return self._waiters

    def get(self) -> T:
        """The value of a commit that is over; raises the error that it met."""
        if self._error is not None:
            raise self._error
        return self._value


class Writer:
    """Commits what is submitted, in order.

    What is submitted during one turn of an event loop is committed together at the end of the turn:
    that takes less time than handing it to a thread, and waits for nothing, because without `durable`
    a commit does not wait for the disk. The thread commits where it may take long (durable, another
    process holds the file) and where there is no loop, and folds the log into the file now and then.
    lock: held while the connection is in use.
    """

    def __init__(self, db: sqlite3.Connection, lock: threading.Lock, durable: bool = False) -> None:
        self.db, self.lock = db, lock
        self.commits = 0
        self._durable = durable
        self._patient: bool | None = None
        self._unfolded = 0
        self._queue: deque[Commit[Any]] = deque()
        self._planned: asyncio.AbstractEventLoop | None = None
        db.execute("PRAGMA wal_autocheckpoint = 0")
        self._wake: queue.SimpleQueue[bool | Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cassette", daemon=True)
        self._thread.start()

    def submit(self, statements: Sequence[Statement], value: T, now: bool = False) -> Commit[T]:
        """Queue statements that are committed together; what comes of it gives `value`, or the error that
        the commit met. now: for a write that has no others to wait for; committed at once, if nobody
        else holds the file.
        """
        commit = Commit(self, statements, value)
        if now and not self._durable and not self._queue and self._at_once(commit):
            return commit
        self._queue.append(commit)
        loop = None if self._durable else _here()
        if loop is None:
            self._wake.put(True)
        elif self._planned is not loop:
            self._planned = loop
            loop.call_soon(self._turn)
        return commit

    def _at_once(self, commit: Commit[Any]) -> bool:
        """Commit one write that nobody waits for yet; False where somebody else holds the file."""
        if not self.lock.acquire(blocking=False):
            return False
        try:
            error = self._commit([commit], False)
            if error is not None and _busy(error):
                return False
            commit.settle(error)
            return True
        finally:
            self.lock.release()

    def flush(self, patient: bool) -> None:
        """Commit what is queued. patient: wait for whoever holds the file; else leave it to the thread."""
        while self._queue:
            if not self.lock.acquire(blocking=patient):
                self._wake.put(True)
                return
            group: list[Commit[Any]] = []
            try:
                while self._queue and len(group) < GROUP:
                    group.append(self._queue.popleft())
                error = self._commit(group, patient) if group else None
                if error is not None and not patient and _busy(error):
                    self._queue.extendleft(reversed(group))
                    self._wake.put(True)
                    return
                _tell(group, error)
            finally:
                self.lock.release()

    def bid(self, chore: Callable[[], None]) -> None:
        """Let the thread do something that must not raise."""
        self._wake.put(chore)

    def many(self, work: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]) -> list[int]:
        """Commit statements now, each with many values, in one transaction; how many rows each changed.
        Raises the error that it met.
        """
        with self.lock:
            self._wait(True)
            self.db.execute("BEGIN IMMEDIATE")
            try:
                changed = [self.db.executemany(statement, values).rowcount for statement, values in work]
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:  # a full disk has ended it already
                    self.db.execute("ROLLBACK")
                raise
            self._count(sum(changed))
            return changed

    def close(self) -> None:
        """Commit what is queued and end the thread."""
        self._wake.put(False)
        self._thread.join()

    def _turn(self) -> None:
        """The end of a turn of an event loop."""
        self._planned = None
        self.flush(patient=False)

    def _run(self) -> None:
        going: bool | Callable[[], None] = True
        while going:
            going = self._wake.get()
            if callable(going):
                going()
            self.flush(patient=True)
            if self._unfolded >= FOLD:
                with self.lock, contextlib.suppress(sqlite3.OperationalError):  # another process is at it
                    self._unfolded = 0
                    self.db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _commit(self, group: list[Commit[Any]], patient: bool) -> BaseException | None:
        """One transaction; the error it met, after which nothing of it is written."""
        execute = self.db.execute
        try:
            self._wait(patient)
            if len(group) == 1 and len(group[0].statements) == 1:
                execute(*group[0].statements[0])  # a transaction by itself
                self._count(1)
                return None
            execute("BEGIN IMMEDIATE")
            try:
                for commit in group:
                    for statement, values in commit.statements:
                        execute(statement, values)
                execute("COMMIT")
            except BaseException:
                execute("ROLLBACK")
                raise
        except BaseException as error:  # the callers must hear of it, whatever it is
            return error
        self._count(sum(len(commit.statements) for commit in group))
        return None

    def _wait(self, patient: bool) -> None:
        """Whether to wait for another process that holds the file."""
        if self._patient is not patient:
            self.db.execute(f"PRAGMA busy_timeout = {PATIENCE_MS if patient else 0}")
            self._patient = patient

    def _count(self, statements: int) -> None:
        self.commits += 1
        self._unfolded += statements
        if self._unfolded >= FOLD:
            self._wake.put(True)


def _here() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread."""
    return asyncio._get_running_loop()


def _tell(group: list[Commit[Any]], error: BaseException | None) -> None:
    """Wake those who wait for a commit, in whatever event loop."""
    here = _here()
    others: dict[asyncio.AbstractEventLoop, list[Waiter]] = {}
    for commit in group:
        for waiter in commit.settle(error):
            if waiter.loop is here:
                waiter.wake()
            else:
                others.setdefault(waiter.loop, []).append(waiter)
    for loop, waiters in others.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon_threadsafe(_wake, waiters)


def _wake(waiters: list[Waiter]) -> None:
    for waiter in waiters:
        waiter.wake()


def _busy(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )
