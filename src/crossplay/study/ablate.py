"""`ablate`: which members of a team earn its score. Coalitions are lineups of a study with common chance.

A coalition is the team with some of its members (`present`): same protocol, names, places. So each member
keeps its random stream, and an answer that several coalitions ask for in the same words is paid once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel import CrossplayError, nearest
from crossplay.kernel.seeds import key
from crossplay.measure.stats.compare import Cell, compare
from crossplay.measure.stats.intervals import mean_t
from crossplay.measure.stats.results import Comparison, Estimate
from crossplay.study.api import result, run
from crossplay.study.credit import (
    EXACT,
    Coalition,
    Stability,
    all_coalitions,
    draw_orders,
    left_out,
    of_orders,
    sampled_shapley,
    shapley,
    stability,
    win_rate,
)
from crossplay.study.spec import AgentSpec, Controls, LineupSpec, Study
from crossplay.study.stage import Stage
from crossplay.study.tables import Result

__all__ = ["Ablation", "Credit", "Game", "MemberCredit", "ablate", "ablation", "credit_of"]

ONE_MODEL = ("llm", "vlm")
"""Types of members whose model can be replaced."""
NOBODY = "nobody"


class Game(msgspec.Struct):
    """One team with one model. members: names, in places; coalitions: the lineup of each; orders: drawn ones,
    empty where all coalitions are played or one member is left out at a time.
    """

    team: str
    model: str
    members: tuple[str, ...]
    coalitions: dict[Coalition, str]
    orders: list[tuple[int, ...]] = []


class Ablation(msgspec.Struct):
    """A study of coalitions, and what its lineups stand for. kind: "members" or "shapley"."""

    study: Study
    kind: str
    games: list[Game]
    limit: float = 0.15


class MemberCredit(msgspec.Struct):
    """One member of one game. credit: what it brings, in the metric, over blocks. win: share of the blocks in
    which the team does better with it (leave-one-out alone). error: of drawing orders, None where none were
    drawn. comparison: of the credit with nothing, all members one family (Holm).
    """

    member: str
    credit: Estimate
    comparison: Comparison
    win: float | None = None
    error: float | None = None


class GameCredit(msgspec.Struct):
    """The members of one team with one model. whole, nobody: value of the team and of the empty coalition."""

    env: str
    team: str
    model: str
    members: list[MemberCredit]
    whole: float
    nobody: float | None = None
    exact: bool = True
    blocks: int = 0
    notes: list[str] = []


class Credit(msgspec.Struct):
    """What an ablation says. stability: of members over models, where there are several."""

    kind: str
    metric: str
    margin: float
    games: list[GameCredit]
    stability: list[Stability] = []

    def to_dict(self) -> dict[str, Any]:
        """Plain data for --json."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


# -- the study ---------------------------------------------------------------------------------------
def ablation(
    study: Study,
    team: str,
    *,
    draws: int | None = None,
    models: Sequence[str] = (),
    nobody: str = "random",
    lineup: str | None = None,
    trust: bool = False,
    limit: float = 0.15,
) -> Ablation:
    """The study that is played for the credit of a team's members.

    draws: None leaves out one member at a time; a number gives Shapley values from so many seeded orders
    of joining (exact from all coalitions with at most four members, or where that takes no more). nobody: the
    agent whose score is the value of the empty coalition. models: the members' model is replaced by
    each of these in turn. lineup: whose other seats are kept (default: the first with the team). limit: of `credit.stability`.
    """
    names = _names(study, team, trust)
    found = lineup or next((n for n, s in study.lineups.items() if team in s.seats and s.dev is None), "")
    seats = study.lineups[found].seats if found in study.lineups else [team] if not found else []
    if team not in seats:
        raise CrossplayError(f'lineups."{found}": {team} sits in none of its seats.{nearest(found, study.lineups)}')
    new = msgspec.structs.replace(
        study, name=f"{study.name}: {team}", agents=dict(study.agents), lineups={}, template=None, questions=[],
        controls=Controls(False, False, False, False), baseline=None, metric=study.metric,
    )  # fmt: skip
    kept = study.lineups.get(found, LineupSpec(list(seats)))
    games = [_game(new, team, names, model, draws, nobody, kept) for model in models or ("",)]
    new.baseline = games[0].coalitions[frozenset(range(len(names)))]
    return Ablation(new, "members" if draws is None else "shapley", games, limit)


def _names(study: Study, team: str, trust: bool) -> tuple[str, ...]:
    """The members that are present, by name."""
    from crossplay.teams.team import Team

    if team not in study.agents:
        raise CrossplayError(f'unknown agent "{team}".{nearest(team, study.agents)}')
    stage = Stage(msgspec.structs.replace(study, template=None, lineups={team: _alone(study, team)}), trust=trust)
    try:
        made = stage.agent(team)
    finally:
        stage.close()
    if not isinstance(made, Team) or study.agents[team].type.partition(":")[0] != "team":
        raise CrossplayError(f'"{team}" is a {made.kind}; members are left out of teams')
    names = tuple(made.names[i] for i in made.slots)
    if len(names) < 2:
        raise CrossplayError(f"{team}: it has one member, and nobody can be left out")
    return names


def _alone(study: Study, team: str) -> LineupSpec:
    return next((s for s in study.lineups.values() if team in s.seats), LineupSpec([team]))


def _game(
    study: Study, team: str, names: tuple[str, ...], model: str, draws: int | None, nobody: str, kept: LineupSpec
) -> Game:
    n = len(names)
    whole = frozenset(range(n))
    orders: list[tuple[int, ...]] = []
    if draws is None:
        wanted = [whole, *(whole - {i} for i in range(n))]
    elif n <= EXACT or 2**n <= draws * (n - 1) + 2:
        wanted = all_coalitions(n)[::-1]
    else:
        orders = draw_orders(n, draws, key("shapley", study.root, team))
        wanted = of_orders(orders)[::-1]
    base = study.agents[team].options | {"names": _all_names(study, team, names)}
    if model:
        base["members"] = _with_model(study, base["members"], model)
    mark = f"@{model}" if model else ""
    lineups: dict[Coalition, str] = {}
    for coalition in wanted:
        agent = _agent(study, team, names, coalition, base, mark, nobody)
        seats = [agent if s == team else s for s in kept.seats]
        lineups[coalition] = "+".join(seats)
        study.lineups[lineups[coalition]] = msgspec.structs.replace(kept, seats=seats, role="")
    return Game(team, model, names, lineups, orders)


def _all_names(study: Study, team: str, names: tuple[str, ...]) -> list[str]:
    """Names of all members, absent ones too, so that places stay."""
    from crossplay.teams.team import _unique

    options = study.agents[team].options
    if options.get("names"):
        return list(_unique(options["names"]))
    if not options.get("present"):
        return list(names)
    return list(_unique(str(m) for m in options["members"] for _ in range(options.get("size", 1))))


def _agent(
    study: Study,
    team: str,
    names: tuple[str, ...],
    coalition: Coalition,
    base: Mapping[str, Any],
    mark: str,
    nobody: str,
) -> str:
    """The agent that plays for a coalition, added to the study."""
    if not coalition:
        study.agents.setdefault(NOBODY, study.agents.get(nobody, AgentSpec(nobody)))
        return NOBODY
    missing = [names[i] for i in range(len(names)) if i not in coalition]
    present = [names[i] for i in sorted(coalition)]
    few = len(missing) <= len(present)
    words = f" without {', '.join(missing)}" if few else f" of {', '.join(present)}"
    name = f"{team}{mark}{words if missing else ''}".replace("+", "&")
    spec = study.agents[team]
    options = dict(base) | ({"present": present} if missing else {})
    study.agents[name] = spec if name == team and not missing else AgentSpec(spec.type, options)
    return name


def _with_model(study: Study, members: Iterable[Any], model: str) -> list[Any]:
    """The members with their model replaced; agents that have none stay."""
    found: list[Any] = []
    for member in members:
        given = study.agents.get(member) if isinstance(member, str) else None
        if isinstance(member, Mapping):
            table = {k: v for k, v in member.items() if k != "type"}
            given = AgentSpec(str(member.get("type", "")), table)
        spec = given or AgentSpec(str(member))
        family = spec.type.partition(":")[0]
        if family in ONE_MODEL:
            name = f"{member if isinstance(member, str) else family}@{model}"
            study.agents[name] = AgentSpec(family, {**spec.options, "model": model})
            found.append(name)
        else:
            found.append(member)
    if found == list(members):
        raise CrossplayError(f"models: none of the members {', '.join(map(str, members))} asks a model")
    return found


# -- the answer --------------------------------------------------------------------------------------
def ablate(study: Study, team: str, out: str | Path, *, trust: bool = False, **how: Any) -> Credit:
    """Play the coalitions of a team (what is in `out` already is not played again) and say who earns what.

    how: as in `ablation`: draws, models, nobody, lineup, limit.
    """
    plan = ablation(study, team, trust=trust, **how)
    run(plan.study, out, trust=trust)
    return credit_of(out, plan)


def credit_of(folder: str | Path, plan: Ablation) -> Credit:
    """The credit of the members, from the run of an ablation."""
    found = result(folder)
    games = [_credited(found, env, game, plan.kind) for env in plan.study.environments for game in plan.games]
    stable: list[Stability] = []
    if plan.kind == "members" and len(plan.games) > 1 and len(plan.study.environments) == 1:
        rates = {g.model: {m.member: m.win or 0.0 for m in g.members} for g in games}
        stable = stability(rates, plan.limit)
    return Credit(plan.kind, found.metric, found.margin, games, stable)


def _credited(found: Result, env: str, game: Game, kind: str) -> GameCredit:
    values, blocks = _values(found, env, game)
    n, whole = len(game.members), frozenset(range(len(game.members)))
    error: np.ndarray | None = None
    if kind == "members":
        credit = left_out(values, n)
    elif game.orders:
        credit, error = sampled_shapley(values, game.orders)
    else:
        credit = shapley(values, n)
    cells = [Cell(name, c.tolist(), blocks) for name, c in zip(game.members, credit, strict=True)]
    nothing = Cell("nothing", [0.0] * len(blocks), blocks)
    against = compare(cells, nothing, found.margin, found.level, metric=found.metric, reps=0)
    members = []
    for i, name in enumerate(game.members):
        win = win_rate(values[whole], values[whole - {i}]) if kind == "members" else None
        scatter = None if error is None or np.isnan(error[i]) else float(error[i])
        members.append(MemberCredit(name, mean_t(credit[i], found.level), against[i], win, scatter))
    empty = values.get(frozenset())
    notes = []
    if found.episodes < found.planned:
        notes.append(f"unfinished: {found.episodes} of {found.planned} episodes")
    return GameCredit(
        env, game.team, game.model, members, float(values[whole].mean()), None if empty is None else float(empty.mean()),
        not game.orders, len(blocks), notes,
    )  # fmt: skip


def _values(found: Result, env: str, game: Game) -> tuple[dict[Coalition, np.ndarray], list[int | str]]:
    """(coalition -> its value in each block, the blocks that all coalitions met)."""
    scores = {s.lineup: dict(zip(s.blocks, s.values, strict=True)) for s in found.scores if s.env == env}
    missing = [name for name in game.coalitions.values() if name not in scores]
    if missing:
        raise CrossplayError(f"{env}: no episode of {missing[0]} has a score yet")
    first, *rest = (scores[name] for name in game.coalitions.values())
    blocks = [b for b in first if all(b in other for other in rest)]
    if not blocks:
        raise CrossplayError(f"{env}: there is no block that all coalitions of {game.team} have played")
    return {c: np.array([scores[name][b] for b in blocks]) for c, name in game.coalitions.items()}, blocks
