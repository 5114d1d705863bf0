"""Bare batched stepping, and the single-instance face with scripted seats."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np

from benchmarks.measure import Row, calibration, median, row
from crossplay.kernel import Agent, Block, key, key64, loop, make_batch, make_env, pick, play


def _rate(step, width: int, seconds: float = 0.6, rounds: int = 7) -> tuple[list[float], list[float]]:
    """(env-steps per CPU second, calibration seconds) of interleaved rounds."""
    for _ in range(20):
        step()
    samples, marks = [], []
    for _ in range(rounds):
        marks.append(calibration())
        n, began = 0, time.process_time()
        while time.process_time() - began < seconds:
            for _ in range(10):
                step()
            n += 10
        samples.append(n * width / (time.process_time() - began))
    return samples, marks


def _batched(name: str, label: str, bar: str, width: int = 512, images: bool = False, **options: object) -> Row:
    env = make_batch(name, width, options)
    assert env is not None
    n, names = len(env.seats), len(env.action_spec.names)
    keys = np.arange(1, width + 1, dtype=np.uint64)
    env.reset(range(width), [key("bench", b) for b in range(width)])
    actions = [np.stack([pick(keys, names, t, i) for i in range(n)], axis=1) for t in range(64)]
    everything = np.arange(width)
    state = [0]

    def step() -> None:
        t = state[0] = state[0] + 1
        _, ended = env.step(actions[t % 64])
        if images:
            for i in range(n):
                env.images(i, everything)
        done = np.flatnonzero(ended)
        if len(done):
            env.reset(done, [key("bench", t, int(b)) for b in done])

    samples, marks = _rate(step, width)
    return row(
        label,
        median(samples),
        "env-steps/s",
        bar,
        samples,
        1 / median(marks),
        [1 / m for m in marks],
        "plain Python loops of 1e6 per second",
    )


class Cycle(Agent):
    """A script that costs next to nothing: the actions in turn, from the seat's key."""

    name = "cycle"

    def act(self, obs):
        n = len(obs.spec.names)
        value = (obs.tick + key64(obs.key())) % n
        return value if obs.legal is None or obs.legal[value] else obs.spec.draw(obs.key(), obs.tick, obs.legal)


def _single(name: str, options: dict, episodes: int) -> list[float]:
    env = make_env(name, options)
    agent = Cycle()
    lineup = dict.fromkeys(env.seats, agent)
    loop(play(env, lineup, Block(1, 0)))
    samples = []
    for b in range(episodes):
        began = time.process_time()
        outcome = loop(play(env, lineup, Block(1, b)))
        samples.append(outcome.ticks / (time.process_time() - began))
    return samples


def _single_row(name: str, options: dict, fast: bool, bar: str) -> Row:
    """In a process of its own, because compiled and interpreted loops do not share one."""
    code = (
        f"from benchmarks.stepping import _single; import json; print(json.dumps(_single({name!r}, {options!r}, 25)))"
    )
    environment = dict(os.environ, CROSSPLAY_FAST="1" if fast else "0")
    marks = [calibration() for _ in range(3)]
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    samples = [float(x) for x in out.stdout.strip().strip("[]").split(",")]
    how = "fast" if fast else "interpreted"
    return row(
        f"single face through play(): {name}, 3 scripted seats, {how}",
        median(samples),
        "env-steps/s",
        bar,
        samples,
        1 / median(marks),
        [1 / m for m in marks],
        "plain Python loops of 1e6 per second",
    )


def boards() -> list[Row]:
    """Board games through the single face: bare stepping of the environment, plies per second."""
    rows = []
    for game in ("tic_tac_toe", "connect_four"):
        env = make_env(f"openspiel:{game}")
        samples, bare, plies = [], [], [0]

        def ours(env=env, plies=plies) -> None:
            for b in range(60):
                env.reset(key("board", b))
                t = 0
                while env.ended() is None:
                    (seat,) = env.to_act()
                    legal = env.legal(seat)
                    start = (b * 7 + t) % len(legal)
                    a = next(i % len(legal) for i in range(start, start + len(legal)) if legal[i % len(legal)])
                    env.step({seat: a}, ())
                    t += 1
                plies[0] += t

        def theirs(game=game) -> int:
            import pyspiel

            found = pyspiel.load_game(game)
            n = 0
            for b in range(60):
                state = found.new_initial_state()
                t = 0
                while not state.is_terminal():
                    legal = state.legal_actions()
                    state.apply_action(legal[(b * 7 + t) % len(legal)])
                    t += 1
                n += t
            return n

        for _ in range(9):
            plies[0] = 0
            began = time.process_time()
            ours()
            samples.append(plies[0] / (time.process_time() - began))
            began = time.process_time()
            n = theirs()
            bare.append(n / (time.process_time() - began))
        rows.append(
            row(
                f"boards: openspiel:{game} through Env, masks read",
                median(samples),
                "plies/s",
                ">= 50000",
                samples,
                median(bare),
                bare,
                "OpenSpiel alone, plies/s",
            )
        )
    return rows


def rows() -> list[Row]:
    """All rows of stepping."""
    return [
        _batched("spread", "batched: spread, N = 3, B = 512", ">= 450000"),
        _batched(
            "pitch/soccer-2v2",
            "batched: pitch soccer 2v2, four 7x7x3 views made, B = 512",
            ">= 1500000",
            images=True,
            view_size=7,
            observe="own",
        ),
        _batched("kitchen/cramped_room", "batched: kitchen cramped_room, B = 512", ">= 1500000"),
        _single_row("spread", {}, False, ">= 5000"),
        _single_row("pitch/soccer-2v1", {}, False, ">= 5000"),
        _single_row("pitch/soccer-2v1", {}, True, ">= 10000"),
        *boards(),
    ]
