"""Checks of array environments: bits that do not depend on the batch, rows and their single face."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossplay.envs.check.case import Case, Failed, Skipped
from crossplay.kernel.batch import ENDED, BatchEnv
from crossplay.kernel.seeds import draw, key, key64
from crossplay.kernel.types import pack, unpack

__all__ = ["array_views", "form", "single_face", "start_again", "widths"]

WIDE = 512


def _moves(env: BatchEnv, rows: np.ndarray, tick: int) -> np.ndarray:
    """Random legal moves int64[B, N]; a row's moves depend on its number in `rows` and the tick."""
    n, names = len(env.seats), len(env.action_spec.names)
    keys = draw(np.uint64(key64(key("check", "rows"))) + np.zeros(len(rows), np.uint64), rows)
    legal = env.legal()
    out = np.zeros((env.B, n), np.int64)
    for i in range(n):
        bits = draw(keys, np.full(len(rows), tick), np.full(len(rows), i))
        if legal is None:
            out[:, i] = (bits % np.uint64(names)).astype(np.int64)
        else:
            allowed = legal[:, i]
            count = np.maximum(allowed.sum(axis=1), 1)
            nth = (bits % count.astype(np.uint64)).astype(np.int64)
            out[:, i] = (np.cumsum(allowed, axis=1) > nth[:, None]).argmax(axis=1)
    return out


def _started(case: Case, rows: np.ndarray) -> BatchEnv:
    env = case.wide(len(rows))
    env.reset(range(len(rows)), [case.key(int(r)) for r in rows])
    return env


def widths(case: Case) -> str:
    """Rows have the same bits at B = 1, 3 and 512, whoever their neighbours are."""
    ticks = min(case.ticks, 40)
    everyone = np.arange(WIDE)
    groups = [everyone, np.array([511, 0, 200]), np.array([0]), np.array([200]), np.array([511])]
    envs = [_started(case, rows) for rows in groups]
    live = np.ones(WIDE, bool)
    for tick in range(ticks):
        steps = []
        for env, rows in zip(envs, groups, strict=True):
            legal = env.legal()
            moves = _moves(env, rows, tick)
            views = [env.obs_array(i) for i in range(len(env.seats))] if "array" in env.views else []
            rewards, ended = env.step(moves)
            steps.append((env.S, env.fingerprint(), rewards, ended, *views, *(() if legal is None else (legal,))))
        whole = steps[0]
        for rows, step in zip(groups[1:], steps[1:], strict=True):
            for at, row in enumerate(rows.tolist()):
                if not live[row]:
                    continue
                for what, mine, theirs in zip(_PARTS, step, whole, strict=False):
                    if np.ascontiguousarray(mine[at]).tobytes() != np.ascontiguousarray(theirs[row]).tobytes():
                        raise Failed(
                            f"tick {tick}, row {row}: {what} differs in bits between B = {len(rows)} and {WIDE}"
                        )
        live &= whole[3] == 0
        if not live[groups[1]].any():
            break
    return f"{tick + 1} ticks; {int(live.sum())} of {WIDE} rows still run"


_PARTS = ("the state", "the fingerprint", "the reward", "the end", *["the array view or mask"] * 80)


def single_face(case: Case) -> str:
    """The single environment plays the same game as a row, with the same views."""
    rows = np.array([4, 2, 7])
    batch, faces = _started(case, rows), [case.fresh() for _ in rows]
    for face, row in zip(faces, rows.tolist(), strict=True):
        face.reset(case.key(row))
    if batch.id != case.id or batch.single().id != case.id:
        raise Failed(f"the batch has the id {batch.id!r}, the single environment {case.id!r}")
    for tick in range(case.ticks):
        moves = _moves(batch, rows, tick)
        before = batch.S.copy()
        for at, face in enumerate(faces):
            if face.ended() is not None:
                continue
            for i, seat in enumerate(face.seats):
                _same(f"tick {tick}: data of {seat}", face.data(seat), batch.data(at, i))
                _same(f"tick {tick}: audience of {seat}", face.audience(seat), batch.audience(at, i))
            _same(f"tick {tick}: score", dict(face.score()), dict(batch.score(at)))
        if (before != batch.S).any():
            raise Failed(f"tick {tick}: reading data changed the state")
        rewards, ended = batch.step(moves)
        for at, face in enumerate(faces):
            if face.ended() is not None:
                continue
            mine = face.step({s: int(moves[at, i]) for i, s in enumerate(face.seats)}, ())
            _same(f"tick {tick}: rewards", [float(r) for r in mine], rewards[at].tolist())
            _same(f"tick {tick}: fingerprint", face.fingerprint(), int(batch.fingerprint()[at]))
            _same(f"tick {tick}: end", face.ended(), ENDED[int(ended[at])])
            _same(f"tick {tick}: ended(row)", face.ended(), ENDED[batch.ended(at)])
    return ""


def _same(what: str, single: Any, row: Any) -> None:
    if pack(single) != pack(row):
        raise Failed(f"{what}: the single face has {single!r:.80}, the row {row!r:.80}")


def array_views(case: Case) -> str:
    """obs_array is view_array(data), row for row, and has the promised shape."""
    rows = np.arange(6)
    env = _started(case, rows)
    if "array" not in env.views:
        raise Skipped("it has no array view")
    compared = 0
    for tick in range(case.ticks):
        before = env.S.copy()
        for i, seat in enumerate(env.seats):
            block = env.obs_array(i)
            some = env.obs_array(i, np.array([3, 1]))
            if block.shape != (env.B, *(env.array_shape(seat) or ())):
                raise Failed(f"obs_array has shape {block.shape}, array_shape says {env.array_shape(seat)}")
            if some.tobytes() != block[[3, 1]].tobytes():
                raise Failed(f"tick {tick}, seat {seat}: obs_array of some rows is not a part of the whole")
            for row in range(env.B):
                known = unpack(pack(env.data(row, i)))
                want = env.view_array(known)
                if want.dtype != block.dtype or want.tobytes() != block[row].tobytes():
                    where = np.flatnonzero(np.ravel(want) != np.ravel(block[row]))[:3].tolist()
                    raise Failed(
                        f"tick {tick}, row {row}, seat {seat}: obs_array ({block.dtype}) is not view_array(data) "
                        f"({want.dtype}); first differing places {where}"
                    )
                compared += 1
        if (before != env.S).any():
            raise Failed(f"tick {tick}: obs_array changed the state")
        _, ended = env.step(_moves(env, rows, tick))
        if ended.any():
            break
    return f"{compared} rows compared"


def start_again(case: Case) -> str:
    """Resetting some rows starts them afresh and leaves the others as they are, also after their end."""
    env = _started(case, np.arange(8))
    for tick in range(case.ticks):
        env.step(_moves(env, np.arange(8), tick))
    before = env.S.copy()
    env.reset([1, 6], [case.key(41), case.key(46)])
    new = _started(case, np.array([41, 46]))
    if env.S[[1, 6]].tobytes() != new.S.tobytes():
        raise Failed("a row that is reset does not start as a new one does")
    others = [0, 2, 3, 4, 5, 7]
    if env.S[others].tobytes() != before[others].tobytes():
        raise Failed("resetting rows 1 and 6 changed other rows")
    for tick in range(min(case.ticks, 10)):
        moves = _moves(new, np.array([1, 6]), tick)
        full = np.zeros((8, len(env.seats)), np.int64)
        full[[1, 6]] = moves
        mine, ended = env.step(full)
        theirs, _ = new.step(moves)
        if mine[[1, 6]].tobytes() != theirs.tobytes() or env.S[[1, 6]].tobytes() != new.S.tobytes():
            raise Failed(f"tick {tick} after the reset: the row goes another way than a new one")
        if ended[[1, 6]].any():
            break
    return ""


def form(case: Case) -> str:
    """State, rewards, ends and masks have the form that the engine relies on."""
    rows = np.arange(5)
    env = _started(case, rows)
    n, names = len(env.seats), len(env.action_spec.names)
    if env.S.dtype != np.uint64 or env.S.shape != (5, env.W) or not env.S.flags.c_contiguous:
        raise Failed(f"the state is {env.S.dtype}{env.S.shape}, not a C array uint64[B, W]")
    kept: list[tuple[np.ndarray, bytes]] = []
    for tick in range(min(case.ticks, 20)):
        legal = env.legal()
        if legal is not None and (legal.dtype != bool or legal.shape != (5, n, names)):
            raise Failed(f"legal() is {legal.dtype}{legal.shape}, not bool[B, N, {names}]")
        moves = _moves(env, rows, tick)
        given = moves.copy()
        state = env.S
        rewards, ended = env.step(moves)
        if env.S is not state:
            raise Failed("step replaced the state array; it must be written in place")
        if (moves != given).any():
            raise Failed("step wrote into its actions")
        if rewards.dtype != np.float64 or rewards.shape != (5, n) or not np.isfinite(rewards).all():
            raise Failed(f"rewards are {rewards.dtype}{rewards.shape}, not finite float64[B, N]")
        if ended.dtype != np.uint8 or ended.shape != (5,) or (ended > 2).any():
            raise Failed(f"ended is {ended.dtype}{ended.shape}, not uint8[B] of 0, 1, 2")
        kept.append((rewards, rewards.tobytes()))
        if ended.any():
            break
    if any(r.tobytes() != was for r, was in kept):
        raise Failed("rewards of an earlier tick changed; give a new array each time")
    return f"{env.W * 8} bytes a row"
