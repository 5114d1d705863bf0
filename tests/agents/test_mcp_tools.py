"""MCP servers as tools, against servers written with the official SDK: sessions, errors, records, endings."""

import asyncio
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("mcp")

from crossplay.agents import Context, Llm, make_agent
from crossplay.agents.mcp_tools import McpServer, make_server
from crossplay.agents.tools import BadArguments, Toolbox, ToolError, make_toolbox
from crossplay.kernel import ActionSpec, Block, Conduct, CrossplayError, Env, Lineup, aio, pack, play, unpack
from crossplay.models import Door, ScriptedBackend
from crossplay.records.cassette import Cassette

HERE = Path(__file__).parent
COMMAND = f"{sys.executable} mcp_beside.py"


@pytest.fixture(scope="module")
def server():
    os.environ["CROSSPLAY_TEST_TOKEN"] = "t0ken"
    context = Context(trust=True, folder=HERE)
    made = make_server({"mcp": COMMAND, "name": "beside", "env": ["CROSSPLAY_TEST_TOKEN"]}, context)
    assert context.closing == [made.close]
    yield made
    pid = int(asyncio.run(call(made, "odd")).split()[0])
    made.close()
    made.close()
    assert gone(pid)
    del os.environ["CROSSPLAY_TEST_TOKEN"]


def gone(pid):
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


async def call(server, name, seconds=20.0, **arguments):
    [listed] = [t for t in await server.listing() if t["name"] in (name, f"dotted.name/{name}")]
    return await server.tool(listed).call(arguments, seconds)


def test_tools_are_listed_by_name_with_their_schemas(server):
    found = {t["name"]: t for t in asyncio.run(server.listing())}
    assert list(found) == sorted(found) == ["add", "dies", "dotted.name/odd", "fails", "waits"]
    assert found["add"]["parameters"]["required"] == ["a", "b"]
    assert found["add"]["repeatable"] and not found["fails"]["repeatable"]
    odd = server.tool(found["dotted.name/odd"])
    assert odd.name == "dotted_name_odd" and odd.identity == "beside/dotted.name/odd"


def test_one_session_outlives_event_loops_and_sees_only_the_variables_named(server):
    first, second = (asyncio.run(call(server, "odd")) for _ in range(2))
    assert first == second and first.endswith(" t0ken")


def test_errors_of_a_call(server):
    assert asyncio.run(call(server, "add", a=2, b=40)) == "42"
    with pytest.raises(BadArguments, match=r"\$\.a: 'x' is not of type 'integer'"):
        asyncio.run(call(server, "add", a="x", b=1))
    with pytest.raises(ToolError, match="fails"):
        asyncio.run(call(server, "fails", why="because"))
    with pytest.raises(ToolError, match=r"no result within 0\.2 s"):
        asyncio.run(_waits(server))
    assert asyncio.run(call(server, "add", a=1, b=1)) == "2"


async def _waits(server):
    [listed] = [t for t in await server.listing() if t["name"] == "waits"]
    return await server.tool(listed).call({"seconds": 1.0}, 0.2)


class Ask(Env):
    name, horizon, rules, views, seats = "ask", 2, "Add 2 and 40.", ("data", "text"), ("p0",)
    _spec = ActionSpec("text", max_len=100)

    def reset(self, key, task=None):
        self.t, self.said = 0, []

    def to_act(self):
        return self.seats

    def ended(self):
        return "horizon" if self.t == 2 else None

    def spec(self, seat):
        return self._spec

    def data(self, seat):
        return {"turn": self.t}

    def step(self, actions, mail):
        self.t += 1
        self.said.append(actions["p0"])
        return [float(actions["p0"] == "42")]

    def score(self):
        return {"right": float(self.said.count("42"))}

    def snapshot(self):
        return pack([self.t, self.said])

    def restore(self, snapshot):
        self.t, self.said = unpack(snapshot)


def answer(request):
    if "Result of add: 42" in request.messages[-1].text:
        return '{"answer": "42"}'
    return '{"tool": "add", "arguments": {"a": 2, "b": 40}}'


def play_one(door, sources):
    agent = Llm(door.model("m"), tools=Toolbox(sources=sources, door=door))
    return asyncio.run(aio(play(Ask(), Lineup({"p0": agent}), Block(0, 0), Conduct())))


def test_a_replay_starts_no_process(tmp_path, server):
    can = {"json_schema": True}
    door = Door({"m": ScriptedBackend("m", answer, capabilities=can)}, Cassette(tmp_path))
    live = play_one(door, [server])
    asyncio.run(door.aclose())
    assert live.score == {"right": 2.0} and live.counts["p0"]["tool_calls"] == 2
    asked = [unpack(e[16])["tool"] for e in live.events if e[3] == "tool" and "tool" in unpack(e[16])]
    assert asked == ["beside tools/list", "beside/add", "beside/add"]  # listed once, remembered in the memo
    door = Door({"m": ScriptedBackend("m", answer, capabilities=can)}, Cassette(tmp_path, mode="strict"))
    absent = McpServer("no-such-command-anywhere", "beside")
    again = play_one(door, [absent])
    asyncio.run(door.aclose())
    assert absent._session is None
    assert (again.world, again.mind, again.score) == (live.world, live.mind, live.score)


def test_a_server_that_dies_is_an_error_and_the_next_call_has_another(server):
    before = asyncio.run(call(server, "odd"))
    with pytest.raises(ToolError, match="closed|Closed"):
        asyncio.run(call(server, "dies"))
    after = asyncio.run(call(server, "odd"))
    assert before != after and gone(int(before.split()[0]))


def test_a_server_that_is_not_there_is_heard_before_anything_is_spent(tmp_path):
    context = Context(door=Door({"m": ScriptedBackend("m")}), trust=True, folder=tmp_path)
    agent = make_agent({"type": "llm:m", "tools": ["mcp:no-such-command-anywhere --flag"]}, context)
    with pytest.raises(CrossplayError, match="mcp:no-such-command-anywhere: cannot be reached"):
        agent.check(Ask(), "p0")
    (tmp_path / "talks.py").write_text("import sys\nsys.exit('the key is missing')\n")
    agent = make_agent({"type": "llm:m", "tools": [f"mcp:{sys.executable} talks.py"]}, context)
    with pytest.raises(CrossplayError, match="it said: the key is missing"):
        agent.check(Ask(), "p0")
    for close in context.closing:
        close()


def test_streamable_http(tmp_path):
    import uvicorn

    sys.path.insert(0, str(HERE))
    from mcp_beside import server as beside

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    web = uvicorn.Server(uvicorn.Config(beside.streamable_http_app(), port=port, log_level="error"))
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    while not web.started:
        time.sleep(0.02)
    context = Context(trust=True)
    box = make_toolbox([f"mcp:http://user:secret@127.0.0.1:{port}/mcp?key=1"], context)
    assert box.manifest()["given"] == [f"mcp:http://127.0.0.1:{port}/mcp"]
    made = make_server(f"mcp:http://127.0.0.1:{port}/mcp", context)
    try:
        made.connect()
        assert asyncio.run(call(made, "add", a=1, b=2)) == "3"
    finally:
        made.close()
        web.should_exit = True
        thread.join(10)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"mcp": ""}, "needs a command or an address"),
        ({"mcp": "x", "enw": []}, 'unknown key "enw".*"env"'),
        ({"mcp": "x", "env": "A"}, "must be a list"),
        ({"mcp": "x 'unclosed"}, "quotation"),
    ],
)
def test_tables_say_what_is_wrong(table, why):
    with pytest.raises(CrossplayError, match=why):
        make_server(table, Context(trust=True))


def test_variables_that_are_not_set_are_named():
    made = make_server({"mcp": COMMAND, "env": ["CROSSPLAY_NOT_SET"]}, Context(trust=True, folder=HERE))
    with pytest.raises(CrossplayError, match="CROSSPLAY_NOT_SET is not set"):
        made.connect()
    made.close()
