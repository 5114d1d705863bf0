"""p-values that need few assumptions, and what many of them together may claim.

Sign flip: Fisher 1935. McNemar exact: the binomial test on discordant pairs. Holm 1979;
Benjamini and Hochberg 1995.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure.stats.blocks import factorise, finite

__all__ = ["benjamini_hochberg", "holm", "mcnemar", "mcnemar_counts", "sign_flip", "step_down_levels"]

EXACT_CLUSTERS = 18  # 2**17 sums after symmetry: 1 MB and about a millisecond
REPS = 20_000


def sign_flip(
    differences: Any,
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    reps: int = REPS,
    k: bytes | None = None,
) -> float:
    """Two-sided p of the null that differences[n] are symmetric about 0, flipped cluster by cluster.

    Up to 18 clusters all sign patterns are counted (the smallest p is 2**(1-G)); beyond, `reps`
    patterns at an addressed generator with (1 + hits) / (1 + reps), which is never 0.
    """
    d = finite(differences, "differences")
    if clusters is not None:
        if len(clusters) != d.size:
            raise CrossplayError(f"{d.size} differences but {len(clusters)} cluster ids")
        names, at = factorise(clusters)
        order = np.lexsort((d, at))
        d = np.bincount(at[order], weights=d[order], minlength=len(names))
    size = np.sort(np.abs(d))
    total = abs(float(np.sort(d).sum()))
    threshold = total - 1e-12 * float(size.sum())  # equal sums in another order of addition still count
    size = size[size > 0]
    if size.size == 0:
        return 1.0
    if size.size <= EXACT_CLUSTERS:
        sums = np.array([size[0]])  # the first sign is fixed: patterns come in mirrored pairs
        for s in size[1:]:
            sums = np.concatenate((sums + s, sums - s))
        return float(np.mean(np.abs(sums) >= threshold))
    rng = generator(k or key("stats", "sign flip"))
    hits = 0
    for start in range(0, reps, step := max(1, 2_000_000 // size.size)):
        width = min(step, reps - start)
        signs = rng.integers(0, 2, size=(width, size.size), dtype=np.int8) * 2.0 - 1.0
        hits += int(np.count_nonzero(np.abs(signs @ size) >= threshold))
    return (1 + hits) / (1 + reps)


def mcnemar_counts(only_a: int, only_b: int) -> float:
    """Exact two-sided p from the discordant pairs: only_a where a alone succeeded, only_b where b did."""
    from scipy.special import bdtr

    if min(only_a, only_b) < 0:
        raise CrossplayError(f"discordant pairs {only_a} and {only_b}: expected counts of 0 or more")
    n = only_a + only_b
    return 1.0 if n == 0 else min(1.0, 2.0 * float(bdtr(min(only_a, only_b), n, 0.5)))


def mcnemar(a: Any, b: Any) -> float:
    """Exact McNemar p of two paired columns of successes[n] (0 or 1, one trial per block)."""
    x, y = finite(a, "candidate"), finite(b, "baseline")
    if x.size != y.size:
        raise CrossplayError(f"paired values: {x.size} and {y.size}; align them by block first")
    if not (np.isin(x, (0, 1)).all() and np.isin(y, (0, 1)).all()):
        raise CrossplayError("McNemar: expected successes as 0 or 1, one trial per block")
    return mcnemar_counts(int(np.sum((x == 1) & (y == 0))), int(np.sum((x == 0) & (y == 1))))


def _p_values(p: Any) -> np.ndarray:
    x = np.asarray(p, dtype=np.float64)
    if x.ndim != 1 or ((x < 0) | (x > 1)).any():
        raise CrossplayError("p-values: expected one dimension of numbers in [0, 1]; NaN for what was not tested")
    return x


def _adjusted(p: Any, step: Any) -> np.ndarray:
    x = _p_values(p)
    out = np.full(x.size, np.nan)
    tested = np.flatnonzero(~np.isnan(x))
    if tested.size:
        order = tested[np.argsort(x[tested], kind="stable")]
        out[order] = np.minimum(step(x[order], tested.size), 1.0)
    return out


def holm(p: Any) -> np.ndarray:
    """Holm-adjusted p[m]: reject where it is <= alpha, and the chance of any false rejection is <= alpha.

    NaN marks a comparison that was not tested: it stays NaN and does not count in the family.
    """
    return _adjusted(p, lambda q, m: np.maximum.accumulate(q * np.arange(m, 0, -1)))


def benjamini_hochberg(p: Any) -> np.ndarray:
    """Benjamini-Hochberg adjusted p[m]: reject where <= q, and the expected false share is <= q."""

    def step(q: np.ndarray, m: int) -> np.ndarray:
        return np.minimum.accumulate((q * m / np.arange(1, m + 1))[::-1])[::-1]

    return _adjusted(p, step)


def step_down_levels(p: Any, level: float = 0.95) -> np.ndarray:
    """The level[m] at which Holm's procedure judged each comparison; intervals at it agree with Holm.

    With alpha = 1 - level and p in rising order, the j-th rejected comparison was tested at
    alpha / (m - j + 1), and all from the first retained one on at the alpha / (number retained) at
    which the procedure stopped. An interval at 1 minus that, dual to the test that gave p, excludes 0
    exactly where the Holm-adjusted p is <= alpha (a retained p is above the p at which it stopped).
    What holds jointly is the exclusion of 0: intervals of rejected comparisons do not cover
    all true values at once; for that, give every one 1 - alpha / m (Bonferroni). NaN stays NaN.
    """
    x = _p_values(p)
    out = np.full(x.size, np.nan)
    tested = np.flatnonzero(~np.isnan(x))
    order = tested[np.argsort(x[tested], kind="stable")]
    m, alpha = order.size, 1.0 - level
    for j, i in enumerate(order):
        if x[i] > alpha / (m - j):
            out[order[j:]] = 1.0 - alpha / (m - j)
            break
        out[i] = 1.0 - alpha / (m - j)
    return out
