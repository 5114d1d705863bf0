"""One thread that commits writes to SQLite in groups, so that an event loop never waits for a disk."""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

__all__ = ["Statement", "Writer"]

GROUP = 256
"""Most writes of one commit. A group is what has queued up while the last one was committed."""

Statement = tuple[str, tuple[Any, ...]]
_Item = tuple[Sequence[Statement], Any, "Future[Any]"]


class Writer:
    """Commits what is submitted, in order; a future is done after its commit.

    lock: held during a commit where the connection is shared with readers.
    """

    def __init__(self, db: sqlite3.Connection, lock: threading.Lock | None = None) -> None:
        self._db = db
        self._lock = lock or contextlib.nullcontext()
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cassette", daemon=True)
        self._thread.start()
        self.commits = 0

    def submit(self, statements: Sequence[Statement], result: Any) -> Future[Any]:
        """Queue statements that are committed together; the future gives `result`, or the error that the
        commit met.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._queue.put((statements, result, future))
        return future

    def close(self) -> None:
        """Commit what is queued and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            last = False
            while len(group) < GROUP and not last:
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    last = True
                else:
                    group.append(item)
            self._commit(group)
            if last:
                return

    def _commit(self, group: list[_Item]) -> None:
        try:
            with self._lock:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    for statements, _, _ in group:
                        for statement, values in statements:
                            self._db.execute(statement, values)
                    self._db.execute("COMMIT")
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
        except BaseException as error:  # the callers must hear of it, whatever it is
            for *_, future in group:
                future.set_exception(error)
            return
        self.commits += 1
        for _, result, future in group:
            future.set_result(result)
