"""All statistics of the tables (invariant 9), as pure functions on numpy arrays.

`results`: the frozen answers. `blocks`: pairing by block id. `intervals`, `robust`: estimates with
intervals. `significance`: p-values and multiplicity. `power`: how many blocks. `compare`: one family
of comparisons with a baseline, and the verdicts better, worse, tied, underpowered.
No plotting, no reading of runs, no global generator: every bootstrap has an addressed key.
"""

from crossplay.measure.stats.blocks import BlockMeans, align, block_means
from crossplay.measure.stats.compare import Cell, compare, describe, summarise
from crossplay.measure.stats.intervals import (
    bootstrap,
    bootstrap_difference,
    cluster_mean,
    constant_interval,
    macro_mean,
    mean_t,
    paired_t,
    t_interval,
    welch,
    wilson,
)
from crossplay.measure.stats.power import (
    blocks_for_difference,
    blocks_for_tie,
    blocks_to_settle,
    blocks_with_replicates,
    components,
    difference_variance,
    minimum_detectable,
    power_t,
    power_tie,
)
from crossplay.measure.stats.results import CellSummary, Comparison, Components, Estimate, Interval, Profile, shown
from crossplay.measure.stats.robust import (
    improvement,
    iqm,
    iqm_estimate,
    optimality_gap,
    profile,
    stratified_bootstrap,
)
from crossplay.measure.stats.significance import (
    benjamini_hochberg,
    holm,
    mcnemar,
    mcnemar_counts,
    sign_flip,
    step_down_levels,
)

__all__ = [
    "BlockMeans",
    "Cell",
    "CellSummary",
    "Comparison",
    "Components",
    "Estimate",
    "Interval",
    "Profile",
    "align",
    "benjamini_hochberg",
    "block_means",
    "blocks_for_difference",
    "blocks_for_tie",
    "blocks_to_settle",
    "blocks_with_replicates",
    "bootstrap",
    "bootstrap_difference",
    "cluster_mean",
    "compare",
    "components",
    "constant_interval",
    "describe",
    "difference_variance",
    "holm",
    "improvement",
    "iqm",
    "iqm_estimate",
    "macro_mean",
    "mcnemar",
    "mcnemar_counts",
    "mean_t",
    "minimum_detectable",
    "optimality_gap",
    "paired_t",
    "power_t",
    "power_tie",
    "profile",
    "shown",
    "sign_flip",
    "step_down_levels",
    "stratified_bootstrap",
    "summarise",
    "t_interval",
    "welch",
    "wilson",
]
