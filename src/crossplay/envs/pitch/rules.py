"""The rules of the pitch games as loops over rows: `start` and `step`.

Compiled by numba where it is installed, interpreted elsewhere: one source. All chance is drawn at
an address (tick, slot) of the row's key, or taken from recorded draws.

`conf` is int64[CONF]: the constants of a game and its options, at the indices below.
A cell (0, 0) lies in the wall and means "not on the field"; `carrier` is 1 + the agent's index.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crossplay.kernel.fast import jit

__all__ = ["CONF", "EVENTS", "start", "step"]

KIND, WIDTH, HEIGHT, AGENTS, BALLS, HORIZON, WIN, COOL, SHAPING, REFERENCE = range(10)
CONF = 10
EVENTS = ("goal", "passer", "receiver", "stealer", "victim")  # 1 + index of an agent, 0: nobody
ORDER_SLOT, CELL_SLOT, PASS_SLOT, START_SLOT, FACE_SLOT = 0, 1, 16, 32, 64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_C1 = np.uint64(0xBF58476D1CE4E5B9)
_C2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_DX = np.array([1, 0, -1, 0])
_DY = np.array([0, 1, 0, -1])

# ruff: noqa: SIM102  nested conditions follow the order of the rules


@jit
def mix(h: Any, c: int) -> Any:
    """One round of `crossplay.kernel.seeds.draw` on uint64 scalars: the same bits."""
    z = (h ^ (np.uint64(c) * _GOLDEN)) + _GOLDEN
    z = (z ^ (z >> _S30)) * _C1
    z = (z ^ (z >> _S27)) * _C2
    return z ^ (z >> _S31)


@jit
def choose(h: Any, slot: int, n: int) -> int:
    """An integer in [0, n) at a slot of a tick's stream: `crossplay.kernel.seeds.pick`."""
    return np.int64(((mix(h, slot) >> _S32) * np.uint64(n)) >> _S32)


@jit
def agent_at(b: int, px: int, py: int, n: int, x: Any, y: Any) -> int:
    """The lowest index of an agent in a cell, or -1."""
    for j in range(n):
        if x[b, j] == px and y[b, j] == py:
            return j
    return -1


@jit
def ball_at(b: int, px: int, py: int, n: int, bx: Any, by: Any) -> int:
    """The index of the ball in a cell, or -1."""
    for k in range(n):
        if bx[b, k] == px and by[b, k] == py:
            return k
    return -1


@jit
def start(conf: Any, cells: Any, keys: Any, rows: Any, x: Any, y: Any, face: Any, bx: Any, by: Any) -> None:
    """Balls, then agents, each uniform over the free cells that are left; facings uniform.

    cells: int64[F, 2], the cells without wall or goal.
    """
    n, balls, free = conf[AGENTS], conf[BALLS], cells.shape[0]
    left = np.empty(free, np.int64)
    for r in range(rows.shape[0]):
        b = rows[r]
        h = mix(keys[b], 0)
        for k in range(free):
            left[k] = k
        for j in range(balls + n):
            last = free - 1 - j
            at = choose(h, START_SLOT + j, last + 1)
            cell = left[at]
            left[at] = left[last]
            if j < balls:
                bx[b, j], by[b, j] = cells[cell, 0], cells[cell, 1]
            else:
                i = j - balls
                x[b, i], y[b, i] = cells[cell, 0], cells[cell, 1]
                face[b, i] = choose(h, FACE_SLOT + i, 4)


@jit
def draw_order(h: Any, n: int, order: Any) -> None:
    """A uniformly random order of the n agents, from one draw (the digits of a Lehmer code)."""
    code = mix(h, ORDER_SLOT)
    for i in range(n):
        order[i] = i
    for i in range(n - 1, 0, -1):
        base = np.uint64(i + 1)
        rest = code // base
        j = np.int64(code - rest * base)
        code = rest
        kept = order[i]
        order[i] = order[j]
        order[j] = kept


@jit
def collect(
    conf: Any, side: Any, b: int, i: int, ball: int, t: Any, bx: Any, by: Any, goals: Any, won: Any, sparse: Any
) -> None:
    """A ball of `collect` is consumed: its value to the team, the negative to everybody else."""
    bx[b, ball], by[b, ball] = 0, 0
    value = 1.0 + (conf[HORIZON] - t[b]) * 0.05
    for j in range(conf[AGENTS]):
        sparse[b, j] += value if side[j] == side[i] else -value
    goals[b, side[i]] += 1
    if goals[b].sum() >= conf[BALLS]:
        won[b] = 1


@jit
def steal(
    conf: Any,
    side: Any,
    b: int,
    i: int,
    px: int,
    py: int,
    x: Any,
    y: Any,
    cool: Any,
    carrier: Any,
    event: Any,
    stole: Any,
) -> None:
    """Take the ball from the opponent ahead; both then wait before they can steal."""
    j = agent_at(b, px, py, conf[AGENTS], x, y)
    if j < 0 or carrier[b] != j + 1 or side[j] == side[i] or cool[b, i] > 0:
        return
    carrier[b] = i + 1
    cool[b, i] = conf[COOL]
    cool[b, j] = conf[COOL]
    event[b, 3], event[b, 4] = i + 1, j + 1
    stole[i] = 1


@jit
def hand_over(side: Any, b: int, i: int, n: int, h: Any, forced: int, carrier: Any, event: Any) -> bool:
    """Pass to a random team-mate wherever it is; False without team-mates.

    forced: the index among the team-mates to pass to, or -1 to draw it. There is one ball, so all
    of them have empty hands.
    """
    mates = 0
    for j in range(n):
        if j != i and side[j] == side[i]:
            mates += 1
    if mates == 0:
        return False
    chosen = forced if forced >= 0 else choose(h, PASS_SLOT + i, mates)
    for j in range(n):
        if j != i and side[j] == side[i]:
            if chosen == 0:
                carrier[b] = j + 1
                event[b, 1], event[b, 2] = i + 1, j + 1
            chosen -= 1
    return True


@jit
def taken_up_to(conf: Any, number: Any, b: int, last: int, x: Any, y: Any) -> int:
    """How many of the cells 0..last have an agent on them."""
    count = 0
    for j in range(conf[AGENTS]):
        cell = number[x[b, j], y[b, j]]
        if 0 <= cell <= last and agent_at(b, x[b, j], y[b, j], j, x, y) < 0:
            count += 1
    return count


@jit
def respawn(conf: Any, cells: Any, number: Any, b: int, h: Any, forced: Any, x: Any, y: Any, bx: Any, by: Any) -> None:
    """The ball reappears on a uniform free cell. forced: int64[2], the cell, or (0, 0) to draw it."""
    if forced[0] > 0:
        bx[b, 0], by[b, 0] = forced[0], forced[1]
        return
    free = cells.shape[0]
    at = choose(h, CELL_SLOT, free - taken_up_to(conf, number, b, free, x, y))
    cell = at
    while True:  # the at-th free cell: move on by the agents that stand before it
        moved = at + taken_up_to(conf, number, b, cell, x, y)
        if moved == cell:
            break
        cell = moved
    bx[b, 0], by[b, 0] = cells[cell, 0], cells[cell, 1]


@jit
def shape(
    conf: Any,
    target: Any,
    side: Any,
    b: int,
    holder: int,
    px: int,
    py: int,
    x: Any,
    y: Any,
    oldx: Any,
    oldy: Any,
    stole: Any,
    shaping: Any,
) -> None:
    """0.3 for a steal; 0.01 per cell of Manhattan distance gained: carrier to its target, others to the loose ball.

    holder: 1 + index of the carrier, or 0 while the ball lies at (px, py).
    """
    for i in range(conf[AGENTS]):
        value = 0.3 if stole[i] else 0.0
        if holder == i + 1:
            gx, gy = target[side[i], 0], target[side[i], 1]
        else:
            gx, gy = px, py
        if holder == i + 1 or (holder == 0 and px > 0):
            value += 0.01 * ((abs(oldx[i] - gx) + abs(oldy[i] - gy)) - (abs(x[b, i] - gx) + abs(y[b, i] - gy)))
        shaping[b, i] = value


@jit
def score(
    conf: Any,
    ground: Any,
    side: Any,
    b: int,
    t: Any,
    x: Any,
    y: Any,
    carrier: Any,
    goals: Any,
    won: Any,
    event: Any,
    sparse: Any,
) -> int:
    """Who scores: the carrier, if it stands on an opposing goal. Its index, or -1."""
    i = carrier[b] - 1
    if i < 0 or ground[x[b, i], y[b, i]] != 3 - side[i]:
        return -1
    value = 1.0 + (conf[HORIZON] - t[b]) * 0.05
    for j in range(conf[AGENTS]):
        if side[j] == side[i]:
            sparse[b, j] += value
    goals[b, side[i]] += 1
    if goals[b, side[i]] >= conf[WIN]:
        won[b] = 1
    carrier[b] = 0
    event[b, 0] = i + 1
    return i


@jit
def step(
    conf: Any,
    ground: Any,
    cells: Any,
    number: Any,
    side: Any,
    target: Any,
    keys: Any,
    actions: Any,
    t: Any,
    x: Any,
    y: Any,
    face: Any,
    cool: Any,
    carrier: Any,
    bx: Any,
    by: Any,
    goals: Any,
    won: Any,
    over: Any,
    stale: Any,
    gone: Any,
    event: Any,
    orders: Any,
    passes: Any,
    spots: Any,
    sparse: Any,
    shaping: Any,
    ended: Any,
) -> None:
    """One tick of every row that runs.

    cells int64[F, 2]: those without wall or goal; number int64[width, height]: their indices, or -1.
    State: t[B] ticks played; x, y, face, cool [B, N]; carrier[B]; bx, by [B, balls]; goals[B, teams];
    won, over [B]: a team has won, the ended code; stale[B]: in reference mode 1 + the agent that the
    observations of this tick still show with the ball; gone[B]: they show no agents; event[B, 5].
    orders[B, N], passes[B, N], spots[B, 2]: recorded draws, or of length 0 to draw them.
    sparse, shaping float64[B, N] and ended uint8[B] are results.
    """
    n = conf[AGENTS]
    kind, reference = conf[KIND], conf[REFERENCE]
    order = np.empty(n, np.int64)
    oldx = np.empty(n, np.int64)
    oldy = np.empty(n, np.int64)
    stole = np.empty(n, np.int64)
    spot = np.zeros(2, np.int64)
    played = orders.shape[0] > 0
    for b in range(t.shape[0]):
        for i in range(n):
            sparse[b, i] = 0.0
            shaping[b, i] = 0.0
        if over[b] > 0:
            ended[b] = over[b]
            continue
        for i in range(n):
            if cool[b, i] > 0:
                cool[b, i] -= 1
            oldx[i] = x[b, i]
            oldy[i] = y[b, i]
            stole[i] = 0
        t[b] += 1
        for k in range(5):
            event[b, k] = 0
        h = mix(keys[b], t[b])
        if played:
            for i in range(n):
                order[i] = orders[b, i]
        elif n > 1:
            draw_order(h, n, order)
        else:
            order[0] = 0
        for k in range(n):
            if won[b] > 0:
                break
            i = order[k]
            a = actions[b, i]
            if a == 1:
                face[b, i] = (face[b, i] + 3) % 4
            elif a == 2:
                face[b, i] = (face[b, i] + 1) % 4
            elif 3 <= a <= 5:
                px, py = x[b, i] + _DX[face[b, i]], y[b, i] + _DY[face[b, i]]
                if a == 3:  # by default agents block, and the goal that the own team defends is closed
                    what = ground[px, py]
                    shut = what == 1 or ball_at(b, px, py, conf[BALLS], bx, by) >= 0
                    if reference == 0 and not shut:
                        shut = what == 2 + side[i] or agent_at(b, px, py, n, x, y) >= 0
                    if not shut:
                        x[b, i], y[b, i] = px, py
                elif a == 4 and carrier[b] != i + 1:
                    ball = ball_at(b, px, py, conf[BALLS], bx, by)
                    if ball >= 0 and kind == 3:
                        collect(conf, side, b, i, ball, t, bx, by, goals, won, sparse)
                    elif ball >= 0:
                        carrier[b] = i + 1
                        bx[b, 0], by[b, 0] = 0, 0
                    elif carrier[b] > 0:
                        steal(conf, side, b, i, px, py, x, y, cool, carrier, event, stole)
                elif a == 5 and carrier[b] == i + 1:
                    forced = passes[b, i] if played else -1
                    if not hand_over(side, b, i, n, h, forced, carrier, event) and ground[px, py] == 0:
                        if agent_at(b, px, py, n, x, y) < 0:
                            bx[b, 0], by[b, 0] = px, py
                            carrier[b] = 0
        late = won[b] > 0 and reference > 0
        stale[b] = 0
        gone[b] = 1 if late else 0
        if kind != 3:
            holder = carrier[b]
            scorer = score(conf, ground, side, b, t, x, y, carrier, goals, won, event, sparse)
            if scorer >= 0 and reference == 0 and conf[SHAPING] > 0:
                shape(conf, target, side, b, holder, 0, 0, x, y, oldx, oldy, stole, shaping)
            if scorer >= 0:
                if played:
                    spot[0], spot[1] = spots[b, 0], spots[b, 1]
                respawn(conf, cells, number, b, h, spot, x, y, bx, by)
                stale[b] = holder if reference > 0 else 0
            if (scorer < 0 or reference > 0) and conf[SHAPING] > 0:
                shape(conf, target, side, b, carrier[b], bx[b, 0], by[b, 0], x, y, oldx, oldy, stole, shaping)
            if reference > 0 and kind < 2:  # soccer and basketball report a win one step late
                over[b] = 1 if late else 0
            else:
                over[b] = won[b]
        else:
            over[b] = won[b]
        if over[b] == 0 and t[b] >= conf[HORIZON]:
            over[b] = 2
        ended[b] = over[b]
