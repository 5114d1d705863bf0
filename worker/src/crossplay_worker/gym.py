"""Environments of Crossplay as Gymnasium's: `make` for one seat, `make_vec` for many rows (and seats) at once.

A seat with masks finds the mask in `info["action_mask"]` and, where its actions have names, in `env.action_masks()`.
An illegal action is refused by the engine (`WireError` BAD_VALUE); with illegal="replace" it is replaced by the
first legal one and counted in `info["replaced"]`, for learners that know no masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from .envs import Rows, Tracks
from .envs import make as open_rows
from .frames import WireError

__all__ = ["action_space", "legal_only", "make", "make_vec", "observation_space", "vector"]


def observation_space(shape: Any, dtype: Any) -> Any:
    """The space of an array view: open bounds for numbers, the whole range of whole numbers."""
    from gymnasium import spaces

    kind = np.dtype(np.int8) if np.dtype(dtype) == bool else np.dtype(dtype)
    if kind.kind == "f":
        return spaces.Box(-np.inf, np.inf, tuple(shape), kind.type)
    return spaces.Box(np.iinfo(kind).min, np.iinfo(kind).max, tuple(shape), kind.type)


def action_space(spec: Mapping[str, Any]) -> Any:
    """The space of a seat's actions; raises `WireError` BAD_SPACE where Gymnasium has none (data)."""
    from gymnasium import spaces

    if spec["kind"] == "names":
        return spaces.Discrete(len(spec["names"]))
    if spec["kind"] == "box":
        shape = tuple(spec["shape"])
        low, high = (np.asarray(spec[end], np.float64).reshape(shape) for end in ("low", "high"))
        return spaces.Box(low, high, shape, np.float64)
    if spec["kind"] == "text":
        return spaces.Text(spec["max_len"])
    raise WireError("BAD_SPACE", "actions are JSON data, which no Gymnasium space can say")


def legal_only(actions: Any, legal: Any) -> tuple[np.ndarray, int]:
    """(actions [K] with illegal ones replaced by the first legal one, how many were)."""
    chosen = np.asarray(actions).astype(np.int64)
    if legal is None:
        return chosen, 0
    bad = ~legal[np.arange(len(chosen)), chosen]
    if bad.any():
        chosen = np.where(bad, legal.argmax(1), chosen)
    return chosen, int(bad.sum())


def make(
    name: str,
    *,
    seat: str = "",
    fill: Any = "random",
    options: Mapping[str, Any] | None = None,
    root: int | None = None,
    illegal: str = "refuse",
    crossplay: Any = None,
) -> Any:
    """A `gymnasium.Env` that plays one seat; agents of Crossplay fill the others.

    seat: default: the first. fill: one agent for all other seats, or seat -> agent. root: of the blocks; default:
    `envs.train_root(0)`. Each `reset()` begins the next block. `reset(seed=s)` begins block 0 of root s: the episodes that
    a study with that root has, so seeds of a training are `train_root(n)` (a study's default root is 0).
    """
    others = {"fill": fill, "seat": seat}
    return _env_class()(name, others, options, root, illegal, crossplay)


def make_vec(
    name: str,
    *,
    rows: int = 1,
    seats: str = "all",
    fill: Any = None,
    reward: str = "own",
    options: Mapping[str, Any] | None = None,
    root: int | None = None,
    first: int = 0,
    restart: str = "same",
    illegal: str = "refuse",
    crossplay: Any = None,
) -> Any:
    """A `gymnasium.vector.VectorEnv` of rows x trained seats, track = row * seats + seat (one policy for all seats).

    seats: "all", or the one seat that is yours, others being filled. reward: "own", or "mean" of the trained seats.
    root: of the blocks; default: `envs.train_root(0)`. `tracks.take_finished()` gives returns and scores of episodes.
    Episodes start over in the step in which they end (AutoresetMode.SAME_STEP, the last observations are in
    `info["final_obs"]`), or with restart="next" in the step after (NEXT_STEP).
    """
    one = "" if seats == "all" else seats
    rows_of = open_rows(
        name, rows=rows, options=options, root=root, fill=fill or ("random" if one else None), seat=one, crossplay=crossplay
    )  # fmt: skip
    return vector(Tracks(rows_of, reward, first, restart), illegal)


def vector(tracks: Tracks, illegal: str = "refuse") -> Any:
    """Tracks as a `gymnasium.vector.VectorEnv`."""
    return _vec_class()(tracks, illegal)


@cache
def _env_class() -> Any:
    import gymnasium

    class CrossplayEnv(gymnasium.Env):
        """One seat of an environment of Crossplay."""

        metadata = {"render_modes": []}

        def __init__(
            self, name: str, others: Any, options: Any, root: int | None, illegal: str, crossplay: Any
        ) -> None:
            self._opened = dict(others, options=options, crossplay=crossplay)
            self._name, self._illegal, self._block = name, illegal, -1
            self.rows = self._open(root)
            self.seat = self.rows.trained[0]
            self._shape, self._kind = self.rows.shapes[self.seat], self.rows.dtypes[self.seat]
            self.observation_space = observation_space(self._shape, self._kind)
            self.action_space = action_space(self.rows.specs[self.seat])
            self._legal: Any = None

        def _open(self, root: int | None) -> Rows:
            return open_rows(self._name, root=root, **self._opened)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            """Begin the next episode; options: {"block": number or item's id}."""
            super().reset(seed=seed)
            if seed is not None:
                if seed != self.rows.root:
                    self._reopen(seed)
                self._block = -1
            self._block += 1
            block = (options or {}).get("block", self._block)
            return self._seen(self.rows.reset([0], [block]))

        def _reopen(self, root: int) -> None:
            old, self._opened["crossplay"] = self.rows, self.rows._line
            self.rows = self._open(root)
            self.rows._owned, old._owned = old._owned, False
            old.close()

        def _seen(self, state: Any) -> tuple[Any, dict[str, Any]]:
            legal = state.legal.get(self.seat)
            self._legal = None if legal is None else np.asarray(legal)
            info: dict[str, Any] = {}
            if self._legal is not None:
                info["action_mask"] = self._legal[0].astype(np.int8)
            if state.score:
                info["score"] = dict(state.score[0])
            obs = np.asarray(state.obs[self.seat])[0]
            return (obs.astype(np.int8) if obs.dtype == bool else obs), info

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            """One turn of the seat."""
            value, replaced = [action], 0
            if self._illegal == "replace" and self._legal is not None:
                value, replaced = legal_only(np.asarray([action]), self._legal)
            state = self.rows.step({self.seat: np.asarray(value) if not isinstance(action, str) else value})
            obs, info = self._seen(state)
            if replaced:
                info["replaced"] = replaced
            how = state.ended[0]
            return obs, float(state.reward[self.seat][0]), how == "terminal", how == "horizon", info

        def action_masks(self) -> np.ndarray:
            """Bool [names]: what is legal now."""
            if self._legal is None:
                return np.ones(self.action_space.n, bool)
            return self._legal[0]

        def close(self) -> None:
            """Close the environment."""
            self.rows.close()

    return CrossplayEnv


@cache
def _vec_class() -> Any:
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space

    class CrossplayVectorEnv(VectorEnv):
        """Tracks as a vector environment."""

        def __init__(self, tracks: Tracks, illegal: str) -> None:
            self.tracks, self._illegal = tracks, illegal
            self.num_envs = tracks.K
            mode = AutoresetMode.NEXT_STEP if tracks.restart == "next" else AutoresetMode.SAME_STEP
            self.metadata = {"render_modes": [], "autoreset_mode": mode}
            self.single_observation_space = observation_space(tracks.shape, tracks.dtype)
            self.single_action_space = action_space(tracks.spec)
            self.observation_space = batch_space(self.single_observation_space, self.num_envs)
            self.action_space = batch_space(self.single_action_space, self.num_envs)
            self._legal: Any = None

        def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            """Fresh episodes in all rows. The blocks go on where they are; their root is that of `make_vec`."""
            step = self.tracks.reset()
            self._legal = step.legal
            return step.obs, self._info(step, 0)

        def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
            """One tick of all tracks."""
            replaced = 0
            if self._illegal == "replace":
                actions, replaced = legal_only(actions, self._legal)
            step = self.tracks.step(actions)
            self._legal = step.legal
            info = self._info(step, replaced)
            if step.ended.any() and self.tracks.restart == "same":
                final = np.full(self.num_envs, None, object)
                for track, obs in step.final.items():
                    final[track] = obs
                info["final_obs"], info["_final_obs"] = final, step.ended.copy()
            return step.obs, step.reward, step.ended & ~step.cut, step.cut.copy(), info

        def _info(self, step: Any, replaced: int) -> dict[str, Any]:
            info: dict[str, Any] = {"replaced": replaced} if replaced else {}
            if step.legal is not None:
                info["action_mask"] = step.legal
                info["_action_mask"] = np.ones(self.num_envs, bool)
            return info

        def close_extras(self, **kwargs: Any) -> None:
            """Close the environment."""
            self.tracks.close()

    return CrossplayVectorEnv
