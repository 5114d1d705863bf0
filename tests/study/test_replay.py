"""A replay shows the states that were played, whichever way one goes, and nothing that was not played."""

import random

import msgspec
import numpy as np
import pytest
import reported

import crossplay
from crossplay.kernel import CrossplayError, make_env, unpack
from crossplay.study import replay as module
from crossplay.study.frames import find_episode, frames, standing_out
from crossplay.study.replay import Parted, Replay
from crossplay.study.verify import load_run


@pytest.fixture(scope="module")
def kitchen():
    run, study = load_run(reported.kitchen())
    with run:
        yield run, study


@pytest.fixture
def opened(kitchen):
    run, study = kitchen
    record = find_episode(run, study, "chef+talker:0")
    replay = Replay(run, study, record)
    yield replay, record, run.events(record.id)
    replay.close()


def test_each_tick_is_as_the_frames_show_it(kitchen, opened):
    replay, record, _ = opened
    run, study = kitchen
    for frame in frames(run, study, record):
        replay.seek(frame.tick)
        np.testing.assert_array_equal(replay.picture(), frame.picture)
        assert replay.text() == frame.text


def test_jumps_show_what_going_there_step_by_step_shows(opened):
    replay, record, events = opened
    prints = {e.tick + 1: e.fingerprint for e in events if e.kind == "step"}
    replay._apart = 7
    jumps = random.Random(3)
    for tick in [record.ticks, *(jumps.randrange(1, record.ticks + 1) for _ in range(60))]:
        replay.seek(tick)
        assert replay.tick == tick and replay.env.fingerprint() == prints[tick]


def test_going_on_never_begins_anew_and_going_back_begins_at_the_nearest_place(opened):
    replay, record, _ = opened
    replay._apart = 10
    for tick in range(record.ticks + 1):
        replay.seek(tick)
    assert replay.played == record.ticks
    replay.seek(27)
    assert replay.played == record.ticks + 7  # from the place kept at 20
    replay.seek(28)
    assert replay.played == record.ticks + 8


def test_places_are_given_up_where_they_take_too_much(opened, monkeypatch):
    replay, record, _ = opened
    replay._apart = 1
    monkeypatch.setattr(module, "ROOM", 8 * len(replay.env.snapshot()))
    replay.seek(record.ticks)
    assert 0 < len(replay._kept) <= 8 and replay._apart > 1
    replay.seek(3)
    assert replay.tick == 3


def test_views_are_those_of_the_seat_at_that_tick(opened):
    replay, _record, _ = opened
    env = make_env("kitchen/cramped_room", {"horizon": 30})
    env.start(replay._at)
    for view in env.views:
        np.testing.assert_equal(replay.view("p1", view), env.view("p1", view))
    assert "You hold" in replay.view("p1", "text of skills")
    env.close()


def changed(events, tick, **fields):
    return [e._replace(**fields) if e.tick == tick and e.kind == "step" else e for e in events]


@pytest.mark.parametrize("fields, said", [({"rewards": (3.0, 3.0)}, "rewards"), ({"fingerprint": 1}, "state")])
def test_what_was_not_played_is_not_shown(kitchen, opened, fields, said):
    _, record, events = opened
    run, study = kitchen
    replay = Replay(run, study, record, changed(events, 12, **fields))
    replay.seek(12)
    for tick in (13, 20):
        with pytest.raises(Parted, match=f"tick 12: .*{said}") as parted:
            replay.seek(tick)
        assert parted.value.tick == 12
    replay.seek(12)  # what came before can still be seen
    assert replay.tick == 12
    replay.close()


def test_another_machine_may_differ_in_the_last_digits_and_that_is_said(kitchen, opened, monkeypatch):
    _, record, events = opened
    run, study = kitchen
    monkeypatch.setattr(module, "_same_machine", lambda source: False)
    replay = Replay(run, study, record, changed(events, 5, fingerprint=1))
    replay.seek(20)
    assert replay.tick == 20 and replay.drift == 5
    replay.close()


def test_moves_of_others_than_whose_turn_it_is(kitchen, opened):
    _, record, events = opened
    run, study = kitchen
    fewer = [e for e in events if not (e.tick == 4 and e.kind == "act" and e.seat == 1)]
    replay = Replay(run, study, record, fewer)
    with pytest.raises(Parted, match="tick 4: it is the turn of p0, p1, recorded are p0"):
        replay.seek(9)
    replay.close()


def test_another_environment_is_refused(kitchen):
    run, study = kitchen
    record = find_episode(run, study)
    spec = msgspec.structs.replace(study.environments["kitchen"], options={"horizon": 31})
    with pytest.raises(CrossplayError, match="what is installed here is"):
        Replay(run, msgspec.structs.replace(study, environments={"kitchen": spec}), record)


def test_messages_are_delivered_again(tmp_path):
    """A world that reads its mail comes to the same states."""
    folder = tmp_path / "maze"
    crossplay.run(
        {
            "study": {"name": "maze", "blocks": 1, "margin": 0.1},
            "environments": {"maze": {"name": "maze/joint"}},
            "agents": {"talker": {"type": "talker"}},
            "lineups": {"two": ["talker", "talker"]},
        },
        out=folder,
    )
    run, study = load_run(folder)
    with run:
        record = find_episode(run, study)
        assert [unpack(e.payload) for e in run.events(record.id) if e.kind == "mail"]
        replay = Replay(run, study, record)
        replay.seek(record.ticks)
        assert replay.env.ended() == record.status and replay.drift is None
        replay.close()


def test_rewards_that_stand_out(opened):
    _, _, events = opened
    paid = [e._replace(rewards=(1.0,)) for e in events if e.kind == "step"]
    assert standing_out(paid) == []
    paid[3] = paid[3]._replace(rewards=(5.0,))
    assert standing_out(paid) == [paid[3].tick]
    # Where every tick pays something else, the unusual ones.
    noisy = [e._replace(rewards=((i * 37 % 11) / 100,)) for i, e in enumerate(paid)]
    noisy[7] = noisy[7]._replace(rewards=(9.0,))
    assert standing_out(noisy) == [noisy[7].tick]
    assert standing_out([]) == []
