"""Studies with open seats: clients over HTTP and stdio, records, absence, trust."""

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("mcp")

import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

import crossplay
from crossplay.agents.context import Context, NeedsTrust
from crossplay.agents.open_seat import OpenSeat
from crossplay.kernel import CrossplayError, Stop, unpack
from crossplay.serve.mcp_http import BODY, McpHouse
from crossplay.serve.sitting import open_seats, seat_study
from crossplay.study.runner import run_study
from crossplay.study.stage import Stage
from crossplay.study.verify import verify

HERE = Path(__file__).parent
PLAYER = f"{sys.executable} {HERE.parents[1] / 'examples' / 'mcp_player.py'}"
TOKEN = "a-token-of-enough-characters"


def study_with(guest, lineups=None, blocks=2, env="kitchen/cramped_room", horizon=6, agents=None):
    return {
        "study": {"name": "open", "blocks": blocks, "concurrency": 3, "margin": 1.0},
        "environments": {"world": {"name": env, "options": {"horizon": horizon}}},
        "agents": {
            "guest": {"type": "open:mcp", "wait": 20, "grace": 10, **guest},
            "chef": {"type": "chef"},
            **(agents or {}),
        },
        "lineups": lineups or {"guest": {"seats": ["guest", "chef"]}},
        "controls": {"floor": False, "ceiling": False, "zero_message": False},
    }


def records(folder, lineup=""):
    with crossplay.open_run(folder) as run:
        return sorted((r for r in run.records() if r.lineup.startswith(lineup)), key=lambda r: (r.block, r.attempt))


def staged(tmp_path, **more):
    """A stage of `crossplay seat` and its open seats."""
    stage = Stage(seat_study("kitchen/cramped_room", options={"horizon": 6}, **more), tmp_path / "run")
    stage.check()
    return stage, open_seats(stage)


def over_http(house, token=""):
    headers = {"Authorization": f"Bearer {token}"} if token else None
    return Client(streamable_http_client(house.url, http_client=create_mcp_http_client(headers=headers)))


async def play_on(client, moves=None, pick=0, **more):
    """Take legal actions until all is over; returns the states."""
    states = [(await client.call_tool("observe")).structured_content]
    while states[-1]["status"] != "over" and moves != 0:
        if states[-1]["status"] == "your_turn":
            move = {"action": states[-1]["answer"]["legal"][pick], "turn": states[-1]["turn"], **more}
            states.append((await client.call_tool("act", move)).structured_content)
            moves = None if moves is None else moves - 1
        else:
            states.append((await client.call_tool("observe")).structured_content)
    return states


def run_beside(stage, folder, houses, clients):
    """Run a study beside clients; returns what the clients return. The study's own error is raised."""
    failed = []

    def study():
        try:
            run_study(stage, folder)
        except BaseException as error:
            failed.append(error)
        for seat in open_seats(stage).values():
            seat.mailbox.finish()

    thread = threading.Thread(target=study)
    for house in houses:
        house.open()
    thread.start()
    try:

        async def all_of_them():
            return await asyncio.gather(*(c() for c in clients))

        return asyncio.run(all_of_them())
    finally:
        thread.join(30)
        for house in houses:
            house.close()
        if failed:
            raise failed[0]


# -- HTTP ------------------------------------------------------------------------------------------
def test_a_study_starts_its_client_and_can_be_repeated(tmp_path):
    guest = {"client": f"{PLAYER} --rule first"}
    lineups = {"guest": {"seats": ["guest", "chef"]}, "script": {"seats": ["first", "chef"]}}
    study = study_with(guest, lineups, blocks=3, agents={"first": {"type": "first-legal"}})
    result = crossplay.run(study, tmp_path / "one", trust=True)
    assert {row.lineup: row.summary.episodes for row in result.rows} == {"guest": 3, "script": 3}
    with crossplay.open_run(tmp_path / "one") as run:
        assert [r.block for r in run.records() if "guest" in r.lineup] == [0, 1, 2]  # the queue keeps their order
    by_client, by_script = (records(tmp_path / "one", who) for who in ("guest", "first"))
    # The world chain of an outside party is that of a script that answers the same.
    assert [r.world for r in by_client] == [r.world for r in by_script] and len({r.world for r in by_client}) == 3
    for level in ("actions", "agents"):
        found = verify(tmp_path / "one", level, trust=True)
        assert found.ok and found.replayed == 6
    assert "can only be replayed" in found.recorded_only["world | guest+chef"]


def test_two_clients_play_two_seats_of_one_episode(tmp_path):
    stage, opened = staged(tmp_path, seats=("p0", "p1"), episodes=2)
    houses = [McpHouse(seat, token=TOKEN) for seat in opened.values()]

    def client(k):
        async def party():
            async with over_http(houses[k], TOKEN) as found:
                return await play_on(found, pick=k, say=f"from {k}")

        return party

    told = run_beside(stage, tmp_path / "run", houses, [client(0), client(1)])
    for k, states in enumerate(told):
        turns = [s for s in states if s["status"] == "your_turn"]
        assert len(turns) == 12 and {s["seat"] for s in turns} == {f"p{k}"}
        assert {m["body"] for s in turns for m in s["inbox"]} == {f"from {1 - k}"}
        assert [s["episode"] for s in states if s["status"] == "episode_over"] == [1, 2]
    played = records(tmp_path / "run")
    assert [r.status for r in played] == ["horizon"] * 2
    assert verify(tmp_path / "run", "actions").ok


def test_a_client_that_is_gone_finds_the_same_block_again(tmp_path):
    stage, opened = staged(tmp_path, guest={"grace": 0.3, "wait": 20})
    (seat,) = opened.values()
    house = McpHouse(seat)

    async def party():
        async with over_http(house) as found:
            before = await play_on(found, moves=3)
        while not seat.mailbox.void:
            await asyncio.sleep(0.02)
        async with over_http(house) as found:
            return before, await play_on(found)

    ((before, after),) = run_beside(stage, tmp_path / "run", [house], [party])
    assert after[0]["status"] == "episode_over" and after[0]["ended"] == "void"
    again = [s for s in after if s["status"] == "your_turn"]
    assert again[0]["text"] == before[0]["text"] and again[0]["tick"] == 0  # the same block from its start
    void, played = records(tmp_path / "run")
    assert (void.status, played.status) == ("void", "horizon") and void.block == played.block
    assert verify(tmp_path / "run", "actions").ok


def test_a_wrong_token_a_foreign_page_and_a_large_body_are_refused(tmp_path):
    seat = OpenSeat("guest")
    house = McpHouse(seat, token=TOKEN)
    house.open()
    try:
        post = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "observe"}}
        right = {"Authorization": f"Bearer {TOKEN}", "Accept": "application/json, text/event-stream"}
        for headers, want in (
            ({}, 401),
            ({"Authorization": "Bearer wrong"}, 401),
            ({**right, "Host": "evil.example"}, 421),
            ({**right, "Origin": "http://evil.example"}, 403),
        ):
            assert httpx2.post(house.url, json=post, headers=headers).status_code == want
        large = {**post, "params": {"name": "x" * BODY}}
        assert httpx2.post(house.url, json=large, headers=right).status_code == 413

        async def wrong():
            async with over_http(house, "wrong") as client:
                await client.list_tools()

        with pytest.raises(BaseException):  # noqa: B017  the SDK's groups of errors
            asyncio.run(wrong())
        assert seat.mailbox._seen == float("-inf")  # none of them counted as the party
    finally:
        house.close()


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_client_that_breaks_off_while_it_waits_is_no_longer_there(mode):
    seat = OpenSeat("guest")
    house = McpHouse(seat, hold=1.0)
    house.open()

    async def break_off():
        async with Client(house.url, mode=mode) as client:
            await client.list_tools()
            asked = asyncio.create_task(client.call_tool("observe"))
            while not seat.mailbox._present:
                await asyncio.sleep(0.01)
            asked.cancel()
            await asyncio.wait([asked])

    asyncio.run(break_off())
    for _ in range(300):
        if not seat.mailbox._present:
            break
        time.sleep(0.01)
    house.close()
    assert seat.mailbox._present == 0


def test_two_served_seats_in_changing_places_do_not_wait_for_each_other(tmp_path):
    party = {"type": "open:mcp", "client": f"{PLAYER} --rule first", "wait": 20}
    lineups = {"one": {"seats": ["guest", "other"]}, "two": {"seats": ["other", "guest"]}}
    study = study_with(party, lineups, agents={"other": dict(party)}, horizon=3)
    result = crossplay.run(study, tmp_path / "run", trust=True)
    assert [row.statuses for row in result.rows] == [{"horizon": 2}] * 2


def test_an_address_in_use_is_heard_of_at_once():
    first = McpHouse(OpenSeat("guest"))
    with pytest.raises(CrossplayError, match="cannot serve at 127.0.0.1"):
        McpHouse(OpenSeat("other"), port=first.house.port)
    first.close()


# -- trust, and clients that fail ------------------------------------------------------------------


def test_a_command_that_a_file_names_needs_trust(tmp_path):
    from crossplay.agents import make_agent

    with pytest.raises(NeedsTrust, match="allow it with --trust"):
        make_agent({"type": "open:mcp", "client": "touch owned"}, Context(folder=tmp_path))
    assert make_agent({"type": "open:mcp"}, Context()).kind == "remote"  # nothing is started
    with pytest.raises(NeedsTrust):
        crossplay.run(study_with({"client": "touch owned"}), tmp_path / "run")
    assert not list(tmp_path.glob("**/owned"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"http": "0.0.0.0:0"}, "needs a token"),
        ({}, "name a port"),
        ({"http": "here"}, "expected HOST:PORT"),
        ({"token_env": "CROSSPLAY_NOT_SET"}, "CROSSPLAY_NOT_SET is not set"),
        ({"kind": "person"}, "remote, human"),
        ({"type": "open:mpc"}, 'Did you mean "mcp"'),
        ({"clients": "x"}, 'Did you mean "client"'),
    ],
)
def test_what_cannot_be_is_heard_of_before_anything_is_played(tmp_path, options, why):
    with pytest.raises(CrossplayError, match=why):
        crossplay.run(study_with(options), tmp_path / "run", trust=True)
    assert not (tmp_path / "run" / "manifest.sqlite").exists()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (
            f"{sys.executable} -c \"print('no model is here'); raise SystemExit(7)\"",
            "exit code 7; it printed last: no model is here",
        ),
        ("/no/such/program", "there is no program ./no/such/program"),
    ],
)
def test_a_client_that_fails_stops_the_run_and_says_why(tmp_path, command, why):
    with pytest.raises(Stop, match=why):
        crossplay.run(study_with({"client": command}), tmp_path / "run", trust=True)


def test_a_client_is_ended_with_the_run_and_sees_no_other_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "not for everybody")
    script = tmp_path / "stay.py"
    script.write_text(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('seen', 'w').write(repr(dict(os.environ)) + f'\\n{child.pid}')\n"
        "time.sleep(600)\n"
    )
    from crossplay.serve import client as module

    monkeypatch.setattr(module, "LEAVING", 0.1)
    ended = []
    client = module.Client(f"{sys.executable} {script}", {"CROSSPLAY_SEAT_URL": "http://x"}, [], tmp_path, ended.append)
    while not (tmp_path / "seen").exists() or not (tmp_path / "seen").read_text().count("\n"):
        time.sleep(0.01)
    seen, _, child = (tmp_path / "seen").read_text().partition("\n")
    client.close()
    assert "CROSSPLAY_SEAT_URL" in seen and "SOME_API_KEY" not in seen and not ended
    for _ in range(200):  # the whole group is gone; who adopts the child needs a moment to see it off
        try:
            os.kill(int(child), 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{child}/stat").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.01)
    else:
        raise AssertionError("a process that the client started outlived it")


# -- stdio -----------------------------------------------------------------------------------------
def beside(folder, log, *more):
    args = ["-m", "crossplay", "seat", "mcp", "matrix/stag_hunt", "--seat", "row", "--with", "strategy:tit_for_tat"]
    args += ["--episodes", "2", "--option", "rounds=4", "--out", str(folder), *more]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return stdio_client(
        StdioServerParameters(command=sys.executable, args=args, env={**os.environ, "PYTHONPATH": path}), errlog=log
    )


async def over_stdio(folder, log, moves=None):
    async with Client(beside(folder, log)) as client:
        return await play_on(client, moves)


def test_a_client_over_stdio_leaves_comes_back_and_plays_to_the_end(tmp_path):
    folder, log = tmp_path / "run", (tmp_path / "log").open("w+")
    first = asyncio.run(over_stdio(folder, log, moves=6))
    assert [s["status"] for s in first].count("your_turn") == 6 or first[-1]["status"] == "your_turn"
    for _ in range(500):  # the process closes the run when its client has left
        log.seek(0)
        if "goes on" in (said := log.read()):
            break
        time.sleep(0.02)
    assert "the client has closed the connection" in said and "1 of 2 episodes are kept" in said
    assert [r.status for r in records(folder)] == ["terminal"] or [r.status for r in records(folder)] == ["horizon"]
    second = asyncio.run(over_stdio(folder, log))
    ticks = [s["tick"] for s in second if s["status"] == "your_turn"]
    assert ticks == [0, 1, 2, 3] and second[-1]["status"] == "over" and second[-1]["episodes_left"] == 0
    played = records(folder)
    assert [r.block for r in played] == [0, 1]
    assert verify(folder, "actions").ok
    with crossplay.open_run(folder) as run:
        notes = [unpack(e.note) for e in run.events(played[0].id) if e.kind == "note"]
    assert notes[0]["party"]["front"] == "mcp stdio"
    assert crossplay.result(folder).rows[0].summary.episodes == 2
