"""Skills of the kitchen: named errands of several steps, as pure functions of `data`.

Every skill takes the shortest way (facing included) around the partner, ends with the action
that does its work, and gives up after `LIMIT` steps or `PATIENCE` failed moves: none blocks for ever.
"""

from __future__ import annotations

from typing import Any

from crossplay.envs.kitchen.layouts import FLOOR, POT
from crossplay.envs.kitchen.rules import COOK_TIME, DISH, NOTHING, ONION, SOUP
from crossplay.envs.kitchen.scene import INTERACT, STAY, Scene, approach, go
from crossplay.envs.kitchen.views import pot_state, rules_text, spoken

__all__ = ["LIMIT", "PATIENCE", "WAIT", "KitchenSkills"]

LIMIT = 40
"""Steps after which any skill gives up; covers the longest way plus a whole cooking time."""
PATIENCE = 6
"""Failed moves after which a skill gives up: the partner is in the way."""
WAIT = 4
"""Steps that `wait` and `step_aside` take at most."""

_DESCRIBE = {
    "get_onion": "Fetch an onion from the nearest dispenser or counter (needs empty hands).",
    "pot_onion": "Put the onion you hold into the fullest pot that takes one.",
    "get_dish": "Fetch a dish from the nearest dispenser or counter (needs empty hands).",
    "take_soup": "With a dish: go to a pot that cooks or is ready, wait for the soup and take it. "
    "With empty hands: take a soup that lies on a counter.",
    "serve": "Bring the soup you hold to the serving place.",
    "wait": f"Stay where you are for {WAIT} steps.",
    "step_aside": "Walk a few steps away from your partner to make room.",
    "put_down": "Put what you hold on the nearest empty counter; in a split kitchen on one that your partner reaches.",
    "start_cooking": "Start a pot that holds three onions (needs empty hands).",
}


class KitchenSkills:
    """The skills of one kind of kitchen; `start_cooking` exists where cooking starts by an interact."""

    def __init__(self, cooking: str) -> None:
        """cooking: "auto" or "interact"."""
        self.names: tuple[str, ...] = tuple(n for n in _DESCRIBE if n != "start_cooking" or cooking == "interact")
        self.rules = rules_text(cooking, skills=True)

    def describe(self, skill: int) -> str:
        """One sentence for people and language models."""
        return _DESCRIBE[self.names[skill]]

    def text(self, data: Any) -> str:
        """What matters for the choice of a skill, in some 25 words: no places, the skills find the ways."""
        me, mate = data["players"][data["you"]], data["players"][1 - data["you"]]
        pots = "; ".join(
            pot_state({**p, "tick": min(p["tick"], 0)} if 0 <= p["tick"] < COOK_TIME else p, data["cooking"])
            for p in data["pots"]
        )
        pots = pots.replace(f"cooking, ready in {COOK_TIME}", "soup cooking")
        lying = sorted({spoken(c["item"]) for c in data["counters"]})
        counters = f" On counters: {', '.join(lying)}." if lying else ""
        return f"You hold {spoken(me['held'])}. Partner holds {spoken(mate['held'])}. Pot: {pots}.{counters}"

    def legal(self, data: Any) -> list[bool]:
        """Which skills can be started now; `wait` always can."""
        scene = Scene(data)
        return [n in ("wait", "step_aside") or bool(targets(scene, n)) for n in self.names]

    def step(self, data: Any, skill: int, state: Any) -> tuple[int, Any, bool]:
        """(primitive action, next state, whether the skill ends with this action).

        state: [steps so far, failed moves, cell of the last move, its action] or None at first.
        """
        scene, name = Scene(data), self.names[skill]
        ticks, fails, last, action = state or (0, 0, -1, STAY)
        here = scene.at[scene.me]
        bumped = action < STAY and last == here and scene.k.kind[scene.k.near[here][action]] == FLOOR
        fails += bumped
        if name == "wait":
            return STAY, [ticks + 1, 0, -1, STAY], ticks + 1 >= WAIT
        if ticks >= LIMIT or fails >= PATIENCE:
            return STAY, None, True
        if bumped and (scene.me + fails) % 2:  # both wanted one cell: let seats take turns in standing still
            return STAY, [ticks + 1, fails, -1, STAY], False
        if name == "step_aside":
            action, done = aside(scene)
            done = done or ticks + 1 >= WAIT
        else:
            action, done = errand(scene, name)
        return action, [ticks + 1, fails, here, action], done


def targets(scene: Scene, name: str) -> list[int]:
    """Cells whose thing the skill would use now, within one's own reach; empty: not possible."""
    me, hand = scene.me, scene.held[scene.me]
    if name == "get_onion":
        return scene.sources(me, ONION) if hand == NOTHING else []
    if name == "get_dish":
        return scene.sources(me, DISH) if hand == NOTHING else []
    if name == "pot_onion":
        pots = scene.open_pots(me) if hand == ONION else []
        most = max((n for _, n in pots), default=0)
        return [c for c, n in pots if n == most]
    if name == "take_soup":
        if hand == NOTHING:
            return [c for c, v in scene.lying.items() if v > SOUP and scene.reaches(me, c)]
        return [c for c, _ in scene.hot_pots(me)] if hand == DISH else []
    if name == "serve":
        return scene.serving(me) if hand > SOUP else []
    if name == "put_down":
        return scene.free_counters(me) if hand != NOTHING else []
    if name == "start_cooking" and hand == NOTHING:
        return [c for c, n, t in scene.pots if n == 3 and t < 0 and scene.reaches(me, c)]
    return []


def errand(scene: Scene, name: str) -> tuple[int, bool]:
    """(action, whether it finishes the skill) of a skill that walks somewhere and uses a thing."""
    where = targets(scene, name)
    if not where:
        return STAY, True
    me, around = scene.me, (scene.at[scene.mate],)
    left = {c: COOK_TIME - t for c, _, t in scene.pots if t >= 0} if name == "take_soup" else {}
    best = min(
        ((max(way[0], left.get(c, 0)), c, way[1]) for c in where if (way := _way(scene, c, around)) is not None),
        default=None,
    )
    if best is None:  # the partner stands in the only way: walk up to it, it may move
        best = min((way[0], c, way[1]) for c in where if (way := _way(scene, c, ())) is not None)
    _, cell, action = best
    if action != INTERACT:
        return action, False
    if scene.held[me] == DISH and scene.k.kind[cell] >= POT and left.get(cell, 0) > 0:
        return STAY, False
    return INTERACT, True


def _way(scene: Scene, cell: int, blocked: tuple[int, ...]) -> tuple[int, int] | None:
    return approach(scene.k.name, scene.at[scene.me], scene.facing[scene.me], cell, blocked)


def aside(scene: Scene) -> tuple[int, bool]:
    """(action, done): towards the cell within `WAIT` steps that is farthest from the partner."""
    k, me, mate = scene.k, scene.me, scene.mate
    best = (0, 0, scene.at[me], STAY)
    for room in k.rooms:
        for cell in room:
            way = go(k.name, scene.at[me], scene.facing[me], cell, (scene.at[mate],))
            if way is None or way[0] > WAIT:
                continue
            gap = go(k.name, scene.at[mate], scene.facing[mate], cell)
            best = min(best, (-(gap[0] if gap else 99), way[0], cell, way[1]))
    return best[3], best[1] <= 1
