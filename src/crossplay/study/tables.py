"""Tables: what a run says, as plain values that the command line, the report and scripts render.

The unit is the block: all seat orders and replicates of a lineup in a block are averaged first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.measure.stats.compare import Cell as StatCell
from crossplay.measure.stats.compare import compare, summarise
from crossplay.measure.stats.results import CellSummary, Comparison
from crossplay.study import notes as notes_of
from crossplay.study.diverse import Diverse, diversity_of
from crossplay.study.equal import DEV
from crossplay.study.sessions import Asked, Attendance, asked_of, attendance_of, opened
from crossplay.study.spec import Study

__all__ = [
    "NO_MARGIN",
    "Answer",
    "Costs",
    "Payoff",
    "Result",
    "Row",
    "Scores",
    "costs_of",
    "metric_of",
    "metrics_of",
    "money_of",
    "result_of",
]

NO_MARGIN = 1e-12
"""Where nothing is to count as tied: a margin that no interval lies inside of."""
LINKS = ("link_repeat", "link_noop", "link_random", "link_fail")


class Costs(msgspec.Struct):
    """What a lineup's episodes spent and how cleanly they were played, summed over its seats.

    tok_cached: of tok_in, what the endpoint read from its own cache. money: USD by the dated price
    table, None where a model has no price (local models cost CPU seconds). fallbacks: links of the
    conduct that were served instead of an agent's own move.
    """

    decisions: int = 0
    calls: int = 0
    tok_in: int = 0
    tok_out: int = 0
    tok_cached: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    money: float | None = None
    fallbacks: int = 0
    invalid: int = 0
    errors: int = 0
    timeouts: int = 0
    repairs: int = 0
    held: int = 0
    messages: int = 0
    flagged: bool = False
    by_agent: dict[str, dict[str, int]] = {}

    @property
    def fallback_share(self) -> float:
        """Fallbacks per decision, in 0..1."""
        return self.fallbacks / self.decisions if self.decisions else 0.0


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


class Answer(msgspec.Struct):
    """A question of the study with its comparison and one plain sentence."""

    env: str
    ask: str
    comparison: Comparison
    sentence: str


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


class _Episode(msgspec.Struct):
    """What tables need of one episode."""

    env: str
    group: str
    lineup: str
    seats: tuple[str, ...]
    block: int | str
    value: float | None  # of the agent that the lineup names first, where seats earn apart
    first: float | None  # of the first seat, likewise: what a payoff matrix shows
    status: str
    world: str
    counts: dict[str, dict[str, int]]
    seat_names: tuple[str, ...]
    wall_s: float


def result_of(run: Any, study: Study) -> Result:
    """The tables of an open run folder (`records.RunFolder`) and its resolved study."""
    identity = run.identity()
    metric, help_ = _metric(run, study)
    episodes = _episodes(run, metric, study)
    rows: list[Row] = []
    answers: list[Answer] = []
    scores: list[Scores] = []
    notes: list[str] = []
    seeds = {
        name: m.get("training_seeds") or (1 if m.get("kind") == "policy" else None)
        for name, m in identity.get("agents", {}).items()
    }
    for env in study.environments:
        groups: dict[str, list[_Episode]] = {}
        for e in episodes:
            if e.env == env and e.group in study.lineups:
                groups.setdefault(e.group, []).append(e)
        cells = {
            g: _stat_cell(g, [e for e in found if e.value is not None], study, seeds) for g, found in groups.items()
        }
        cells = {g: c for g, c in cells.items() if len(c.values)}
        comparisons: dict[str, Comparison] = {}
        baseline = study.baseline or ""
        # The dev split chooses; it is no part of the comparison.
        cells = {g: c for g, c in cells.items() if study.lineups[g].role != DEV}
        others = [g for g in study.lineups if g in cells and g != baseline]
        if baseline in cells and others:
            family = compare(
                [cells[g] for g in others], cells[baseline], study.margin, study.level, metric=metric, pairing="common"
            )
            comparisons = {c.candidate: c for c in family}
        for group in study.lineups:
            if group in cells:
                rows.append(_row(env, group, groups[group], cells[group], comparisons.get(group), study, identity))
                scores.append(_scores(env, cells[group]))
            elif group in groups and study.lineups[group].role != DEV:
                notes.append(
                    f"{env}, {group}: no episode has a score ({', '.join(sorted({e.status for e in groups[group]}))})"
                )
            broken = sum(e.status == "env-fault" for e in groups.get(group, ()))
            if broken and group in cells:
                notes.append(
                    f"{env}, {group}: {broken} of {len(groups[group])} episodes ended with a fault of the environment; "
                    "they have no score and no share in the means"
                )
        answers += _answers(env, study, cells, metric)
    payoffs = [p for env in study.environments if (p := _payoff(env, episodes, study, seeds))]
    diversity, said = diversity_of(run, study)
    notes += notes_of.samples(rows) + notes_of.by_hand(rows) + said
    notes += notes_of.controls(study) + notes_of.paid(run, rows)
    attendance, asked = None, []
    if study.people is not None:
        sessions = opened(run, study)
        attendance = attendance_of(study, sessions, ((e.group, e.block) for e in episodes))
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
        len(episodes),
        study.planned,
        notes,
        diversity,
        attendance,
        asked,
    )


def _metric(run: Any, study: Study) -> tuple[str, str]:
    """The metric's name and its one-line description."""
    described = metrics_of(run)
    metric = study.metric or next(iter(described))
    return metric, described.get(metric, "")


def metrics_of(run: Any) -> dict[str, str]:
    """Every metric that the episodes of a run have, with its one-line description."""
    described: dict[str, str] = {"reward": "sum of the rewards of the agent named first"}
    for cell in run.cells():
        for name in cell.extra.get("seat_metrics", {}):
            described[name] = f"{name.replace('_', ' ')} of the agent that the lineup names first, in whichever seat"
        described.update(cell.extra.get("metrics", {}))
    return described


def metric_of(run: Any, study: Study) -> Callable[[Any], float | None]:
    """The metric of a record of that run: of the agent that its lineup names first, where seats earn apart."""
    metric, _ = _metric(run, study)
    cells = {c.name: c for c in run.cells()}

    def value(record: Any) -> float | None:
        cell = cells[record.cell]
        seats = tuple(cell.extra.get("seats", cell.agents))
        agents = [cell.agents[s] for s in seats]
        spec = study.lineups.get(cell.extra["group"])
        first = spec.seats[0] if spec is not None else agents[0]
        return _value(record, cell, metric, seats, agents.index(first) if first in agents else 0)

    return value


def _episodes(run: Any, metric: str, study: Study) -> list[_Episode]:
    cells = {c.name: c for c in run.cells()}
    found = []
    for e in run.records():
        if e.status == "void":
            continue
        cell = cells[e.cell]
        seats = tuple(cell.extra.get("seats", cell.agents))  # stored tables come back with sorted keys
        agents = tuple(cell.agents[s] for s in seats)
        group = cell.extra["group"]
        named = study.lineups[group].seats[0] if group in study.lineups else agents[0]
        found.append(
            _Episode(
                cell.extra["env"],
                group,
                e.lineup,
                agents,
                e.block,
                _value(e, cell, metric, seats, agents.index(named) if named in agents else 0),
                _value(e, cell, metric, seats, 0),
                e.status,
                e.world.hex(),
                e.counts,
                seats,
                e.wall_s,
            )
        )
    return found


def _value(e: Any, cell: Any, metric: str, seats: Sequence[str], seat: int) -> float | None:
    """An episode's metric; of one seat, where the metric is a seat's own. What a broken world paid is no score."""
    if e.status == "env-fault":
        return None
    own = cell.extra.get("seat_metrics", {}).get(metric)
    if own:
        return e.score.get(own[seats[seat]])
    if metric == "reward" and metric not in e.score:
        return float(e.totals[seat])
    return e.score.get(metric)


def _stat_cell(
    name: str, episodes: Sequence[_Episode], study: Study, seeds: dict[str, int | None], first: bool = False
) -> StatCell:
    """first: the value of the first seat instead of that of the agent named first."""
    ordered = sorted(episodes, key=lambda e: (str(type(e.block)), e.block, e.lineup))
    trained = [n for a in {a for e in ordered for a in e.seats} if (n := seeds.get(a)) is not None]
    return StatCell(
        name,
        [float((e.first if first else e.value) or 0.0) for e in ordered],
        [e.block for e in ordered],
        [e.world for e in ordered],
        [study.people.of(e.block) for e in ordered] if study.people is not None else None,
        min(trained) if trained else None,
    )


def _scores(env: str, cell: StatCell) -> Scores:
    from crossplay.measure.stats.blocks import block_means

    means = block_means(cell.values, cell.blocks)
    of = {} if cell.clusters is None else dict(zip(cell.blocks, cell.clusters, strict=True))
    clusters = [of[b] for b in means.blocks] if of else []
    return Scores(env, cell.name, list(means.blocks), [float(v) for v in means.means], clusters)


def _row(
    env: str,
    group: str,
    episodes: Sequence[_Episode],
    cell: StatCell,
    comparison: Comparison | None,
    study: Study,
    identity: dict[str, Any],
) -> Row:
    statuses: dict[str, int] = {}
    for e in episodes:
        statuses[e.status] = statuses.get(e.status, 0) + 1
    orders: dict[str, CellSummary] = {}
    names = sorted({e.lineup for e in episodes})
    if len(names) > 1:
        for name in names:
            own = [e for e in episodes if e.lineup == name and e.value is not None]
            if own:
                orders[name] = summarise(_stat_cell(name, own, study, {}), study.level, reps=0)
    agents = identity.get("agents", {})
    kinds = tuple(dict.fromkeys(agents.get(a, {}).get("kind", "?") for a in study.lineups[group].seats))
    views = tuple(dict.fromkeys(agents.get(a, {}).get("view", "") for a in study.lineups[group].seats))
    return Row(
        env,
        group,
        study.lineups[group].role,
        summarise(cell, study.level),
        _costs(episodes, study, identity),
        comparison,
        statuses,
        orders,
        kinds,
        views,
    )


def _costs(episodes: Sequence[_Episode], study: Study, identity: dict[str, Any]) -> Costs:
    by_agent: dict[str, dict[str, int]] = {}
    for e in episodes:
        for seat, agent in zip(e.seat_names, e.seats, strict=True):
            mine = by_agent.setdefault(agent, {})
            for name, k in e.counts.get(seat, {}).items():
                mine[name] = mine.get(name, 0) + k
    return costs_of(by_agent, sum((e.wall_s for e in episodes), 0.0), study, identity)


def costs_of(by_agent: dict[str, dict[str, int]], wall_s: float, study: Study, identity: dict[str, Any]) -> Costs:
    """What agents spent, from their counters as the engine kept them, summed over episodes."""
    costs = Costs(wall_s=wall_s)
    money: float | None = 0.0
    for agent, c in by_agent.items():
        fallbacks = sum(c.get(link, 0) for link in LINKS)
        decisions = c.get("decisions", 0)
        costs.decisions += decisions
        costs.fallbacks += fallbacks
        costs.flagged |= bool(decisions) and fallbacks / decisions > study.conduct.fault_limit
        for field, name in (
            ("calls", "calls"),
            ("tok_in", "tok_in"),
            ("tok_out", "tok_out"),
            ("tok_cached", "tok_cached"),
            ("invalid", "invalid"),
            ("errors", "error"),
            ("timeouts", "timeout"),
            ("held", "held"),
            ("messages", "said"),
        ):
            setattr(costs, field, getattr(costs, field) + c.get(name, 0))
        costs.repairs += c.get("repair", 0)
        costs.cpu_s += c.get("cpu_us", 0) / 1e6
        spent = money_of(agent, c, identity)
        money = None if spent is None or money is None else money + spent
    costs.money = money if costs.calls else 0.0
    costs.by_agent = by_agent
    return costs


def money_of(agent: str, counts: dict[str, int], identity: dict[str, Any]) -> float | None:
    """USD for an agent's stored tokens, at today's table; None where its model has no price."""
    if not counts.get("calls"):
        return 0.0
    from crossplay.models.prices import Price, price_of

    names = identity.get("agents", {}).get(agent, {}).get("models", ())
    several = len(names) > 1
    if several and sum(counts.get(f"calls:{n}", 0) for n in names) != counts["calls"]:
        return None  # a call that was cut off is not known by model
    total = 0.0
    for name in names:
        model = identity.get("models", {}).get(name)
        if model is None:
            return None
        if not model["priced"]:
            continue
        mark = f":{name}" if several else ""
        try:
            price = Price(**model["price"]) if model["price"] else price_of(model["priced"])
        except CrossplayError:
            return None
        tok_in, tok_out, cached = (counts.get(f"{k}{mark}", 0) for k in ("tok_in", "tok_out", "tok_cached"))
        total += price.cost(tok_in, tok_out, cached)
    return total if names else None


def _answers(env: str, study: Study, cells: dict[str, StatCell], metric: str) -> list[Answer]:
    found = []
    for q in study.questions:
        if q.candidate in cells and q.baseline in cells:
            (c,) = compare(
                [cells[q.candidate]], cells[q.baseline], study.margin, study.level, metric=metric, pairing="common"
            )
            found.append(Answer(env, q.ask or f"{q.candidate} against {q.baseline}?", c, sentence(c)))
    return found


def over(c: Comparison) -> str:
    """What a comparison rests on: its blocks, and the participants where these are fewer."""
    people = f" of {c.units} participants" if c.adjusted_interval is not None and c.units < c.blocks else ""
    return f"over {c.blocks} blocks{people}"


def sentence(c: Comparison) -> str:
    """The verdict of a comparison in words."""
    i = c.adjusted_interval
    by = f"by {c.difference:+.2f}" + (f" [{i.low:.2f}, {i.high:.2f}]" if i else "") + f" {c.metric} {over(c)}"
    match c.verdict:
        case "better":
            return f"Yes: {c.candidate} is better than {c.baseline} {by}."
        case "worse":
            return f"No: {c.candidate} is worse than {c.baseline} {by}."
        case "tied":
            return f"No: {c.candidate} and {c.baseline} are tied within the margin of {c.margin:g}, {by}."
    if i is None:
        return f"No answer: neither {c.candidate} nor {c.baseline} varies between blocks, so the difference of {c.difference:+.2f} {c.metric} has no interval."
    need = f"; about {c.episodes_needed} episodes per lineup would settle it" if c.episodes_needed else ""
    return f"Not shown: {c.candidate} against {c.baseline} is underpowered, {by}{need}."


def _payoff(env: str, episodes: Sequence[_Episode], study: Study, seeds: dict[str, int | None]) -> Payoff | None:
    pairs: dict[tuple[str, str], list[_Episode]] = {}
    for e in episodes:
        if (
            e.env == env
            and len(e.seats) == 2
            and e.value is not None
            and study.lineups.get(e.group) is not None
            and study.lineups[e.group].mail is None
        ):
            pairs.setdefault((e.seats[0], e.seats[1]), []).append(e)
    agents = tuple(dict.fromkeys(a for pair in pairs for a in pair))
    if len(agents) < 2:
        return None
    cells = [
        [
            summarise(_stat_cell(f"{a}+{b}", pairs[a, b], study, {}, first=True), study.level, reps=0)
            if (a, b) in pairs
            else None
            for b in agents
        ]
        for a in agents
    ]
    return Payoff(env, agents, cells)
