"""One family of comparisons with a baseline on one metric, and its verdicts (invariant 9).

Verdicts, in this order, from the Holm-adjusted interval of the mean block difference:
better or worse: it excludes 0; tied: it lies inside the margin; else underpowered, with the number of
episodes that would settle it. A difference may be `better` and still inside the margin: then it is
marked `within margin`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay.kernel.seeds import key
from crossplay.kernel.types import CrossplayError
from crossplay.measure.stats.blocks import BlockMeans, align, block_means, finite
from crossplay.measure.stats.intervals import (
    Bounds,
    bootstrap,
    bootstrap_difference,
    check_level,
    cluster_mean,
    constant_interval,
    mean_t,
    t_interval,
    t_p_value,
    varies,
    welch,
)
from crossplay.measure.stats.power import (
    blocks_for_difference,
    blocks_for_tie,
    blocks_to_settle,
    constant_blocks,
    minimum_detectable,
)
from crossplay.measure.stats.resampling import REPS, Resamples
from crossplay.measure.stats.results import (
    FEW_BLOCKS,
    FEW_SEEDS,
    CellSummary,
    Comparison,
    Estimate,
    Interval,
    Verdict,
    few_blocks,
    shown,
)
from crossplay.measure.stats.significance import holm, step_down_levels

__all__ = ["Cell", "compare", "describe", "summarise"]

DETERMINISTIC = "deterministic, n = 1"
Pairing = Literal["paired", "common", "unpaired"]


class Cell(msgspec.Struct, frozen=True):
    """The episodes of one lineup in one environment, on one metric; all columns have one row each.

    values: scores[n]. blocks: block ids[n]; rows with one id are replicates.
    digests: world digests[n], which tell distinct episodes. clusters: what shares its errors across
    blocks, e.g. the participant[n] (constant within a block).
    training_seeds: how many independently trained copies the lineup's policies stand for, if any.
    """

    name: str
    values: Any
    blocks: Any
    digests: Any = None
    clusters: Any = None
    training_seeds: int | None = None


class _Difference(msgspec.Struct):
    """What one comparison rests on, before the family is known. sides: block means of both, to be resampled, if any."""

    estimate: Estimate
    p: float | None
    span: float
    blocks: int
    episodes: int
    sides: tuple[np.ndarray, np.ndarray] | None
    marks: list[str]
    warnings: list[str]


def _distinct(cell: Cell) -> int | None:
    if cell.digests is None:
        return None
    if len(cell.digests) != len(cell.values):
        raise CrossplayError(f"{cell.name}: {len(cell.values)} values but {len(cell.digests)} digests")
    return len({d.item() if isinstance(d, np.generic) else d for d in cell.digests})


def _cell_notes(cell: Cell, blocks: int) -> tuple[list[str], list[str], bool]:
    """(marks, warnings, whether every episode is the same one)."""
    marks, warnings = [], []
    distinct, episodes = _distinct(cell), len(cell.values)
    same = distinct == 1 and episodes > 1
    if same:
        marks.append(DETERMINISTIC)
    elif distinct is not None and distinct < blocks:
        warnings.append(f"{cell.name}: {distinct} distinct episodes in {blocks} blocks")
    if cell.training_seeds is not None and cell.training_seeds < FEW_SEEDS:
        marks.append("this checkpoint")
    return marks, warnings, same


def _cluster_of(cell: Cell, means: BlockMeans) -> list[Hashable] | None:
    """The cluster of every block in the order of `means`, or None when the cell names none."""
    if cell.clusters is None:
        return None
    if len(cell.clusters) != len(cell.values):
        raise CrossplayError(f"{cell.name}: {len(cell.values)} values but {len(cell.clusters)} cluster ids")
    seen: dict[Hashable, Hashable] = {}
    for block, cluster in zip(cell.blocks, cell.clusters, strict=True):
        if seen.setdefault(block, cluster) != cluster:
            raise CrossplayError(f"{cell.name}: block {block!r} lies in two clusters, {seen[block]!r} and {cluster!r}")
    return [seen[b] for b in means.blocks]


def summarise(
    cell: Cell,
    level: float = 0.95,
    bounds: Bounds | None = None,
    reps: int = REPS,
    k: bytes | None = None,
    resamples: Resamples | None = None,
) -> CellSummary:
    """The row of one cell: mean of block means with its interval, IQM from 10 units on, marks, warnings.

    bounds: lowest and highest possible score, used when all blocks scored the same; without them such
    a cell gets no interval and the mark `no variation`. reps, k: of the bootstrap; 0 leaves it out.
    resamples: that several cells share, in their place.
    """
    check_level(level)
    means = block_means(cell.values, cell.blocks, cell.name)
    clusters = _cluster_of(cell, means)
    marks, warnings, same = _cell_notes(cell, means.means.size)
    robust = None
    if same:
        mean = Estimate(float(means.means[0]), None, 1, None, DETERMINISTIC)
    elif clusters is not None:
        mean = cluster_mean(means.means, clusters, level, bounds=bounds)
    else:
        mean = mean_t(means.means, level, bounds)
        if reps and mean.n >= FEW_BLOCKS:
            k = k or key("stats", "cell", cell.name)
            robust = bootstrap(means.means, level=level, reps=reps, k=k, resamples=resamples)
    if mean.mark and mean.mark not in marks:
        marks.append(mean.mark)
    if few := few_blocks(mean.n, "clusters" if clusters is not None else "blocks"):
        warnings.append(few)
    return CellSummary(
        cell.name, mean, robust, len(cell.values), means.means.size, _distinct(cell), tuple(marks), tuple(warnings)
    )


def _restrict(means: BlockMeans, common: set[Any]) -> BlockMeans:
    keep = np.array([b in common for b in means.blocks])
    return BlockMeans(tuple(b for b in means.blocks if b in common), means.means[keep], means.counts[keep])


def _pair(a: BlockMeans, b: BlockMeans, names: tuple[str, str], pairing: Pairing) -> tuple[BlockMeans, BlockMeans, str]:
    """Both sides on the blocks they share, and a warning when that left some out."""
    common = set(a.blocks) & set(b.blocks)
    if pairing == "paired" or a.blocks == b.blocks:
        align(a, b, names)
        return a, b, ""
    if not common:
        raise CrossplayError(f'{names[0]} and {names[1]} share no block; ask for pairing = "unpaired"')
    dropped = len(a.blocks) + len(b.blocks) - 2 * len(common)
    return _restrict(a, common), _restrict(b, common), f"{dropped} blocks that only one side played are left out"


def _difference(cell: Cell, base: Cell, level: float, pairing: Pairing, limits: Bounds, reps: int) -> _Difference:
    a, b = (block_means(c.values, c.blocks, c.name) for c in (cell, base))
    span = limits[1] - limits[0]
    marks, warnings, same = _cell_notes(cell, a.means.size)
    base_marks, base_warnings, base_same = _cell_notes(base, b.means.size)
    marks += [f"{base.name}: {m}" for m in base_marks]
    warnings += base_warnings
    if same and base_same:
        value = float(a.means[0] - b.means[0])
        return _Difference(
            Estimate(value, None, 1, None, DETERMINISTIC),
            None,
            span,
            a.means.size,
            len(cell.values),
            None,
            marks,
            warnings,
        )
    if pairing == "unpaired":
        if cell.clusters is not None or base.clusters is not None:
            raise CrossplayError("clusters need paired blocks; make the participant the block to compare unpaired")
        estimate = welch(a.means, b.means, level)
        warnings.append("unpaired: blocks differ between the two sides")
        p = _p_value(estimate, 0.0)
        return _Difference(estimate, p, span, a.means.size, len(cell.values), None, marks, warnings)
    a, b, note = _pair(a, b, (cell.name, base.name), pairing)
    if note:
        warnings.append(note)
    estimate, sides = _paired(cell, base, a, b, level, (-span, span), reps)
    return _Difference(
        estimate, _p_value(estimate, span), span, a.means.size, int(a.counts.sum()), sides, marks, warnings
    )


def _paired(
    cell: Cell, base: Cell, a: BlockMeans, b: BlockMeans, level: float, bounds: Bounds, reps: int
) -> tuple[Estimate, tuple[np.ndarray, np.ndarray] | None]:
    """(the mean difference, both sides where their interquartile means are compared as well)."""
    d = a.means - b.means
    scale = float(max(np.abs(a.means).max(), np.abs(b.means).max()))
    clusters, other = _cluster_of(cell, a), _cluster_of(base, b)
    if clusters is not None and other is not None and clusters != other:
        raise CrossplayError(f"{cell.name} and {base.name} put the same blocks in different clusters")
    clusters = clusters if clusters is not None else other
    if clusters is not None:
        return cluster_mean(d, clusters, level, bounds=bounds, scale=scale), None
    estimate = mean_t(d, level, bounds, scale)
    if reps == 0 or d.size < FEW_BLOCKS or not varies(d, scale):
        return estimate, None
    return estimate, (a.means, b.means)


def _p_value(estimate: Estimate, span: float) -> float | None:
    """P dual to the interval of `_at_level`; None where nothing can be tested."""
    if estimate.mark == "no variation" and estimate.n > 1 and span > 0:
        return (span / (span + abs(estimate.value))) ** (estimate.n - 1)
    if estimate.interval is None or not estimate.se:
        return None
    return t_p_value(estimate.value, estimate.se, estimate.interval.df or 1.0)


def _at_level(estimate: Estimate, level: float, span: float) -> Interval | None:
    """The interval of an estimate at another level."""
    old = estimate.interval
    if old is None:
        return None
    if old.method == "constant":
        return constant_interval(estimate.value, estimate.n, (-span, span), level)
    return t_interval(estimate.value, estimate.se or 0.0, old.df or 1.0, level, old.n, old.method)


def _verdict(interval: Interval | None, margin: float, higher_is_better: bool) -> Verdict:
    if interval is None:
        return "underpowered"
    if interval.excludes(0.0):
        return "better" if (interval.low > 0.0) == higher_is_better else "worse"
    return "tied" if interval.inside(margin) else "underpowered"


def _needed(d: _Difference, margin: float, level: float, power: float) -> int | None:
    """Units that would settle an underpowered comparison, more than there are; None where unknown."""
    e = d.estimate
    if e.mark == "no variation" and d.span > 0:
        return max(e.n + 1, constant_blocks(max(margin, abs(e.value)), d.span, level))
    if e.interval is None or not e.se:
        return None
    sd = e.se * math.sqrt(e.n)
    planned = blocks_to_settle(margin, sd, level, power)
    if planned <= e.n:
        # A true difference between 0 and the margin: plan for the one that was seen.
        seen = abs(e.value)
        ways = [blocks_for_difference(seen, sd, level, power)] if seen > 0 else []
        if seen < margin:
            ways.append(blocks_for_tie(margin, sd, level, power, seen))
        planned = max(e.n + 1, min(ways))
    return planned


def _limits(cells: Sequence[Cell], bounds: Bounds | None) -> Bounds:
    """The range of the metric: as given, else as seen in the whole family."""
    columns = [finite(c.values, c.name) for c in cells]
    low, high = min(float(c.min()) for c in columns), max(float(c.max()) for c in columns)
    if bounds is None:
        return low, high
    if low < bounds[0] or high > bounds[1]:
        raise CrossplayError(f"scores from {low:g} to {high:g} lie outside the bounds {bounds[0]:g} to {bounds[1]:g}")
    return bounds


def compare(
    candidates: Sequence[Cell],
    baseline: Cell,
    margin: float,
    level: float = 0.95,
    *,
    metric: str = "score",
    power: float = 0.8,
    pairing: Pairing = "paired",
    bounds: Bounds | None = None,
    higher_is_better: bool = True,
    reps: int = REPS,
    k: bytes = b"",
    resamples: Resamples | None = None,
) -> list[Comparison]:
    """Every candidate against one baseline on one metric: the whole family, in the order given.

    margin: differences below it do not matter (the study names it). pairing: "paired" refuses cells
    that met different blocks; "common" keeps the shared ones and warns; "unpaired" is Welch's t.
    bounds: range of the metric, for blocks that all differ by the same; default: the range seen.
    reps, k: resamples and key of the bootstrap of interquartile means; 0 leaves it out. resamples: that
    several families share, in their place.
    """
    check_level(level)
    if not (margin > 0 and math.isfinite(margin)):
        raise CrossplayError(f"margin = {margin}: expected the smallest difference that matters, above 0")
    if pairing not in ("paired", "common", "unpaired"):
        raise CrossplayError(f'pairing = "{pairing}": expected paired, common or unpaired')
    if not candidates:
        return []
    limits = _limits([*candidates, baseline], bounds)
    found = [_difference(c, baseline, level, pairing, limits, reps) for c in candidates]
    # The key names neither side, so that swapping them mirrors the interval.
    resamples = resamples or Resamples(reps, key("stats", "pair", k, metric))
    resamples.of([side for d in found for side in d.sides or ()])
    robust = [
        bootstrap_difference(*d.sides, level=level, resamples=resamples) if d.sides is not None else None for d in found
    ]
    raw = np.array([np.nan if d.p is None else d.p for d in found])
    adjusted, levels = holm(raw), step_down_levels(raw, level)
    family = int(np.count_nonzero(~np.isnan(raw)))
    rows = zip(candidates, found, robust, adjusted, levels, strict=True)
    return [
        _finish(c, baseline, d, r, float(q), float(lv), margin, power, metric, family, higher_is_better)
        for c, d, r, q, lv in rows
    ]


def _finish(
    cell: Cell,
    base: Cell,
    d: _Difference,
    robust: Estimate | None,
    p_adjusted: float,
    level: float,
    margin: float,
    power: float,
    metric: str,
    family: int,
    higher_is_better: bool,
) -> Comparison:
    e = d.estimate
    tested = d.p is not None
    interval = _at_level(e, level, d.span) if tested else None
    verdict = _verdict(interval, margin, higher_is_better)
    marks, warnings = d.marks, d.warnings
    if e.mark and e.mark not in marks:
        marks.append(e.mark)
    if verdict in ("better", "worse") and interval is not None and interval.inside(margin):
        marks.append("within margin")
    clustered = cell.clusters is not None or base.clusters is not None
    if few := few_blocks(e.n, "clusters" if clustered else "blocks"):
        warnings.append(few)
    if e.interval is not None and e.interval.method == "constant":
        warnings.append(e.interval.warning)
    sd = e.se * math.sqrt(e.n) if e.se else None
    needed = _needed(d, margin, level, power) if verdict == "underpowered" and tested else None
    return Comparison(
        candidate=cell.name,
        baseline=base.name,
        metric=metric,
        verdict=verdict,
        difference=e.value,
        margin=margin,
        interval=e.interval if tested else None,
        adjusted_interval=interval,
        p=d.p,
        p_adjusted=p_adjusted if tested else None,
        family=family,
        effect=e.value / sd if sd else None,
        units=e.n,
        blocks=d.blocks,
        episodes=d.episodes,
        mde=minimum_detectable(sd, e.n, level, power) if sd and e.n > 1 else None,
        blocks_needed=needed,
        episodes_needed=math.ceil(needed * d.episodes / e.n) if needed else None,
        iqm=robust,
        marks=tuple(marks),
        warnings=tuple(warnings),
    )


def describe(c: Comparison, digits: int = 3) -> str:
    """One line: `taker vs talker, score: better, +0.120 [0.030, 0.210], Holm p = 0.012, 30 blocks`."""
    if c.adjusted_interval is None:
        value = f"{c.difference:+.{digits}f} ({c.marks[-1] if c.marks else 'no interval'})"
    else:
        sign = "+" if c.difference >= 0 else ""
        value = sign + shown(Estimate(c.difference, c.adjusted_interval, c.units), digits)
    parts = [f"{c.candidate} vs {c.baseline}, {c.metric}: {c.verdict}, {value}"]
    if c.p_adjusted is not None:
        parts.append(f"Holm p = {c.p_adjusted:.3g}")
    parts.append(f"{c.blocks} blocks")
    if c.episodes_needed is not None:
        parts.append(f"needs about {c.episodes_needed} episodes per lineup")
    return ", ".join([*parts, *c.marks])
