"""Both dialects of endpoints, plain and streamed: what is sent, and that all four read the same answer."""

import asyncio
import hashlib
import json
import math

import numpy as np
import pytest
from asked import handle, request
from msgspec.structs import replace

from crossplay.kernel import CrossplayError, pack
from crossplay.models import Door, HttpBackend, Message, Picture, Request, ScriptedBackend, Tool, ToolCall
from crossplay.models.answer import breaks_schema
from crossplay.models.loopback import FAKE_VLM, Loopback, Said
from crossplay.models.scripted import choices, example_of

ALL = {"json_schema": True, "logprobs": True, "images": True, "tools": True}
WAYS = [(api, stream) for api in ("chat", "responses") for stream in (False, True)]
SCHEMA = {"type": "object", "properties": {"action": {"enum": ["A", "B"]}}, "required": ["action"]}
WEATHER = Tool("weather", "of a town", {"type": "object", "properties": {"town": {"enum": ["Bern", "Oslo"]}}})
CLOCK = Tool("clock", parameters={"type": "object", "properties": {}})


def ask(server, *requests, **options):
    """(replies or errors, the last body that the server saw)."""
    options = {"model": "hash", "paid": False, "base_s": 0.001, "capabilities": ALL, **options}

    async def run():
        backend = HttpBackend("m", url=server.url, **options)
        try:
            return await backend.generate(list(requests))
        finally:
            await backend.aclose()

    return asyncio.run(run()), server.requests[-1]


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_a_text_and_its_figures(api, stream):
    with Loopback(script=["Aé\n B"]) as server:
        [reply], body = ask(server, request("hello", max_tokens=7, top_p=0.5), api=api, stream=stream)
        assert server.paths == ["/v1/responses" if api == "responses" else "/v1/chat/completions"]
    assert (reply.text, reply.finish, reply.served, reply.doubt) == ("Aé\n B", "stop", "hash", "")
    assert (reply.usage.calls, reply.usage.tok_out) == (1, 1)
    assert reply.usage.tok_in > 0
    assert not reply.estimated
    assert body["top_p"] == 0.5
    assert body["max_output_tokens" if api == "responses" else "max_tokens"] == 7
    assert body.get("stream", False) is stream
    assert ("n" in body, body.get("store", False)) == (False, False)


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_tools_are_offered_called_and_answered(api, stream):
    def two(n, body):
        return Said(tool_calls=(ToolCall("c1", "weather", '{"town":"Oslo"}'), ToolCall("c2", "clock")))

    first = request("what is it like?", tools=(WEATHER, CLOCK))
    with Loopback(script=lambda n, body: two(n, body) if n == 0 else None) as server:
        [reply], body = ask(server, first, api=api, stream=stream)
        assert reply.tool_calls == [ToolCall("c1", "weather", '{"town":"Oslo"}'), ToolCall("c2", "clock", "{}")]
        assert (reply.text, reply.finish, reply.doubt) == ("", "tool_calls", "")
        tool = body["tools"][0].get("function", body["tools"][0])
        assert (tool["name"], tool["description"], tool["parameters"]) == ("weather", "of a town", WEATHER.parameters)
        assert body["tool_choice"] == "auto"
        said = (
            Message("assistant", "", tool_calls=tuple(reply.tool_calls)),
            Message("tool", "3 degrees", tool_call_id="c1"),
            Message("tool", "noon", tool_call_id="c2"),
        )
        second = Request(messages=first.messages + said, tools=first.tools)
        [reply], body = ask(server, second, api=api, stream=stream)
    assert (reply.text, reply.tool_calls) == ("ok", [])
    if api == "chat":
        *_, call, one, two_ = body["messages"]
        assert [c["function"]["name"] for c in call["tool_calls"]] == ["weather", "clock"]
        assert (one["tool_call_id"], two_["content"]) == ("c1", "noon")
    else:
        kinds = [i.get("type", "message") for i in body["input"]]
        assert kinds == ["message", "message", *["function_call"] * 2, *["function_call_output"] * 2]
        assert body["input"][-2:] == [
            {"type": "function_call_output", "call_id": "c1", "output": "3 degrees"},
            {"type": "function_call_output", "call_id": "c2", "output": "noon"},
        ]


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_a_tool_that_must_be_called(api, stream):
    with Loopback() as server:
        [reply], body = ask(server, request(tools=(WEATHER, CLOCK), tool_choice="clock"), api=api, stream=stream)
        assert [c.name for c in reply.tool_calls] == ["clock"]
        one = {"type": "function", "name": "clock"}
        assert body["tool_choice"] == (
            one if api == "responses" else {"type": "function", "function": {"name": "clock"}}
        )
        [reply], body = ask(server, request(tools=(WEATHER,), tool_choice="none"), api=api, stream=stream)
        assert (reply.tool_calls, body["tool_choice"]) == ([], "none")
        [error], _ = ask(server, request(tools=(WEATHER,)), capabilities={})
    assert "capabilities.tools = true" in str(error)


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_schema_and_log_probabilities(api, stream):
    asked = request("A) up\nB) down", json_schema=SCHEMA, top_logprobs=3)
    with Loopback() as server:
        [reply], body = ask(server, asked, api=api, stream=stream)
    assert reply.text in ('{"action":"A"}', '{"action":"B"}')
    assert reply.doubt == ""
    assert [row[0][0] for row in reply.logprobs] == list(reply.text)
    for row in reply.logprobs:
        assert row[0][1] == pytest.approx(math.log(0.5))
        assert sum(math.exp(p) for _, p in row) <= 1 + 1e-9
    form = body["text"]["format"] if api == "responses" else body["response_format"]["json_schema"]
    assert (form["schema"], form["strict"]) == (SCHEMA, True)


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_pictures(api, stream):
    array = np.zeros((3, 9, 3), np.uint8)
    array[:, 6:] = 250
    message = Message("user", "A) left\nB) middle\nC) right", (Picture.of(array),))
    with Loopback() as server:
        [reply], _ = ask(server, Request(messages=(message,)), api=api, stream=stream, model=FAKE_VLM)
    assert reply.text == "C"


@pytest.mark.parametrize(
    ("options", "field", "gone"),
    [
        ({"schema_style": "guided_json"}, "guided_json", "response_format"),
        ({"schema_style": "format"}, "format", "response_format"),
        ({"max_tokens_field": "max_completion_tokens"}, "max_completion_tokens", "max_tokens"),
        ({"omit": ["temperature"]}, "seed", "temperature"),
        ({"extra": {"temperature": 1, "top_k": 3}}, "top_k", "n"),
    ],
)
def test_what_endpoints_differ_in(options, field, gone):
    with Loopback() as server:
        [reply], body = ask(server, request("A) up\nB) down", json_schema=SCHEMA, seed=1), **options)
    assert field in body
    assert gone not in body
    assert reply.text.startswith('{"action"')


def test_a_grammar_is_sent_where_the_endpoint_knows_it():
    with Loopback() as server:
        _, body = ask(server, request(grammar='root ::= "A"'), capabilities={"grammar": True})
        assert body["grammar"] == 'root ::= "A"'
        _, body = ask(server, request(grammar='root ::= "A"'))
        assert "grammar" not in body


def test_responses_have_no_stop_texts_so_the_answer_is_cut_here():
    with Loopback(script=["one END two STOP"] * 2) as server:
        [reply], body = ask(server, request(stop=("STOP", "END"), seed=3), api="responses")
    assert reply.text == "one "
    assert not {"stop", "seed"} & set(body)


def test_an_endpoint_that_ignores_stream_is_read_all_the_same():
    whole = {"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}]}
    with Loopback(script=[whole]) as server:
        [reply], _ = ask(server, request(), stream=True)
    assert (reply.text, reply.estimated, reply.doubt) == ("whole", True, "")


def test_a_streaming_connection_is_kept():
    with Loopback() as server:
        backend = HttpBackend("m", url=server.url, model="hash", paid=False, stream=True)

        async def run():
            for i in range(5):
                await backend.generate([request(f"{i}")])
            await backend.aclose()

        asyncio.run(run())
        assert server.connections == 1


@pytest.mark.parametrize(
    ("usage", "api"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 16}}, "chat"),
        ({"prompt_tokens": 20, "completion_tokens": 1, "prompt_cache_hit_tokens": 16}, "chat"),
        ({"input_tokens": 20, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 16}}, "responses"),
    ],
)
def test_cached_tokens(usage, api):
    with Loopback(script=[Said(usage=usage)]) as server:
        [reply], _ = ask(server, request(), api=api)
    assert (reply.cached, reply.usage.tok_in, reply.doubt) == (16, 20, "")


def test_refusals_and_incomplete_answers_keep_their_words():
    refused = {"choices": [{"message": {"content": None, "refusal": "I will not."}, "finish_reason": "stop"}]}
    short = {
        "status": "incomplete",
        "incomplete_details": {"reason": "max_output_tokens"},
        "output": [{"type": "reasoning"}, {"type": "message", "content": [{"type": "output_text", "text": "half"}]}],
    }
    parts = {"choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}}]}
    with Loopback(script=[refused, short, parts]) as server:
        assert ask(server, request())[0][0].text == "I will not."
        [reply], _ = ask(server, request(), api="responses")
        assert (reply.text, reply.finish) == ("half", "length")
        assert ask(server, request())[0][0].text == "ab"


# -- requests ----------------------------------------------------------------------------------------
def test_requests_without_tools_keep_the_key_they_always_had():
    picture = Picture(1, 2, b"abcdef")
    old = Request(
        messages=(Message("system", "rules"), Message("user", "état", (picture,)), Message("assistant", "A")),
        temperature=0.7,
        max_tokens=9,
        seed=3,
        stop=("x",),
        json_schema={"type": "object", "b": 1, "a": [1]},
        top_logprobs=2,
        template="t1",
    )
    digest = hashlib.sha256(pack(old.canonical({"backend": "http", "model": "m"}))).hexdigest()
    assert digest == "839e6a02606b11fd3290f86dd301ad047330b09f4fc50fe9866a61ef7cecfe93"  # as of version 0.1
    assert HttpBackend("m", url="http://h/v1").identity() == {"backend": "http", "model": "m"}
    assert HttpBackend("m", url="http://h/v1", api="responses", omit=("seed",)).identity() == {
        "backend": "http",
        "model": "m",
        "api": "responses",
        "omit": ["seed"],
    }


def test_tools_are_part_of_the_key_and_redacted():
    call = ToolCall("c1", "weather", '{"town":"secret"}')
    asked = Request(
        messages=(Message("assistant", "", tool_calls=(call,)), Message("tool", "secret", tool_call_id="c1")),
        tools=(WEATHER, CLOCK),
    )
    seen = [asked, replace(asked, tool_choice="none"), replace(asked, tools=(WEATHER,))]
    seen += [replace(asked, messages=asked.messages[:1]), Request(messages=asked.messages)]
    assert len({pack(r.canonical({})) for r in seen}) == len(seen)
    assert b"secret" not in pack(asked.canonical({}, lambda text: text.replace("secret", "[redacted]")))
    assert asked.bound()[0] > Request(messages=asked.messages).bound()[0] + len("of a town")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Tool("a b"), "a name is 1 to 64"),
        (lambda: Tool("auto"), "none of auto, none, required"),
        (lambda: Message("tool", "x"), "do not go together"),
        (lambda: Message("user", "x", tool_call_id="c"), "do not go together"),
        (lambda: Message("user", "x", tool_calls=(ToolCall("c", "t"),)), "only an assistant"),
        (lambda: request(tools=(CLOCK, CLOCK)), "one name"),
        (lambda: request(tools=(CLOCK,), tool_choice="clokc"), 'Did you mean "clock"'),
        (lambda: request(tool_choice="required"), "without tools"),
    ],
)
def test_impossible_tools(make, says):
    with pytest.raises(CrossplayError, match=says):
        make()


# -- doubles and marks -------------------------------------------------------------------------------
def test_the_scripted_double_calls_a_tool_then_answers():
    door = Door({"m": ScriptedBackend("m")})
    model, asked = door.model("m"), request("x", tools=(WEATHER,))
    [reply] = asyncio.run(model.generate([asked], at=handle()))
    [call] = reply.tool_calls
    assert call.name == "weather"
    assert call.arguments in ('{"town":"Bern"}', '{"town":"Oslo"}')
    told = (*asked.messages, Message("assistant", "", tool_calls=(call,)), Message("tool", "3", tool_call_id=call.id))
    [reply] = asyncio.run(model.generate([Request(messages=told, tools=(WEATHER,))], at=handle()))
    assert (reply.text, reply.tool_calls) == ("ok", [])


@pytest.mark.parametrize("seed", range(8))
def test_examples_are_valid(seed):
    jsonschema = pytest.importorskip("jsonschema")
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 3, "maximum": 5},
            "x": {"type": "number"},
            "ok": {"type": "boolean"},
            "nothing": {"type": "null"},
            "word": {"type": "string"},
            "list": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2},
            "inner": {"type": "object", "properties": {"y": {"type": "string"}}, "required": ["y"]},
        },
    }
    jsonschema.validate(example_of(schema, bytes([seed]) * 16), schema)
    assert choices(request(json_schema={"enum": ["a", 1]})) == ('"a"', "1")


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ('{"action":"A"}', False),
        ('{"action":"C"}', True),
        ('{"other":"A"}', True),
        ('["A"]', True),
        ("A", True),
        ('{"action":"A"', True),
        ("", True),
    ],
)
def test_broken_schemas_agree_with_a_validator(text, broken):
    jsonschema = pytest.importorskip("jsonschema")
    assert breaks_schema(text, SCHEMA) is broken
    try:
        jsonschema.validate(json.loads(text), SCHEMA)
        assert not broken
    except (ValueError, jsonschema.ValidationError):
        assert broken
