"""Pictures of the kitchen, drawn pixel by pixel from own shapes; no font, no image file.

Colours come from the Okabe-Ito palette (safe for colour-blind eyes); players also differ by their hats.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

import numpy as np

from crossplay.envs.kitchen.rules import COOK_TIME

__all__ = ["TILE", "image"]

TILE = 28
"""Pixels per cell."""

_FLOOR, _COUNTER, _EDGE = (236, 230, 218), (176, 148, 112), (140, 114, 82)
_PLAYERS = ((0, 114, 178), (213, 94, 0))
_ONION, _DISH, _SOUP, _BAD = (230, 159, 0), (245, 245, 245), (240, 200, 60), (120, 110, 60)
_POT, _DARK, _GREEN, _WHITE = (70, 70, 76), (30, 30, 30), (0, 158, 115), (255, 255, 255)
_STEP = {"north": (0, -1), "south": (0, 1), "east": (1, 0), "west": (-1, 0)}


def image(data: Any) -> np.ndarray:
    """uint8[(height + 0) * TILE + 6, width * TILE, 3] of a `data`; one's own player has a white ring.

    The strip below the map is the time left.
    """
    width = len(data["rows"][0])
    out = _ground(tuple(data["rows"])).copy()
    for p in data["pots"]:
        _pot(_tile(out, *p["at"]), p)
    for thing in data["counters"]:
        _item(_tile(out, *thing["at"]), thing["item"], 14, 14, 8)
    for i, p in enumerate(data["players"]):
        _tile(out, *p["at"])[:] = _player(i, p["facing"], p["held"], i == data["you"])
    left = 1 - data["timestep"] / data["horizon"]
    out[-5:-1, : max(0, round(left * width * TILE))] = _GREEN
    return out


@lru_cache(64)
def _ground(rows: tuple[str, ...]) -> np.ndarray:
    """The map without what moves or fills, and the strip below it."""
    out = np.zeros((len(rows) * TILE + 6, len(rows[0]) * TILE, 3), np.uint8)
    for y, row in enumerate(rows):
        for x, letter in enumerate(row):
            _tile(out, x, y)[:] = _terrain(letter)
    return out


def _tile(out: np.ndarray, x: int, y: int) -> np.ndarray:
    return out[y * TILE : (y + 1) * TILE, x * TILE : (x + 1) * TILE]


_ROWS, _COLS = np.mgrid[0:TILE, 0:TILE]


@cache
def _disc(cx: int, cy: int, r: int) -> np.ndarray:
    """bool[TILE, TILE]: a filled circle."""
    return (_COLS - cx) ** 2 + (_ROWS - cy) ** 2 <= r * r


@cache
def _terrain(letter: str) -> np.ndarray:
    tile = np.empty((TILE, TILE, 3), np.uint8)
    tile[:] = _FLOOR if letter == "." else _COUNTER
    if letter != ".":
        tile[[0, -1]] = _EDGE
        tile[:, [0, -1]] = _EDGE
    if letter == "O":
        for cx, cy in ((9, 18), (19, 18), (14, 9)):
            _item(tile, "onion", cx, cy, 6)
    elif letter == "D":
        for cx, cy in ((10, 11), (14, 14), (18, 17)):
            _item(tile, "dish", cx, cy, 8)
    elif letter == "S":
        tile[4:-4, 4:-4] = _GREEN
        tile[12:16, 7:-7] = _WHITE  # a bar: here it goes out
    elif letter == "P":
        tile[_disc(14, 14, 12)] = _POT
    else:
        tile[0, :] = tile[:, 0] = tuple(int(0.93 * c) for c in tile[14, 14])
    return tile


def _item(tile: np.ndarray, item: str, cx: int, cy: int, r: int) -> None:
    """An onion (orange, with a dark stalk), a dish (white ring) or a soup (dish with filling)."""
    if item == "onion":
        tile[_disc(cx, cy, r)] = _DARK
        tile[_disc(cx, cy, r - 1)] = _ONION
        tile[max(0, cy - r) : cy - r + 3, cx : cx + 1] = _DARK
        return
    tile[_disc(cx, cy, r)] = _DARK
    tile[_disc(cx, cy, r - 1)] = _DISH
    if item.startswith("soup"):
        tile[_disc(cx, cy, r - 3)] = _SOUP if item == "soup:3" else _BAD
        for j in range(int(item[5:])):
            tile[cy, cx - 2 + 2 * j] = _DARK


def _pot(tile: np.ndarray, pot: Any) -> None:
    """One dot per onion; a bar that grows while cooking and turns green when ready."""
    for (cx, cy), _ in zip(((9, 12), (19, 12), (14, 18)), range(pot["onions"]), strict=False):
        tile[_disc(cx, cy, 4)] = _ONION
    if pot["tick"] >= 0:
        full = round((TILE - 4) * pot["tick"] / COOK_TIME)
        tile[-5:-2, 2:-2] = _DARK
        tile[-5:-2, 2 : 2 + full] = _GREEN if pot["tick"] >= COOK_TIME else _SOUP


@lru_cache(256)
def _player(index: int, facing: str, held: str | None, own: bool) -> np.ndarray:
    """The tile of a player on the floor, where players always stand."""
    tile = _terrain(".").copy()
    dx, dy = _STEP[facing]
    if own:
        tile[_disc(14, 14, 13)] = _DARK
        tile[_disc(14, 14, 12)] = _WHITE
    tile[_disc(14, 14, 10)] = _DARK
    tile[_disc(14, 14, 9)] = _PLAYERS[index]
    if index == 1:  # a band across the hat tells the second player without colour
        tile[13:15, 6:23] = _WHITE
    nose = _disc(14 + 10 * dx, 14 + 10 * dy, 3)
    tile[nose] = _DARK
    if held:
        _item(tile, held, 14 + 5 * dx, 14 + 5 * dy, 6)
    return tile
