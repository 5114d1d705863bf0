"""The WebSocket of a replay: what arrives is what the replay shows, what was asked last is what is shown."""

import asyncio
import json
import time

import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocket
from test_pictures import Reader

from crossplay.study.frames import find_episode
from crossplay.study.replay import Replay
from crossplay.study.verify import load_run
from crossplay.web import replay as module
from crossplay.web.app import make_app
from crossplay.web.desk import Desk
from crossplay.web.replay import words
from crossplay.web.story import replays


@pytest.fixture
def desk(runs):
    return Desk(runs)


@pytest.fixture
def client(desk):
    with TestClient(make_app(desk), base_url="http://127.0.0.1:8765") as found:
        yield found


@pytest.fixture(scope="module")
def film(runs):
    """A replay of its own, to compare with."""
    run, study = load_run(runs / "fallbacks")
    with run:
        record = find_episode(run, study, "chef+talker:0")
        found = Replay(run, study, record)
    yield found
    found.close()


class Page:
    """What a page sees: pictures by screen, texts by screen, the last message."""

    def __init__(self, socket):
        self.socket, self.readers, self.texts, self.turn, self.shown = socket, {}, {}, 0, []

    def say(self, **wish):
        self.turn += 1
        self.socket.send_text(json.dumps({**wish, "turn": self.turn}))

    def hear(self):
        """One message; JSON as data, pictures are shown."""
        message = self.socket.receive()
        if message.get("bytes") is not None:
            data = message["bytes"]
            self.readers.setdefault(data[2], Reader()).read(data)
            return None
        if message["type"] == "websocket.close":
            return message
        said = json.loads(message["text"])
        self.texts.update(said.get("texts", {}))
        if "watching" in said:
            self.readers, self.texts = {}, {}
        return said

    def until(self, done):
        """Hear until a message fulfils a condition; it."""
        for _ in range(5000):
            said = self.hear()
            if said is not None:
                self.shown += [said["tick"]] if "tick" in said else []
                if done(said):
                    return said
        raise AssertionError("it never came")

    def at(self, tick):
        """Ask for a tick and hear until it is shown."""
        self.say(tick=tick)
        return self.until(lambda said: said.get("turn") == self.turn)


@pytest.fixture
def page(client, film):
    with client.websocket_connect(f"ws://127.0.0.1:8765/ws/replay/fallbacks/{film.record.id:016x}") as socket:
        yield Page(socket)


def test_every_tick_is_what_the_replay_shows(page, film):
    items = ["world", "p1:image", "p1:text", "p0:data", "p0:array", "world:text"]
    page.say(watch=items)
    for tick in (0, 1, 2, 17, 5, 4, film.last, 10**6):
        said = page.at(tick)
        film.seek(tick)
        assert said["tick"] == film.tick and not said["playing"] and "parted" not in said
        np.testing.assert_array_equal(page.readers[0].shown, film.picture())
        np.testing.assert_array_equal(page.readers[1].shown, film.view("p1", "image"))
        assert page.texts["2"] == film.view("p1", "text")
        assert page.texts["3"] == words(film.view("p0", "data"), film.env)
        assert page.texts["4"].startswith("int8[") and page.texts["5"] == film.text()


def test_texts_that_stay_are_not_sent_again(page, film):
    page.say(watch=["p1:text"])
    page.at(3)
    assert page.at(3)["texts"] == {}
    assert page.at(4)["texts"] != {}


def test_playing_shows_every_tick_in_order_and_ends(page, film):
    page.say(**{"from": 3, "to": 20, "speed": 1000})
    said = page.until(lambda said: said.get("tick") == 20)
    assert not said["playing"] and page.shown[0] == 3
    assert page.shown == sorted(set(page.shown))  # fast: some may be left out, none comes twice
    film.seek(20)
    np.testing.assert_array_equal(page.readers[0].shown, film.picture())


def test_playing_slowly_leaves_nothing_out_and_stops_when_asked(page):
    page.say(**{"from": 0, "to": 40, "speed": 50})
    page.until(lambda said: said.get("tick", -1) >= 4)
    assert page.shown[:5] == [0, 1, 2, 3, 4]
    page.say(stop=True)
    said = page.until(lambda said: said.get("turn") == page.turn)
    assert said["tick"] < 40 and not said["playing"]
    assert page.at(7)["tick"] == 7


def test_watching_something_else_while_it_plays_begins_with_a_whole_picture(page, film):
    page.say(**{"from": 0, "to": 40, "speed": 60})
    page.until(lambda said: said.get("tick") == 2)
    page.say(watch=["p0:image"])
    page.until(lambda said: said.get("watching") == page.turn)
    said = page.until(lambda said: said.get("tick") == 40)
    film.seek(40)
    np.testing.assert_array_equal(page.readers[0].shown, film.view("p0", "image"))
    assert not said["playing"]


@pytest.mark.parametrize(
    "wish",
    [
        {"tick": -1},
        {"tick": "x"},
        {"speed": 0},
        {"watch": ["nobody:text"]},
        {"watch": ["p0:smell"]},
        {"watch": ["world"] * 99},
    ],
)
def test_nonsense_is_said_to_be_and_does_no_harm(page, wish):
    page.say(**wish)
    assert page.until(lambda said: "error" in said)["error"]
    assert page.at(2)["tick"] == 2


@pytest.mark.parametrize("text", ["", "[]", "nonsense", "[" * 10_000])
def test_what_is_no_wish_at_all_is_refused(page, text):
    page.socket.send_text(text)
    assert page.until(lambda said: "error" in said)["error"]


def test_the_last_wish_counts(page):
    for tick in range(30):
        page.say(tick=tick)
    said = page.until(lambda said: said.get("turn") == page.turn)
    assert said["tick"] == 29


def test_why_there_is_none(client):
    with client.websocket_connect("ws://127.0.0.1:8765/ws/replay/fallbacks/0000000000000000") as socket:
        page = Page(socket)
        assert "holds no episode" in page.hear()["why"]
        assert page.hear()["type"] == "websocket.close"


def test_a_record_that_cannot_be_followed_stops_where_it_parts(client, desk, film, monkeypatch):
    from crossplay.web import story as stories

    whole = stories.Story.replay

    def changed(story):
        rows = [e._replace(rewards=(9.0, 9.0)) if e.kind == "step" and e.tick == 6 else e for e in story.rows]
        return whole(story._replace(rows=rows))

    monkeypatch.setattr(stories.Story, "replay", changed)
    with client.websocket_connect(f"ws://127.0.0.1:8765/ws/replay/fallbacks/{film.record.id:016x}") as socket:
        page = Page(socket)
        page.say(**{"from": 0, "to": 40, "speed": 1000})
        said = page.until(lambda said: "parted" in said)
        assert said["tick"] == 6 and "leaves its record at tick 6" in said["parted"] and not said["playing"]
        film.seek(6)
        np.testing.assert_array_equal(page.readers[0].shown, film.picture())
        assert "parted" not in page.at(5)


def test_a_page_that_says_nothing_is_let_go(client, desk, film, monkeypatch):
    monkeypatch.setattr(module, "IDLE_S", 0.05)
    with client.websocket_connect(f"ws://127.0.0.1:8765/ws/replay/fallbacks/{film.record.id:016x}") as socket:
        message = socket.receive()
        assert message["type"] == "websocket.close" and message["reason"] == "idle"
    _none_left(desk)


def test_a_page_that_goes_while_it_plays_leaves_nothing_open(client, desk, film):
    with client.websocket_connect(f"ws://127.0.0.1:8765/ws/replay/fallbacks/{film.record.id:016x}") as socket:
        page = Page(socket)
        page.say(**{"from": 0, "to": 40, "speed": 5})
        page.until(lambda said: said.get("tick") == 0)
        assert replays(desk).open == 1
    _none_left(desk)


def _none_left(desk):
    until = time.monotonic() + 10
    while replays(desk).open and time.monotonic() < until:
        time.sleep(0.01)
    assert replays(desk).open == 0


def test_a_page_that_goes_while_a_picture_is_sent_is_no_error(desk):
    sent = []

    said = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": '{"turn": 1, "from": 0, "speed": 60}'},
    ]

    async def receive():
        return said.pop(0) if said else await asyncio.Event().wait()

    async def send(message):
        sent.append(message["type"])
        if len(sent) == 3:
            raise OSError("the page is gone")

    scope = {
        "type": "websocket",
        "path_params": {"run": "kitchen", "episode": "policy+chef:0"},
        "headers": [],
        "path": "/",
    }
    asyncio.run(asyncio.wait_for(module.replay_socket(desk, WebSocket(scope, receive, send)), 30))
    assert sent == ["websocket.accept", "websocket.send", "websocket.send"]
