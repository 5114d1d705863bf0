"""Rooms as browsers meet them: REST, links with tokens, WebSockets, limits."""

import contextlib
import json

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from crossplay.kernel import Block, Lineup, loop, make_env, play
from crossplay.kernel.agent import Agent
from crossplay.records import RunFolder
from crossplay.study.verify import verify
from crossplay.web.app import make_app
from crossplay.web.desk import Desk
from crossplay.web.play import sockets
from crossplay.web.play.clock import Buckets
from crossplay.web.play.lines import apart
from crossplay.web.play.rooms import hall
from crossplay.wire.http.tries import Tries

MOVES = ("north", "interact", "west", "south", "east", "stay")
KITCHEN = {"environment": "kitchen/cramped_room", "options": {"horizon": 8}, "countdown_s": 0}
WS = "ws://127.0.0.1:8765/ws/play"
TOKEN = "a-token-of-many-letters"


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture
def client(desk):
    with TestClient(make_app(desk), base_url="http://127.0.0.1:8765") as found:
        yield found


def made(client, **more):
    answer = client.post("/api/v1/rooms", json={**KITCHEN, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


class Player:
    """One browser: reads until something fits, pictures apart."""

    def __init__(self, socket):
        self.socket, self.pictures, self.states = socket, [], []

    def until(self, *kinds):
        while True:
            message = self.socket.receive()
            if message["type"] == "websocket.close":
                raise WebSocketDisconnect(message["code"], message.get("reason"))
            said = message.get("text")
            if message.get("bytes") is not None:
                said, picture = apart(message["bytes"])
                self.pictures.append(picture)
            told = json.loads(said)
            if told["kind"] == "state":
                self.states.append(told)
            if told["kind"] in kinds:
                return told

    def turn(self):
        while True:
            told = self.until("state", "end")
            if told["kind"] == "end" or told["turn"]:
                return told

    def say(self, **what):
        self.socket.send_text(json.dumps(what))


@contextlib.contextmanager
def player(client, room, invite, **first):
    with client.websocket_connect(f"{WS}/{room}") as socket:
        socket.send_text(json.dumps({"seat": invite["seat"], "token": invite["token"], **first}))
        yield Player(socket)


def refused(client, room, first):
    with client.websocket_connect(f"{WS}/{room}") as socket:
        socket.send_text(first if isinstance(first, str) else json.dumps(first))
        message = socket.receive()
        assert message["type"] == "websocket.close", message
        return message["code"]


class Script(Agent):
    def __init__(self, offset):
        self.offset = offset

    def act(self, obs):
        return MOVES[(obs.tick + self.offset) % len(MOVES)]


def test_two_browsers_play_one_game(client, tmp_path):
    found = made(client, seats={"p0": "person", "p1": "person"}, title="Soup", block=2)
    room, invites = found["room"]["room"], found["invites"]
    for invite in invites:
        assert invite["link"].startswith(f"/play/{room}#seat={invite['seat']}&token=")
    with (
        player(client, room, invites[0], views=["image"]) as one,
        player(client, room, invites[1], views=["text"]) as two,
    ):
        assert one.until("room")["title"] == "Soup"
        two.until("room")
        one.say(ready=True)
        two.say(ready=True)
        for _ in range(100):
            told = one.turn()
            other = two.turn()
            if told["kind"] == "end":
                break
            for who, state, offset in ((one, told, 0), (two, other, 1)):
                who.say(turn=state["turn"], value=MOVES[(state["tick"] + offset) % len(MOVES)])
        assert told["status"] == "horizon"
        assert two.until("closed")["status"] == "over"
    assert len(one.pictures) == 9
    assert not two.pictures
    env = make_env(KITCHEN["environment"], KITCHEN["options"])
    alone = loop(play(env, Lineup({"p0": Script(0), "p1": Script(1)}), Block(0, 2)))
    view = client.get(f"/api/v1/rooms/{room}").json()
    assert view["status"] == "over"
    assert view["results"][0]["score"] == dict(alone.score)
    folder = tmp_path / view["run"]
    with RunFolder.open(folder) as run:
        assert run.records()[0].world == alone.world
    assert verify(folder, "agents").ok


def test_no_wrong_first_message_gets_in(client):
    found = made(client, seats={"p0": "person"})
    room, invite = found["room"]["room"], found["invites"][0]
    assert refused(client, room, {"seat": "p0", "token": "wrong"}) == 1008
    assert refused(client, room, {"seat": "p1", "token": invite["token"]}) == 1008
    assert refused(client, room, "no json") == 1008
    assert refused(client, room, '["x"]') == 1008
    assert refused(client, room, {"seat": "p0", "token": invite["token"], "admin": True}) == 1008
    assert refused(client, "nothing", {"seat": "p0", "token": invite["token"]}) == 4404
    again = client.post(f"/api/v1/rooms/{room}/seats/p0/invite").json()
    assert refused(client, room, {"seat": "p0", "token": invite["token"]}) == 1008
    with player(client, room, again) as here:
        assert here.until("room")["seat"] == "p0"


def test_wrong_tokens_are_tried_a_few_times_only(client, desk):
    found = made(client, seats={"p0": "person"})
    room = found["room"]["room"]
    desk.parts["tries"] = Tries(3, 0.0)
    codes = [refused(client, room, {"seat": "p0", "token": f"guess {n}"}) for n in range(5)]
    assert codes == [1008, 1008, 1008, 4429, 4429]
    assert refused(client, room, {"seat": "p0", "token": found["invites"][0]["token"]}) == 4429, "not even heard"
    desk.parts["tries"] = Tries(3, 0.0)
    bodies = [{"seat": "p0", "token": f"guess {n}"} for n in range(5)]
    status = [client.post(f"/api/v1/play/{room}/give-back", json=body).status_code for body in bodies]
    assert status == [403, 403, 403, 429, 429]


def test_right_links_and_old_ones_shut_nobody_out(client, desk):
    found = made(client, seats={"p0": "person"})
    room = found["room"]["room"]
    old, new = found["invites"][0], client.post(f"/api/v1/rooms/{room}/seats/p0/invite").json()
    desk.parts["tries"] = Tries(3, 0.0)
    for _ in range(10):
        assert refused(client, room, {"seat": "p0", "token": old["token"]}) == 1008
        with player(client, room, new) as here:
            here.until("room")
    assert refused(client, "gone", {"seat": "p0", "token": old["token"]}) == 4404
    assert refused(client, "gone", {"seat": "p1", "token": new["token"]}) == 4404, "the same link to what is not open"
    with player(client, room, new) as here:
        here.until("room")


def test_whoever_has_a_link_uses_it_so_often_only(client, desk):
    found = made(client, seats={"p0": "person", "p1": "person"})
    room, (one, other) = found["room"]["room"], found["invites"]
    hall(desk).joins = Buckets(0.0, 2.0)
    for _ in range(2):
        with player(client, room, one) as here:
            here.until("room")
    assert refused(client, room, {"seat": "p0", "token": one["token"]}) == 4429
    with player(client, room, other) as here:
        here.until("room")


def test_guests_need_no_owner_token_and_owners_do(tmp_path):
    app = make_app(Desk(tmp_path), token=TOKEN)
    with TestClient(app, base_url="http://127.0.0.1:8765") as client:
        assert client.post("/api/v1/rooms", json=KITCHEN).status_code == 401
        found = client.post(
            "/api/v1/rooms", json={**KITCHEN, "seats": {"p0": "person"}}, headers={"authorization": f"Bearer {TOKEN}"}
        ).json()
        room, invite = found["room"]["room"], found["invites"][0]
        with player(client, room, invite) as here:
            assert here.until("room")["status"] == "waiting"
        assert refused(client, room, {"watch": True}) == 1008, "only the owner watches"


def test_other_origins_are_refused(client):
    found = made(client, seats={"p0": "person"})
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect(f"{WS}/{found['room']['room']}", headers={"origin": "http://evil.example"}) as socket,
    ):
        socket.receive()


def test_what_is_too_large_or_too_fast_is_not_taken(client, monkeypatch):
    monkeypatch.setattr(sockets, "BURST", 5.0)
    monkeypatch.setattr(sockets, "RATE", 0.001)
    monkeypatch.setattr(sockets, "PATIENCE", 3)
    found = made(client, seats={"p0": "person"})
    room, invite = found["room"]["room"], found["invites"][0]
    with player(client, room, invite) as here:
        here.until("room")
        here.socket.send_text("x" * (sockets.LARGEST + 1))
        with pytest.raises(WebSocketDisconnect) as closed:
            here.until("never")
        assert closed.value.code == 1008
    with player(client, room, invite) as here:
        here.until("room")
        for _ in range(9):
            here.say(turn=1, value="north")
        why = [here.until("refused")["why"] for _ in range(8)]
        assert sum("too fast" in w for w in why) == 3
        with pytest.raises(WebSocketDisconnect):
            here.until("never")
    tally = client.get(f"/api/v1/rooms/{room}").json()["seats"][0]["tally"]
    assert tally["received"] == tally["refused"] == 9


def test_owner_takes_a_seat_and_gives_it_back(client, tmp_path):
    found = made(client, seats={"p0": "person", "p1": "chef"}, options={"horizon": 12})
    room, invite = found["room"]["room"], found["invites"][0]
    with player(client, room, invite, views=["text"]) as one:
        one.say(ready=True)
        assert one.turn()["tick"] == 0
        taken = client.post(f"/api/v1/rooms/{room}/seats/p1/take").json()
        assert client.post(f"/api/v1/rooms/{room}/seats/p1/take").status_code == 409
        with player(client, room, taken, views=["text"]) as other:
            other.until("room")
            one.say(turn=one.states[-1]["turn"], value="stay")
            for _ in range(3):
                state = other.turn()
                other.say(turn=state["turn"], value="stay")
                state = one.turn()
                one.say(turn=state["turn"], value="stay")
            assert client.post(f"/api/v1/rooms/{room}/seats/p1/give-back").status_code == 200
            with pytest.raises(WebSocketDisconnect) as closed:
                other.until("never")
            assert closed.value.code == 4001
        assert refused(client, room, {"seat": "p1", "token": taken["token"]}) == 1008
        while (state := one.turn())["kind"] != "end":
            if not state.get("answered"):
                one.say(turn=state["turn"], value="stay")
    run = client.get(f"/api/v1/rooms/{room}").json()["run"]
    with RunFolder.open(tmp_path / run) as opened:
        record = opened.records()[0]
        seated = [e.agent for e in opened.events(record.id) if e.kind == "seat" and e.seat == 1]
    assert seated == ["chef", "person", "chef"]
    assert verify(tmp_path / run).ok


def test_people_take_seats_only_where_the_room_allows_it(client):
    shut = made(client, seats={"p0": "person", "p1": "chef"})
    free = made(client, seats={"p0": "person", "p1": "chef"}, takeover="people")
    for found, status in ((shut, 403), (free, 200)):
        body = {"seat": "p0", "token": found["invites"][0]["token"], "other": "p1"}
        answer = client.post(f"/api/v1/play/{found['room']['room']}/take", json=body)
        assert answer.status_code == status, answer.text
    mine = answer.json()
    with player(client, free["room"]["room"], mine) as here:
        assert here.until("room")["seat"] == "p1"
    back = {"seat": "p1", "token": mine["token"]}
    assert client.post(f"/api/v1/play/{free['room']['room']}/give-back", json=back).status_code == 204
    assert client.post(f"/api/v1/play/{free['room']['room']}/give-back", json=back).status_code == 403


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ({"environment": "kitchen/cramped_rom"}, 400, "cramped_room"),
        ({"environment": "agentgym:http://127.0.0.1:1"}, 403, "command line"),
        ({"environment": "kitchen/cramped_room", "seats": {"p0": "python:os:system"}}, 403, "command line"),
        ({"environment": "kitchen/cramped_room", "seats": {"p7": "person"}}, 400, "no seat"),
        ({"environment": "kitchen/cramped_room", "seats": {"p0": "scholar"}}, 400, "scholar"),
        ({"environment": "kitchen/cramped_room", "clock": "sometimes"}, 400, "clock"),
        ({"environment": "kitchen/cramped_room", "episodes": 0}, 422, "episodes"),
        ({"environment": "kitchen/cramped_room", "clock": "tick:inf"}, 400, "tick"),
        ({"environment": "kitchen/cramped_room", "clock": "deadline:nan"}, 400, "deadline"),
        ({"environment": "kitchen/cramped_room", "block": 1 << 63}, 422, "block"),
        ({"environment": "gym:CartPole-v1", "options": {"nonsense": [1]}}, 400, "nonsense"),
        ({"environment": "kitchen/cramped_room", "options": {"horizont": 3}}, 400, "horizon"),
        ({"environment": "kitchen/cramped_room", "conduct": {"timeout": ["sing"]}}, 400, "conduct"),
        ({"environment": "kitchen/cramped_room", "nonsense": 1}, 422, "nonsense"),
        ({}, 422, "environment"),
    ],
)
def test_what_cannot_be_made_is_said_and_leaves_nothing(client, tmp_path, given, status, words):
    answer = client.post("/api/v1/rooms", json=given)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]
    assert not list(tmp_path.iterdir())


def test_the_rooms_are_listed_and_closed(client):
    one, two = made(client), made(client, seats={"p0": "person"})
    listed = client.get("/api/v1/rooms").json()["rooms"]
    assert {r["room"] for r in listed} == {one["room"]["room"], two["room"]["room"]}
    assert one["invites"] == []
    answer = client.post(f"/api/v1/rooms/{two['room']['room']}/close", json={"final": True})
    assert answer.json()["status"] == "stopped"
    left = client.post(f"/api/v1/rooms/{one['room']['room']}/close", json={}).json()
    assert left["status"] == "stopped"
    states = {r["room"]: r["status"] for r in client.get("/api/v1/rooms").json()["rooms"]}
    assert states == {one["room"]["room"]: "left", two["room"]["room"]: "stopped"}
    assert client.post(f"/api/v1/rooms/{two['room']['room']}/resume").status_code == 404


def test_what_can_be_played_is_told(client):
    choices = client.get("/api/v1/play-choices").json()
    assert "cramped_room" in choices["environments"]["kitchen"]
    assert "chef" in choices["agents"]
    assert not {"python", "worker", "open", "human", "a2a"} & set(choices["agents"])
    look = client.post("/api/v1/play-look", json={"environment": "kitchen/cramped_room"}).json()
    assert [s["seat"] for s in look["seats"]] == ["p0", "p1"]
    assert look["expert"] == "chef"
    assert look["talks"]
    assert client.post("/api/v1/play-look", json={"environment": "kitchen/nowhere"}).status_code == 400
