"""The fields, teams and constants of the pitch games, by name (`soccer-2v2`, `collect-solo`, ...).

Coordinates are (x, y), origin at the top left, y downward; the outermost ring of cells is wall.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

import numpy as np

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["ACTIONS", "FACES", "FLOOR", "LEFT_GOAL", "RIGHT_GOAL", "WALL", "Game", "game_names", "parse_game"]

ACTIONS = ("noop", "left", "right", "forward", "pickup", "drop", "toggle", "done")
FACES = ("right", "down", "left", "up")
FLOOR, WALL, LEFT_GOAL, RIGHT_GOAL = 0, 1, 2, 3  # codes of `Game.ground`
MOST = 6  # agents a side


class Sport(NamedTuple):
    """What all sizes of a game share."""

    kind: int  # 0 soccer, 1 basketball, 2 American football, 3 collect
    width: int
    height: int
    rows: tuple[int, ...]  # rows of the goal cells, in columns 1 and width - 2
    horizon: int
    ball_colour: int
    goal_type: int  # code of a goal cell in images of the original
    first_team: int  # colour of the left team in the original


SPORTS = {
    "soccer": Sport(0, 16, 11, (4, 5, 6), 256, 0, 11, 1),
    "basketball": Sport(1, 19, 11, (5,), 256, 0, 11, 1),
    "football": Sport(2, 16, 11, tuple(range(1, 10)), 300, 5, 13, 0),
    "collect": Sport(3, 10, 10, (), 300, 0, 0, 1),
}
COLLECT = {"1v1": ((1, 1), 3, 200), "2v2": ((2, 2), 7, 400), "solo": ((1, 1, 1), 5, 300)}
"""Size -> (agents per team, balls, ticks)."""


class Game(NamedTuple):
    """One game: a sport and its teams."""

    name: str
    sport: str
    kind: int
    width: int
    height: int
    teams: tuple[int, ...]  # agents per team
    side: tuple[int, ...]  # team of each seat: 0 left, 1 right, 2 third
    seats: tuple[str, ...]
    balls: int
    horizon: int
    ball_colour: int
    goal_type: int
    first_team: int
    goals: tuple[tuple[tuple[int, int], ...], ...]  # goal cells that each team defends
    target: tuple[tuple[int, int], ...]  # the cell that each team's shaping points at

    @property
    def collect(self) -> bool:
        """Whether it is played for balls instead of goals."""
        return self.kind == 3

    @property
    def cooperative(self) -> bool:
        """Whether there is but one team."""
        return sum(n > 0 for n in self.teams) == 1

    def ground(self) -> np.ndarray:
        """uint8[width, height]: FLOOR, WALL, LEFT_GOAL or RIGHT_GOAL."""
        ground = np.full((self.width, self.height), WALL, np.uint8)
        ground[1:-1, 1:-1] = FLOOR
        for code, cells in zip((LEFT_GOAL, RIGHT_GOAL), self.goals, strict=False):
            for x, y in cells:
                ground[x, y] = code
        return ground

    def attacks(self, side: int) -> tuple[tuple[int, int], ...]:
        """The goal cells on which a team scores."""
        return self.goals[1 - side] if self.goals else ()


def game_names() -> tuple[str, ...]:
    """The published sizes: alone, cooperative, even and uneven, of every sport, and collect."""
    alone = ["1v0", "0v1"]
    together = [f"{n}v0" for n in range(2, 7)] + [f"0v{n}" for n in range(2, 7)]
    even = [f"{n}v{n}" for n in range(1, 5)]
    uneven = ["1v2", "2v1", "1v3", "3v1", "1v4", "4v1", "2v3", "3v2", "2v4", "4v2"]
    sizes = even + uneven + alone + together
    balls = [f"{sport}-{size}" for sport in ("soccer", "basketball", "football") for size in sizes]
    return (*balls, *(f"collect-{size}" for size in COLLECT))


@functools.cache
def parse_game(name: str) -> Game:
    """The game of that name; any size up to 6v6 is played. Raises `CrossplayError`."""
    sport_name, _, size = name.partition("-")
    sport = SPORTS.get(sport_name)
    if sport is None:
        raise CrossplayError(f'pitch: unknown game "{name}".{nearest(name, game_names())}')
    if sport.kind == 3:
        if size not in COLLECT:
            raise CrossplayError(f'pitch: unknown game "{name}".{nearest(name, [f"collect-{s}" for s in COLLECT])}')
        teams, balls, horizon = COLLECT[size]
        goals: tuple[tuple[tuple[int, int], ...], ...] = ()
        target = tuple((0, 0) for _ in teams)
    else:
        match = re.fullmatch(r"(\d)v(\d)", size)
        teams = (int(match[1]), int(match[2])) if match else ()
        if not teams or not sum(teams) >= 1 or max(teams) > MOST:
            raise CrossplayError(
                f'pitch: unknown game "{name}": sizes go from 1v0 and 0v1 to {MOST}v{MOST}.{nearest(name, game_names())}'
            )
        balls, horizon = 1, sport.horizon
        far = sport.width - 2
        goals = (tuple((1, y) for y in sport.rows), tuple((far, y) for y in sport.rows))
        target = ((far, 5), (1, 5))
    side = tuple(s for s, n in enumerate(teams) for _ in range(n))
    if len(teams) == 3:
        seats = tuple(f"solo{i}" for i in range(3))
    else:
        seats = tuple(f"{('left', 'right')[s]}{i}" for s, n in enumerate(teams) for i in range(n))
    return Game(
        name,
        sport_name,
        sport.kind,
        sport.width,
        sport.height,
        teams,
        side,
        seats,
        balls,
        horizon,
        sport.ball_colour,
        sport.goal_type,
        sport.first_team,
        goals,
        target,
    )
