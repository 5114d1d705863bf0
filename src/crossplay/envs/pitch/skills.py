"""Skills of the pitch: named errands of several ticks, as pure functions of `data`.

Each gives up after `LIMIT` ticks, and as soon as what it is for has become impossible (the ball is
gone, somebody else has it), so that whoever chooses among them decides again.
"""

from __future__ import annotations

from typing import Any

from crossplay.envs.pitch import moves
from crossplay.envs.pitch.games import Game
from crossplay.envs.pitch.words import Facts, facts

__all__ = ["LIMIT", "WAIT", "PitchSkills"]

LIMIT = 30  # ticks after which a skill gives up
WAIT = 4  # ticks of `wait`

_DESCRIBE = {
    "get_ball": "Go to the nearest loose ball that you see and pick it up.",
    "search": "Walk the field to look for the ball; ends as soon as you see it.",
    "wait": f"Stay where you are for {WAIT} ticks.",
    "score": "Carry the ball to the nearest goal cell on which your team scores (needs the ball).",
    "pass": "Pass the ball to a random team-mate, wherever it is (needs the ball).",
    "put_down": "Put the ball on the free cell ahead (needs the ball, and no team-mates).",
    "steal": "Cut off the opponent with the ball and take it.",
    "wait_at_goal": "Go to a goal cell on which your team scores, to receive a pass there.",
    "guard": "Stand between the ball, or the middle, and the goal that your team defends.",
}


class PitchSkills:
    """The skills of one game; `collect` has the first three."""

    def __init__(self, game: Game, view: int) -> None:
        """view: side of the square that an agent sees."""
        mates = max(game.teams) > 1
        absent = ("pass", "wait_at_goal") if not mates else () if 1 in game.teams else ("put_down",)
        if game.cooperative:
            absent = (*absent, "steal", "guard")
        names = tuple(_DESCRIBE)[:3] if game.collect else tuple(n for n in _DESCRIBE if n not in absent)
        self.names: tuple[str, ...] = names
        self.view = view

    def describe(self, skill: int) -> str:
        """One sentence for people and language models."""
        return _DESCRIBE[self.names[skill]]

    def legal(self, data: Any) -> list[bool]:
        """Which skills can be started now; `wait` always can."""
        f = facts(data)
        return [possible(f, n) for n in self.names]

    def step(self, data: Any, skill: int, state: Any) -> tuple[int, Any, bool]:
        """(primitive action, next state, whether the skill ends with this action). state: [ticks so far, way point]."""
        f, name = facts(data), self.names[skill]
        ticks, point = state or (0, -1)
        if name == "wait":
            return moves.NOOP, [ticks + 1, point], ticks + 1 >= WAIT
        if not possible(f, name):
            return moves.NOOP, None, True
        if name == "search":
            action, point = walk(f, self.view, point)
        else:
            action = act(f, name)
        done = action in (moves.PICKUP, moves.DROP) or action == moves.NOOP or ticks + 1 >= LIMIT
        return action, [ticks + 1, point], done


def possible(f: Facts, name: str) -> bool:
    """Whether a skill makes sense now."""
    other = moves.carrier(f)
    mates = f.game.teams[f.side] > 1
    if name == "get_ball":
        return bool(f.balls) and not f.carries
    if name == "search":
        return not f.balls and not f.carries and other is None and not f.sure
    if name == "score":
        return f.carries
    if name == "pass":
        return f.carries and mates
    if name == "put_down":
        return f.carries and not mates
    if name == "steal":
        return other is not None and not other.mate
    if name in ("wait_at_goal", "guard"):
        return not f.carries and (mates or name == "guard")
    return True


def act(f: Facts, name: str) -> int:
    """The next action of a skill that goes somewhere."""
    if name in ("pass", "put_down"):
        return moves.DROP
    if name == "get_ball":
        return moves.get(f, *moves.nearest(f, f.balls))
    if name == "steal":
        thief = moves.carrier(f)
        return moves.NOOP if thief is None else moves.intercept(f, thief)
    if name == "guard":
        return guard(f)
    return moves.toward(f, *moves.nearest(f, f.game.attacks(f.side)))


def guard(f: Facts) -> int:
    """To the cell two thirds of the way from the ball (else the middle) to the own goal."""
    other = moves.carrier(f)
    x, y = (other.x, other.y) if other else f.balls[0] if f.balls else (f.game.width // 2, f.game.height // 2)
    goal = min(f.game.goals[f.side], key=lambda c: abs(c[0] - x) + abs(c[1] - y))
    gx, gy = (x + 2 * goal[0]) // 3, (y + 2 * goal[1]) // 3
    if (gx, gy) in f.game.goals[f.side]:
        gx += 1 if f.side == 0 else -1
    return moves.toward(f, gx, gy)


def walk(f: Facts, view: int, point: int) -> tuple[int, int]:
    """(action, way point) of a search; point -1 starts at the nearest one."""
    points = moves.lanes(f.game.width, f.game.height, view)
    if point < 0:
        point = min(range(len(points)), key=lambda i: (abs(points[i][0] - f.x) + abs(points[i][1] - f.y), i))
    if points[point % len(points)] == (f.x, f.y):
        point += 1
    action = moves.toward(f, *points[point % len(points)])
    if action == moves.NOOP:  # somebody stands there
        action, point = moves.RIGHT, point + 1
    return action, point % len(points)
