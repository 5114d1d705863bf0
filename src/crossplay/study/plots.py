"""The plots of a result with their words and numbers, as plain values: for the report, the page, and files.

Each plot is of one environment. Nothing here knows HTML; drawings come from `study/svg.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from crossplay.kernel.seeds import key
from crossplay.measure.frontier import staircase
from crossplay.measure.stats.compare import DETERMINISTIC
from crossplay.measure.stats.results import CellSummary, Comparison, Estimate
from crossplay.measure.stats.robust import profile
from crossplay.study import svg
from crossplay.study.costs import Costs
from crossplay.study.tables import NO_MARGIN, Result, Row, Scores

__all__ = [
    "ALONE",
    "PLOTS",
    "VERDICTS",
    "Plot",
    "cost_plot",
    "cost_unit",
    "difference_words",
    "differences_plot",
    "estimate_words",
    "faults_plot",
    "payoff_plot",
    "plot_of",
    "profiles_plot",
    "scores_plot",
    "verdict_words",
]

VERDICTS = {"better": "better", "worse": "worse", "tied": "tied", "underpowered": "not shown"}
ALONE = "no interval"  # what is said of a comparison of episodes that never vary
POINTS = 400  # blocks of a strip that are drawn one by one
THRESHOLDS = 120  # of a profile; fewer distinct scores are all taken, and the curve is exact
REPS = 2000
BOUNDS = ("control: floor", "control: ceiling")


class Plot(msgspec.Struct):
    """A plot. name: which one; title: what it shows; said: how to read it; svg: the drawing (`study/svg.py`).

    legend: of numbered marks, in order. columns, rows: the numbers behind it, all of them also where the drawing
    leaves some out.
    """

    name: str
    env: str
    title: str
    said: str
    svg: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str | float | int | None, ...]]
    legend: tuple[str, ...] = ()


# -- words ---------------------------------------------------------------------------------------------------
def estimate_words(e: Estimate, digits: int) -> str:
    """`106.7 [88.3, 125.0]`, or the value with the reason why it has no interval."""
    n = svg.number
    if e.interval is None:
        return f"{n(e.value, digits)} ({e.mark or 'no interval'})"
    return f"{n(e.value, digits)} [{n(e.interval.low, digits)}, {n(e.interval.high, digits)}]"


def difference_words(c: Comparison, digits: int) -> str:
    """The difference with its interval and sign."""
    i = c.adjusted_interval
    sign = "+" if c.difference > 0 else ""
    found = f" [{svg.number(i.low, digits)}, {svg.number(i.high, digits)}]" if i else ""
    return f"{sign}{svg.number(c.difference, digits)}{found}"


def verdict_words(c: Comparison) -> str:
    """The verdict in one or two words."""
    return ALONE if c.adjusted_interval is None else VERDICTS[c.verdict]


def _tone(row: Row, result: Result) -> str:
    return "base" if row.lineup == result.baseline else "control" if row.role else "plain"


def _rows(result: Result, env: str) -> list[Row]:
    return [r for r in result.rows if r.env == env]


def _ends(e: Estimate) -> tuple[float | None, float | None]:
    return (e.interval.low, e.interval.high) if e.interval else (None, None)


# -- plots ---------------------------------------------------------------------------------------------------
def scores_plot(result: Result, env: str) -> Plot | None:
    """Every lineup's mean with its interval."""
    rows = _rows(result, env)
    if not rows:
        return None
    digits = result.digits
    bars, numbers = [], []
    for r in rows:
        m = r.summary.mean
        low, high = _ends(m)
        bars.append(svg.Bar(r.lineup, m.value, low, high, _tone(r, result), estimate_words(m, digits)))
        numbers.append((r.lineup, m.value, low, high, m.n, m.mark))
    title = f"{env}: {result.metric} of each lineup with its {result.level:.0%} interval"
    said = f"{title}. Uncoloured: the baseline; grey: controls; a diamond has no interval."
    columns = ("lineup", "mean", "low", "high", "units", "mark")
    return Plot("scores", env, title, said, svg.intervals(bars, title, result.metric), columns, numbers)


def differences_plot(result: Result, env: str) -> Plot | None:
    """Paired differences from the baseline, block by block."""
    scores = {s.lineup: s for s in result.scores if s.env == env}
    compared = [(r, r.comparison) for r in _rows(result, env) if r.comparison is not None]
    if result.baseline not in scores or not compared:
        return None
    strips, numbers = [], []
    thinned = 0
    for r, c in compared:
        points = _paired(scores[r.lineup], scores[result.baseline])
        numbers += [(r.lineup, block, d) for block, d in points]
        low, high = (c.adjusted_interval.low, c.adjusted_interval.high) if c.adjusted_interval else (None, None)
        note = f"{difference_words(c, result.digits)}  {verdict_words(c)}"
        if len(points) > POINTS:  # evenly by rank: the shape stays
            thinned = max(thinned, len(points))
            ranked = sorted(points, key=lambda p: p[1])
            points = [ranked[round(i * (len(ranked) - 1) / (POINTS - 1))] for i in range(POINTS)]
        strips.append(svg.Strip(r.lineup, points, c.difference, low, high, c.verdict, note))
    title = f"{env}: difference of {result.metric} from {result.baseline} in each block"
    each = f"{POINTS} grey points, evenly by rank, for {thinned:,} blocks" if thinned else "One grey point per block"
    said = (
        f"{title}. {each}; above them the mean with its Holm-adjusted {result.level:.0%} interval. "
        "Dashed: no difference" + (f"; shaded: the margin of {result.margin:g}." if result.margin > NO_MARGIN else ".")
    )
    drawn = svg.strips(strips, title, f"difference of {result.metric}", result.margin)
    return Plot("differences", env, title, said, drawn, ("lineup", "block", "difference"), numbers)


def _paired(candidate: Scores, baseline: Scores) -> list[tuple[str, float]]:
    """(block, candidate minus baseline) of the blocks that both met."""
    base = dict(zip(baseline.blocks, baseline.values, strict=True))
    return [(str(b), v - base[b]) for b, v in zip(candidate.blocks, candidate.values, strict=True) if b in base]


def payoff_plot(result: Result, env: str) -> Plot | None:
    """The payoff matrix of pairs."""
    payoff = next((p for p in result.payoffs if p.env == env), None)
    if payoff is None:
        return None
    values = [[None if c is None else c.mean.value for c in row] for row in payoff.cells]
    title = f"{env}: {result.metric}, first seat by row, second seat by column"
    said = f"{title}. From violet (lowest) to yellow (highest); dashed cells were not played."
    numbers: list[tuple[str | float | int | None, ...]] = []
    for a, row in zip(payoff.agents, payoff.cells, strict=True):
        numbers += [(a, b, *_numbers(c)) for b, c in zip(payoff.agents, row, strict=True) if c is not None]
    columns = ("first seat", "second seat", "mean", "low", "high", "episodes", "mark")
    return Plot("payoff", env, title, said, svg.heatmap(payoff.agents, values, title, result.digits), columns, numbers)


def _numbers(c: CellSummary) -> tuple[float | int | str | None, ...]:
    return (c.mean.value, *_ends(c.mean), c.episodes, c.mean.mark)


def profiles_plot(result: Result, env: str) -> Plot | None:
    """Performance profiles: for each threshold the share of blocks that score above it.

    After Agarwal et al. 2021 (arXiv 2108.13264, run-score distributions): here a run is a block. Blocks are resampled, and
    the band holds at each threshold by itself. A lineup whose episodes are all one has no band.
    """
    found = {s.lineup: s for s in result.scores if s.env == env}
    rows = [r for r in _rows(result, env) if r.lineup in found]
    if not rows:
        return None
    shown = sorted(rows, key=lambda r: -r.summary.mean.value)[: svg.SERIES]
    if len(rows) > svg.SERIES:  # the baseline is always among them
        base = [r for r in rows if r.lineup == result.baseline and r not in shown]
        shown = [*shown[: svg.SERIES - len(base)], *base]
    every = np.unique(np.concatenate([np.asarray(found[r.lineup].values) for r in rows]))
    if every.size > THRESHOLDS:
        every = np.linspace(every[0], every[-1], THRESHOLDS)
    room = (every[-1] - every[0]) or abs(every[0]) or 1.0
    tau = np.concatenate([[every[0] - 0.04 * room], every])
    curves: dict[str, svg.Curve] = {}
    numbers: list[tuple[str | float | int | None, ...]] = []
    warnings: list[str] = []
    for r in rows:
        values = np.asarray(found[r.lineup].values)
        alone = r.summary.mean.mark == DETERMINISTIC or values.size < 2
        reps = 1 if alone else REPS
        p = profile(values, tau, result.level, reps, key("stats", "profile", env, r.lineup))
        low, high = ((), ()) if alone else (np.clip(p.low, 0, 1).tolist(), np.clip(p.high, 0, 1).tolist())
        curves[r.lineup] = svg.Curve(r.lineup, tau.tolist(), p.share.tolist(), low, high)
        bounds = zip(low, high, strict=True) if not alone else [(None, None)] * tau.size
        numbers += [(r.lineup, float(t), float(s), a, b) for t, s, (a, b) in zip(tau, p.share, bounds, strict=True)]
        if p.warning and not alone:
            warnings.append(p.warning.replace("runs", "blocks"))
    title = f"{env}: share of blocks with {result.metric} above a threshold"
    said = f"{title}, with pointwise {result.level:.0%} bootstrap bands. A curve further up and to the right is better."
    if len(rows) > len(shown):
        said += f" Drawn are {len(shown)} of {len(rows)} lineups, those with the highest means, and the baseline."
    if warnings:
        said += f" Read with care: {warnings[0]}."
    drawn = svg.curves([curves[r.lineup] for r in shown], title, result.metric, "share of blocks")
    columns = ("lineup", result.metric, "share above", "low", "high")
    return Plot("profiles", env, title, said, drawn, columns, numbers, tuple(r.lineup for r in shown))


def cost_plot(result: Result, env: str) -> Plot | None:
    """Cost against score, with the frontier; None where nothing was paid for."""
    rows = _rows(result, env)
    if not rows or not any(r.costs.calls for r in result.rows):
        return None
    unit, spent = cost_unit(result)
    dots = []
    for r in rows:
        cost = spent(r.costs) / max(1, r.summary.episodes)
        dots.append(svg.Dot(r.lineup, cost, r.summary.mean.value, *_ends(r.summary.mean), _tone(r, result)))
    # Floor and ceiling are there to be seen beside the others: a script that costs nothing is no bargain.
    own = [k for k, r in enumerate(rows) if r.role not in BOUNDS]
    best = [own[i] for i in staircase([dots[k].cost for k in own], [dots[k].score for k in own])] if own else []
    title = f"{env}: {result.metric} against {unit}"
    said = f"{title}. Dashed: the frontier (floor and ceiling apart); what lies below and to the right of it costs no less and scores no more than another."
    numbers = [(d.label, d.cost, d.score, d.low, d.high, "yes" if k in best else "") for k, d in enumerate(dots)]
    columns = ("lineup", unit, result.metric, "low", "high", "on the frontier")
    drawn = svg.cost_score(dots, title, unit, result.metric, best)
    return Plot("cost", env, title, said, drawn, columns, numbers, tuple(d.label for d in dots))


def cost_unit(result: Result) -> tuple[str, Callable[[Costs], float]]:
    """What cost is measured in: money where all have a price, else processor time, else tokens."""
    if all(r.costs.money is not None for r in result.rows) and any(r.costs.money for r in result.rows):
        return "USD per episode", lambda c: c.money or 0.0
    if any(r.costs.cpu_s for r in result.rows):
        return "CPU seconds of models per episode", lambda c: c.cpu_s
    return "tokens per episode", lambda c: float(c.tok_in + c.tok_out)


def faults_plot(result: Result, env: str, limit: float) -> Plot | None:
    """Per agent and lineup: the share of decisions that the conduct served, and the limit."""
    bars, numbers = [], []
    for r in _rows(result, env):
        for agent, counts in r.costs.by_agent.items():
            decisions = counts.get("decisions", 0)
            served = sum(k for name, k in counts.items() if name.startswith("link_"))
            share = served / decisions if decisions else 0.0
            over = share > limit
            numbers.append(
                (r.lineup, agent, decisions, served, share, counts.get("invalid", 0), "over the limit" if over else "")
            )
            if served or over:
                label = agent if len(r.costs.by_agent) == 1 else f"{r.lineup}: {agent}"
                note = f"{served:,} of {decisions:,} ({share:.1%}){', over the limit' if over else ''}"
                bars.append(svg.Share(label, share, note, over))
    if not numbers:
        return None
    title = f"{env}: share of decisions that the conduct served instead of an agent"
    said = (
        f"{title}. Dashed: the limit of {limit:.0%} above which a lineup is flagged. Agents without any are left out."
    )
    if not bars:
        said = f"{env}: no decision of any agent had to be served by the conduct."
    columns = ("lineup", "agent", "decisions", "fallbacks", "share", "invalid", "flag")
    drawn = svg.shares(bars, title, "share of decisions", limit) if bars else ""
    return Plot("faults", env, title, said, drawn, columns, numbers)


PLOTS: dict[str, str] = {
    "scores": "Scores",
    "differences": "Paired differences",
    "payoff": "Payoff matrix",
    "profiles": "Performance profiles",
    "cost": "Cost against score",
    "faults": "Fallbacks",
}
"""Names of plots, and what they are called."""


def plot_of(result: Result, name: str, env: str, fault_limit: float = 0.05) -> Plot | None:
    """The plot of that name (of `PLOTS`); None where the result has nothing for it."""
    if name == "faults":
        return faults_plot(result, env, fault_limit)
    made: dict[str, Callable[[Result, str], Plot | None]] = {
        "scores": scores_plot,
        "differences": differences_plot,
        "payoff": payoff_plot,
        "profiles": profiles_plot,
        "cost": cost_plot,
    }
    return made[name](result, env)
