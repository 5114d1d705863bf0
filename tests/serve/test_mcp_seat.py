"""A seat as an MCP server, met by the SDK's own client in this process, in both eras of the protocol."""

import asyncio
import base64
import io
import json

import pytest

pytest.importorskip("mcp")

from mcp import Client, MCPError
from PIL import Image
from seat_worlds import Listener, Secrets, open_seat, playing

from crossplay.serve.mcp_seat import make_server

ERAS = pytest.mark.parametrize("mode", ["legacy", "auto"])


def client_of(seat, mode="auto", hold=5.0):
    return Client(make_server(seat, "http", hold), mode=mode)


async def call(client, tool, **arguments):
    return await client.call_tool(tool, arguments)


@ERAS
def test_one_call_a_move_suffices(mode):
    async def main():
        seat = open_seat()
        async with playing(seat) as task, client_of(seat, mode) as client:
            said = [await call(client, "observe")]
            while said[-1].structured_content["status"] == "your_turn":
                said.append(await call(client, "act", action="name", turn=len(said)))
            said.append(await call(client, "observe"))
            return said, await task

    said, outcome = asyncio.run(main())
    states = [s.structured_content for s in said]
    assert [s["status"] for s in states] == ["your_turn"] * 3 + ["episode_over", "over"]
    assert outcome.score == {"named": 3.0} and states[3]["total_reward"] == 3.0
    first = said[0].content[0].text
    assert "Your turn 1" in first and "secret-of-a" in first and "Legal actions: quiet, name" in first
    assert states[0]["data"]["numbers"] == [0, 1, 2] and states[1]["last"] == {"value": "name", "origin": "own"}


@ERAS
def test_tools_and_resources_say_what_they_are(mode):
    async def main():
        seat = open_seat()
        async with client_of(seat, mode) as client:
            tools = {t.name: t for t in (await client.list_tools()).tools}
            uris = [r.uri for r in (await client.list_resources()).resources]
            templates = [t.uri_template for t in (await client.list_resource_templates()).resource_templates]
            return tools, uris, templates, client.instructions, client.server_info

    tools, uris, templates, how, info = asyncio.run(main())
    assert list(tools) == ["observe", "legal_actions", "act", "say", "state_of_play"]
    assert tools["act"].input_schema["properties"]["action"]["enum"] == list(Secrets.SPEC.names)
    assert tools["act"].input_schema["required"] == ["action", "turn"]
    assert tools["observe"].annotations.read_only_hint and not tools["act"].annotations.read_only_hint
    assert uris == ["crossplay://seat/rules", "crossplay://seat/history"]
    assert templates == ["crossplay://seat/history/{turn}"]
    assert "observe" in how and info.name == "crossplay-seat"


def test_say_is_there_only_where_somebody_may_hear():
    async def main():
        seat = open_seat()
        seat.talks = False
        async with client_of(seat) as client:
            names = [t.name for t in (await client.list_tools()).tools]
            refused = await call(client, "say", text="hello")
            return names, refused

    names, refused = asyncio.run(main())
    assert "say" not in names and refused.is_error and "no tool say" in refused.content[0].text


def test_what_is_said_is_heard():
    other = Listener()

    async def main():
        seat = open_seat()
        async with playing(seat, other=other) as task, client_of(seat) as client:
            await call(client, "observe")
            said = await call(client, "say", text="to you alone", to="b")
            await call(client, "act", action="quiet", turn=1, say="and to all")
            await call(client, "act", action="quiet", turn=2)
            await call(client, "act", action="quiet", turn=3)
            await task
            return said.structured_content

    state = asyncio.run(main())
    assert state["said_with_next_action"] == [{"to": "b", "text": "to you alone"}]
    assert other.heard == ["to you alone", "and to all"]


def test_wrong_calls_are_refused_in_words_and_cost_no_turn():
    async def main():
        seat = open_seat()
        async with playing(seat) as task, client_of(seat) as client:
            await call(client, "observe")
            wrong = [
                await call(client, "act", action="nam", turn=1),
                await call(client, "act", action="never", turn=1),
                await call(client, "act"),
                await call(client, "act", action="name"),
                await call(client, "act", action="name", turn="one"),
                await call(client, "act", action="name", turn=True),
                await call(client, "act", action="name", turn=1, speed=3),
                await call(client, "act", action="name", turn=1, confidence=7),
                await call(client, "acts", action="name"),
                await call(client, "say", text="x", to="nobody"),
            ]
            for number in (1.0, 2, 3):
                last = await call(client, "act", action="name", turn=number)
            return wrong, last, await task

    wrong, last, outcome = asyncio.run(main())
    assert all(w.is_error and w.structured_content["status"] == "refused" for w in wrong)
    texts = [w.content[0].text for w in wrong]
    for text, part in zip(
        texts,
        (
            'Did you mean "name"? Legal now: quiet, name.',
            "not legal now",
            'act needs "action"',
            'act needs "turn"',
            '"turn" must be of type integer',
            '"turn" must be of type integer',
            'takes no "speed"',
            "confidence 7",
            'Did you mean "act"?',
            "cannot hear",
        ),
        strict=True,
    ):
        assert part in text, (text, part)
    assert last.structured_content["status"] == "episode_over"
    assert outcome.counts["a"]["refused"] == 2 and outcome.score == {"named": 3.0}


def test_an_answer_that_is_sent_twice_is_played_once():
    async def main():
        seat = open_seat()
        async with playing(seat) as task, client_of(seat) as client:
            await call(client, "observe")
            first = await call(client, "act", action="name", turn=1)
            again = await call(client, "act", action="name", turn=1)  # its reply was lost on the way
            for k in (2, 3):
                await call(client, "act", action="quiet", turn=k)
            return first, again, await task

    first, again, outcome = asyncio.run(main())
    assert first.structured_content["turn"] == 2 and again.is_error and "turn 1 is over" in again.content[0].text
    assert outcome.score == {"named": 1.0}


def test_no_call_waits_longer_than_it_may():
    async def main():
        seat = open_seat()
        async with client_of(seat, hold=0.05) as client:
            first = await call(client, "observe")
            second = await call(client, "observe", wait=1000)  # the server's limit holds
            refused = await call(client, "act", action="name", turn=1)
            where = await call(client, "state_of_play")
            return first, second, refused, where

    first, second, refused, where = (x for x in asyncio.run(main()))
    assert first.structured_content["status"] == second.structured_content["status"] == "waiting"
    assert refused.is_error and "there is no turn 1" in refused.content[0].text
    assert where.structured_content["episodes_finished"] == 0


def test_pictures_come_as_pictures():
    async def main():
        seat = open_seat(views=("text", "image"))
        async with playing(seat) as task, client_of(seat) as client:
            await call(client, "observe")
            found = await call(client, "act", action="quiet", turn=1)
            await call(client, "act", action="quiet", turn=2)
            await call(client, "act", action="quiet", turn=3)
            await task
            return found

    found = asyncio.run(main())
    text, image = found.content
    assert (text.type, image.type, image.mime_type) == ("text", "image", "image/png")
    picture = Image.open(io.BytesIO(base64.b64decode(image.data)))
    assert picture.size == (5, 4) and picture.getpixel((0, 0)) == (1, 1, 1)
    assert "image" not in found.structured_content and "data" not in found.structured_content


@ERAS
def test_resources_hold_the_rules_and_the_own_history_only(mode):
    async def text(client, uri):
        return (await client.read_resource(uri)).contents[0].text

    async def main():
        one, two = open_seat(), open_seat()
        async with playing(one, two) as task, client_of(one, mode) as first, client_of(two, mode) as second:
            before = await text(first, "crossplay://seat/rules")
            for client in (first, second):
                await call(client, "observe", wait=0.2)
            for k in (1, 2, 3):
                await asyncio.gather(
                    call(first, "act", action="name", turn=k, say="hello"),
                    call(second, "act", action="quiet", turn=k),
                )
            await task
            found = [
                [await text(client, f"crossplay://seat/{what}") for what in ("rules", "history", "history/1")]
                for client in (first, second)
            ]
            with pytest.raises(MCPError, match="no resource"):
                await text(first, "crossplay://seat/history/99")
            with pytest.raises(MCPError, match="no resource"):
                await text(first, "file:///etc/hostname")
            return before, found

    before, (mine, theirs) = asyncio.run(main())
    assert "known when the first episode has begun" in before
    for (rules, history, row), own, others in ((mine, "a", "b"), (theirs, "b", "a")):
        assert "Name your number" in rules
        assert json.loads(row)["shown"]["data"]["secret"] == f"secret-of-{own}"
        assert f"secret-of-{others}" not in rules + history + row
    assert [r["answer"] for r in json.loads(mine[1])] == ["name"] * 3
    assert [m["body"] for r in json.loads(theirs[1]) for m in r["inbox"]] == ["hello", "hello"]
