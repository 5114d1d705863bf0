"""Frames show what was recorded: same ticks, same moves, same end; nothing that was not played."""

from __future__ import annotations

import io
import itertools
import re

import numpy as np
import pytest
import reported
from PIL import Image

from crossplay.kernel import CrossplayError
from crossplay.study.frames import find_episode, frames, image_of, key_ticks, png, save_gif, save_strip
from crossplay.study.verify import load_run


@pytest.fixture(scope="module")
def kitchen():
    run, study = load_run(reported.kitchen())
    with run:
        yield run, study


@pytest.fixture(scope="module")
def dilemma():
    run, study = load_run(reported.dilemma())
    with run:
        yield run, study


def test_every_tick_has_a_frame_with_the_recorded_moves(kitchen):
    run, study = kitchen
    record = find_episode(run, study, "chef+chef:2")
    found = list(frames(run, study, record))
    assert [f.tick for f in found] == list(range(record.ticks + 1))
    acts = {(e.tick, e.seat): e.value for e in run.events(record.id) if e.kind == "act"}
    names = ("north", "south", "east", "west", "stay", "interact")
    for f in found[:-1]:
        assert f.seats == {"p0": names[acts[f.tick, 0]], "p1": names[acts[f.tick, 1]]}
    assert found[-1].seats == {} and f"return {record.score['return']:g}" in found[-1].caption
    assert sum(f.rewards[0] for f in found[:-1]) == record.totals[0]
    assert found[0].picture.dtype == np.uint8 and found[0].picture.ndim == 3
    assert not np.array_equal(found[0].picture, found[-1].picture)


def test_only_the_ticks_that_are_asked_for(kitchen):
    run, study = kitchen
    record = find_episode(run, study)
    assert [f.tick for f in frames(run, study, record.id, {3, 30}.__contains__)] == [3, 30]


def test_faults_are_named_with_the_link_that_was_served(kitchen):
    run, study = kitchen
    found = [
        (f, e.tick)
        for r in run.records()
        if r.lineup == "chef+talker"
        for e in run.events(r.id)
        if e.kind == "fault"
        for f in frames(run, study, r, {e.tick}.__contains__)
    ]
    assert found, "the scripted double answers prose often enough to be repaired in vain"
    for f, tick in found:
        assert f.tick == tick and "its own answer was invalid" in f.seats["p1"]
        assert "(noop)" in f.seats["p1"] or "(random)" in f.seats["p1"]


def test_default_is_the_first_episode_of_the_baseline(kitchen):
    run, study = kitchen
    record = find_episode(run, study)
    assert (record.lineup, record.block, record.replicate) == ("chef+chef", 0, 0)


def test_ids_beginnings_and_places(kitchen):
    run, study = kitchen
    for r in run.records():
        assert find_episode(run, study, f"{r.id:016x}").id == r.id
        assert find_episode(run, study, f"{r.id:016X}").id == r.id
    unique = run.records()[0]
    assert find_episode(run, study, f"{unique.id:016x}"[:12]).id == unique.id
    ordered = find_episode(run, study, f"{reported.NASTY}+chef:3")
    assert (ordered.lineup, ordered.block) == (f"{reported.NASTY}+chef", 3)
    assert find_episode(run, study, "chef+nasty:1").block == 1  # the group's name finds its first order


@pytest.mark.parametrize(("asked", "says"), [("zz", "Nearest:"), ("chef+chf:1", 'Did you mean "chef+chef:1"')])
def test_unknown_episodes_name_the_nearest(kitchen, asked, says):
    run, study = kitchen
    with pytest.raises(CrossplayError, match=re.escape(says)):
        find_episode(run, study, asked)


def test_a_beginning_of_several_ids_is_refused(kitchen):
    run, study = kitchen
    ids = sorted(f"{r.id:016x}" for r in run.records())
    first = next(a[0] for a, b in itertools.pairwise(ids) if a[0] == b[0])
    with pytest.raises(CrossplayError, match="begins"):
        find_episode(run, study, first)


def test_another_environment_is_refused(kitchen):
    run, study = kitchen
    record = find_episode(run, study)
    other, _ = load_run(reported.kitchen())
    with other:
        changed = other.record(record.id)
        changed.env_id = "kitchen/cramped_room@0"
        with pytest.raises(CrossplayError, match="what is installed here is"):
            next(frames(other, study, changed))


def test_a_replay_that_leaves_the_record_is_an_error(kitchen):
    run, study = kitchen
    record = find_episode(run, study)
    record.totals, record.world = [999.0, 999.0], b"\0" * 32
    with pytest.raises(CrossplayError, match="another end"):
        list(frames(run, study, record))


def test_key_ticks_hold_both_ends_and_a_reward(kitchen, dilemma):
    for run, _ in (kitchen, dilemma):
        for r in run.records()[:6]:
            ticks = key_ticks(run, r, 8)
            assert ticks[0] == 0 and ticks[-1] == r.ticks and ticks == sorted(set(ticks)) and len(ticks) <= 9
    run, _ = kitchen
    assert key_ticks(run, run.records()[0], 100) == list(range(31))


def test_pictures_are_enlarged_by_whole_numbers_and_texts_are_drawn(kitchen):
    run, study = kitchen
    frame = next(frames(run, study, find_episode(run, study)))
    small, large = image_of(frame), image_of(frame, 600)
    assert large.width == 4 * small.width and large.height == 4 * small.height
    assert np.array_equal(np.asarray(large)[::4, ::4], np.asarray(small))
    assert image_of(frame, caption=True).height > small.height
    text = image_of(frame._replace(picture=None))
    assert text.width > 20 and np.asarray(text).min() == 0
    assert Image.open(io.BytesIO(png(small))).convert("RGB").tobytes() == small.tobytes()


def test_gif_and_strip(kitchen, tmp_path):
    run, study = kitchen
    shown = list(frames(run, study, find_episode(run, study), lambda t: t % 3 == 0))
    save_gif(shown, tmp_path / "a.gif", speed=10)
    gif = Image.open(tmp_path / "a.gif")
    assert gif.n_frames == len(shown) and gif.info["duration"] == 100 and gif.info["loop"] == 0
    save_strip(shown[:6], tmp_path / "a.png")
    strip = Image.open(tmp_path / "a.png")
    assert strip.width > 3 * 280 and strip.format == "PNG"
