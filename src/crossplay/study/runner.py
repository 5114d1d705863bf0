"""The runner: plays the cells of a study and writes each finished episode, by one interface.

In process (columns or batches), several processes, or Ray: a `Pool` takes chunks of fast episodes
and gives records back; seats that wait for models or people are played here, on asyncio. One
writer per run. Digests do not depend on which of them played.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from crossplay.kernel import Block, CrossplayError, Episode, Outcome, aio, batch, columns, play
from crossplay.kernel.drivers import mode
from crossplay.records import Cell as StoredCell
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.study.spec import Cell, Study, parse_study
from crossplay.study.stage import Stage

__all__ = ["ATTEMPTS", "Chunk", "Pool", "open_run", "play_chunk", "run_study", "waits"]

ATTEMPTS = 3  # plays of a block whose episode was void, before a sitting gives up on it
WIDTH = 64  # episodes of a chunk whose agents answer for many at once
PIECE = 8  # episodes of a chunk that are played one after the other


class Chunk(NamedTuple):
    """Some blocks of one cell, the unit of work."""

    cell: str
    ats: tuple[Block, ...]
    attempt: int = 0


class Waiting(NamedTuple):
    """An episode whose seats wait for something outside."""

    cell: Cell
    at: Block
    attempt: int = 0


def _once_more(attempt: int) -> bool:
    """Whether a block whose attempt was void is played again in this sitting."""
    return (attempt + 1) % ATTEMPTS != 0


class Pool(Protocol):
    """Where chunks of fast episodes are played."""

    size: int
    ahead: int  # chunks in flight per worker

    def stop(self) -> None:
        """Let chunks in flight end after the episode they are at; their futures hold what is finished."""
        ...

    def submit(self, chunk: Chunk) -> asyncio.Future[list[EpisodeRecord]]:
        """Play a chunk; the future holds its records."""
        ...

    def close(self) -> None:
        """Free the workers."""
        ...


def waits(stage: Stage, cell: Cell) -> bool:
    """Whether a cell waits for something outside (models, people, a clock) and runs on asyncio."""
    if stage.study.environments[cell.env].clock != "wait":
        return True
    agents = [stage.agent(a) for a in cell.seats]
    return any(mode(a) == "async" or a.kind in ("human", "remote") for a in agents)


def _wide(stage: Stage, cell: Cell) -> bool:
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
            yield _record(stage, cell, at, outcome, chunk.attempt, (time.perf_counter() - began) / n)
        return
    episodes = (play(stage.env(cell.env), lineup, at, conduct) for at in chunk.ats)
    for n, (episode, outcome) in enumerate(batch(episodes, WIDTH if _wide(stage, cell) else 1), 1):
        yield _record(stage, cell, episode.at, outcome, chunk.attempt, (time.perf_counter() - began) / n)
        episode.env.close()


def _record(stage: Stage, cell: Cell, at: Block, outcome: Outcome, attempt: int, wall: float) -> EpisodeRecord:
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


class Inline:
    """Plays chunks here, one after the other, in a thread: Ctrl-C and commits are not kept waiting."""

    size = 1
    ahead = 1

    def __init__(self, stage: Stage) -> None:
        self._stage, self._stopped = stage, threading.Event()

    def submit(self, chunk: Chunk) -> asyncio.Future[list[EpisodeRecord]]:
        """Play the chunk beside the event loop."""
        return asyncio.ensure_future(asyncio.to_thread(_until, self._stopped.is_set, self._stage, chunk))

    def stop(self) -> None:
        """The thread ends after its episode."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing to free."""


def _until(stopped: Callable[[], bool], stage: Stage, chunk: Chunk) -> list[EpisodeRecord]:
    """The records of a chunk up to where it was stopped."""
    records = []
    for record in play_chunk(stage, chunk):
        records.append(record)
        if stopped():
            break
    return records


_worker: Stage | None = None
_stopped: Callable[[], bool] = bool  # False until a pool says otherwise


def _open_worker(toml: str, trust: bool) -> None:
    """In a worker process: build the stage from the resolved study."""
    global _worker
    _worker = Stage(parse_study(tomllib.loads(toml)), trust=trust)


def _open_process(toml: str, trust: bool, stopped: Any) -> None:
    """As _open_worker; Ctrl-C in a terminal reaches all its processes, and the parent says what to do."""
    import signal

    global _stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _stopped = stopped.is_set
    _open_worker(toml, trust)


def _work(chunk: Chunk) -> list[EpisodeRecord]:
    assert _worker is not None
    return _until(_stopped, _worker, chunk)


class Processes:
    """Plays chunks in worker processes; a worker that dies is replaced and its chunks are played again."""

    ahead = 2

    def __init__(self, study: Study, jobs: int, trust: bool) -> None:
        import multiprocessing

        self.size, self._toml, self._trust = jobs, study.toml(), trust
        self._context = multiprocessing.get_context("spawn")
        self._stopped = self._context.Event()
        self._pool = self._open()

    def _open(self) -> Any:
        from concurrent.futures import ProcessPoolExecutor

        given = (self._toml, self._trust, self._stopped)
        return ProcessPoolExecutor(self.size, self._context, _open_process, given)

    def stop(self) -> None:
        """Each worker ends after its episode."""
        self._stopped.set()

    def submit(self, chunk: Chunk) -> asyncio.Future[list[EpisodeRecord]]:
        """Queue the chunk."""
        return asyncio.ensure_future(self._play(chunk))

    async def _play(self, chunk: Chunk) -> list[EpisodeRecord]:
        from concurrent.futures.process import BrokenProcessPool

        for _ in range(ATTEMPTS):
            pool = self._pool
            try:
                return await asyncio.wrap_future(pool.submit(_work, chunk))
            except BrokenProcessPool:
                if pool is self._pool:
                    pool.shutdown(wait=False, cancel_futures=True)
                    self._pool = self._open()
        raise CrossplayError(
            f"{chunk.cell}: a worker process died {ATTEMPTS} times on these blocks: {chunk.ats[0]} and on"
        )

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Ray:
    """Plays chunks on actors of a Ray cluster (extra `ray`)."""

    ahead = 2

    def __init__(self, study: Study, jobs: int, trust: bool, address: str | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise CrossplayError("the Ray runner needs the extra `ray`: pip install 'crossplay[ray]'") from None
        self.size, self._ray, self._mine = jobs, ray, not ray.is_initialized()
        if self._mine:
            ray.init(
                address=address,
                num_cpus=None if address else jobs,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=40,
            )

        class Worker:
            def __init__(self, toml: str, trust: bool) -> None:
                _open_worker(toml, trust)

            def play(self, chunk: Chunk) -> list[EpisodeRecord]:
                return _work(Chunk(*chunk))

        remote: Any = ray.remote(num_cpus=1)(Worker)
        self._workers = [remote.remote(study.toml(), trust) for _ in range(jobs)]
        self._next = 0

    def submit(self, chunk: Chunk) -> asyncio.Future[list[EpisodeRecord]]:
        """Send the chunk to the next worker."""
        worker = self._workers[self._next % len(self._workers)]
        self._next += 1
        return asyncio.wrap_future(worker.play.remote(chunk).future())

    def stop(self) -> None:
        """Nothing to say: an actor hears nothing before its chunk is played."""

    def close(self) -> None:
        """Stop the cluster if it was started here."""
        if self._mine:
            self._ray.shutdown()


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
    if (folder / "manifest.sqlite").exists():
        run = RunFolder.open(folder, write=True, identity=identity(stage))
        if run.study_digest != stage.study.digest() and not _other_limits(stage, run):
            run.close()
            raise CrossplayError(
                f"{folder}: holds another study (or the same one, changed); name a new folder with --out, or merge runs later"
            )
    else:
        run = RunFolder.create(folder, toml, identity(stage))
    run.add_cells(_stored(stage, cell) for cell in stage.cells)
    return run


def _other_limits(stage: Stage, run: RunFolder) -> bool:
    """Whether the run's study differs in its budget alone. Then the run keeps its study, and this sitting its limits."""
    began = parse_study(tomllib.loads(run.studies()[run.study_digest]))
    same = msgspec.structs.replace(stage.study, budget=began.budget)
    if same.digest() != run.study_digest:
        return False
    stage.study = same
    return True


def _stored(stage: Stage, cell: Cell) -> StoredCell:
    env = stage.probes[cell.env]
    extra = {
        "env": cell.env,
        "seats": list(env.seats),
        "group": cell.group,
        "role": cell.role,
        "mail": cell.mail,
        "shared_memory": cell.shared_memory,
        "metrics": dict(env.metrics),
        "paired": env.paired,
    }
    return StoredCell(cell.key, env.id, cell.name, dict(zip(env.seats, cell.seats, strict=True)), extra)


def identity(stage: Stage) -> dict[str, Any]:
    """What a run stores of its agents and environments beside machine, lock and code."""
    return {
        "agents": {name: stage.agent(name).manifest() for name in sorted({a for c in stage.cells for a in c.seats})},
        "environments": {label: env.id for label, env in stage.probes.items()},
        "models": {name: _model(stage, name) for name in stage.models()},
        "trust": stage.trust,
    }


def _model(stage: Stage, name: str) -> dict[str, Any]:
    """A model's identity and what it costs: under which name the price table knows it, or its own price."""
    model = stage.door.model(name)
    given = getattr(model.backend, "price", None)
    return {**model.identity(), "priced": model.backend.priced, "price": msgspec.to_builtins(given) if given else None}


async def _run(
    stage: Stage,
    run: Any,
    runner: str,
    jobs: int,
    on_episode: Callable[[EpisodeRecord], None] | None,
    on_start: Callable[[int, int], None] | None,
) -> dict[str, int]:
    done, tried = run.done(), run.attempts()
    fast: list[Chunk] = []
    slow: list[Waiting] = []
    total = 0
    for cell in stage.cells:
        ats = [Block(stage.study.root, b, r) for b in cell.blocks for r in range(stage.study.replicates)]
        total += len(ats)
        left: dict[int, list[Block]] = {}  # by attempt: void episodes of an earlier sitting stay, and are counted
        for at in ats:
            if (place := (cell.key, at.block, at.replicate)) not in done:
                left.setdefault(tried.get(place, 0), []).append(at)
        if waits(stage, cell):
            slow += [Waiting(cell, at, attempt) for attempt, some in left.items() for at in some]
            continue
        width = WIDTH if _wide(stage, cell) else min(PIECE, WIDTH)
        for attempt, some in left.items():
            fast += [Chunk(cell.key, tuple(some[i : i + width]), attempt) for i in range(0, len(some), width)]
    if on_start is not None:
        on_start(total - sum(len(c.ats) for c in fast) - len(slow), total)
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

    pool = _pool(stage, runner, jobs)
    try:
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(_play_fast(pool, fast, finished))
            if isinstance(pool, Inline):
                # In one process the two would wait for each other's turn of the interpreter, at every tick.
                await playing
            if slow:
                group.create_task(_play_slow(stage, slow, finished))
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    finally:
        pool.close()
        # The cassette is closed before the run, so that the run notes its seal.
        with contextlib.suppress(Exception):
            await stage.aclose()
    return counts


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


def _pool(stage: Stage, runner: str, jobs: int) -> Pool:
    if jobs < 1:
        raise CrossplayError(f"jobs = {jobs}: at least 1")
    if runner == "processes" or (runner == "inline" and jobs > 1):
        return Processes(stage.study, jobs, stage.trust)
    if runner == "ray":
        return Ray(stage.study, jobs, stage.trust)
    if runner != "inline":
        raise CrossplayError(f'runner: "{runner}" is not inline, processes or ray')
    return Inline(stage)


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
    models = stage.models()
    if models:
        await stage.door.ready(models)
    source = iter(work)

    async def worker() -> None:
        for cell, at, attempt in source:
            while True:
                env = stage.env(cell.env)
                began = time.perf_counter()
                episode: Episode = play(env, stage.lineup(cell), at, stage.conduct(cell))
                outcome = await aio(episode)
                record = _record(stage, cell, at, outcome, attempt, time.perf_counter() - began)
                env.close()
                if not (finished([record]) and _once_more(attempt)):
                    break
                attempt += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(stage.study.concurrency):
            group.create_task(worker())
