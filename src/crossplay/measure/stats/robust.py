"""Robust aggregates over runs x tasks, with stratified bootstrap bands.

Definitions after Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical
precipice" (arXiv 2108.13264). Scores are float[runs, tasks]; runs (training seeds, or blocks) are
resampled inside each task, tasks are fixed. With few runs these intervals are too narrow: measured
coverage stands in docs/statistics.md, and every answer below 10 runs carries the warning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure.stats.results import FEW_BLOCKS, Estimate, Interval, Profile

__all__ = ["improvement", "iqm", "iqm_estimate", "optimality_gap", "profile", "stratified_bootstrap"]

REPS = 2000
_BATCH = 4_000_000  # numbers held at once while resampling


def _matrix(scores: Any, what: str = "scores") -> np.ndarray:
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2 or x.size == 0:
        raise CrossplayError(f"{what}: expected runs x tasks, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise CrossplayError(f"{what}: {int((~np.isfinite(x)).sum())} of {x.size} are not finite")
    return x


def _warning(runs: int) -> str:
    return f"{runs} runs: a bootstrap of fewer than {FEW_BLOCKS} is too narrow" if runs < FEW_BLOCKS else ""


def iqm(x: Any, axis: int | None = None) -> Any:
    """Interquartile mean: the mean of what stays when floor(n/4) values are cut at each end.

    axis None: over all values, as a float; else along that axis.
    """
    x = np.asarray(x, dtype=np.float64)
    if axis is None:
        x, axis = x.reshape(-1), 0
    n = x.shape[axis]
    cut = n // 4
    part = np.partition(x, [cut, n - cut - 1], axis=axis) if cut else x
    middle = part.take(range(cut, n - cut), axis=axis).mean(axis=axis)
    return float(middle) if np.ndim(middle) == 0 else middle


def optimality_gap(x: Any, gamma: float = 1.0) -> float:
    """How far scores stay below a target on average: gamma - mean(min(x, gamma))."""
    return gamma - float(np.minimum(np.asarray(x, dtype=np.float64), gamma).mean())


def stratified_bootstrap(
    scores: Any,
    statistic: Callable[..., Any] = iqm,
    level: float = 0.95,
    reps: int = REPS,
    k: bytes | None = None,
) -> Estimate:
    """A statistic of all scores[runs, tasks], runs resampled inside each task, percentile interval.

    statistic: vectorised, called as statistic(array[reps, runs * tasks], axis=-1).
    """
    x = np.sort(_matrix(scores), axis=0)
    runs, tasks = x.shape
    value = float(statistic(x.reshape(1, -1), axis=-1)[0])
    if runs < 2 or not (np.ptp(x, axis=0) > 0).any():
        return Estimate(value, None, runs, None, "n = 1" if runs < 2 else "no variation")
    rng = generator(k or key("stats", "stratified"))
    column = np.arange(tasks)
    drawn = []
    for start in range(0, reps, step := max(1, _BATCH // x.size)):
        width = min(step, reps - start)
        rows = rng.integers(runs, size=(width, runs, tasks))
        drawn.append(statistic(x[rows, column].reshape(width, -1), axis=-1))
    sample = np.concatenate(drawn)
    low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2])
    if not high - low > 1e-12 * max(abs(low), abs(high)):  # all resamples agree, which is not certainty
        return Estimate(value, None, runs, 0.0, "no variation")
    interval = Interval(float(low), float(high), level, "stratified bootstrap", runs, None, _warning(runs))
    return Estimate(value, interval, runs, float(sample.std(ddof=1)))


def iqm_estimate(scores: Any, level: float = 0.95, reps: int = REPS, k: bytes | None = None) -> Estimate:
    """The interquartile mean of scores[runs, tasks] with its stratified bootstrap interval."""
    return stratified_bootstrap(scores, iqm, level, reps, k)


def _weights(rng: np.random.Generator, reps: int, runs: int, tasks: int) -> np.ndarray:
    """float64[reps, runs, tasks]: how often each run was drawn in each task, divided by runs."""
    drawn = rng.multinomial(runs, np.full(runs, 1 / runs), size=(reps, tasks))
    return drawn.transpose(0, 2, 1) / runs


def improvement(a: Any, b: Any, level: float = 0.95, reps: int = REPS, k: bytes | None = None) -> Estimate:
    """Probability that a run of `a` beats a run of `b` on a task, mean over tasks (ties count half).

    a[N, tasks], b[M, tasks], independent runs: the Mann-Whitney statistic over N * M of each task;
    interval by resampling both. For paired blocks use a comparison of differences instead.
    """
    x, y = np.sort(_matrix(a, "candidate"), axis=0), np.sort(_matrix(b, "baseline"), axis=0)
    if x.shape[1] != y.shape[1]:
        raise CrossplayError(f"candidate has {x.shape[1]} tasks, baseline {y.shape[1]}")
    wins = (x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])  # [N, M, tasks]
    value, n = float(wins.mean()), min(len(x), len(y))
    if n < 2:
        return Estimate(value, None, n, None, "n = 1")
    rng = generator(k or key("stats", "improvement"))
    drawn = []
    for start in range(0, reps, step := max(1, _BATCH // (x.size + y.size))):
        width = min(step, reps - start)
        wa = _weights(rng, width, len(x), x.shape[1])
        wb = _weights(rng, width, len(y), x.shape[1])
        drawn.append(np.einsum("rit,ijt,rjt->r", wa, wins, wb, optimize=True) / x.shape[1])
    sample = np.concatenate(drawn)
    low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2])
    if low == high:
        return Estimate(value, None, n, 0.0, "no variation")
    interval = Interval(float(low), float(high), level, "stratified bootstrap", n, None, _warning(n))
    return Estimate(value, interval, n, float(sample.std(ddof=1)))


def profile(scores: Any, tau: Any, level: float = 0.95, reps: int = REPS, k: bytes | None = None) -> Profile:
    """Share of scores[runs, tasks] strictly above each threshold tau[K], with a pointwise band.

    The band holds at each threshold by itself, not for the whole curve at once. A resample is drawn as how many of its
    runs fall between neighbouring thresholds, which is all that its curve needs.
    """
    x, tau = _matrix(scores), np.asarray(tau, dtype=np.float64).reshape(-1)
    runs, tasks = x.shape
    order = np.argsort(tau, kind="stable")
    rng = generator(k or key("stats", "profile"))
    share, drawn = np.zeros(tau.size), np.zeros((reps, tau.size))
    for task in range(tasks):
        # A score lies above the first `below` thresholds; so many runs have each number of them below.
        below = np.searchsorted(tau[order], x[:, task], side="left")
        counts = np.bincount(below, minlength=tau.size + 1)
        share[order] += runs - np.cumsum(counts)[:-1]
        resampled = rng.multinomial(runs, counts / runs, size=reps)
        drawn[:, order] += runs - np.cumsum(resampled, axis=1)[:, :-1]
    share, drawn = share / (runs * tasks), drawn / (runs * tasks)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    # Rounding may not push the curve out of its own band.
    return Profile(tau, share, np.minimum(low, share), np.maximum(high, share), level, runs, _warning(runs))
