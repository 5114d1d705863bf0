"""Ways on the pitch as pure functions of `Facts`: one primitive action at a time, for skills and scripts.

The way is greedy: the field has no inner walls, so a step that comes nearer and costs few turns is
right except around other agents, and there a step aside is.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from crossplay.envs.pitch.words import DX, DY, Facts, Person

__all__ = [
    "DROP",
    "DX",
    "DY",
    "FORWARD",
    "LEFT",
    "NOOP",
    "PICKUP",
    "RIGHT",
    "ahead",
    "carrier",
    "effort",
    "get",
    "intercept",
    "lanes",
    "nearest",
    "toward",
]

NOOP, LEFT, RIGHT, FORWARD, PICKUP, DROP = range(6)


def ahead(f: Facts) -> tuple[int, int]:
    """The cell in front."""
    return f.x + DX[f.face], f.y + DY[f.face]


def carrier(f: Facts) -> Person | None:
    """Who else is known to have the ball."""
    for p in f.people:
        if p.carries:
            return p
    return None


def turn_to(face: int, wanted: int) -> int:
    """The action that turns towards a facing (FORWARD when it is the facing)."""
    return (FORWARD, RIGHT, RIGHT, LEFT)[(wanted - face) % 4]


def effort(x: int, y: int, face: int, tx: int, ty: int) -> int:
    """Ticks to reach a cell on an empty field: steps plus turns."""
    dx, dy = tx - x, ty - y
    fx, fy = DX[face], DY[face]
    along, across = dx * fx + dy * fy, dy * fx - dx * fy
    turns = 1 if across else 0
    if along < 0:
        turns = 2
    return abs(dx) + abs(dy) + turns


def shut(f: Facts, x: int, y: int) -> bool:
    """Whether a cell cannot be entered, as far as is known."""
    g = f.game
    if not (0 < x < g.width - 1 and 0 < y < g.height - 1) or (x, y) in f.balls:
        return True
    if g.goals and (x == 1 or x == g.width - 2) and (x, y) in g.goals[f.side]:
        return True
    for p in f.people:  # noqa: SIM110 (twice as fast as any())
        if p.x == x and p.y == y:
            return True
    return False


def toward(f: Facts, tx: int, ty: int, touch: bool = False) -> int:
    """The next action on the way to a cell; with `touch` the way ends facing it. NOOP: arrived, or shut in."""
    dx, dy = tx - f.x, ty - f.y
    gap = abs(dx) + abs(dy)
    if gap == 0:
        return NOOP
    if touch and gap == 1:
        wanted = 0 if dx > 0 else 2 if dx < 0 else 1 if dy > 0 else 3
        return NOOP if wanted == f.face else turn_to(f.face, wanted)
    best, way = 99, -1
    for d in range(4):
        x, y = f.x + DX[d], f.y + DY[d]
        turns = (0, 1, 2, 1)[(d - f.face) % 4]
        left_x, left_y = tx - x, ty - y
        rest = abs(left_x) + abs(left_y)
        # A rest that is not straight on needs one more turn, unless the step went along both axes' need.
        bend = 1 if (left_y and DX[d]) or (left_x and DY[d]) else 0
        cost = 4 * (turns + 1 + rest + bend) + turns
        if cost < best and not shut(f, x, y):
            best, way = cost, d
    return NOOP if way < 0 else turn_to(f.face, way)


def get(f: Facts, x: int, y: int) -> int:
    """Go to what lies or is carried at a cell and pick it up."""
    return PICKUP if ahead(f) == (x, y) else toward(f, x, y, touch=True)


def nearest(f: Facts, cells: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """The cell that takes the fewest ticks; cells under others count as far."""
    taken = {(p.x, p.y) for p in f.people}
    return min(cells, key=lambda c: (c in taken, effort(f.x, f.y, f.face, *c), c))


def intercept(f: Facts, p: Person) -> int:
    """Cut off an opponent with the ball and steal it: meet it on its way to the goal that I defend."""
    if ahead(f) == (p.x, p.y):
        return PICKUP if f.cooldown <= 1 else NOOP
    if abs(p.x - f.x) + abs(p.y - f.y) == 1:
        return toward(f, p.x, p.y, touch=True)
    goal = min(f.game.goals[f.side], key=lambda c: abs(c[0] - p.x) + abs(c[1] - p.y))
    x, y, steps = p.x, p.y, 0
    while (x, y) != goal:
        if x != goal[0]:
            x += 1 if goal[0] > x else -1
        else:
            y += 1 if goal[1] > y else -1
        steps += 1
        if effort(f.x, f.y, f.face, x, y) <= steps:
            break
    if (x, y) == goal or (x, y) == (f.x, f.y):
        x, y = p.x, p.y
    return toward(f, x, y, touch=True)


@functools.cache
def lanes(width: int, height: int, view: int) -> tuple[tuple[int, int], ...]:
    """Way points of a walk that shows the whole field to somebody who sees `view` by `view` cells."""
    half = view // 2
    rows = list(range(1 + half, height - 1, view)) or [height // 2]
    if rows[-1] + half < height - 2:
        rows.append(height - 2 - half)
    ends = (min(width // 2, view), max(width // 2, width - 1 - view))
    return tuple((ends[(i + k) % 2], row) for i, row in enumerate(rows) for k in range(2))
