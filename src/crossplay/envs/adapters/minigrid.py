"""`minigrid:ID`: MiniGrid and BabyAI, with text views in relative words and the agent's own view drawn.

The encoding of cells (object, colour, state) is MiniGrid's (Chevalier-Boisvert et al. 2023,
"Minigrid & Miniworld", arXiv:2306.13831); BabyAI's missions come from Chevalier-Boisvert et al. 2019.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.envs.adapters._foreign import check_keywords, need
from crossplay.envs.adapters.gym import GymEnv, gym_properties
from crossplay.kernel.env import Env

__all__ = ["ACTIONS", "MiniGridEnv", "family"]

ACTIONS = ("left", "right", "forward", "pickup", "drop", "toggle", "done")
OBJECTS = ("unseen", "empty", "wall", "floor", "door", "key", "ball", "box", "goal", "lava", "agent")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
STATES = ("open", "closed", "locked")
FACES = ("east", "south", "west", "north")
_RGB = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (112, 39, 195), (255, 255, 0), (100, 100, 100)], np.uint8)
_TILE = 16
RULES = """\
You stand in a grid world and see part of it: a square ahead of you, with you in the middle of its
nearest row. Walls and closed doors block the view. You turn left or right on the spot, go one step
forward, pick up what lies right in front of you (one thing at a time), drop it in front of you, or
toggle (open or close a door, open a box in front of you; a locked door needs the key of its colour).
"done" does nothing. Fulfil the mission; the sooner, the higher the reward (1 at once, down to 0.1)."""


class MiniGridEnv(GymEnv):
    """A MiniGrid or BabyAI environment; seat p0. Array view: the cells (object, colour, state) of
    the partial view, then the compass one-hot: float32[3 v^2 + 4], 151 for the usual 7 x 7.
    """

    def __init__(self, name: str, gym_id: str, options: Mapping[str, Any]) -> None:
        """name: for the id; gym_id: Gymnasium's id; options: constructor keywords off their default."""
        with _hushed():
            super().__init__(name, gym_id, options, "minigrid")
        self.views = ("data", "array", "text", "image")
        self.rules = RULES
        self._side = int(self._space["image"].shape[0])
        self._shape = (3 * self._side**2 + 4,)
        # BabyAI draws its step limit with the mission, so no number can be promised.
        self.horizon = self.horizon or (None if gym_id.startswith("BabyAI") else int(self._env.unwrapped.max_steps))

    def _names(self) -> tuple[Sequence[str], int | None]:
        n = int(self._env.action_space.n)  # some worlds allow only the first three
        return ACTIONS[:n], 6 if n > 6 else None

    def _start(self, seed: int) -> None:
        with _hushed():
            super()._start(seed)

    def data(self, seat: str) -> dict[str, Any]:
        """Image uint8[v, v, 3] (column, row, what; the agent at the middle of the last row, facing
        row 0; a carried thing lies in the agent's own cell), compass direction 0..3, mission.
        """
        return {
            "image": self._obs["image"].copy(),
            "direction": int(self._obs["direction"]),
            "mission": str(self._obs["mission"]),
        }

    def view_array(self, data: Mapping[str, Any]) -> np.ndarray:
        """float32[3 v^2 + 4]."""
        compass = np.arange(4) == data["direction"]
        return np.concatenate([np.asarray(data["image"]).ravel(), compass]).astype(np.float32)

    def view_text(self, data: Mapping[str, Any]) -> str:
        """Mission, what you carry, how far you can go, and every thing you see, in relative words."""
        image = np.asarray(data["image"])
        side = image.shape[0]
        middle, last = side // 2, side - 1
        held = image[middle, last]
        lines = [f"Mission: {data['mission']}.", f"You face {FACES[data['direction']]}."]
        lines.append(f"You carry {'nothing' if held[0] in (0, 1) else _thing(held)}.")
        lines.append(_reach(image, middle, last))
        seen = [
            (last - y + abs(x - middle), last - y, x - middle, _thing(image[x, y]))
            for x in range(side)
            for y in range(side)
            if OBJECTS[image[x, y, 0]] not in ("unseen", "empty", "wall", "floor") and (x, y) != (middle, last)
        ]
        lines += [f"You see {what} {_place(ahead, right)}." for _, ahead, right, what in sorted(seen)]
        if not seen:
            lines.append("You see nothing but floor and walls.")
        return "\n".join(lines)

    def view_image(self, data: Mapping[str, Any]) -> np.ndarray:
        """uint8[16 v, 16 v, 3]: the partial view, drawn from data; the agent is the red triangle."""
        image = np.asarray(data["image"])
        side = image.shape[0]
        out = np.zeros((side * _TILE, side * _TILE, 3), np.uint8)
        for x in range(side):
            for y in range(side):
                out[y * _TILE : (y + 1) * _TILE, x * _TILE : (x + 1) * _TILE] = _tile(image[x, y])
        own = out[(side - 1) * _TILE :, side // 2 * _TILE : (side // 2 + 1) * _TILE]
        own[_TRIANGLE] = (255, 0, 0)
        return out

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        return {
            "array": "the mission",
            "text": "walls that are not straight ahead or beside you, and which cells are unseen",
            "image": "the mission and the compass direction",
        }.get(view, "")

    def picture(self) -> np.ndarray:
        """The whole grid with the seen part lit, drawn by MiniGrid."""
        return np.asarray(self._env.unwrapped.get_frame(True, 24), np.uint8)

    def text(self) -> str:
        """The whole grid in MiniGrid's letters."""
        return f"{self._obs['mission']}\n{self._env.unwrapped.pprint_grid()}"


def _hushed() -> Any:
    """BabyAI prints the worlds that it rejects; standard output belongs to whoever runs us."""
    return contextlib.redirect_stdout(io.StringIO())


def _thing(cell: np.ndarray) -> str:
    """A cell in words, such as: a yellow key; a locked red door; the green goal; lava."""
    kind, colour, state = OBJECTS[cell[0]], COLOURS[cell[1] % 6], STATES[cell[2] % 3]
    if kind == "lava":
        return "lava"
    if kind == "goal":
        return f"the {colour} goal"
    words = f"{state} {colour} door" if kind == "door" else f"{colour} {kind}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _place(ahead: int, right: int) -> str:
    """A place in words, such as: 2 steps ahead and 1 to the left."""
    parts = []
    if ahead:
        parts.append(f"{ahead} step{'s' if ahead > 1 else ''} ahead")
    if right:
        parts.append(f"{abs(right)} to the {'right' if right > 0 else 'left'}")
    return " and ".join(parts) or "where you stand"


def _reach(image: np.ndarray, middle: int, last: int) -> str:
    """How many cells are free ahead, to the left and to the right, and what ends them."""

    def run(dx: int, dy: int) -> str:
        x, y, free = middle + dx, last + dy, 0
        while 0 <= x <= last and y >= 0:
            kind, state = OBJECTS[image[x, y, 0]], image[x, y, 2]
            if kind not in ("empty", "floor", "goal") and not (kind == "door" and state == 0):
                end = "unseen" if kind == "unseen" else "a wall" if kind == "wall" else _thing(image[x, y])
                return f"{free} free, then {end}"
            x, y, free = x + dx, y + dy, free + 1
        return f"{free} free as far as you see"

    return f"Ahead: {run(0, -1)}. Left: {run(-1, 0)}. Right: {run(1, 0)}."


_AT = np.arange(_TILE)
_Y, _X = np.meshgrid(_AT, _AT, indexing="ij")
_TRIANGLE = (_Y >= 3) & (_Y <= 12) & (np.abs(_X - 7.5) * 2 <= _Y - 2)
_EDGE = (_X < 1) | (_Y < 1)
_DISC = (_X - 7.5) ** 2 + (_Y - 7.5) ** 2 <= 25
_RING = ((_X - 7.5) ** 2 + (_Y - 4.5) ** 2 <= 9) & ((_X - 7.5) ** 2 + (_Y - 4.5) ** 2 > 2)
_KEY = (
    _RING
    | ((np.abs(_X - 7.5) < 1) & (_Y > 7) & (_Y < 14))
    | ((_Y == 12) & (_X > 7) & (_X < 11))
    | ((_Y == 10) & (_X > 7) & (_X < 11))
)
_FRAME = (np.maximum(np.abs(_X - 7.5), np.abs(_Y - 7.5)) < 6) & (np.maximum(np.abs(_X - 7.5), np.abs(_Y - 7.5)) > 3.6)
_BOX = _FRAME | ((np.abs(_Y - 7.5) < 1) & (np.abs(_X - 7.5) < 6))
_DOOR = (np.maximum(np.abs(_X - 7.5), np.abs(_Y - 7.5)) > 5.6) | ((np.abs(_X - 11.5) < 1) & (np.abs(_Y - 7.5) < 1))
_OPEN = _X < 3
_LOCK = (np.maximum(np.abs(_X - 7.5), np.abs(_Y - 7.5)) > 4) | _KEY
_WAVES = (_Y + (np.abs(_X % 8 - 4))) % 5 == 0
_SHAPES = {"ball": _DISC, "key": _KEY, "box": _BOX}


def _tile(cell: np.ndarray) -> np.ndarray:
    """uint8[16, 16, 3] of one cell: every object has its own shape, not only its colour."""
    kind, colour = OBJECTS[cell[0]], _RGB[cell[1] % 6]
    tile = np.zeros((_TILE, _TILE, 3), np.uint8)
    if kind == "unseen":
        return tile
    tile[:] = 30
    tile[_EDGE] = 70
    if kind == "wall":
        tile[:] = 130
    elif kind == "floor":
        tile[:] = colour // 3
    elif kind == "goal":
        tile[:] = colour
    elif kind == "lava":
        tile[:] = (255, 128, 0)
        tile[_WAVES] = 0
    elif kind == "door":
        if cell[2] == 2:
            tile[:] = colour // 3
        tile[(_OPEN, _DOOR, _LOCK)[cell[2] % 3]] = colour
    elif kind in _SHAPES:
        tile[_SHAPES[kind]] = colour
    return tile


class _Family:
    summary = "MiniGrid and BabyAI by their Gymnasium ids: minigrid:MiniGrid-DoorKey-8x8-v0."
    expert = "explorer"  # the type of its scripted agent, the ceiling that studies show

    def names(self) -> Sequence[str]:
        """The ids of MiniGrid and BabyAI, or () where the package is missing."""
        from importlib.util import find_spec

        if find_spec("minigrid") is None:
            return ()
        need("minigrid", "minigrid")
        registry = need("gymnasium", "minigrid").registry
        return sorted(k for k in registry if k.startswith(("MiniGrid-", "BabyAI-")))

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh environment."""
        need("minigrid", "minigrid")
        props, more = gym_properties(rest, "minigrid")
        return MiniGridEnv(f"minigrid:{rest}", rest, check_keywords(f"minigrid:{rest}", options, props, more))

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """There is no array form."""

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the constructor's keywords."""
        need("minigrid", "minigrid")
        props, more = gym_properties(rest, "minigrid")
        return {"type": "object", "properties": props, "additionalProperties": more}


family = _Family()
