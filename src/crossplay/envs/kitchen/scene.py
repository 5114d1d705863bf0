"""`Scene`: a `data` in numbers, and shortest ways through a kitchen, facing included.

What skills and scripted cooks share. All functions are pure; searches are cached by their
arguments, because a kitchen has few cells.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from crossplay.envs.kitchen.layouts import COUNTER, DISHES, FLOOR, ONIONS, SERVING, Layout, layout
from crossplay.envs.kitchen.rules import COOK_TIME

__all__ = ["FACINGS", "INTERACT", "STAY", "Scene", "approach", "arrival", "go", "passing", "places", "walk"]

STAY, INTERACT = 4, 5
FACINGS = {"north": 0, "south": 1, "east": 2, "west": 3}
CODES = {None: 0, "onion": 1, "dish": 2, "soup:1": 3, "soup:2": 4, "soup:3": 5}


class Scene:
    """One seat's knowledge: me and mate are seat numbers; items have the codes of `rules`.

    at, facing, held: one entry per seat; lying: counter cell -> item; pots: (cell, onions, tick).
    """

    __slots__ = ("at", "auto", "facing", "held", "k", "lying", "mate", "me", "pots", "steps_left")

    def __init__(self, data: Any) -> None:
        """data: the data view of a kitchen."""
        k = self.k = layout(data["layout"])
        self.me: int = data["you"]
        self.mate = 1 - self.me
        players = data["players"]
        self.at = [k.cell(p["at"]) for p in players]
        self.facing = [FACINGS[p["facing"]] for p in players]
        self.held = [CODES[p["held"]] for p in players]
        self.lying = {k.cell(c["at"]): CODES[c["item"]] for c in data["counters"]}
        self.pots = [(k.cell(p["at"]), p["onions"], p["tick"]) for p in data["pots"]]
        self.auto = data["cooking"] == "auto"
        self.steps_left: int = data["horizon"] - data["timestep"]

    def cost(self, seat: int, target: int, blocked: tuple[int, ...] = ()) -> int | None:
        """Steps before seat could use the thing at `target`; None where there is no way."""
        found = approach(self.k.name, self.at[seat], self.facing[seat], target, blocked)
        return None if found is None else found[0]

    def reaches(self, seat: int, target: int) -> bool:
        """Whether a seat could use the thing at `target`, were it alone."""
        return self.cost(seat, target) is not None

    def nearest(self, seat: int, targets: Any, blocked: tuple[int, ...] = ()) -> int | None:
        """The target with the least cost (ties: the lower cell number), or None."""
        costs = [(c, t) for t in targets if (c := self.cost(seat, t, blocked)) is not None]
        return min(costs)[1] if costs else None

    def lying_like(self, item: int) -> list[int]:
        """Counters on which such an item lies."""
        return [c for c, v in self.lying.items() if v == item]

    def free_counters(self, seat: int) -> list[int]:
        """Empty counters in a seat's reach; where rooms are split, those that both reach come alone if any."""
        free = self.own_counters(seat)
        shared = [c for c in free if c in passing(self.k.name)]
        return shared or free

    def own_counters(self, seat: int) -> list[int]:
        """All empty counters in a seat's reach."""
        return [c for c in places(self.k.name, COUNTER) if c not in self.lying and self.reaches(seat, c)]

    def trip(self, seat: int, source: int, target: int) -> int | None:
        """Steps to fetch something at `source` and be ready to use it at `target`, alone."""
        first = arrival(self.k.name, self.at[seat], self.facing[seat], source)
        if first is None:
            return None
        then = arrival(self.k.name, first[1], first[2], target)
        return None if then is None else first[0] + 1 + then[0]

    def sources(self, seat: int, item: int) -> list[int]:
        """Where a seat can get an onion (1) or a dish (2): dispensers, and what lies about.

        In split kitchens what lies on a counter is left alone by whoever has a dispenser: it was
        put there for the partner.
        """
        boxes = [c for c in places(self.k.name, ONIONS if item == 1 else DISHES) if self.reaches(seat, c)]
        if boxes and passing(self.k.name):
            return boxes
        return boxes + [c for c in self.lying_like(item) if self.reaches(seat, c)]

    def serving(self, seat: int) -> list[int]:
        """Serving places in reach."""
        return [c for c in places(self.k.name, SERVING) if self.reaches(seat, c)]

    def open_pots(self, seat: int) -> list[tuple[int, int]]:
        """(cell, onions) of pots in reach that take an onion."""
        return [(c, n) for c, n, t in self.pots if t < 0 and n < 3 and self.reaches(seat, c)]

    def hot_pots(self, seat: int) -> list[tuple[int, int]]:
        """(cell, steps until ready) of pots in reach that cook or are ready."""
        return [(c, COOK_TIME - t) for c, n, t in self.pots if t >= 0 and self.reaches(seat, c)]


@cache
def places(name: str, code: int) -> tuple[int, ...]:
    """Cells of a terrain code (of pots use `Layout.pots`)."""
    return tuple(i for i, c in enumerate(layout(name).kind.tolist()) if c == code)


@cache
def passing(name: str) -> frozenset[int]:
    """Counters over which the two rooms of a split kitchen can pass things; empty elsewhere."""
    k = layout(name)
    if len(k.rooms) < 2:
        return frozenset()
    return frozenset(c for c in places(name, COUNTER) if all(any(n in room for n in k.near[c]) for room in k.rooms))


@lru_cache(1 << 16)
def _search(name: str, cell: int, facing: int, blocked: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Breadth first over (cell, facing): steps to each state (-1: none) and the first action towards it."""
    k = layout(name)
    floor = (k.kind == FLOOR).tolist()
    steps, first = [-1] * (4 * len(floor)), [STAY] * (4 * len(floor))
    steps[4 * cell + facing] = 0
    queue = [4 * cell + facing]
    for state in queue:
        for d in range(4):
            to = k.near[state >> 2][d]
            to = to if floor[to] and to not in blocked else state >> 2
            new = 4 * to + d
            if steps[new] < 0:
                steps[new] = steps[state] + 1
                first[new] = d if steps[state] == 0 else first[state]
                queue.append(new)
    return steps, first


def arrival(
    name: str, cell: int, facing: int, target: int, blocked: tuple[int, ...] = ()
) -> tuple[int, int, int] | None:
    """(steps, floor cell, facing) of the nearest stand from which the thing at `target` can be used."""
    steps, _ = _search(name, cell, facing, blocked)
    near = layout(name).near[target]
    best = None
    for d, side in enumerate((1, 0, 3, 2)):  # to face it going north, stand south of it, and so on
        stand = near[side]
        if stand >= 0:
            n = steps[4 * stand + d]
            if n >= 0 and (best is None or n < best[0]):
                best = (n, stand, d)
    return best


def approach(name: str, cell: int, facing: int, target: int, blocked: tuple[int, ...] = ()) -> tuple[int, int] | None:
    """(steps before the interact, next action) to use the thing at `target`; None where no way leads."""
    best = arrival(name, cell, facing, target, blocked)
    if best is None:
        return None
    n, stand, d = best
    return n, INTERACT if n == 0 else _search(name, cell, facing, blocked)[1][4 * stand + d]


def go(name: str, cell: int, facing: int, to: int, blocked: tuple[int, ...] = ()) -> tuple[int, int] | None:
    """(steps, next action) to stand on a floor cell; action STAY when already there."""
    if cell == to:
        return 0, STAY
    steps, first = _search(name, cell, facing, blocked)
    ways = [(steps[4 * to + d], first[4 * to + d]) for d in range(4) if steps[4 * to + d] >= 0]
    return min(ways) if ways else None


def walk(k: Layout, cell: int, facing: int, target: int, count: int) -> list[int]:
    """The next floor cells (up to `count` of them) on the shortest way to use `target`."""
    cells: list[int] = []
    while len(cells) < count:
        found = approach(k.name, cell, facing, target)
        if found is None or found[1] == INTERACT:
            break
        facing = found[1]
        to = k.near[cell][facing]
        if k.kind[to] != FLOOR:
            break
        cell = to
        cells.append(cell)
    return cells
