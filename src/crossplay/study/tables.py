"""Tables: what a run says, as plain values that the command line, the report and scripts render.

The unit is the block: all seat orders and replicates of a lineup in a block are averaged first. What is read is in
`values`, what was spent in `costs`, questions and sentences in `verdicts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel import key
from crossplay.measure.stats.blocks import BlockMeans, block_means
from crossplay.measure.stats.compare import Cell as StatCell
from crossplay.measure.stats.compare import compare, summarise
from crossplay.measure.stats.resampling import REPS, Resamples
from crossplay.measure.stats.results import FEW_BLOCKS, CellSummary, Comparison
from crossplay.study import notes as notes_of
from crossplay.study.costs import Costs, costs_of
from crossplay.study.diverse import Diverse, diversity_of
from crossplay.study.equal import DEV
from crossplay.study.sessions import Asked, Attendance, asked_of, attendance_of, opened
from crossplay.study.spec import Study
from crossplay.study.values import Column, Played, named_metric, read_values, together
from crossplay.study.verdicts import Answer, answers_of, apart, share

__all__ = [
    "NO_MARGIN",
    "Payoff",
    "Result",
    "Row",
    "Scores",
    "result_of",
]

NO_MARGIN = 1e-12
"""Where nothing is to count as tied: a margin that no interval lies inside of."""


class Row(msgspec.Struct):
    """One lineup of one environment: its summary, its comparison with the baseline, its costs."""

    env: str
    lineup: str
    role: str
    summary: CellSummary
    costs: Costs
    comparison: Comparison | None = None
    statuses: dict[str, int] = {}
    orders: dict[str, CellSummary] = {}
    kinds: tuple[str, ...] = ()
    views: tuple[str, ...] = ()


class Payoff(msgspec.Struct):
    """Mean score of every ordered pair that was played: cells[row][column] (None: not played)."""

    env: str
    agents: tuple[str, ...]
    cells: list[list[CellSummary | None]]


class Scores(msgspec.Struct):
    """The raw material of the plots: per block the mean score of a lineup."""

    env: str
    lineup: str
    blocks: list[int | str]
    values: list[float]
    clusters: list[int | str] = []  # of each block, where errors are shared: its participant

    def units(self) -> tuple[list[int | str], list[float]]:
        """(independent units, their means): participants where there are any, blocks elsewhere."""
        if not self.clusters:
            return self.blocks, self.values
        of: dict[int | str, list[float]] = {}
        for unit, value in zip(self.clusters, self.values, strict=True):
            of.setdefault(unit, []).append(value)
        return list(of), [sum(v) / len(v) for v in of.values()]


class Result(msgspec.Struct):
    """Everything a run says."""

    name: str
    metric: str
    metric_help: str
    margin: float
    level: float
    baseline: str
    rows: list[Row]
    answers: list[Answer]
    payoffs: list[Payoff]
    scores: list[Scores]
    episodes: int
    planned: int
    notes: list[str]
    diversity: list[Diverse] = []
    attendance: Attendance | None = None
    asked: list[Asked] = []

    @property
    def digits(self) -> int:
        """Decimal places that show the metric: three to four significant digits of its largest value."""
        largest = max((abs(r.summary.mean.value) for r in self.rows), default=0.0)
        return 3 if largest <= 1 else 2 if largest < 50 else 1

    def to_dict(self) -> dict[str, Any]:
        """Plain data for --json."""
        return msgspec.to_builtins(self)

    def _repr_html_(self) -> str:
        """What notebooks show."""
        from crossplay.study.widgets import result_html

        return result_html(self)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The same, and as text for those that show no HTML."""
        from crossplay.study.widgets import result_text

        return {"text/plain": result_text(self), "text/html": self._repr_html_()}


def result_of(run: Any, study: Study) -> Result:
    """The tables of an open run folder (`records.RunFolder`) and its resolved study."""
    identity = run.identity()
    metric, help_ = named_metric(run, study)
    values = read_values(run, study, metric)
    rows: list[Row] = []
    answers: list[Answer] = []
    scores: list[Scores] = []
    notes: list[str] = []
    seeds = {
        name: m.get("training_seeds") or (1 if m.get("kind") == "policy" else None)
        for name, m in identity.get("agents", {}).items()
    }
    # The key names no lineup, so that swapping two of them mirrors the interval of their difference.
    resamples = Resamples(REPS, key("stats", "pair", b"", metric))
    for env in study.environments:
        groups = {g: p for (e, g), p in values.played.items() if e == env and g in study.lineups}
        # The dev split chooses; it is no part of the comparison.
        compared = {g: p for g, p in groups.items() if study.lineups[g].role != DEV}
        cells = {g: _stat_cell(g, p.columns, study, seeds) for g, p in compared.items()}
        cells = {g: cells[g] for g in study.lineups if g in cells and len(cells[g].values)}
        means = {g: block_means(c.values, c.blocks, g) for g, c in cells.items()}
        if study.people is None:  # all are drawn at once; whose units are people get no bootstrap
            resamples.of([m.means for m in means.values() if m.means.size >= FEW_BLOCKS and np.ptp(m.means) > 0])
        comparisons, said = _family(env, study, cells, metric, resamples)
        notes += said
        for group in study.lineups:
            if group in cells:
                cell, comparison = cells[group], comparisons.get(group)
                rows.append(_row(env, group, groups[group], cell, comparison, study, identity, resamples))
                scores.append(_scores(env, cell, means[group]))
            if group in compared:
                notes += _unscored(env, group, groups[group], group in cells)
        found, said = answers_of(env, study, cells, metric, resamples)
        answers += found
        notes += said
    payoffs = [p for env in study.environments if (p := _payoff(env, values.columns, study))]
    diversity, said = diversity_of(run, study)
    notes += notes_of.samples(rows) + notes_of.by_hand(rows) + said
    notes += notes_of.controls(study) + notes_of.paid(run, rows)
    attendance, asked = None, []
    if study.people is not None:
        sessions = opened(run, study)
        attendance = attendance_of(study, sessions, values.met())
        asked = asked_of(study, sessions)
        notes += notes_of.people(attendance)
    return Result(
        study.name,
        metric,
        help_,
        study.margin,
        study.level,
        study.baseline or "",
        rows,
        answers,
        payoffs,
        scores,
        values.episodes,
        study.planned,
        notes,
        diversity,
        attendance,
        asked,
    )


def _family(
    env: str, study: Study, cells: Mapping[str, StatCell], metric: str, resamples: Resamples
) -> tuple[dict[str, Comparison], list[str]]:
    """(lineup -> its comparison with the baseline, notes on those that have met none of its blocks)."""
    baseline = study.baseline or ""
    if baseline not in cells:
        return {}, []
    base = cells[baseline]
    others = [c for g, c in cells.items() if g != baseline]
    shared = [c for c in others if share(c, base)]
    family = (
        compare(shared, base, study.margin, study.level, metric=metric, pairing="common", resamples=resamples)
        if shared
        else []
    )
    return {c.candidate: c for c in family}, [apart(env, c.name, baseline) for c in others if not share(c, base)]


def _unscored(env: str, group: str, played: Played, scored: bool) -> list[str]:
    """Which episodes of a lineup have no share in its mean, and why. scored: whether any has one."""
    every = played.episodes
    if not scored:
        notes = [f"{env}, {group}: no episode has a score ({', '.join(sorted(played.statuses))})"]
    elif broken := played.statuses.get("env-fault", 0):
        notes = [
            f"{env}, {group}: {broken} of {every} episodes ended with a fault of the environment; "
            "they have no score and no share in the means"
        ]
    else:
        notes = []
    if played.odd:
        notes.append(
            f"{env}, {group}: {played.odd} of {every} episodes have a score that is no finite number; "
            "they have no share in the means"
        )
    return notes


def _stat_cell(
    name: str, columns: Sequence[Column], study: Study, seeds: Mapping[str, int | None], first: bool = False
) -> StatCell:
    """first: the value of the first seat instead of that of the agent named first."""
    values, blocks, worlds = together(columns, first)
    trained = [n for a in {a for c in columns if c.values for a in c.agents} if (n := seeds.get(a)) is not None]
    people = study.people
    if people is not None:
        return StatCell(name, values, blocks, worlds, [people.of(b) for b in blocks], min(trained, default=None))
    numbers = all(type(b) is int for b in blocks)
    return StatCell(
        name, values, np.array(blocks, dtype=np.int64) if numbers else blocks, worlds, None, min(trained, default=None)
    )


def _scores(env: str, cell: StatCell, means: BlockMeans) -> Scores:
    of = {} if cell.clusters is None else dict(zip(cell.blocks, cell.clusters, strict=True))
    clusters = [of[b] for b in means.blocks] if of else []
    return Scores(env, cell.name, list(means.blocks), means.means.tolist(), clusters)


def _row(
    env: str,
    group: str,
    played: Played,
    cell: StatCell,
    comparison: Comparison | None,
    study: Study,
    identity: dict[str, Any],
    resamples: Resamples,
) -> Row:
    orders: dict[str, CellSummary] = {}
    names = sorted({c.lineup for c in played.columns})
    if len(names) > 1:
        for name in names:
            own = _stat_cell(name, [c for c in played.columns if c.lineup == name], study, {})
            if len(own.values):
                orders[name] = summarise(own, study.level, reps=0)
    agents = identity.get("agents", {})
    kinds = tuple(dict.fromkeys(agents.get(a, {}).get("kind", "?") for a in study.lineups[group].seats))
    views = tuple(dict.fromkeys(agents.get(a, {}).get("view", "") for a in study.lineups[group].seats))
    return Row(
        env,
        group,
        study.lineups[group].role,
        summarise(cell, study.level, resamples=resamples),
        costs_of(played.by_agent, played.wall_s, study, identity),
        comparison,
        played.statuses,
        orders,
        kinds,
        views,
    )


def _payoff(env: str, columns: Sequence[Column], study: Study) -> Payoff | None:
    pairs: dict[tuple[str, str], list[Column]] = {}
    for c in columns:
        spec = study.lineups.get(c.group)
        if c.env == env and len(c.agents) == 2 and c.values and spec is not None and spec.mail is None:
            pairs.setdefault((c.agents[0], c.agents[1]), []).append(c)
    agents = tuple(dict.fromkeys(a for pair in pairs for a in pair))
    if len(agents) < 2:
        return None
    cells = {(a, b): _stat_cell(f"{a}+{b}", found, study, {}, first=True) for (a, b), found in pairs.items()}
    summaries = {pair: summarise(c, study.level, reps=0) for pair, c in cells.items() if len(c.values)}
    return Payoff(env, agents, [[summaries.get((a, b)) for b in agents] for a in agents])
