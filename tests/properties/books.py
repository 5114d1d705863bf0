"""Invariants 5, 6 and 7: nothing lost, counted honestly, distinct episodes."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally

import numpy as np
import pytest

from crossplay.envs.matrix import MatrixBatch
from crossplay.kernel import (
    Action,
    Agent,
    Block,
    Conduct,
    Fault,
    Msg,
    Stop,
    Usage,
    aio,
    batch,
    columns,
    loop,
    play,
    recorded,
    unpack,
)
from more_worlds import Weather, case
from properties.common import CASES, Scripted, invariant, run, walk
from worlds import Rows, Talk, Uniform, Walk


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
            rewards = super().step(actions, mail)
            return [float("nan"), 0.0] if self.tick == 4 else rewards

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
