"""How far a run is and what it has spent so far, kept up by reading what is new alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.records import RunFolder
from crossplay.records.entry import Cell
from crossplay.records.errors import Damaged
from crossplay.records.lock import written_now
from crossplay.study.spec import Study
from crossplay.study.tables import Costs, costs_of
from crossplay.study.verify import load_run

__all__ = ["Progress", "State", "Watch", "stamp_of"]

State = Literal["done", "open", "going", "damaged"]
"""All planned episodes are in; some are not, and nobody plays; somebody plays; it cannot be read."""
FILES = ("manifest.sqlite", "manifest.sqlite-wal")

_counts = msgspec.json.Decoder(dict[str, dict[str, int]])
Stamp = tuple[tuple[int, int], ...]


def stamp_of(folder: Path) -> Stamp:
    """Size and time of the files of the manifest: differs whenever the run has changed."""
    found = []
    for name in FILES:
        try:
            stat = (folder / name).stat()
            found.append((stat.st_size, stat.st_mtime_ns))
        except OSError:
            found.append((0, 0))
    return tuple(found)


class Progress(msgspec.Struct):
    """A run so far. episodes: finished ones, void ones apart. changed: seconds since 1970.

    cells: name -> how many of its episodes ended in which way. why: of a damaged run, what is wrong with it.
    """

    state: State
    episodes: int
    planned: int
    void: int
    changed: float
    costs: Costs
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
        self._last = 0
        self._statuses: dict[str, dict[str, int]] = {}
        self._by_agent: dict[str, dict[str, int]] = {}
        self._wall_s = 0.0
        self._costs = Costs()
        self._why = ""

    def look(self) -> Progress:
        """How far it is now. Never raises for what is in the folder: that is the state "damaged"."""
        stamp = stamp_of(self.folder)
        if stamp != self._stamp:
            try:
                self._read()
                self._why = ""
            except (CrossplayError, msgspec.MsgspecError, ValueError, TypeError, KeyError, OSError) as error:
                self._why = str(error)
            self._stamp = stamp
        void = sum(s.get("void", 0) for s in self._statuses.values())
        episodes = sum(k for s in self._statuses.values() for k in s.values()) - void
        planned = self.study.planned if self.study is not None else 0
        state: State
        if self._why:
            state = "damaged"
        elif episodes >= planned:
            state = "done"
        else:
            state = "going" if written_now(self.folder) else "open"
        changed = max(t for _, t in stamp) / 1e9
        cells = {name: dict(found) for name, found in self._statuses.items()}
        return Progress(state, episodes, planned, void, changed, self._costs, cells, self._why)

    def _read(self) -> None:
        run = RunFolder.open(self.folder)
        if self.study is None or run.study_digest != self._digest:  # the first look, or another run in this place
            run.close()
            run, self.study = load_run(self.folder)
            self._digest, self._last, self._wall_s = run.study_digest, 0, 0.0
            self._statuses, self._by_agent = {}, {}
        with run:
            self.cells = {c.name: c for c in run.cells()}
            self.sources = run.sources()
            for seq, cell, status, counts, wall_s in run.stored(("cell", "status", "counts", "wall_s"), self._last):
                self._add(cell, status, counts, wall_s)
                self._last = seq
        self._costs = costs_of(self._by_agent, self._wall_s, self.study, self._identity())

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
        agents: dict[str, Any] = {}
        models: dict[str, Any] = {}
        for source in self.sources:
            agents.update(source.get("agents", {}))
            models.update(source.get("models", {}))
        return {"agents": agents, "models": models}
