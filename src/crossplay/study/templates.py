"""Templates and controls: lineups that a study gets without naming each.

mix: homogeneous and heterogeneous lineups of the agents, each agent with random and with no-op
partners (solo). crossplay: every tuple of agents in every seat order, a payoff matrix.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence

import msgspec

from crossplay.kernel import CrossplayError, load, nearest, split_name
from crossplay.study.equal import add_team_controls
from crossplay.study.people import check_people
from crossplay.study.spec import AgentSpec, LineupSpec, Study, seat_orders

__all__ = ["expand", "expert_of"]

FLOOR, CEILING, SILENT, SOLO = "control: floor", "control: ceiling", "control: zero-message", "solo"


def expert_of(env_name: str) -> str | None:
    """The type of the scripted expert that an environment's family names, if it does."""
    family, rest = split_name(env_name)
    found = getattr(load("envs", family, "environment"), "expert", None)
    return found(rest) if callable(found) else found


def expand(study: Study, seats: int, talks: bool, idle: bool = True) -> Study:
    """The study with the lineups of its template and its controls written out.

    seats: how many seats its environments have. talks: whether any seat may be heard by another.
    idle: whether every seat has an action that does nothing, so that no-op partners can sit there.
    Expanding an expanded study changes nothing.
    """
    new = msgspec.structs.replace(study, agents=dict(study.agents), lineups=dict(study.lineups))
    if new.template:
        named = [a for a in new.agents if a not in ("random", "noop")]
        if not named:
            raise CrossplayError(f'study.template = "{new.template}": name the agents to combine under [agents]')
        if new.template == "mix":
            _mix(new, named, seats, idle)
        else:
            _crossplay(new, named, seats)
        new.template = None
    if not new.lineups:
        raise CrossplayError('lineups: name at least one, e.g. "a+b" = ["a", "b"], or set study.template = "mix"')
    _controls(new, seats, talks)
    if new.controls.equal_cost:
        add_team_controls(new, max(1, new.controls.dev))
    if new.baseline is None:
        new.baseline = next(iter(new.lineups))
    if new.baseline not in new.lineups:
        raise CrossplayError(f'study.baseline: unknown lineup "{new.baseline}".{nearest(new.baseline, new.lineups)}')
    for i, question in enumerate(new.questions):
        for key, lineup in (("candidate", question.candidate), ("baseline", question.baseline)):
            if lineup not in new.lineups:
                hint = nearest(lineup, new.lineups)
                raise CrossplayError(f'questions[{i}].{key}: unknown lineup "{lineup}".{hint}')
    if new.people is not None:
        check_people(new)
    if len(new.lineups) > 1 and new.margin <= 0:
        raise CrossplayError(
            "study.margin: name the smallest difference that matters, above 0 (in units of the metric)"
        )
    return new


def _agent(study: Study, kind: str) -> str:
    """The name of an agent of that type, added when there is none."""
    for name, spec in study.agents.items():
        if spec.type == kind and not spec.options:
            return name
    name = _free(kind, study.agents)  # an agent of the study may have this name and be another
    study.agents[name] = AgentSpec(kind)
    return name


def _free(name: str, taken: Container[str]) -> str:
    """The name, or the first of name-2, name-3 ... that is not taken."""
    return next(n for n in itertools.chain([name], (f"{name}-{k}" for k in itertools.count(2))) if n not in taken)


def _add(study: Study, seats: Sequence[str], role: str = "", orders: str = "given") -> None:
    name, new = "+".join(seats), LineupSpec(list(seats), orders, role=role)
    there = {order for s in study.lineups.values() for order in seat_orders(s)}
    if name not in study.lineups and not there.issuperset(seat_orders(new)):
        study.lineups[name] = new


def _mix(study: Study, agents: Sequence[str], seats: int, idle: bool) -> None:
    for chosen in itertools.combinations_with_replacement(agents, seats):
        _add(study, chosen, orders="all" if len(set(chosen)) > 1 else "given")
    if seats < 2:
        return
    random = _agent(study, "random")
    for agent in agents:
        _add(study, [agent] + [random] * (seats - 1), orders="all")
        if idle:
            _add(study, [agent] + [_agent(study, "noop")] * (seats - 1), role=SOLO, orders="all")


def _crossplay(study: Study, agents: Sequence[str], seats: int) -> None:
    for chosen in itertools.product(agents, repeat=seats):
        _add(study, chosen)


def _controls(study: Study, seats: int, talks: bool) -> None:
    controls = study.controls
    if controls.floor:
        kind = "random" if controls.floor is True else str(controls.floor)
        name = kind if kind != "random" and kind in study.agents else _agent(study, kind)
        _role(study, [name] * seats, FLOOR)
    if controls.ceiling is True:
        kinds = {expert_of(e.name) for e in study.environments.values()}
        expert = kinds.pop() if len(kinds) == 1 else None
        if expert:
            _role(study, [_agent(study, expert)] * seats, CEILING)
    elif controls.ceiling:
        if controls.ceiling not in study.agents:
            raise CrossplayError(
                f'controls.ceiling: unknown agent "{controls.ceiling}".{nearest(str(controls.ceiling), study.agents)}'
            )
        _role(study, [str(controls.ceiling)] * seats, CEILING)
    if controls.zero_message and talks:
        speakers = {n for n, a in study.agents.items() if a.options.get("talk") or a.options.get("messages")}
        for name, spec in list(study.lineups.items()):
            silent = f"{name} (no messages)"
            if spec.mail is None and silent not in study.lineups and speakers & set(spec.seats):
                study.lineups[silent] = msgspec.structs.replace(spec, mail="off", role=SILENT)


def _role(study: Study, seats: list[str], role: str) -> None:
    for spec in study.lineups.values():
        if spec.seats == seats and spec.mail is None and not spec.shared_memory:
            spec.role = spec.role or role
            return
    study.lineups[_free("+".join(seats), study.lineups)] = LineupSpec(seats, role=role)
