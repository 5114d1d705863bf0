"""`Solver`: who wins a position of connect four (7 columns, 6 rows) with perfect play, and with which moves.

Alpha-beta on bit boards for the outcome alone (won, drawn, lost), with a table of bounds; moves that let the other win
at once are never tried, those that make most threats come first. The techniques are those of Tromp's and Pons's solvers
(John Tromp, "John's Connect Four Playground"; Pascal Pons, "Solving Connect Four: how to build a perfect AI"). Loops are
compiled where numba is installed (the extra `fast`); without it they are interpreted, a hundred times as slow.

A column has 7 bits, the lowest row first, the seventh always empty; `mine` holds the mover's stones, `full` all stones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from crossplay.kernel.fast import compiled, jit

__all__ = ["COLUMNS", "Solved", "mirrored", "place", "position", "solve", "table"]

COLUMNS, ROWS = 7, 6
BOTTOM = sum(1 << 7 * c for c in range(COLUMNS))
BOARD = BOTTOM * ((1 << ROWS) - 1)
ORDER = np.array([3, 2, 4, 1, 5, 0, 6], np.int64)  # from the middle outwards
LOWER, UPPER = 1, 2  # bounds in the table
TABLE_BITS = 22
MIRRORED = 14  # with fewer stones a position shares its entry with its mirror image


class Solved(NamedTuple):
    """value: 1 (the mover wins), 0 or -1. best: the columns that keep it, in order. nodes: positions visited.

    proven: whether the positions sufficed; if not, value is 0 and best holds all columns that are not full.
    """

    value: int
    best: tuple[int, ...]
    proven: bool
    nodes: int


@jit
def threats(mine: int, full: int) -> int:
    """The empty places that would complete four of `mine`."""
    found = (mine << 1) & (mine << 2) & (mine << 3)
    for step in (7, 6, 8):
        pair = (mine << step) & (mine << 2 * step)
        found |= pair & (mine << 3 * step)
        found |= pair & (mine >> step)
        pair = (mine >> step) & (mine >> 2 * step)
        found |= pair & (mine << step)
        found |= pair & (mine >> 3 * step)
    return found & (BOARD ^ full)


@jit
def count(bits: int) -> int:
    """How many bits are set."""
    n = 0
    while bits:
        bits &= bits - 1
        n += 1
    return n


@jit
def mirrored(bits: int) -> int:
    """The same stones, left and right exchanged."""
    found = 0
    for column in range(COLUMNS):
        found |= ((bits >> 7 * column) & 127) << 7 * (COLUMNS - 1 - column)
    return found


@jit
def safe(mine: int, full: int) -> int:
    """The places where the mover may play without letting the other win at once."""
    open_ = (full + BOTTOM) & BOARD
    danger = threats(full ^ mine, full)
    forced = open_ & danger
    if forced:
        if forced & (forced - 1):
            return 0
        open_ = forced
    return open_ & ~(danger >> 1)


@jit
def outcome(mine: int, full: int, low: int, high: int, keys: Any, bounds: Any, left: Any, stack: Any) -> int:
    """Where the value for the mover, who cannot win at once, lies: at most low, or at least high = low + 1.

    keys int64[2^k], bounds int8[2^k]: the table. left int64[1]: positions that may be visited; below 0: given up.
    stack int64[44, 16]: mine, full, low, high, best, next move, number of moves, moves, their order (7), key.
    """
    size = keys.shape[0]
    top = 0
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = mine, full, low, high
    stack[0, 6] = -1
    value = 0
    while True:
        frame = stack[top]
        entered = frame[6] < 0
        done = False
        if entered:
            left[0] -= 1
            if left[0] < 0:
                return 0
            mine, full, low, high = frame[0], frame[1], frame[2], frame[3]
            moves = safe(mine, full)
            stones = count(full)
            key = mine + full
            if stones < MIRRORED:
                key = min(key, mirrored(mine) + mirrored(full))
            frame[15] = key
            slot = key % size
            if moves == 0:
                value, done = -1 if stones < 42 else 0, True
            elif stones >= 40:
                value, done = 0, True
            elif keys[slot] == key:
                kept = bounds[slot]
                bound, at = kept & 3, (kept >> 2) - 1
                if bound == LOWER and at > low:
                    low = at
                elif bound == UPPER and at < high:
                    high = at
                if low >= high:
                    value, done = (low if bound == LOWER else high), True
                else:
                    frame[2], frame[3] = low, high
            if not done:
                # Insertion sort: most threats first, the middle first among equals.
                n = 0
                for k in range(COLUMNS):
                    move = moves & (((1 << ROWS) - 1) << 7 * ORDER[k])
                    if move:
                        score = count(threats(mine | move, full | move))
                        at = n
                        while at > 0 and (frame[8 + at - 1] & 63) < score:
                            frame[8 + at] = frame[8 + at - 1]
                            at -= 1
                        frame[8 + at] = (ORDER[k] << 6) | score
                        n += 1
                frame[4], frame[5], frame[6], frame[7] = -2, 0, n, moves
        if not done:
            if frame[4] >= frame[3] or frame[5] >= frame[6]:
                value, done = frame[4], True
                slot = frame[15] % size
                keys[slot] = frame[15]
                bounds[slot] = ((value + 1) << 2) | (LOWER if value >= frame[3] else UPPER)
            else:
                column = frame[8 + frame[5]] >> 6
                move = frame[7] & (((1 << ROWS) - 1) << 7 * column)
                frame[5] += 1
                child = stack[top + 1]
                child[0], child[1] = frame[0] ^ frame[1], frame[1] | move
                child[2], child[3], child[6] = -frame[3], -max(frame[2], frame[4]), -1
                top += 1
                continue
        if top == 0:
            return value
        top -= 1
        if -value > stack[top, 4]:
            stack[top, 4] = -value


def position(columns: Sequence[int]) -> tuple[int, int]:
    """(mine, full) after these moves, for who moves next."""
    mine = full = 0
    for column in columns:
        mine, full = mine ^ full, full | (full + (1 << 7 * column))
    return mine, full


def table(bits: int) -> tuple[np.ndarray, np.ndarray]:
    """An empty table of about 2 to the power `bits` entries of 9 bytes (an odd number, which spreads them)."""
    return np.zeros((1 << bits) - 3, np.int64), np.zeros((1 << bits) - 3, np.int8)


def solve(mine: int, full: int, nodes: int, *, all_best: bool = True, target: int = -1, known: Any = None) -> Solved:
    """The outcome of a position of a game that is not over.

    nodes: positions that may be visited in all. all_best: also find the other moves that are as good as the first.
    target: an outcome below it need not be found out: it is reported as the next lower.
    known: a `table` to go on with; by default a new one, so that what is found depends on the position alone.
    """
    free = [c for c in range(COLUMNS) if place(full, c)]
    wins = tuple(c for c in free if place(full, c) & threats(mine, full))
    if wins:
        return Solved(1, wins, True, 0)
    keys, bounds = known or table(TABLE_BITS if compiled() else 16)
    left, stack = np.array([nodes], np.int64), np.zeros((44, 16), np.int64)
    value, best = -1, list[int]()
    for column in sorted(free, key=lambda c: abs(c - 3)):
        theirs, then = mine ^ full, full | place(full, column)
        found = max(value - 1, target - 1, -1)  # worse than the best so far
        if not threats(theirs, then) & (then + BOTTOM) & BOARD:
            for at_least in range(max(value, target, 0), 2):  # as good, or better?
                if -outcome(theirs, then, -at_least, 1 - at_least, keys, bounds, left, stack) < at_least:
                    break
                found = at_least
        if left[0] < 0:
            return Solved(0, tuple(free), False, nodes)
        if found > value or not best:
            value, best = found, [column]
        elif found == value:
            best.append(column)
        if value == 1 and not all_best:
            break
    return Solved(value, tuple(sorted(best)), True, nodes - int(left[0]))


def place(full: int, column: int) -> int:
    """The place where a stone comes to lie in a column; 0 where it is full."""
    return (full + (1 << 7 * column)) & BOARD & (63 << 7 * column)
