"""Chunks: some blocks of one cell, played here and now; what every pool and the verifier share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from crossplay.kernel import Block, Outcome, batch, columns, play
from crossplay.kernel.drivers import mode
from crossplay.records import EpisodeRecord
from crossplay.study.spec import Cell
from crossplay.study.stage import Stage

__all__ = ["ATTEMPTS", "PIECE", "WIDTH", "Chunk", "play_chunk", "play_until", "record_of", "waits", "wide"]

ATTEMPTS = 3  # plays of a block whose episode was void, before a sitting gives up on it
WIDTH = 64  # episodes of a chunk whose agents answer for many at once
PIECE = 8  # episodes of a chunk that are played one after the other


class Chunk(NamedTuple):
    """Some blocks of one cell, the unit of work."""

    cell: str
    ats: tuple[Block, ...]
    attempt: int = 0


def waits(stage: Stage, cell: Cell) -> bool:
    """Whether a cell waits for something outside (models, people, a clock) and runs on asyncio."""
    if stage.study.environments[cell.env].clock != "wait":
        return True
    agents = [stage.agent(a) for a in cell.seats]
    asked = [a for a in agents if mode(a) == "async" or a.kind == "human"]
    if asked and not cell.shared_memory and all(hasattr(a, "act_array") for a in asked):
        return stage.batch(cell.env, 1) is None  # whole columns are asked for at once: nobody waits in between
    return bool(asked)


def wide(stage: Stage, cell: Cell) -> bool:
    """Whether any agent of a cell gains from episodes that are played side by side."""
    return any(hasattr(stage.agent(a), verb) for a in cell.seats for verb in ("act_array", "act_batch"))


def play_chunk(stage: Stage, chunk: Chunk) -> Iterator[EpisodeRecord]:
    """The records of a chunk of fast episodes, as they end."""
    cell = next(c for c in stage.cells if c.key == chunk.cell)
    lineup, conduct = stage.lineup(cell), stage.conduct(cell)
    began = time.perf_counter()
    arrays = None
    if not cell.shared_memory and any(hasattr(a, "act_array") for a in lineup.seats.values()):
        arrays = stage.batch(cell.env, min(WIDTH, len(chunk.ats)))
    if arrays is not None:
        for n, (at, outcome) in enumerate(columns(arrays, lineup, chunk.ats, conduct), 1):
            yield record_of(stage, cell, at, outcome, chunk.attempt, (time.perf_counter() - began) / n)
        return
    episodes = (play(stage.env(cell.env), lineup, at, conduct) for at in chunk.ats)
    for n, (episode, outcome) in enumerate(batch(episodes, WIDTH if wide(stage, cell) else 1), 1):
        yield record_of(stage, cell, episode.at, outcome, chunk.attempt, (time.perf_counter() - began) / n)
        episode.env.close()


def record_of(stage: Stage, cell: Cell, at: Block, outcome: Outcome, attempt: int, wall: float) -> EpisodeRecord:
    """The record of an outcome. wall: seconds it took."""
    env = stage.probes[cell.env]
    return EpisodeRecord.of(
        outcome,
        study=stage.study.digest(),
        cell=cell.key,
        env_id=env.id,
        lineup=cell.name,
        at=at,
        attempt=attempt,
        agents=dict(zip(env.seats, cell.seats, strict=True)),
        wall_s=wall,
        extra={"paired": env.paired},
    )


def play_until(stopped: Callable[[], bool], stage: Stage, chunk: Chunk) -> list[EpisodeRecord]:
    """The records of a chunk up to where it was stopped."""
    records = []
    for record in play_chunk(stage, chunk):
        records.append(record)
        if stopped():
            break
    return records
