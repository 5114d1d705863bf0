"""Both dialects against the openai client: it reads the loopback endpoint as the backend does, and its types
accept what the backend sends. Second ring: the client is a framework of its own.
"""

import asyncio

import pytest
from asked import request

from crossplay.models import HttpBackend, Message, Picture, Request, Tool, ToolCall
from crossplay.models.loopback import Loopback

pytestmark = pytest.mark.full

ALL = {"json_schema": True, "logprobs": True, "images": True, "tools": True}
SCHEMA = {"type": "object", "properties": {"action": {"enum": ["A", "B"]}}, "required": ["action"]}
WEATHER = Tool("weather", "of a town", {"type": "object", "properties": {"town": {"enum": ["Bern", "Oslo"]}}})
PICTURE = Picture(2, 2, bytes(12))
TALK = (
    Message("system", "rules"),
    Message("user", "look", (PICTURE,)),
    Message("assistant", "", tool_calls=(ToolCall("c1", "weather", '{"town":"Bern"}'),)),
    Message("tool", "3 degrees", tool_call_id="c1"),
)
ASKED = [
    request("A) up\nB) down"),
    request("A) up\nB) down", json_schema=SCHEMA, top_logprobs=2, seed=4, top_p=0.5),
    request("where?", tools=(WEATHER,), tool_choice="weather"),
    Request(messages=TALK, tools=(WEATHER,), temperature=0.3),
]


def ours(server, asked, **options):
    """(reply, the body that was sent)."""

    async def run():
        backend = HttpBackend("m", url=server.url, model="hash", paid=False, capabilities=ALL, **options)
        [reply] = await backend.generate([asked])
        await backend.aclose()
        return reply

    reply = asyncio.run(run())
    assert hasattr(reply, "text"), reply
    return reply, server.requests[-1]


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("stream", [False, True])
def test_chat(asked, stream):
    openai = pytest.importorskip("openai")
    pydantic = pytest.importorskip("pydantic")
    from openai.types.chat import ChatCompletion, completion_create_params

    with Loopback() as server, openai.OpenAI(base_url=server.url, api_key="none") as client:
        reply, body = ours(server, asked, stream=stream)
        kind = "CompletionCreateParamsStreaming" if stream else "CompletionCreateParamsNonStreaming"
        pydantic.TypeAdapter(getattr(completion_create_params, kind)).validate_python(body)
        if not stream:
            theirs = client.chat.completions.create(**body)
            assert isinstance(theirs, ChatCompletion)
            message = theirs.choices[0].message
            text, calls, usage = message.content, message.tool_calls or [], theirs.usage
            calls = [(c.id, c.function.name, c.function.arguments) for c in calls]
        else:
            text, parts, usage = "", {}, None
            for chunk in client.chat.completions.create(**body):
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    for c in choice.delta.tool_calls or ():
                        old = parts.get(c.index, (None, None, ""))
                        parts[c.index] = (c.id or old[0], c.function.name or old[1], old[2] + c.function.arguments)
            calls = list(parts.values())
    assert reply.text == (text or "")
    assert [(c.id, c.name, c.arguments) for c in reply.tool_calls] == calls
    assert (reply.usage.tok_in, reply.usage.tok_out) == (usage.prompt_tokens, usage.completion_tokens)


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("stream", [False, True])
def test_responses(asked, stream):
    openai = pytest.importorskip("openai")
    pydantic = pytest.importorskip("pydantic")
    from openai.types.responses import response_create_params

    with Loopback() as server, openai.OpenAI(base_url=server.url, api_key="none") as client:
        reply, body = ours(server, asked, api="responses", stream=stream)
        kind = "ResponseCreateParamsStreaming" if stream else "ResponseCreateParamsNonStreaming"
        pydantic.TypeAdapter(getattr(response_create_params, kind)).validate_python(body)
        theirs = client.responses.create(**body)
        if stream:
            *_, last = theirs
            assert last.type == "response.completed"
            theirs = last.response
    calls = [(i.call_id, i.name, i.arguments) for i in theirs.output if i.type == "function_call"]
    assert reply.text == theirs.output_text
    assert [(c.id, c.name, c.arguments) for c in reply.tool_calls] == calls
    assert (reply.usage.tok_in, reply.usage.tok_out) == (theirs.usage.input_tokens, theirs.usage.output_tokens)
