"""`spread`: cooperative navigation. N agents must cover N landmarks and keep out of each other's way.

The rules and constants are those of mpe2's `simple_spread_v3` (discrete actions); a test steps both
from the same starts and finds equal positions, velocities, rewards and observations. The task was
introduced by Lowe et al. 2017, "Multi-agent actor-critic for mixed cooperative-competitive
environments" (arXiv:1706.02275).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.envs._options import option_schema, settle
from crossplay.kernel.batch import BatchEnv
from crossplay.kernel.env import Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import uniform
from crossplay.kernel.types import ActionSpec, CrossplayError

__all__ = ["ACTIONS", "SpreadBatch", "family"]

ACTIONS = ("noop", "left", "right", "down", "up")
DT, DAMPING = 0.1, 0.25  # seconds per tick; share of the velocity lost per tick
FORCE = 5.0  # of one action, at mass 1
CONTACT_FORCE, CONTACT_MARGIN = 1e2, 1e-3
TOUCH = 0.3  # two radii of 0.15: closer than this is a collision
COVER = 0.1  # an agent this near to a landmark covers it
_PUSH = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float64) * FORCE
_PIXELS = 120

_SCHEMA = option_schema(
    {
        "n": {
            "type": "integer",
            "minimum": 1,
            "maximum": 64,
            "default": 3,
            "description": "Number of agents, and of landmarks.",
        },
        "horizon": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100000,
            "default": 25,
            "description": "Ticks per episode.",
        },
        "local_ratio": {
            "type": "number",
            "minimum": 0.0,
            "maximum": 1.0,
            "default": 0.5,
            "description": "Weight of the own collisions in the reward; the rest weighs the distances to landmarks.",
        },
        "stop_when_covered": {
            "type": "boolean",
            "default": False,
            "description": "End the episode once every landmark is covered.",
        },
    }
)

RULES = """\
{n} agents move on a plane; {n} landmarks stand still. Agents and landmarks start anywhere in the square
from -1 to 1. Every tick each agent does nothing or pushes itself left, right, down or up; it keeps
gliding and loses a quarter of its speed per tick. Agents that touch push each other away.
Together the agents want every landmark to have an agent near it: each tick costs the sum, over
landmarks, of the distance to the nearest agent. Each agent also pays 1 for every agent it touches.
The reward of an agent is {shared:g} times the first plus {own:g} times the second. The episode has
{horizon} ticks{stop}."""


class SpreadBatch(BatchEnv):
    """B worlds of N agents and N landmarks. Array view: float32[6N], in mpe2's order.

    The array: own velocity (2), own position (2), landmarks relative to the agent (2N), the other
    agents relative to it (2N-2), and 2N-2 zeros where mpe2 has the silent agents' words.
    """

    name = "spread"
    views = ("data", "array", "text", "image")
    action_spec = ActionSpec(kind="names", names=ACTIONS, noop=0)
    metrics = {
        "return": "summed reward of an episode, mean over agents",
        "covered": "share of landmarks with an agent within 0.1 of them at the end, 0 to 1",
        "collisions": "pairs of agents that touch, summed over ticks",
    }

    def __init__(self, width: int = 1, **options: Any) -> None:
        """width: rows. options: n, horizon, local_ratio, stop_when_covered (see `family.schema`)."""
        full, off = settle("spread", _SCHEMA, options)
        self.n: int = full["n"]
        self.horizon = full["horizon"]
        self.local_ratio = float(full["local_ratio"])
        self.stop_when_covered: bool = full["stop_when_covered"]
        self.seats = tuple(f"agent_{i}" for i in range(self.n))
        self._pairs = tuple(itertools.combinations(range(self.n), 2))
        self._first = np.array([a for a, _ in self._pairs], np.int64)
        self._second = np.array([b for _, b in self._pairs], np.int64)
        self._others = tuple(np.array([j for j in range(self.n) if j != i], np.int64) for i in range(self.n))
        self._slots = np.arange(4 * self.n, dtype=np.uint64)
        links = [(i, self.n + j) for i in range(self.n) for j in range(self.n)]
        self._from = np.array([a for a, _ in (*self._pairs, *links)], np.int64)
        self._to = np.array([b for _, b in (*self._pairs, *links)], np.int64)
        self._pair_of = np.array(
            [[p for p, pair in enumerate(self._pairs) if i in pair] for i in range(self.n)], np.int64
        )
        super().__init__(width, **off)
        self.f.pos, self.f.land = self.f.points[:, : self.n], self.f.points[:, self.n :]
        stop = ", or ends as soon as every landmark is covered" if self.stop_when_covered else ""
        self.rules = RULES.format(
            n=self.n, horizon=self.horizon, shared=1 - self.local_ratio, own=self.local_ratio, stop=stop
        )

    def layout(self) -> Sequence[tuple[str, str, tuple[int, ...]]]:
        """Positions (agents, then landmarks) and velocities; mean return, collisions, ticks, end code."""
        return (
            ("points", "f8", (2 * self.n, 2)),
            ("vel", "f8", (self.n, 2)),
            ("ret", "f8", ()),
            ("hits", "i8", ()),
            ("tick", "i4", ()),
            ("ended", "i4", ()),
        )

    def start(self, rows: np.ndarray) -> None:
        """Agents (slots 0..2N-1) and landmarks (2N..4N-1) uniform in the square, at tick 0."""
        u = uniform(self.keys[rows][:, None], 0, self._slots[None, :]) * 2.0 - 1.0
        self.f.points[rows] = u.reshape(-1, 2 * self.n, 2)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions int[B, N] -> (rewards float64[B, N], ended uint8[B])."""
        f = self.f
        force = self._forces(_PUSH[actions])
        vel = f.vel
        f.pos += vel * DT
        vel *= 1 - DAMPING
        vel += force * DT
        touch, near = self._distances()
        # Cumulative sums add strictly from left to right: the bits do not depend on B.
        shared = near.cumsum(axis=1)[:, -1:] * -(1 - self.local_ratio)
        if self._pairs:
            count = touch[:, self._pair_of].sum(axis=2)
            rewards = shared - count * self.local_ratio
            f.hits += touch.sum(axis=1)
        else:
            rewards = shared
        f.ret += rewards.cumsum(axis=1)[:, -1] / self.n
        f.tick += 1
        ended = (f.tick >= self.horizon) * np.uint8(2)
        if self.stop_when_covered:
            ended[(ended == 0) & (near < COVER).all(axis=1)] = 1
        f.ended[:] = ended
        return rewards, ended

    def _forces(self, force: np.ndarray) -> np.ndarray:
        """The actions' forces plus a soft contact force per pair: CONTACT_FORCE times the direction
        times a softplus of the overlap (mpe2, `World.get_collision_force`).
        """
        if not self._pairs:
            return force
        pos = self.f.pos
        delta = pos.take(self._first, axis=1) - pos.take(self._second, axis=1)
        distance = _length(delta)
        overlap = np.logaddexp(0.0, (TOUCH - distance) / CONTACT_MARGIN) * CONTACT_MARGIN
        # Agents at one point have no direction to part in; a tiny divisor gives a force of 0.
        delta *= CONTACT_FORCE
        delta /= np.maximum(distance, 1e-300)[:, :, None]
        delta *= overlap[:, :, None]
        for p, (a, b) in enumerate(self._pairs):
            push = delta[:, p]
            force[:, a] += push
            force[:, b] -= push
        return force

    def _distances(self, rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """(which pairs of agents touch bool[B, pairs], distance of the nearest agent to each
        landmark float64[B, N]), in one pass over all pairs of points of these rows.
        """
        points = self.f.points[rows]
        distance = _length(points.take(self._from, axis=1) - points.take(self._to, axis=1))
        n, p = self.n, len(self._pairs)
        return distance[:, :p] < TOUCH, distance[:, p:].reshape(-1, n, n).min(axis=1)

    def ended(self, row: int) -> int:
        """0 runs, 1 all covered (where that ends it), 2 horizon."""
        return int(self.f.ended[row])

    def score(self, row: int) -> Mapping[str, float]:
        """Mean return, landmarks covered now, collisions so far."""
        near = self._distances(slice(row, row + 1))[1][0]
        return {
            "return": float(self.f.ret[row]),
            "covered": float((near < COVER).mean()),
            "collisions": float(self.f.hits[row]),
        }

    # -- what a seat may know -----------------------------------------------------------------------
    def data(self, row: int, seat: int) -> dict[str, Any]:
        """Own velocity and position, everything else relative to the agent, and the time."""
        here = self.f.pos[row, seat]
        return {
            "tick": int(self.f.tick[row]),
            "horizon": self.horizon,
            "velocity": self.f.vel[row, seat].copy(),
            "position": here.copy(),
            "landmarks": self.f.land[row] - here,
            "others": self.f.pos[row, self._others[seat]] - here,
        }

    def array_shape(self, seat: str) -> tuple[int, ...]:
        """6N numbers (18 for three agents)."""
        return (6 * self.n,)

    def obs_array(self, seat: int, rows: np.ndarray | None = None) -> np.ndarray:
        """float32[B or len(rows), 6N]: the array view of one seat."""
        return self._observe(seat, slice(None) if rows is None else rows)

    def obs_all(self) -> np.ndarray:
        """float32[B, N, 6N]: the array views of all seats at once."""
        out = np.zeros((self.B, self.n, 6 * self.n), np.float32)
        for seat in range(self.n):
            self._observe(seat, slice(None), out[:, seat])
        return out

    def _observe(self, seat: int, rows: Any, out: np.ndarray | None = None) -> np.ndarray:
        pos, land = self.f.pos[rows], self.f.land[rows]
        here = pos[:, seat]
        n = self.n
        if out is None:
            out = np.zeros((len(pos), 6 * n), np.float32)
        out[:, 0:2] = self.f.vel[rows, seat]
        out[:, 2:4] = here
        out[:, 4 : 4 + 2 * n] = (land - here[:, None]).reshape(-1, 2 * n)
        out[:, 4 + 2 * n : 2 + 4 * n] = (pos[:, self._others[seat]] - here[:, None]).reshape(len(pos), 2 * n - 2)
        return out

    def view_array(self, data: Mapping[str, Any]) -> np.ndarray:
        """float32[6N], as in `obs_array`."""
        parts = [data["velocity"], data["position"], data["landmarks"], data["others"]]
        parts.append(np.zeros(2 * len(data["others"])))
        return np.concatenate([np.asarray(p, np.float64).ravel() for p in parts]).astype(np.float32)

    def view_text(self, data: Mapping[str, Any]) -> str:
        """Positions in words: where you are, how you move, what lies where."""
        x, y = data["position"]
        u, v = data["velocity"]
        lines = [
            f"Tick {data['tick']} of {data['horizon']}. You are at ({x:.2f}, {y:.2f}), moving ({u:.2f}, {v:.2f}) per second.",
        ]
        lines += [f"Landmark {i}: {_where(d)}." for i, d in enumerate(data["landmarks"])]
        lines += [f"Other agent {i}: {_where(d)}." for i, d in enumerate(data["others"])]
        return "\n".join(lines)

    def view_image(self, data: Mapping[str, Any]) -> np.ndarray:
        """uint8[120, 120, 3] with the agent in the middle: itself red, others blue, landmarks grey."""
        zero = np.zeros((1, 2))
        return _draw(
            [
                (data["others"], 0.15, (90, 90, 220)),
                (zero, 0.15, (220, 60, 60)),
                (data["landmarks"], 0.07, (90, 90, 90)),
            ],
            2.2,
        )

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        return {
            "array": "the tick and the horizon",
            "text": "digits beyond the second",
            "image": "velocity, own position, the tick, whatever is more than 2.2 away, and the identity of others",
        }.get(view, "")

    def picture(self, row: int) -> np.ndarray:
        """The world from -1.5 to 1.5, or as far as somebody has gone: agents blue, landmarks grey on top."""
        reach = max(1.5, float(np.abs(self.f.points[row]).max()) + 0.2)
        return _draw([(self.f.pos[row], 0.15, (90, 90, 220)), (self.f.land[row], 0.07, (90, 90, 90))], reach)

    def text(self, row: int) -> str:
        """Positions of agents and landmarks."""
        point = lambda p: f"({p[0]:.2f}, {p[1]:.2f})"  # noqa: E731
        agents = ", ".join(f"{s} {point(p)}" for s, p in zip(self.seats, self.f.pos[row], strict=True))
        return f"tick {int(self.f.tick[row])}: {agents}; landmarks {', '.join(point(p) for p in self.f.land[row])}"


def _length(delta: np.ndarray) -> np.ndarray:
    """Euclidean length over the last axis (2): a plain sum of two, so that its bits are fixed."""
    square = delta * delta
    return np.sqrt(square[..., 0] + square[..., 1])


def _where(delta: np.ndarray) -> str:
    """A displacement in words."""
    x, y = float(delta[0]), float(delta[1])
    side = f"{abs(x):.2f} to the {'right' if x >= 0 else 'left'}"
    return f"{side} and {abs(y):.2f} {'up' if y >= 0 else 'down'} (distance {np.hypot(x, y):.2f})"


def _draw(layers: Sequence[tuple[np.ndarray, float, tuple[int, int, int]]], reach: float) -> np.ndarray:
    """Discs (centres, radius, colour) on white, from -reach to reach, y upwards; soft edges."""
    axis = ((np.arange(_PIXELS) + 0.5) / _PIXELS * 2 - 1) * reach
    image = np.full((_PIXELS, _PIXELS, 3), 255.0)
    for centres, radius, colour in layers:
        for x, y in np.asarray(centres):
            away = np.hypot(axis[None, :] - x, -axis[:, None] - y)
            cover = np.clip((radius - away) * _PIXELS / (2 * reach) + 0.5, 0.0, 1.0)[:, :, None]
            image = image * (1 - cover) + np.array(colour) * cover
    return image.round().astype(np.uint8)


class _Family:
    summary = "Cooperative navigation: N agents cover N landmarks without touching (mpe2's simple_spread)."
    expert = "scout"  # the type of its scripted agent, the ceiling that studies show

    def names(self) -> Sequence[str]:
        """One game; the size is an option."""
        return ()

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh world."""
        return self.batch(rest, 1, options).single()

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> SpreadBatch:
        """`width` worlds."""
        if rest:
            raise CrossplayError(f'spread: there is no "{rest}".{nearest(rest, ["spread"])} The size is the option n.')
        return SpreadBatch(width, **options)

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the options."""
        return _SCHEMA


family = _Family()
