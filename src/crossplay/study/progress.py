"""How far a run is and what it has spent so far, kept up by reading what is new alone."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.records import RunFolder
from crossplay.records.entry import Cell
from crossplay.records.errors import Damaged, RunError
from crossplay.records.lock import writer_of
from crossplay.records.parts import cassette_file
from crossplay.study.costs import Costs, Spent, costs_of, spent_of
from crossplay.study.named import of_all
from crossplay.study.sessions import opened
from crossplay.study.spec import Study
from crossplay.study.verify import load_run

__all__ = ["Growing", "Progress", "State", "Watch", "changed_of", "stamp_of", "whole_stamp"]

State = Literal["done", "open", "going", "damaged"]
"""All planned episodes are in; some are not, and nobody plays; somebody plays; it cannot be read."""
FILES = ("manifest.sqlite", "manifest.sqlite-wal")
CALLS = ("cassette", "cassette/cassette.sqlite", "cassette/cassette.sqlite-wal", "cassette/cassette.log")
PATIENCE_S = 120.0
"""Without a change, after which a run that another machine writes counts as left."""

_counts = msgspec.json.Decoder(dict[str, dict[str, int]])
Stamp = tuple[tuple[int, int], ...]
TELLING = ("episode", "world", "mind", "counts", "wall_s")
"""Columns by which two rows are told apart."""


def stamp_of(folder: Path, names: tuple[str, ...] = FILES) -> Stamp:
    """Size and time of the files of the manifest: differs whenever an episode has ended."""
    found = []
    for name in names:
        try:
            stat = (folder / name).stat()
            found.append((stat.st_size, stat.st_mtime_ns))
        except OSError:
            found.append((0, 0))
    return tuple(found)


def changed_of(stamp: Stamp) -> float:
    """When the last episode of a run came, in seconds since 1970."""
    return max(t for _, t in stamp) / 1e9


def whole_stamp(folder: Path) -> Stamp:
    """The same with the cassette: differs also where somebody was asked or answered between two episodes."""
    return stamp_of(folder, (*FILES, *CALLS))


class Growing:
    """Reads the episodes of one run as they come: each once, all anew where another run has taken its place."""

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = (*columns, *(c for c in TELLING if c not in columns))
        self._tail: tuple[Any, ...] = ()  # the last row that was read, as it was stored

    def read(self, run: RunFolder) -> tuple[bool, list[tuple[Any, ...]]]:
        """(whether these are all episodes, rows): number of the commit, the columns, and `TELLING`.

        Not all: those that came since the last time. A run that was deleted and played again has the same study and
        the same ids; its rows differ in the seconds that they took.
        """
        if self._tail:
            first, *rest = run.stored(self.columns, self._tail[0] - 1) or [()]
            if first == self._tail:
                self._tail = rest[-1] if rest else first
                return False, rest
        found = run.stored(self.columns)
        self._tail = found[-1] if found else ()
        return True, found

    def forget(self) -> None:
        """What was read could not be taken in: read all of it the next time."""
        self._tail = ()


class Progress(msgspec.Struct):
    """A run so far. episodes: finished ones, void ones apart. changed: seconds since 1970.

    costs: of the episodes that have ended. spent: on models by now, see `Spent`. cells: name -> how many of its episodes
    ended in which way. why: of a damaged run, what is wrong with it.
    """

    state: State
    episodes: int
    planned: int
    void: int
    changed: float
    costs: Costs
    spent: Spent
    cells: dict[str, dict[str, int]]
    why: str = ""


class Watch:
    """One run, looked at again and again. Not thread-safe.

    study: as resolved, None as long as the run cannot be read; cells: by name; sources: as `RunFolder.sources`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study: Study | None = None
        self.cells: dict[str, Cell] = {}
        self.sources: list[dict[str, Any]] = []
        self._stamp: Stamp | None = None
        self._digest = ""
        self._planned = 0
        self._missing = 0  # participants who have not come to the end yet
        self._seen: Stamp | None = None
        self._moved: float | None = None  # when it was last seen to change, on this machine's own clock
        self._episodes = Growing(("cell", "status", "counts", "wall_s"))
        self._statuses: dict[str, dict[str, int]] = {}
        self._by_agent: dict[str, dict[str, int]] = {}
        self._wall_s = 0.0
        self._costs = Costs()
        self._spent = Spent(money=None)  # what cannot be read is not known
        self._sent: Any = None  # the calls and costs that `_spent` was made of
        self._rest = 0.0  # on this machine's own clock: until when calls are not added up again
        self._why = ""

    def look(self) -> Progress:
        """How far it is now. Never raises for what is in the folder: that is the state "damaged"."""
        people = self.study is not None and self.study.people is not None
        stamp = whole_stamp(self.folder) if people else stamp_of(self.folder)  # answers of people are calls
        if stamp != self._seen:
            self._moved, self._seen = None if self._seen is None else time.monotonic(), stamp
        if stamp != self._stamp:
            self._why, again = self._tried()
            self._stamp = None if again else stamp
        if not self._why:
            self._count_calls()
        void = sum(s.get("void", 0) for s in self._statuses.values())
        episodes = sum(k for s in self._statuses.values() for k in s.values()) - void
        state: State
        if self._why:
            state = "damaged"
        elif episodes >= self._planned and not self._missing:
            state = "done"
        else:
            state = "going" if self._written() else "open"
        cells = {name: dict(found) for name, found in self._statuses.items()}
        return Progress(
            state, episodes, self._planned, void, changed_of(stamp), self._costs, self._spent, cells, self._why
        )

    def _written(self) -> bool:
        """Whether somebody plays it. Of another machine only what is seen here counts: that it changes."""
        match writer_of(self.folder):
            case "here":
                return True
            case "elsewhere":
                return self._moved is not None and time.monotonic() - self._moved < PATIENCE_S
        return False

    def _tried(self) -> tuple[str, bool]:
        """("" or why it cannot be read, whether that may be over without a change: a busy file, too many open ones)."""
        try:
            self._read()
            return "", False
        except Exception as error:  # whatever stands in a folder that others made
            self._episodes.forget()
            passing = isinstance(error, (OSError, RunError))
            return str(error) or type(error).__name__, passing

    def _read(self) -> None:
        run = RunFolder.open(self.folder)
        if self.study is None or run.study_digest != self._digest:  # the first look, or another run in this place
            run.close()
            run, self.study = load_run(self.folder)
            self._planned, self._digest = self.study.planned, run.study_digest
            self._episodes.forget()
        with run:
            self.cells = {c.name: c for c in run.cells()}
            self.sources = run.sources()
            anew, rows = self._episodes.read(run)
            self._missing = _missing(run, self.study)
        if anew:
            self._statuses, self._by_agent, self._wall_s = {}, {}, 0.0
            self._sent = None  # calls of another run, though they were added up a moment ago
        for _, cell, status, counts, wall_s, *_ in rows:
            self._add(cell, status, counts, wall_s)
        spent = {agent: dict(found) for agent, found in self._by_agent.items()}  # others may be reading the last ones
        self._costs = costs_of(spent, self._wall_s, self.study, self._identity())

    def _count_calls(self) -> None:
        """Bring what was spent up to date; seldom where there is much to add up. A run without models has nothing to read."""
        asks = bool(self.sources and self.sources[-1].get("models")) or self._costs.calls
        now = (stamp_of(self.folder, CALLS) if asks else (), self._costs)
        envs = {cell.env_id for cell in self.cells.values()}
        began = time.monotonic()
        if now == self._sent or (self._sent is not None and began < self._rest):
            return
        try:
            self._spent = spent_of(cassette_file(self.folder), self._costs, self._identity(), envs)
        except (CrossplayError, OSError, sqlite3.Error):  # damaged, or being written: what is known of ended episodes
            self._spent = spent_of(None, self._costs, self._identity(), envs)
        self._sent = now
        self._rest = time.monotonic() + 20 * (time.monotonic() - began)

    def _add(self, name: str, status: str, counts: str, wall_s: float) -> None:
        cell = self.cells.get(name)
        if cell is None:
            raise Damaged(f"{self.folder}/manifest.sqlite is damaged: an episode of no cell, {name[:80]!r}")
        ended = self._statuses.setdefault(name, {})
        ended[status] = ended.get(status, 0) + 1
        self._wall_s += wall_s  # void episodes were paid for as well
        for seat, found in _counts.decode(counts).items():
            mine = self._by_agent.setdefault(cell.agents.get(seat, seat), {})
            for what, k in found.items():
                mine[what] = mine.get(what, 0) + k

    def _identity(self) -> dict[str, Any]:
        """Agents and models of all sources together."""
        return {part: of_all(self.sources, part) for part in ("agents", "models")}


def _missing(run: RunFolder, study: Study) -> int:
    """How many sessions a study with people still lacks: who left before the end has played episodes as well."""
    if study.people is None:
        return 0
    complete = sum(session.status == "complete" for session in opened(run, study))
    return max(0, study.people.participants - complete)
