"""Pictures of the pitch: the field for spectators, and the image views of seats."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.envs.pitch.games import Game
from crossplay.envs.pitch.words import Facts, facts

__all__ = ["TILE", "field_picture", "seat_picture"]

TILE = 24  # pixels of a cell
# Hues that stay apart for colour-blind readers: left green, right blue, third purple, ball orange.
TEAM = ((0, 140, 104), (0, 96, 170), (170, 80, 140))
BALL = (230, 120, 0)
GRASS = ((226, 236, 218), (216, 229, 207))
WALL, DARK, INK = (92, 92, 92), (48, 48, 52), (255, 255, 255)

Shown = tuple[int, int, int, int, bool]


@functools.cache
def _shapes() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Masks of one tile: an arrow per facing, a disc, a small disc."""
    v, u = np.mgrid[0:TILE, 0:TILE]
    u, v = (u + 0.5) / TILE - 0.5, (v + 0.5) / TILE - 0.5
    right = (u < 0.4) & (u > -0.36) & (abs(v) < 0.40 * (0.42 - u) / 0.78)
    arrows = [np.rot90(right, -k) for k in range(4)]
    return arrows, u**2 + v**2 < 0.3**2, u**2 + v**2 < 0.15**2


def _paint(canvas: np.ndarray, col: int, row: int, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    canvas[row * TILE : (row + 1) * TILE, col * TILE : (col + 1) * TILE][mask] = colour


def _ground(game: Game, x: int, y: int) -> tuple[int, int, int]:
    if not (0 < x < game.width - 1 and 0 < y < game.height - 1):
        return WALL
    for side, cells in enumerate(game.goals):
        if (x, y) in cells:
            return tuple((2 * 255 + c) // 3 - 20 for c in TEAM[side])  # type: ignore[return-value]
    return GRASS[(x + y) % 2]


def _canvas(width: int, height: int) -> np.ndarray:
    return np.full((height * TILE, width * TILE, 3), DARK, np.uint8)


def field_picture(
    game: Game,
    agents: Sequence[Shown],
    balls: Sequence[tuple[int, int]],
    known: np.ndarray | None = None,
    me: tuple[int, int] | None = None,
) -> np.ndarray:
    """uint8[height * TILE, width * TILE, 3].

    agents: (x, y, facing, team, carries), arrows; a carrier bears the ball's disc. known: bool[width,
    height], other cells are dark. me: a cell to frame in white.
    """
    full = np.ones((TILE, TILE), bool)
    arrows, disc, dot = _shapes()
    canvas = _canvas(game.width, game.height)
    for x in range(game.width):
        for y in range(game.height):
            if known is None or known[x, y]:
                _paint(canvas, x, y, full, _ground(game, x, y))
    for x, y in balls:
        _paint(canvas, x, y, disc, BALL)
    for x, y, face, side, carries in agents:
        _paint(canvas, x, y, arrows[face], TEAM[side])
        if carries:
            _paint(canvas, x, y, dot, BALL)
    if me is not None:
        frame = full.copy()
        frame[2:-2, 2:-2] = False
        _paint(canvas, *me, frame, INK)
    return canvas


def _known(env: Any, f: Facts) -> np.ndarray:
    """bool[width, height]: the cells that some member of the team sees."""
    known = np.zeros((f.game.width, f.game.height), bool)
    v = env.view_size
    team = [(f.x, f.y, f.face), *((p.x, p.y, p.face) for p in f.people if p.mate)]
    for x, y, face in team:
        fx, fy = ((1, 0), (0, 1), (-1, 0), (0, -1))[face]
        corners = [(x + a * fx - r * fy, y + a * fy + r * fx) for a in (0, v - 1) for r in (-(v // 2), v // 2)]
        low = [max(0, min(c[k] for c in corners)) for k in (0, 1)]
        high = [max(c[k] for c in corners) + 1 for k in (0, 1)]
        known[low[0] : high[0], low[1] : high[1]] = True
    return known


def seat_picture(env: Any, data: Mapping[str, Any]) -> np.ndarray:
    """The image view: see `PitchBatch.view_image`."""
    f = facts(data)
    g = f.game
    if data["observe"] != "own":
        agents = [(f.x, f.y, f.face, f.side, f.carries)]
        agents += [(p.x, p.y, p.face, g.side[g.seats.index(p.seat)], p.carries) for p in f.people]
        known = None if data["observe"] == "full" else _known(env, f)
        return field_picture(g, agents, f.balls, known, (f.x, f.y))
    return _own_picture(g, np.asarray(data["image"]), data, env.colours, f.side)


def _own_picture(
    game: Game, image: np.ndarray, data: Mapping[str, Any], colours: Sequence[int], side: int
) -> np.ndarray:
    """The view drawn cell by cell, far row at the top; the agent itself at the bottom, facing up."""
    arrows, disc, dot = _shapes()
    full = np.ones((TILE, TILE), bool)
    v = len(image)
    canvas = _canvas(v, v)
    for col in range(v):
        for row in range(v):
            kind, tint, state = image[col, row].tolist()
            if kind == 0:
                continue
            ground = WALL if kind == 2 else GRASS[(col + row) % 2]
            if kind in (11, 13):
                ground = tuple((2 * 255 + c) // 3 - 20 for c in TEAM[tint - 1])  # type: ignore[assignment]
            _paint(canvas, col, row, full, ground)
            if kind == 6 and (col, row) != (v // 2, v - 1):
                _paint(canvas, col, row, disc, BALL)
            if kind == 10:
                _paint(canvas, col, row, arrows[(state - data["facing"] + 3) % 4], TEAM[colours.index(tint)])
                if state >= 100:
                    _paint(canvas, col, row, dot, BALL)
    _paint(canvas, v // 2, v - 1, arrows[3], TEAM[side])
    if data["carrying"]:
        _paint(canvas, v // 2, v - 1, dot, BALL)
    return canvas
