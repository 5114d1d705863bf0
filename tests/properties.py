"""The properties that the kernel keeps, each as a function that raises when it does not hold.

The tests of the invariants call them as they are; the tests of mutations break one mechanism and
expect the property that guards it to raise. `of(k)` lists those of invariant k of the design.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter as Tally

import numpy as np
import pytest

import more_worlds
import worlds
from crossplay.envs.check import check
from crossplay.envs.matrix import MatrixBatch
from crossplay.kernel import (
    Action,
    ActionSpec,
    Agent,
    BatchEnv,
    Block,
    Channel,
    Conduct,
    CrossplayError,
    Fault,
    Lineup,
    Msg,
    Stale,
    Stop,
    Usage,
    aio,
    batch,
    columns,
    draw,
    env_key,
    key,
    loop,
    permutation,
    pick,
    play,
    recorded,
    seat_key,
    uniform,
    unpack,
)
from more_worlds import Chatty, Sea, Team, Weather, case
from worlds import Counter, Nim, Rows, Slow, Sum, Talk, Troubled, Uniform, Walk, state

_BY_INVARIANT: dict[int, list] = {}
CASES = range(15)


def invariant(number):
    def keep(function):
        _BY_INVARIANT.setdefault(number, []).append(function)
        return function

    return keep


def of(number):
    return _BY_INVARIANT[number]


def walk():
    return Walk(1).single()


def run(i, driver=loop, **more):
    make, lineup, at, conduct = case(i)
    return driver(play(make(), lineup, at, conduct, **more))


def acting(episode):
    return bool(episode._open) and episode._open[0].op == "act"


# -- 1: seeds ------------------------------------------------------------------------------------------


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


# -- 2: chains -----------------------------------------------------------------------------------------


class Scripted(Agent):
    """Plays a list of answers."""

    def __init__(self, answers, name="scripted"):
        self.answers, self.name = answers, name

    def act(self, obs):
        return self.answers[obs.tick % len(self.answers)]


def weather(m=(0, 1, 2), n=(1, 0), at=Block(1, 1), env=Weather, **more):  # noqa: B008
    return loop(play(env(), {"m": Scripted(m, more.pop("name", "s")), "n": Scripted(n)}, at, **more))


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
        "another block": weather(at=Block(1, 2)).world,
    }
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
        for other in (rows[:t] + [changed] + rows[t + 1 :], rows[:t] + rows[t + 1 :], rows[:t] + [rows[t]] + rows[t:]):
            assert digest(other) != base
        if t:
            assert digest(rows[: t - 1] + [rows[t], rows[t - 1]] + rows[t + 1 :]) != base


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
    shared = Counter()
    lineup = dict.fromkeys("abc", shared)
    ats = [Block(1, b) for b in range(4)]
    alone = {at: state(loop(play(walk(), lineup, at))) for at in ats}
    assert {e.at: state(o) for e, o in batch((play(walk(), lineup, at) for at in ats), 4)} == alone
    assert alone[ats[0]] == state(loop(play(walk(), {s: Counter() for s in "abc"}, ats[0])))


# -- 2 and 3: snapshots, resume, replay ------------------------------------------------------------------


@invariant(2)
def resumed_episodes_equal_whole_ones():
    """From a snapshot at a drawn tick, with mail under way, memos and counts, fresh agents go on alike."""
    for i in CASES:
        make, lineup, at, conduct = case(i)
        shots = []
        whole = loop(
            play(make(), lineup, at, conduct), lambda e, s=shots: s.append(e.snapshot()) if acting(e) else None
        )
        assert state(whole) == state(run(i)), f"case {i}: taking snapshots changed the episode"
        for j in {0, pick(key("cut", i), len(shots)), len(shots) - 1}:
            fresh = case(i)
            again = loop(play(fresh[0](), fresh[1], at, conduct, resume=shots[j]))
            assert state(again) == state(whole), f"case {i}: resumed at tick {j}"


@invariant(2)
def a_snapshot_keeps_mail_and_memos():
    """Mail that waits, and mail that was handed out with requests not yet answered, is in the snapshot."""
    for delay in (0, 1, 2):
        conduct = Conduct(mail=Channel(delay=delay))
        shots = []
        lineup = {"m": Chatty(), "n": Chatty()}
        whole = loop(
            play(Weather(), lineup, Block(1), conduct), lambda e, s=shots: s.append(e.snapshot()) if acting(e) else None
        )
        assert whole.counts["m"]["said"] > 2
        for shot in shots:
            assert state(
                loop(play(Weather(), {"m": Chatty(), "n": Chatty()}, Block(1), conduct, resume=shot))
            ) == state(whole)


@invariant(2)
def branches_part_and_leave_the_trunk_alone():
    shots = []
    trunk = loop(
        play(Weather(), {"m": Chatty(), "n": Uniform()}, Block(6)),
        lambda e: shots.append(e.snapshot()) if acting(e) else None,
    )
    before = bytes(shots[5])
    branch = loop(play(Weather(), {"m": Scripted([2]), "n": Uniform()}, Block(6), resume=shots[5]))
    assert shots[5] == before and branch.world != trunk.world
    a, b = ([(e.tick, e.seat, e.value) for e in o.trace() if e.kind == "act" and e.tick < 5] for o in (trunk, branch))
    assert a == b
    assert state(loop(play(Weather(), {"m": Chatty(), "n": Uniform()}, Block(6), resume=shots[5]))) == state(trunk)


REPLAYED = ("invalid", "error", "timeout", "said", "bad_address", "cut", "erased", "decisions", "held")


def _counted(outcome):
    return {
        seat: {k: v for k, v in counts.items() if k in REPLAYED or k.startswith("link_")}
        for seat, counts in outcome.counts.items()
    }


@invariant(3)
def replay_needs_no_agent():
    """The recorded moves, faults and words give the same world, totals and counts, whoever played."""
    faulty = 0
    for i in CASES:
        make, _, at, conduct = case(i)
        first = run(i)
        again = loop(play(make(), recorded(first.trace(), make().seats), at, conduct))
        assert (again.world, again.totals, again.score, again.status) == (
            first.world,
            first.totals,
            first.score,
            first.status,
        ), i
        assert _counted(again) == _counted(first), i
        faulty += sum(e.kind == "fault" for e in first.trace())
    assert faulty > 20


@invariant(3)
def replay_shows_a_changed_move():
    """One recorded move changed, and the digest is another one."""
    first = run(3)
    rows = first.trace()
    moves = [j for j, e in enumerate(rows) if e.kind == "act" and e.value is not None and e.origin == "own"]
    assert moves
    for j in (moves[0], moves[len(moves) // 2], moves[-1]):
        make, _, at, conduct = case(3)
        names = len(make().SPEC.names)
        changed = [*rows[:j], rows[j]._replace(value=(rows[j].value + 1) % names), *rows[j + 1 :]]
        assert loop(play(make(), recorded(changed, make().seats), at, conduct)).world != first.world


# -- 4: fair information ------------------------------------------------------------------------------------


@invariant(4)
def equal_data_gives_equal_views():
    for make, wide in ((walk, Walk), (Weather, None), (Nim, None), (Talk, None), (Sea, None)):
        report = check(make, wide, ticks=15, only=["data", "equal-views", "view-shapes", "batch-arrays"])
        assert report, report.text()


@invariant(4)
def handles_die_with_their_tick():
    kept = []

    class Keeper(Agent):
        def act(self, obs):
            for old in kept:
                for look in (
                    lambda: old.view("data"),
                    lambda: old.audience,
                    lambda: old.note("note", 1),
                    lambda: old.count("x"),
                ):
                    with pytest.raises(Stale):
                        look()
            kept[:] = [obs, obs.child(1)]
            return 0

    outcome = loop(play(Weather(), {"m": Keeper(), "n": Uniform()}))
    assert outcome.counts["m"] == {"decisions": 12} and kept


@invariant(4)
def words_reach_only_their_addressees():
    """A seat reads what it was sent and nothing else; unknown addressees hear nothing."""
    heard: dict = {}

    class Spy(Agent):
        def __init__(self, dst):
            self.dst = dst

        def act(self, obs):
            heard.setdefault(obs.seat, []).extend((m.src, m.dst, m.body) for m in obs.inbox)
            return Action({"guess": 0}, [Msg(self.dst, f"from {obs.seat}")])

    outcome = loop(play(Talk(), {"x": Spy("y"), "y": Spy("z"), "z": Spy("nobody")}))
    assert set(heard["y"]) == {("x", "y", "from x")} and set(heard["z"]) == {("y", "z", "from y")} and heard["x"] == []
    assert outcome.counts["z"] == {"bad_address": 4, "decisions": 4, "said": 4}


@invariant(8)
def mail_that_is_off_reaches_nobody():
    """The zero-message control: what is said is recorded, counted, and delivered to no seat and no world."""
    inboxes = []

    class Spy(Sum):
        def act(self, obs):
            inboxes.extend(obs.inbox)
            return super().act(obs)

    for lineup in ({"x": Spy(), "y": Spy(), "z": Spy()},):
        on = loop(play(Talk(), lineup, Block(1)))
        assert len(inboxes) == 6 and on.score == {"error": 0.0, "heard": 6.0}
        inboxes.clear()
        off = loop(play(Talk(), lineup, Block(1), Conduct(mail=Channel(mode="off"))))
        assert inboxes == [] and off.score["heard"] == 0 and off.score["error"] > 0
        assert [sum(e.kind == "msg" for e in o.trace()) for o in (on, off)] == [3, 3]
        assert all(c["said"] == 1 for c in off.counts.values())


@invariant(8)
def mail_is_delayed_by_as_many_ticks():
    for delay in (0, 1, 3):
        out = loop(play(Weather(), {"m": Chatty(), "n": Chatty()}, Block(2), Conduct(mail=Channel(delay=delay))))
        mail = [(e.tick, unpack(e.payload)[3]) for e in out.trace() if e.kind == "mail"]
        assert mail and all(tick - said == delay for tick, said in mail)


# -- 5: nothing lost (what needs no records) -------------------------------------------------------------------


@invariant(5)
def a_stop_is_never_made_a_fault():
    """A budget that is spent ends the run; no move is invented for an answer that can still be had."""

    class Spent(Agent):
        def act(self, obs):
            if obs.tick == 3:
                raise Stop("budget spent")
            return 0

    class Rushed(Spent):
        async def act(self, obs):
            return Spent.act(self, obs)

    class Grouped(Spent):
        def act_batch(self, group):
            return [self.act(o) for o in group]

    class Wide(Rows):
        def act_array(self, obs, legal, keys, tick, memo):
            if (tick == 3).any():
                raise Stop("budget spent")
            return super().act_array(obs, legal, keys, tick, memo)

    for agent in (Spent(), Rushed(), Grouped()):
        lineup = {"m": agent, "n": Uniform()}
        for ask in (loop, lambda e: list(batch([e])), lambda e: asyncio.run(aio(e))):
            with pytest.raises(Stop):
                ask(play(Weather(), lineup))
    with pytest.raises(Stop):
        list(columns(Walk(2), dict.fromkeys("abc", Wide()), [Block(1)]))


@invariant(5)
def spent_calls_outlive_a_cancelled_answer():
    class Never(Agent):
        async def act(self, obs):
            obs.child(0).note("model", {"k": 1}, Usage(calls=1, tok_in=7))
            await asyncio.sleep(60)

    env = Weather()
    env.clock, env.horizon = "deadline:0.01", 3
    out = asyncio.run(aio(play(env, {"m": Never(), "n": Uniform()})))
    assert out.counts["m"] == {"calls": 3, "decisions": 3, "link_noop": 1, "link_repeat": 2, "timeout": 3, "tok_in": 21}
    assert all(e.flags == 4 for e in out.trace() if e.kind == "model")


@invariant(5)
def no_answer_ends_a_run():
    """Whatever an agent answers, says or notes, the episode goes on to an outcome, and replays."""
    half, big = "\ud800", 2**70
    odd = [object(), half, big, {"guess": big}, {"guess": 1, "x": half}, b"x", [], Action(None), Action(Action(0))]
    odd += [
        Action(0, messages=m)
        for m in ([Msg("*", object())], [Msg("*", half)], [Msg("n", big)], ["hi"], [Msg(3, "x")], None)
    ]
    odd += [Action(0, confidence=object()), Action(0, rationale=half), Action(0, usage=3), Action(Fault("error"))]
    odd += [Fault("weird"), Fault("error", None), Fault("error", half), Fault("invalid", "", [Msg("*", object())])]
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    odd.append({"guess": 1, "x": deep})

    class Notes(Scripted):
        def act(self, obs):
            obs.note("note", self.answers[0])
            return obs.spec.draw(obs.key(), obs.tick, obs.legal)

    class Begins(Notes):
        def begin(self, obs):
            return self.answers[0] if isinstance(self.answers[0], Fault) else None

    for value in odd:
        for make in (Weather, Talk):
            for kind in (Scripted, Notes, Begins):
                seats = make().seats
                lineup = dict.fromkeys(seats, Uniform()) | {seats[0]: kind([value])}
                out = loop(play(make(), lineup, Block(1)))
                assert out.status == "horizon", (value, out.detail)
                assert loop(play(make(), recorded(out.trace(), seats), Block(1))).world == out.world


@invariant(5)
def no_column_ends_a_batch():
    """An array answer of any form is judged row by row as `play` judges the same answers."""

    class Odd(Rows):
        def __init__(self, make):
            self.make = make

        def act_array(self, obs, legal, keys, tick, memo):
            return self.make(len(obs))

    forms = {
        "nan": lambda k: (np.full(k, np.nan), None),
        "half": lambda k: (np.full(k, 1.5), None),
        "short": lambda k: (np.zeros(k - 1, int), None),
        "none": lambda k: None,
        "bare": lambda k: np.zeros(k, int),
        "square": lambda k: (np.zeros((k, 1), int), None),
        "memo": lambda k: (np.zeros(k, int), np.zeros((k + 1, 2))),
        "truth": lambda k: (np.ones(k, bool), None),
    }
    for name, make in forms.items():
        for width in (1, 3):
            got = [
                o.counts["a"]
                for _, o in columns(
                    Walk(width), {"a": Odd(make), "b": Uniform(), "c": Uniform()}, [Block(1, b) for b in range(3)]
                )
            ]
            kind = "error" if name in ("short", "none", "bare", "square", "memo") else "invalid"
            assert got == [{"decisions": 20, kind: 20, "link_noop": 20}] * 3, (name, width, got)


# -- 6: counted honestly -----------------------------------------------------------------------------------


@invariant(6)
def every_substitution_is_recorded_and_counted():
    """A move that is not the agent's own has an origin, a fault row and two counts; there are no others."""
    served = 0
    for i in CASES:
        out = run(i)
        seats = case(i)[0]().seats
        rows = out.trace()
        for j, seat in enumerate(seats):
            acts = [e for e in rows if e.kind == "act" and e.seat == j]
            faults = [e for e in rows if e.kind == "fault" and e.seat == j]
            counts = out.counts[seat]
            kinds, links = Tally(unpack(e.note)["kind"] for e in faults), Tally(e.origin for e in faults)
            assert counts["decisions"] == len(acts)
            assert {k: counts.get(k, 0) for k in ("invalid", "error", "timeout")} == {
                k: kinds[k] for k in ("invalid", "error", "timeout")
            }
            assert {k[5:]: v for k, v in counts.items() if k.startswith("link_")} == dict(links)
            substituted = {e.tick: e.origin for e in acts if e.origin != "own"}
            assert substituted == {e.tick: e.origin for e in faults if e.origin != "fail"}
            served += len(substituted)
            usage = [sum(getattr(e, c) for e in rows if e.seat == j) for c in ("calls", "tok_in", "tok_out")]
            assert usage == [counts.get(c, 0) for c in ("calls", "tok_in", "tok_out")]
            assert counts.get("said", 0) == sum(e.kind == "msg" and e.seat == j for e in rows)
    assert served > 30


@invariant(6)
def only_moves_that_were_wrong_are_replaced():
    """A valid move is played as it is; each kind of wrong one is a fault, in a mask too."""

    class Each(Agent):
        def act(self, obs):
            return (0, 7, -1, float("nan"), "nowhere", None, 2, 1, True, 1.0, "left", 3)[obs.tick % 12]

    masked = set()
    for block in range(6):
        out = loop(play(walk(), {"a": Each(), "b": Each(), "c": Each()}, Block(block)))
        for e in out.trace():
            if e.kind != "act":
                continue
            if e.tick % 12 == 11:
                masked.add((e.value, e.origin))
            elif e.tick % 12 in (0, 6, 7, 10):
                assert (e.value, e.origin) == ((0, 2, 1, 1)[(0, 6, 7, 10).index(e.tick % 12)], "own")
            else:
                assert (e.value, e.origin) == (0, "noop")
    assert masked == {(3, "own"), (0, "noop")}


@invariant(6)
def a_forfeit_stays_in_the_table():
    """A seat that fails loses with the declared score; the episode is an outcome as others are."""

    class Declared(Weather):
        def forfeit_score(self, seat):
            return {"wet": -1.0, "won": -2.0}

    class Fails(Agent):
        def act(self, obs):
            return Fault("error", "gone") if obs.tick == 4 else 1

    conduct = Conduct(error=("fail",))
    lineup = {"m": Fails(), "n": Uniform()}
    outcomes = [
        loop(play(Declared(), lineup, Block(1), conduct)),
        *(o for _, o in batch([play(Declared(), lineup, Block(1), conduct)])),
    ]
    for out in outcomes:
        assert out.status == "forfeit:m" and out.score == {"wet": -1.0, "won": -2.0} and out.ticks == 4
        assert out.counts["m"] == {"decisions": 4, "error": 1, "link_fail": 1}
        assert [(e.kind, e.origin) for e in out.trace()[-1:]] == [("end", "forfeit:m")]


@invariant(6)
def a_fault_of_the_world_is_not_the_agents():
    class Breaks(Weather):
        def step(self, actions, mail):
            if self.tick == 3:
                raise StopIteration("would vanish in a generator")
            return super().step(actions, mail)

    class Nan(Weather):
        def step(self, actions, mail):
            return [float("nan"), 0.0] if self.tick == 3 else super().step(actions, mail)

    for make in (Breaks, Nan):
        out = loop(play(make(), {"m": Uniform(), "n": Uniform()}))
        assert out.status == "env-fault" and out.ticks == 3 and set(out.counts["m"]) == {"decisions"}


@invariant(6)
def a_dead_worker_voids_the_episode():
    out = loop(
        play(
            Weather(),
            {"m": Scripted([0, Fault("void", "worker gone")]), "n": Uniform()},
            conduct=Conduct(error=("fail",)),
        )
    )
    assert out.status == "void" and "worker gone" in out.detail


# -- 7: distinct episodes -------------------------------------------------------------------------------------


@invariant(7)
def equal_courses_have_equal_digests():
    """Episodes that went the same way are one, also in other blocks: a cell of clones shows n = 1."""

    class Alternates(Agent):
        def act(self, obs):
            return obs.tick % 2

    def game():
        return MatrixBatch("stag_hunt", 1, rounds=6).single()

    clones = [
        loop(play(game(), dict.fromkeys(game().seats, Alternates()), Block(r, b))).world
        for r in (0, 1)
        for b in range(4)
    ]
    assert len(set(clones)) == 1
    drawn = [loop(play(game(), dict.fromkeys(game().seats, Uniform()), Block(0, 0, r))).world for r in range(8)]
    assert len(set(drawn)) == 8
    started = [loop(play(walk(), dict.fromkeys("abc", Scripted([0])), Block(0, b))).world for b in range(8)]
    assert len(set(started)) == 8


@invariant(7)
def replicates_are_other_play_in_the_same_world():
    first = [loop(play(Weather(), {"m": Uniform(), "n": Uniform()}, Block(1, 1, r))) for r in range(4)]
    assert len({o.world for o in first}) == 4 and len({o.score["wet"] for o in first}) == 1


def refused():
    with pytest.raises(CrossplayError):
        play(Weather(), {"m": Uniform()})


__all__ = ["BatchEnv", "invariant", "more_worlds", "of", "worlds"]
