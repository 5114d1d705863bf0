"""Mazes: how one is drawn, who sees which cell, distances, and how far a walk is valid.

Cells are (row, column) from 0 at the top left. Everything is drawn at addresses of the episode's key.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from crossplay.kernel.seeds import key64, permutation, pick, uniform
from crossplay.kernel.types import CrossplayError

__all__ = [
    "HIDDEN",
    "MOVES",
    "OPEN",
    "STEPS",
    "WALL",
    "Cell",
    "Maze",
    "Walk",
    "distances",
    "draw_maze",
    "step",
    "valid_walk",
]

Cell = tuple[int, int]
MOVES = ("up", "down", "left", "right")
STEPS: dict[str, Cell] = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
HIDDEN, OPEN, WALL = -1, 0, 1
_TRIES = 20_000
_MASK = 1 << 30  # the counter of the masks; those of the tries are below it


class Maze(NamedTuple):
    """walls: bool[n, n]; start and goal: open cells; length: of the shortest path; hidden: bool[2, n, n],
    what the first and the second seat cannot see (no cell is hidden from both).
    """

    walls: np.ndarray
    start: Cell
    goal: Cell
    length: int
    hidden: np.ndarray


class Walk(NamedTuple):
    """How far a list of moves is valid. at: the last valid cell; valid: moves made; broken: whether the next one was not."""

    at: Cell
    valid: int
    broken: bool


def distances(walls: np.ndarray, source: Cell) -> np.ndarray:
    """int[n, n]: steps from source over open cells (breadth first), -1 where there is no way."""
    n = len(walls)
    far = np.full((n, n), -1, np.int64)
    far[source] = 0
    queue = deque([source])
    while queue:
        r, c = queue.popleft()
        for dr, dc in STEPS.values():
            a, b = r + dr, c + dc
            if 0 <= a < n and 0 <= b < n and not walls[a, b] and far[a, b] < 0:
                far[a, b] = far[r, c] + 1
                queue.append((a, b))
    return far


def draw_maze(key: bytes, size: int, density: float, shortest: int, longest: int) -> Maze:
    """The first drawn maze whose shortest path has shortest..longest steps.

    Each cell is a wall with chance `density`; start and goal are two different open cells. Start and goal
    are seen by both; half of the other cells are hidden from the first seat, the rest from the second.
    Raises CrossplayError when so many draws give none.
    """
    k = np.array([key64(key)], np.uint64)
    for attempt in range(_TRIES):
        walls = (uniform(k, attempt, np.arange(size * size)) < density).reshape(size, size)
        free = np.argwhere(~walls)
        if len(free) < 2:
            continue
        i = pick(key, len(free), attempt, size * size)
        j = pick(key, len(free) - 1, attempt, size * size + 1)
        start, goal = (_cell(free[x]) for x in (i, j + (j >= i)))
        length = int(distances(walls, start)[goal])
        if shortest <= length <= longest:
            return Maze(walls, start, goal, length, _masks(key, size, start, goal))
    raise CrossplayError(
        f"maze: {_TRIES} draws of size {size} and density {density:g} gave no shortest path of {shortest} to {longest} steps"
    )


def valid_walk(walls: np.ndarray, start: Cell, moves: Sequence[str]) -> Walk:
    """Follow the moves until one of them would enter a wall or leave the grid."""
    n, (r, c) = len(walls), start
    for count, move in enumerate(moves):
        a, b = r + STEPS[move][0], c + STEPS[move][1]
        if not (0 <= a < n and 0 <= b < n) or walls[a, b]:
            return Walk((r, c), count, True)
        r, c = a, b
    return Walk((r, c), len(moves), False)


def step(cell: Sequence[int], move: str) -> Cell:
    """The cell that a move leads to, inside the grid or not."""
    return int(cell[0]) + STEPS[move][0], int(cell[1]) + STEPS[move][1]


def _masks(key: bytes, size: int, start: Cell, goal: Cell) -> np.ndarray:
    hidden = np.zeros((2, size * size), bool)
    kept = {start[0] * size + start[1], goal[0] * size + goal[1]}
    order = [i for i in permutation(key, size * size, _MASK) if i not in kept]
    hidden[0, order[: len(order) // 2]] = True
    hidden[1, order[len(order) // 2 :]] = True
    return hidden.reshape(2, size, size)


def _cell(pair: np.ndarray) -> Cell:
    return int(pair[0]), int(pair[1])
