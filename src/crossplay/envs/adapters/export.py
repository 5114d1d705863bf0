"""The way back: any Crossplay environment as a PettingZoo environment, `to_aec(env)` or `to_parallel(env)`.

Observations are the array view; where seats have masks they are dicts of "observation" and
"action_mask". `reset(seed=s)` begins block 0 of root s, and each further `reset()` the next block,
so that a trainer elsewhere meets the episodes that a study with that root would meet. Messages
between seats do not exist in PettingZoo: nobody says anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from crossplay.envs.adapters._foreign import need
from crossplay.kernel.env import Env
from crossplay.kernel.seeds import Block
from crossplay.kernel.types import ActionSpec, CrossplayError

__all__ = ["to_aec", "to_parallel"]


class _Export:
    """What both forms share: spaces, seeding, observations."""

    metadata: dict[str, Any]
    possible_agents: list[str]
    agents: list[str]

    def _setup(self, env: Env, render_mode: str | None) -> None:
        if "array" not in env.views:
            raise CrossplayError(f"{env.id}: has no array view, so it cannot be a PettingZoo environment")
        self.env = env
        self.render_mode = render_mode
        self.metadata = {"name": env.name, "render_modes": ["rgb_array", "ansi"], "is_parallelizable": True}
        self.possible_agents = list(env.seats)
        self.agents = []
        self._root, self._block = 0, -1
        self._begin(0)
        self._masked = {s: env.spec(s).kind == "names" and _has_mask(env) for s in env.seats}
        self.observation_spaces = {s: self._observation_space(s) for s in env.seats}
        self.action_spaces = {s: _action_space(env, env.spec(s)) for s in env.seats}
        self._block = -1

    def _begin(self, seed: int | None) -> None:
        if seed is not None:
            self._root, self._block = seed, -1
        self._block += 1
        self.env.start(Block(self._root, self._block))

    def _observation_space(self, seat: str) -> Any:
        spaces = need("gymnasium.spaces", "export")
        array = self._array(seat)
        if array.dtype.kind == "f":
            low, high = -np.inf, np.inf
        else:
            low, high = np.iinfo(array.dtype).min, np.iinfo(array.dtype).max
        box = spaces.Box(low, high, array.shape, array.dtype)
        if not self._masked[seat]:
            return box
        return spaces.Dict(
            {"observation": box, "action_mask": spaces.Box(0, 1, (len(self.env.spec(seat).names),), np.int8)}
        )

    def _array(self, seat: str) -> np.ndarray:
        array = np.array(self.env.view(seat, "array"))
        return array.astype(np.int8) if array.dtype == bool else array

    def observation_space(self, agent: str) -> Any:
        """The same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        """The same object at every call."""
        return self.action_spaces[agent]

    def observe(self, agent: str) -> Any:
        """The array view; with the mask, where seats have masks: all zero for a seat that is not to act."""
        array = self._array(agent)
        if not self._masked[agent]:
            return array
        if agent not in self.env.to_act() or self.env.ended() is not None:
            mask = np.zeros(len(self.env.spec(agent).names), np.int8)
        else:
            legal = self.env.legal(agent)
            mask = np.ones(len(self.env.spec(agent).names), np.int8) if legal is None else np.array(legal, np.int8)
        return {"observation": array, "action_mask": mask}

    def _value(self, agent: str, action: Any) -> Any:
        """The canonical value; an illegal one raises `Invalid`, which is a ValueError."""
        return self.env.spec(agent).check(action, self.env.legal(agent))

    def _how(self, agent: str) -> str | None:
        """How a seat ended: by itself or with the episode."""
        return self.env.out(agent) or self.env.ended()

    def render(self) -> Any:
        """The whole world: uint8[h, w, 3] for "rgb_array", text for "ansi"."""
        return self.env.picture() if self.render_mode == "rgb_array" else self.env.text()

    def close(self) -> None:
        """Free what the environment holds."""
        self.env.close()


class _Aec(_Export):
    """One seat after the other; simultaneous seats are asked in seat order, then the world steps."""

    def __init__(self, env: Env, render_mode: str | None = None) -> None:
        self._setup(env, render_mode)

    def reset(self, seed: int | None = None, options: Mapping[str, Any] | None = None) -> None:
        """Begin the next episode; options are not used."""
        self._begin(seed)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, dict[str, Any]] = {a: {} for a in self.agents}
        self._skip_agent_selection = None
        self._queue = list(self.env.to_act())
        self._pending: dict[str, Any] = {}
        self.agent_selection = self._queue[0]

    def step(self, action: Any) -> None:
        """Take the action of the selected seat; None for one that is out."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)  # type: ignore[attr-defined]
            return
        self._cumulative_rewards[agent] = 0.0
        self._pending[agent] = self._value(agent, action)
        self._queue.pop(0)
        if self._queue:
            self._clear_rewards()  # type: ignore[attr-defined]
            self.agent_selection = self._queue[0]
            return
        paid = dict(zip(self.env.seats, self.env.step(self._pending, ()), strict=True))
        self._pending = {}
        for a in self.agents:
            self.rewards[a] = float(paid[a])
            how = self._how(a)
            self.terminations[a], self.truncations[a] = how == "terminal", how == "horizon"
        self._accumulate_rewards()  # type: ignore[attr-defined]
        self._queue = [] if self.env.ended() is not None else list(self.env.to_act())
        self.agent_selection = self._queue[0] if self._queue else self.agents[0]
        self._deads_step_first()  # type: ignore[attr-defined]


class _Parallel(_Export):
    """All seats at once."""

    def __init__(self, env: Env, render_mode: str | None = None) -> None:
        self._setup(env, render_mode)
        if not env.seat_ends and set(env.to_act()) != set(env.seats):
            raise CrossplayError(f"{env.id}: seats act one after the other; use to_aec")

    def reset(
        self, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin the next episode: (observations, infos) of the seats in play."""
        self._begin(seed)
        self.agents = list(self.possible_agents)
        return {a: self.observe(a) for a in self.agents}, {a: {} for a in self.agents}

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """(observations, rewards, terminations, truncations, infos) of the seats that were in play."""
        acting = self.env.to_act()
        if not self.agents:
            return {}, {}, {}, {}, {}
        paid = dict(
            zip(self.env.seats, self.env.step({a: self._value(a, actions[a]) for a in acting}, ()), strict=True)
        )
        was = self.agents
        ends = {a: self._how(a) for a in was}
        self.agents = [a for a in was if ends[a] is None]
        return (
            {a: self.observe(a) for a in was},
            {a: float(paid[a]) for a in was},
            {a: ends[a] == "terminal" for a in was},
            {a: ends[a] == "horizon" for a in was},
            {a: {} for a in was},
        )


def _has_mask(env: Env) -> bool:
    return any(env.legal(s) is not None for s in env.to_act())


def _action_space(env: Env, spec: ActionSpec) -> Any:
    spaces = need("gymnasium.spaces", "export")
    if spec.kind == "names":
        return spaces.Discrete(len(spec.names))
    if spec.kind == "box":
        return spaces.Box(*spec.bounds(), dtype=np.float64)
    if spec.kind == "text":
        return spaces.Text(spec.max_len)
    raise CrossplayError(f"{env.id}: actions are JSON data, which no Gymnasium space can say")


@cache
def _classes() -> tuple[type, type]:
    """The two forms as subclasses of PettingZoo's own, made when first asked for."""
    zoo = need("pettingzoo", "export")
    return type("CrossplayAEC", (_Aec, zoo.AECEnv), {}), type("CrossplayParallel", (_Parallel, zoo.ParallelEnv), {})


def to_aec(env: Env, render_mode: str | None = None) -> Any:
    """A `pettingzoo.AECEnv` that plays `env` (and owns it). render_mode: None, "rgb_array" or "ansi"."""
    return _classes()[0](env, render_mode)


def to_parallel(env: Env, render_mode: str | None = None) -> Any:
    """A `pettingzoo.ParallelEnv` that plays `env` (and owns it); all its seats must act at once."""
    return _classes()[1](env, render_mode)
