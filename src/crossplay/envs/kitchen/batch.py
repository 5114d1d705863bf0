"""`KitchenBatch`: the cooperative kitchen as rows of arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from crossplay.envs.kitchen import views
from crossplay.envs.kitchen.layouts import COUNTER, DISHES, ONIONS, POT, SERVING, Layout, layout
from crossplay.envs.kitchen.rules import CHANNELS, COUNTS, VALUE, features, transition
from crossplay.envs.kitchen.skills import KitchenSkills
from crossplay.kernel.batch import BatchEnv
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import pick
from crossplay.kernel.types import ActionSpec, CrossplayError

__all__ = ["ACTIONS", "OPTIONS", "KitchenBatch", "terrain_features"]

ACTIONS = ("north", "south", "east", "west", "stay", "interact")

OPTIONS: dict[str, Any] = {
    "horizon": {
        "type": "integer",
        "minimum": 1,
        "maximum": 30_000,
        "default": 400,
        "description": "Steps after which the episode is cut.",
    },
    "cooking": {
        "type": "string",
        "enum": ["auto", "interact"],
        "default": "auto",
        "description": "How cooking starts: with the third onion, or by an empty-handed interact on a pot with 1 to 3.",
    },
    "start": {
        "type": "string",
        "enum": ["drawn", "standard"],
        "default": "drawn",
        "description": "Start cells, facings and sides drawn from the block, or the fixed start of the original.",
    },
}
"""JSON schema of the options, by name."""


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """All options with defaults filled in, or `CrossplayError` naming key, value and what is valid."""
    known = {k: v["default"] for k, v in OPTIONS.items()}
    for name, value in options.items():
        if name not in known:
            raise CrossplayError(f'kitchen: unknown option "{name}".{nearest(name, known)}')
        rule = OPTIONS[name]
        if "enum" in rule and value not in rule["enum"]:
            raise CrossplayError(f"kitchen: {name} = {value!r}.{nearest(str(value), rule['enum'])}")
        if rule["type"] == "integer" and (
            not isinstance(value, int) or isinstance(value, bool) or not rule["minimum"] <= value <= rule["maximum"]
        ):
            raise CrossplayError(
                f"kitchen: {name} = {value!r} is not a whole number in {rule['minimum']}..{rule['maximum']}"
            )
        known[name] = value
    return known


class KitchenBatch(BatchEnv):
    """Two cooks, one team reward: bring three onions to a pot, cook, dish up, serve.

    Both seats receive the sparse team reward (20 per soup of three onions). The shaped reward of
    the last step stands apart, in `shaped()`. An episode ends by its horizon only.
    """

    version = 1
    seats = ("p0", "p1")
    views = ("data", "array", "text", "image")
    action_spec = ActionSpec(kind="names", names=ACTIONS, noop=4)
    metrics = {
        "return": "team reward: 20 for each delivered soup that was ordered",
        "soups": "ordered soups delivered by both",
        "p0_potted": "onions that seat p0 put into pots",
        "p1_potted": "onions that seat p1 put into pots",
        "p0_dishes": "dishes that seat p0 took from a dispenser",
        "p1_dishes": "dishes that seat p1 took from a dispenser",
        "p0_delivered": "soups that seat p0 delivered",
        "p1_delivered": "soups that seat p1 delivered",
    }

    def __init__(self, width: int = 1, layout_name: str = "cramped_room", **options: Any) -> None:
        """width: rows; layout_name: one of `LAYOUTS`; options: see `OPTIONS`."""
        full = check_options(options)
        self.kitchen: Layout = layout(layout_name)
        self.name = f"kitchen/{layout_name}"
        self.horizon: int = full["horizon"]
        self.cooking: str = full["cooking"]
        self.drawn = full["start"] == "drawn"
        super().__init__(width, **{k: v for k, v in full.items() if v != OPTIONS[k]["default"]})
        self.skills = KitchenSkills(self.cooking)
        self.rules = views.rules_text(self.cooking)
        self._pots = np.array(self.kitchen.pots, np.int64)
        self._template = terrain_features(layout_name)
        self._all = np.arange(width)

    def layout(self) -> Sequence[tuple[str, str, tuple[int, ...]]]:
        """Positions as cell numbers, items by code, clocks; see `rules`."""
        cells, pots = len(self.kitchen.kind), len(self.kitchen.pots)
        return (
            ("count", "i2", (2, len(COUNTS))),
            ("clock", "i2", (1,)),
            ("pos", "i1", (2,)),
            ("facing", "i1", (2,)),
            ("held", "i1", (2,)),
            ("shaped", "i1", (2,)),
            ("pot", "i1", (pots,)),
            ("tick", "i1", (pots,)),
            ("cell", "i1", (cells,)),
        )

    def start(self, rows: np.ndarray) -> None:
        """Start cells, sides and facings from the keys (or the standard start); pots empty.

        Where walls split the floor, one player starts in each room, as in the standard start, and
        which seat gets which room is drawn.
        """
        f = self.f
        f.tick[rows] = -1
        if not self.drawn:
            f.pos[rows] = self.kitchen.starts
            return
        keys = self.keys[rows]
        rooms = [np.array(r, np.int8) for r in self.kitchen.rooms]
        if len(rooms) == 1:
            n = len(rooms[0])
            first, second = pick(keys, n, 0, 0), pick(keys, n - 1, 0, 1)
            f.pos[rows, 0] = rooms[0][first]
            f.pos[rows, 1] = rooms[0][second + (second >= first)]
        else:
            left, right = (r[pick(keys, len(r), 0, i)] for i, r in enumerate(rooms))
            swap = pick(keys, 2, 0, 2) == 1
            f.pos[rows, 0] = np.where(swap, right, left)
            f.pos[rows, 1] = np.where(swap, left, right)
        f.facing[rows, 0], f.facing[rows, 1] = pick(keys, 4, 0, 3), pick(keys, 4, 0, 4)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions int[B, 2] -> (team reward to both seats float64[B, 2], ended uint8[B])."""
        f = self.f
        rewards, ended = np.empty((self.B, 2)), np.empty(self.B, np.uint8)
        transition(
            actions, f.pos, f.facing, f.held, f.cell, f.pot, f.tick, f.clock, f.shaped, f.count,
            self.kitchen.kind, self.kitchen.width, self.cooking == "auto", self.horizon, rewards, ended,
        )  # fmt: skip
        return rewards, ended

    def shaped(self) -> np.ndarray:
        """float64[B, 2]: the shaped reward of each actor in the last step.

        3 for an onion put into a pot, 5 for a soup taken from a pot, 3 for a useful dish.
        """
        return self.f.shaped.astype(np.float64)

    def ended(self, row: int) -> int:
        """2 (horizon) when the clock has run out, else 0."""
        return 2 if self.f.clock[row, 0] >= self.horizon else 0

    def score(self, row: int) -> Mapping[str, float]:
        """Team return, soups, and who did what."""
        counts = dict(zip(COUNTS, self.f.count[row].T.tolist(), strict=True))
        soups = sum(counts["paid"])
        out: dict[str, float] = {"return": VALUE * soups, "soups": float(soups)}
        for what in ("potted", "dishes", "delivered"):
            for i in range(2):
                out[f"p{i}_{what}"] = float(counts[what][i])
        return out

    # -- views ---------------------------------------------------------------------------------------
    def data(self, row: int, seat: int) -> dict[str, Any]:
        """The complete information set: the whole kitchen, and which player one is."""
        f, k = self.f, self.kitchen
        pos, facing, held = f.pos[row].tolist(), f.facing[row].tolist(), f.held[row].tolist()
        items = f.cell[row].tolist()
        return {
            "layout": k.name,
            "rows": list(k.rows),
            "cooking": self.cooking,
            "you": seat,
            "players": [
                {"at": list(k.xy(pos[i])), "facing": ACTIONS[facing[i]], "held": views.ITEMS[held[i]]} for i in (0, 1)
            ],
            "counters": [{"at": list(k.xy(c)), "item": views.ITEMS[v]} for c, v in enumerate(items) if v],
            "pots": [
                {"at": list(k.xy(c)), "onions": n, "tick": t}
                for c, n, t in zip(k.pots, f.pot[row].tolist(), f.tick[row].tolist(), strict=True)
            ],
            "orders": ["soup:3"],
            "timestep": int(f.clock[row, 0]),
            "horizon": self.horizon,
            "score": int(VALUE) * int(f.count[row, 0, 5] + f.count[row, 1, 5]),
        }

    def view_text(self, data: Any) -> str:
        """A short report in words and offsets; see `views.text`."""
        return views.text(data)

    def view_array(self, data: Any) -> np.ndarray:
        """int8[W, H, 26]; equals the row of `obs_array` bit by bit."""
        k = self.kitchen
        out = self._template[None].copy()
        pos, facing, held, cell, pot, tick, clock = views.arrays(data)
        features(
            np.zeros(1, np.int64), data["you"], pos, facing, held, cell, pot, tick, clock, self._pots,
            k.width, data["horizon"], out,
        )  # fmt: skip
        return out[0]

    def obs_array(self, seat: int, rows: np.ndarray | None = None) -> np.ndarray:
        """int8[k, W, H, 26]: the lossless features of one seat, from its own perspective.

        Channels: 0 self, 1 other; 2-5 self facing N, S, E, W; 6-9 other facing; 10 pot, 11 counter,
        12 onions, 13 tomatoes (never), 14 dishes, 15 serving; idle pot: 16 onions, 17 tomatoes;
        other soups: 18 onions, 19 tomatoes, 20 time left, 21 done; 22 dish, 23 onion, 24 tomato;
        25 all ones in the last 39 steps.
        """
        at = self._all if rows is None else rows
        f, k = self.f, self.kitchen
        out = np.empty((len(at), k.width, k.height, CHANNELS), np.int8)
        out[:] = self._template
        features(
            at, seat, f.pos, f.facing, f.held, f.cell, f.pot, f.tick, f.clock, self._pots,
            k.width, self.horizon, out,
        )  # fmt: skip
        return out

    def array_shape(self, seat: str) -> tuple[int, ...]:
        """(W, H, 26)."""
        return self.kitchen.width, self.kitchen.height, CHANNELS

    def view_image(self, data: Any) -> np.ndarray:
        """Tiles of 28 pixels, one's own player ringed white; see `views.image`."""
        from crossplay.envs.kitchen.picture import image

        return image(data)

    def omits(self, view: str) -> str:
        """What each view leaves out of data."""
        return {
            "array": "score, and the exact time (only whether fewer than 40 steps are left)",
            "image": "score; the time left only as a bar",
        }.get(view, "")

    def picture(self, row: int) -> np.ndarray:
        """The kitchen for spectators."""
        from crossplay.envs.kitchen.picture import image

        return image({**self.data(row, 0), "you": -1})

    def text(self, row: int) -> str:
        """The kitchen for spectators, as a map with a legend."""
        return views.board(self.data(row, 0))


@cache
def terrain_features(name: str) -> np.ndarray:
    """int8[W, H, 26]: the channels that never change (10 pot .. 15 serving)."""
    k = layout(name)
    out = np.zeros((k.width, k.height, CHANNELS), np.int8)
    channel = {COUNTER: 11, ONIONS: 12, DISHES: 14, SERVING: 15}
    for c, code in enumerate(k.kind.tolist()):
        x, y = k.xy(c)
        if code:
            out[x, y, 10 if code >= POT else channel[code]] = 1
    out.setflags(write=False)
    return out
