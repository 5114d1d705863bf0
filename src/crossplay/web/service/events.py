"""Changes of runs as server-sent events: one watcher for all who listen, which sleeps while nobody does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec

from crossplay.web.api import Route, Stream
from crossplay.web.desk import Desk, NotFound, TooMany
from crossplay.web.service.runs import RunRow, row_of, shelf_of

__all__ = ["LISTENERS", "ROUTES", "Watcher"]

_log = logging.getLogger("crossplay.web")
LISTENERS = 64
"""Who may listen at a time."""
EVERY = 1.0
"""Seconds between two looks."""
QUIET = 15.0
"""Seconds after which a comment is sent, so that a listener who is gone is noticed."""


class EventsQuery(msgspec.Struct):
    """run: only this one's events; "" means all."""

    run: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Listener:
    """One stream. Of each run only the newest event waits, so a slow reader costs no memory."""

    def __init__(self, only: str) -> None:
        self.only = only
        self.loop = asyncio.get_running_loop()
        self.ready = asyncio.Event()
        self.waiting: dict[str, dict[str, Any]] = {}
        self.ended = False
        self.greeted = False
        self._lock = threading.Lock()

    def greet(self) -> None:
        """From now on it is told of every change: what it asks for after this is not older."""
        if not self.greeted:
            self.greeted = True
            self.tell("", {"kind": "hello"})

    def tell(self, run: str, event: dict[str, Any]) -> None:
        """From the watcher's thread."""
        with self._lock:
            self.waiting[run] = event
        self._wake()

    def end(self) -> None:
        """Let the stream end."""
        self.ended = True
        self._wake()

    def take(self) -> list[dict[str, Any]]:
        """What waits."""
        with self._lock:
            found = list(self.waiting.values())
            self.waiting.clear()
        return found

    def _wake(self) -> None:
        try:
            self.loop.call_soon_threadsafe(self.ready.set)
        except RuntimeError:  # its event loop is closed: nobody listens any more
            self.ended = True


class Watcher:
    """Looks at runs about once a second while somebody listens. `start`, `stop` and `close` from any thread."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.listeners: list[Listener] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._seen: dict[str, RunRow] = {}
        self._covered: frozenset[str] | None = frozenset()  # runs that were looked at the last time; None: all
        desk.closing.append(self.close)

    def room(self) -> None:
        """Raises `TooMany` where nobody more may listen."""
        if len(self.listeners) >= LISTENERS:
            raise TooMany(f"{LISTENERS} listen already; close a page and try again")

    def start(self, listener: Listener) -> None:
        """Begin to tell a listener; where there is no room any more its stream ends at once, and it may come again."""
        with self._changed:
            if self._closed or len(self.listeners) >= LISTENERS:
                listener.end()
                return
            self.listeners.append(listener)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, daemon=True, name="crossplay watcher")
                self._thread.start()

    def stop(self, listener: Listener) -> None:
        """Tell it no more; the watcher ends with the last one."""
        with self._changed:
            if listener in self.listeners:
                self.listeners.remove(listener)
            self._changed.notify_all()

    def close(self) -> None:
        """End all streams."""
        with self._changed:
            self._closed = True
            for listener in self.listeners:
                listener.end()
            self.listeners.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(2 * EVERY)

    def _watch(self) -> None:
        self._seen, self._covered = {}, frozenset()
        while True:
            began = time.monotonic()
            try:
                self._look()
            except Exception:  # it is looked again: one bad moment must not end the news of all
                _log.exception("looking for changes of runs")
            with self._changed:
                # A look that took long is followed by as long a rest.
                rest = max(EVERY, time.monotonic() - began)
                if self.listeners:
                    self._changed.wait(rest)
                if not self.listeners:
                    self._thread = None
                    return

    def _look(self) -> None:
        """Compare the runs that somebody asks about with what was seen, and tell the differences.

        Whoever came before this look is greeted after it: from then on nothing is missed. What is looked at for the
        first time is no news.
        """
        with self._changed:
            here = list(self.listeners)
        wanted = None if any(not x.only for x in here) else frozenset(x.only for x in here)
        now = self._rows(wanted)
        before, covered = self._seen, self._covered
        for run, row in now.items():
            if (covered is None or run in covered) and row != before.get(run):
                self._tell(run, {"kind": "run", "new": run not in before, **msgspec.to_builtins(row)})
        for run in before.keys() - now.keys():
            if wanted is None or run in wanted:
                self._tell(run, {"kind": "gone", "run": run})
        self._seen, self._covered = now, wanted
        for listener in here:
            listener.greet()

    def _rows(self, wanted: frozenset[str] | None) -> dict[str, RunRow]:
        """Lines of these runs, as far as they are there; None: of all."""
        shelf = shelf_of(self.desk)
        if wanted is None:
            return {row.run: row for row in shelf.rows()}
        found = {}
        for run in wanted:
            with contextlib.suppress(NotFound):
                found[run] = row_of(run, *shelf.look(run))
        return found

    def _tell(self, run: str, event: dict[str, Any]) -> None:
        with self._changed:
            for listener in self.listeners:
                if listener.only in ("", run):
                    listener.tell(run, event)


async def events(desk: Desk, query: EventsQuery) -> Stream:
    """Server-sent events: `hello`, `run` (a run is new, or its episodes, state or costs changed: its line of the list), `gone`.

    Each is one JSON object with its `kind`. Changes are looked for about once a second; all that come after `hello` are
    told, so whoever connects, also again, asks once for what there is when it hears that.
    """
    watcher = desk.part("events", Watcher)
    watcher.room()
    return Stream(_stream(watcher, Listener(query.run)))


async def _stream(watcher: Watcher, listener: Listener) -> AsyncIterator[bytes]:
    watcher.start(listener)  # here, so that a stream that is never begun listens to nothing
    try:
        yield b"retry: 2000\n\n"
        while not listener.ended:
            try:
                await asyncio.wait_for(listener.ready.wait(), QUIET)
            except TimeoutError:
                yield b": still here\n\n"
                continue
            listener.ready.clear()
            for event in listener.take():
                yield b"data: " + msgspec.json.encode(event) + b"\n\n"
    finally:
        watcher.stop(listener)


ROUTES = [Route("GET", "/events", events, kind="text/event-stream")]
