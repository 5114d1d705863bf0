"""Helpers of the kitchen's tests: states as numbers, in the shapes that the reference driver prints."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossplay.envs.kitchen import KitchenBatch


def numbers(env: KitchenBatch, row: int) -> list[Any]:
    """[players, counters, pots] of a row: [x, y, facing, item], [x, y, item] sorted, [onions, 0, tick]."""
    f, k = env.f, env.kitchen
    players = [[*k.xy(int(f.pos[row, i])), int(f.facing[row, i]), int(f.held[row, i])] for i in (0, 1)]
    counters = sorted([*k.xy(c), int(v)] for c, v in enumerate(f.cell[row].tolist()) if v)
    pots = [[n, 0, t] for n, t in zip(f.pot[row].tolist(), f.tick[row].tolist(), strict=True)]
    return [players, counters, pots]


def load_state(env: KitchenBatch, row: int, state: list[Any]) -> None:
    """Write [players, counters, pots] into a row; the clock and the counts are left alone."""
    f, k = env.f, env.kitchen
    players, counters, pots = state
    for i, (x, y, facing, item) in enumerate(players):
        f.pos[row, i], f.facing[row, i], f.held[row, i] = k.cell((x, y)), facing, item
    f.cell[row] = 0
    for x, y, item in counters:
        f.cell[row, k.cell((x, y))] = item
    f.pot[row] = [p[0] for p in pots]
    f.tick[row] = [p[2] for p in pots]


def replay(layout: str, cooking: str, episode: list[list[int]]) -> list[list[Any]]:
    """The lines that the driver prints for one episode from the standard start, features apart."""
    env = KitchenBatch(1, layout, cooking=cooking, start="standard", horizon=30_000)
    env.reset([0], [b"\0" * 16])
    lines = [[*numbers(env, 0), 0, None, None]]
    paid = np.zeros(2, np.int64)
    for pair in episode:
        rewards, _ = env.step(np.array([pair]))
        now = env.f.count[0, :, 5].astype(np.int64)
        sparse = (20.0 * (now - paid)).tolist()
        assert rewards[0].tolist() == [sum(sparse)] * 2
        paid = now
        lines.append([*numbers(env, 0), int(env.f.clock[0, 0]), sparse, env.shaped()[0].tolist()])
    return lines
