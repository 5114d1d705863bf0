"""Views of the kitchen as pure functions of `data`: text, map, and the arrays behind the features."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossplay.envs.kitchen.layouts import layout
from crossplay.envs.kitchen.rules import COOK_TIME, VALUE

__all__ = ["ITEMS", "arrays", "board", "rules_text", "text"]

ITEMS: tuple[str | None, ...] = (None, "onion", "dish", "soup:1", "soup:2", "soup:3")
"""Names of item codes in data; soup:n is a soup of n onions."""

_CODE = {name: i for i, name in enumerate(ITEMS)}
_FACING = {"north": 0, "south": 1, "east": 2, "west": 3}
_SPOKEN = {None: "nothing", "onion": "an onion", "dish": "a dish", "soup:3": "a soup"}
_PLACES = (("Onions", "O"), ("Dishes", "D"), ("Serving", "S"))


def arrays(data: Any) -> tuple[np.ndarray, ...]:
    """One-row state arrays (pos, facing, held, cell, pot, tick, clock) of a `data`."""
    k = layout(data["layout"])
    cell = np.zeros((1, len(k.kind)), np.int8)
    for thing in data["counters"]:
        cell[0, k.cell(thing["at"])] = _CODE[thing["item"]]
    players, pots = data["players"], data["pots"]
    return (
        np.array([[k.cell(p["at"]) for p in players]], np.int8),
        np.array([[_FACING[p["facing"]] for p in players]], np.int8),
        np.array([[_CODE[p["held"]] for p in players]], np.int8),
        cell,
        np.array([[p["onions"] for p in pots]], np.int8),
        np.array([[p["tick"] for p in pots]], np.int8),
        np.array([[data["timestep"]]], np.int16),
    )


def rules_text(cooking: str, skills: bool = False) -> str:
    """The rules in plain words, for people and language models; skills: without the primitive actions."""
    start = (
        "With the third onion the pot starts to cook by itself."
        if cooking == "auto"
        else "A pot starts to cook when a player with empty hands interacts with it; only soups of three onions pay."
    )
    actions = (
        "Actions: north, south, east, west turn you that way and move you if the cell is free floor; interact uses "
        "the cell you face: take, put, fill, serve; stay does nothing. "
    )
    return (
        "Two cooks work as one team. Take onions from a dispenser and put three into a pot. "
        f"{start} After {COOK_TIME} steps the soup is ready: take it with a dish and bring it to the serving "
        f"place for {VALUE:.0f} points, which both players get. {'' if skills else actions}"
        "You can hold one thing. Things can be put on empty counters and taken again by either player. "
        "Players cannot walk through each other. "
        "Map: X counter, P pot, O onions, D dishes, S serving place, . floor, 0 and 1 the players; "
        "o, d, s: an onion, a dish, a soup on a counter."
    )


def spoken(item: str | None) -> str:
    """An item in words."""
    return _SPOKEN[item] if item in _SPOKEN else f"a worthless soup of {item[5:]} onion(s)"  # type: ignore[index]


def offset(here: list[int], there: list[int]) -> str:
    """Where a cell lies from another one, e.g. "2 east, 1 north"."""
    dx, dy = there[0] - here[0], there[1] - here[1]
    parts = []
    if dx:
        parts.append(f"{abs(dx)} {'east' if dx > 0 else 'west'}")
    if dy:
        parts.append(f"{abs(dy)} {'south' if dy > 0 else 'north'}")
    return ", ".join(parts) or "here"


def pot_state(pot: Any, cooking: str) -> str:
    """What a pot holds, in words."""
    n, tick = pot["onions"], pot["tick"]
    if tick >= COOK_TIME:
        return "soup ready" if n == 3 else f"worthless soup of {n} ready"
    if tick >= 0:
        return f"cooking, ready in {COOK_TIME - tick}"
    if n == 3:
        return "3 onions, not cooking yet"
    return "empty" if n == 0 else f"{n} of 3 onions"


def text(data: Any) -> str:
    """The text view: about 10 short lines; places as offsets from one's own cell."""
    k, me = layout(data["layout"]), data["players"][data["you"]]
    mate = data["players"][1 - data["you"]]
    here = me["at"]
    lines = [
        f"You (player {data['you']}) hold {spoken(me['held'])} and face {me['facing']}: {_faced(k, data, me)}.",
        f"Partner: {offset(here, mate['at'])}, holds {spoken(mate['held'])}, faces {mate['facing']}.",
    ]
    lines += [f"Pot {offset(here, p['at'])}: {pot_state(p, data['cooking'])}." for p in data["pots"]]
    for name, letter in _PLACES:
        places = [[x, y] for y, row in enumerate(data["rows"]) for x, c in enumerate(row) if c == letter]
        lines.append(f"{name}: {'; '.join(offset(here, p) for p in places)}.")
    if data["counters"]:
        lying = "; ".join(f"{spoken(c['item'])} {offset(here, c['at'])}" for c in data["counters"])
        lines.append(f"On counters: {lying}.")
    lines.append(f"Map (you at {here[0]},{here[1]}):\n{board(data)}")
    lines.append(f"Step {data['timestep']} of {data['horizon']}, score {data['score']}.")
    return "\n".join(lines)


def _faced(k: Any, data: Any, me: Any) -> str:
    """What stands before a player."""
    c = k.near[k.cell(me["at"])][_FACING[me["facing"]]]
    letter = data["rows"][c // k.width][c % k.width]
    if letter == "P":
        return "a pot"
    if letter == "X":
        item = next((t["item"] for t in data["counters"] if k.cell(t["at"]) == c), None)
        return f"a counter with {spoken(item)}" if item else "an empty counter"
    if letter == ".":
        return "your partner" if any(k.cell(p["at"]) == c for p in data["players"]) else "free floor"
    return {"O": "onions", "D": "dishes", "S": "the serving place"}[letter]


def board(data: Any) -> str:
    """The map: terrain letters, 0 and 1 for the players, o d s for things on counters."""
    grid = [list(r) for r in data["rows"]]
    for thing in data["counters"]:
        x, y = thing["at"]
        grid[y][x] = thing["item"][0]
    for i, p in enumerate(data["players"]):
        x, y = p["at"]
        grid[y][x] = str(i)
    return "\n".join("".join(r) for r in grid)
