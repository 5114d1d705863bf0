"""Snapshots of whole episodes: any case, any tick, any driver; what they refuse; what begins again."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import Block, CrossplayError, Lineup, Usage, aio, batch, loop, pack, play, recorded, unpack
from more_worlds import Chatty, Weather, case
from properties import run
from worlds import Counter, Troubled, Uniform, Walk, state

fast = settings(derandomize=True, deadline=None, max_examples=40, database=None)


def shots_of(episode):
    shots = []
    outcome = loop(episode, lambda e: shots.append(e.snapshot()) if e._open and e._open[0].op == "act" else None)
    return outcome, shots


@fast
@given(i=st.integers(15, 200), cut=st.integers(0, 30), again=st.integers(0, 30))
def test_any_case_goes_on_from_any_tick_and_from_there_again(i, cut, again):
    make, lineup, at, conduct = case(i)
    whole, shots = shots_of(play(make(), lineup, at, conduct))
    shot = shots[min(cut, len(shots) - 1)]
    resumed, later = shots_of(play(make(), case(i)[1], at, conduct, resume=shot))
    assert state(resumed) == state(whole)
    twice = loop(play(make(), case(i)[1], at, conduct, resume=later[min(again, len(later) - 1)]))
    assert state(twice) == state(whole)


@fast
@given(i=st.integers(15, 200))
def test_any_case_replays_with_its_faults(i):
    make, _, at, conduct = case(i)
    first = run(i)
    again = loop(play(make(), recorded(first.trace(), make().seats), at, conduct))
    assert (again.world, again.status, again.totals, again.score) == (
        first.world,
        first.status,
        first.totals,
        first.score,
    )


@pytest.mark.parametrize("i", range(5))
def test_other_drivers_resume_alike(i):
    make, lineup, at, conduct = case(i)
    whole, shots = shots_of(play(make(), lineup, at, conduct))
    shot = shots[len(shots) // 2]
    assert state(asyncio.run(aio(play(make(), case(i)[1], at, conduct, resume=shot)))) == state(whole)
    ((_, outcome),) = batch([play(make(), case(i)[1], at, conduct, resume=shot)])
    assert state(outcome) == state(whole)


def test_shared_memory_goes_on():
    def lineup():
        both = Counter()
        return Lineup({"a": both, "b": both, "c": Troubled()}, shared_memory=True)

    whole, shots = shots_of(play(Walk(1).single(), lineup(), Block(2)))
    for shot in (shots[0], shots[9], shots[-1]):
        assert state(loop(play(Walk(1).single(), lineup(), Block(2), resume=shot))) == state(whole)


def test_a_snapshot_is_refused_elsewhere():
    _, shots = shots_of(play(Weather(), {"m": Uniform(), "n": Uniform()}, Block(1, 1)))
    other = Weather()
    other.version = 2
    for env, at in (
        (other, Block(1, 1)),
        (Weather(), Block(1, 2)),
        (Weather(), Block(2, 1)),
        (Weather(), Block(1, 1, 1)),
    ):
        with pytest.raises(CrossplayError, match="the snapshot is of"):
            loop(play(env, {"m": Uniform(), "n": Uniform()}, at, resume=shots[2]))
    episode = play(Weather(), {"m": Uniform(), "n": Uniform()})
    with pytest.raises(CrossplayError, match="only while"):
        episode.snapshot()


def test_snapshots_hold_no_references():
    """The bytes say the same after the episode went on; a memo that an agent changes afterwards is not in them."""
    seen = []

    class Mutates(Chatty):
        name = "mutates"

        def act(self, obs):
            answer = super().act(obs)
            seen.append(answer.memo)
            return answer

    _, shots = shots_of(play(Weather(), {"m": Mutates(), "n": Uniform()}, Block(1)))
    before = [bytes(s) for s in shots]
    for memo in seen:
        memo["heard"].append("afterwards")
    assert shots == before and all(b"afterwards" not in s for s in shots)
    assert unpack(shots[3])["tick"] == 3 and pack(unpack(shots[3])) == shots[3]


def test_begin_is_asked_again_and_need_not_do_its_work_again():
    class Greets(Counter):
        name = "greets"

        def begin(self, obs):
            begun.append((obs.tick, obs.memo, len(obs.history)))
            if obs.memo is not None:
                return None
            obs.note("model", "hello", Usage(calls=1))
            return 5

    begun: list = []
    lineup = {"m": Greets(), "n": Uniform()}
    whole, shots = shots_of(play(Weather(), lineup, Block(1)))
    resumed = loop(play(Weather(), lineup, Block(1), resume=shots[4]))
    assert state(resumed) == state(whole) and resumed.counts["m"]["calls"] == 1
    assert [(tick, memo) for tick, memo, _ in begun] == [(0, None), (4, 9)] and begun[1][2] > 4


def test_a_late_answer_stays_in_the_trace_of_a_resumed_episode():
    lineup = {"m": Uniform(), "n": Uniform()}
    shots = []

    def tick(e):
        if e.tick == 2:
            e.late("m", 1, "too late")
        shots.append(e.snapshot())

    whole = loop(play(Weather(), lineup, Block(1)), tick)
    resumed = loop(play(Weather(), lineup, Block(1), resume=shots[6]))
    assert state(resumed) == state(whole) and [e.kind for e in resumed.trace()].count("late") == 1


def test_a_counterfactual_changes_one_seat_from_one_tick():
    lineup = {"m": Uniform(), "n": Uniform()}
    whole, shots = shots_of(play(Weather(), lineup, Block(3)))
    other = loop(play(Weather(), {"m": Counter(), "n": Uniform()}, Block(3), resume=shots[6]))

    def acts(outcome, seat):
        return [e.value for e in outcome.trace() if e.kind == "act" and e.seat == seat]

    assert acts(other, 0)[:6] == acts(whole, 0)[:6] and acts(other, 0) != acts(whole, 0)
    assert acts(other, 1) == acts(whole, 1)  # its chance is its own
    assert other.score["wet"] == whole.score["wet"]  # and so is the world's
