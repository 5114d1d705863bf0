"""The five classic kitchens as tables: terrain, start cells, rooms, pots.

Coordinates are (x, y), origin top-left, y downward; a cell's number is y * width + x.
Maps and the order of pots (row by row) follow overcooked-ai 1.1.0 (Carroll et al. 2019).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from msgspec import Struct

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["COUNTER", "DISHES", "FLOOR", "LAYOUTS", "ONIONS", "POT", "SERVING", "Layout", "layout"]

FLOOR, COUNTER, ONIONS, DISHES, SERVING, POT = range(6)
"""Terrain codes of `Layout.kind`; pot number i has the code POT + i."""

LAYOUTS = {
    "cramped_room": ("XXPXX", "O..2O", "X1..X", "XDXSX"),
    "asymmetric_advantages": ("XXXXXXXXX", "O.XSXOX.S", "X...P.1.X", "X2..P...X", "XXXDXDXXX"),
    "coordination_ring": ("XXXPX", "X.1.P", "D2X.X", "O...X", "XOSXX"),
    "forced_coordination": ("XXXPX", "O.X1P", "O2X.X", "D.X.X", "XXXSX"),
    "counter_circuit_o_1order": ("XXXPPXXX", "X..2...X", "D.XXXX.S", "X..1...X", "XXXOOXXX"),
}
"""X counter, P pot, O onions, D dishes, S serving, `.` floor; 1 and 2: standard starts of seats p0 and p1."""

_CODES = {"X": COUNTER, "O": ONIONS, "D": DISHES, "S": SERVING, ".": FLOOR, "1": FLOOR, "2": FLOOR}


class Layout(Struct, frozen=True, eq=False):
    """One kitchen, precomputed.

    rows: terrain without start marks; kind: int8[cells] of terrain codes; starts: the standard
    start cells; pots: cells of the pots, in reading order; rooms: the floor cells that each
    standard start can reach (one entry when both stand in the same room).
    """

    name: str
    rows: tuple[str, ...]
    width: int
    height: int
    kind: np.ndarray
    starts: tuple[int, int]
    pots: tuple[int, ...]
    rooms: tuple[tuple[int, ...], ...]
    near: tuple[tuple[int, ...], ...]

    def xy(self, cell: int) -> tuple[int, int]:
        """(x, y) of a cell number."""
        return cell % self.width, cell // self.width

    def cell(self, xy: tuple[int, int] | list[int]) -> int:
        """The cell number of (x, y)."""
        return int(xy[1]) * self.width + int(xy[0])


@cache
def layout(name: str) -> Layout:
    """The layout of that name, or `CrossplayError` naming the nearest one."""
    if name not in LAYOUTS:
        raise CrossplayError(f'kitchen: unknown layout "{name}".{nearest(name, LAYOUTS)}')
    marked = LAYOUTS[name]
    width, height = len(marked[0]), len(marked)
    text = "".join(marked)
    pots = tuple(i for i, c in enumerate(text) if c == "P")
    kind = np.array([POT + pots.index(i) if c == "P" else _CODES[c] for i, c in enumerate(text)], np.int8)
    kind.setflags(write=False)
    near = tuple(_neighbours(i, width, height) for i in range(width * height))
    starts = (text.index("1"), text.index("2"))
    rooms = tuple(dict.fromkeys(_reach(s, kind, near) for s in starts))
    rows = tuple(r.replace("1", ".").replace("2", ".") for r in marked)
    return Layout(name, rows, width, height, kind, starts, pots, rooms, near)


def _neighbours(cell: int, width: int, height: int) -> tuple[int, ...]:
    """The cells north, south, east and west, -1 outside the map."""
    x, y = cell % width, cell // width
    return (
        cell - width if y > 0 else -1,
        cell + width if y < height - 1 else -1,
        cell + 1 if x < width - 1 else -1,
        cell - 1 if x > 0 else -1,
    )


def _reach(start: int, kind: np.ndarray, near: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    seen, todo = {start}, [start]
    while todo:
        for c in near[todo.pop()]:
            if c >= 0 and kind[c] == FLOOR and c not in seen:
                seen.add(c)
                todo.append(c)
    return tuple(sorted(seen))
