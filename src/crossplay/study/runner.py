"""The runner: plays the cells of a study and writes each finished episode, by one interface.

In process (columns or batches), several processes, or Ray: a `Pool` takes chunks of fast episodes
and gives records back; seats that wait for models or people are played here, on asyncio. One
writer per run. Digests do not depend on which of them played.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import tomllib
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from crossplay.agents.facets import described
from crossplay.kernel import Block, CrossplayError, Episode, aio, play
from crossplay.records import Cell as StoredCell
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.study.chunks import ATTEMPTS, PIECE, WIDTH, Chunk, record_of, waits, wide
from crossplay.study.people import people_of
from crossplay.study.pools import Inline, Pool, open_pool
from crossplay.study.sessions import opened, worlds_of_all
from crossplay.study.spec import Cell, parse_study
from crossplay.study.stage import Stage

__all__ = ["identity", "open_run", "run_study", "stored_cell"]


class Waiting(NamedTuple):
    """An episode whose seats wait for something outside."""

    cell: Cell
    at: Block
    attempt: int = 0


def _once_more(attempt: int) -> bool:
    """Whether a block whose attempt was void is played again in this sitting."""
    return (attempt + 1) % ATTEMPTS != 0


def run_study(
    stage: Stage,
    folder: Path,
    *,
    runner: str = "inline",
    jobs: int = 1,
    on_episode: Callable[[EpisodeRecord], None] | None = None,
    on_start: Callable[[int, int], None] | None = None,
) -> dict[str, int]:
    """Play what is missing of a study into a run folder; returns the numbers of episodes by status.

    runner: "inline", "processes" or "ray". on_start(done, total) and on_episode(record) are for
    progress. Resumes when the folder holds the same study; refuses it when it holds another.
    Raises Stop (budget spent, endpoint gone) with everything finished so far kept.
    """
    stage.record_in(folder)
    run = open_run(stage, folder)
    try:
        return asyncio.run(_run(stage, run, runner, jobs, on_episode, on_start))
    finally:
        run.close()


def open_run(stage: Stage, folder: Path) -> RunFolder:
    """The run folder of a study, open for writing: a new one, or the one that holds the same study."""
    toml = stage.study.toml()
    if RunFolder.begun(folder):
        run = RunFolder.open(folder, write=True, identity=identity(stage))
        if run.study_digest != stage.study.digest() and not _other_limits(stage, run):
            run.close()
            raise CrossplayError(
                f"{folder}: holds another study (or the same one, changed); name a new folder with --out, or merge runs later"
            )
    else:
        run = RunFolder.create(folder, toml, identity(stage))
    run.add_cells(stored_cell(stage, cell) for cell in stage.cells)
    return run


def _other_limits(stage: Stage, run: RunFolder) -> bool:
    """Whether the run's study differs in its budget alone. Then the run keeps its study, and this sitting its limits."""
    began = parse_study(tomllib.loads(run.studies()[run.study_digest]))
    same = msgspec.structs.replace(stage.study, budget=began.budget)
    if same.digest() != run.study_digest:
        return False
    stage.study = same
    return True


def stored_cell(stage: Stage, cell: Cell) -> StoredCell:
    """What a run keeps of a cell."""
    env = stage.probes[cell.env]
    extra = {
        "env": cell.env,
        "seats": list(env.seats),
        "group": cell.group,
        "role": cell.role,
        "mail": cell.mail,
        "shared_memory": cell.shared_memory,
        "metrics": dict(env.metrics),
        "seat_metrics": {name: dict(of) for name, of in env.seat_metrics.items()},
        "paired": env.paired,
    }
    return StoredCell(cell.key, env.id, cell.name, dict(zip(env.seats, cell.seats, strict=True)), extra)


def identity(stage: Stage) -> dict[str, Any]:
    """What a run stores of its agents and environments beside machine, lock and code."""
    return {
        "agents": {
            name: described(stage.agent(name).manifest(), stage.agent(name))
            for name in sorted({a for c in stage.cells for a in c.seats})
        },
        "environments": {label: env.id for label, env in stage.probes.items()},
        "models": {name: _model(stage, name) for name in stage.models()},
        "trust": stage.trust,
    }


def _model(stage: Stage, name: str) -> dict[str, Any]:
    """A model's identity, what it may be asked for, and what it costs: under which name the price table
    knows it, or its own price.
    """
    model = stage.door.model(name)
    given = getattr(model.backend, "price", None)
    return {
        **model.identity(),
        "capabilities": msgspec.to_builtins(model.capabilities),
        "priced": model.backend.priced,
        "price": msgspec.to_builtins(given) if given else None,
    }


async def _run(
    stage: Stage,
    run: Any,
    runner: str,
    jobs: int,
    on_episode: Callable[[EpisodeRecord], None] | None,
    on_start: Callable[[int, int], None] | None,
) -> dict[str, int]:
    done, tried = run.done(), run.attempts()
    cells = stage.cells
    if stage.study.people is not None:  # cells with participants are played in their sessions, at the page
        rest = [c for c in cells if not people_of(stage.study, c)]
        cells = worlds_of_all(stage.study, rest, opened(run, stage.study))
    fast, slow, total = _work(stage, done, tried, [c for c in cells if not _measured(stage, c)])
    # What is sized by what the others spent plays when they have played.
    last_fast, last, more = _work(stage, done, tried, [c for c in cells if _measured(stage, c)])
    assert not last_fast, "a control that is sized by a run waits for it"
    total += more
    if on_start is not None:
        on_start(total - sum(len(c.ats) for c in fast) - len(slow) - len(last), total)
    counts: dict[str, int] = {}

    def finished(records: Iterable[EpisodeRecord]) -> list[EpisodeRecord]:
        """Commit, then report; void episodes are handed back to be played again."""
        records = list(records)
        run.put_many(records)
        again = []
        for record in records:
            counts[record.status.partition(":")[0]] = counts.get(record.status.partition(":")[0], 0) + 1
            if record.status == "void":
                again.append(record)
            elif on_episode is not None:
                on_episode(record)
        return again

    models = stage.models() if slow or last else []
    if models:
        await stage.door.ready(models)  # before anything is played: a model that is down is heard at once
    pool = open_pool(stage, runner, jobs)
    try:
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(_play_fast(pool, fast, finished))
            if isinstance(pool, Inline):
                # In one process the two would wait for each other's turn of the interpreter, at every tick.
                await playing
            if slow:
                group.create_task(_play_slow(stage, slow, finished))
        if last:
            async with asyncio.TaskGroup() as group:
                group.create_task(_play_slow(stage, last, finished))
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    finally:
        pool.close()
        # The cassette is closed before the run, so that the run notes its seal.
        with contextlib.suppress(Exception):
            await stage.aclose()
    return counts


def _measured(stage: Stage, cell: Cell) -> bool:
    """Whether an agent of a cell is sized by what others spent in this run."""
    return any(getattr(stage.agent(a), "after", False) for a in cell.seats)


def _work(
    stage: Stage, done: Container[Any], tried: Mapping[Any, int], cells: Sequence[Cell]
) -> tuple[list[Chunk], list[Waiting], int]:
    """(chunks, waiting episodes, how many there are in all) of what is left of the cells."""
    fast: list[Chunk] = []
    slow: list[Waiting] = []
    total = 0
    for cell in cells:
        ats = [Block(stage.study.root, b, r) for b in cell.blocks for r in range(stage.study.replicates)]
        total += len(ats)
        left: dict[int, list[Block]] = {}  # by attempt: void episodes of an earlier sitting stay, and are counted
        for at in ats:
            if (place := (cell.key, at.block, at.replicate)) not in done:
                left.setdefault(tried.get(place, 0), []).append(at)
        if waits(stage, cell):
            slow += [Waiting(cell, at, attempt) for attempt, some in left.items() for at in some]
            continue
        width = WIDTH if wide(stage, cell) else min(PIECE, WIDTH)
        for attempt, some in left.items():
            fast += [Chunk(cell.key, tuple(some[i : i + width]), attempt) for i in range(0, len(some), width)]
    return fast, slow, total


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that says most: one of ours before any other."""
    flat: list[BaseException] = []
    stack: list[BaseException] = [errors]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack += error.exceptions
        else:
            flat.append(error)
    return next((e for e in flat if isinstance(e, CrossplayError)), flat[0])


async def _play_fast(
    pool: Pool, chunks: Sequence[Chunk], finished: Callable[[Iterable[EpisodeRecord]], list[EpisodeRecord]]
) -> None:
    """Chunks, as many at a time as the pool takes. When cancelled (Ctrl-C, a spent budget), what had finished is kept."""
    queue = list(reversed(chunks))
    asked: dict[asyncio.Future[list[EpisodeRecord]], Chunk] = {}

    def take(done: Iterable[asyncio.Future[list[EpisodeRecord]]]) -> BaseException | None:
        """Write the records of all chunks that are played; the first error among the others."""
        failed: BaseException | None = None
        for future in done:
            chunk = asked.pop(future)
            if future.cancelled() or future.exception() is not None:
                failed = failed or (None if future.cancelled() else future.exception())
                continue
            again = finished(future.result())
            if again and _once_more(chunk.attempt):
                ats = tuple(Block(r.root, r.block, r.replicate) for r in again)
                queue.append(Chunk(chunk.cell, ats, chunk.attempt + 1))
        return failed

    try:
        while queue or asked:
            while queue and len(asked) < pool.ahead * pool.size:
                chunk = queue.pop()
                asked[pool.submit(chunk)] = chunk
                await asyncio.sleep(0)
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            failed = take(done)
            if failed is not None:
                raise failed
    except BaseException:
        pool.stop()
        if asked:
            done, _ = await asyncio.wait(asked)
            take(done)
        raise


async def _play_slow(
    stage: Stage, work: Sequence[Waiting], finished: Callable[[Iterable[EpisodeRecord]], list[EpisodeRecord]]
) -> None:
    """Episodes that wait, `concurrency` at a time; each is written when it ends."""
    source = iter(work)

    async def worker() -> None:
        for cell, at, attempt in source:
            while True:
                env = stage.env(cell.env)
                began = time.perf_counter()
                episode: Episode = play(env, stage.lineup(cell), at, stage.conduct(cell))
                outcome = await aio(episode)
                record = record_of(stage, cell, at, outcome, attempt, time.perf_counter() - began)
                env.close()
                if not (finished([record]) and _once_more(attempt)):
                    break
                attempt += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(stage.study.concurrency):
            group.create_task(worker())
