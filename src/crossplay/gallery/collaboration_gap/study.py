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
    given: dict[str, Any] = {"size": s.size, "density": s.density, "words": s.words, "turns": s.turns, **options}
    env = make_env("maze/joint", given)
    conduct = msgspec.convert({"mail": {"mode": s.mail}}, Conduct)
    success, stated, own, ends = [], [], [], []
    for block in range(blocks):
        lineup = dict(zip(env.seats, seats, strict=True))
        outcome = loop(play(env, lineup, Block(s.root, block), conduct))
        seen = [env.data(seat) for seat in env.seats]
        opening = str(seen[0]["talk"][0][1]) if seen[0]["talk"] else ""
        success.append(outcome.score["success"] == 1)
        stated.append("(row, column)" in opening)
        own.append([d["maps"][0] for d in seen])
        ends.append([seen[0]["start"], seen[0]["goal"]])
    env.close()
    return Walks(np.array(success), np.array(stated), np.array(own), np.array(ends))


# -- with models -----------------------------------------------------------------------------------
_HELP = (
    "How to walk: compare where you stand with the goal. Take a step in a direction in which the goal still lies, onto a cell "
    "that is open. Stop when you stand where the goal is. Agree to a proposed step if you know of no wall there. "
    "Example: the goal is 1 left. You stand at: here, so step left. You stand at: 1 left, that is the goal, so stop."
)


def _llms(models: Sequence[str], talk: bool) -> dict[str, dict[str, Any]]:
    """strong: the first model, weak: the last one (the same, where one is named)."""
    own = {"temperature": 0.0, "memory": 0, "talk": talk, "instructions": _HELP}
    names = {"strong": models[0], "weak": models[-1]}
    return {name: {"type": f"llm:{model}", **own} for name, model in names.items()}


def _plan(name: str, env: Mapping[str, Any], n: int, **parts: Any) -> dict[str, Any]:
    """One episode at a time, so that what a local model has read of it need not be read again."""
    return {
        "study": {"name": name, "blocks": n, "root": 1, "metric": "success", "margin": 0.1, "concurrency": 1},
        "environments": {"maze": {"name": "maze/joint", "options": dict(env)}},
        "conduct": {"invalid": ["random"], "error": ["random"]},
        **parts,
    }


def control(models: Sequence[str], level: Any, n: int) -> dict[str, Any]:
    """Each model alone, with both masked maps: whether it can walk at all. The weak one walks half as many mazes."""
    longest = level.options.get("longest", 9)
    env = {**level.options, "solo": "merged", "turns": longest + 3}
    there = _llms(models, talk=False)
    lineups: dict[str, Any] = {"strong": ["strong"], "weak": {"seats": ["weak"], "blocks": max(2, n // 2)}}
    if models[0] == models[-1]:
        del lineups["weak"], there["weak"]
    return _plan("collaboration gap: alone", env, n, agents=there, lineups=lineups)


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
