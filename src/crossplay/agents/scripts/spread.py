"""`scout`: the scripted expert of `spread`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.agents.context import options, plain, quick
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["Scout", "scout"]

# What an agent of `spread` does per tick: glide by 0.1 v, keep 3/4 of v, add 0.5 in the direction pushed.
_GLIDE, _KEEP, _PUSH = 0.1, 0.75, 0.5
_REST = _GLIDE / (1 - _KEEP)  # how far a velocity of 1 still carries
_MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float64) * _PUSH
_PLANS = np.array(list(itertools.product(range(5), repeat=2)))  # two pushes, then gliding
_KICK = _MOVES[_PLANS[:, 0]]
_KICK2 = _KICK * _KEEP + _MOVES[_PLANS[:, 1]]
# Displacement that a plan adds, two and three ticks from now and at rest: [3, 25, 2].
_SHIFTS = np.stack([_KICK * _GLIDE, (_KICK + _KICK2) * _GLIDE, _KICK * _GLIDE + _KICK2 * _REST])
_REACH = np.array([[_GLIDE * (1 + _KEEP)], [_GLIDE * (1 + _KEEP + _KEEP**2)], [_REST]])  # what the velocity adds
_FIRST = _PLANS[:, 0]
_EXACT_UP_TO = 5  # agents for which all assignments are compared (120)


class Scout(Agent):
    """Every agent solves the same assignment of agents to landmarks and goes to its own.

    The assignment has the least sum of squared distances (from 6 agents on: the nearest pairs
    first). The move is the first of the best of 25 plans of two pushes. Distances are symmetric,
    so all seats find the same assignment without talking.
    """

    name = "scout"
    views = ("array",)

    def act(self, obs: Observation) -> int:
        """The index of the action."""
        return int(_choose(obs.view("array")[None])[0])

    def act_batch(self, batch: Sequence[Observation]) -> list[int]:
        """One action per request; requests of one size of world are decided together."""
        views = [obs.view("array") for obs in batch]
        if len({len(v) for v in views}) == 1:
            return _choose(np.stack(views)).tolist()
        return [int(_choose(v[None])[0]) for v in views]

    def act_array(
        self, obs: np.ndarray, legal: np.ndarray | None, keys: np.ndarray, tick: np.ndarray, memo: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The same for columns: obs float[k, 6N]."""
        return _choose(obs), memo

    def check(self, env: Any, seat: str) -> None:
        """The scout knows `spread` alone."""
        if env.name != "spread":
            raise CrossplayError(f"scout: plays spread, not {env.id}")


def _choose(obs: np.ndarray) -> np.ndarray:
    """int64[k] actions for array views [k, 6N]; every row is decided by itself, without BLAS."""
    x = obs.astype(np.float64)
    n = x.shape[1] // 6
    land = x[:, 4 : 4 + 2 * n].reshape(-1, n, 2)
    agents = np.zeros((len(x), n, 2))
    agents[:, 1:] = x[:, 4 + 2 * n : 2 + 4 * n].reshape(len(x), n - 1, 2)
    gap = agents[:, :, None] - land[:, None]
    square = gap[..., 0] * gap[..., 0] + gap[..., 1] * gap[..., 1]
    goal = land[np.arange(len(x)), _own_landmark(square)]
    return _steer(goal, x[:, :2])


def _own_landmark(square: np.ndarray) -> np.ndarray:
    """int64[k]: the landmark of agent 0 under the assignment. square: float64[k, agents, landmarks]."""
    n = square.shape[1]
    if n <= _EXACT_UP_TO:
        orders, flat = _orders(n)
        cost = square.reshape(-1, n * n).take(flat, axis=1).cumsum(axis=2)[:, :, -1]
        return orders[cost.argmin(axis=1), 0]
    left, at = square.copy(), np.arange(len(square))
    mine = np.zeros(len(square), np.int64)
    for _ in range(n):
        flat = left.reshape(len(left), -1).argmin(axis=1)
        agent, landmark = flat // n, flat % n
        mine = np.where(agent == 0, landmark, mine)
        left[at, agent] = np.inf
        left[at, :, landmark] = np.inf
    return mine


def _orders(n: int) -> tuple[np.ndarray, np.ndarray]:
    """All orders of range(n), int64[n!, n], and where their pairs lie in a flattened n x n table."""
    found = _ORDERS.get(n)
    if found is None:
        orders = np.array(list(itertools.permutations(range(n))), np.int64).reshape(-1, n)
        found = _ORDERS[n] = orders, orders + np.arange(n) * n
    return found


_ORDERS: dict[int, tuple[np.ndarray, np.ndarray]] = {}


def _steer(goal: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """The first push of the plan that is nearest to the goal, summed over the two ticks it reaches and rest."""
    error = (goal[:, None] - velocity[:, None] * _REACH)[:, :, None] - _SHIFTS  # [k, 3, 25, 2]
    error *= error
    miss = np.sqrt(error[..., 0] + error[..., 1])
    cost = miss[:, 0] + miss[:, 1] + miss[:, 2]
    return _FIRST[cost.argmin(axis=1)]


@options()
@plain()
@quick
def scout(rest: str, options: Mapping[str, Any], context: Any = None) -> Agent:
    """The scripted expert of `spread`; takes no options."""
    if rest or options:
        word = rest or next(iter(options))
        raise CrossplayError(f'scout: takes nothing, got "{word}".{nearest(word, ["scout"])}')
    return Scout()
