"""Pools: where chunks of fast episodes are played. In process, in worker processes, or on Ray."""

from __future__ import annotations

import asyncio
import threading
import tomllib
from collections.abc import Callable
from typing import Any, Protocol

from crossplay.kernel import CrossplayError
from crossplay.records import EpisodeRecord
from crossplay.study.chunks import ATTEMPTS, Chunk, play_until
from crossplay.study.spec import Study, parse_study
from crossplay.study.stage import Stage

__all__ = ["Inline", "Pool", "open_pool"]


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


class Inline:
    """Plays chunks here, one after the other, in a thread: Ctrl-C and commits are not kept waiting."""

    size = 1
    ahead = 1

    def __init__(self, stage: Stage) -> None:
        self._stage, self._stopped = stage, threading.Event()

    def submit(self, chunk: Chunk) -> asyncio.Future[list[EpisodeRecord]]:
        """Play the chunk beside the event loop."""
        return asyncio.ensure_future(asyncio.to_thread(play_until, self._stopped.is_set, self._stage, chunk))

    def stop(self) -> None:
        """The thread ends after its episode."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing to free."""


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
    return play_until(_stopped, _worker, chunk)


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


def open_pool(stage: Stage, runner: str, jobs: int) -> Pool:
    """The pool of that name: "inline", "processes" (also inline with jobs > 1) or "ray"."""
    if jobs < 1:
        raise CrossplayError(f"jobs = {jobs}: at least 1")
    if runner == "processes" or (runner == "inline" and jobs > 1):
        return Processes(stage.study, jobs, stage.trust)
    if runner == "ray":
        return Ray(stage.study, jobs, stage.trust)
    if runner != "inline":
        raise CrossplayError(f'runner: "{runner}" is not inline, processes or ray')
    return Inline(stage)
