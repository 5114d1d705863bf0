"""From what an endpoint sent to a Reply: what the dialects share, and figures that cannot be right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from crossplay.kernel.types import Usage
from crossplay.models.local import read_logprobs
from crossplay.models.types import Reply, Request, ToolCall

__all__ = ["Answer", "Failed", "breaks_schema", "checked_usage", "reply_of"]

Counts = tuple[int, int, int]


class Failed(ValueError):
    """The endpoint says, in an answer of status 200 or inside a stream, that it failed."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status

    @classmethod
    def of(cls, error: Any) -> Failed:
        """From what stands under `error`; a code that is no HTTP status counts as 500."""
        said = error if isinstance(error, Mapping) else {"message": error}
        code = said.get("code")
        if isinstance(code, str):
            code = 429 if "rate_limit" in code else int(code) if code.isdecimal() and len(code) == 3 else 500
        text = " ".join(str(said.get("message") or said.get("code") or said.get("type")).split())[:200]
        return cls(text, code if isinstance(code, int) and 400 <= code < 600 else 500)


class Answer(msgspec.Struct, gc=False):
    """What an endpoint sent, whatever its dialect. tokens: (in, out, cached) as it says them, unchecked."""

    text: str
    finish: str
    tool_calls: list[ToolCall] = []
    logprobs: Any = None
    tokens: tuple[Any, Any, Any] | None = None
    served: str = ""


def _whole(value: Any) -> int | None:
    """The value as a count, or None where it is none."""
    if type(value) is int and value >= 0:
        return value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def checked_usage(tokens: tuple[Any, Any, Any], said: bool, bound: tuple[int, int]) -> Counts | None:
    """(in, out, cached), or None where these figures cannot be right.

    said: the answer holds a text or a call, so at least one token. bound: upper bounds (in, out).
    Impossible are figures that are no counts, negative or over the bound, no tokens for a prompt or
    for words, and more cached tokens than the prompt has.
    """
    tok_in, tok_out = _whole(tokens[0]), _whole(tokens[1])
    cached = 0 if tokens[2] is None else _whole(tokens[2])
    if tok_in is None or tok_out is None or cached is None:
        return None
    if not 1 <= tok_in <= bound[0] or not said <= tok_out <= bound[1] or cached > tok_in:
        return None
    return tok_in, tok_out, cached


def reply_of(answer: Answer, request: Request, bound: tuple[int, int]) -> Reply:
    """The reply, with usage that is possible: what is not known, or a lie, is its upper bound.

    request: as it was sent. bound: upper bounds (tokens in, tokens out).
    """
    doubts = []
    counts: Counts | None = None
    if answer.tokens is not None:
        counts = checked_usage(answer.tokens, bool(answer.text or answer.tool_calls), bound)
        if counts is None:
            doubts.append("usage")
    if request.json_schema is not None and not answer.tool_calls and breaks_schema(answer.text, request.json_schema):
        doubts.append("schema")
    tok_in, tok_out, cached = counts or (*bound, 0)
    return Reply(
        text=answer.text,
        finish=answer.finish,
        usage=Usage(1, tok_in, tok_out),
        cached=cached,
        served=answer.served,
        logprobs=read_logprobs({"logprobs": answer.logprobs}) if answer.logprobs else None,
        estimated=counts is None,
        tool_calls=answer.tool_calls,
        doubt=" ".join(doubts),
    )


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def breaks_schema(text: str, schema: Mapping[str, Any]) -> bool:
    """Whether a text surely breaks a JSON schema: no JSON, a missing field, a wrong type or value.

    It looks at the top of the schema and at its properties: a mark beside the answer, not a
    validator; agents read answers by rules of their own.
    """
    try:
        value = msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return True
    if not _fits(value, schema):
        return True
    if not isinstance(value, dict):
        return False
    fields = schema.get("properties", {})
    return any(name not in value for name in schema.get("required", ())) or any(
        not _fits(value[name], want) for name, want in fields.items() if name in value and isinstance(want, Mapping)
    )


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    wanted = schema.get("type")
    types = _TYPES.get(wanted) if isinstance(wanted, str) else None
    if types is not None and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
        return False
    return "enum" not in schema or value in schema["enum"]
