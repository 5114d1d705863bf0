"""Rooms as browsers meet them: REST, links with tokens, WebSockets, limits."""

import asyncio
import contextlib
import json

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect, WebSocketState

from crossplay.kernel import Block, Lineup, loop, make_env, play
from crossplay.kernel.agent import Agent
from crossplay.records import RunFolder
from crossplay.study.verify import verify
from crossplay.web.app import make_app
from crossplay.web.desk import Desk
from crossplay.web.play import sockets
from crossplay.web.play.clock import Buckets
from crossplay.web.play.lines import WAITING, Line, apart
from crossplay.web.play.record import RoomSpec
from crossplay.web.play.rooms import create_room, hall
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
    invite = found["invites"][0]
    assert refused(client, room, {"seat": "p0", "token": invite["token"]}) == 4429, "not even heard"
    desk.parts["tries"] = Tries(3, 0.0)
    with player(client, room, invite) as here:
        here.until("room")
    assert [refused(client, room, {"seat": "p0", "token": f"guess {n}"}) for n in range(4)][-1] == 4429
    with player(client, room, invite) as here:
        assert here.until("room")["seat"] == "p0", "who is in comes back, though somebody beside them guesses"
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
        ({"environment": "qa/file", "options": {"path": "/etc/passwd"}}, 403, "file"),
        ({"environment": "openspiel/efg_game", "options": {"filename": "/etc/passwd"}}, 400, "efg_game"),
        ({"environment": "kitchen/cramped_room", "seats": {"p0": "policy:/etc/passwd"}}, 403, "command line"),
        ({"environment": "kitchen/cramped_room", "seats": {"p0": "verified:policy:../x"}}, 403, "command line"),
        ({"environment": "kitchen/cramped_room", "seats": {"p0": {"type": "chef", "speed": 1}}}, 400, "speed"),
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


def test_no_file_is_read_to_look_at_an_environment(client, tmp_path):
    secret = tmp_path / "secret.csv"
    secret.write_text("question,answer\nsomething of this machine?,42\n")
    body = {"environment": "qa/file", "options": {"path": str(secret)}}
    answer = client.post("/api/v1/play-look", json=body)
    assert answer.status_code == 403, answer.text
    body = {"environment": "openspiel/efg_game", "options": {"filename": str(secret)}}
    answer = client.post("/api/v1/play-look", json=body)
    assert answer.status_code == 400
    assert "something of" not in answer.text


def test_an_agent_is_given_the_seat_of_a_person_who_is_gone(client, tmp_path):
    found = made(client, seats={"p0": "person", "p1": "person"})
    room, (one, other) = found["room"]["room"], found["invites"]
    at = f"/api/v1/rooms/{room}/seats/p1/hand-over"
    with player(client, room, one) as here, player(client, room, other) as gone:
        here.say(ready=True)
        gone.say(ready=True)
        here.say(turn=here.turn()["turn"], value="stay")
        gone.turn()
        assert client.post(at, json={"agent": "python:os:system"}).status_code == 403
        assert client.post(at, json={"agent": "cheff"}).status_code == 400
        assert client.post(at, json={"agent": 3}).status_code == 422
        view = client.post(at, json={"agent": "chef"}).json()
        assert [(s["who"], s["stands_in"]) for s in view["seats"]] == [("person", False), ("chef", True)]
        with pytest.raises(WebSocketDisconnect) as closed:
            gone.until("never")
        assert closed.value.code == 4005
        assert client.post(at, json={"agent": "chef"}).status_code == 409
        assert refused(client, room, {"seat": "p1", "token": other["token"]}) == 1008
        while (state := here.turn())["kind"] != "end":
            if not state.get("answered"):
                here.say(turn=state["turn"], value="stay")
        here.until("closed")
    assert client.post(at, json={"agent": "chef"}).status_code == 409
    assert verify(tmp_path / found["room"]["run"], "agents").ok


def test_whatever_is_sent_the_game_goes_on(client):
    """Messages that cannot be read, of wrong types, stale, doubled, huge numbers, bytes: refused, counted, answered in words."""
    found = made(client, seats={"p0": "person", "p1": "noop"}, options={"horizon": 2})
    room, invite = found["room"]["room"], found["invites"][0]
    with player(client, room, invite, views=["text"] * 2000) as here:
        here.say(ready=True)
        turn = here.turn()["turn"]
        here.socket.send_bytes(b"\x00\xff")
        for text in ("", "null", "[]", '{"turn": 1.5}', '{"turn": true, "value": 1}', '{"say": "\\ud800"}', "[" * 9000):
            here.socket.send_text(text)
        assert "cannot be read" in here.until("refused")["why"]
        for value in (10**30, -1, 6, None, True, "", {"a": []}, ["north"], "x" * 9000):
            here.say(turn=turn, value=value)
        for number in (0, -5, 10**25, turn + 1):
            here.say(turn=number, value="north")
        here.say(say="x" * 8193)
        here.say(say="hello", to="nobody")
        here.say(ready=False)
        here.say(turn=turn, value="north")
        here.say(turn=turn, value="south")
        told = here.turn()
        assert told["tick"] == 1
        assert told["last"] == {"value": "north", "origin": "own"}
        here.say(turn=told["turn"], value="stay")
        assert here.until("closed")["status"] == "over"
    tally = client.get(f"/api/v1/rooms/{room}").json()["seats"][0]["tally"]
    assert (tally["received"], tally["played"], tally["refused"]) == (16, 2, 14)


class Deaf:
    """A browser that connects, says who it is, and reads nothing."""

    def __init__(self, room, first):
        self.path_params, self.client, self.scope = {"room": room}, None, {"owner": True}
        self.application_state = self.client_state = WebSocketState.CONNECTED
        self.first = [{"type": "websocket.receive", "text": json.dumps(first)}]
        self.sent = 0

    async def accept(self):
        pass

    async def receive(self):
        return self.first.pop() if self.first else await asyncio.Event().wait()

    async def send_text(self, text):
        self.sent += 1
        await asyncio.Event().wait()

    send_bytes = send_text

    async def close(self, code, why):
        await asyncio.Event().wait()


def test_who_reads_nothing_is_let_go_and_the_seat_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(sockets, "FAREWELL_S", 0.02)

    async def work():
        desk = Desk(tmp_path)
        found = await create_room(desk, RoomSpec(environment="kitchen/cramped_room", seats={"p0": "person"}))
        room, token = hall(desk).rooms[found.room.room], found.invites[0].token
        deaf = Deaf(room.name, {"seat": "p0", "token": token})
        serving = asyncio.create_task(sockets.serve_room(desk, deaf))
        while room.seats["p0"].line is None:
            await asyncio.sleep(0.001)
        for _ in range(WAITING + 2):
            room.changed()
            await asyncio.sleep(0)
        await asyncio.wait_for(serving, 20)
        assert deaf.sent == 1
        assert room.seats["p0"].line is None, "somebody who reads can sit down"
        watching = Deaf(room.name, {"watch": True})
        serving = asyncio.create_task(sockets.serve_room(desk, watching))
        while not room.watchers:
            await asyncio.sleep(0.001)
        room.close(final=True)
        await asyncio.wait_for(serving, 20)
        assert not room.watchers

    asyncio.run(asyncio.wait_for(work(), 30))


def test_views_are_drawn_once_however_often_they_are_asked_for():
    line = Line(["image", "text", "image", "nothing"] * 1000)
    assert line.views == ("image", "text")
    line.look(["data"] * 1000)
    assert line.views == ("data",)


def test_whoever_looks_in_when_all_is_over_is_told_so(client):
    found = made(client, seats={"p0": "person", "p1": "noop"}, options={"horizon": 1})
    room, invite = found["room"]["room"], found["invites"][0]
    with player(client, room, invite) as here:
        here.say(ready=True)
        here.say(turn=here.turn()["turn"], value="stay")
        here.until("closed")
    with client.websocket_connect(f"{WS}/{room}") as socket:
        socket.send_text('{"watch": true}')
        watching = Player(socket)
        assert watching.until("end")["status"] == "horizon"
        assert watching.until("closed")["status"] == "over"
        with pytest.raises(WebSocketDisconnect):
            watching.until("never")
