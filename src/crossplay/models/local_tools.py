"""Tools for weights whose chat template knows none: described in words, called in JSON.

A call is an object {"name": ..., "arguments": {...}}. Where one is required, the grammar leaves no
other answer; elsewhere an answer that is such an object, and names a tool, is a call.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from crossplay.models.types import Message, ModelError, Request, Tool, ToolCall

__all__ = ["calls_in", "without_tools"]

_json = msgspec.json.encode
_WRAPPED = re.compile(r"^\s*(?:<tool_call>|```(?:json)?)\s*(.*?)\s*(?:</tool_call>|```)?\s*$", re.DOTALL)


def without_tools(request: Request) -> Request:
    """The same question without tools and roles that the weights do not know; itself where it has none.

    Raises ModelError for a grammar beside tools: it could not be kept.
    """
    used = any(m.tool_calls or m.role == "tool" for m in request.messages)
    if not (request.tools or used):
        return request
    offered = () if request.tool_choice == "none" else request.tools
    if offered and request.grammar is not None:
        raise ModelError("a grammar and tools cannot be asked for together; give a JSON schema", "request")
    messages = [_plain(m, request.messages) for m in request.messages]
    if offered:
        told = _told(offered, request.tool_choice)
        if messages[0].role == "system":
            messages[0] = Message("system", f"{messages[0].text}\n\n{told}", messages[0].images)
        else:
            messages.insert(0, Message("system", told))
    return msgspec.structs.replace(
        request, messages=tuple(messages), tools=(), tool_choice="auto", json_schema=_schema(request, offered)
    )


def _plain(message: Message, all_: Sequence[Message]) -> Message:
    if message.role == "tool":
        names = {c.id: c.name for m in all_ for c in m.tool_calls}
        return Message(
            "user", f"Result of {names.get(message.tool_call_id, 'the tool')}: {message.text}", message.images
        )
    if message.tool_calls:
        calls = [f'{{"name": "{c.name}", "arguments": {c.arguments}}}' for c in message.tool_calls]
        return Message("assistant", "\n".join([message.text, *calls]).strip())
    return message


def _told(tools: Sequence[Tool], choice: str) -> str:
    lines = [f"- {t.name}: {t.description} Arguments: {_json(t.parameters).decode()}" for t in tools]
    how = 'To call one, answer with one JSON object and nothing else: {"name": "...", "arguments": {...}}'
    if choice in {t.name for t in tools}:
        must = f" Call {choice} now."
    else:
        must = " Call one now." if choice == "required" else ""
    return "\n".join(["You can call these tools:", *lines, how + must])


def _schema(request: Request, offered: Sequence[Tool]) -> dict[str, Any] | None:
    """What the answer must keep to: a call where one is required, a call or the answer's own schema."""
    if not offered or (request.tool_choice == "auto" and request.json_schema is None):
        return request.json_schema
    named = [t for t in offered if t.name == request.tool_choice] or offered
    calls: list[dict[str, Any]] = [
        {
            "type": "object",
            "properties": {"name": {"const": t.name}, "arguments": t.parameters or {"type": "object"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for t in named
    ]
    if request.tool_choice == "auto" and request.json_schema is not None:
        calls.append(request.json_schema)
    return calls[0] if len(calls) == 1 else {"anyOf": calls}


def calls_in(text: str, tools: Sequence[Tool]) -> list[ToolCall]:
    """The calls that an answer makes: none, where it is anything but one object that names a tool."""
    wrapped = _WRAPPED.match(text)
    try:
        found = msgspec.json.decode(wrapped.group(1) if wrapped else text)
    except msgspec.MsgspecError:
        return []
    if not isinstance(found, dict) or found.keys() != {"name", "arguments"}:
        return []
    name, arguments = found["name"], found["arguments"]
    if not isinstance(arguments, dict) or name not in {t.name for t in tools}:
        return []
    return [ToolCall("call-0", name, _json(arguments).decode())]
