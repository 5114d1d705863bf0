"""Bootstraps of interquartile means of many columns over the same units: drawn once, counted, never sorted again.

A resample draws n of n units with replacement. Of the draws in order of their values, floor(n / 4) are cut at each end.
How often each value stays needs only how many draws fell on it or below, so a resample is kept as counts per unit, and
every column costs one pass over them in its own order. The numbers are those of SciPy's percentile bootstrap of
`robust.iqm` with the same generator, up to the last bits of the sums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from crossplay.kernel.seeds import generator

__all__ = ["REPS", "Resamples"]

REPS = 2000
_BATCH = 1 << 17  # draws at once: they and their counts stay in the processor's cache


class Resamples:
    """Interquartile means of columns over bootstrap resamples of their units; what was resampled once is kept.

    reps: resamples; k: the key of their drawing. Resample r takes the same positions of all columns of one length, so
    the difference of what two of them give is that of resampled pairs.
    """

    def __init__(self, reps: int, k: bytes) -> None:
        self.reps, self.k = reps, k
        self._known: dict[tuple[int, bytes], np.ndarray] = {}

    def of(self, columns: Sequence[np.ndarray]) -> list[np.ndarray]:
        """float64[reps] for every column float64[n], n >= 1: its interquartile mean in each resample."""
        names = [(c.size, hashlib.blake2b(c.tobytes(), digest_size=16).digest()) for c in columns]
        new = {name: c for name, c in zip(names, columns, strict=True) if name not in self._known}
        for n in {n for n, _ in new}:  # columns of one length are drawn together
            mine = {name: c for name, c in new.items() if name[0] == n}
            self._known.update(zip(mine, _resampled(list(mine.values()), self.reps, self.k), strict=True))
        return [self._known[name] for name in names]


def _resampled(columns: Sequence[np.ndarray], reps: int, k: bytes) -> np.ndarray:
    """float64[columns, reps] of columns of one length."""
    n, rng = columns[0].size, generator(k)
    means = [_counted(c) for c in columns]
    found = np.empty((len(columns), reps))
    for start in range(0, reps, step := max(1, _BATCH // n)):
        width = min(step, reps - start)
        drawn = rng.integers(n, size=(width, n))
        drawn += np.arange(width)[:, None] * n
        counts = np.bincount(drawn.reshape(-1), minlength=width * n).reshape(width, n).astype(np.int32)
        for row, mean in zip(found, means, strict=True):
            row[start : start + width] = mean(counts)
    return found


def _counted(x: np.ndarray) -> Callable[[np.ndarray], Any]:
    """Counts int32[width, n] of draws of each unit -> float64[width], the interquartile means of those draws of x[n]."""
    n = x.size
    cut = n // 4
    order = np.argsort(x, kind="stable")
    values = x[order]
    starts = np.concatenate(([0], np.flatnonzero(np.diff(values)) + 1))
    several = 2 * starts.size <= n  # many units of one value: their counts are added first
    if several:
        values = values[starts]

    def mean(counts: np.ndarray) -> Any:
        upto = counts.take(order, axis=1)
        if several:
            upto = np.add.reduceat(upto, starts, axis=1)
        np.cumsum(upto, axis=1, out=upto)
        np.clip(upto, cut, n - cut, out=upto)
        upto[:, 1:] -= upto[:, :-1].copy()
        upto[:, 0] -= cut
        # Times the values themselves, not their steps: what is cut does not touch the sum, however far out it lies.
        return upto.astype(np.float64) @ values / (n - 2 * cut)

    return mean
