"""Changes of runs as server-sent events: one watcher for all who listen, which sleeps while nobody does."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec

from crossplay.web.api import Route, Stream
from crossplay.web.desk import Desk, NotFound, TooMany
from crossplay.web.service.runs import RunRow, row_of, shelf_of

__all__ = ["LISTENERS", "ROUTES", "Watcher"]

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
        self._lock = threading.Lock()

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
    """Looks at all runs about once a second while somebody listens. `start`, `stop` and `close` from any thread."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.listeners: list[Listener] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
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
        seen: dict[str, RunRow] | None = None
        while True:
            began = time.monotonic()
            seen = self._look(seen)
            with self._changed:
                # A look that took long is followed by as long a rest.
                rest = max(EVERY, time.monotonic() - began)
                if self.listeners:
                    self._changed.wait(rest)
                if not self.listeners:
                    self._thread = None
                    return

    def _look(self, seen: dict[str, RunRow] | None) -> dict[str, RunRow]:
        """Compare all runs with what was seen and tell the differences."""
        shelf, now = shelf_of(self.desk), {}
        for run in self.desk.run_names():
            try:
                now[run] = row_of(run, *shelf.look(run))
            except NotFound:
                continue
        if seen is not None:
            for run, row in now.items():
                if row != seen.get(run):
                    self._tell(run, {"kind": "run", "new": run not in seen, **msgspec.to_builtins(row)})
            for run in seen.keys() - now.keys():
                self._tell(run, {"kind": "gone", "run": run})
        return now

    def _tell(self, run: str, event: dict[str, Any]) -> None:
        with self._changed:
            for listener in self.listeners:
                if listener.only in ("", run):
                    listener.tell(run, event)


async def events(desk: Desk, query: EventsQuery) -> Stream:
    """Server-sent events: `run` (a run is new, or its episodes, state or costs changed: its line of the list) and `gone`.

    Each is one JSON object with its `kind`. Changes are looked for about once a second.
    """
    watcher = desk.part("events", Watcher)
    watcher.room()
    return Stream(_stream(watcher, Listener(query.run)))


async def _stream(watcher: Watcher, listener: Listener) -> AsyncIterator[bytes]:
    watcher.start(listener)  # here, so that a stream that is never begun listens to nothing
    try:
        yield b'retry: 2000\ndata: {"kind":"hello"}\n\n'
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
