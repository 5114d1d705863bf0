"""How many blocks a question needs, and what the blocks at hand can find.

Normal formula with replicates: n = (z_{alpha/2} + z_beta)**2 (omega**2 + sigma_a**2 / K_a + sigma_b**2 / K_b)
/ delta**2 (Miller 2024, arXiv 2411.00640). The t forms use the noncentral t distribution and are what
the verdicts print. sd is always that of paired block differences, as estimated: with few blocks the
answer is as rough as the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from crossplay.kernel.types import CrossplayError
from crossplay.measure.stats.blocks import align, block_means, factorise, finite
from crossplay.measure.stats.results import Components

__all__ = [
    "blocks_for_difference",
    "blocks_for_tie",
    "blocks_to_settle",
    "blocks_with_replicates",
    "components",
    "constant_blocks",
    "difference_variance",
    "minimum_detectable",
    "power_t",
    "power_tie",
]

_LARGE = 100_000  # from here on the t distribution is the normal one to 5 digits
_MOST = 1 << 50


def _check(level: float, power: float, **positive: float) -> None:
    for name, value in (("level", level), ("power", power)):
        if not 0.0 < value < 1.0:
            raise CrossplayError(f"{name} = {value}: expected a probability such as 0.95")
    if power <= 1.0 - level:
        raise CrossplayError(f"power = {power}: expected more than 1 - level = {1 - level:.3g}")
    for name, value in positive.items():
        if not (value > 0.0 and math.isfinite(value)):
            raise CrossplayError(f"{name} = {value}: expected a positive number")


def power_t(effect: float, sd: float, n: int, level: float = 0.95) -> float:
    """Chance that the t interval of n >= 2 block differences excludes 0 when their true mean is `effect`."""
    from scipy.special import nctdtr, ndtr, ndtri, stdtrit

    shift = abs(effect) / sd * math.sqrt(n)
    if n > _LARGE:
        z = float(ndtri(0.5 + level / 2))
        return float(ndtr(shift - z) + ndtr(-shift - z))
    t = float(stdtrit(n - 1, 0.5 + level / 2))
    # SciPy answers NaN where a tail underflows, which needs a shift above 7: that tail is below 1e-12.
    below, above = (0.0 if math.isnan(tail := float(nctdtr(n - 1, shift, x))) else tail for x in (t, -t))
    return 1.0 - below + above


@lru_cache(maxsize=1024)
def _deviations(df: int) -> np.ndarray:
    """float64[200]: equally likely values of s / sigma with df degrees of freedom (midpoint rule)."""
    from scipy.special import chdtri

    return np.asarray(np.sqrt(chdtri(df, 1 - (np.arange(200) + 0.5) / 200) / df))


def power_tie(margin: float, sd: float, n: int, level: float = 0.95, effect: float = 0.0) -> float:
    """Chance that the t interval of n >= 2 block differences lies inside -margin..margin.

    effect: the true mean difference. Integrates over the distribution of the sample deviation:
    P = E over s of P(|mean| < margin - t s / sqrt(n)).
    """
    from scipy.special import ndtr, stdtrit

    root = math.sqrt(n) / sd
    t = float(stdtrit(n - 1, 0.5 + level / 2))
    room = margin * root - t * _deviations(n - 1)
    inside = ndtr(room - effect * root) - ndtr(-room - effect * root)
    return float(np.where(room > 0, inside, 0.0).mean())


def _smallest(enough: Callable[[int], bool]) -> int:
    """The smallest n >= 2 with enough(n), for a condition that stays true once it is."""
    high = 2
    while not enough(high):
        if high >= _MOST:
            return _MOST
        high *= 2
    low = high // 2  # not enough, or 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def blocks_for_difference(
    effect: float, sd: float, level: float = 0.95, power: float = 0.8, method: Literal["t", "normal"] = "t"
) -> int:
    """Blocks at which a true mean difference of `effect` is found with the asked power."""
    _check(level, power, effect=abs(effect), sd=sd)
    if method == "normal":
        return blocks_with_replicates(effect, Components(sd * sd, 0.0, 0.0, 0), 1, 1, level, power)
    return _smallest(lambda n: power_t(effect, sd, n, level) >= power)


def blocks_for_tie(margin: float, sd: float, level: float = 0.95, power: float = 0.8, effect: float = 0.0) -> int:
    """Blocks at which the interval lies inside the margin with the asked power; effect: true difference."""
    _check(level, power, margin=margin, sd=sd)
    if abs(effect) >= margin:
        raise CrossplayError(f"a true difference of {effect:g} is no tie within a margin of {margin:g}")
    return _smallest(lambda n: power_tie(margin, sd, n, level, effect) >= power)


def blocks_to_settle(margin: float, sd: float, level: float = 0.95, power: float = 0.8) -> int:
    """Blocks at which either answer comes with the asked power: tied when the true difference is 0,
    better or worse when it is the margin. (The tie is the harder of the two.)
    """
    return max(blocks_for_tie(margin, sd, level, power), blocks_for_difference(margin, sd, level, power))


def constant_blocks(margin: float, span: float, level: float = 0.95) -> int:
    """Blocks at which differences that are all 0 are a tie; span: largest possible |difference|."""
    _check(level, 0.999, margin=margin, span=span)
    if margin >= span:
        return 2
    return 2 + math.floor(math.log(1.0 - level) / math.log1p(-margin / span))


def minimum_detectable(sd: float, n: int, level: float = 0.95, power: float = 0.8) -> float:
    """The smallest true mean difference that n >= 2 blocks find with the asked power (the MDE)."""
    from scipy.optimize import brentq

    _check(level, power, sd=sd)
    if n < 2:
        raise CrossplayError(f"{n} blocks: a minimum detectable effect needs at least 2")
    high = 1.0
    while power_t(high, 1.0, n, level) < power:
        high *= 2.0
    return sd * float(brentq(lambda d: power_t(d, 1.0, n, level) - power, 0.0, high, xtol=1e-12))


def difference_variance(parts: Components, k_a: int, k_b: int) -> float:
    """Variance of one block's difference with k_a and k_b replicates: omega2 + sigma_a2/k_a + sigma_b2/k_b."""
    return parts.omega2 + parts.sigma_a2 / k_a + parts.sigma_b2 / k_b


def blocks_with_replicates(
    effect: float, parts: Components, k_a: int = 1, k_b: int = 1, level: float = 0.95, power: float = 0.8
) -> int:
    """Blocks by the normal formula when each is played k_a and k_b times by the two lineups."""
    from scipy.special import ndtri

    variance = difference_variance(parts, k_a, k_b)
    _check(level, power, effect=abs(effect), variance=variance)
    z = float(ndtri(0.5 + level / 2) + ndtri(power))
    return max(2, math.ceil(z * z * variance / effect**2 - 1e-9))


def _within(values: Any, blocks: Sequence[Hashable] | np.ndarray) -> tuple[float, float]:
    """(pooled variance between replicates of a block, mean of 1 / replicates)."""
    x = finite(values)
    names, at = factorise(blocks)
    counts = np.bincount(at, minlength=len(names))
    if not (counts > 1).any():
        raise CrossplayError("variance components need replicates: some block must be played more than once")
    residual = x - (np.bincount(at, weights=x) / counts)[at]
    return float(residual @ residual) / float((counts - 1).sum()), float((1 / counts).mean())


def components(
    a: Any, blocks_a: Sequence[Hashable] | np.ndarray, b: Any, blocks_b: Sequence[Hashable] | np.ndarray
) -> Components:
    """Variance components of paired differences from replicated episodes a[n], b[m] (moment estimates).

    omega2 = Var(block differences) - sigma_a2 mean(1/K_a) - sigma_b2 mean(1/K_b), not below 0.
    """
    d = align(block_means(a, blocks_a), block_means(b, blocks_b))
    if d.size < 2:
        raise CrossplayError("variance components need at least 2 blocks")
    (va, ra), (vb, rb) = _within(a, blocks_a), _within(b, blocks_b)
    return Components(max(0.0, float(np.var(d, ddof=1)) - va * ra - vb * rb), va, vb, d.size)
