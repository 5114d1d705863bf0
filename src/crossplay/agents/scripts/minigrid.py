"""`explorer`: a scripted player of MiniGrid and the simpler BabyAI missions, by search in what it has seen.

It keeps a map in its memo (relative to where it began), opens and unlocks doors that are in the
way, fetches the keys for them, and otherwise goes to the nearest thing it has not seen.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from crossplay.agents.context import options, plain, quick
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import Action, CrossplayError

__all__ = ["Explorer", "explorer"]

LEFT, RIGHT, FORWARD, PICKUP, DROP, TOGGLE, DONE = range(7)
EMPTY, WALL, FLOOR, DOOR, KEY, BALL, BOX, GOAL = 1, 2, 3, 4, 5, 6, 7, 8
OPEN, CLOSED, LOCKED = range(3)
_TYPES = {"door": DOOR, "key": KEY, "ball": BALL, "box": BOX, "goal": GOAL}
_COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
_AHEAD = ((1, 0), (0, 1), (-1, 0), (0, -1))  # east, south, west, north
_THING = re.compile(r"(?:(red|green|blue|purple|yellow|grey) )?(door|key|ball|box|goal|object)")

Cell = tuple[int, int]
Pose = tuple[int, int, int]
Aim = tuple[str, int, int]  # what to do ("reach", "face", "take", "open"), type and colour (-1: any)


class Explorer(Agent):
    """Plays `minigrid:*` from the data view. Deterministic; it gives up on nothing but may wander."""

    name = "explorer"
    views = ("data",)

    def act(self, obs: Observation) -> Action:
        """The next action, and the map as memo."""
        scene = _Scene(obs.view("data"), obs.memo, obs.last)
        action = scene.decide()
        if action is None:
            action = (LEFT, RIGHT, FORWARD)[obs.pick(3)]
        return Action(min(action, len(obs.spec.names) - 1), memo=scene.memo())

    def check(self, env: Any, seat: str) -> None:
        """Plays MiniGrid alone."""
        if not env.name.startswith("minigrid:"):
            raise CrossplayError(f"explorer: plays minigrid, not {env.id}")


def parse(mission: str) -> list[Aim]:
    """What a mission asks for, in order. Clauses that it does not understand are left out."""
    first, after, second = mission.partition(" after you ")
    clauses = [second, first] if after else [first]
    aims: list[Aim] = []
    for clause in (part for c in clauses for part in re.split(r",? and then |, then | and ", c)):
        found = _THING.search(clause)
        if not found:
            continue
        colour = _COLOURS.index(found[1]) if found[1] else -1
        kind = _TYPES.get(found[2], -1)
        if kind == GOAL:
            aims.append(("reach", kind, -1))
        elif re.search(r"pick up|fetch|get a|go get", clause):
            aims.append(("take", kind, colour))
        elif "use the key" in clause:
            aims.append(("open", DOOR, -1))
        elif re.search(r"open|unlock", clause):
            aims.append(("open", kind, colour))
        elif "go to" in clause:
            aims.append(("face", kind, colour))
    return aims or [("reach", GOAL, -1)]


class _Scene:
    """One tick: the map brought up to date, and the search in it."""

    def __init__(self, data: Mapping[str, Any], memo: Any, last: tuple[Any, str] | None) -> None:
        self.aims = parse(data["mission"])
        image = data["image"]
        side = image.shape[0]
        middle, end = side // 2, side - 1
        self.d = int(data["direction"])
        memo = memo or {"x": 0, "y": 0, "d": self.d, "stage": 0, "dropping": False, "cells": []}
        flat = memo["cells"]
        self.cells: dict[Cell, tuple[int, int, int]] = {
            (k // 512 - 256, k % 512 - 256): (v & 15, v >> 4 & 15, v >> 8)
            for k, v in zip(flat[::2], flat[1::2], strict=True)
        }
        self.x, self.y, self.stage = memo["x"], memo["y"], memo["stage"]
        if last is not None and last[0] == FORWARD and self._free(self._front((self.x, self.y, memo["d"]))):
            self.x, self.y = self._front((self.x, self.y, memo["d"]))
        held = image[middle, end]
        self.held = (int(held[0]), int(held[1])) if held[0] in (KEY, BALL, BOX) else None
        self.dropping = bool(memo["dropping"]) and self.held is not None
        (fx, fy), (rx, ry) = _AHEAD[self.d], _AHEAD[(self.d + 1) % 4]
        for column in range(side):
            for row in range(side):
                kind = int(image[column, row, 0])
                if kind == 0 or (column, row) == (middle, end):
                    continue
                ahead, right = end - row, column - middle
                place = (self.x + fx * ahead + rx * right, self.y + fy * ahead + ry * right)
                self.cells[place] = (kind, int(image[column, row, 1]), int(image[column, row, 2]))
        self.cells.setdefault((self.x, self.y), (EMPTY, 0, 0))

    def memo(self) -> dict[str, Any]:
        """The map as MessagePack data."""
        cells = []
        for (x, y), (kind, colour, state) in sorted(self.cells.items()):
            cells += [(x + 256) * 512 + y + 256, kind | colour << 4 | state << 8]
        return {"x": self.x, "y": self.y, "d": self.d, "stage": self.stage, "dropping": self.dropping, "cells": cells}

    # -- decisions -----------------------------------------------------------------------------------
    def decide(self) -> int | None:
        """The action, or None when nothing is left to do or to see."""
        if self.dropping:
            return self._put_down()
        while self.stage < len(self.aims) - 1 and self._achieved(self.aims[self.stage]):
            self.stage += 1
        aim = self.aims[min(self.stage, len(self.aims) - 1)]
        action = self._pursue(aim)
        return self._clear_the_way() if action is None else action

    def _achieved(self, aim: Aim) -> bool:
        verb, kind, colour = aim
        if verb == "take":
            return self.held is not None and _fits((*self.held, 0), kind, colour)
        if verb == "open":
            return any(_fits(c, kind, colour) and c[2] == OPEN for c in self.cells.values())
        return False

    def _pursue(self, aim: Aim) -> int | None:
        """One step towards the aim, if it is known and can be reached."""
        verb, kind, colour = aim
        here = (self.x, self.y, self.d)
        if verb == "reach":
            return self._search(lambda pose: self._kind(pose[:2]) == kind)

        def fits(place: Cell) -> bool:
            cell = self.cells.get(place, (0, 0, 0))
            shut = cell[0] != DOOR or (cell[2] != OPEN and self._opens(cell))
            return _fits(cell, kind, colour) and (verb != "open" or shut)

        step = self._search(lambda pose: fits(self._front(pose)))
        if step is not None or not fits(self._front(here)):
            return step
        if verb == "face":
            self.stage += 1
            return DONE
        if verb == "open":
            return TOGGLE
        return self._pick_up()

    def _clear_the_way(self) -> int | None:
        """Look further; where that ends, fetch the key of a locked door."""
        step = self._search(lambda pose: self._front(pose) not in self.cells)
        if step is not None:
            return step
        wanted = {c[1] for c in self.cells.values() if c[0] == DOOR and c[2] == LOCKED}
        is_key = lambda cell: self._kind(cell) == KEY and self.cells[cell][1] in wanted  # noqa: E731
        step = self._search(lambda pose: is_key(self._front(pose)))
        if step is not None:
            return step
        if is_key(self._front((self.x, self.y, self.d))):
            return self._pick_up()
        return None

    def _pick_up(self) -> int | None:
        """Take what lies ahead; with full hands, put down first what is carried."""
        if self.held is None:
            return PICKUP
        self.dropping = True
        return self._put_down()

    def _put_down(self) -> int | None:
        """Drop what is carried on the nearest free cell."""
        front = self._front((self.x, self.y, self.d))
        if self._kind(front) == EMPTY:
            return DROP
        step = self._search(lambda pose: self._kind(self._front(pose)) == EMPTY)
        return LEFT if step is None else step

    # -- the map ---------------------------------------------------------------------------------------
    def _kind(self, cell: Cell) -> int:
        return self.cells.get(cell, (0, 0, 0))[0]

    @staticmethod
    def _front(pose: Pose) -> Cell:
        return pose[0] + _AHEAD[pose[2]][0], pose[1] + _AHEAD[pose[2]][1]

    def _free(self, cell: Cell) -> bool:
        """Whether one can walk there at once."""
        kind, _, state = self.cells.get(cell, (0, 0, 0))
        return kind in (EMPTY, FLOOR, GOAL) or (kind == DOOR and state == OPEN)

    def _opens(self, cell: tuple[int, int, int]) -> bool:
        """Whether a door can be opened now."""
        return cell[0] == DOOR and (cell[2] != LOCKED or self.held == (KEY, cell[1]))

    def _search(self, found: Callable[[Pose], bool]) -> int | None:
        """The first action of a shortest way to a pose that fits; None when there is none or one stands there.

        Breadth first over (cell, direction); a door that can be opened is walked through after a toggle.
        """
        start: Pose = (self.x, self.y, self.d)
        if found(start):
            return None
        seen, queue = {start}, deque([(start, -1)])
        while queue:
            pose, first = queue.popleft()
            if first >= 0 and found(pose):
                return first
            x, y, d = pose
            front = self._front(pose)
            options = [((x, y, (d + 3) % 4), LEFT), ((x, y, (d + 1) % 4), RIGHT)]
            if self._free(front):
                options.append(((*front, d), FORWARD))
            elif self._opens(self.cells.get(front, (0, 0, 0))):
                options.append(((*front, d), TOGGLE))
            for following, action in options:
                if following not in seen:
                    seen.add(following)
                    queue.append((following, action if first < 0 else first))
        return None


def _fits(cell: tuple[int, int, int], kind: int, colour: int) -> bool:
    """Whether a cell is a thing of that type and colour (-1: any thing, any colour)."""
    return (cell[0] == kind if kind >= 0 else cell[0] in (KEY, BALL, BOX)) and colour in (-1, cell[1])


@options()
@plain()
@quick
def explorer(rest: str, options: Mapping[str, Any], context: Any = None) -> Agent:
    """The scripted player of MiniGrid and the simpler BabyAI missions; takes no options."""
    if rest or options:
        word = rest or next(iter(options))
        raise CrossplayError(f'explorer: takes nothing, got "{word}".{nearest(word, ["explorer"])}')
    return Explorer()
