"""The experiment on `einstein`: its settings, how scripted reasoners play it, and the studies with models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay import Agent, Block, Observation, loop, make_agent, make_env, play

__all__ = ["Games", "Settings", "Start", "Watched", "control", "games", "noisy", "study"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The published game with scripted reasoners."""

    blocks: int = 5  # blocks to be placed
    told: str = "provide"  # the mode in which something may be said
    guess: bool = True  # whether a silent player tries bins that are still possible
    noise: tuple[float, float] = (0.3, 0.6)  # chances of a random action of the noisy players
    k: int = 8  # candidates of a verified player at most
    verdict: float = 0.0  # chance that a verdict is turned round
    limit: int = 20  # turns of noisy games at most
    games: int = 100
    watched: int = 25  # games in which the verifier is asked about every action at every turn
    root: int = 1


class Start(msgspec.Struct, frozen=True):
    """A game at its start. at: own bin of every block (4 the first player's, 5 the second's); ground: destination of
    block 0; known: relations [block, block, kind] of each player.
    """

    at: tuple[int, ...]
    ground: int
    known: tuple[list[list[int]], list[list[int]]]


class Games(msgspec.Struct):
    """n games. score: metric -> float64[n]; start: per game, see `Start`; counts: per game the sums of both seats'
    counters; world: per game the digest of what happened.
    """

    score: dict[str, np.ndarray]
    start: list[Start]
    counts: list[dict[str, int]]
    world: list[bytes]

    def total(self, name: str) -> int:
        """A counter, summed over all games."""
        return sum(c.get(name, 0) for c in self.counts)


class Watched(Agent):
    """Plays what another agent plays, and writes down how likely the verifier refuses one of its candidates.

    odds: per decision the chance that a noisy candidate is refused, (1 - q) [plan refused] + q (share of all
    actions refused), q being the noise: by asking the environment's verifier about every action.
    """

    def __init__(self, agent: Agent, plan: Agent, noise: float) -> None:
        self.agent, self.plan, self.noise = agent, plan, noise
        self.name = agent.name
        self.odds: list[float] = []

    def act(self, obs: Observation) -> Any:
        """The other agent's answer."""
        names = obs.spec.names
        refused = [bool(obs.verify(i)) for i in range(len(names))]
        planned = refused[names.index(self.plan.act(obs))]
        self.odds.append((1 - self.noise) * planned + self.noise * sum(refused) / len(names))
        return self.agent.act(obs)


def games(agent: Agent, n: int, root: int, **options: Any) -> Games:
    """Both seats by the same agent; options: of the environment."""
    env = make_env("einstein", options)
    score: dict[str, list[float]] = {}
    start, counts, world = [], [], []
    for block in range(n):
        episode = play(env, dict.fromkeys(env.seats, agent), Block(root, block))
        outcome = loop(episode)
        for name, value in outcome.score.items():
            score.setdefault(name, []).append(value)
        one, two = (env.data(seat) for seat in env.seats)
        relations = (one["relations"][: one["given"]], two["relations"][: two["given"]])
        start.append(Start(env.game.at, one["ground"], relations))  # type: ignore[attr-defined]
        mine = [outcome.counts[seat] for seat in env.seats]
        counts.append({name: sum(m.get(name, 0) for m in mine) for name in {k for m in mine for k in m}})
        world.append(outcome.world)
    env.close()
    return Games({k: np.array(v) for k, v in score.items()}, start, counts, world)


def noisy(settings: Settings, noise: float, k: int = 0, verdict: float | None = None) -> Agent:
    """A reasoner that plays at random now and then; k: verified with so many candidates (0: not at all)."""
    inner = {"type": "reasoner", "noise": noise}
    if not k:
        return make_agent(inner)
    turned = settings.verdict if verdict is None else verdict
    return make_agent({"type": "verified", "agent": inner, "k": k, "noise": turned})


# -- with models -----------------------------------------------------------------------------------
_HELP = (
    "Bring a block home when its place follows from what you know. Put a block of the other's row into the common bin. "
    "Never try what was refused before."
)


def _agents(models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The model as it is, the same with the environment's verifier, and the scripted expert."""
    own = {"temperature": 0.7, "memory": 0, "instructions": _HELP}
    return {
        "model": {"type": f"llm:{models[0]}", **own},
        "verified": {"type": "verified", "agent": "model", "k": 3},
        "expert": {"type": "reasoner", "guess": True},
    }


def _plan(
    name: str, level: Any, modes: Sequence[str], n: int, lineups: Mapping[str, Any], **parts: Any
) -> dict[str, Any]:
    """One game at a time, so that what a local model has read of it need not be read again."""
    environments = {mode: {"name": "einstein", "options": {**level.options, "mode": mode}} for mode in modes}
    return {
        "study": {"name": name, "blocks": n, "root": 1, "metric": "success", "margin": 0.1, "concurrency": 1},
        "environments": environments,
        "conduct": {"invalid": ["random"], "error": ["random"]},
        "lineups": dict(lineups),
        **parts,
    }


def control(models: Sequence[str], level: Any, n: int) -> dict[str, Any]:
    """The model beside the expert, without a word: what one seat can do. Floor: a random player in that seat."""
    there = {name: spec for name, spec in _agents(models).items() if name != "verified"}
    lineups = {
        "model, expert": ["model", "expert"],
        "random, expert": {"seats": ["random", "expert"], "role": "control: floor"},
        "expert, expert": {"seats": ["expert", "expert"], "role": "control: ceiling"},
    }
    agents = {**there, "random": {"type": "random"}}
    controls = {"floor": False, "ceiling": False}  # both stand among the lineups
    return _plan("einstein: one seat", level, ("none",), n, lineups, agents=agents, controls=controls)


def study(models: Sequence[str], level: Any, n: int) -> dict[str, Any]:
    """A pair of the model that may say nothing or tell what it knows, with the verifier and without."""
    lineups = {"alone": ["model", "model"], "verified": ["verified", "verified"]}
    controls = {"ceiling": "expert"}
    return _plan(
        "einstein: telling and verifying",
        level,
        ("none", "provide"),
        n,
        lineups,
        agents=_agents(models),
        controls=controls,
    )
