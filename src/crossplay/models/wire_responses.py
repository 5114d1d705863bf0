"""The dialect of the responses API: requests out, answers and streams in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crossplay.models.answer import Answer, Failed
from crossplay.models.types import Message, Request, ToolCall
from crossplay.models.wire_chat import picture_url, word_of

__all__ = ["ResponseStream", "read_response", "responses_body"]


# -- out ---------------------------------------------------------------------------------------------
def responses_body(request: Request, served: str, max_tokens_field: str, schema_style: str) -> dict[str, Any]:
    """The request, complete. This dialect has no seed and no stop texts: the answer is cut here.

    schema_style says nothing here: this dialect has one place for a schema.
    """
    body: dict[str, Any] = {
        "model": served,
        "input": [item for m in request.messages for item in _items(m)],
        max_tokens_field or "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "store": False,
    }
    if request.top_p < 1:
        body["top_p"] = request.top_p
    if request.json_schema is not None:
        form = {"type": "json_schema", "name": "answer", "strict": True, "schema": request.json_schema}
        body["text"] = {"format": form}
    if request.top_logprobs:
        body |= {"top_logprobs": request.top_logprobs, "include": ["message.output_text.logprobs"]}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "name": t.name,
                "description": t.description,
                "parameters": t.parameters,
                "strict": False,
            }
            for t in request.tools
        ]
        named = any(t.name == request.tool_choice for t in request.tools)
        body["tool_choice"] = {"type": "function", "name": request.tool_choice} if named else request.tool_choice
    return body


def _items(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [{"type": "function_call_output", "call_id": message.tool_call_id, "output": message.text}]
    items: list[dict[str, Any]] = []
    if message.images:
        pictures = [{"type": "input_image", "detail": "auto", "image_url": picture_url(i)} for i in message.images]
        items.append({"role": message.role, "content": [{"type": "input_text", "text": message.text}, *pictures]})
    elif message.text or not message.tool_calls:
        items.append({"role": message.role, "content": message.text})
    items += [
        {"type": "function_call", "call_id": c.id, "name": c.name, "arguments": c.arguments} for c in message.tool_calls
    ]
    return items


# -- in ----------------------------------------------------------------------------------------------
class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None
    refusal: str | None = None
    logprobs: Any = None


class _Item(msgspec.Struct, gc=False):
    type: str = ""
    content: list[_Part] | None = None
    call_id: str | None = None
    id: str | None = None
    name: str | None = None
    arguments: Any = None


class _Response(msgspec.Struct, gc=False):
    output: list[_Item] | None = None
    status: str | None = None
    incomplete_details: Any = None
    usage: Any = None
    model: Any = None
    error: Any = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    response: msgspec.Raw = msgspec.Raw(b"")
    message: Any = None
    code: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Response).decode
_event = msgspec.json.Decoder(_Event).decode


def read_response(content: bytes | msgspec.Raw) -> Answer:
    """The answer in a body; raises ValueError (what came is no answer), of it `Failed`."""
    whole = _decode(content)
    if whole.error or whole.status == "failed":
        raise Failed.of(whole.error or "the response failed")
    if whole.output is None or whole.status in ("in_progress", "queued", "cancelled"):
        raise ValueError(f"it has no output (status {whole.status})")
    if not whole.output and whole.status != "incomplete":
        raise ValueError("its output is empty")
    texts: list[str] = []
    refusals: list[str] = []
    logprobs: list[Any] = []
    calls: list[ToolCall] = []
    for item in whole.output:
        if item.type == "function_call":
            calls.append(_call(item, len(calls)))
        elif item.type == "message":
            for part in item.content or ():
                texts.append(part.text or "")
                refusals.append(part.refusal or "")
                logprobs += part.logprobs or []
    return Answer(
        text="".join(texts) or "".join(refusals),
        finish=_finish(whole, calls),
        tool_calls=calls,
        logprobs={"content": logprobs} if logprobs else None,
        tokens=_tokens(whole.usage),
        served=word_of(whole.model, None),
    )


def _finish(whole: _Response, calls: Sequence[ToolCall]) -> str:
    """In the words of chat completions where they have one for it."""
    if whole.status == "incomplete":
        why = whole.incomplete_details.get("reason") if isinstance(whole.incomplete_details, Mapping) else None
        return "length" if why == "max_output_tokens" else str(why or "incomplete")
    return "tool_calls" if calls else "stop"


def _call(item: _Item, index: int) -> ToolCall:
    if not item.name:
        raise ValueError("it calls a tool without a name")
    arguments = item.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments or {}).decode()
    return ToolCall(item.call_id or item.id or f"call_{index}", item.name, arguments)


def _tokens(usage: Any) -> tuple[Any, Any, Any] | None:
    """(in, out, cached) as said; None where nothing is said."""
    if not usage:
        return None
    if not isinstance(usage, Mapping):
        return usage, None, None
    detail = usage.get("input_tokens_details")
    cached = detail.get("cached_tokens") if isinstance(detail, Mapping) else None
    return usage.get("input_tokens"), usage.get("output_tokens", 0), cached


class ResponseStream:
    """Waits for the event that holds the whole response; the pieces before it say nothing more."""

    def __init__(self) -> None:
        self.whole = self.over = False
        self._last: Answer | None = None

    def add(self, data: bytes) -> None:
        """The data of the next event. over: nothing of interest follows."""
        if data == b"[DONE]":
            self.over = True
            return
        event = _event(data)
        if event.type in ("response.completed", "response.incomplete", "response.failed"):
            self._last = read_response(event.response)
            self.whole = self.over = True
        elif event.type == "error" or event.error:
            raise Failed.of(event.error or {"message": event.message, "code": event.code})

    def answer(self) -> Answer:
        """What was said; only for a whole stream."""
        if self._last is None:
            raise ValueError("the stream holds no response")
        return self._last
