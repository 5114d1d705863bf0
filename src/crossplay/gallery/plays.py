"""Playing many blocks in memory, for checks: scores per block and what was said inside teams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

import crossplay
from crossplay import Agent, Block
from crossplay.kernel import unpack

__all__ = ["Plays", "paired_bootstrap", "play_blocks"]


class Plays(msgspec.Struct):
    """scores: metric -> float64[n]; posts: per block the posts of teams (as recorded); votes: per block the votes."""

    scores: dict[str, np.ndarray]
    posts: list[list[dict[str, Any]]]
    votes: list[list[dict[str, Any]]]


def play_blocks(
    env: str,
    lineup: Mapping[str, Agent] | Sequence[Agent],
    blocks: int | Sequence[int],
    options: Mapping[str, Any] | None = None,
    root: int = 0,
    inside: bool = False,
) -> Plays:
    """Play blocks of an environment one after the other. lineup: agents in seat order, or by seat.

    inside: keep posts and votes as well.
    """
    world = crossplay.make_env(env, dict(options or {}))
    seats = dict(lineup) if isinstance(lineup, Mapping) else dict(zip(world.seats, lineup, strict=True))
    scores: dict[str, list[float]] = {}
    posts, votes = [], []
    for block in range(blocks) if isinstance(blocks, int) else blocks:
        outcome = crossplay.loop(crossplay.play(world, seats, Block(root, block)))
        for name, value in outcome.score.items():
            scores.setdefault(name, []).append(value)
        if inside:
            events = outcome.trace()
            posts.append([unpack(e.note) for e in events if e.kind == "post"])
            votes.append([unpack(e.note) for e in events if e.kind == "vote"])
    world.close()
    return Plays({name: np.array(v) for name, v in scores.items()}, posts, votes)


def paired_bootstrap(a: np.ndarray, b: np.ndarray, root: int = 0, times: int = 5000) -> float:
    """One-sided p that the mean of a - b is not above 0: share of resampled means at or below 0."""
    from crossplay.kernel import generator, key

    d = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    rng = generator(key("paired bootstrap", root))
    means = d[rng.integers(0, len(d), (times, len(d)))].mean(1)
    return float((np.sum(means <= 0) + 1) / (times + 1))
