"""Agreement between coders and distance between distributions: kappa, alpha, Jensen-Shannon.

Both coefficients come with a percentile bootstrap over units (items), from an addressed generator;
units are the resampled unit, so codes of one item stay together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay.kernel.seeds import generator
from crossplay.kernel.seeds import key as named
from crossplay.kernel.types import CrossplayError
from crossplay.measure.stats.intervals import check_level
from crossplay.measure.stats.results import Interval, few_blocks

__all__ = ["Agreement", "cohen_kappa", "jensen_shannon", "krippendorff_alpha"]

REPS = 2000  # bootstrap resamples


class Agreement(msgspec.Struct, frozen=True):
    """A coefficient of agreement: 1 = perfect, 0 = as by chance.

    value: None where it is not defined (nothing comparable, or only one category was ever used).
    n: units that enter it. left_out: units without two codes to compare. undefined: share of the
    bootstrap samples that had no value; the interval is over the others.
    """

    value: float | None
    interval: Interval | None
    n: int
    left_out: int
    undefined: float = 0.0


def _bootstrapped(
    parts: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], left_out: int, level: float, reps: int, k: bytes
) -> Agreement:
    """The statistic of the summed parts[n, ...] of n units; statistic maps [..., K, K] to [...] with nan."""
    check_level(level)
    n = len(parts)
    value = float(statistic(parts.sum(0))) if n else np.nan
    if not np.isfinite(value):
        return Agreement(None, None, n, left_out)
    if n < 2 or reps < 1:
        return Agreement(value, None, n, left_out)
    times = generator(k).multinomial(n, np.full(n, 1 / n), size=reps)
    sums = (times @ parts.reshape(n, -1)).reshape(reps, *parts.shape[1:])
    values = statistic(sums)
    good = values[np.isfinite(values)]
    if good.size < 2:
        return Agreement(value, None, n, left_out, 1 - good.size / reps)
    low, high = np.quantile(good, [(1 - level) / 2, (1 + level) / 2])
    interval = Interval(float(low), float(high), level, "bootstrap of units", n, None, few_blocks(n, "units"))
    return Agreement(value, interval, n, left_out, 1 - good.size / reps)


def _coded(ratings: Any) -> tuple[np.ndarray, np.ndarray]:
    """(sorted distinct values[K], their position int64[...] with -1 = missing)."""
    a = np.asarray(ratings)
    if a.dtype.kind == "f":
        absent = np.isnan(a)
    elif a.dtype.kind in "iub":
        absent = a == -1 if a.dtype.kind == "i" else np.zeros(a.shape, bool)
    else:
        raise CrossplayError("ratings: expected numbers (code texts as integers first)")
    values, at = np.unique(a[~absent], return_inverse=True)
    codes = np.full(a.shape, -1)
    codes[~absent] = at.reshape(-1)
    return values, codes


def cohen_kappa(
    a: Any,
    b: Any,
    weights: Literal["none", "linear", "quadratic"] = "none",
    level: float = 0.95,
    reps: int = REPS,
    k: bytes | None = None,
) -> Agreement:
    """Cohen's kappa (po - pe) / (1 - pe) of two coders; a[n], b[n]: numbers, nan or integer -1 = missing.

    Items that one of them did not code are left out and counted. weights: disagreement by the
    difference of the positions of two codes in the sorted order of all codes used, or its square.
    reps = 0: no interval. k: key of the resampling.
    """
    x, y = np.asarray(a), np.asarray(b)
    if x.ndim != 1 or x.shape != y.shape:
        raise CrossplayError(f"kappa: expected two equally long lists of codes, got shapes {x.shape} and {y.shape}")
    if weights not in ("none", "linear", "quadratic"):
        raise CrossplayError(f'weights: expected "none", "linear" or "quadratic", got {weights!r}')
    both = (_coded(x)[1] >= 0) & (_coded(y)[1] >= 0)
    values, codes = _coded(np.stack([x[both], y[both]]))
    size = len(values)
    parts = np.zeros((codes.shape[1], size, size))
    parts[np.arange(len(parts)), codes[0], codes[1]] = 1.0
    gap = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(float)
    cost = {"none": (gap > 0).astype(float), "linear": gap, "quadratic": gap**2}[weights]

    def kappa(table: np.ndarray) -> np.ndarray:
        n = table.sum((-1, -2))
        chance = table.sum(-1)[..., :, None] * table.sum(-2)[..., None, :]
        expected = (chance * cost).sum((-1, -2))
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1 - n * (table * cost).sum((-1, -2)) / np.where(expected > 0, expected, np.nan)

    return _bootstrapped(parts, kappa, int((~both).sum()), level, reps, k or named("kappa"))


def krippendorff_alpha(
    ratings: Any,
    metric: Literal["nominal", "ordinal", "interval"] = "nominal",
    level: float = 0.95,
    reps: int = REPS,
    k: bytes | None = None,
) -> Agreement:
    """Krippendorff's alpha 1 - Do / De of ratings[coders, units], nan or integer -1 = missing.

    Coincidences of a unit with m codes count 1 / (m - 1) each; units with fewer than two codes are
    left out and counted (Krippendorff 2004, "Content Analysis", chapter 11). For "interval" the
    numbers themselves are used, for "ordinal" their order. reps = 0: no interval. k: key of the resampling.
    """
    if metric not in ("nominal", "ordinal", "interval"):
        raise CrossplayError(f'metric: expected "nominal", "ordinal" or "interval", got {metric!r}')
    values, codes = _coded(ratings)
    if codes.ndim != 2:
        raise CrossplayError(f"alpha: expected ratings [coders, units], got shape {codes.shape}")
    counts = (codes[..., None] == np.arange(len(values))).sum(0).astype(float)  # [units, values]
    m = counts.sum(-1)
    paired = m >= 2
    c, m = counts[paired], m[paired]
    parts = (c[:, :, None] * c[:, None, :] - c[:, :, None] * np.eye(len(values))) / (m - 1)[:, None, None]
    numbers = values.astype(float)

    def distance(n: np.ndarray) -> np.ndarray:
        if metric == "nominal":
            return 1 - np.eye(len(values))
        if metric == "interval":
            return np.subtract.outer(numbers, numbers) ** 2
        upto = n.cumsum(-1) - n / 2  # the middle of each value's ranks
        return (upto[..., :, None] - upto[..., None, :]) ** 2

    def alpha(table: np.ndarray) -> np.ndarray:
        n = table.sum(-1)
        cost, total = distance(n), n.sum(-1)
        expected = (n[..., :, None] * n[..., None, :] * cost).sum((-1, -2))
        seen = (table * cost).sum((-1, -2))
        with np.errstate(divide="ignore", invalid="ignore"):
            return 1 - (total - 1) * seen / np.where(expected > 0, expected, np.nan)

    return _bootstrapped(parts, alpha, int((~paired).sum()), level, reps, k or named("alpha"))


def jensen_shannon(p: Any, q: Any, base: float = 2.0) -> np.ndarray:
    """Jensen-Shannon divergence float[...] of distributions p, q[..., K]; in bits it lies in [0, 1].

    Weights are divided by their sum. JS = (KL(p, m) + KL(q, m)) / 2, m = (p + q) / 2; its square root
    is a distance. nan where one side has no weight.
    """
    a, b = np.asarray(p, np.float64), np.asarray(q, np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or (a < 0).any() or (b < 0).any():
        raise CrossplayError("Jensen-Shannon: expected finite weights of at least 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = a / a.sum(-1, keepdims=True), b / b.sum(-1, keepdims=True)
        middle = (a + b) / 2
        terms = [np.where(x > 0, x * np.log(x / middle), 0.0).sum(-1) / np.log(base) for x in (a, b)]
    empty = np.isnan(a).any(-1) | np.isnan(b).any(-1)
    return np.where(empty, np.nan, np.maximum(0.0, (terms[0] + terms[1]) / 2))
