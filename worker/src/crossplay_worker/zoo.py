"""Environments of Crossplay as PettingZoo's parallel ones: all seats at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from .envs import make
from .frames import WireError
from .gym import action_space, observation_space

__all__ = ["parallel"]


def parallel(
    name: str,
    *,
    fill: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    root: int | None = None,
    crossplay: Any = None,
) -> Any:
    """A `pettingzoo.ParallelEnv` of the seats that are not filled; they have to act at the same time.

    Where seats have masks, observations are dicts of "observation" and "action_mask". root: of the blocks; default:
    `envs.train_root(0)`. Each `reset()` begins the next block; `reset(seed=s)` block 0 of root s, as a study with that root
    has it, so seeds of a training are `train_root(n)`.
    """
    return _class()(name, dict(fill or {}), options, root, crossplay)


@cache
def _class() -> Any:
    from gymnasium import spaces
    from pettingzoo import ParallelEnv

    class CrossplayParallel(ParallelEnv):
        """The seats of an environment of Crossplay."""

        def __init__(self, name: str, fill: dict[str, Any], options: Any, root: int | None, crossplay: Any) -> None:
            self._given = {"fill": fill, "options": options}
            self._name, self._block = name, -1
            self.rows = make(name, root=root, crossplay=crossplay, **self._given)
            if not self.rows.simultaneous:
                raise WireError("BAD_SPACE", "%s: seats act one after the other; use gym.make for one seat" % name)
            self.metadata = {"name": self.rows.id, "render_modes": [], "is_parallelizable": True}
            self.render_mode = None
            self.possible_agents = list(self.rows.trained)
            self.agents: list[str] = []
            self._observations = {s: self._space(s) for s in self.possible_agents}
            self._actions = {s: action_space(self.rows.specs[s]) for s in self.possible_agents}

        def _space(self, seat: str) -> Any:
            box = observation_space(self.rows.shapes[seat], self.rows.dtypes[seat])
            if seat not in self.rows.masked:
                return box
            names = len(self.rows.specs[seat]["names"])
            return spaces.Dict({"observation": box, "action_mask": spaces.Box(0, 1, (names,), np.int8)})

        def observation_space(self, agent: str) -> Any:
            """The same object at every call."""
            return self._observations[agent]

        def action_space(self, agent: str) -> Any:
            """The same object at every call."""
            return self._actions[agent]

        def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
            """Begin the next episode; options: {"block": number or item's id}."""
            if seed is not None:
                if seed != self.rows.root:
                    old = self.rows
                    self.rows = make(self._name, root=seed, crossplay=old._line, **self._given)
                    self.rows._owned, old._owned = old._owned, False
                    old.close()
                self._block = -1
            self._block += 1
            state = self.rows.reset([0], [(options or {}).get("block", self._block)])
            self.agents = list(self.possible_agents)
            return {a: self._seen(state, a) for a in self.agents}, {a: {} for a in self.agents}

        def _seen(self, state: Any, agent: str) -> Any:
            array = np.asarray(state.obs[agent])[0]
            array = array.astype(np.int8) if array.dtype == bool else array
            if agent not in self.rows.masked:
                return array
            mask = state.legal.get(agent)
            names = len(self.rows.specs[agent]["names"])
            over = bool(state.ended[0])
            flags = np.zeros(names) if over else np.ones(names) if mask is None else np.asarray(mask)[0]
            return {"observation": array, "action_mask": flags.astype(np.int8)}

        def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
            """(observations, rewards, terminations, truncations, infos) of the seats that were in play."""
            if not self.agents:
                return {}, {}, {}, {}, {}
            state = self.rows.step({a: [v] if isinstance(v, str) else np.asarray([v]) for a, v in actions.items()})
            was, how = self.agents, state.ended[0]
            acting = state.acting[0] if state.acting else self.possible_agents
            gone = {a: bool(how) or (self.rows.seat_ends and a not in acting) for a in was}
            self.agents = [a for a in was if not gone[a]]
            infos: dict[str, Any] = {a: {"score": dict(state.score[0])} if state.score else {} for a in was}
            return (
                {a: self._seen(state, a) for a in was},
                {a: float(state.reward[a][0]) for a in was},
                {a: gone[a] and how != "horizon" for a in was},
                {a: gone[a] and how == "horizon" for a in was},
                infos,
            )

        def render(self) -> None:
            """There is nothing to render here; `crossplay play` shows episodes."""

        def close(self) -> None:
            """Close the environment."""
            self.rows.close()

    return CrossplayParallel
