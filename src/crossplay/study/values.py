"""What tables read of a run: each lineup's values by block, its worlds and its counters; in one pass, without records.

Rows come from the manifest as they are stored, so many at a time; of each stays a number, its block and the digest of its
world. Texts that repeat (scores of small worlds, counters of scripts) are read once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
import numpy as np

from crossplay.records.entry import Cell
from crossplay.records.errors import Damaged
from crossplay.study.spec import Study

__all__ = ["Column", "Played", "Values", "metric_of", "metrics_of", "named_metric", "read_values", "scored", "together"]

STORED = ("cell", "block", "status", "score", "totals", "world", "counts", "wall_s")
TOGETHER = 4096
"""Rows that are read at a time, and texts that are remembered."""

_scores = msgspec.json.Decoder(dict[str, float | None])
_totals = msgspec.json.Decoder(list[float | None])
_counts = msgspec.json.Decoder(dict[str, dict[str, int]])


# -- the metric ----------------------------------------------------------------------------------------------
def named_metric(run: Any, study: Study) -> tuple[str, str]:
    """The metric's name and its one-line description."""
    described = metrics_of(run)
    metric = study.metric or next(iter(described))
    return metric, described.get(metric, "")


def metrics_of(run: Any) -> dict[str, str]:
    """Every metric that the episodes of a run have, with its one-line description."""
    described: dict[str, str] = {"reward": "sum of the rewards of the agent named first"}
    for cell in run.cells():
        for name in cell.extra.get("seat_metrics", {}):
            described[name] = f"{name.replace('_', ' ')} of the agent that the lineup names first, in whichever seat"
        described.update(cell.extra.get("metrics", {}))
    return described


def metric_of(run: Any, study: Study) -> Callable[[Any], float | None]:
    """The metric of a record of that run: of the agent that its lineup names first, where seats earn apart."""
    metric, _ = named_metric(run, study)
    ways = {c.name: _way(c, metric, _named(c, study)) for c in run.cells()}

    def value(record: Any) -> float | None:
        if record.status == "env-fault":  # what a broken world paid is no score
            return None
        found, _ = ways[record.cell].value(record.score, lambda: record.totals)
        return found

    return value


class _Way(NamedTuple):
    """How a seat's value is read of an episode. score: name of the score; seat: whose total stands in its place, if any."""

    score: str | None
    seat: int | None

    def value(
        self, score: Mapping[str, float | None], totals: Callable[[], Sequence[float | None]]
    ) -> tuple[float | None, bool]:
        """(the value or None, whether what is stored is no finite number)."""
        if self.score is not None and self.score in score:
            found = score[self.score]
        elif self.seat is not None:
            found = totals()[self.seat]
        else:
            return None, False
        return (found, False) if found is not None and math.isfinite(found) else (None, True)


def _way(cell: Cell, metric: str, seat: int) -> _Way:
    own = cell.extra.get("seat_metrics", {}).get(metric)
    if own:
        return _Way(own.get(_seats(cell)[seat]), None)
    return _Way(metric, seat if metric == "reward" else None)


def _seats(cell: Cell) -> tuple[str, ...]:
    """Names of the seats in seat order (stored tables come back with sorted keys)."""
    return tuple(cell.extra.get("seats", cell.agents))


def _named(cell: Cell, study: Study) -> int:
    """The seat of the agent that the lineup names first."""
    agents = [cell.agents[s] for s in _seats(cell)]
    spec = study.lineups.get(cell.extra["group"])
    return agents.index(spec.seats[0]) if spec is not None and spec.seats[0] in agents else 0


def scored(run: Any, study: Study, metric: str, cells: Collection[str]) -> Iterator[tuple[str, str, float]]:
    """(cell, episode in hex, value) of the episodes of these cells that have one, in the order of their commits."""
    ways = {c.name: _way(c, metric, _named(c, study)) for c in run.cells() if c.name in cells}
    last = 0
    while rows := run.stored(("episode", "cell", "status", "score", "totals"), last, TOGETHER):
        for seq, episode, cell, status, score, totals in rows:
            last = seq
            if cell not in ways or status in ("void", "env-fault"):
                continue
            try:
                value, _ = ways[cell].value(_scores.decode(score), partial(_totals.decode, totals))
            except (msgspec.DecodeError, TypeError, IndexError) as error:
                raise Damaged(f"{run.path}/manifest.sqlite is damaged: episode {episode}: {error}") from None
            if value is not None:
                yield cell, episode, value


# -- the episodes --------------------------------------------------------------------------------------------
class Column:
    """The episodes of one cell (an environment and who sits where) in the order of their commits, void ones apart.

    blocks, values, firsts, worlds: of those that have a score: its block, the metric of the agent that the lineup names
    first, that of the first seat (NaN: none), the digest of its world. met: blocks of all of them, where people play.
    began: number of the commit of the first episode with a value. odd: how many scores are no finite number.
    """

    def __init__(self, cell: Cell, study: Study, metric: str, played: Played) -> None:
        self.env, self.group, self.lineup = cell.extra["env"], cell.extra["group"], cell.lineup
        self.seats = _seats(cell)
        self.agents = tuple(cell.agents[s] for s in self.seats)
        self.played = played
        self.ways = (_way(cell, metric, _named(cell, study)), _way(cell, metric, 0))
        self.blocks: list[int | str] = []
        self.values: list[float] = []
        self.firsts: list[float] = []
        self.worlds: list[bytes] = []
        self.met: list[int | str] | None = [] if study.people is not None else None
        self.began = 0
        self._read: dict[tuple[str, str], tuple[float, float, bool]] = {}

    def add(self, seq: int, block: int | str, status: str, score: str, totals: str, world: str) -> None:
        """Take an episode in. Raises what reading it raises."""
        if self.met is not None:
            self.met.append(block)
        if status == "env-fault":
            return
        text = (score, totals if self.ways[0].seat is not None else "")
        if (found := self._read.get(text)) is None:
            if len(self._read) >= TOGETHER:
                self._read.clear()
            found = self._read[text] = self._numbers(score, totals)
        value, first, odd = found
        self.played.odd += odd
        if value == value or first == first:
            self.began = self.began or seq
            self.blocks.append(block)
            self.values.append(value)
            self.firsts.append(first)
            self.worlds.append(bytes.fromhex(world))

    def _numbers(self, score: str, totals: str) -> tuple[float, float, bool]:
        scores = _scores.decode(score)
        (value, odd), (first, _) = (way.value(scores, lambda: _totals.decode(totals)) for way in self.ways)
        return math.nan if value is None else value, math.nan if first is None else first, odd


class Played:
    """The episodes of one lineup of one environment. statuses: how many ended in which way; by_agent: their counters."""

    def __init__(self) -> None:
        self.columns: list[Column] = []
        self.statuses: dict[str, int] = {}
        self.wall_s = 0.0
        self.odd = 0
        self.by_agent: dict[str, dict[str, int]] = {}
        self._texts: dict[tuple[Column, str], int] = {}

    @property
    def episodes(self) -> int:
        """How many there are, with those that have no score."""
        return sum(self.statuses.values())

    def add(self, column: Column, status: str, counts: str, wall_s: float) -> None:
        """Count an episode in."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.wall_s += wall_s
        text = (column, counts)
        self._texts[text] = self._texts.get(text, 0) + 1
        if len(self._texts) >= TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Add the counters that were only collected so far."""
        for (column, text), times in self._texts.items():
            found = _counts.decode(text)
            for seat, agent in zip(column.seats, column.agents, strict=True):
                mine = self.by_agent.setdefault(agent, {})
                for name, k in found.get(seat, {}).items():
                    mine[name] = mine.get(name, 0) + k * times
        self._texts.clear()


class Values:
    """A run as tables need it. episodes: how many, void ones apart; columns: in the order of their first episodes."""

    def __init__(self) -> None:
        self.episodes = 0
        self.columns: list[Column] = []
        self.played: dict[tuple[str, str], Played] = {}

    def met(self) -> Iterator[tuple[str, int | str]]:
        """(lineup, block) of every episode, where people play."""
        for column in self.columns:
            for block in column.met or ():
                yield column.group, block


def read_values(run: Any, study: Study, metric: str) -> Values:
    """All episodes of an open run by this metric. Raises Damaged where they cannot be read."""
    cells = {c.name: c for c in run.cells()}
    found, columns, last = Values(), dict[str, Column](), 0
    while rows := run.stored(STORED, last, TOGETHER):
        for seq, name, block, status, score, totals, world, counts, wall_s in rows:
            last = seq
            if status == "void":
                continue
            try:
                column = columns.get(name)
                if column is None:
                    cell = cells[name]
                    played = found.played.setdefault((cell.extra["env"], cell.extra["group"]), Played())
                    column = columns[name] = Column(cell, study, metric, played)
                    played.columns.append(column)
                column.add(seq, block, status, score, totals, world)
                column.played.add(column, status, counts, wall_s)
            except (msgspec.DecodeError, TypeError, ValueError, KeyError, IndexError) as error:
                why = f"of no cell, {name!r}" if name not in cells else str(error)
                raise Damaged(f"{run.path}/manifest.sqlite is damaged: episode {seq}: {why}") from None
            found.episodes += 1
    try:
        for played in found.played.values():
            played.settle()
    except (msgspec.DecodeError, TypeError) as error:
        raise Damaged(f"{run.path}/manifest.sqlite is damaged: counters of an episode: {error}") from None
    found.columns = sorted(columns.values(), key=lambda c: c.began)
    return found


def together(columns: Sequence[Column], first: bool = False) -> tuple[np.ndarray, Sequence[int | str], list[bytes]]:
    """(values, blocks, worlds) of the episodes of columns that have a value. first: that of the first seat instead."""
    values = np.array([v for c in columns for v in (c.firsts if first else c.values)], dtype=np.float64)
    blocks = [b for c in columns for b in c.blocks]
    worlds = [w for c in columns for w in c.worlds]
    there = ~np.isnan(values)
    if not there.all():
        keep = np.flatnonzero(there).tolist()
        values, blocks, worlds = values[there], [blocks[i] for i in keep], [worlds[i] for i in keep]
    return values, blocks, worlds
