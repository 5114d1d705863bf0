"""Tools and people go through the cassette as models do: intent, result, replay, kill."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from asked import handle

from crossplay.models import Door, ModelDown
from crossplay.models.door import ToolError
from crossplay.records.cassette import Cassette, Missing, verify_cassette


class Search:
    """A tool that knows how often it ran."""

    def __init__(self):
        self.runs = 0

    def __call__(self):
        self.runs += 1
        return {"hits": [f"page {self.runs}"], "score": 0.5}


def call(door, tool, at=None, name="search", arguments=None, **options):
    return asyncio.run(door.tool(name, arguments or {"query": "crossplay"}, at or handle(), tool, **options))


def test_a_result_is_recorded_before_it_is_used_and_read_in_every_replay(tmp_path):
    door, tool, first = Door(cassette=Cassette(tmp_path)), Search(), handle()
    result = call(door, tool, first)
    assert result == {"hits": ["page 1"], "score": 0.5} and tool.runs == 1
    assert call(door, tool, handle()) == result and tool.runs == 1
    assert call(door, tool, handle(tick=1))["hits"] == ["page 2"]
    assert call(door, tool, arguments={"query": "else"})["hits"] == ["page 3"]
    row = next(door.cassette.rows())
    assert (row.call.model, row.status, row.usage.calls) == ("tool:search", "answered", 0)
    asyncio.run(door.aclose())
    strict, again = Door(cassette=Cassette(tmp_path, "strict")), handle()
    assert call(strict, tool, again) == result and tool.runs == 3
    assert again.notes == first.notes
    [(path, kind, data, usage)] = again.notes
    assert (path, kind, data["tool"], data["result"], usage) == ((), "tool", "search", result, None)
    with pytest.raises(Missing, match=r"no answer of tool:search.*differs in arguments.query"):
        call(strict, tool, arguments={"query": "unheard of"})
    assert tool.runs == 3


def test_async_tools_and_arrays():
    async def look():
        await asyncio.sleep(0)
        return {"picture": np.arange(6, dtype=np.uint8).reshape(2, 3)}

    door = Door()
    for _ in range(2):
        assert call(door, look)["picture"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_tool_that_failed_fails_again_in_replay(tmp_path):
    def broken():
        raise FileNotFoundError("no such page")

    door, at = Door(cassette=Cassette(tmp_path)), handle()
    with pytest.raises(ToolError, match='tool "search": no such page') as caught:
        call(door, broken, at)
    assert caught.value.kind == "FileNotFoundError"
    asyncio.run(door.aclose())
    tool, again = Search(), handle()
    with pytest.raises(ToolError, match="no such page"):
        call(Door(cassette=Cassette(tmp_path, "strict")), tool, again)
    assert tool.runs == 0 and again.notes == at.notes


def test_what_ends_the_run_is_no_result():
    def down():
        raise ModelDown("gone")

    door = Door()
    with pytest.raises(ModelDown):
        call(door, down)
    assert len(door.cassette) == 0


def test_a_person_is_asked_once(tmp_path):
    door, at = Door(cassette=Cassette(tmp_path)), handle()
    asked = []

    async def ask():
        asked.append(1)
        return "yes"

    for _ in range(2):
        assert asyncio.run(door.person("ann", "Shall we?", at=handle(), ask=ask)) == "yes"
    assert asyncio.run(door.person("bob", "Shall we?", at=at, ask=ask)) == "yes"
    assert len(asked) == 2
    assert {r.call.model for r in door.cassette.rows()} == {"person:ann", "person:bob"}
    assert at.notes[0][1:3] == ("tool", {"person": "bob", "call": at.notes[0][2]["call"], "result": "yes"})


def test_secrets_and_names_do_not_reach_the_record():
    door = Door(redact=lambda t: t.replace("Ada", "[name]"))
    result = call(door, lambda: ["Ada was here", {"who": "Ada"}], arguments={"query": ["about Ada"]})
    assert result == ["[name] was here", {"who": "[name]"}]
    row = next(door.cassette.rows())
    assert b"Ada" not in row.call.request and b"Ada" not in row.reply


CHILD = """
    import asyncio, os, signal, sys
    sys.path.insert(0, {tests!r})
    from asked import handle
    from crossplay.models import Door
    from crossplay.records.cassette import Cassette
    def killed():
        os.kill(os.getpid(), signal.SIGKILL)
    door = Door(cassette=Cassette({path!r}))
    asyncio.run(door.tool("write", {{"text": "x"}}, handle(), killed, repeatable={repeatable}))
"""


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_tool_in_flight_at_a_kill_runs_again_and_is_counted_unless_it_is_repeatable(tmp_path, repeatable):
    code = CHILD.format(tests=str(Path(__file__).parent), path=str(tmp_path), repeatable=repeatable)
    child = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert child.returncode == -signal.SIGKILL
    door, tool = Door(cassette=Cassette(tmp_path)), Search()
    assert door.cassette.counts()["intent"] == 1  # the intent was committed before the tool began
    at = handle()
    call(door, tool, at, "write", {"text": "x"}, repeatable=repeatable)
    assert tool.runs == 1
    assert at.counts == {"retry": 1} | ({} if repeatable else {"maybe_done_twice": 1})
    asyncio.run(door.aclose())
    assert not verify_cassette(tmp_path / "cassette.sqlite")


def test_a_cancelled_agent_leaves_the_result_in_the_cassette():
    door, at = Door(), handle()

    async def slow():
        await asyncio.sleep(0.02)
        return 1

    async def cut():
        task = asyncio.create_task(door.tool("slow", {}, at, slow))
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await door.drain()

    asyncio.run(cut())
    assert door.cassette.counts()["answered"] == 1 and at.notes[0][2]["cut"] is True
