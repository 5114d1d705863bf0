"""A server killed with SIGKILL keeps every finished episode, and goes on with the others from their snapshots."""

import json
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from websockets.sync.client import connect

from crossplay.kernel import Block, Lineup, loop, make_env, play
from crossplay.kernel.agent import Agent
from crossplay.records import RunFolder
from crossplay.study.verify import verify
from crossplay.web.play.lines import apart

MOVES = ("north", "interact", "west", "south", "east", "stay")
SERVER = """
import sys, threading
from pathlib import Path
from crossplay.web.app import make_app
from crossplay.web.desk import Desk
from crossplay.wire.http.house import House
house = House(make_app(Desk(Path(sys.argv[1]))), "127.0.0.1", 0, sockets=True)
house.open()
print(house.authority, flush=True)
sys.stdin.read()
"""


class Served:
    """A server in a process of its own, to be killed."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.at = self.process.stdout.readline().strip()

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://{self.at}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def servers():
    made = []
    yield made
    for server in made:
        server.kill()


class Sitting:
    """Somebody in a seat over a real WebSocket."""

    def __init__(self, server, room, invite, offset):
        self.line, self.offset = connect(f"ws://{server.at}/ws/play/{room}"), offset
        self.say(seat=invite["seat"], token=invite["token"], views=["text"])
        self.ticks = []

    def say(self, **what):
        self.line.send(json.dumps(what))

    def until(self, *kinds):
        while True:
            message = self.line.recv(timeout=20)
            told = json.loads(apart(message)[0] if isinstance(message, bytes) else message)
            if told["kind"] in kinds:
                return told

    def play(self, ticks, first=False):
        """Answer so many turns; the tick after them is shown and open."""
        while True:
            told = self.until("state", "end")
            if told["kind"] == "end" or not told["turn"]:
                if told["kind"] == "end":
                    return told
                continue
            self.ticks.append((told["episode"], told["tick"]))
            if ticks == 0:
                return told
            ticks -= 1
            self.say(turn=told["turn"], value=MOVES[(told["tick"] + self.offset) % len(MOVES)])


class Script(Agent):
    def act(self, obs):
        return MOVES[obs.tick % len(MOVES)]


def test_a_killed_server_keeps_what_is_finished_and_goes_on_with_the_rest(tmp_path, servers):
    servers.append(first := Served(tmp_path))
    body = {
        "environment": "kitchen/cramped_room",
        "options": {"horizon": 14},
        "seats": {"p0": "person", "p1": "chef"},
        "episodes": 2,
        "countdown_s": 0,
        "takeover": "people",
    }
    made = first.ask("POST", "/rooms", body)
    room, invite, folder = made["room"]["room"], made["invites"][0], tmp_path / made["room"]["run"]
    one = Sitting(first, room, invite, 0)
    one.say(ready=True)
    assert one.play(-1)["kind"] == "end"
    one.say(ready=True)
    one.play(7)
    snapshot = folder / "room" / "snapshot"
    for _ in range(100):  # the newest snapshot is written beside the game
        if snapshot.exists():
            break
        time.sleep(0.05)
    time.sleep(0.6)
    first.kill()

    with RunFolder.open(folder) as run:
        assert len(run.records()) == 1, "the finished episode is there"
    servers.append(second := Served(tmp_path))
    listed = second.ask("GET", "/rooms")["rooms"]
    assert [(r["room"], r["status"]) for r in listed] == [(room, "left")]
    assert second.ask("POST", f"/rooms/{room}/resume")["status"] == "waiting"
    again = Sitting(second, room, invite, 0)
    assert again.until("room")["status"] == "waiting", "the same link lets in"
    again.say(ready=True)
    assert again.play(-1)["status"] == "horizon"
    assert again.until("closed")["status"] == "over"
    assert again.ticks[0][0] == 2
    assert 1 <= again.ticks[0][1] <= 7, "it goes on from a snapshot, not from the start"
    for _ in range(100):
        if second.ask("GET", f"/rooms/{room}")["status"] == "over":
            break
        time.sleep(0.05)
    second.kill()

    from crossplay.agents import make_agent

    with RunFolder.open(folder) as run:
        records = run.records()
        assert [r.block for r in records] == [0, 1]
        for record in records:
            env = make_env("kitchen/cramped_room", {"horizon": 14})
            alone = loop(play(env, Lineup({"p0": Script(), "p1": make_agent("chef")}), Block(0, record.block)))
            assert record.world == alone.world, "as if nothing had happened"
            assert record.counts["p0"]["decisions"] == 14
    assert verify(folder, "agents").ok
