"""All drivers give equal episodes; faults, mail, memos, snapshots, handoffs and replay."""

import asyncio

import pytest

from crossplay.kernel import (
    Action,
    Block,
    Channel,
    Conduct,
    CrossplayError,
    Lineup,
    aio,
    aio_many,
    batch,
    loop,
    play,
    recorded,
    unpack,
)
from worlds import Counter, Nim, Rows, Slow, Sum, Talk, Troubled, Uniform, Walk, state


def walk(n=3):
    return Walk(1, **({} if n == 3 else {"n": n})).single()


CASES = {
    "walk": (walk, lambda: {"a": Uniform(), "b": Counter(), "c": Rows()}),
    "nim": (Nim, lambda: {"first": Uniform(), "second": Counter()}),
    "talk": (Talk, lambda: {"x": Sum(), "y": Sum(), "z": Sum()}),
    "trouble": (walk, lambda: {"a": Troubled(), "b": Troubled(), "c": Slow()}),
    "trouble-talk": (Talk, lambda: {"x": Troubled(), "y": Sum(), "z": Slow()}),
}


@pytest.mark.parametrize("case", CASES)
def test_drivers_agree(case):
    make, lineup = CASES[case]
    agents = lineup()
    ats = [Block(3, b, r) for b in range(6) for r in range(2)]
    one = {at: state(loop(play(make(), agents, at))) for at in ats}
    assert len({s[4] for s in one.values()}) > 1
    for width in (1, 7, 64):
        for episode, outcome in batch((play(make(), agents, at) for at in ats), width):
            assert state(outcome) == one[episode.at]
    seen = {}
    asyncio.run(aio_many((play(make(), agents, at) for at in ats), 5, lambda e, o: seen.update({e.at: state(o)})))
    assert seen == one


@pytest.mark.parametrize("case", CASES)
def test_replay_has_the_same_digest_counts_and_moves(case):
    make, lineup = CASES[case]
    at = Block(9, 4)
    first = loop(play(make(), lineup(), at))
    again = loop(play(make(), recorded(first.trace(), make().seats), at))
    assert again.world == first.world and again.totals == first.totals and again.score == first.score
    keep = (
        "invalid",
        "error",
        "timeout",
        "link_noop",
        "link_random",
        "link_repeat",
        "said",
        "bad_address",
        "decisions",
    )
    for seat in first.counts:
        assert {k: v for k, v in first.counts[seat].items() if k in keep} == {
            k: v for k, v in again.counts[seat].items() if k in keep
        }


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cut", [0, 1, 3])
def test_a_resumed_episode_equals_the_uninterrupted_one(case, cut):
    make, lineup = CASES[case]
    agents, at = lineup(), Block(1, "q7")
    whole = loop(play(make(), agents, at))
    shots = {}
    loop(
        play(make(), agents, at),
        lambda e: shots.setdefault(e.tick, e.snapshot()) if e._open and e._open[0].op == "act" else None,
    )
    resumed = loop(play(make(), lineup(), at, resume=shots[min(cut, max(shots))]))
    assert state(resumed) == state(whole)


def test_a_snapshot_of_another_block_is_refused():
    shots = []
    loop(
        play(Nim(), CASES["nim"][1](), Block(1, 1)),
        lambda e: shots.append(e.snapshot()) if e._open and e._open[0].op == "act" else None,
    )
    with pytest.raises(CrossplayError, match="snapshot"):
        loop(play(Nim(), CASES["nim"][1](), Block(1, 2), resume=shots[0]))


def test_handoff_takes_effect_at_the_next_tick_and_replays():
    at = Block(2, 2)
    other = Uniform()

    def hand(e):
        if e.tick == 10 and e._open and e._open[0].op == "act":
            e.seat("b", other)

    mixed = loop(play(walk(), {"a": Uniform(), "b": Counter(), "c": Uniform()}, at), hand)
    who = [(e.tick, e.agent) for e in mixed.trace() if e.kind == "act" and e.seat == 1]
    assert [name for tick, name in who if tick <= 10] == ["counter"] * 11
    assert {name for tick, name in who if tick > 10} == {"uniform"}
    assert [e.tick for e in mixed.trace() if e.kind == "seat" and e.origin == "handoff"] == [11]
    assert loop(play(walk(), recorded(mixed.trace(), walk().seats), at)).world == mixed.world


def test_of_several_handovers_in_one_tick_the_last_one_counts():
    counter, others = Counter(), [Uniform(), Uniform()]

    def hand(e):
        if e._open and e._open[0].op == "act":
            for agent in {4: [*others, counter], 10: [others[0], others[0]]}.get(e.tick, ()):
                e.seat("b", agent)

    agents = {"a": Uniform(), "b": counter, "c": Uniform()}
    mixed, alone = (loop(play(walk(), agents, Block(2, 2)), on_tick) for on_tick in (hand, None))
    assert [e.tick for e in mixed.trace() if e.kind == "seat" and e.origin == "handoff"] == [11]
    assert mixed.counts["b"]["handoffs"] == 1
    acts = [[e.value for e in o.trace() if e.kind == "act" and e.seat == 1 and e.tick <= 10] for o in (mixed, alone)]
    assert acts[0] == acts[1], "who was handed the seat for no tick at all leaves no trace, and the memo stays"


def test_shared_memory_is_one_memo_asked_in_seat_order():
    both = Counter()
    apart = loop(play(walk(), Lineup({"a": both, "b": both, "c": Uniform()}), Block(5)))
    shared = [loop(play(walk(), Lineup({"a": both, "b": both, "c": Uniform()}, shared_memory=True), Block(5)))]
    shared += [
        o
        for _, o in batch([play(walk(), Lineup({"a": both, "b": both, "c": Uniform()}, shared_memory=True), Block(5))])
    ]
    shared.append(
        asyncio.run(aio(play(walk(), Lineup({"a": both, "b": both, "c": Uniform()}, shared_memory=True), Block(5))))
    )
    assert len({o.world for o in shared}) == 1 and shared[0].world != apart.world
    order = [(e.tick, e.seat) for e in shared[0].trace() if e.kind == "act"]
    assert order == sorted(order)


def test_mail_off_is_recorded_and_not_delivered():
    lineup = CASES["talk"][1]()
    on = loop(play(Talk(), lineup, Block(1)))
    off = loop(play(Talk(), lineup, Block(1), Conduct(mail=Channel(mode="off"))))
    assert on.score["error"] == 0 and on.score["heard"] == 6
    assert off.score["error"] > 0 and off.score["heard"] == 0
    assert sum(e.kind == "msg" for e in off.trace()) == sum(e.kind == "msg" for e in on.trace()) == 3
    assert not [e for e in off.trace() if e.kind == "mail"]


def test_mail_is_delayed_shuffled_limited_and_noisy():
    lineup = CASES["talk"][1]()
    late = loop(play(Talk(), lineup, Block(1), Conduct(mail=Channel(delay=2))))
    assert {e.tick for e in late.trace() if e.kind == "mail"} == {2} and late.score["error"] == 0
    never = loop(play(Talk(), lineup, Block(1), Conduct(mail=Channel(delay=9))))
    assert never.score["heard"] == 0
    cut = loop(play(Talk(), lineup, Block(1), Conduct(mail=Channel(capacity=0))))
    assert cut.score["heard"] == 0 and cut.counts["x"]["cut"] == 1
    lost = loop(play(Talk(), lineup, Block(1), Conduct(mail=Channel(noise=1.0))))
    assert lost.score["heard"] == 0 and lost.counts["x"]["erased"] == 1
    worlds = {
        loop(play(Talk(), lineup, Block(1), Conduct(mail=Channel(mode=m)))).world for m in ("on", "off", "shuffle")
    }
    assert len(worlds) == 3


def test_words_stand_when_a_move_is_invalid():
    out = loop(play(Talk(), {"x": Troubled(), "y": Troubled(), "z": Sum()}, Block(11)))
    faulty = {(e.tick, e.seat) for e in out.trace() if e.kind == "fault" and unpack(e.note)["kind"] == "invalid"}
    said = {(e.tick, e.seat) for e in out.trace() if e.kind == "msg"}
    assert faulty & said
    assert any(c.get("bad_address") for c in out.counts.values())


def test_a_chain_without_links_forfeits_and_the_episode_stays_in_the_table():
    out = loop(
        play(
            walk(),
            {"a": Troubled(), "b": Uniform(), "c": Uniform()},
            Block(4),
            Conduct(invalid=("fail",), error=(), timeout=()),
        )
    )
    assert out.status == "forfeit:a" and "coins" in out.score
    again = loop(
        play(walk(), recorded(out.trace(), walk().seats), Block(4), Conduct(invalid=("fail",), error=(), timeout=()))
    )
    assert again.world == out.world


class Broken(Nim):
    def step(self, actions, mail):
        raise StopIteration("inside a generator this would vanish")


class Nan(Nim):
    def step(self, actions, mail):
        return (float("nan"), 0.0)


@pytest.mark.parametrize("world", [Broken, Nan])
def test_an_environment_that_fails_is_an_outcome_not_an_escape(world):
    out = loop(play(world(), {"first": Uniform(), "second": Uniform()}))
    assert out.status == "env-fault" and out.detail
    both = [
        o
        for _, o in batch(
            [
                play(world(), {"first": Uniform(), "second": Uniform()}),
                play(Nim(), {"first": Uniform(), "second": Uniform()}),
            ]
        )
    ]
    assert {o.status for o in both} == {"env-fault", "terminal"}


def test_a_handle_dies_with_its_tick():
    from crossplay.kernel import Stale
    from worlds import Agent

    kept = []

    class Keeper(Agent):
        name = "keeper"

        def act(self, obs):
            kept.append(obs)
            return 0

    loop(play(walk(), {"a": Keeper(), "b": Uniform(), "c": Uniform()}))
    with pytest.raises(Stale):
        kept[0].view("data")
    with pytest.raises(Stale):
        kept[0].note("note", {})


def test_a_deadline_cuts_an_async_agent_and_keeps_what_it_spent():
    from crossplay.kernel import Usage
    from worlds import Agent

    class Never(Agent):
        name = "never"

        async def act(self, obs):
            obs.child(0).note("model", {"k": 1}, Usage(calls=1, tok_in=7))
            await asyncio.sleep(60)

    env = walk()
    env.clock, env.horizon = "deadline:0.01", 3
    env.batch.horizon = 3
    out = asyncio.run(aio(play(env, {"a": Never(), "b": Uniform(), "c": Uniform()})))
    assert out.counts["a"]["timeout"] == 3 and out.counts["a"]["tok_in"] == 21
    notes = [e for e in out.trace() if e.kind == "model"]
    assert len(notes) == 3 and all(e.flags == 4 for e in notes)
    from crossplay.kernel.chain import mind_start

    assert out.mind == mind_start()
    assert loop(play(env, recorded(out.trace(), env.seats))).world == out.world


def test_seats_of_one_tick_are_asked_at_once():
    from worlds import Agent

    live, most = 0, 0

    class Waits(Agent):
        name = "waits"

        async def act(self, obs):
            nonlocal live, most
            live += 1
            most = max(most, live)
            await asyncio.sleep(0.005)
            live -= 1
            return 0

    asyncio.run(aio(play(walk(), {"a": Waits(), "b": Waits(), "c": Waits()})))
    assert most == 3


def test_at_tick_pace_a_late_seat_is_held_and_not_at_fault():
    from worlds import Agent

    class Person(Agent):
        name, kind = "person", "human"

        def latest(self, obs):
            return 2 if obs.tick == 1 else None

    env = walk()
    env.clock, env.batch.horizon = "tick:200", 4
    out = asyncio.run(aio(play(env, {"a": Person(), "b": Uniform(), "c": Uniform()})))
    acts = [(e.origin, e.value) for e in out.trace() if e.kind == "act" and e.seat == 0]
    assert acts == [("held", 0), ("own", 2), ("held", 0), ("held", 0)]
    assert out.counts["a"]["held"] == 3 and "timeout" not in out.counts["a"]


def test_a_lineup_must_fill_the_seats():
    with pytest.raises(CrossplayError, match="no agent for c"):
        play(walk(), {"a": Uniform(), "b": Uniform()})


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_a_score_that_is_no_finite_number_is_an_environment_fault(odd):
    env = Nim()
    env.score = lambda: {"won": 1.0, "odd": odd}
    outcome = loop(play(env, {"first": Uniform(), "second": Counter()}, Block(3)))
    assert (outcome.status, outcome.score) == ("env-fault", {}) and f"the score odd is {odd}" in outcome.detail


@pytest.mark.parametrize("sure", [17.0, -0.1, float("nan"), True, "sure", [0.5]])
def test_a_confidence_that_is_none_is_dropped_and_counted(sure):
    class Sure(Uniform):
        said = sure

        def act(self, obs):
            return Action(super().act(obs), confidence=self.said)

    outcome = loop(play(Nim(), {"first": Sure(), "second": Counter()}, Block(3)))
    turns = [e for e in outcome.trace() if e.kind == "act" and e.seat == 0]
    assert outcome.counts["first"]["bad_confidence"] == len(turns) and not any(e.note for e in turns)
    Sure.said = 0.5
    fine = loop(play(Nim(), {"first": Sure(), "second": Counter()}, Block(3)))
    assert "bad_confidence" not in fine.counts["first"] and fine.world == outcome.world
