"""`chef`: a greedy cook for `kitchen` that plays either seat of every layout with any partner.

Each tick it plans for both players from the same `data`: what each should do next with what it
holds (`errand`), who gives way where their ways cross (`move`). Two chefs therefore agree without
a word, and a chef reads the hands of any other partner as that partner's intention, until the
partner stands still for long. It is the scripted ceiling and partner of experiments, not an optimum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from crossplay.agents.context import Context, options, plain, quick
from crossplay.envs.kitchen.layouts import FLOOR, POT
from crossplay.envs.kitchen.rules import COOK_TIME, DISH, NOTHING, ONION, SOUP
from crossplay.envs.kitchen.scene import INTERACT, STAY, Scene, approach, passing, walk
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.types import Action, CrossplayError

__all__ = ["Chef", "chef"]

_IDLE_AFTER = 12  # a partner that has not moved for so long is no longer counted on
_STILL_AFTER = 3  # ... and after so many steps it is walked around as if it were a counter


class Goal(NamedTuple):
    """What a player should use next. rank: who has the way (higher goes first); hold: do not use it yet."""

    target: int | None
    rank: int
    hold: bool = False


class Chef(Agent):
    """See the module. Its memo: [own cell, own action, failed moves, partner's cell, steps it stood still]."""

    name = "chef"
    views = ("data",)

    def act(self, obs: Observation) -> Action:
        """The next step of the shortest way to what the team needs most."""
        scene = Scene(obs.view("data"))
        here, there = scene.at[scene.me], scene.at[scene.mate]
        last, action, stuck, mate_last, still = obs.memo or (-1, STAY, 0, -1, 0)
        still = still + 1 if mate_last == there else 0
        bumped = action < STAY and last == here and scene.k.kind[scene.k.near[here][action]] == FLOOR
        stuck = stuck + 1 if bumped else 0
        waits = scene.held[scene.mate] == DISH and any(scene.cost(scene.mate, c) == 0 for c, _ in hot(scene))
        active = still < _IDLE_AFTER or waits
        mine = errand(scene, scene.me, active)
        theirs = errand(scene, scene.mate, True)
        action = move(scene, mine, theirs, still >= _STILL_AFTER, stuck, obs)
        return Action(action, memo=[here, action, stuck, there, still])

    def check(self, env: Any, seat: str) -> None:
        """Plays `kitchen` alone."""
        if not env.name.startswith("kitchen/"):
            raise CrossplayError(f"chef: plays kitchen, not {env.id}")


@options()
@plain()
@quick
def chef(rest: str, options: Mapping[str, Any], context: Context | None = None) -> Chef:
    """The agent `chef`; it has neither variants nor options."""
    if rest:
        raise CrossplayError(f'agent "chef" takes nothing after its name, got "{rest}"')
    return Chef()


# -- what to do -------------------------------------------------------------------------------------
def hot(scene: Scene) -> list[tuple[int, int]]:
    """(cell, steps until ready) of all pots that cook or are ready."""
    return [(c, COOK_TIME - t) for c, _, t in scene.pots if t >= 0]


def unstarted(scene: Scene) -> list[int]:
    """Pots with three onions that somebody has to start."""
    return [c for c, n, t in scene.pots if t < 0 and n == 3]


def errand(scene: Scene, seat: int, active: bool) -> Goal:
    """What `seat` should do next. active: whether its partner is counted on."""
    mate_hand = scene.held[1 - seat] if active else NOTHING
    if not any(scene.reaches(seat, c) for c, _, _ in scene.pots):
        return supply(scene, seat, mate_hand)
    hand = scene.held[seat]
    if hand > SOUP:
        return Goal(scene.nearest(seat, scene.serving(seat)), 4)
    if hand == DISH:
        return with_dish(scene, seat, mate_hand)
    if hand == ONION:
        return with_onion(scene, seat, mate_hand, active)
    return with_nothing(scene, seat, mate_hand, active)


def closer(scene: Scene, seat: int, target: int) -> bool:
    """Whether seat is nearer to using `target` than its partner (ties: seat 0)."""
    mine, theirs = scene.cost(seat, target), scene.cost(1 - seat, target)
    return theirs is None or (mine is not None and (mine, seat) < (theirs, 1 - seat))


def with_dish(scene: Scene, seat: int, mate_hand: int) -> Goal:
    """To the pot that can be emptied first; if no soup will come, the dish is put down."""
    pots = [(max(scene.cost(seat, c) or 0, left), c) for c, left in scene.hot_pots(seat)]
    if mate_hand == DISH and len(pots) == 1 and not closer(scene, seat, pots[0][1]):
        pots = []
    if pots:
        cell = min(pots)[1]
        return Goal(cell, 3, hold=dict(hot(scene))[cell] > 0)
    need = sum(3 - n for _, n in scene.open_pots(seat)) - (mate_hand == ONION)
    if unstarted(scene):
        drop = mate_hand == SOUP or (mate_hand == DISH and seat == 0)
    else:
        drop = need > 0 or mate_hand == DISH
    return Goal(scene.nearest(seat, scene.own_counters(seat)), 1) if drop else Goal(None, 0)


def with_onion(scene: Scene, seat: int, mate_hand: int, active: bool) -> Goal:
    """To the fullest pot that takes it; else wait, or free the hands when only a dish can help."""
    pots = []
    for cell, n in scene.open_pots(seat):
        taken = n + (mate_hand == ONION and not closer(scene, seat, cell))
        if taken < 3:
            pots.append((-n, scene.cost(seat, cell), cell))
    if pots:
        return Goal(min(pots)[2], 2)
    soon = scene.hot_pots(seat)
    helped = active and any(scene.reaches(1 - seat, c) for c, _ in soon) and mate_hand != ONION
    helped = helped and (mate_hand != NOTHING or any(scene.sources(1 - seat, DISH)))
    if (
        soon
        and not helped
        and min(left for _, left in soon) <= 10
        and not (active and mate_hand == ONION and not _nearer_dish(scene, seat))
    ):
        return Goal(scene.nearest(seat, scene.own_counters(seat)), 1)
    if unstarted(scene) and not soon and mate_hand != NOTHING:
        return Goal(scene.nearest(seat, scene.own_counters(seat)), 1)
    waiting = scene.nearest(seat, [c for c, _ in soon])
    return Goal(waiting, 0, hold=True)


def _nearer_dish(scene: Scene, seat: int) -> bool:
    """Whether seat is the one who should get a dish."""
    source = scene.nearest(seat, scene.sources(seat, DISH))
    other = scene.nearest(1 - seat, scene.sources(1 - seat, DISH))
    if source is None or other is None:
        return source is not None
    mine, theirs = scene.cost(seat, source) or 0, scene.cost(1 - seat, other) or 0
    return (mine, seat) < (theirs, 1 - seat)


def with_nothing(scene: Scene, seat: int, mate_hand: int, active: bool) -> Goal:
    """Start a pot, save a soup, fetch a dish in time, else the next onion."""
    free_mate = active and mate_hand == NOTHING
    ready = [c for c in unstarted(scene) if scene.reaches(seat, c)]
    ready += [c for c, v in scene.lying.items() if v == SOUP + 3 and scene.reaches(seat, c)]
    ready = [c for c in ready if not free_mate or closer(scene, seat, c)]
    if ready:
        return Goal(scene.nearest(seat, ready), 2)
    soups = scene.hot_pots(seat)
    need = sum(3 - n for _, n in scene.open_pots(seat)) - (mate_hand == ONION)
    missing = len(soups) - (mate_hand == DISH and any(scene.reaches(1 - seat, c) for c, _ in soups))
    dish = scene.nearest(seat, scene.sources(seat, DISH))
    onion = scene.nearest(seat, scene.sources(seat, ONION))
    if missing > 0 and dish is not None and (missing > 1 or not free_mate or _nearer_dish(scene, seat)):
        slack = min(left - (scene.trip(seat, dish, c) or 0) for c, left in soups)
        if need <= 0 or onion is None or slack <= 2:
            return Goal(dish, 1)
    if onion is None or (need <= 0 and passing(scene.k.name) and not scene.lying_like(ONION) and missing > 0):
        return Goal(None, 0)
    if need <= 0 and missing > 0 and not free_mate and mate_hand != DISH:
        return Goal(None, 0) if dish is None else Goal(dish, 1)
    return Goal(onion, 1)


def supply(scene: Scene, seat: int, mate_hand: int) -> Goal:
    """From a room without pots: dishes and onions onto the counters that the partner reaches."""
    shared = passing(scene.k.name)
    hand = scene.held[seat]
    free = [c for c in scene.free_counters(seat) if c in shared]
    onions = sum(v == ONION for c, v in scene.lying.items() if c in shared)
    dishes = sum(v == DISH for c, v in scene.lying.items() if c in shared)
    due = len(hot(scene)) + len(unstarted(scene)) + any(n == 2 and t < 0 for _, n, t in scene.pots)
    want_dish = due - dishes - (mate_hand == DISH) > 0 and dishes < 2
    need = sum(3 - n for _, n, t in scene.pots if t < 0) or 2
    want_onion = need - onions - (mate_hand == ONION) > 0 and onions < 2
    if hand == NOTHING:
        if want_dish or want_onion:
            item = DISH if want_dish else ONION
            return Goal(scene.nearest(seat, scene.sources(seat, item)), 1)
        return Goal(None, 0)
    if hand == ONION and onions >= 2 and want_dish:  # keep one counter for the dish
        free = [c for c in scene.own_counters(seat) if c not in shared]
    elif hand == ONION and onions >= 2:
        return Goal(None, 0)
    mate = 1 - seat
    best = min((((scene.cost(seat, c) or 0) + (scene.cost(mate, c) or 0), c) for c in free), default=None)
    return Goal(best[1] if best else None, 1)


# -- how to get there ---------------------------------------------------------------------------------
def move(scene: Scene, mine: Goal, theirs: Goal, still: bool, stuck: int, obs: Observation) -> int:
    """The primitive action towards one's goal that keeps out of a partner's way with more rank."""
    k, me, mate = scene.k, scene.me, scene.mate
    here, there = scene.at[me], scene.at[mate]
    way = _step(scene, mine, (there,))
    direct = _step(scene, mine, ())
    if direct is not None and direct[1] == INTERACT and not mine.hold:
        return INTERACT
    path = [] if still or theirs.target is None else walk(k, there, scene.facing[mate], theirs.target, 6)
    if path and (theirs.rank, -mate) > (mine.rank, -me):
        if here in path[:2] and _blocks(scene, theirs, here):
            return _yield(scene, mine, path)
        around = _step(scene, mine, (there, path[0])) or way
        if around is None or (around[1] < STAY and k.near[here][around[1]] == path[0] != there):
            return STAY
        return _patient(scene, mine, around[1])
    if stuck >= 2 and obs.pick(2) == 0:
        free = [d for d in range(4) if k.kind[k.near[here][d]] == FLOOR and k.near[here][d] != there]
        if free:
            return free[obs.pick(len(free), slot=1)]
    if direct is None:
        return STAY
    if way is None or (not still and way[0] > direct[0] + 2):
        return _patient(scene, mine, direct[1])
    return _patient(scene, mine, way[1])


def _step(scene: Scene, goal: Goal, blocked: tuple[int, ...]) -> tuple[int, int] | None:
    if goal.target is None:
        return None
    return approach(scene.k.name, scene.at[scene.me], scene.facing[scene.me], goal.target, tuple(sorted(set(blocked))))


def _blocks(scene: Scene, goal: Goal, cell: int) -> bool:
    """Whether standing on `cell` costs the partner more than two steps."""
    alone = scene.cost(scene.mate, goal.target) if goal.target is not None else None
    other = scene.cost(scene.mate, goal.target, (cell,)) if goal.target is not None else None
    return alone is not None and (other is None or other > alone + 2)


def _yield(scene: Scene, mine: Goal, path: list[int]) -> int:
    """A step off the partner's path if there is one, else the step that stays ahead of it."""
    k, here, there = scene.k, scene.at[scene.me], scene.at[scene.mate]
    best = (99, 99, STAY)
    for d in range(4):
        to = k.near[here][d]
        if k.kind[to] != FLOOR or to == there:
            continue
        then = approach(k.name, to, d, mine.target, (there,)) if mine.target is not None else None
        best = min(best, (path.index(to) * -1 if to in path else -50, then[0] if then else 60, d))
    return best[2]


def _patient(scene: Scene, goal: Goal, action: int) -> int:
    """The action, but waiting cooks with nothing to do at a pot keep its only stand free."""
    if not goal.hold:
        return action
    if action == INTERACT:
        return STAY
    k, here = scene.k, scene.at[scene.me]
    if goal.rank == 0 and action < STAY:
        to = k.near[here][action]
        pots = [n for n in k.near[to] if n >= 0 and k.kind[n] >= POT]
        if k.kind[to] == FLOOR and pots:
            return STAY
    return action
