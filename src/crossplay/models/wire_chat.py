"""The dialect of chat completions: requests out, answers and streams in."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from crossplay.models.answer import Answer, Failed
from crossplay.models.types import Message, Picture, Request, ToolCall

__all__ = ["ChatStream", "chat_body", "picture_url", "read_chat", "word_of"]


# -- out ---------------------------------------------------------------------------------------------
def chat_body(request: Request, served: str, max_tokens_field: str, schema_style: str) -> dict[str, Any]:
    """The request, complete; the caller leaves out what the endpoint cannot do.

    schema_style: the field of a JSON schema, "response_format", "guided_json" or "format".
    """
    body: dict[str, Any] = {
        "model": served,
        "messages": [_message(m) for m in request.messages],
        max_tokens_field or "max_tokens": request.max_tokens,
        "temperature": request.temperature,
    }
    if request.top_p < 1:
        body["top_p"] = request.top_p
    if request.stop:
        body["stop"] = list(request.stop)
    if request.seed is not None:
        body["seed"] = request.seed
    if request.grammar is not None:
        body["grammar"] = request.grammar
    if request.json_schema is not None:
        body |= _schema(request.json_schema, schema_style)
    if request.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
    if request.tools:
        body["tools"] = [
            {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
            for t in request.tools
        ]
        named = any(t.name == request.tool_choice for t in request.tools)
        one = {"type": "function", "function": {"name": request.tool_choice}}
        body["tool_choice"] = one if named else request.tool_choice
    return body


def _schema(schema: Mapping[str, Any], style: str) -> dict[str, Any]:
    if style == "response_format":
        wrapped = {"name": "answer", "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": wrapped}}
    return {style: schema}


def _message(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "content": message.text}
    if not (message.images or message.tool_calls or message.tool_call_id):
        return plain
    if message.images:
        pictures = [{"type": "image_url", "image_url": {"url": picture_url(i)}} for i in message.images]
        plain["content"] = [{"type": "text", "text": message.text}, *pictures]
    if message.tool_calls:
        plain["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in message.tool_calls
        ]
    if message.tool_call_id:
        plain["tool_call_id"] = message.tool_call_id
    return plain


def picture_url(picture: Picture) -> str:
    """The picture as a data address."""
    return "data:image/png;base64," + base64.b64encode(picture.png()).decode()


# -- in ----------------------------------------------------------------------------------------------
class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class _Call(msgspec.Struct, gc=False):
    function: _Function | None = None
    id: str | None = None
    index: int = 0


class _Said(msgspec.Struct, gc=False):
    content: Any = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct, gc=False):
    message: _Said | None = None
    delta: _Said | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Completion(msgspec.Struct, gc=False):
    """A completion, or one piece of a streamed one."""

    choices: list[_Choice] = []
    usage: Any = None
    model: Any = None
    system_fingerprint: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Completion).decode


def read_chat(content: bytes) -> Answer:
    """The answer in a body; raises ValueError (what came is no answer), of it `Failed`."""
    whole = _decode(content)
    if whole.error:
        raise Failed.of(whole.error)
    if not whole.choices or whole.choices[0].message is None:
        raise ValueError("it has no choices" if not whole.choices else "its choice has no message")
    choice, said = whole.choices[0], whole.choices[0].message
    calls = [_call(c.id, c.function, i) for i, c in enumerate(said.tool_calls)] if said.tool_calls else []
    return Answer(
        text=_text(said.content) or said.refusal or "",
        finish=choice.finish_reason or "",
        tool_calls=calls,
        logprobs=choice.logprobs,
        tokens=_tokens(whole.usage),
        served=word_of(whole.model, whole.system_fingerprint),
    )


def word_of(model: Any, version: Any) -> str:
    """Who the endpoint says answered."""
    return f"{model} {version}" if model and version else str(model or version or "")


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text", "") for part in content)  # some endpoints answer in parts


def _call(id_: str | None, function: _Function | None, index: int) -> ToolCall:
    if function is None or not function.name:
        raise ValueError("it calls a tool without a name")
    arguments = function.arguments
    if not isinstance(arguments, str):  # some endpoints send the object itself
        arguments = msgspec.json.encode(arguments or {}).decode()
    return ToolCall(id_ or f"call_{index}", function.name, arguments)


def _tokens(usage: Any) -> tuple[Any, Any, Any] | None:
    """(in, out, cached) as said; None where nothing is said."""
    if not usage:
        return None
    if not isinstance(usage, (dict, Mapping)):  # dict first: it is what comes, and the other takes long to look at
        return usage, None, None
    detail = usage.get("prompt_tokens_details")
    cached = (
        detail.get("cached_tokens") if isinstance(detail, (dict, Mapping)) else usage.get("prompt_cache_hit_tokens")
    )
    return usage.get("prompt_tokens"), usage.get("completion_tokens", 0), cached


class ChatStream:
    """Puts a streamed completion together. whole: its last piece has come."""

    def __init__(self) -> None:
        self.whole = self.over = False
        self._texts: list[str] = []
        self._refusals: list[str] = []
        self._calls: dict[int, tuple[str, str, list[str]]] = {}
        self._logprobs: list[Any] = []
        self._finish = ""
        self._usage: Any = None
        self._served = ""

    def add(self, data: bytes) -> None:
        """The data of the next event. over: nothing of interest follows."""
        if data == b"[DONE]":
            self.over = True
            return
        piece = _decode(data)
        if piece.error:
            raise Failed.of(piece.error)
        self._usage = piece.usage or self._usage  # the last event has the final figures
        self._served = self._served or word_of(piece.model, piece.system_fingerprint)
        for choice in piece.choices[:1]:
            if choice.delta is not None:
                self._say(choice.delta)
            if isinstance(choice.logprobs, Mapping):
                self._logprobs += choice.logprobs.get("content") or []
            if choice.finish_reason:
                self._finish, self.whole = choice.finish_reason, True

    def _say(self, delta: _Said) -> None:
        if delta.content:
            self._texts.append(_text(delta.content))
        if delta.refusal:
            self._refusals.append(delta.refusal)
        for call in delta.tool_calls or ():
            id_, name, parts = self._calls.get(call.index, ("", "", []))
            if call.function is not None:
                name = call.function.name or name
                more = call.function.arguments
                parts.append(more if isinstance(more, str) else msgspec.json.encode(more).decode() if more else "")
            self._calls[call.index] = (call.id or id_, name, parts)

    def answer(self) -> Answer:
        """What was said; only for a whole stream."""
        calls = [
            _call(id_ or None, _Function(name, "".join(parts) or "{}"), i)
            for i, (id_, name, parts) in sorted(self._calls.items())
        ]
        return Answer(
            text="".join(self._texts) or "".join(self._refusals),
            finish=self._finish,
            tool_calls=calls,
            logprobs={"content": self._logprobs} if self._logprobs else None,
            tokens=_tokens(self._usage),
            served=self._served,
        )
