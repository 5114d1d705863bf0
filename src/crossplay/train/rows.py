"""The rows a learner learns from: an array environment that starts over whenever a row ends."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

import numpy as np

from crossplay.agents.policy import flat
from crossplay.kernel import BatchEnv, CrossplayError, key, key64, make_batch, pick
from crossplay.train.config import PPO, teams_of

__all__ = ["Rows"]


class Rows:
    """B rows of an environment as K tracks: the (row, seat) pairs that learn, row by row.

    The other seats (`random_rows`) play uniformly at random. Chance is addressed: the worlds by the
    number of the episode, the random seats by the number of the tick.
    """

    def __init__(self, name: str, config: PPO) -> None:
        env = make_batch(name, config.rows, config.options)
        if env is None:
            raise CrossplayError(f"train: {name} has no array form, and the trainer steps arrays only")
        if env.array_shape(env.seats[0]) is None:
            raise CrossplayError(f"train: {env.id} has no array view")
        self.env: BatchEnv = env
        self.config = config
        self.seats, self.B, self.N = env.seats, env.B, len(env.seats)
        self.actions = len(env.action_spec.names)
        shapes = {env.array_shape(s) for s in env.seats}
        if len(shapes) > 1 and config.sharing == "shared":
            raise CrossplayError(f"train: {env.id}: seats see arrays of other shapes; use sharing = independent")
        self.teams = teams_of(env.seats)
        self.learns, self.against = self._who_learns()
        self.seat_of = np.nonzero(self.learns)[1]
        self.K = len(self.seat_of)
        self.tick = 0
        self.episodes = 0
        self.fresh = np.ones(self.K, bool)
        self.sums = np.zeros((self.B, self.N))
        self.recent: deque[tuple[float, float]] = deque(maxlen=config.window)
        self.env_s = 0.0
        self._noise = np.array(
            [key64(key("train", config.seed, "random", b, i)) for b in range(self.B) for i in range(self.N)], np.uint64
        )
        self._start(np.arange(self.B))

    def _who_learns(self) -> tuple[np.ndarray, np.ndarray]:
        """(bool[B, N]: which seats learn; int[B]: which team plays at random, or -1)."""
        learns, against = np.ones((self.B, self.N), bool), np.full(self.B, -1)
        names = sorted(set(self.teams))
        some = round(self.config.random_rows * self.B)
        if some and len(names) < 2:
            raise CrossplayError(f"train: {self.env.id}: random_rows = {self.config.random_rows}, but one team only")
        for b in range(some):
            against[b] = b % len(names)
            learns[b] = [t != names[b % len(names)] for t in self.teams]
        return learns, against

    def _start(self, rows: np.ndarray) -> None:
        """Fresh episodes in these rows."""
        seed, name = self.config.seed, self.env.id
        self.env.reset(rows, [key("train", seed, "world", name, self.episodes + i) for i in range(len(rows))])
        self.episodes += len(rows)

    def observe(self) -> tuple[np.ndarray, np.ndarray | None]:
        """(views float32[K, D], masks bool[K, n] or None) of the seats that learn."""
        began = time.thread_time()
        views = np.stack([self.env.obs_array(i) for i in range(self.N)], axis=1)
        legal = self.env.legal()
        self.env_s += time.thread_time() - began
        views = views.reshape(self.B, self.N, -1)
        return flat(views[self.learns], self.config.squash), None if legal is None else legal[self.learns]

    def step(self, choices: np.ndarray, shaping: float) -> tuple[np.ndarray, np.ndarray]:
        """Play int[K] -> (what is learned from float32[K], whether the episode ended bool[K])."""
        env, began = self.env, time.thread_time()
        actions = np.empty((self.B, self.N), np.int64)
        actions[self.learns] = choices
        if self.K < self.B * self.N:
            actions[~self.learns] = self._random()[~self.learns]
        rewards, ended = env.step(actions)
        task = env.sparse() if hasattr(env, "sparse") else rewards
        learned = task + shaping * env.shaped() if hasattr(env, "shaped") and shaping else task
        learned = self._shared(learned) * self.config.reward_scale
        self.sums += task
        over = ended > 0
        if over.any():
            rows = np.flatnonzero(over)
            for b in rows.tolist():
                self._finished(b)
            self.sums[rows] = 0.0
            self._start(rows)
        self.tick += 1
        over = np.repeat(over[:, None], self.N, 1)[self.learns]
        self.fresh = over
        self.env_s += time.thread_time() - began
        return learned[self.learns].astype(np.float32), over

    def _random(self) -> np.ndarray:
        """Uniform legal actions int[B, N] at this tick's address."""
        legal = self.env.legal()
        if legal is None:
            return pick(self._noise, self.actions, self.tick).reshape(self.B, self.N)
        flags = legal.reshape(self.B * self.N, -1)
        nth = pick(self._noise, flags.sum(1), self.tick)
        return (flags.cumsum(1) > nth[:, None]).argmax(1).reshape(self.B, self.N)

    def _shared(self, rewards: np.ndarray) -> np.ndarray:
        """Own rewards mixed with the team's mean."""
        share = self.config.team_reward
        if share == 0:
            return rewards
        mixed = rewards.copy()
        for team in set(self.teams):
            mates = [i for i, t in enumerate(self.teams) if t == team]
            mixed[:, mates] += share * (rewards[:, mates].mean(1, keepdims=True) - rewards[:, mates])
        return mixed

    def _finished(self, b: int) -> None:
        """Book the episode of a row: its mean return per learning seat, and whether it was won."""
        if self.against[b] < 0:
            if not (self.against >= 0).any():
                self.recent.append((float(self.sums[b].mean()), np.nan))
            return
        names = sorted(set(self.teams))
        score = self.env.score(b)
        other = names[self.against[b]]
        mine = next(t for t in names if t != other)
        won = score.get(f"{mine}_win", 1.0 - score.get(f"{other}_win", np.nan)) == 1.0
        self.recent.append((float(self.sums[b][self.learns[b]].mean()), float(won)))

    def lately(self) -> tuple[float | None, float | None]:
        """(mean return, share of wins against random) of the window; None: nothing to say."""
        if not self.recent:
            return None, None
        returns, wins = np.array(self.recent).T
        return float(returns.mean()), None if np.isnan(wins).any() else float(wins.mean())

    # -- checkpoints -----------------------------------------------------------------------------------
    def state(self) -> dict[str, np.ndarray]:
        """Everything that `restore` needs."""
        return {
            "S": self.env.S,
            "keys": self.env.keys,
            "counters": np.array([self.tick, self.episodes]),
            "fresh": self.fresh,
            "sums": self.sums,
            "recent": np.array(self.recent, np.float64).reshape(-1, 2),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Return to a state."""
        self.env.S[:], self.env.keys[:] = state["S"], state["keys"]
        self.tick, self.episodes = state["counters"].tolist()
        self.fresh, self.sums = state["fresh"].copy(), state["sums"].copy()
        self.recent.clear()
        self.recent.extend((r, w) for r, w in state["recent"].tolist())
