"""The study behind `crossplay seat`: outside parties in some seats, agents in the others, the same blocks for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossplay.agents.open_seat import OpenSeat
from crossplay.kernel import CrossplayError, make_env, nearest
from crossplay.records import RunFolder
from crossplay.study.spec import Study, parse_study
from crossplay.study.stage import Stage
from crossplay.study.templates import expert_of

__all__ = ["episodes_of", "open_seats", "seat_study"]

GUEST = "guest"


def seat_study(
    env: str,
    seats: Sequence[str] = (),
    others: Sequence[str] = (),
    *,
    episodes: int = 1,
    root: int = 0,
    clock: str = "wait",
    skills: bool = False,
    options: Mapping[str, Any] | None = None,
    guest: Mapping[str, Any] | None = None,
    margin: float = 0.0,
) -> Study:
    """A study with open seats. seats: those that are open (default: the first).

    others: SEAT=AGENT each, or one AGENT for all the rest (default: the environment's expert, or random). guest:
    options of the open seats. margin: the smallest difference that matters; where one is named, floor and ceiling
    play the same blocks, and the table says where the party stands. Errors name the seat or the type and the
    nearest valid one.
    """
    if episodes < 1:
        raise CrossplayError(f"--episodes {episodes} must be 1 or more")
    probe = make_env(env, options, clock)
    try:
        known = probe.seats
    finally:
        probe.close()
    mine = list(dict.fromkeys(seats or known[:1]))
    for seat in mine:
        if seat not in known:
            raise CrossplayError(f'--seat: {probe.id} has no seat "{seat}".{nearest(seat, known)}')
    kinds = _others(others, [s for s in known if s not in mine], expert_of(env) or "random")
    agents: dict[str, Any] = {}
    filled = []
    for seat in known:
        if seat in mine:
            name = GUEST if len(mine) == 1 else f"{GUEST}-{seat}"
            agents[name] = {"type": "open", **(guest or {}), **({"skills": True} if skills else {})}
        else:
            name = kinds[seat].replace("+", "-")
            agents[name] = {"type": kinds[seat]}
        filled.append(name)
    return parse_study(
        {
            "study": {"name": "seat-" + _plain(env), "root": root, "blocks": list(range(episodes)), "margin": margin},
            "environments": {env: {"name": env, "clock": clock, "options": dict(options or {})}},
            "agents": agents,
            "lineups": {"+".join(filled): {"seats": filled}},
            "controls": {"zero_message": False, **({} if margin else {"floor": False, "ceiling": False})},
        }
    )


def _others(given: Sequence[str], rest: Sequence[str], usual: str) -> dict[str, str]:
    """Seat -> type of the agent."""
    everywhere = [one for one in given if "=" not in one]
    if len(everywhere) > 1:
        raise CrossplayError(f"--with names {len(everywhere)} agents for all other seats: {', '.join(everywhere)}")
    found = dict.fromkeys(rest, everywhere[0] if everywhere else usual)
    for one in given:
        seat, equals, kind = one.partition("=")
        if equals and seat not in rest:
            raise CrossplayError(f'--with "{one}": no other seat "{seat}".{nearest(seat, rest)}')
        if equals:
            found[seat] = kind
    return found


def open_seats(stage: Stage) -> dict[str, OpenSeat]:
    """The open seats of a stage by the name of their agent, also those that choose skills."""
    found = {}
    for name in stage.study.agents:
        agent: Any = stage.agent(name)
        while agent is not None and not isinstance(agent, OpenSeat):
            agent = getattr(agent, "agent", None)
        if agent is not None:
            found[name] = agent
    return found


def episodes_of(stage: Stage, name: str, folder: Path) -> int:
    """How many episodes an agent has still to play."""
    done: Any = ()
    if (folder / "manifest.sqlite").exists():
        with RunFolder.open(folder) as run:
            done = run.done()
    return sum(
        (cell.key, block, replicate) not in done
        for cell in stage.cells
        if name in cell.seats
        for block in cell.blocks
        for replicate in range(stage.study.replicates)
    )


def _plain(name: str) -> str:
    """A name that a folder can have."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)
