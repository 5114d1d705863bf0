"""What a table counts per cell beside its score: distinct episodes, served links, endings, reliability.

Pure functions on columns with one row per episode (or per decision, where said). Shares come as
`Estimate`s whose interval treats the block as the unit, because decisions inside one block are not
independent. Reliability measures follow the definitions of the HAL reliability suite (outcome,
trajectory and resource consistency), with its known bias offered as a choice; predictability is in
`calibration`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel.types import CrossplayError
from crossplay.measure.agreement import jensen_shannon
from crossplay.measure.stats.blocks import block_means, factorise, finite
from crossplay.measure.stats.intervals import constant_interval, mean_t, t_interval, varies
from crossplay.measure.stats.results import Estimate

__all__ = [
    "action_similarity",
    "distinct",
    "endings",
    "outcome_consistency",
    "over_limit",
    "ratio",
    "resource_consistency",
    "sequence_similarity",
    "served",
    "served_share",
]

LINKS = "link_"  # the engine counts every served link of the conduct as link_<name>


def distinct(digests: Sequence[Hashable] | np.ndarray) -> int:
    """How many different episodes a cell holds; digests[n]: world digests (bytes, texts or integers)."""
    return len({d.item() if isinstance(d, np.generic) else d for d in digests})


def endings(statuses: Sequence[str]) -> dict[str, int]:
    """Number of episodes per ending, "forfeit:SEAT" as it is; the most frequent first, then by name."""
    counts = Counter(statuses)
    return {name: counts[name] for name in sorted(counts, key=lambda s: (-counts[s], s))}


def served(counts: Mapping[str, Mapping[str, int]], seats: Sequence[str] | None = None) -> int:
    """Links served for the seats of one episode (default: all): moves that were not the agent's own.

    counts: as in an outcome, per seat the number of each counter. `held` moves are no faults.
    """
    chosen = counts if seats is None else {s: counts[s] for s in seats}
    return sum(k for row in chosen.values() for name, k in row.items() if name.startswith(LINKS))


def ratio(numerator: Any, denominator: Any, blocks: Sequence[Hashable] | np.ndarray, level: float = 0.95) -> Estimate:
    """sum(numerator) / sum(denominator) of episodes[n], e.g. served links per decision or cost per success.

    The block is the unit: linearised variance sum_g (u_g - r v_g)**2 / (sum v)**2 * G / (G - 1),
    t with G - 1 degrees of freedom (Cochran 1977, "Sampling Techniques", 6.3).
    """
    u, v = finite(numerator, "numerator"), finite(denominator, "denominator")
    if not u.size == v.size == len(blocks):
        raise CrossplayError(f"ratio: {u.size} numerators, {v.size} denominators and {len(blocks)} block ids")
    total = math.fsum(v)
    if (v < 0).any() or total <= 0:
        raise CrossplayError("ratio: denominators must not be negative, and not all 0")
    names, at = factorise(blocks)
    groups, value = len(names), math.fsum(u) / total
    residual = np.bincount(at, weights=u - value * v, minlength=groups)
    if groups < 2:
        return Estimate(value, None, groups, None, "n = 1")
    se = math.sqrt(float(residual @ residual) * groups / (groups - 1)) / total
    if not se > 1e-12 * abs(value):
        return Estimate(value, None, groups, 0.0, "no variation")
    return Estimate(value, t_interval(value, se, groups - 1, level, groups, "ratio t"), groups, se)


def served_share(links: Any, decisions: Any, blocks: Sequence[Hashable] | np.ndarray, level: float = 0.95) -> Estimate:
    """Share of decisions[n] whose move was served by the conduct, links[n]; interval cut to [0, 1].

    A share of exactly 0 or 1 has no variation between blocks and gets the interval for that case.
    """
    e = ratio(links, decisions, blocks, level)
    if e.mark == "no variation":
        return msgspec.structs.replace(e, interval=constant_interval(e.value, e.n, (0.0, 1.0), level))
    if e.interval is None:
        return e
    cut = msgspec.structs.replace(e.interval, low=max(0.0, e.interval.low), high=min(1.0, e.interval.high))
    return msgspec.structs.replace(e, interval=cut)


def over_limit(links: Any, decisions: Any, limit: float) -> bool:
    """Whether a cell served more than `limit` of its decisions: such a cell is flagged in the table."""
    return float(np.sum(links)) > limit * float(np.sum(decisions))


def outcome_consistency(
    successes: Any, blocks: Sequence[Hashable] | np.ndarray, level: float = 0.95, unbiased: bool = False
) -> Estimate:
    """How alike the outcomes of one block are: mean over blocks of (2 p - 1)**2, p the share of successes.

    successes[n]: 0 or 1; blocks with a single replicate say nothing and are left out. With few
    replicates K the formula is too high by 4 p (1 - p) / K (a fair coin played twice scores 0.5);
    `unbiased` uses 1 - 4 p (1 - p) K / (K - 1) instead, which a single block may take below 0.
    """
    x = finite(successes, "successes")
    if not np.isin(x, (0, 1)).all():
        raise CrossplayError("outcome consistency: expected successes as 0 or 1")
    means = block_means(x, blocks)
    keep = means.counts > 1
    if not keep.any():
        raise CrossplayError("outcome consistency needs replicates: play each block at least twice")
    p, k = means.means[keep], means.counts[keep]
    spread = 4 * p * (1 - p)
    if unbiased:
        return mean_t(1 - spread * k / (k - 1), level, (-1.0, 1.0))
    return mean_t(1 - spread, level, (0.0, 1.0))


def resource_consistency(amounts: Any, blocks: Sequence[Hashable] | np.ndarray, level: float = 0.95) -> Estimate:
    """How alike the spending of one block is: mean over blocks of exp(-sd / mean); amounts[n] >= 0.

    sd over replicates (n - 1); blocks with a single replicate are left out; a block that spent nothing
    scores 1.
    """
    x = finite(amounts, "amounts")
    if (x < 0).any():
        raise CrossplayError("resource consistency: amounts must not be negative")
    names, at = factorise(blocks)
    groups = [x[at == g] for g in range(len(names))]
    scores = [
        math.exp(-float(g.std(ddof=1)) / float(g.mean())) if g.any() and varies(g) else 1.0
        for g in groups
        if g.size > 1
    ]
    if not scores:
        raise CrossplayError("resource consistency needs replicates: play each block at least twice")
    return mean_t(scores, level, (0.0, 1.0))


def _levenshtein(a: np.ndarray, b: np.ndarray) -> int:
    """Fewest insertions, deletions and substitutions from a[n] to b[m]; one array row per element of a."""
    at = np.arange(b.size + 1)
    row = at.copy()
    for i, x in enumerate(a):
        best = np.minimum(row[1:] + 1, row[:-1] + (b != x))
        best = np.concatenate(([i + 1], best))
        # An insertion reaches position j from any earlier one at its distance.
        row = np.minimum.accumulate(best - at) + at
    return int(row[-1])


def sequence_similarity(sequences: Sequence[Sequence[Hashable]]) -> float:
    """Mean over pairs of 1 - Levenshtein / longer length, in [0, 1], of the replicates of one block.

    sequences: action sequences; two empty ones are equal. Needs two at least.
    """
    if len(sequences) < 2:
        raise CrossplayError("sequence similarity needs at least two replicates of a block")
    _, flat = factorise([a for s in sequences for a in s])
    coded = np.split(flat, np.cumsum([len(s) for s in sequences])[:-1])
    pairs = [
        1.0 if not (a.size or b.size) else 1 - _levenshtein(a, b) / max(a.size, b.size)
        for a, b in combinations(coded, 2)
    ]
    return float(np.mean(pairs))


def action_similarity(sequences: Sequence[Sequence[Hashable]]) -> float:
    """Mean over pairs of 1 - Jensen-Shannon divergence (bits) of the action frequencies, in [0, 1].

    sequences: non-empty action sequences of the replicates of one block, order ignored.
    """
    if len(sequences) < 2 or not all(len(s) for s in sequences):
        raise CrossplayError("action similarity needs at least two replicates, each with an action")
    names, flat = factorise([a for s in sequences for a in s])
    coded = np.split(flat, np.cumsum([len(s) for s in sequences])[:-1])
    p = np.stack([np.bincount(c, minlength=len(names)) / c.size for c in coded])
    return float(np.mean([1 - jensen_shannon(p[i], p[j]) for i, j in combinations(range(len(p)), 2)]))
