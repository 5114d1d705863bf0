"""The experiment on `maze/joint`: its settings, how scripted talkers walk it, and the studies with models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay import Agent, Block, Conduct, loop, make_agent, make_env, play

__all__ = ["LINEUPS", "Settings", "Walks", "agents", "control", "study", "walk"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The published experiment with scripted talkers, whose only skill is to ground what they say."""

    strong: float = 0.95  # chance that the strong talker says how it writes cells
    weak: float = 0.2  # the same of the weak one
    opens: int = 1  # own turns that the strong one plays of the relayed seat
    words: bool = False  # cells are named as seen from the start: there is no convention to agree on
    mail: str = "on"  # "off": nothing that is said arrives
    size: int = 6  # rows and columns
    density: float = 0.3  # chance of a wall
    turns: int = 100  # at most; enough for every detour and refusal
    blocks: int = 160  # mazes; an order effect of 0.57 is then found above 0.4 with power .95
    simple: int = 60  # mazes of the cases in which nothing may fail
    root: int = 1


LINEUPS: dict[str, tuple[str, str]] = {
    "strong, strong": ("strong", "strong"),
    "strong, weak": ("strong", "weak"),
    "weak, strong": ("weak", "strong"),
    "weak, weak": ("weak", "weak"),
    "relayed, weak": ("relayed", "weak"),
}
"""Who begins, and who answers."""


class Walks(msgspec.Struct):
    """n episodes. success: bool[n]. stated: bool[n], whether the opener said how it writes cells.
    own: int8[n, 2, size, size], the map of each seat (-1 hidden, 0 open, 1 wall); ends: int[n, 2, 2], start and goal.
    """

    success: np.ndarray
    stated: np.ndarray
    own: np.ndarray
    ends: np.ndarray


def agents(settings: Settings) -> dict[str, Agent]:
    """The talkers by name."""
    strong = {"type": "talker", "grounding": settings.strong}
    weak = {"type": "talker", "grounding": settings.weak}
    relayed = {"type": "relay", "first": strong, "then": weak, "at": settings.opens}
    return {name: make_agent(spec) for name, spec in (("strong", strong), ("weak", weak), ("relayed", relayed))}


def walk(settings: Settings, seats: Sequence[Agent], blocks: int, **options: Any) -> Walks:
    """Play so many blocks. options: of the environment, over those of the settings."""
    s = settings
    given = {"size": s.size, "density": s.density, "words": s.words, "turns": s.turns, **options}
    env = make_env("maze/joint", given)
    conduct = msgspec.convert({"mail": {"mode": s.mail}}, Conduct)
    success, stated, own, ends = [], [], [], []
    for block in range(blocks):
        lineup = dict(zip(env.seats, seats, strict=True))
        outcome = loop(play(env, lineup, Block(s.root, block), conduct))
        seen = [env.data(seat) for seat in env.seats]
        first = seen[0]["talk"][0] if seen[0]["talk"] else [0, ""]
        success.append(outcome.score["success"] == 1)
        stated.append("(row, column)" in first[1])
        own.append([d["maps"][0] for d in seen])
        ends.append([seen[0]["start"], seen[0]["goal"]])
    env.close()
    return Walks(np.array(success), np.array(stated), np.array(own), np.array(ends))


# -- with models -----------------------------------------------------------------------------------
_HELP = (
    "Think of the steps that lead from where you stand to the goal over open cells. "
    "If a step is proposed and you know no wall there, agree. Stop only at the goal."
)


def _llms(models: Sequence[str], talk: bool) -> dict[str, dict[str, Any]]:
    """strong: the first model, weak: the last one (the same, where one is named)."""
    own = {"temperature": 0.0, "memory": 0, "talk": talk, "instructions": _HELP}
    names = {"strong": models[0], "weak": models[-1]}
    return {name: {"type": f"llm:{model}", **own} for name, model in names.items()}


def _plan(name: str, env: Mapping[str, Any], n: int, **parts: Any) -> dict[str, Any]:
    return {
        "study": {"name": name, "blocks": n, "root": 1, "metric": "success", "margin": 0.1},
        "environments": {"maze": {"name": "maze/joint", "options": dict(env)}},
        "conduct": {"invalid": ["random"], "error": ["random"]},
        **parts,
    }


def control(models: Sequence[str], level: Any, n: int) -> dict[str, Any]:
    """Each model alone, with both masked maps: whether it can walk at all."""
    env = {**level.options, "solo": "merged", "turns": level.options["turns"] // 2}
    there = _llms(models, talk=False)
    lineups = {name: [name] for name in there} if models[0] != models[-1] else {"strong": ["strong"]}
    used = {name: there[name] for name in lineups}
    return _plan("collaboration gap: alone", env, n, agents=used, lineups=lineups)


def study(models: Sequence[str], level: Any, n: int) -> dict[str, Any]:
    """Pairs of one model, ordered mixed pairs, and a weak pair whose first two turns the strong one plays."""
    there = _llms(models, talk=True)
    if models[0] == models[-1]:
        lineups: dict[str, Any] = {"strong, strong": ["strong", "strong"]}
        there.pop("weak")
        questions = []
    else:
        there["relayed"] = {"type": "relay", "first": "strong", "then": "weak", "at": 2}
        lineups = {name: list(seats) for name, seats in LINEUPS.items()}
        questions = [
            {"candidate": "strong, weak", "baseline": "weak, strong", "ask": "Does it matter who begins?"},
            {
                "candidate": "relayed, weak",
                "baseline": "weak, weak",
                "ask": "Does a strong opening help the weak pair?",
            },
        ]
    extra = {"controls": {"zero_message": False}, "questions": questions}
    lineups["strong, strong, silent"] = {"seats": ["strong", "strong"], "mail": "off", "role": "control: zero-message"}
    return _plan("collaboration gap: pairs", level.options, n, agents=there, lineups=lineups, **extra)
