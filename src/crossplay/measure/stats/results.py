"""What the statistics answer: frozen values that a table can print and a file can hold."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

__all__ = [
    "FEW_BLOCKS",
    "FEW_SEEDS",
    "CellSummary",
    "Comparison",
    "Components",
    "Estimate",
    "Interval",
    "Profile",
    "Verdict",
    "few_blocks",
    "shown",
]

Verdict = Literal["better", "worse", "tied", "underpowered"]

FEW_BLOCKS = 10  # below this many units a table warns, and shows no bootstrap (measured: docs/statistics.md)
FEW_SEEDS = 5  # below this many training seeds a table speaks of `this checkpoint` only


class Interval(msgspec.Struct, frozen=True):
    """A closed interval [low, high] that covers the true value with probability `level`.

    method: how it was made. n: independent units behind it (blocks, clusters or trials).
    df: degrees of freedom of a t interval, else None. warning: why to read it with care, or "".
    """

    low: float
    high: float
    level: float
    method: str
    n: int
    df: float | None = None
    warning: str = ""

    def excludes(self, value: float) -> bool:
        """Whether the value lies outside."""
        return value < self.low or value > self.high

    def inside(self, margin: float) -> bool:
        """Whether the whole interval lies strictly within -margin..margin."""
        return -margin < self.low and self.high < margin


class Estimate(msgspec.Struct, frozen=True):
    """A value with its interval; `interval` is None only with a `mark` that says why.

    n: independent units. se: standard error, where the method has one.
    mark: "" | "n = 1" | "deterministic, n = 1" | "no variation".
    """

    value: float
    interval: Interval | None
    n: int
    se: float | None = None
    mark: str = ""


class CellSummary(msgspec.Struct, frozen=True):
    """One cell of a table: what was played and what came out.

    mean: of block means, t interval. iqm: interquartile mean with bootstrap, from 10 blocks on.
    distinct: how many different episodes the cell holds, None where digests were not given.
    """

    name: str
    mean: Estimate
    iqm: Estimate | None
    episodes: int
    blocks: int
    distinct: int | None = None
    marks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Comparison(msgspec.Struct, frozen=True):
    """A candidate against the baseline of its family, on one metric.

    difference: candidate minus baseline, mean over blocks. interval: unadjusted, at the level asked.
    adjusted_interval: at the level of Holm's step for this comparison; it decides the verdict.
    p, p_adjusted: two-sided, raw and Holm. family: how many comparisons were tested together.
    effect: difference divided by the standard deviation of block differences (d_z), None without one.
    units: blocks, or clusters where the cells name them. episodes: of the candidate's cell.
    mde: smallest true difference found with the asked power at this many units and the adjusted level.
    blocks_needed, episodes_needed: per lineup and in all (not in addition), only when underpowered.
    iqm: difference of interquartile means, blocks resampled in pairs, from 10 blocks on.
    """

    candidate: str
    baseline: str
    metric: str
    verdict: Verdict
    difference: float
    margin: float
    interval: Interval | None
    adjusted_interval: Interval | None
    p: float | None
    p_adjusted: float | None
    family: int
    effect: float | None
    units: int
    blocks: int
    episodes: int
    mde: float | None = None
    blocks_needed: int | None = None
    episodes_needed: int | None = None
    iqm: Estimate | None = None
    marks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Components(msgspec.Struct, frozen=True):
    """Variance of paired differences, taken apart.

    omega2: between blocks, of the true difference. sigma_a2, sigma_b2: within a block, between
    replicates of candidate and baseline. blocks: how many they were estimated from.
    """

    omega2: float
    sigma_a2: float
    sigma_b2: float
    blocks: int


class Profile(msgspec.Struct, frozen=True):
    """A performance profile: for each threshold tau the share of scores above it, with a pointwise band."""

    tau: Any
    share: Any
    low: Any
    high: Any
    level: float
    n: int
    warning: str = ""


def few_blocks(n: int, what: str = "blocks") -> str:
    """The warning for too few units, or ""."""
    return f"{n} {what}, fewer than {FEW_BLOCKS}: intervals lean on near-normal differences" if n < FEW_BLOCKS else ""


def shown(estimate: Estimate, digits: int = 3) -> str:
    """`0.420 [0.370, 0.470]`, or the value with the mark that explains the missing interval."""
    if math.isnan(estimate.value):
        return "-"
    text = f"{estimate.value:.{digits}f}"
    if estimate.interval is None:
        return f"{text} ({estimate.mark})"
    return f"{text} [{estimate.interval.low:.{digits}f}, {estimate.interval.high:.{digits}f}]"
