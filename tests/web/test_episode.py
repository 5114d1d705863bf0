"""An episode over the API: what it says of it is what the run holds, and what a seat saw is what its agent was given."""

import shutil

import msgspec
import numpy as np
import pytest
from starlette.testclient import TestClient

from crossplay.kernel import make_env
from crossplay.study.frames import find_episode
from crossplay.study.verify import load_run
from crossplay.web.app import make_app
from crossplay.web.desk import Conflict, Desk, NotFound, TooMany
from crossplay.web.service import calls as service_calls
from crossplay.web.service import episodes as service
from crossplay.web.story import OPEN, POOL, replays, story_of


@pytest.fixture(scope="module")
def desk(runs):
    found = Desk(runs)
    yield found
    found.close()


@pytest.fixture(scope="module")
def client(desk):
    with TestClient(make_app(desk), base_url="http://127.0.0.1:8765") as found:
        yield found


@pytest.fixture(scope="module")
def faulty(runs):
    """(record, events) of an episode in which somebody's words broke off."""
    run, study = load_run(runs / "fallbacks")
    with run:
        record = find_episode(run, study, "chef+talker:0")
        return record, run.events(record.id)


def at(record):
    return f"/api/v1/runs/fallbacks/episodes/{record.id:016x}"


def test_the_head_says_what_was_played(client, faulty):
    record, events = faulty
    head = client.get(at(record)).json()
    assert head["ticks"] == record.ticks and head["score"]["return"] == record.score["return"]
    assert head["world"] == record.world.hex() and head["replayed"] and not head["why_not"]
    assert [(s["seat"], s["agent"], s["kind"]) for s in head["seats"]] == [
        ("p0", "chef", "scripted"),
        ("p1", "talker", "language model"),
    ]
    assert head["seats"][1]["given"][0] in ("data", "text of skills") and "text of skills" in head["seats"][1]["given"]
    assert head["marks"]["fault"] == sorted({e.tick for e in events if e.kind == "fault"})
    assert head["actions"]["p0"][:2] == ["north", "south"]


def test_it_is_found_by_its_beginning_and_by_its_place(client, faulty):
    record, _ = faulty
    for name in (f"{record.id:016x}"[:10], "chef+talker:0"):
        assert client.get(f"/api/v1/runs/fallbacks/episodes/{name}").json()["id"] == f"{record.id:016x}"


@pytest.mark.parametrize("name", ["0000000000000000", "nobody:3", "zz", "ffff"])
def test_an_unknown_episode_is_not_there(client, name):
    answer = client.get(f"/api/v1/runs/fallbacks/episodes/{name}")
    assert answer.status_code == 404 and answer.json()["error"]


def test_ticks_are_told_in_parts(client, faulty):
    record, events = faulty
    whole = client.get(at(record) + "/ticks").json()
    assert [t["tick"] for t in whole["ticks"]] == list(range(record.ticks + 1)) and whole["last"] == record.ticks
    part = client.get(at(record) + "/ticks", params={"from": 10, "to": 12}).json()["ticks"]
    assert part == whole["ticks"][10:13]
    moves = {(e.tick, e.seat): e for e in events if e.kind == "act"}
    for tick in whole["ticks"]:
        for i, move in enumerate(tick["moves"]):
            assert move["origin"] == moves[tick["tick"], i].origin and move["value"] == moves[tick["tick"], i].value
    assert client.get(at(record) + "/ticks", params={"from": 5, "to": 4}).status_code == 400
    assert client.get(at(record) + "/ticks", params={"from": -1}).status_code == 422
    assert client.get(at(record) + "/ticks", params={"from": 9000, "to": 9001}).json()["ticks"] == []


def test_views_are_what_the_seat_could_see(desk, faulty):
    record, events = faulty
    tick = next(e.tick for e in events if e.kind == "act" and e.view == "text of skills" and e.tick)
    found = service.episode_views(desk, "fallbacks", f"{record.id:016x}", service.ViewsQuery(tick, "p1"))
    assert (found.tick, found.acting, found.given) == (tick, True, "text of skills")
    assert [v.name for v in found.views if v.given] == ["text of skills"]
    env = make_env("kitchen/cramped_room", {"horizon": 40})
    story = story_of(desk, "fallbacks", f"{record.id:016x}")
    env.start(story.replay()._at)
    for t in range(tick):
        env.step(
            {
                s: next(e.value for e in story.ticks[t] if e.kind == "act" and e.seat == i)
                for i, s in enumerate(env.seats)
            },
            [],
        )
    by_name = {v.name: v for v in found.views}
    assert by_name["text"].text == env.view("p1", "text")
    assert by_name["data"].data["players"] == msgspec.json.decode(msgspec.json.encode(env.data("p1")["players"]))
    assert by_name["image"].picture and by_name["image"].omits
    env.close()
    over = service.episode_views(desk, "fallbacks", f"{record.id:016x}", service.ViewsQuery(10**6))
    assert (over.tick, over.acting, over.given, over.seat) == (record.ticks, False, "", "p0")
    with pytest.raises(NotFound, match='no seat "p9"'):
        service.episode_views(desk, "fallbacks", f"{record.id:016x}", service.ViewsQuery(0, "p9"))


def test_pictures_are_those_of_the_tick(desk, client, faulty, runs):
    from io import BytesIO

    from PIL import Image

    from crossplay.study.frames import frames

    record, _ = faulty
    run, study = load_run(runs / "fallbacks")
    with run:
        frame = next(frames(run, study, record, {7}.__contains__))
    for scale in (1, 3):
        answer = client.get(at(record) + "/frame.png", params={"tick": 7, "scale": scale})
        picture = np.asarray(Image.open(BytesIO(answer.content)))
        assert answer.headers["content-type"] == "image/png"
        np.testing.assert_array_equal(picture[::scale, ::scale], frame.picture)
    mine = client.get(at(record) + "/frame.png", params={"tick": 7, "seat": "p1"}).content
    assert mine != client.get(at(record) + "/frame.png", params={"tick": 7, "seat": "p0"}).content
    assert client.get(at(record) + "/frame.png", params={"scale": 99}).status_code == 422
    assert client.get("/api/v1/runs/team/episodes/debate:0/frame.png").status_code == 404  # questions draw nothing


def test_prompts_and_answers_come_from_the_cassette(desk, client, faulty):
    record, events = faulty
    tick = next(e.tick for e in events if e.kind == "model")
    found = client.get(at(record) + "/calls", params={"tick": tick}).json()["calls"]
    assert [c["seat"] for c in found] == ["p1"] and found[0]["kind"] == "model" and found[0]["name"] == "double"
    assert next(m["role"] for m in found[0]["prompt"]) == "system" and "Possible now" in found[0]["prompt"][-1]["text"]
    noted = (
        service.episode_ticks(desk, "fallbacks", f"{record.id:016x}", service.TicksQuery(tick, tick)).ticks[0].inside
    )
    assert found[0]["answer"] == noted[0].text and not found[0]["missing"]
    assert client.get(at(record) + "/calls", params={"tick": tick, "seat": "p0"}).json()["calls"] == []


def test_without_a_cassette_the_trace_is_still_told(own_runs, faulty):
    record, events = faulty
    folder = own_runs()
    shutil.rmtree(folder / "fallbacks" / "cassette")
    tick = next(e.tick for e in events if e.kind == "model")
    found = service_calls.calls(Desk(folder), "fallbacks", f"{record.id:016x}", service_calls.CallsQuery(tick)).calls
    assert found[0].missing == "the run keeps no calls" and found[0].name == "double" and not found[0].prompt


def test_without_the_environment_the_trace_is_still_told(own_runs, faulty):
    record, _ = faulty
    folder = own_runs()
    text = (folder / "fallbacks" / "study.toml").read_text()
    (folder / "fallbacks" / "study.toml").write_text(text.replace("kitchen/cramped_room", "kitchen/no_such_room"))
    desk = Desk(folder)
    head = service.episode_head(desk, "fallbacks", f"{record.id:016x}")
    assert not head.replayed and "no_such_room" in head.why_not and head.marks["fault"]
    ticks = service.episode_ticks(desk, "fallbacks", head.id, service.TicksQuery()).ticks
    assert ticks[0].moves[0].action.startswith("action ") and len(ticks) == record.ticks + 1
    with pytest.raises(Conflict, match="no_such_room"):
        service.episode_views(desk, "fallbacks", head.id, service.ViewsQuery())
    desk.close()


def test_environments_that_reach_outside_are_not_played_again(desk, faulty):
    story = story_of(desk, "fallbacks", f"{faulty[0].id:016x}")
    for name in ("agentgym:http://127.0.0.1:9", "qa/humaneval"):
        spec = msgspec.structs.replace(story.study.environments["kitchen"], name=name)
        other = story._replace(study=msgspec.structs.replace(story.study, environments={"kitchen": spec}))
        with pytest.raises(Conflict, match="again"):
            other.replay()


def test_no_more_replays_are_open_than_allowed_and_idle_ones_are_closed(runs, faulty, monkeypatch):
    from crossplay.web import story as module

    desk = Desk(runs)
    mine = replays(desk)
    story = story_of(desk, "fallbacks", f"{faulty[0].id:016x}")
    held = [mine.own(story) for _ in range(OPEN - POOL)]
    for h in held:
        h.__enter__()
    with pytest.raises(TooMany), mine.own(story):
        pass
    for h in held:
        h.__exit__(None, None, None)
    assert mine.open == 0
    run, _study = load_run(runs / "kitchen")
    with run:
        ids = [f"{r.id:016x}" for r in run.records()][: POOL + 3]
    for name in ids:
        with mine.at(story_of(desk, "kitchen", name)):
            pass
    assert mine.open == POOL
    monkeypatch.setattr(module, "IDLE_S", -1.0)
    with mine.at(story):
        pass
    assert mine.open == 0
    desk.close()


def test_another_episode_of_the_same_name_takes_its_place(own_runs, faulty):
    import crossplay

    folder = own_runs()
    record, _ = faulty
    desk = Desk(folder)
    before = service.episode_head(desk, "fallbacks", f"{record.id:016x}")
    toml = (folder / "fallbacks" / "study.toml").read_text()
    shutil.rmtree(folder / "fallbacks")
    (folder / "again.toml").write_text(toml)
    crossplay.run(folder / "again.toml", out=folder / "fallbacks")
    assert service.episode_head(desk, "fallbacks", before.id).wall_s != before.wall_s
    desk.close()
