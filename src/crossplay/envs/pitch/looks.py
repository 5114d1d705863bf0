"""What seats see, as arrays: images as in the original, binary planes of them, and plain features.

Loops over rows (compiled where numba is installed), on top of tables of the empty field made once
per game. An image is uint8[v, v, 3] of (type, colour, state): the first axis runs from left to
right as the agent faces, the second from far (0) to near (v - 1); the agent stands at
(v // 2, v - 1). In a field without inner walls a cell is visible exactly if it lies in the view
and on the grid.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from crossplay.envs.pitch.games import LEFT_GOAL, RIGHT_GOAL, WALL, Game
from crossplay.kernel.fast import jit

__all__ = [
    "EXTRAS",
    "PLANES",
    "feature_count",
    "features",
    "images",
    "plane_extras",
    "planes",
    "planes_of",
    "sight",
    "static_images",
]

EMPTY, AGENT, BALL = 1, 10, 6  # codes of the first channel; 0 is unseen, 2 wall
CARRIES = 100  # added to the state of an agent that carries the ball
GREY = 5

PLANES = (
    "seen",
    "wall",
    "own goal",
    "other goal",
    "ball",
    "mate",
    "opponent",
    "carries",
    "faces as I do",
    "faces to my right",
    "faces me",
    "faces to my left",
)
BARS = 8  # bits of a thermometer: goals own, goals other, time left
EXTRAS = 4 + 2 + 3 * BARS  # facing, carrying, cooling down, thermometers; then column and row
_DX = np.array([1, 0, -1, 0])
_DY = np.array([0, 1, 0, -1])


def team_colours(game: Game, reference: bool) -> tuple[int, ...]:
    """Colour of each team's agents in images: green, blue, purple; in reference mode the original's."""
    first = game.first_team if reference else 1
    return tuple(first + s for s in range(len(game.teams)))


@functools.lru_cache(maxsize=16)
def static_images(game: Game, view: int) -> np.ndarray:
    """uint8[width * height * 4, view, view, 3]: the field without balls and agents, seen from (x, y, facing)."""
    ground = game.ground()
    codes = np.zeros((*ground.shape, 3), np.uint8)
    codes[..., 0] = EMPTY
    codes[ground == WALL] = (2, GREY, 0)
    codes[ground == LEFT_GOAL] = (game.goal_type, 1, 0)
    codes[ground == RIGHT_GOAL] = (game.goal_type, 2, 0)
    ahead = np.arange(view)[::-1][None, :]
    right = np.arange(view)[:, None] - view // 2
    out = np.zeros((game.width, game.height, 4, view, view, 3), np.uint8)
    for face in range(4):
        fx, fy = int(_DX[face]), int(_DY[face])
        dx, dy = fx * ahead - fy * right, fy * ahead + fx * right
        for x in range(game.width):
            for y in range(game.height):
                cx, cy = x + dx, y + dy
                inside = (cx >= 0) & (cx < game.width) & (cy >= 0) & (cy < game.height)
                out[x, y, face][inside] = codes[cx[inside], cy[inside]]
    out[..., view // 2, view - 1, :] = (EMPTY, 0, 0)
    out.flags.writeable = False
    return out.reshape(-1, view, view, 3)


def planes_of(image: np.ndarray, colour: int, side: int, face: Any) -> np.ndarray:
    """uint8[..., v, v, PLANES], zeros and ones: the planes of images uint8[..., v, v, 3].

    colour, side: of the viewer's team; face: its facing (an integer, or an array [...]).
    """
    kind, tint, state = image[..., 0], image[..., 1], image[..., 2].astype(np.int64)
    agent = kind == AGENT
    goal = (kind == 11) | (kind == 13)
    out = np.empty((*kind.shape, len(PLANES)), np.uint8)
    out[..., 0] = kind != 0
    out[..., 1] = kind == 2
    out[..., 2] = goal & (tint == 1 + side)
    out[..., 3] = goal & (tint == 2 - side)
    out[..., 4] = kind == BALL
    out[..., 5] = agent & (tint == colour)
    out[..., 6] = agent & (tint != colour)
    out[..., 7] = agent & (state >= CARRIES)
    turned = (state - np.asarray(face)[..., None, None]) % 4  # CARRIES is a multiple of 4
    for k in range(4):
        out[..., 8 + k] = agent & (turned == k)
    return out


@jit
def copy(table: Any, line: int, out: Any, r: int, size: int) -> None:
    """The first `size` entries of a line of the table into row r."""
    if line >= 0 and r >= 0:  # spares the compiler the test for negative indices
        for k in range(size):
            out[r, k] = table[line, k]


@jit
def place(dx: int, dy: int, fx: int, fy: int, half: int, v: int) -> int:
    """The cell of a view (first axis times v plus second) in which an offset lies, or -1."""
    ahead, right = dx * fx + dy * fy, dy * fx - dx * fy
    if 0 <= ahead < v and -half <= right <= half:
        return (right + half) * v + v - 1 - ahead
    return -1


@jit
def images(
    table: Any,
    conf: Any,
    hues: Any,
    i: int,
    rows: Any,
    x: Any,
    y: Any,
    face: Any,
    carrier: Any,
    bx: Any,
    by: Any,
    stale: Any,
    gone: Any,
    out: Any,
) -> None:
    """Images of seat i into out uint8[k, v * v * 3]. hues[0..N-1]: agents' colours, [N]: the ball's.

    table: `static_images`, its images as lines.
    """
    n, v = conf[3], conf[10]
    half = v // 2
    size = table.shape[1]
    for r in range(rows.shape[0]):
        b = rows[r]
        ax, ay, d = np.int64(x[b, i]), np.int64(y[b, i]), np.int64(face[b, i])
        copy(table, (ax * conf[2] + ay) * 4 + d, out, r, size)
        fx, fy = _DX[d], _DY[d]
        holder = np.int64(stale[b]) if stale[b] > 0 else np.int64(carrier[b])
        if stale[b] == 0:
            for k in range(conf[4]):
                if bx[b, k] > 0:
                    at = place(bx[b, k] - ax, by[b, k] - ay, fx, fy, half, v) * 3
                    if at >= 0:
                        out[r, at], out[r, at + 1], out[r, at + 2] = 6, hues[n], 0
        if n > 1 and gone[b] == 0:
            for j in range(n):
                at = place(x[b, j] - ax, y[b, j] - ay, fx, fy, half, v) * 3
                if at >= 0:
                    out[r, at], out[r, at + 1] = 10, hues[j]
                    out[r, at + 2] = face[b, j] + (100 if holder == j + 1 else 0)
        at = (half * v + v - 1) * 3
        out[r, at] = 6 if holder == i + 1 else 1
        out[r, at + 1] = hues[n] if holder == i + 1 else 0
        out[r, at + 2] = 0


@jit
def planes(
    table: Any,
    conf: Any,
    hues: Any,
    i: int,
    rows: Any,
    x: Any,
    y: Any,
    face: Any,
    carrier: Any,
    bx: Any,
    by: Any,
    stale: Any,
    gone: Any,
    out: Any,
) -> None:
    """`planes_of` the images of seat i into out uint8[k, size], drawn on the lines of `static_planes`."""
    n, v = conf[3], conf[10]
    half, count = v // 2, 12
    size = table.shape[1]
    for r in range(rows.shape[0]):
        b = rows[r]
        ax, ay, d = np.int64(x[b, i]), np.int64(y[b, i]), np.int64(face[b, i])
        copy(table, (ax * conf[2] + ay) * 4 + d, out, r, size)
        fx, fy = _DX[d], _DY[d]
        holder = np.int64(stale[b]) if stale[b] > 0 else np.int64(carrier[b])
        if stale[b] == 0:
            for k in range(conf[4]):
                if bx[b, k] > 0:
                    at = place(bx[b, k] - ax, by[b, k] - ay, fx, fy, half, v) * count
                    if at >= 0:
                        out[r, at + 4] = 1
        if n > 1 and gone[b] == 0:
            for j in range(n):
                at = place(x[b, j] - ax, y[b, j] - ay, fx, fy, half, v) * count
                if at >= 0:
                    for k in range(1, count):
                        out[r, at + k] = 0
                    out[r, at + (5 if hues[j] == hues[i] else 6)] = 1
                    if holder == j + 1:
                        out[r, at + 7] = 1
                    out[r, at + 8 + (face[b, j] - d + 4) % 4] = 1
        at = (half * v + v - 1) * count
        for k in range(1, count):
            out[r, at + k] = 0
        if holder == i + 1:
            out[r, at + 4] = 1


@functools.lru_cache(maxsize=16)
def static_planes(game: Game, view: int, colour: int, side: int, turn: int) -> np.ndarray:
    """uint8[width * height * 4, size]: planes and extras of the empty field from (x, y, facing), as lines.

    turn: 1 gives facing, column and row in a field rotated by half a turn.
    """
    empty = static_images(game, view)
    at = np.arange(len(empty))
    x, y, face = at // 4 // game.height, at // 4 % game.height, at % 4
    if turn:
        x, y = game.width - 1 - x, game.height - 1 - y
    extras = np.zeros((len(empty), EXTRAS + game.width + game.height), np.uint8)
    extras[at, (face + 2 * turn) % 4] = 1
    extras[at, EXTRAS + x] = 1
    extras[at, EXTRAS + game.width + y] = 1
    lines = planes_of(empty, colour, side, at % 4).reshape(len(empty), -1)
    table = np.ascontiguousarray(np.concatenate([lines, extras], axis=1))
    table.flags.writeable = False
    return table


@jit
def plane_extras(
    conf: Any, i: int, side: int, rows: Any, cool: Any, holds: Any, goals: Any, t: Any, at: int, out: Any
) -> None:
    """Bits that change in place, from column `at` of out: facing 4, then carrying, cooling down, goals own 8,
    goals other 8, time left 8; then column W and row H. out holds the line of `static_planes`.

    holds uint8[B]: whether the seat is shown with the ball.
    """
    for r in range(rows.shape[0]):
        b = rows[r]
        out[r, at + 4] = holds[b]
        out[r, at + 5] = 1 if cool[b, i] > 1 else 0
        own, other = np.int64(goals[b, side]), np.int64(0)
        for s in range(goals.shape[1]):
            if s != side:
                other += goals[b, s]
        left = ((conf[5] - t[b]) * 8 + conf[5] - 1) // conf[5]
        for k in range(min(8, own)):
            out[r, at + 6 + k] = 1
        for k in range(min(8, other)):
            out[r, at + 14 + k] = 1
        for k in range(left):
            out[r, at + 22 + k] = 1


@jit
def sight(
    conf: Any,
    side: Any,
    i: int,
    view: int,
    rows: Any,
    x: Any,
    y: Any,
    face: Any,
    bx: Any,
    by: Any,
    sees: Any,
    finds: Any,
) -> None:
    """What the team of seat i sees together: sees uint8[k, N] agents, finds uint8[k, balls]."""
    n, half = conf[3], view // 2
    for r in range(rows.shape[0]):
        b = rows[r]
        for j in range(n):
            sees[r, j] = 1 if side[j] == side[i] else 0
        for k in range(conf[4]):
            finds[r, k] = 0
        for m in range(n):
            if side[m] == side[i]:
                fx, fy = _DX[face[b, m]], _DY[face[b, m]]
                for j in range(n + conf[4]):
                    px = x[b, j] if j < n else bx[b, j - n]
                    py = y[b, j] if j < n else by[b, j - n]
                    dx, dy = px - x[b, m], py - y[b, m]
                    ahead, right = dx * fx + dy * fy, dy * fx - dx * fy
                    if px > 0 and 0 <= ahead < view and -half <= right <= half:
                        if j < n:
                            sees[r, j] = 1
                        else:
                            finds[r, j - n] = 1


OWN, PER_BALL, PER_AGENT = 30, 8, 15


def feature_count(game: Game) -> int:
    """Length of the feature vector of a game."""
    return OWN + PER_BALL * game.balls + PER_AGENT * (len(game.seats) - 1)


@jit
def offset(out: Any, r: int, at: int, ahead: int, right: int, span: int) -> None:
    """Six numbers for an offset: both components over the field's width, squashed, and their signs."""
    out[r, at] = ahead / span
    out[r, at + 1] = right / span
    out[r, at + 2] = ahead / (1.0 + abs(ahead))
    out[r, at + 3] = right / (1.0 + abs(right))
    out[r, at + 4] = 1.0 if ahead > 0 else (-1.0 if ahead < 0 else 0.0)
    out[r, at + 5] = 1.0 if right > 0 else (-1.0 if right < 0 else 0.0)


@jit
def nearest_row(y: int, low: int, high: int) -> int:
    """The row in low..high nearest to y."""
    return low if y < low else (high if y > high else y)


@jit
def own_features(
    conf: Any,
    ground: Any,
    goal_rows: Any,
    turn: int,
    side: int,
    b: int,
    i: int,
    r: int,
    x: Any,
    y: Any,
    face: Any,
    cool: Any,
    carrier: Any,
    goals: Any,
    t: Any,
    out: Any,
) -> None:
    """Numbers 0 to 22: own column, row, facing (4), carrying, cooldown; cells to the wall ahead, right, behind,
    left; offset of the nearest goal cell under attack (6); goals own, other, lead; ticks left; whether the cell
    ahead is a goal to score on.
    """
    width, height, d = conf[1], conf[2], np.int64(face[b, i])
    ax, ay = np.int64(x[b, i]), np.int64(y[b, i])
    out[r, 0] = (width - 1 - ax if turn else ax) / (width - 1)
    out[r, 1] = (height - 1 - ay if turn else ay) / (height - 1)
    for k in range(4):
        out[r, 2 + k] = 1.0 if (d + 2 * turn) % 4 == k else 0.0
    out[r, 6] = 1.0 if carrier == i + 1 else 0.0
    out[r, 7] = cool[b, i] / max(1, conf[7])
    for k in range(4):
        way = (d + k) % 4
        room = width - 2 - ax if way == 0 else (height - 2 - ay if way == 1 else (ax - 1 if way == 2 else ay - 1))
        out[r, 8 + k] = room / width
    for k in range(12, 18):
        out[r, k] = 0.0
    ahead_goal = 0.0
    if conf[0] != 3:
        gx = width - 2 if side == 0 else 1
        dx, dy = gx - ax, nearest_row(ay, goal_rows[0], goal_rows[1]) - ay
        offset(out, r, 12, dx * _DX[d] + dy * _DY[d], dy * _DX[d] - dx * _DY[d], width)
        ahead_goal = 1.0 if ground[ax + _DX[d], ay + _DY[d]] == 3 - side else 0.0
    own, other = np.int64(goals[b, side]), np.int64(0)
    for s in range(goals.shape[1]):
        if s != side:
            other += goals[b, s]
    most = conf[4] if conf[0] == 3 else conf[6]
    out[r, 18] = own / most
    out[r, 19] = other / most
    out[r, 20] = (own - other) / most
    out[r, 21] = (conf[5] - t[b]) / conf[5]
    out[r, 22] = ahead_goal


@jit
def features(
    conf: Any,
    ground: Any,
    goal_rows: Any,
    side: Any,
    turn: int,
    i: int,
    rows: Any,
    x: Any,
    y: Any,
    face: Any,
    cool: Any,
    carrier: Any,
    bx: Any,
    by: Any,
    goals: Any,
    t: Any,
    sees: Any,
    finds: Any,
    out: Any,
) -> None:
    """Features of seat i into out float32[k, feature_count]: own block, balls (nearest first), other agents
    (team-mates, then opponents, in seat order). Offsets are (ahead, right) in the frame of the agent.

    Own block: `own_features`, then 23 an agent is ahead, 24 a steal would work now, 25 a mate carries,
    26 an opponent carries, 27 the cell ahead is closed, 28 a ball is known to lie loose, 29 it lies ahead.
    Ball: lies there, offset (6), right ahead. Agent: known, mate, offset (6), facing relative to mine (4),
    carries, cooldown, right ahead.

    turn: 1 rotates the field by half a turn, so that every team attacks to the right.
    sees[k, N], finds[k, balls]: which agents and balls the seat knows of; the rest reads as zeros.
    """
    n, balls, width = conf[3], conf[4], conf[1]
    order = np.empty(balls, np.int64)
    for r in range(rows.shape[0]):
        b = rows[r]
        ax, ay, d = np.int64(x[b, i]), np.int64(y[b, i]), np.int64(face[b, i])
        fx, fy = _DX[d], _DY[d]
        for k in range(out.shape[1]):
            out[r, k] = 0.0
        holder = np.int64(carrier[b])
        own_features(conf, ground, goal_rows, turn, side[i], b, i, r, x, y, face, cool, holder, goals, t, out)
        for k in range(balls):
            order[k] = k
        for k in range(1, balls):  # insertion sort by distance; unknown and taken balls last
            m = k
            while m > 0:
                one, two = order[m - 1], order[m]
                far = abs(bx[b, one] - ax) + abs(by[b, one] - ay) if finds[r, one] and bx[b, one] > 0 else 999
                near = abs(bx[b, two] - ax) + abs(by[b, two] - ay) if finds[r, two] and bx[b, two] > 0 else 999
                if far <= near:
                    break
                order[m - 1], order[m] = two, one
                m -= 1
        at = 30
        for m in range(balls):
            k = order[m]
            if finds[r, k] and bx[b, k] > 0:
                dx, dy = bx[b, k] - ax, by[b, k] - ay
                ahead, right = dx * fx + dy * fy, dy * fx - dx * fy
                out[r, at] = 1.0
                offset(out, r, at + 1, ahead, right, width)
                out[r, at + 7] = 1.0 if ahead == 1 and right == 0 else 0.0
            at += 8
        for mates in range(2):
            for j in range(n):
                if j == i or (side[j] != side[i]) != (mates == 1):
                    continue
                if sees[r, j]:
                    dx, dy = x[b, j] - ax, y[b, j] - ay
                    ahead, right = dx * fx + dy * fy, dy * fx - dx * fy
                    out[r, at] = 1.0
                    out[r, at + 1] = 1.0 if mates == 0 else 0.0
                    offset(out, r, at + 2, ahead, right, width)
                    out[r, at + 8 + (face[b, j] - d + 4) % 4] = 1.0
                    out[r, at + 12] = 1.0 if holder == j + 1 else 0.0
                    out[r, at + 13] = cool[b, j] / max(1, conf[7])
                    out[r, at + 14] = 1.0 if ahead == 1 and right == 0 else 0.0
                    if ahead == 1 and right == 0:
                        out[r, 23] = 1.0
                    if holder == j + 1:
                        out[r, 25 if mates == 0 else 26] = 1.0
                        if mates == 1:
                            out[r, 24] = 1.0 if ahead == 1 and right == 0 and cool[b, i] <= 1 else 0.0
                at += 15
        what = ground[ax + fx, ay + fy]
        out[r, 27] = 1.0 if what == 1 or what == 2 + side[i] else 0.0
        for k in range(balls):
            if finds[r, k] and bx[b, k] > 0:
                out[r, 28] = 1.0
                if bx[b, k] == ax + fx and by[b, k] == ay + fy:
                    out[r, 29] = 1.0
