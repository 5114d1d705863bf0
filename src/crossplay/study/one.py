"""`one_episode`: the study behind `crossplay play`, one lineup with a person in one block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.kernel import CrossplayError, make_env, nearest
from crossplay.study.spec import Study, parse_study
from crossplay.study.templates import expert_of

__all__ = ["one_episode"]

PERSON = "human"


def one_episode(
    env: str,
    seat: str = "",
    others: Sequence[str] = (),
    *,
    skills: bool = False,
    clock: str = "wait",
    block: int = 0,
    root: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Study:
    """A study of one episode: a person in `seat` (default: the first), agents in the others.

    others: types of agents in seat order; one fills all other seats; none: the environment's expert,
    or random. Errors name the seat or the type and the nearest valid one.
    """
    if clock.startswith("tick"):
        raise CrossplayError(f'--clock "{clock}": a terminal reads lines, so the clock is wait or deadline:SECONDS')
    probe = make_env(env, options, clock)
    try:
        seats = probe.seats
    finally:
        probe.close()
    mine = seat or seats[0]
    if mine not in seats:
        raise CrossplayError(f'--seat: {probe.id} has no seat "{mine}".{nearest(mine, seats)}')
    kinds = list(others) or [expert_of(env) or "random"]
    if len(kinds) == 1:
        kinds *= len(seats) - 1
    if len(kinds) != len(seats) - 1:
        raise CrossplayError(
            f"--with names {len(kinds)} agents for {len(seats) - 1} other seats ({', '.join(s for s in seats if s != mine)})"
        )
    agents: dict[str, Any] = {PERSON: {"type": PERSON, **({"skills": True} if skills else {})}}
    rest = iter(kinds)
    filled = []
    for s in seats:
        kind = PERSON if s == mine else next(rest)
        name = kind.replace("+", "-")
        agents.setdefault(name, {"type": kind})
        filled.append(name)
    return parse_study(
        {
            "study": {"name": "play-" + _plain(env), "root": root, "blocks": [block]},
            "environments": {env: {"name": env, "clock": clock, "options": dict(options or {})}},
            "agents": agents,
            "lineups": {"+".join(filled): {"seats": filled}},
            "controls": {"floor": False, "ceiling": False, "zero_message": False},
        }
    )


def _plain(name: str) -> str:
    """A name that a folder can have."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
