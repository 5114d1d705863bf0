"""The experiment on `agentsnet/*`: its settings, how scripted nodes play it, and the studies with models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay import Block, Conduct, loop, make_agent, make_env, play

__all__ = ["FAMILIES", "TASKS", "Network", "Settings", "control", "networks", "study"]

TASKS = ("coloring", "vertex_cover", "leader_election", "consensus", "matching")
FAMILIES = ("ws", "ba", "delaunay")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The published tasks with scripted nodes."""

    method: str = "local"  # what the nodes do: local, gather, random, constant
    mail: str = "on"  # "off": no message arrives
    rounds: int | None = None  # of messages; None: the published number
    private: bool = True  # whether everybody holds a value in consensus, and the agreed one must be one of them
    lost: float = 0.7  # chance that a message is lost, where messages are lost
    people: int = 16  # of the ceiling
    graphs: int = 3  # of each family, of the ceiling
    wide: int = 24  # people of the networks that are too wide for few rounds
    sizes: tuple[int, int] = (4, 16)  # where messages are lost: few and many people
    lossy: int = 20  # graphs of each family and size where messages are lost
    root: int = 1


class Network(msgspec.Struct):
    """One episode. tied: bool[n, n]; names: in seat order; answers: in seat order, None for none; inputs: private
    values, where there are some; rounds: of messages; score: all metrics.
    """

    tied: np.ndarray
    names: tuple[str, ...]
    answers: list[str | None]
    inputs: list[str | None]
    rounds: int
    score: dict[str, float]


def networks(
    settings: Settings, task: str, blocks: int, method: str = "", mail: str = "", lost: float = 0.0, **options: Any
) -> list[Network]:
    """Play blocks with the same script in every seat. lost: share of messages that are not sent."""
    agent = make_agent({"type": f"node:{method or settings.method}", "noisy": lost})
    conduct = msgspec.convert({"mail": {"mode": mail or settings.mail}}, Conduct)
    if task == "consensus":
        options.setdefault("private_inputs", settings.private)
    env = make_env(f"agentsnet/{task}", {k: v for k, v in options.items() if v is not None})
    found = []
    for block in range(blocks):
        outcome = loop(play(env, dict.fromkeys(env.seats, agent), Block(settings.root, block), conduct))
        seen = [env.data(seat) for seat in env.seats]
        tied = np.array([[other in d["neighbours"] for other in env.seats] for d in seen])
        inputs = [d["input"] for d in seen]
        answers = list(env.answers)  # type: ignore[attr-defined]
        found.append(Network(tied, env.seats, answers, inputs, seen[0]["rounds"], dict(outcome.score)))
    env.close()
    return found


# -- with models -----------------------------------------------------------------------------------
_ROUNDS = 2
_READ = (
    "Your neighbours write what they know in words key=value. group and value are what they will answer themselves; "
    "first is the first name in the alphabet that they have heard of, and whoever has that name is the leader."
)
_SAY = {
    "coloring": "Say your name and the group that you choose, in one short sentence. Choose another group than those that your "
    "neighbours have said.",
    "leader_election": "Say, in one short sentence, the first name in the alphabet that you have heard of, your own included. "
    "Whoever has that name is the leader.",
    "consensus": "Say, in one short sentence, the first name in the alphabet that you have heard of, your own included, and "
    "the value of that person. That value is the answer.",
}
"""What is said to the models of a network: what to say, and a rule that would do. By task."""


def _plan(name: str, level: Any, n: int, lineups: Mapping[str, Any], **parts: Any) -> dict[str, Any]:
    options = {k: v for k, v in level.options.items() if k != "task"}
    return {
        "study": {"name": name, "blocks": n, "root": 1, "metric": "solved", "margin": 0.1, "concurrency": 1},
        "environments": {
            "net": {"name": f"agentsnet/{level.options['task']}", "options": {**options, "n": 4, "rounds": _ROUNDS}}
        },
        "conduct": {"invalid": ["random"], "error": ["random"]},
        "lineups": dict(lineups),
        **parts,
    }


def control(models: Sequence[str], level: Any, n: int) -> dict[str, Any]:
    """One model among scripts that tell it all it needs: a script talks in its place, then the model gives the answer.

    Floor: a random answer in that seat; ceiling: the script's own.
    """
    agents = {
        "node": {"type": "node"},
        "model": {"type": f"llm:{models[0]}", "temperature": 0.0, "memory": 0, "instructions": _READ},
        "random": {"type": "random"},
        "answers": {"type": "relay", "first": "node", "then": "model", "at": _ROUNDS},
        "guesses": {"type": "relay", "first": "node", "then": "random", "at": _ROUNDS},
    }
    others = ["node"] * 3
    lineups = {
        "one model": ["answers", *others],
        "one guess": {"seats": ["guesses", *others], "role": "control: floor"},
        "scripts": {"seats": ["node", *others], "role": "control: ceiling"},
    }
    controls = {"floor": False, "ceiling": False, "zero_message": False}  # floor and ceiling stand among the lineups
    return _plan("agentsnet: one model, told everything", level, n, lineups, agents=agents, controls=controls)


def study(models: Sequence[str], level: Any, n: int) -> dict[str, Any]:
    """The model in every seat, talking; the study adds the same without messages, the floor and the ceiling."""
    agent: dict[str, Any] = {"type": f"llm:{models[0]}", "temperature": 0.0, "memory": 0, "talk": True}
    agent["instructions"] = _SAY[level.options["task"]]
    lineups = {"models": ["model"] * 4}
    agents = {"model": agent, "chance": {"type": "node:random"}, "script": {"type": "node"}}
    controls = {"floor": "chance", "ceiling": "script"}
    return _plan("agentsnet: a network of one model", level, n, lineups, agents=agents, controls=controls)
