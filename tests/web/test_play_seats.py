"""What becomes of every key, and how often somebody may knock: a seat by itself, without a room."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.agents.open_turn import Refused
from crossplay.kernel import Block, Held, Observation, make_env
from crossplay.kernel.obs import Scope
from crossplay.web.play.clock import Beat, Bucket, Buckets
from crossplay.web.play.record import allowed, allowed_env
from crossplay.web.play.seats import SPAN, Seat, turn_number

NAMES = ("north", "south", "east", "west", "stay", "interact")


def requests(ticks):
    """Open requests of a kitchen's first seat, one per tick."""
    env = make_env("kitchen/cramped_room")
    env.start(Block())
    scope = Scope(env, env.id, Block(), "p0")
    return [Observation(scope, "act", tick) for tick in range(ticks)]


OBS = requests(60)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.just("tick"), st.tuples(st.integers(-2, 1), st.sampled_from([*NAMES, "fly"]))), max_size=40)
)
def test_every_key_has_one_fate(script):
    seat = Seat("p0", True, "person")
    seat.fresh("tick")
    seats, tick, played = iter(OBS), 0, []
    obs = next(seats)
    seat.open(obs, 1, 0.0)
    newest = None
    for step in script:
        if step == "tick":
            action = seat.newest(obs)
            played.append(None if action is None else NAMES[action.value])
            assert played[-1] == newest, "the newest key of the tick is played, or it is held"
            newest, tick, obs = None, tick + 1, next(seats)
            seat.open(obs, 1, 0.0)
            continue
        back, name = step
        try:
            seat.answer(turn_number(1, tick) + back, name)
        except Refused:
            assert back > 0 or name == "fly" or tick + back < 0
        else:
            assert back <= 0 and name != "fly"
            newest = name
    open_now = newest is not None
    tally = seat.tally
    assert tally.received == sum(step != "tick" for step in script)
    assert tally.played == sum(p is not None for p in played)
    assert tally.received == tally.played + tally.replaced + tally.refused + tally.over + open_now
    seat.close_turn()
    assert tally.received == tally.played + tally.replaced + tally.refused + tally.over


def test_turns_of_other_episodes_are_refused():
    seat = Seat("p0", True, "person")
    seat.fresh("tick")
    seat.open(OBS[0], 2, 0.0)
    with pytest.raises(Refused, match="is not open"):
        seat.answer(turn_number(1, 0), "north")
    seat.answer(2 * SPAN, "north")
    assert (seat.tally.received, seat.tally.refused) == (2, 1)


def test_words_without_a_key_are_said_and_the_move_is_held():
    seat = Seat("p0", True, "person")
    seat.fresh("tick")
    seat.open(OBS[0], 1, 0.0)
    with pytest.raises(Refused, match="cannot hear"):
        seat.say("hello", "p7")
    assert seat.newest(OBS[0]) is None
    seat.say("hello")
    said = seat.newest(OBS[0])
    assert isinstance(said.value, Held)
    assert [m.body for m in said.messages] == ["hello"]
    assert seat.newest(OBS[0]) is None, "said once"


def test_a_turn_that_waits_is_answered_once_and_asked_again_it_stands():
    async def go():
        seat = Seat("p0", True, "person")
        seat.fresh("wait")
        seat.open(OBS[0], 1, 0.0)
        seat.say("now")
        seat.answer(turn_number(1, 0), "north")
        with pytest.raises(Refused, match="already"):
            seat.answer(turn_number(1, 0), "south")
        first = await seat.answered(OBS[0])
        seat.open(OBS[0], 1, 0.0)  # another seat was handed over: the tick is asked again
        again = await seat.answered(OBS[0])
        assert again == first
        assert first.value == 0
        assert [m.body for m in first.messages] == ["now"]
        assert (seat.tally.received, seat.tally.played, seat.tally.refused) == (2, 1, 1)

    asyncio.run(go())


def test_tokens_open_their_own_seat_only():
    one, other = Seat("p0", True, "person"), Seat("p1", True, "person")
    first, token = one.invite(), one.invite()
    theirs = other.invite()
    assert one.knows(token)
    assert not one.knows(first), "a new link makes the old one worthless"
    assert not one.knows(theirs)
    assert not one.knows("")
    assert not Seat("p2", True, "person").knows(""), "a seat without a link opens for nobody"
    assert token not in one.token, "what is kept is a hash"


def test_buckets_fill_with_time():
    now = [0.0]
    bucket = Bucket(2.0, 3.0, lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 1.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    many = Buckets(1.0, 1.0, names=2, now=lambda: now[0])
    assert many.take("a")
    assert not many.take("a")
    assert many.take("b")
    assert many.take("c")
    assert many.take("a"), "the names heard of longest ago are forgotten"


def test_lateness_is_measured_from_the_clock():
    beat = Beat(10.0)
    assert beat.told().ticks == 0
    beat.tick(0, 5.0)
    beat.shown(0, 5.0)
    for n, late in ((1, 0.001), (2, 0.0), (3, 0.02)):
        beat.tick(n, 5.0 + n / 10 + late)
    told = beat.told()
    assert told.ticks == 3
    assert told.worst_ms == pytest.approx(20.0, abs=0.1)
    assert told.p50_ms == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    "given",
    [
        "python:os:system",
        "worker:x",
        "open:mcp",
        "human",
        "a2a:http://127.0.0.1:1",
        {"type": "worker", "command": ["sh"]},
        {"type": "relay", "first": "random", "then": "python:os:system"},
        {"type": "team", "members": ["worker:x", "random"]},
        {"type": "policy", "path": "/etc/passwd"},
        "llm:not-a-model",
        {"type": "llm:smollm2-135m", "tools": ["mcp:sh"]},
    ],
)
def test_agents_that_run_code_or_call_out_are_refused(given):
    from crossplay.web.desk import Forbidden

    with pytest.raises(Forbidden):
        allowed(given, "seats.p0")


def test_installed_agents_and_environments_are_allowed():
    from crossplay.kernel import CrossplayError
    from crossplay.web.desk import Forbidden

    assert allowed("chef", "seats.p0") == {"type": "chef"}
    assert allowed({"type": "policy:kitchen/cramped_room-1"}, "x")
    allowed_env("kitchen/cramped_room")
    with pytest.raises(CrossplayError, match="chef"):
        allowed("cheff", "seats.p0")
    with pytest.raises(Forbidden):
        allowed_env("agentgym:http://127.0.0.1:1")
