"""Steps of environments through env verbs: over the wire, in this interpreter, and the bare array environment.

    python -m benchmarks.env_verbs

Interleaved rounds, median and range of steps of the environment per second (rows x ticks, random actions, all seats).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from crossplay_worker import envs

from crossplay.jobs.envserver import here
from crossplay.kernel import key, make_batch

ROUNDS, SECONDS = 7, 0.6


def bare(name: str, rows: int) -> Callable[[], None]:
    batch = make_batch(name, rows)
    batch.reset(range(rows), [key(r) for r in range(rows)])
    chance = np.random.default_rng(0)

    def step() -> None:
        ended = batch.step(chance.integers(0, len(batch.action_spec.names), (rows, len(batch.seats))))[1]
        for seat in range(len(batch.seats)):
            batch.obs_array(seat)
        if ended.any():
            over = np.flatnonzero(ended)
            batch.reset(over, [key(r) for r in over.tolist()])

    return step


def tracks(name: str, rows: int, line: object) -> Callable[[], None]:
    found = envs.Tracks(envs.make(name, rows=rows, crossplay=line))
    found.reset()
    chance = np.random.default_rng(0)
    return lambda: found.step(chance.integers(0, len(found.spec["names"]), found.K)) and None


def rate(step: Callable[[], None], rows: int) -> float:
    began, n = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        step()
        n += rows
    return n / (time.perf_counter() - began)


if __name__ == "__main__":
    line = envs.start([sys.executable, "-m", "crossplay"])
    for name in ("spread", "kitchen/cramped_room"):
        for rows in (1, 16, 64, 512):
            ways = {"bare": bare(name, rows), "here": tracks(name, rows, here()), "wire": tracks(name, rows, line)}
            found: dict[str, list[float]] = {way: [] for way in ways}
            for step in ways.values():
                step()
            for _ in range(ROUNDS):
                for way, step in ways.items():
                    found[way].append(rate(step, rows))
            told = [f"{w} {statistics.median(v):,.0f} ({min(v):,.0f} to {max(v):,.0f})" for w, v in found.items()]
            print(f"{name}, {rows} rows: " + "; ".join(told), flush=True)
    line.close()
