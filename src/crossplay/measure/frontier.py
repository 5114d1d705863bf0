"""Cost against score: who is dominated, the staircase, the convex hull, and how sure that is.

Cost: lower is better. Score: higher is better. Pure functions on arrays with one entry per lineup;
the bootstrap resamples blocks jointly for all lineups, so that what they share cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure.stats.blocks import finite

__all__ = ["dominated", "frontier_probability", "hull", "hypervolume", "staircase"]


def _both(cost: Any, score: Any) -> tuple[np.ndarray, np.ndarray]:
    c, s = finite(cost, "cost"), finite(score, "score")
    if c.size != s.size:
        raise CrossplayError(f"frontier: {c.size} costs but {s.size} scores")
    return c, s


def _dominated(c: np.ndarray, s: np.ndarray) -> np.ndarray:
    """bool[..., lineups] for cost and score[..., lineups]."""
    no_worse = (c[..., None, :] <= c[..., :, None]) & (s[..., None, :] >= s[..., :, None])
    better = (c[..., None, :] < c[..., :, None]) | (s[..., None, :] > s[..., :, None])
    return np.asarray((no_worse & better).any(axis=-1))


def dominated(cost: Any, score: Any) -> np.ndarray:
    """bool[n]: some other lineup costs no more and scores no less, and is strictly better in one."""
    return _dominated(*_both(cost, score))


def staircase(cost: Any, score: Any) -> np.ndarray:
    """Indices of the lineups that are not dominated, by rising cost (equal ones keep their order)."""
    c, s = _both(cost, score)
    keep = np.flatnonzero(~_dominated(c, s))
    return keep[np.argsort(c[keep], kind="stable")]


def hull(cost: Any, score: Any) -> np.ndarray:
    """Indices on the upper-left convex hull, by rising cost: what no mixture of two lineups beats.

    Playing one of two lineups by a coin reaches any point between them, so the hull is what is
    attainable; it is a part of the staircase.
    """
    c, s = _both(cost, score)
    kept: list[int] = []
    for i in staircase(c, s):
        if kept and c[kept[-1]] == c[i]:
            continue  # an equal point
        while len(kept) > 1:
            a, b = kept[-2], kept[-1]
            if (s[b] - s[a]) * (c[i] - c[a]) > (s[i] - s[a]) * (c[b] - c[a]):
                break
            kept.pop()
        kept.append(int(i))
    return np.array(kept, dtype=np.int64)


def hypervolume(cost: Any, score: Any, worst_cost: float, worst_score: float) -> float:
    """Area that the staircase dominates, up to the reference point (worst cost, worst score)."""
    c, s = _both(cost, score)
    inside = (c < worst_cost) & (s > worst_score)
    if not inside.any():
        return 0.0
    c, s = c[inside], s[inside]
    steps = staircase(c, s)
    ends = np.append(c[steps][1:], worst_cost)
    return float(np.sum((ends - c[steps]) * (s[steps] - worst_score)))


def frontier_probability(costs: Any, scores: Any, reps: int = 2000, k: bytes | None = None) -> np.ndarray:
    """float64[lineups]: how often each lineup is on the staircase when blocks are resampled jointly.

    costs, scores: float[lineups, blocks], block means of lineups that met the same blocks.
    """
    c, s = np.asarray(costs, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if c.ndim != 2 or c.shape != s.shape or c.size == 0 or not (np.isfinite(c).all() and np.isfinite(s).all()):
        raise CrossplayError(
            f"frontier: expected finite costs and scores of lineups x blocks, got {c.shape} and {s.shape}"
        )
    lineups, blocks = c.shape
    rng = generator(k or key("stats", "frontier"))
    hits = np.zeros(lineups)
    for start in range(0, reps, step := max(1, 2_000_000 // (blocks + lineups**2))):
        drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=min(step, reps - start)) / blocks
        # Rounded, so that equal lineups stay equal whatever the order of summation.
        hits += (~_dominated(np.round(drawn @ c.T, 12), np.round(drawn @ s.T, 12))).sum(axis=0)
    return hits / reps
