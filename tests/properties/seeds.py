"""Invariant 1: every number has an address."""

# ruff: noqa: NPY002 (the global generator is what is watched)

from __future__ import annotations

import random

import numpy as np

from crossplay.kernel import (
    ActionSpec,
    Agent,
    Block,
    Channel,
    Conduct,
    Fault,
    Lineup,
    columns,
    draw,
    env_key,
    key,
    loop,
    permutation,
    pick,
    play,
    seat_key,
    uniform,
)
from more_worlds import Chatty, Team, Weather
from properties.common import invariant, run, walk
from worlds import Rows, Troubled, Uniform, Walk


@invariant(1)
def golden_values():
    """Fixed for ever: recorded runs meet the same chance in every later version."""
    assert key().hex() == "7a9e3d48316709a334376b83e845f6fb"
    assert key("a", 1).hex() == "f6c9c11dfa880dc6a234708757d9db1a"
    assert env_key(Block(7, 3, 1), "kitchen/cramped_room@1").hex() == "109c1408e550eda88690dd169c4f90aa"
    assert seat_key(Block(7, 3, 1), "p0").hex() == "85ad77d8f8523583ff5d3628a6df879e"
    assert draw(7) == 7191089600892374487 and draw(7, 1, 2) == 15286312020426691847
    assert draw(key("a", 1), 4, 5) == 4358904266399593065
    assert pick(7, 10, 1, 2) == 8 and uniform(7, 1, 2) == 0.8286726350918949
    assert permutation(7, 6, 3) == [0, 3, 4, 2, 5, 1]
    k = key("spec")
    assert ActionSpec("names", names=tuple("abcde")).draw(k, 3) == 0
    assert ActionSpec("text").draw(k, 3) == "b bbrkuucsbirtlp"


@invariant(1)
def the_world_meets_the_block_alone():
    """The key that an environment is reset with: (root, env id, block); no lineup, conduct, replicate, order."""
    seen = {}

    class Spy(Weather):
        def reset(self, key, task=None):
            seen.setdefault(at, set()).add(key)
            super().reset(key, task)

    lineups = (
        {"m": Uniform(), "n": Uniform()},
        {"n": Chatty(), "m": Troubled()},
        Lineup({"m": Team(), "n": Uniform()}, name="x"),
    )
    for root in (0, 1):
        for block in (0, 1, "1"):
            for replicate in (0, 1):
                at = Block(root, block)
                for lineup in lineups:
                    for conduct in (Conduct(), Conduct(mail=Channel(mode="off"))):
                        loop(play(Spy(), lineup, Block(root, block, replicate), conduct))
    assert len(seen) == 6 and all(len(keys) == 1 for keys in seen.values())
    assert len(set.union(*seen.values())) == 6
    assert env_key(Block(1, 1), "a@1") != env_key(Block(1, 1), "a@2")


@invariant(1)
def rows_meet_the_block_alone():
    """The same in the columnar path, whatever the width and the row."""
    seen = {}

    class Spy(Walk):
        def reset(self, rows, keys):
            for k in keys:
                seen[k] = seen.get(k, 0) + 1
            super().reset(rows, keys)

    ats = [Block(1, b) for b in range(7)]
    for width in (1, 3):
        for agents in (Uniform(), Rows()):
            list(columns(Spy(width), dict.fromkeys("abc", agents), ats))
    assert seen == {env_key(at, Walk.name + "@1"): 4 for at in ats}


@invariant(1)
def chance_is_common_after_the_first_different_action():
    class Steady(Agent):
        def __init__(self, value):
            self.value = value

        def act(self, obs):
            rain.setdefault((self.value, obs.seat), []).append(obs.view("data")["rain"])
            return self.value

    rain: dict = {}
    for value in (0, 1, 2):
        loop(play(Weather(), dict.fromkeys(Weather.seats, Steady(value)), Block(5, 5)))
    courses = list(rain.values())
    assert len(courses) == 6 and all(c == courses[0] for c in courses) and len(set(courses[0])) > 6


@invariant(1)
def agents_meet_their_own_stream():
    """A seat's key depends on root, block, seat, replicate and path: on each of them, and on nothing else."""
    found: dict = {}

    class Spy(Agent):
        def __init__(self, name):
            self.name = name

        def act(self, obs):
            at = obs.ordinal
            for path in ((), (0,), (1,), (0, 1), (1, 0)):
                child = obs.child(*path)
                for purpose in ((), ("a",), (0,), (1,), (0, 1)):
                    address = (at[0], at[2], at[3], obs.seat, path, purpose)
                    found.setdefault(address, set()).add(child.key(*purpose))
            return 0

    for at in (Block(0, 0), Block(0, 1), Block(1, 0), Block(0, 0, 1)):
        for make in (Weather, lambda: Weather()):
            env = make()
            for names in ("xy", "zz"):
                lineup = {s: Spy(n) for s, n in zip(env.seats, names, strict=True)}
                loop(play(env, lineup, at))
        env = walk()
        loop(play(env, {s: Spy("w") for s in env.seats}, at))
    assert all(len(keys) == 1 for keys in found.values())
    assert len({next(iter(keys)) for keys in found.values()}) == len(found)


@invariant(1)
def seats_meet_one_stream_in_every_world():
    """An agent's key knows no environment: the same policy in another world starts from the same stream."""
    keys = []

    class Spy(Agent):
        def act(self, obs):
            keys.append(obs.key())
            return 0

    for env_name in ("test/a", "test/b"):
        env = Weather()
        env.name = env_name
        loop(play(env, {"m": Spy(), "n": Uniform()}, Block(4, 4)))
    assert len(set(keys)) == 1


@invariant(1)
def nobody_draws_from_global_generators():
    before = random.getstate(), np.random.get_state()
    try:
        outcomes = []
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)
            held = random.getstate(), np.random.get_state()[1].tobytes()
            outcomes.append([run(i).world for i in range(10)])
            assert held == (random.getstate(), np.random.get_state()[1].tobytes())
        assert outcomes[0] == outcomes[1]
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


@invariant(1)
def a_random_link_is_addressed_by_seat_and_tick():
    """What conduct draws for a fault does not depend on what else went wrong before."""

    class Fails(Agent):
        def __init__(self, first):
            self.first = first

        def act(self, obs):
            return Fault("error", "x") if obs.tick >= self.first else 0

    conduct = Conduct(error=("random",))
    courses = []
    for first in (0, 3, 6):
        outcome = loop(play(Weather(), {"m": Fails(first), "n": Uniform()}, Block(3), conduct))
        courses.append([e.value for e in outcome.trace() if e.kind == "act" and e.seat == 0 and e.tick >= 6])
    assert courses[0] == courses[1] == courses[2] and len(set(courses[0])) > 1
