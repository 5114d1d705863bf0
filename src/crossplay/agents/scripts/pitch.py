"""`striker`: the scripted expert of the pitch games, alone or with team-mates, under every `observe`.

One member of a team goes for the ball, one waits on the goal for a pass, the others guard; who does
what follows from what each sees, so that team-mates that see the same agree without a word. With a
partial view it remembers where it last saw the ball and walks the field when it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossplay.agents.context import options, plain, quick
from crossplay.envs.pitch import moves
from crossplay.envs.pitch.skills import guard, walk
from crossplay.envs.pitch.words import Facts, Person, facts
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import Action, CrossplayError

__all__ = ["Striker", "striker"]

_FORGET = 25  # ticks after which a ball seen earlier is looked for again
_STUCK = 3  # ticks without a change of place or facing before a random step


class Striker(Agent):
    """See the module. Its memo: [x, y, facing, ticks stuck, ball x, ball y, ticks since it was seen, way point]."""

    name = "striker"
    views = ("data",)

    def act(self, obs: Observation) -> Action:
        """The index of the next action."""
        data = obs.view("data")
        f = facts(data)
        x, y, face, stuck, bx, by, age, point = obs.memo or (0, 0, 0, 0, 0, 0, _FORGET, -1)
        stuck = stuck + 1 if (x, y, face) == (f.x, f.y, f.face) else 0
        seen = f.balls[0] if f.balls else next(((p.x, p.y) for p in f.people if p.carries and not p.mate), None)
        if seen is not None:
            bx, by, age = *seen, 0
        else:
            age = min(age + 1, _FORGET)
        action = collect(f, data) if f.game.collect else play(f, data)
        if action < 0:  # nothing known: to where the ball was, then along the field
            action = moves.NOOP
            if age < _FORGET and (f.x, f.y) != (bx, by):
                action = moves.toward(f, bx, by)
                age = age if action else _FORGET
            if action == moves.NOOP:
                view = len(data["image"]) if "image" in data else data.get("view", 3)
                action, point = walk(f, view, point)
        if stuck >= _STUCK and action in (moves.NOOP, moves.FORWARD):
            action = (moves.LEFT, moves.RIGHT, moves.FORWARD)[obs.pick(3)]
        return Action(action, memo=[f.x, f.y, f.face, stuck, bx, by, age, point])

    def check(self, env: Any, seat: str) -> None:
        """Plays the pitch games alone."""
        if not env.name.startswith("pitch/"):
            raise CrossplayError(f"striker: plays pitch, not {env.id}")


@options()
@plain()
@quick
def striker(rest: str, options: Mapping[str, Any], context: Any = None) -> Striker:
    """The agent `striker`; it has neither variants nor options."""
    if rest or options:
        raise CrossplayError(
            f'striker: unknown option "{rest or next(iter(options))}".{nearest(rest, ())} It has none.'
        )
    return Striker()


# -- ball games ----------------------------------------------------------------------------------------
def play(f: Facts, data: Mapping[str, Any]) -> int:
    """The next action in soccer, basketball and football; -1 when the ball has to be looked for."""
    if f.carries:
        return attack(f)
    other = moves.carrier(f)
    if other is not None and other.mate:
        return support(f, data, other.x, other.y)
    if other is not None:
        if rank(f, data, other.x, other.y) < 2:
            return moves.intercept(f, other)
        return support(f, data, other.x, other.y)
    if f.balls:
        bx, by = f.balls[0]
        if moves.ahead(f) == (bx, by):
            return moves.PICKUP
        if rank(f, data, bx, by) == 0:
            return moves.get(f, bx, by)
        return support(f, data, bx, by)
    return -1


def attack(f: Facts) -> int:
    """With the ball: to the goal, or a pass when that is better for the team."""
    g = f.game
    cells = g.attacks(f.side)
    own = min(moves.effort(f.x, f.y, f.face, *c) for c in cells)
    mates = [p for p in f.people if p.mate]
    if mates and len(mates) == g.teams[f.side] - 1:
        theirs = sum(
            min(moves.effort(p.x, p.y, p.face, *c) for c in cells) if (p.x, p.y) not in cells else 0 for p in mates
        ) / len(mates)
        hunted = any(threatens(f, p) for p in f.people)
        if theirs + 2 < own or (hunted and theirs < own + 4):
            return moves.DROP
    return moves.toward(f, *moves.nearest(f, cells))


def threatens(f: Facts, p: Person) -> bool:
    """Whether an opponent could steal from me in the next tick."""
    return not p.mate and p.cooldown <= 2 and (p.x + moves.DX[p.face], p.y + moves.DY[p.face]) == (f.x, f.y)


def rank(f: Facts, data: Mapping[str, Any], x: int, y: int) -> int:
    """How many of my team are nearer to a cell than I (ties: the lower seat)."""
    mine = moves.effort(f.x, f.y, f.face, x, y)
    me = f.game.seats.index(data["seat"])
    count = 0
    for p in f.people:
        if p.mate:
            theirs = moves.effort(p.x, p.y, p.face, x, y)
            count += theirs < mine or (theirs == mine and p.seat != "" and f.game.seats.index(p.seat) < me)
    return count


def support(f: Facts, data: Mapping[str, Any], x: int, y: int) -> int:
    """Without the ball: the one nearest to the goal, the hunter apart, waits on it; the others guard."""
    cells = f.game.attacks(f.side)
    goal = cells[len(cells) // 2]
    waiting = [p for p in f.people if p.mate and (p.x, p.y) in cells]
    if (f.x, f.y) in cells:
        return moves.NOOP
    hunter = min(
        (p for p in f.people if p.mate), key=lambda p: (moves.effort(p.x, p.y, p.face, x, y), p.seat), default=None
    )
    mine = moves.effort(f.x, f.y, f.face, *goal)
    nearer = [p for p in f.people if p.mate and p is not hunter and moves.effort(p.x, p.y, p.face, *goal) < mine]
    if not waiting and not nearer:
        return moves.toward(f, *moves.nearest(f, cells))
    return guard(f)


# -- collect -------------------------------------------------------------------------------------------
def collect(f: Facts, data: Mapping[str, Any]) -> int:
    """To the ball that is mine when the team shares them out, nearest pairs first; -1: none in sight."""
    if not f.balls:
        return -1
    if moves.ahead(f) in f.balls:
        return moves.PICKUP
    me = data["seat"]
    team = [(me, f.x, f.y, f.face), *((p.seat, p.x, p.y, p.face) for p in f.people if p.mate)]
    pairs = sorted((moves.effort(x, y, face, *ball), seat, ball) for seat, x, y, face in team for ball in f.balls)
    busy: set[Any] = set()
    for _, seat, ball in pairs:
        if seat in busy or ball in busy:
            continue
        if seat == me:
            return moves.get(f, *ball)
        busy |= {seat, ball}
    return moves.get(f, *moves.nearest(f, f.balls))
