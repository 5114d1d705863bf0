"""Invariants 4 and 8: what a seat may know, and what mail carries."""

from __future__ import annotations

import pytest

from crossplay.envs.check import check
from crossplay.kernel import (
    Action,
    Agent,
    Block,
    Channel,
    Conduct,
    Msg,
    Stale,
    loop,
    play,
    unpack,
)
from more_worlds import Chatty, Sea, Weather
from properties.common import invariant, walk
from worlds import Nim, Sum, Talk, Uniform, Walk


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
                for name, given in (("view", ("data",)), ("note", ("note", 1)), ("count", ("x",))):
                    with pytest.raises(Stale):
                        getattr(old, name)(*given)
                with pytest.raises(Stale):
                    old.audience  # noqa: B018
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
