"""Intervals for means: t, clustered, Welch, Wilson, macro means, bootstrap, and the constant case.

Formulas after Miller 2024 ("Adding error bars to evals", arXiv 2411.00640) where not said otherwise.
A case without an interval returns an `Estimate` with `interval=None` and a mark, never a zero width.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure.stats.blocks import factorise, finite
from crossplay.measure.stats.resampling import REPS, Resamples
from crossplay.measure.stats.results import Estimate, Interval, few_blocks
from crossplay.measure.stats.robust import iqm

__all__ = [
    "bootstrap",
    "bootstrap_difference",
    "check_level",
    "cluster_mean",
    "constant_interval",
    "macro_mean",
    "mean_t",
    "paired_t",
    "t_interval",
    "t_p_value",
    "varies",
    "welch",
    "wilson",
]

Bounds = tuple[float, float]
SMALLEST = 1e-150
"""Difference of values whose square is still a float."""


def check_level(level: float) -> float:
    """The level itself, or an error unless it lies strictly between 0 and 1."""
    if not 0.0 < level < 1.0:
        raise CrossplayError(f"level = {level}: expected a probability such as 0.95")
    return level


def varies(x: np.ndarray, scale: float | None = None) -> bool:
    """Whether values differ by more than rounding, and so much that the difference has a square that is not 0.

    scale: magnitude of what they were computed from.
    """
    scale = float(np.abs(x).max()) if scale is None else scale
    return bool(np.ptp(x) > max(1e-12 * scale, SMALLEST))


def _mean(x: np.ndarray) -> float:
    """The mean from the exactly rounded sum: no order of the values can move its last bit."""
    return math.fsum(x) / x.size


def _variance(x: np.ndarray) -> float:
    """The sample variance (n - 1), exactly summed; 0.0 for values that differ by rounding only."""
    return math.fsum((x - _mean(x)) ** 2) / (x.size - 1) if varies(x) else 0.0


def t_interval(value: float, se: float, df: float, level: float, n: int, method: str = "t") -> Interval:
    """Value +- t(df) * se, two-sided; n: independent units behind it."""
    from scipy.special import stdtrit

    half = float(stdtrit(df, 0.5 + check_level(level) / 2)) * se
    return Interval(value - half, value + half, level, method, n, df, few_blocks(n, "units"))


def t_p_value(value: float, se: float, df: float) -> float:
    """Two-sided p of the null that the true value is 0."""
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(value) / se))


def constant_interval(value: float, n: int, bounds: Bounds, level: float = 0.95) -> Interval | None:
    """For n >= 2 units that all gave the same value: an interval of the mean of a bounded quantity.

    The usual formula would have width 0. Had any value a chance below alpha**(1/(n-1)), then n equal
    answers had a chance below alpha: for chances q_k <= q, sum q_k**n <= q**(n-1). So at the level
    asked, at most r = 1 - alpha**(1/(n-1)) of the mass lies elsewhere, at worst on a bound. With
    values in {-1, 1} this is the exact sign-flip test; r is the "rule of three" (Hanley and
    Lippman-Hand 1983) with n-1 for n, because which value would repeat was not known beforehand.
    None when n < 2 or the bounds have no width.
    """
    low, high = bounds
    if n < 2 or not high > low:
        return None
    rest = 1.0 - (1.0 - check_level(level)) ** (1.0 / (n - 1))
    return Interval(
        value - rest * max(value - low, 0.0),
        value + rest * max(high - value, 0.0),
        level,
        "constant",
        n,
        warning="no variation: the interval allows for what was not seen",
    )


def _plain(value: float, n: int, se: float | None, bounds: Bounds | None, level: float) -> Estimate:
    """The estimate where a standard error says nothing: one unit, or no variation."""
    if n < 2:
        return Estimate(value, None, n, None, "n = 1")
    interval = constant_interval(value, n, bounds, level) if bounds else None
    return Estimate(value, interval, n, se, "no variation")


def mean_t(values: Any, level: float = 0.95, bounds: Bounds | None = None, scale: float | None = None) -> Estimate:
    """Mean of independent units[n] with the t interval, n-1 degrees of freedom.

    bounds: lowest and highest possible value, used only when all units are equal.
    scale: magnitude of the numbers the units were computed from (tells rounding from variation).
    """
    x = finite(values)
    n, value = x.size, _mean(x)
    if n < 2 or not varies(x, scale):
        return _plain(value, n, 0.0 if n > 1 else None, bounds, level)
    se = math.sqrt(_variance(x) / n)
    return Estimate(value, t_interval(value, se, n - 1, level, n), n, se)


def paired_t(a: Any, b: Any, level: float = 0.95, bounds: Bounds | None = None) -> Estimate:
    """Mean of a - b over the same units in the same order; bounds are those of a difference."""
    x, y = finite(a, "candidate"), finite(b, "baseline")
    if x.size != y.size:
        raise CrossplayError(f"paired values: {x.size} and {y.size}; align them by block first")
    return mean_t(x - y, level, bounds, scale=float(max(np.abs(x).max(), np.abs(y).max())))


def cluster_mean(
    values: Any,
    clusters: Sequence[Hashable] | np.ndarray,
    level: float = 0.95,
    correction: bool = True,
    bounds: Bounds | None = None,
    scale: float | None = None,
) -> Estimate:
    """Mean over rows[n] whose errors are shared within a cluster[n]; t with G-1 degrees of freedom.

    se = sqrt(sum over clusters of (sum of residuals)**2) / n, times sqrt(G / (G-1)) with `correction`.
    Rows weigh equally, so a cluster with more rows weighs more.
    """
    x = finite(values)
    if len(clusters) != x.size:
        raise CrossplayError(f"{x.size} values but {len(clusters)} cluster ids")
    names, at = factorise(clusters)
    groups, value = len(names), _mean(x)
    order = np.lexsort((x, at))
    sums = np.bincount(at[order], weights=x[order] - value, minlength=groups)
    if groups < 2 or not varies(x, scale):
        return _plain(value, groups, 0.0 if groups > 1 else None, bounds, level)
    se = math.sqrt(float(sums @ sums)) / x.size * (math.sqrt(groups / (groups - 1)) if correction else 1.0)
    if not se > 1e-12 * float(np.abs(x).max()):
        return _plain(value, groups, 0.0, bounds, level)
    return Estimate(value, t_interval(value, se, groups - 1, level, groups, "cluster t"), groups, se)


def welch(a: Any, b: Any, level: float = 0.95) -> Estimate:
    """Difference of means of two independent samples of units, Welch-Satterthwaite degrees of freedom."""
    x, y = finite(a, "candidate"), finite(b, "baseline")
    value = _mean(x) - _mean(y)
    n = min(x.size, y.size)
    if n < 2:
        return Estimate(value, None, n, None, "n = 1")
    va, vb = _variance(x) / x.size, _variance(y) / y.size
    if va + vb == 0.0:
        return Estimate(value, None, n, 0.0, "no variation")
    df = (va + vb) ** 2 / (va**2 / (x.size - 1) + vb**2 / (y.size - 1))
    se = math.sqrt(va + vb)
    return Estimate(value, t_interval(value, se, df, level, n, "Welch t"), n, se)


def macro_mean(groups: Sequence[Any], level: float = 0.95) -> Estimate:
    """Mean of group means (environments, categories), each group fixed and weighing the same.

    groups: block means[n_g] of each group, independent between groups.
    Var = sum of s_g**2 / n_g over G**2, Satterthwaite degrees of freedom.
    """
    arrays = [finite(g, f"group {i}") for i, g in enumerate(groups)]
    if not arrays:
        raise CrossplayError("macro mean: no groups")
    value = math.fsum(_mean(x) for x in arrays) / len(arrays)
    n = min(x.size for x in arrays)
    if n < 2:
        return Estimate(value, None, n, None, "n = 1")
    parts = np.array([_variance(x) / x.size for x in arrays])
    parts /= len(arrays) ** 2
    total = float(parts.sum())
    if total == 0.0:
        return Estimate(value, None, n, 0.0, "no variation")
    df = total**2 / float(np.sum(parts**2 / np.array([x.size - 1 for x in arrays])))
    return Estimate(value, t_interval(value, math.sqrt(total), df, level, n, "macro t"), n, math.sqrt(total))


def wilson(successes: int, trials: int, level: float = 0.95) -> Estimate:
    """A share of independent trials with Wilson's score interval. Not for replicates of one block."""
    from scipy.special import ndtri

    if not 0 <= successes <= trials or trials < 1:
        raise CrossplayError(
            f"{successes} successes of {trials} trials: expected 0 <= successes <= trials, trials >= 1"
        )
    z, n = float(ndtri(0.5 + check_level(level) / 2)), trials
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At 0 and n the exact end is 0 and 1; rounding must not leave the estimate outside.
    low, high = (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)
    return Estimate(p, Interval(low, high, level, "Wilson", n), n, math.sqrt(p * (1 - p) / n))


@cache
def _rng_argument() -> str:
    """SciPy 1.15 renamed `random_state` to `rng`."""
    from scipy.stats import bootstrap as scipy_bootstrap

    return "rng" if "rng" in inspect.signature(scipy_bootstrap).parameters else "random_state"


def _scipy_bootstrap(
    samples: tuple[np.ndarray, ...],
    statistic: Callable[..., Any],
    value: float,
    level: float,
    method: str,
    reps: int,
    k: bytes,
    name: str,
) -> Estimate:
    from scipy.stats import bootstrap as scipy_bootstrap

    n = samples[0].size
    arguments: dict[str, Any] = {_rng_argument(): generator(k)}
    answer = scipy_bootstrap(
        samples,
        statistic,
        paired=len(samples) > 1,
        vectorized=True,
        n_resamples=reps,
        batch=max(1, 4_000_000 // n),
        confidence_level=check_level(level),
        method="BCa" if method == "bca" else method,
        **arguments,
    )
    low, high = (float(v) for v in answer.confidence_interval)
    return _between(value, low, high, float(answer.standard_error), level, n, name)


def _percentile(value: float, sample: np.ndarray, level: float, n: int, name: str) -> Estimate:
    """The estimate from what a statistic gave in each resample of n units."""
    low, high = np.quantile(sample, [(1 - check_level(level)) / 2, (1 + level) / 2])
    se = float(sample.std(ddof=1)) if sample.size > 1 else math.nan
    return _between(value, float(low), float(high), se, level, n, name)


def _between(value: float, low: float, high: float, se: float, level: float, n: int, name: str) -> Estimate:
    """A bootstrap's estimate; without an interval where all resamples gave the same, which is not certainty."""
    if not math.isfinite(low + high):
        return Estimate(value, None, n, None, "no variation")
    if not high - low > 1e-12 * max(abs(low), abs(high)):
        return Estimate(value, None, n, se, "no variation")
    return Estimate(value, Interval(low, high, level, name, n, None, few_blocks(n, "units")), n, se)


def bootstrap(
    values: Any,
    statistic: Callable[..., Any] = iqm,
    level: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
    reps: int = REPS,
    k: bytes | None = None,
    resamples: Resamples | None = None,
) -> Estimate:
    """A statistic of independent units[n] with a bootstrap interval, from an addressed generator.

    statistic: vectorised, called as statistic(array, axis=-1). k: the key of the resampling; the same
    key and values, in whatever order, give the same interval. resamples: of several columns, in place of reps and k
    (interquartile means and percentiles alone); the units then stay in their order.
    """
    x = finite(values) if resamples is not None else np.sort(finite(values))
    value = float(statistic(x, axis=-1))
    if x.size < 2 or not varies(x):
        return Estimate(value, None, x.size, None, "n = 1" if x.size < 2 else "no variation")
    k = k or key("stats", "bootstrap")
    if _counts(statistic, method, resamples):
        (sample,) = (resamples or Resamples(reps, k)).of([x])
        return _percentile(value, sample, level, x.size, f"{method} bootstrap")
    return _scipy_bootstrap((x,), statistic, value, level, method, reps, k, f"{method} bootstrap")


def _counts(statistic: Callable[..., Any], method: str, resamples: Resamples | None) -> bool:
    """Whether `Resamples` gives this bootstrap; refuses resamples for another one."""
    if statistic is iqm and method == "percentile":
        return True
    if resamples is not None:
        raise CrossplayError("resamples are of interquartile means, for percentile intervals alone")
    return False


def bootstrap_difference(
    a: Any,
    b: Any,
    statistic: Callable[..., Any] = iqm,
    level: float = 0.95,
    method: Literal["percentile", "bca"] = "percentile",
    reps: int = REPS,
    k: bytes | None = None,
    resamples: Resamples | None = None,
) -> Estimate:
    """statistic(a) - statistic(b), pairs resampled together; a[n], b[n] in the same order of units.

    Swapping a and b mirrors the interval exactly (the same pairs are drawn). resamples: as in `bootstrap`.
    """
    x, y = finite(a, "candidate"), finite(b, "baseline")
    if x.size != y.size:
        raise CrossplayError(f"paired values: {x.size} and {y.size}; align them by block first")
    value = float(statistic(x, axis=-1) - statistic(y, axis=-1))
    if x.size < 2 or not varies(x - y, float(max(np.abs(x).max(), np.abs(y).max()))):
        return Estimate(value, None, x.size, None, "n = 1" if x.size < 2 else "no variation")

    def difference(u: Any, v: Any, axis: int = -1) -> Any:
        return statistic(u, axis=axis) - statistic(v, axis=axis)

    k = k or key("stats", "bootstrap")
    if _counts(statistic, method, resamples):
        u, v = (resamples or Resamples(reps, k)).of([x, y])
        return _percentile(value, u - v, level, x.size, f"paired {method} bootstrap")
    return _scipy_bootstrap((x, y), difference, value, level, method, reps, k, f"paired {method} bootstrap")
