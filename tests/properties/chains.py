"""Invariant 2: world and mind, the same for all drivers, widths and orders of arrival."""

from __future__ import annotations

import asyncio

import numpy as np

from crossplay.envs.matrix import MatrixBatch
from crossplay.kernel import (
    Action,
    Agent,
    Block,
    Channel,
    Conduct,
    Msg,
    Usage,
    aio,
    batch,
    columns,
    loop,
    play,
)
from more_worlds import Chatty, Sea, Team, Weather, case
from properties.common import CASES, Scripted, invariant, run, walk, weather
from worlds import Counter, Rows, Slow, Talk, Troubled, Uniform, Walk, state


@invariant(2)
def the_world_chain_holds_what_happened():
    """Another action, message, addressee, reward, fingerprint, seat, length, ending or game: another digest."""

    class Paid(Weather):
        def step(self, actions, mail):
            return [r + 2.0**-40 * (self.tick == 7) for r in super().step(actions, mail)]

    class Printed(Weather):
        def fingerprint(self):
            return super().fingerprint() ^ (self.tick == 5)

    class Longer(Weather):
        horizon = 13

    class Terminal(Weather):
        def ended(self):
            return "terminal" if super().ended() else None

    class Other(Weather):
        version = 2

    class Named(Weather):
        options = {"wind": 3}

    class Renamed(Weather):
        seats = ("m", "o")

    def said(value, *messages):
        return [0, Action(value, messages=messages), 0]

    hello = Msg("*", "hello")
    digests = {
        "base": weather().world,
        "action": weather(m=(0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 1)).world,
        "seats swapped": weather(m=(1, 0), n=(0, 1, 2)).world,
        "no mail": weather(m=said(1)).world,
        "mail": weather(m=said(1, hello)).world,
        "body": weather(m=said(1, Msg("*", "hallo"))).world,
        "body's type": weather(m=said(1, Msg("*", b"hello"))).world,
        "channel": weather(m=said(1, Msg("*", "hello", "side"))).world,
        "twice": weather(m=said(1, hello, hello)).world,
        "sender": weather(n=said(1, hello)).world,
        "late": weather(m=said(1, hello), conduct=Conduct(mail=Channel(delay=1))).world,
        "reward": weather(env=Paid).world,
        "fingerprint": weather(env=Printed).world,
        "length": weather(env=Longer).world,
        "ending": weather(env=Terminal).world,
        "version": weather(env=Other).world,
        "options": weather(env=Named).world,
        "another start": weather(at=Block(1, 2)).world,
    }

    class Second(MatrixBatch):  # no chance in it: nothing but the id can tell the versions apart
        version = 2

    for game in (MatrixBatch, Second):
        env = game("stag_hunt", 1, rounds=3).single()
        digests[f"stag hunt {env.id}"] = loop(play(env, dict.fromkeys(env.seats, Scripted([0, 1])))).world
    env = Renamed()
    digests["seat names"] = loop(play(env, {"m": Scripted((0, 1, 2)), "o": Scripted((1, 0))}, Block(1, 1))).world
    same = [
        names
        for names in (sorted(n for n in digests if digests[n] == d) for d in set(digests.values()))
        if len(names) > 1
    ]
    assert not same, f"equal digests: {same}"


@invariant(2)
def the_world_chain_holds_every_record():
    """Any change of one packed record, or of their order, shows: in the first block of 32 and in later ones."""
    from crossplay.kernel.chain import WorldChain, open_record, world_digest, world_start

    start = world_start("e@1", ["a"])
    rows = [open_record(t, [(0, t % 3)], (), (float(t),), t * t) for t in range(70)]
    size = max(map(len, rows))
    rows = [r.ljust(size, b"\0") for r in rows]

    def digest(records, status="terminal"):
        chain = WorldChain(start)
        for r in records:
            chain.add(r)
        return chain.end(status)

    base = digest(rows)
    assert base == world_digest(start, b"".join(rows), size, "terminal")
    assert digest(rows, "horizon") != base
    for t in (0, 1, 31, 32, 33, 63, 64, 69):
        changed = rows[t][:-1] + bytes([rows[t][-1] ^ 1])
        for other in ([*rows[:t], changed, *rows[t + 1 :]], rows[:t] + rows[t + 1 :], [*rows[:t], rows[t], *rows[t:]]):
            assert digest(other) != base
        if t:
            assert digest([*rows[: t - 1], rows[t], rows[t - 1], *rows[t + 1 :]]) != base


@invariant(2)
def the_world_chain_holds_nothing_else():
    """Who played, what was read, thought, spent and how long it took leave no mark in the world chain."""

    class Reads(Agent):
        def __init__(self, **how):
            self.how, self.name = how, how.get("name", "reads")

        def act(self, obs):
            for view in self.how.get("views", ()):
                obs.view(view)
            for i in range(self.how.get("notes", 0)):
                obs.child(i).note("model", i, Usage(calls=3))
            if "thinks" in self.how:
                obs.count("thoughts", 5)
                sum(range(20_000))
            value = obs.tick % 3
            return Action(value, **self.how["answer"]) if "answer" in self.how else value

    ways = [{}, {"name": "somebody"}, {"views": ("data", "text")}, {"notes": 3}, {"thinks": 1}]
    ways += [{"answer": {"confidence": 0.1, "rationale": "why", "usage": Usage(9, 9, 9, 9), "memo": {"k": [1]}}}]
    outcomes = [loop(play(Weather(), {"m": Reads(**w), "n": Scripted((1, 0))}, Block(1, 1))) for w in ways]
    outcomes += [loop(play(Weather(), {"m": Reads(), "n": Scripted((1, 0))}, Block(1, 1, r))) for r in (1, 2)]
    assert len({o.world for o in outcomes}) == 1
    assert len({o.mind for o in outcomes}) == 2  # the one with notes is another mind


@invariant(2)
def a_negative_zero_is_zero():
    """-0.0 and 0.0 have other bytes and are one number: in rewards, boxes, data, and the columnar path."""

    class Zero(Weather):
        sign = 1.0

        def step(self, actions, mail):
            super().step(actions, mail)
            return [0.0 * self.sign, 0.0]

    class Minus(Zero):
        sign = -1.0

    assert weather(env=Zero).world == weather(env=Minus).world
    for make, seats, zero in (
        (Sea, Sea.seats, lambda s: (s * 0.0, 0.5)),
        (Talk, Talk.seats, lambda s: {"guess": s * 0.0}),
    ):
        a, b = (loop(play(make(), dict.fromkeys(seats, Scripted([zero(s)])))).world for s in (1.0, -1.0))
        assert a == b

    class Payless(Walk):
        def step(self, actions):
            rewards, ended = super().step(actions)
            return rewards * 0.0 * self.sign, ended

    worlds_ = []
    for sign in (1.0, -1.0):
        Payless.sign = sign
        worlds_.append([o.world for _, o in columns(Payless(2), dict.fromkeys("abc", Rows()), [Block(1)])])
    assert worlds_[0] == worlds_[1]


@invariant(2)
def values_are_canonical():
    """However a value is written (name, numpy, tuple, key order), the same move is the same record."""
    ways = [(0, 1, 2), ("stay", "gamble", "double"), tuple(np.int64([0, 1, 2])), [Action(v) for v in (0, "gamble", 2)]]
    assert len({weather(m=w).world for w in ways}) == 1
    boxes = [[(0.5, 0.25)], [[0.5, 0.25]], [np.array([0.5, 0.25], np.float32)]]
    assert len({loop(play(Sea(), dict.fromkeys(Sea.seats, Scripted(w)))).world for w in boxes}) == 1
    data = [[{"guess": 1.5, "why": (1, 2)}], [{"why": [1, 2], "guess": 1.5}]]
    assert len({loop(play(Talk(), dict.fromkeys(Talk.seats, Scripted(w)))).world for w in data}) == 1


@invariant(2)
def the_mind_chain_has_structural_order():
    """Members that finish in any order, on any driver, leave one mind; usage and time are not in it."""

    class Members(Agent):
        def __init__(self, order, usage=1, said="x", kind="model", path=(0,)):
            self.order, self.usage, self.said, self.kind_, self.path = order, usage, said, kind, path

        def act(self, obs):
            for i in self.order:
                obs.child(*self.path, i).note(self.kind_, [self.said, i], Usage(calls=self.usage))
            return 0

    def mind(*a, other=None, **k):
        lineup = {"m": Members(*a, **k), "n": other or Uniform()}
        return loop(play(Weather(), lineup, Block(2))).mind

    base = mind((0, 1, 2))
    assert {mind(order) for order in ((2, 1, 0), (1, 2, 0), (2, 0, 1))} == {base}
    assert mind((0, 1, 2), usage=7) == base
    others = [mind((0, 1)), mind((0, 1, 2), said="y"), mind((0, 1, 2), kind="vote"), mind((0, 1, 2), path=(1,))]
    others += [loop(play(Weather(), {"n": Members((0, 1, 2)), "m": Uniform()}, Block(2))).mind]
    assert len({base, *others}) == 6

    lineup = {"m": Team(), "n": Slow()}
    outcomes = [loop(play(Weather(), lineup, Block(3))), asyncio.run(aio(play(Weather(), lineup, Block(3))))]
    outcomes += [o for _, o in batch([play(Weather(), lineup, Block(3))])]
    assert len({o.mind for o in outcomes}) == 1 and outcomes[0].counts["m"]["calls"] == 36


@invariant(2)
def rows_are_in_structural_order():
    for i in CASES:
        order = [(e.tick, e.seat) for e in run(i).trace() if e.kind not in ("seat", "late")]
        assert order == sorted(order), i


@invariant(2)
def all_drivers_agree():
    for i in CASES:
        want = state(run(i))
        assert state(run(i)) == want, f"case {i}: loop again"
        assert state(asyncio.run(run(i, aio))) == want, f"case {i}: aio"
        make, lineup, at, conduct = case(i)
        many = [Block(at.root, b) for b in range(4)]
        alone = [state(loop(play(make(), lineup, b, conduct))) for b in many]
        for width in (1, 3):
            done = {e.at: state(o) for e, o in batch((play(make(), lineup, b, conduct) for b in many), width)}
            assert [done[b] for b in many] == alone, f"case {i}: batch of {width}"


@invariant(2)
def columns_agree():
    """The columnar path keeps the books of `play`: masks, faults, mail, memos."""

    class Blind(Rows):
        name = "blind"

        def act_array(self, obs, legal, keys, tick, memo):
            values, memo = super().act_array(obs, None, keys, tick, memo)
            return np.where(values == 4, 9, values), memo

    for lineup in ({"a": Rows(), "b": Counter(), "c": Chatty()}, {"a": Blind(), "b": Rows(), "c": Troubled()}):
        ats = [Block(2, b) for b in range(5)]
        want = {at: state(loop(play(walk(), lineup, at))) for at in ats}
        for width in (1, 4):
            got = {at: state(o) for at, o in columns(Walk(width), lineup, ats)}
            for at in ats:
                assert got[at][:-1] == want[at][:-1], (width, at)


@invariant(2)
def faults_do_not_depend_on_the_batch():
    """A batch that fails is asked row by row: a fault stays with its row."""

    class Fragile(Agent):
        def act_batch(self, group):
            if any(o.pick(6) == 0 for o in group):
                raise RuntimeError("one of you")
            return [1] * len(group)

    lineup = {"m": Fragile(), "n": Uniform()}
    ats = [Block(1, b) for b in range(6)]
    alone = {at: state(loop(play(Weather(), lineup, at))) for at in ats}
    assert sum(s[6]["m"].get("error", 0) for s in alone.values()) > 3
    for width in (2, 6):
        assert {e.at: state(o) for e, o in batch((play(Weather(), lineup, at) for at in ats), width)} == alone


@invariant(2)
def what_is_remembered_is_the_seats():
    """One agent object in many seats and episodes remembers apart: interleaved play changes nothing."""

    class Adds(Agent):
        def act(self, obs):
            total = (obs.memo or 0) + obs.pick(1000, slot=9)
            return Action(total % 3, memo=total)

    shared = Adds()
    lineup = dict.fromkeys("abc", shared)
    ats = [Block(1, b) for b in range(4)]
    alone = {at: state(loop(play(walk(), lineup, at))) for at in ats}
    assert {e.at: state(o) for e, o in batch((play(walk(), lineup, at) for at in ats), 4)} == alone
    assert alone[ats[0]] == state(loop(play(walk(), {s: Adds() for s in "abc"}, ats[0])))
