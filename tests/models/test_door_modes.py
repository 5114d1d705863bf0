"""The modes of a cassette, seen through the door: lenient, fork, refresh, off."""

import asyncio

import pytest
from asked import handle, request
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError
from crossplay.models import Budget, BudgetSpent, Door, ModelDown, Reply, ScriptedBackend
from crossplay.models.door import given as given_answer
from crossplay.records.cassette import Cassette, Fork, Missing, verify_cassette


class Counter(ScriptedBackend):
    """Never says the same twice."""

    def __init__(self, start=0, **options):
        super().__init__("m", **options)
        self.said = start

    async def generate(self, requests, keys=()):
        [reply] = await super().generate(requests, keys)
        self.said += 1
        return [Reply(text=str(self.said), usage=reply.usage, cached=1)]


def door_of(cassette, start=0, **options):
    return Door({"m": Counter(start, **options)}, cassette)


def ask(door, *requests, at=None):
    return [r.text for r in asyncio.run(door.model("m").generate(list(requests), at=at or handle()))]


def sent(door):
    return door.model("m").backend.calls


def recorded(path, *places, temperature=0.0):
    """A cassette with the question "q" asked at these places."""
    door = door_of(Cassette(path))
    answers = [ask(door, request("q", temperature=temperature), at=at)[0] for at in places]
    asyncio.run(door.aclose())
    return answers


# -- lenient ---------------------------------------------------------------------------------------
def test_lenient_takes_the_slot_first_then_content_then_asks(tmp_path):
    first, second = recorded(tmp_path, handle(block=1), handle(block=2))
    door = door_of(Cassette(tmp_path, "lenient"), 100)
    own, hit, live = handle(block=2), handle(block=3), handle(block=3)
    assert ask(door, request("q"), at=own) == [second]
    assert ask(door, request("q"), at=hit) == [first]  # of two equal ones the first in structural order
    assert ask(door, request("new"), at=live) == ["101"]
    assert (own.counts, hit.counts, live.counts) == ({"tok_cached": 1}, {"content_hits": 1}, {"tok_cached": 1})
    assert hit.notes[0][3].calls == 0  # nothing was paid for it
    asyncio.run(door.aclose())
    again = handle(block=3)
    strict = door_of(Cassette(tmp_path, "strict"))
    assert ask(strict, request("q"), at=again) == [first]  # the hit has a row of its own
    assert again.counts == {"content_hits": 1} and again.notes == hit.notes
    assert not verify_cassette(tmp_path / "cassette.sqlite")


def test_content_of_another_cassette_or_of_an_exported_file(tmp_path):
    from crossplay.records.cassette_file import export_cassette

    [kept] = recorded(tmp_path / "other", handle())
    export_cassette(tmp_path / "other", tmp_path / "other.mcz")
    for name in ("other", "other.mcz"):
        with Cassette(tmp_path / name, "strict") as other:
            door = door_of(Cassette(None, "lenient", others=[other]))
            assert ask(door, request("q"), at=handle(block=9)) == [kept]
            assert sent(door) == 0


def test_a_content_hit_is_no_donor_itself(tmp_path):
    recorded(tmp_path, handle(block=1))
    door = door_of(Cassette(tmp_path, "lenient"))
    ask(door, request("q"), at=handle(block=2))
    asyncio.run(door.aclose())
    with Cassette(tmp_path, "strict") as c:
        donors = {r.call.address[2] for r in c.rows() if r.borrowed == ""}
        assert donors == {1} and [r.borrowed for r in c.rows()] == ["", "hit"]


places = st.builds(
    lambda block, replicate, seat, tick, path: (block, replicate, seat, tick, path),
    st.integers(0, 2),
    st.integers(0, 1),
    st.sampled_from(["p0", "p1"]),
    st.integers(0, 1),
    st.sampled_from([(), (0,), (1,)]),
)


def at_place(place):
    block, replicate, seat, tick, path = place
    at = handle(tick=tick, block=block, seat=seat, replicate=replicate)
    return at.child(*path) if path else at


@given(then=st.sets(places, max_size=8), now=st.sets(places, max_size=12), order=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_no_answer_serves_two_sampled_calls_of_one_block(then, now, order):
    """Whatever was recorded and in whatever order it is asked, answers within a block stay distinct."""
    other = Cassette(None)
    door = door_of(other)
    for place in sorted(then):
        ask(door, request("q", temperature=1.0), at=at_place(place))
    results = []
    for _ in range(2):
        lenient = door_of(Cassette(None, "lenient", others=[other]), 1000)
        asked = sorted(now)
        order.shuffle(asked)
        got = {place: ask(lenient, request("q", temperature=1.0), at=at_place(place))[0] for place in asked}
        for block in range(3):
            texts = [t for p, t in got.items() if p[0] == block]
            assert len(set(texts)) == len(texts)
        results.append({p: t for p, t in got.items() if int(t) <= 1000})
    assert results[0] == results[1]  # which answer serves which call does not depend on who asks first
    borrowed = {p[1:] for p in then} & {p[1:] for p in now}
    assert {p[1:] for p in results[0]} == borrowed


def test_a_declared_shared_prefix_lifts_the_rule(tmp_path):
    [kept] = recorded(tmp_path, handle(), temperature=1.0)
    for shared, expected in ((False, ["1001", "1002"]), (True, [kept, kept])):
        with Cassette(tmp_path, "strict") as other:
            door = door_of(Cassette(None, "lenient", others=[other], shared=shared), 1000)
            texts = [ask(door, request("q", temperature=1.0), at=handle().child(i))[0] for i in range(2)]
        assert texts == expected


# -- refresh ---------------------------------------------------------------------------------------
def test_refresh_asks_again_and_loses_nothing(tmp_path):
    recorded(tmp_path, handle())
    with Cassette(tmp_path, "strict") as c:
        before = next(c.rows())
    refresh = Cassette(tmp_path, "refresh")
    since = refresh._since
    door = door_of(refresh, 10)
    assert ask(door, request("q")) == ["11"]
    assert ask(door, request("q")) == ["11"]  # once is enough
    assert sent(door) == 1
    asyncio.run(door.aclose())
    with Cassette(tmp_path, "strict") as c:
        new, kept = sorted(c.rows(), key=lambda r: r.status)
        assert (kept.status, kept.reply, kept.usage) == ("superseded", before.reply, before.usage)
        assert kept.idempotency == before.idempotency != new.idempotency  # else the old answer might come again
        assert c.spent()["m"].calls == 2 and len(c.at(new.call.address)) == 1
    assert not verify_cassette(tmp_path / "cassette.sqlite")
    # A refresh that was cut off goes on where it stood.
    door = door_of(Cassette(tmp_path, "refresh", since=since), 20)
    assert ask(door, request("q")) == ["11"] and sent(door) == 0
    asyncio.run(door.aclose())


def test_a_refresh_without_an_endpoint_keeps_the_old_answer(tmp_path):
    [old] = recorded(tmp_path, handle())
    door = door_of(Cassette(tmp_path, "refresh"), down=True)
    with pytest.raises(ModelDown):
        ask(door, request("q"))
    asyncio.run(door.aclose())
    with Cassette(tmp_path, "strict") as c:
        assert ask(door_of(c), request("q")) == [old] and len(c) == 1


def test_a_greedy_answer_is_not_shared_across_a_refresh(tmp_path):
    recorded(tmp_path, handle(block=1))
    door = door_of(Cassette(tmp_path, "refresh"), 10)
    door.model("m").backend.repeats = True
    assert ask(door, request("q"), at=handle(block=1)) == ["11"]
    assert ask(door, request("q"), at=handle(block=2)) == ["11"]
    asyncio.run(door.aclose())


# -- fork ------------------------------------------------------------------------------------------
def test_fork_is_strict_before_and_live_after(tmp_path):
    then = recorded(tmp_path, *(handle(tick=t) for t in range(4)))
    base = Cassette(tmp_path, "strict")
    [at_1] = [r.call for r in base.rows() if r.call.address[5] == 1]
    door = door_of(Cassette(None, "fork", fork=Fork(base, 1, "p0", (), at_1.key, given_answer("m", "replaced"))), 50)
    handles = [handle(tick=t) for t in range(4)]
    texts = [ask(door, request("q"), at=h)[0] for h in handles]
    assert texts == [then[0], "replaced", "51", "52"]  # after it, even the very same question is asked anew
    assert [h.counts.get("given_answers", 0) for h in handles] == [0, 1, 0, 0]
    with pytest.raises(Missing, match="differs in messages"):
        ask(door, request("other"), at=handle(tick=0))
    with pytest.raises(Missing, match="nothing else was asked there"):
        ask(door, request("q"), at=handle(tick=0).child(3))
    kept = [r.borrowed for r in door.cassette.rows()]
    assert kept == ["", "given", "", ""]  # the fork's cassette is whole by itself


def test_a_fork_inside_a_seat_keeps_the_other_calls_of_its_tick(tmp_path):
    at = [handle(tick=1).child(i) for i in range(3)] + [handle(tick=1, seat="p1")]
    then = recorded(tmp_path, *at)
    base = Cassette(tmp_path, "strict")
    [place] = [r.call for r in base.rows() if r.call.address[6] == (1,)]
    fork = Fork(base, 1, "p0", (1,), place.key, given_answer("m", "new"))
    door = door_of(Cassette(None, "fork", fork=fork), 50)
    assert ask(door, request("q"), at=handle(tick=1).child(0)) == [then[0]]
    with pytest.raises(Missing):  # before the place, what was not recorded is a divergence
        ask(door, request("changed"), at=handle(tick=1).child(0))
    assert ask(door, request("q"), at=handle(tick=1).child(1)) == ["new"]
    assert ask(door, request("q"), at=handle(tick=1).child(2)) == [then[2]]  # asked beside it, not because of it
    assert ask(door, request("after new"), at=handle(tick=1).child(2)) == ["51"]
    assert ask(door, request("q"), at=handle(tick=1, seat="p1")) == [then[3]]
    assert sent(door) == 1


def test_a_fork_without_a_replaced_answer_is_strict_through_its_tick(tmp_path):
    then = recorded(tmp_path, handle(tick=0), handle(tick=1))
    door = door_of(Cassette(None, "fork", fork=Fork(Cassette(tmp_path, "strict"), 1)), 50)
    assert [ask(door, request("q"), at=handle(tick=t))[0] for t in range(3)] == [*then, "51"]
    with pytest.raises(Missing):
        ask(door, request("else"), at=handle(tick=1))


# -- off -------------------------------------------------------------------------------------------
def test_off_keeps_nothing_and_looks_nothing_up(tmp_path):
    recorded(tmp_path, handle())
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    door = Door({"m": Counter(10)}, Cassette(tmp_path, "off"), Budget(calls=2))
    assert ask(door, request("q")) == ["11"]
    assert ask(door, request("q")) == ["12"]
    assert len(door.cassette) == 0
    with pytest.raises(BudgetSpent):  # the budget holds all the same
        ask(door, request("q"))
    asyncio.run(door.aclose())
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_modes_are_checked():
    with pytest.raises(CrossplayError, match='unknown mode "lenint". Did you mean "lenient"'):
        Cassette(None, "lenint")
    with pytest.raises(CrossplayError, match="only a fork"):
        Cassette(None, "fork")
    with pytest.raises(CrossplayError, match="only a fork"):
        Cassette(None, "record", fork=Fork(Cassette(None), 0))
