"""The equal-cost control of teams in a study: its lineups, and what it is measured from.

For every lineup with a team there are added: the vote of its first answers, the team without
messages, the best single member at equal tokens and at equal cost, short lineups on a dev split that
say which member is the best, and, of a team whose members share one model, its single conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.study.spec import AgentSpec, LineupSpec, Study, seat_orders
from crossplay.teams.equal import Fit
from crossplay.teams.team import make_protocol

if TYPE_CHECKING:
    from crossplay.kernel import Agent
    from crossplay.records import EpisodeRecord
    from crossplay.study.spec import Cell

__all__ = ["DEV", "EQUAL", "ROUND0", "SINGLE", "add_team_controls", "fit_of", "is_team"]

DEV, ROUND0, SILENT = "dev", "control: first votes", "control: zero-message"
SINGLE = "control: one conversation"
EQUAL = {"tokens": "control: equal tokens", "cost": "control: equal cost"}


def is_team(spec: AgentSpec) -> bool:
    """Whether an agent of a study is a team of members (not a control made from one)."""
    return spec.type.partition(":")[0] == "team"


def add_team_controls(study: Study, dev: int) -> None:
    """Add the controls of every lineup with a team; dev: blocks of the split that chooses the best member."""
    for name, lineup in list(study.lineups.items()):
        if lineup.role or lineup.mail is not None:
            continue
        for team in dict.fromkeys(s for s in lineup.seats if is_team(study.agents[s])):
            for agent, kind, options, role in _controls_of(study, team):
                if agent not in study.agents:
                    study.agents[agent] = AgentSpec(kind, options)
                _seat(study, lineup, {team: agent}, role, name)
            for member in _members(study, team):
                _seat(study, lineup, {team: member}, DEV, name, dev=dev)


def _controls_of(study: Study, team: str) -> list[tuple[str, str, dict[str, Any], str]]:
    """(name, type, options, role) of the control agents of a team."""
    spec = study.agents[team]
    options = dict(spec.options)
    protocol = _protocol(spec, team)
    found = []
    if protocol.opens and protocol.name != "vote":
        kept = ("members", "size", "names", "present", "guards")
        first = {k: options[k] for k in kept if k in options} | {"protocol": _first(protocol)}
        found.append((f"{team} first votes", "team", first, ROUND0))
    if protocol.name != "vote" and not options.get("silent"):
        found.append((f"{team} silent", spec.type, options | {"silent": True}, SILENT))
    if study.controls.single and not options.get("silent") and _one_model(study, options):
        found.append((f"{team} single", "single", {"of": team}, SINGLE))
    found += [(f"{team} equal {by}", "equal", {"of": team, "by": by}, EQUAL[by]) for by in ("tokens", "cost")]
    return found


def _protocol(spec: AgentSpec, team: str) -> Any:
    """The protocol that a team is made with."""
    given, rest = spec.options.get("protocol", "vote"), spec.type.partition(":")[2]
    if rest:
        given = {**given, "name": rest} if isinstance(given, Mapping) else rest
    return make_protocol(given, f"agents.{team}: protocol")


def _one_model(study: Study, options: Mapping[str, Any]) -> bool:
    """Whether a team has several members, all plain language-model agents of one model."""
    members = [m for m in options.get("members", ()) if isinstance(m, str)]
    specs = [study.agents.get(m) or AgentSpec(m) for m in members]
    kinds = {(s.type.partition(":")[0], s.type.partition(":")[2] or s.options.get("model", "")) for s in specs}
    plain = not any(s.options.get("skills") for s in specs)
    several = len(members) * options.get("size", 1) > 1 and len(members) == len(options.get("members", ()))
    return several and plain and len(kinds) == 1 and kinds.pop()[0] in ("llm", "vlm")


def _first(protocol: Any) -> dict[str, Any]:
    """Round 0 of a team as a vote: the same questions, so the same calls; the same rule where the answers are its ballots."""
    wants = {w: w in protocol.wants for w in ("rationale", "confidence")}
    rule: dict[str, Any] = {"rule": protocol.rule, "otherwise": protocol.otherwise}
    return {"name": "vote", **wants, **(rule if not protocol.voting.calls(1, 1) else {})}


def _members(study: Study, team: str) -> list[str]:
    """The distinct members of a team, as agents of the study (types are added under their own name)."""
    found: list[str] = []
    for i, member in enumerate(study.agents[team].options.get("members", ())):
        if not isinstance(member, str):
            raise CrossplayError(
                f"agents.{team}: members[{i}] is a table; name it under [agents], so that the equal-cost control can "
                "play it alone (or set controls.equal_cost = false)"
            )
        if member not in found:
            found.append(member)
        if member not in study.agents:
            study.agents[member] = AgentSpec(member)
    return found


def _seat(
    study: Study, lineup: LineupSpec, change: Mapping[str, str], role: str, of: str, dev: int | None = None
) -> None:
    seats = [change.get(s, s) for s in lineup.seats]
    name = "+".join(seats) + (f" ({DEV})" if dev else "")
    new = msgspec.structs.replace(lineup, seats=seats, role=role, dev=dev)
    same = [s for s in study.lineups.values() if s.dev == dev and s.mail == new.mail]
    if name in study.lineups or {o for s in same for o in seat_orders(s)}.issuperset(seat_orders(new)):
        return
    study.lineups[name] = new


def fit_of(
    cells: Sequence[Cell],
    seats: Mapping[str, Sequence[str]],
    records: Iterable[EpisodeRecord],
    agents: Callable[[str], Agent],
    prices: Callable[[str], Any],
    metric_of: Callable[[EpisodeRecord], float | None],
    team: str,
    by: str,
) -> Fit:
    """What the equal-cost control of a team plays.

    Spend per decision of the team in its own lineups, and of each member alone on the dev split; the
    best member by its mean there (the cheaper of equals); samples: as many as fit, at least one.
    seats: environment label -> its seats. prices(model) -> Price or None. Raises CrossplayError while episodes that it needs are missing.
    """
    members = dict(zip(agents(team).names, agents(team).members, strict=True))  # type: ignore[attr-defined]
    names = list(dict.fromkeys(m.name for m in members.values()))
    places = _places(cells, team, names)
    seats_of = {c.key: seats[c.env] for c in cells}
    spent: dict[str, dict[str, int]] = {}
    scores: dict[str, list[float]] = {}
    for record in records:
        for who, at in places.get(record.cell, ()) if record.status not in ("void", "env-fault") else ():
            total = spent.setdefault(who, {})
            for i in at:
                for name, k in record.counts.get(seats_of[record.cell][i], {}).items():
                    total[name] = total.get(name, 0) + k
            value = metric_of(record)
            if who != team and value is not None:
                scores.setdefault(who, []).append(value)
    if team not in spent:
        raise CrossplayError(f"{team}: its own episodes come first; none is there")
    dev = {m: sum(v) / len(v) for m in names if (v := scores.get(m))}
    if not dev:
        raise CrossplayError(f"{team}: no episode of the dev split says which member is the best, or what it spends")
    unit = _unit(by, [spent[team], *(spent[m] for m in dev)], agents(team), prices)
    cost = {w: _spend(spent[w], unit, agents(w), prices) / max(1, spent[w].get("decisions", 0)) for w in (team, *dev)}
    best = max(dev, key=lambda m: (dev[m], -cost[m]))
    samples = max(1, int(cost[team] / cost[best] + 1e-9)) if cost[best] else 1
    shown = next(n for n, m in members.items() if m.name == best)
    return Fit(shown, samples, unit, cost[team], cost[best], dev)


def _places(cells: Sequence[Cell], team: str, names: Sequence[str]) -> dict[str, list[tuple[str, list[int]]]]:
    """Cell -> (whose spend it shows, in which seats): the team in its own lineups, a member alone in its places on
    the dev split.
    """
    dev = {(c.env, c.seats): c.key for c in cells if c.role == DEV}
    found: dict[str, list[tuple[str, list[int]]]] = {}
    for cell in cells:
        if cell.role or team not in cell.seats:
            continue
        at = [i for i, s in enumerate(cell.seats) if s == team]
        found[cell.key] = [(team, at)]
        for name in names:
            alone = dev.get((cell.env, tuple(name if s == team else s for s in cell.seats)))
            if alone is not None:
                found.setdefault(alone, []).append((name, at))
    return found


def _unit(by: str, spent: Sequence[Mapping[str, int]], team: Agent, prices: Callable[[str], Any]) -> str:
    """What is made equal: tokens; for cost, USD where all models have a price, else CPU seconds; answers where neither is."""
    if not any(s.get("calls") for s in spent):
        return "answers"
    if by == "tokens":
        return "tokens"
    models = team.manifest().get("models", ())
    if models and all(prices(m) is not None for m in models):
        return "USD"
    return "CPU s" if all(s.get("cpu_us") for s in spent) else "tokens"


def _spend(counts: Mapping[str, int], unit: str, agent: Agent, prices: Callable[[str], Any]) -> float:
    if unit == "answers":
        return float(counts.get("asks") or counts.get("decisions", 0))
    if unit == "tokens":
        return float(counts.get("tok_in", 0) + counts.get("tok_out", 0))
    if unit == "CPU s":
        return counts.get("cpu_us", 0) / 1e6
    models = agent.manifest().get("models", ())
    total = 0.0
    for model in models:
        mark = f":{model}" if f"calls:{model}" in counts else ""
        spent = (counts.get(f"{name}{mark}", 0) for name in ("tok_in", "tok_out", "tok_cached"))
        total += prices(model).cost(*spent)
    return total
