"""`Story`: one recorded episode as the page reads it; kept in memory, because it never changes. And its replays."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from crossplay.kernel import CrossplayError, Event, nearest
from crossplay.records import Cell, EpisodeRecord, RunFolder
from crossplay.study.frames import find_episode
from crossplay.study.named import seat_orders_of
from crossplay.study.replay import Replay, by_tick
from crossplay.study.spec import Study
from crossplay.study.verify import load_run
from crossplay.web.desk import Conflict, Desk, NotFound, TooMany

__all__ = ["Replays", "Story", "finite", "names_of", "replays", "seat_of", "story_of"]

OPEN = 32
"""Replays that are open at a time, those of WebSockets included."""
POOL = 8
"""Replays that wait for the next request."""
ROWS = 400_000
"""Event rows of episodes that are remembered, about a kilobyte each."""
IDLE_S = 90.0
"""Seconds after which a replay that nobody asks is closed."""
OUTSIDE = {
    "agentgym": "its server would have to be asked again",
    "qa/humaneval": "its answers are programs, which are not run again to be looked at",
}
"""Environments that reach further than their own moves: looking at a run must not make them do so."""


class Story(NamedTuple):
    """seats: in the order of the environment. rows: all events; ticks: the same by tick. stamp: changes when another
    episode of the same name takes its place.
    """

    run: str
    folder: Path
    study: Study
    record: EpisodeRecord
    cell: Cell
    seats: tuple[str, ...]
    rows: list[Event]
    ticks: dict[int, list[Event]]
    stamp: Any

    @property
    def id(self) -> str:
        """The episode's id in hex."""
        return f"{self.record.id:016x}"

    def replay(self) -> Replay:
        """A replay of its own. Raises `Conflict` that says why there is none."""
        label = self.cell.extra.get("env", self.cell.env_id)
        spec = self.study.environments.get(label)
        name = "" if spec is None else spec.name
        for prefix, why in OUTSIDE.items():
            if name == prefix or name.startswith((f"{prefix}:", f"{prefix}/")):
                raise Conflict(f"{name}: {why}")
        try:
            with RunFolder.open(self.folder) as run:
                return Replay(run, self.study, self.record, self.rows)
        except CrossplayError as error:
            raise Conflict(str(error)) from None


def story_of(desk: Desk, run: str, episode: str) -> Story:
    """An episode of a run. episode: its id in hex or the beginning of it, or LINEUP:BLOCK. Raises `NotFound`."""
    folder = desk.run_folder(run)
    found, study = load_run(folder)
    with found:
        record = _record(found, study, episode)
        stamp = (record.world, record.mind, record.wall_s, record.ticks)

        def read() -> Story:
            cell = next(c for c in found.cells() if c.name == record.cell)
            seats = tuple(cell.extra.get("seats", ())) or seat_orders_of(found, study)[cell.name]
            rows = found.events(record.id)
            return Story(run, folder, study, record, cell, seats, rows, by_tick(rows), stamp)

        return desk.kept(("story", folder, record.id), stamp, read, ROWS, lambda story: len(story.rows))


def _record(run: RunFolder, study: Study, episode: str) -> EpisodeRecord:
    if len(episode) == 16 and all(c in "0123456789abcdef" for c in episode):
        record: EpisodeRecord | None = run.record(int(episode, 16), missing_ok=True)
        if record is None:
            raise NotFound(f"the run holds no episode {episode}; it holds {len(run)} episodes")
        return record
    try:
        return find_episode(run, study, episode)
    except CrossplayError as error:
        raise NotFound(str(error)) from None


class _Kept:
    """A replay that waits for the next request."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.lock = threading.Lock()
        self.users = 0
        self.used = time.monotonic()


class Replays:
    """The open replays of a server: a few for requests, one for each WebSocket, none left open when nobody looks."""

    def __init__(self, desk: Desk) -> None:
        self._pool: OrderedDict[Any, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._own = 0
        desk.closing.append(self.close)

    @property
    def open(self) -> int:
        """How many are open now."""
        with self._lock:
            return self._own + len(self._pool)

    @contextlib.contextmanager
    def at(self, story: Story) -> Iterator[Replay]:
        """A replay of an episode, for this thread alone as long as the block lasts."""
        key = (story.folder, story.record.id, story.stamp)
        with self._lock:
            kept = self._pool.get(key)
            if kept is not None:
                kept.users += 1
                self._pool.move_to_end(key)
        if kept is None:
            fresh = _Kept(story.replay())  # outside the lock: some environments take seconds to make
            with self._lock:
                kept = self._pool.setdefault(key, fresh)
                kept.users += 1
            if kept is not fresh:
                fresh.replay.close()
        try:
            with kept.lock:
                yield kept.replay
        finally:
            with self._lock:
                kept.users -= 1
                kept.used = time.monotonic()
            self._sweep()

    @contextlib.contextmanager
    def own(self, story: Story) -> Iterator[Replay]:
        """A replay for one watcher. Raises `TooMany`."""
        with self._lock:
            if self._own >= OPEN - POOL:
                raise TooMany(f"{self._own} replays are being watched; close one of them")
            self._own += 1
        try:
            with contextlib.closing(story.replay()) as replay:
                yield replay
        finally:
            with self._lock:
                self._own -= 1

    def _sweep(self) -> None:
        """Close what nobody asked for lately, and what is too many; look again later."""
        late = time.monotonic() - IDLE_S
        with self._lock:
            for key, kept in list(self._pool.items()):
                if not kept.users and (kept.used <= late or len(self._pool) > POOL):
                    del self._pool[key]
                    kept.replay.close()
            if self._pool and self._timer is None:
                self._timer = threading.Timer(IDLE_S, self._again)
                self._timer.daemon = True
                self._timer.start()

    def _again(self) -> None:
        with self._lock:
            self._timer = None
        self._sweep()

    def close(self) -> None:
        """Close all that wait."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for kept in self._pool.values():
                kept.replay.close()
            self._pool.clear()


def replays(desk: Desk) -> Replays:
    """Those of a server."""
    return desk.part("replays", Replays)


def names_of(desk: Desk, story: Story) -> tuple[dict[str, tuple[str, ...]], str]:
    """(seat -> names of its actions, "" or why there are no pictures)."""
    try:
        with replays(desk).at(story) as replay:
            return {s: tuple(replay.env.spec(s).names) for s in story.seats}, ""
    except CrossplayError as error:
        return {}, str(error)


def finite(value: float) -> float | None:
    """A number as JSON has them; None for what is none."""
    return float(value) if math.isfinite(value) else None


def seat_of(story: Story, seat: str) -> str:
    """The seat that is asked for, "" the first. Raises `NotFound`."""
    if not seat:
        return story.seats[0]
    if seat not in story.seats:
        raise NotFound(f'there is no seat "{seat[:40]}".{nearest(seat, story.seats)}')
    return seat
