"""What the intervals and verdicts really deliver, by simulation with addressed chance.

    python tests/measure/stats_simulations.py

prints the tables of docs/statistics.md (several minutes on one core); the tests run the same functions
with fewer repetitions.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from crossplay.kernel.seeds import generator, key
from crossplay.measure import stats as st


def standard_error(share: float, reps: int) -> float:
    """Monte Carlo error of a share."""
    return math.sqrt(share * (1 - share) / reps)


# ---- worlds of paired differences with a known true mean ----------------------------------------
def normal(r, n):
    """True difference 0."""
    return r.normal(size=n)


def skewed(r, n):
    """Lognormal(0, 1) less its mean."""
    return r.lognormal(size=n) - math.exp(0.5)


def success(r, n):
    """Differences of 0/1 outcomes: candidate wins alone 25 %, baseline alone 25 %."""
    return r.choice([-1.0, 0.0, 1.0], p=[0.25, 0.5, 0.25], size=n)


def rare(r, n):
    """Differences of 0/1 outcomes that almost always agree: 2 % either way."""
    return r.choice([-1.0, 0.0, 1.0], p=[0.02, 0.96, 0.02], size=n)


WORLDS = (normal, skewed, success, rare)


def t_coverage(world, n, reps, level=0.95):
    """(coverage of 0 by the t interval of n differences, share of samples without variation)."""
    r = generator(key("simulation", "t", world.__name__, n))
    covered = constant = 0
    for _ in range(reps):
        e = st.mean_t(world(r, n), level, bounds=(-1.0, 1.0))
        constant += e.mark != ""
        covered += e.interval is not None and not e.interval.excludes(0.0)
    return covered / reps, constant / reps


def cluster_coverage(groups, size, reps, clustered):
    """Coverage by the cluster t (or the naive t) when half of the variance is shared in a cluster."""
    r = generator(key("simulation", "cluster", groups, size))
    clusters = np.repeat(np.arange(groups), size)
    covered = 0
    for _ in range(reps):
        x = r.normal(size=groups)[clusters] + r.normal(size=clusters.size)
        e = st.cluster_mean(x, clusters) if clustered else st.mean_t(x)
        covered += not e.interval.excludes(0.0)
    return covered / reps


def wilson_coverage(p, n, reps):
    """Coverage by Wilson's interval of independent trials."""
    r = generator(key("simulation", "wilson", n, int(p * 1000)))
    return float(np.mean([not st.wilson(int(k), n).interval.excludes(p) for k in r.binomial(n, p, size=reps)]))


TASKS = 8
SHAPES = [(2.0 + t / 2, 6.0 - t / 2) for t in range(TASKS)]


def beta_scores(r, runs):
    """float[runs, 8]: each task has its own beta distribution, means from 0.25 to 0.69."""
    return np.stack([r.beta(a, b, size=runs) for a, b in SHAPES], axis=1)


def true_iqm(kind, runs=0):
    """What the estimate aims at, from many draws.

    "population": IQM of endless runs of all tasks; "expected": mean of the IQM of `runs` runs.
    """
    r = generator(key("simulation", "truth", kind, runs))
    if kind == "population":
        return st.iqm(beta_scores(r, 400_000))
    x = np.stack([beta_scores(r, runs).reshape(-1) for _ in range(20_000)])
    return float(st.iqm(x, axis=-1).mean())


def iqm_coverage(runs, reps, resamples=500):
    """Coverage of the population IQM by the stratified bootstrap of `runs` runs x 8 tasks."""
    r = generator(key("simulation", "iqm", runs))
    truth, covered = true_iqm("population"), 0
    for i in range(reps):
        e = st.iqm_estimate(beta_scores(r, runs), reps=resamples, k=key("simulation", "iqm", runs, i))
        covered += not e.interval.excludes(truth)
    return covered / reps


def block_iqm_coverage(n, reps, method, resamples=1000):
    """Coverage of the true IQM of one lognormal column by the bootstrap over n blocks."""
    r = generator(key("simulation", "block iqm", n))
    truth = st.iqm(generator(key("simulation", "block truth")).lognormal(0, 0.75, size=2_000_000))
    covered = 0
    for i in range(reps):
        e = st.bootstrap(
            r.lognormal(0, 0.75, size=n), method=method, reps=resamples, k=key("simulation", "block iqm", n, i)
        )
        covered += e.interval is not None and not e.interval.excludes(truth)
    return covered / reps


def verdicts(effects, n, reps, sd=1.0, margin=0.5, noise=0.5):
    """Verdicts of one family on n shared blocks: (list of Counter per candidate, family errors, joint coverage).

    effects: true differences. A family error: better or worse with the wrong sign (or a true 0), or tied
    where the true difference is at or beyond the margin. Joint coverage: all adjusted intervals hold.
    The baseline's own noise is shared by all comparisons, so they are correlated.
    """
    r = generator(key("simulation", "verdicts", n, [float(e) for e in effects], sd))
    tallies, wrong, false_better, false_tie, joint = [Counter() for _ in effects], 0, 0, 0, 0
    for _ in range(reps):
        world = r.normal(0, 2, size=n)
        base = st.Cell("base", world + r.normal(0, noise * sd, size=n), range(n))
        cells = [
            st.Cell(f"c{i}", world + e + r.normal(0, math.sqrt(1 - noise**2) * sd, size=n), range(n))
            for i, e in enumerate(effects)
        ]
        found = st.compare(cells, base, margin, reps=0)
        bad = tie = False
        for tally, effect, c in zip(tallies, effects, found, strict=True):
            tally[c.verdict] += 1
            bad |= (c.verdict == "better" and effect <= 0) or (c.verdict == "worse" and effect >= 0)
            tie |= c.verdict == "tied" and abs(effect) >= margin
        false_better, false_tie, wrong = false_better + bad, false_tie + tie, wrong + (bad or tie)
        joint += all(not c.adjusted_interval.excludes(e) for c, e in zip(found, effects, strict=True))
    return tallies, {
        "false better/worse": false_better / reps,
        "false tie": false_tie / reps,
        "any": wrong / reps,
        "joint coverage": joint / reps,
    }


def settled(effect, margin, sd, reps, pilot=12):
    """How often the planned number of blocks settles what a pilot left open: (planned n, share settled)."""
    n = st.blocks_to_settle(margin, sd)
    r = generator(key("simulation", "settled", int(effect * 1000), pilot))
    hits = 0
    for _ in range(reps):
        base = st.Cell("b", np.zeros(n), range(n))
        (c,) = st.compare([st.Cell("a", r.normal(effect, sd, size=n), range(n))], base, margin, reps=0)
        hits += c.verdict == ("tied" if effect == 0 else "better")
    return n, hits / reps


def main() -> None:
    """Print the tables of docs/statistics.md."""
    reps = 20_000
    print("t interval, nominal 95 %: coverage (share of samples without variation)")
    for world in WORLDS:
        row = [t_coverage(world, n, reps) for n in (3, 5, 10, 30, 100)]
        print(f"  {world.__name__:8}", "  ".join(f"{c:.3f} ({s:.3f})" for c, s in row), flush=True)
    print("clusters of 8 rows, half of the variance shared: cluster t, naive t")
    for g in (5, 10, 30):
        print(f"  {g:3}", *(f"{cluster_coverage(g, 8, reps // 2, c):.3f}" for c in (True, False)), flush=True)
    print("Wilson: n, p, coverage")
    for n in (5, 10, 30, 100):
        print(f"  {n:3}", *(f"{wilson_coverage(p, n, reps):.3f}" for p in (0.02, 0.1, 0.5)), flush=True)
    print("stratified bootstrap of the IQM, runs x 8 tasks; 4000 samples x 1000 resamples")
    for runs in (3, 5, 10, 20, 50):
        c = iqm_coverage(runs, 4000, 1000)
        bias = true_iqm("expected", runs) - true_iqm("population")
        print(f"  {runs:3} {c:.3f} +- {standard_error(c, 4000):.3f}, bias of the IQM {bias:+.4f}", flush=True)
    print("bootstrap of the IQM over blocks, lognormal; 2000 samples x 1000 resamples: percentile, BCa")
    for n in (5, 10, 20, 50):
        row = [block_iqm_coverage(n, 2000, m) for m in ("percentile", "bca")]
        print(f"  {n:3}", *(f"{c:.3f}" for c in row), flush=True)
    print("verdicts, 5 candidates, margin 0.5, sd 1, 4000 families")
    for name, effects in {
        "all equal": [0.0] * 5,
        "one better": [0.8, 0, 0, 0, 0],
        "all at the margin": [0.5] * 5,
        "mixed signs": [0.8, -0.8, 0, 0.5, 0],
        "all far": [3.0] * 5,
    }.items():
        for n in (10, 40):
            tallies, errors = verdicts(effects, n, 4000)
            print(f"  {name}, {n} blocks:", {k: round(v, 4) for k, v in errors.items()}, dict(tallies[0]), flush=True)
    print("blocks_to_settle: planned, share settled")
    for effect in (0.0, 0.5):
        print(f"  true difference {effect}:", settled(effect, 0.5, 1.0, reps), flush=True)


if __name__ == "__main__":
    main()
