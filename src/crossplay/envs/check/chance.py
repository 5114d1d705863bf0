"""Checks of chance and state: determinism, streams, snapshots, fingerprints, mail."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from crossplay.envs.check.case import Case, Failed, Skipped, first_difference
from crossplay.kernel.types import Msg, pack

__all__ = ["determinism", "fingerprint", "interleaving", "mail", "resets", "snapshots", "streams"]


def determinism(case: Case) -> str:
    """Equal keys and equal actions give equal episodes, whatever the global generators hold."""
    before: Any = random.getstate(), np.random.get_state()  # noqa: NPY002 (the global generator is what is watched)
    try:
        for block, want in zip(case.blocks, case.courses, strict=True):
            random.seed(block)
            np.random.seed(block + 1)  # noqa: NPY002
            held = _generators()
            got = list(case.course(case.fresh(), block))
            if parted := first_difference(want, got):
                raise Failed(f"two plays of block {block} with equal actions part {parted}")
            if held != _generators():
                raise Failed("playing draws from a global generator; use draw(key, tick, slot)")
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
    return f"{len(case.courses)} blocks, {sum(map(len, case.courses))} states"


def _generators() -> tuple[Any, bytes]:
    """The states of the global generators."""
    state: Any = np.random.get_state()  # noqa: NPY002
    return random.getstate(), pack([state[1], state[2]])


def resets(case: Case) -> str:
    """A reset depends on the key alone: earlier episodes of an instance leave nothing behind."""
    env = case.fresh()
    for _ in case.course(env, 99, choice=1):
        pass
    for block, want in zip(case.blocks, case.courses, strict=True):
        if parted := first_difference(want, list(case.course(env, block))):
            raise Failed(f"block {block}, played after other episodes, parts {parted}")
    return ""


def interleaving(case: Case) -> str:
    """Two instances that are stepped by turns do not touch each other."""
    if len(case.blocks) < 2:
        raise Skipped("needs two blocks")
    first, second = case.course(case.fresh(), 0), case.course(case.fresh(), 1)
    got: tuple[list[bytes], list[bytes]] = ([], [])
    while True:
        a, b = next(first, None), next(second, None)
        if a is None and b is None:
            break
        if a is not None:
            got[0].append(a)
        if b is not None:
            got[1].append(b)
    for block in (0, 1):
        if parted := first_difference(case.courses[block], got[block]):
            raise Failed(f"block {block}, played beside another instance, parts {parted}")
    return ""


def streams(case: Case) -> str:
    """Other keys give other episodes."""
    ticks = min(case.ticks, 12)
    # Equal moves in all blocks (where they are legal), so that only chance can make a difference.
    seen = {_steady(case, key, ticks) for key in range(8)}
    if len(seen) > 1:
        return f"{len(seen)} of 8 keys differ within {ticks} ticks"
    if case.chance:
        raise Failed("8 keys give one and the same episode")
    raise Skipped("no chance was seen: 8 keys give one episode, so cells of deterministic lineups show n = 1")


def _steady(case: Case, block: int, ticks: int) -> bytes:
    """The course of a block under moves that do not depend on it."""
    env = case.started(block)
    states = []
    for tick in range(ticks):
        if env.ended() is not None:
            break
        states.append({s: env.data(s) for s in case.known(env)})
        env.step(case.choose(env, 0, tick), case.mail(env, tick))
    return pack([states, env.ended(), {k: float(v) for k, v in env.score().items()}])


def snapshots(case: Case) -> str:
    """A restored environment goes on as the one it was taken from, also in another instance."""
    taken = 0
    for block, course in zip(case.blocks, case.courses, strict=True):
        length = len(course) - 1
        for tick in sorted({0, 1, length // 2, length}):
            if tick > length:
                continue
            env = case.started(block)
            for _ in case.goes_on(env, block, 0, tick):
                pass
            snapshot = env.snapshot()
            taken += 1
            where = f"block {block}, snapshot at tick {tick}"
            if not isinstance(snapshot, bytes):
                raise Failed(f"{where}: snapshot() gives {type(snapshot).__name__}, not bytes")
            want, here = course[tick + 1 :], _state(case, env)
            twin, other = case.fresh(), case.started(block + 1)
            for name, target in (("a new instance", twin), ("an instance in another episode", other)):
                target.restore(snapshot)
                if pack(_state(case, target)) != pack(here):
                    raise Failed(f"{where}: {name} shows another state after restore")
            if parted := first_difference(want, list(case.goes_on(env, block, tick)), tick + 1):
                raise Failed(f"{where}: the instance itself, after snapshot(), parts {parted}")
            if pack(_state(case, twin)) != pack(here):
                raise Failed(f"{where}: a restored instance changed when another one was stepped")
            for _ in case.goes_on(other, block, tick, choice=1):  # another branch from the same bytes
                pass
            other.restore(snapshot)
            for name, target in (("a new instance", twin), ("the second branch", other)):
                if parted := first_difference(want, list(case.goes_on(target, block, tick)), tick + 1):
                    raise Failed(f"{where}: {name} parts {parted}")
    return f"{taken} snapshots, restored in other instances and branched"


def _state(case: Case, env: Any) -> bytes:
    return case.record(env, (), {})


def fingerprint(case: Case) -> str:
    """The fingerprint is 64 bits that change with the state, and looking changes nothing."""
    seen: dict[bytes, int] = {}
    for block in case.blocks:
        env = case.started(block)
        prints: dict[int, bytes] = {}  # of this block: another key alone need not show
        for tick in range(case.ticks + 1):
            value = env.fingerprint()
            if not isinstance(value, int) or not 0 <= value < 1 << 64:
                raise Failed(f"fingerprint() gives {value!r}, not an integer of 64 bits")
            snapshot = env.snapshot()
            for seat in case.known(env) if env.ended() is None else ():
                for name in env.views:
                    if name != "image" or tick == 0:
                        env.view(seat, name)
                env.legal(seat), env.spec(seat), env.audience(seat)
            env.score(), env.ended(), env.text()
            if env.fingerprint() != value or env.snapshot() != snapshot:
                raise Failed(f"block {block}, tick {tick}: looking at the world changed it")
            if seen.setdefault(snapshot, value) != value:
                raise Failed(f"block {block}, tick {tick}: equal snapshots have other fingerprints")
            if case.env.paired == "events" and prints.setdefault(value, snapshot) != snapshot:
                raise Failed(f"block {block}, tick {tick}: another state has the same fingerprint")
            if env.ended() is not None:
                break
            env.step(case.choose(env, block, tick), case.mail(env, tick))
    return f"{len(seen)} states"


def mail(case: Case) -> str:
    """The audience is made of other seats; a world that says it does not read mail does not."""
    for block in case.blocks:
        env, quiet = case.started(block), case.started(block)
        for tick in range(case.ticks):
            if env.ended() is not None:
                break
            for seat in env.to_act():
                heard = env.audience(seat)
                if not isinstance(heard, tuple) or not set(heard) <= set(env.seats) or seat in heard:
                    raise Failed(f"audience({seat!r}) is {heard!r}: a tuple of other seats is expected")
            if env.mailed:
                env.step(case.choose(env, block, tick), case.mail(env, tick))
                continue
            words = [Msg(d, "a word", "main", s, tick) for s in env.seats for d in env.audience(s)]
            actions = case.choose(env, block, tick)
            loud, still = env.step(actions, words), quiet.step(actions, ())
            if pack(list(loud)) != pack(list(still)) or env.fingerprint() != quiet.fingerprint():
                raise Failed(f"block {block}, tick {tick}: mail changes the world, yet `mailed` is False")
    return "reads its mail" if case.env.mailed else "does not read mail"
