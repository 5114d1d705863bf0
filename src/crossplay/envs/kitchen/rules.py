"""The rules as loops over rows: one step, and the lossless features.

Every function runs compiled or interpreted with the same result (`crossplay.kernel.fast`).
Source of the rules: overcooked-ai 1.1.0; the default way cooking starts is that of its
predecessor, under which the published experiments and human games were played.
"""

from __future__ import annotations

from typing import Any

from crossplay.kernel.fast import jit

__all__ = ["CHANNELS", "COOK_TIME", "COUNTS", "DISH", "NOTHING", "ONION", "SOUP", "VALUE", "features", "transition"]

NOTHING, ONION, DISH, SOUP = 0, 1, 2, 2
"""What is held or lies on a counter; a soup of n onions (1..3) has the code SOUP + n."""

COOK_TIME = 20
"""Steps from the start of cooking to a ready soup, the starting step included."""
VALUE = 20.0
"""Reward of both seats for a delivered soup of three onions."""
CHANNELS = 26
"""Channels of the lossless features; see `features`."""

COUNTS = ("onions", "dishes", "potted", "soups_taken", "delivered", "paid", "put_down", "picked_up")
"""Events counted per seat: taken from a dispenser (onions, dishes), put into a pot, soups taken from
a pot, soups delivered, those of them that an order paid, items put on and taken from counters."""

_ONIONS, _DISHES, _POTTED, _TAKEN, _DELIVERED, _PAID, _PUT, _PICKED = range(8)
_INTERACT = 5
_FLOOR, _COUNTER, _SOURCE_O, _SOURCE_D, _SERVING, _POT = range(6)


@jit
def ahead(at: int, facing: int, width: int) -> int:
    """The cell that is faced from `at` (0 north, 1 south, 2 east, 3 west)."""
    if facing == 0:
        return at - width
    if facing == 1:
        return at + width
    if facing == 2:
        return at + 1
    return at - 1


@jit
def wanted(b: int, pot: Any, tick: Any) -> int:
    """How many pots a dish could serve: ready, cooking, or idle with one or two onions."""
    n = 0
    for p in range(pot.shape[1]):
        if tick[b, p] >= 0 or pot[b, p] == 1 or pot[b, p] == 2:
            n += 1
    return n


@jit
def dish_useful(b: int, held: Any, cell: Any, pots_wanting: int) -> bool:
    """Whether taking a dish is paid by shaping: none lies about, and fewer in hands than pots want."""
    hands = 0
    for i in range(2):
        if held[b, i] == DISH:
            hands += 1
    if hands >= pots_wanting:
        return False
    for c in range(cell.shape[1]):  # noqa: SIM110 (generators do not compile)
        if cell[b, c] == DISH:
            return False
    return True


@jit
def interact(
    b: int, i: int, place: int, kind: int, held: Any, cell: Any, pot: Any, tick: Any, shaped: Any, count: Any,
    pots_wanting: int, auto: bool,
) -> int:  # fmt: skip
    """Seat i of row b uses the faced cell; 1 if a soup was delivered that an order pays, else 0."""
    hand = int(held[b, i])
    if kind == _COUNTER:
        item = int(cell[b, place])
        if hand != NOTHING and item == NOTHING:
            cell[b, place] = hand
            held[b, i] = NOTHING
            count[b, i, _PUT] += 1
        elif hand == NOTHING and item != NOTHING:
            held[b, i] = item
            cell[b, place] = NOTHING
            count[b, i, _PICKED] += 1
    elif kind == _SOURCE_O:
        if hand == NOTHING:
            held[b, i] = ONION
            count[b, i, _ONIONS] += 1
    elif kind == _SOURCE_D:
        if hand == NOTHING:
            if dish_useful(b, held, cell, pots_wanting):
                shaped[b, i] += 3
            held[b, i] = DISH
            count[b, i, _DISHES] += 1
    elif kind == _SERVING:
        if hand > SOUP:
            held[b, i] = NOTHING
            count[b, i, _DELIVERED] += 1
            if hand == SOUP + 3:
                count[b, i, _PAID] += 1
                return 1
    elif kind >= _POT:
        p = kind - _POT
        content, time = int(pot[b, p]), int(tick[b, p])
        if hand == ONION and time < 0 and content < 3:
            held[b, i] = NOTHING
            pot[b, p] = content + 1
            shaped[b, i] += 3
            count[b, i, _POTTED] += 1
            if auto and content == 2:
                tick[b, p] = 0
        elif hand == DISH and time >= COOK_TIME:
            held[b, i] = SOUP + content
            pot[b, p] = 0
            tick[b, p] = -1
            shaped[b, i] += 5
            count[b, i, _TAKEN] += 1
        elif hand == NOTHING and time < 0 and content > 0 and not auto:
            tick[b, p] = 0
    return 0


@jit
def transition(
    actions: Any, pos: Any, facing: Any, held: Any, cell: Any, pot: Any, tick: Any, clock: Any, shaped: Any,
    count: Any, kind: Any, width: int, auto: bool, horizon: int, rewards: Any, ended: Any,
) -> None:  # fmt: skip
    """One step of every row, in place: interacts (seat 0 first), movement, then time.

    actions int[B, 2]; kind int8[cells]; rewards float64[B, 2] and ended uint8[B] are written.
    """
    for b in range(actions.shape[0]):
        paid = 0
        shaped[b, 0] = 0
        shaped[b, 1] = 0
        if actions[b, 0] == _INTERACT or actions[b, 1] == _INTERACT:
            pots_wanting = wanted(b, pot, tick)  # as it was before both interacts
            for i in range(2):
                if actions[b, i] == _INTERACT:
                    place = ahead(int(pos[b, i]), int(facing[b, i]), width)
                    paid += interact(
                        b, i, place, int(kind[place]), held, cell, pot, tick, shaped, count, pots_wanting, auto
                    )
        old0, old1 = int(pos[b, 0]), int(pos[b, 1])
        new0, new1 = old0, old1
        if actions[b, 0] < 4:
            facing[b, 0] = actions[b, 0]
            to = ahead(old0, int(actions[b, 0]), width)
            if kind[to] == _FLOOR:
                new0 = to
        if actions[b, 1] < 4:
            facing[b, 1] = actions[b, 1]
            to = ahead(old1, int(actions[b, 1]), width)
            if kind[to] == _FLOOR:
                new1 = to
        if new0 != new1 and not (new0 == old1 and new1 == old0):
            pos[b, 0] = new0
            pos[b, 1] = new1
        for p in range(pot.shape[1]):
            if 0 <= tick[b, p] < COOK_TIME:
                tick[b, p] += 1
        clock[b, 0] += 1
        rewards[b, 0] = VALUE * paid
        rewards[b, 1] = VALUE * paid
        ended[b] = 2 if clock[b, 0] >= horizon else 0


@jit
def put(out: Any, k: int, x: int, y: int, item: int) -> None:
    """Write an item (held or lying) into the channels of a cell."""
    if item == ONION:
        out[k, x, y, 23] = 1
    elif item == DISH:
        out[k, x, y, 22] = 1
    elif item > SOUP:
        out[k, x, y, 18] = item - SOUP
        out[k, x, y, 21] = 1


@jit
def features(
    rows: Any, me: int, pos: Any, facing: Any, held: Any, cell: Any, pot: Any, tick: Any, clock: Any, pots: Any,
    width: int, horizon: int, out: Any,
) -> None:  # fmt: skip
    """The lossless features of seat `me` for the given rows into out int8[k, W, H, 26].

    out holds the terrain channels already; pots int64[P] are the cells of the pots.
    """
    for k in range(rows.shape[0]):
        b = rows[k]
        for j in range(2):
            i = me if j == 0 else 1 - me
            x, y = int(pos[b, i]) % width, int(pos[b, i]) // width
            out[k, x, y, j] = 1
            out[k, x, y, 2 + 4 * j + int(facing[b, i])] = 1
            put(out, k, x, y, int(held[b, i]))
        for c in range(cell.shape[1]):
            if cell[b, c] != NOTHING:
                put(out, k, c % width, c // width, int(cell[b, c]))
        for p in range(pots.shape[0]):
            x, y = int(pots[p]) % width, int(pots[p]) // width
            if tick[b, p] < 0:
                out[k, x, y, 16] = pot[b, p]
            else:
                out[k, x, y, 18] = pot[b, p]
                out[k, x, y, 20] = COOK_TIME - int(tick[b, p])
                out[k, x, y, 21] = 1 if tick[b, p] >= COOK_TIME else 0
        if horizon - int(clock[b, 0]) < 40:
            for x in range(out.shape[1]):
                for y in range(out.shape[2]):
                    out[k, x, y, 25] = 1
