"""Where two episodes part, against a plain comparison of their rows; and the words of a tick."""

import numpy as np
import pytest
import reported
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import WORLD, Event, pack
from crossplay.study.apart import first_apart
from crossplay.study.ticks import action_words, marks, tick_of
from crossplay.study.verify import load_run

SEATS = ("p0", "p1")


def episode(moves, prints=None, said=(), status="terminal", rewards=None):
    """Rows of an episode: moves as [(p0, p1), ...]."""
    rows = []
    for t, pair in enumerate(moves):
        rows += [Event(t, i, 0, "act", value=v, origin="own") for i, v in enumerate(pair)]
        rows += [Event(t, i, 2, "msg", payload=pack(["*", "", text])) for when, i, text in said if when == t]
        fingerprint = hash_of(moves[: t + 1]) if prints is None else prints[t]
        rows.append(
            Event(t, WORLD, 0, "step", rewards=(0.0, 0.0) if rewards is None else rewards[t], fingerprint=fingerprint)
        )
    note = pack({"score": {}, "detail": ""})
    return [*rows, Event(len(moves), WORLD, 0, "end", origin=status, note=note)]


def hash_of(moves):
    """A state that the moves decide."""
    return int(
        np.frombuffer(np.array(moves, "u1").tobytes() + bytes(8), "u1").astype(np.uint64)
        @ np.arange(1, 9 + 2 * len(moves), dtype=np.uint64)
    )


PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=8)


@settings(max_examples=150, deadline=None)
@given(PAIRS, PAIRS)
def test_it_is_the_first_tick_at_which_the_rows_differ(one, other):
    found = first_apart(episode(one, list(range(len(one)))), episode(other, list(range(len(other)))), SEATS)
    both = min(len(one), len(other))
    expected = {s: [t for t in range(both) if one[t][i] != other[t][i]] for i, s in enumerate(SEATS)}
    assert found.moves == {s: ticks[0] for s, ticks in expected.items() if ticks}
    assert found.other_moves == {s: len(ticks) for s, ticks in expected.items() if ticks}
    assert found.at == sorted({t for ticks in expected.values() for t in ticks})
    assert found.ended == (both if len(one) != len(other) else None)
    ends = [both] if len(one) != len(other) else []
    assert found.first == min([*found.at, *ends], default=None) and found.ticks == both


@settings(max_examples=50, deadline=None)
@given(PAIRS)
def test_an_episode_does_not_part_from_itself(one):
    found = first_apart(episode(one), episode(one), SEATS)
    assert (found.first, found.state, found.rewards, found.ended, found.differences) == (None, None, None, None, [])


def test_states_rewards_words_and_ends_are_told_apart():
    moves = [(0, 0), (1, 1), (2, 2)]
    base = episode(moves, [1, 2, 3])
    assert first_apart(base, episode(moves, [1, 9, 8]), SEATS).state == 1
    paid = first_apart(base, episode(moves, [1, 2, 3], rewards=[(0, 0), (0, 0), (1, 0)]), SEATS)
    assert (paid.rewards, paid.first, paid.state) == (2, 2, None)
    words = first_apart(base, episode(moves, [1, 2, 3], said=[(1, 0, "hello")]), SEATS)
    assert words.words == {"p0": 1}
    assert [(d.kind, d.seat, d.one, d.other) for d in words.differences] == [("words", "p0", "", "hello")]
    ends = first_apart(base, episode(moves, [1, 2, 3], status="horizon"), SEATS)
    assert (ends.first, ends.ended) == (3, None)
    assert (ends.differences[0].one, ends.differences[0].other) == ("terminal", "horizon")


def test_only_so_many_are_listed_and_the_rest_is_counted():
    one, other = [(0, 0)] * 9, [(1, 0)] * 9
    found = first_apart(episode(one, [0] * 9), episode(other, [0] * 9), SEATS, {"p0": ("stay", "go")}, listed=4)
    assert (len(found.differences), found.more, found.other_moves) == (4, 5, {"p0": 9})
    assert (found.differences[0].one, found.differences[0].other) == ("stay", "go")


@pytest.mark.parametrize(
    "value, names, said",
    [
        (1, ("left", "right"), "right"),
        (7, ("left",), "action 7"),
        (True, ("a", "b"), "true"),
        ("so", (), "so"),
        ({"a": [1]}, (), '{"a":[1]}'),
    ],
)
def test_actions_in_words(value, names, said):
    assert action_words(value, names) == said
    assert action_words(np.array([0.5, 1.0])) == "[0.5 1. ]"


def test_a_recorded_tick_tells_everything_of_it():
    run, _study = load_run(reported.kitchen())
    with run:
        record = next(r for r in run.records() if any(e.kind == "fault" for e in run.events(r.id)))
        events = run.events(record.id)
    found = marks(events)
    assert found["fault"] == found["fallback"] == sorted({e.tick for e in events if e.kind == "fault"})
    assert found["call"] == sorted({e.tick for e in events if e.kind == "model"})
    seen = {"act": 0, "model": 0, "fault": 0, "step": 0}
    for t in range(record.ticks + 1):
        tick = tick_of(t, [e for e in events if e.tick == t], ("p0", "p1"), {"p0": ["n", "s", "e", "w", "stay", "do"]})
        seen["act"] += len(tick.moves)
        seen["fault"] += len(tick.faults)
        seen["model"] += sum(i.kind == "model" for i in tick.inside)
        seen["step"] += tick.rewards is not None
        for f in tick.faults:
            assert f.seat == "p1" and f.kind == "invalid" and f.served in ("noop", "random") and f.detail
            assert next(m for m in tick.moves if m.seat == "p1").origin == f.served
    assert seen == {k: sum(e.kind == k for e in events) for k in seen}
    assert tick.ended == record.status
