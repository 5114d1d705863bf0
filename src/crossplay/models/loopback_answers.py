"""What the endpoint on loopback says: in both dialects, whole or in pieces, with pictures and tools."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel.seeds import key, pick
from crossplay.models.scripted import called, labels_in
from crossplay.models.types import Tool, ToolCall

__all__ = ["FAKE_VLM", "answer_to", "brightest_band", "completion", "messages_of", "picture_of", "pieces", "response"]

FAKE_VLM = "fake-vlm"
Plain = dict[str, Any]
Body = Mapping[str, Any]


# -- reading a request --------------------------------------------------------------------------------
def messages_of(body: Body) -> list[Plain]:
    """The messages of a request of either dialect, in the form of chat completions."""
    if "messages" in body:
        return list(body["messages"])
    found = []
    for item in body["input"]:
        if item.get("type") == "function_call_output":
            found.append({"role": "tool", "content": item["output"]})
        elif item.get("type") == "function_call":
            found.append({"role": "assistant", "content": ""})
        else:
            found.append({"role": item["role"], "content": _content(item["content"])})
    return found


def _content(content: str | Sequence[Body]) -> Any:
    if isinstance(content, str):
        return content
    return [
        {"type": "text", "text": p["text"]}
        if p["type"] == "input_text"
        else {"type": "image_url", "image_url": {"url": p["image_url"]}}
        for p in content
    ]


def _schema(body: Body) -> Body:
    """The JSON schema that the answer is to follow, wherever it stands; empty where there is none."""
    form = body.get("response_format", {}).get("json_schema", {}) or body.get("text", {}).get("format", {})
    found: Body = form.get("schema") or body.get("guided_json") or body.get("format") or {}
    return found


def _tools(body: Body) -> list[Tool]:
    flat = [t.get("function", t) for t in body.get("tools", ())]
    return [Tool(t["name"], t.get("description", ""), t.get("parameters", {})) for t in flat]


def answer_to(body: Body, schema: bool = True) -> str | list[ToolCall]:
    """By a hash of the request: one of the choices it offers, or a call of one of its tools.

    schema: follow the JSON schema that the request gives.
    """
    messages = messages_of(body)
    chance = key(msgspec.json.encode(body, order="deterministic"))
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, Mapping):
        choice = choice.get("name") or choice["function"]["name"]
    call = called(_tools(body), choice, messages[-1]["role"] == "tool", chance)
    if call is not None:
        return [call]
    contents = [m["content"] for m in messages]
    texts = [c if isinstance(c, str) else "\n".join(p["text"] for p in c if p["type"] == "text") for c in contents]
    known = labels_in(texts) or ("ok",)
    if body["model"] == FAKE_VLM:
        shown = next(c for c in contents if not isinstance(c, str))
        label = known[brightest_band(picture_of(shown), len(known))]
    else:
        label = known[pick(chance, len(known), 0)]
    wanted = _schema(body) if schema else {}
    if "properties" in wanted:
        return msgspec.json.encode({n: label if n == "action" else "ok" for n in wanted["properties"]}).decode()
    return label


def picture_of(content: Sequence[Body] | str) -> np.ndarray:
    """uint8[height, width, 3] of the first picture of a message, decoded as any image file would be."""
    from PIL import Image

    if isinstance(content, str):
        raise ValueError("the message has no picture")
    (url,) = [p["image_url"]["url"] for p in content if p["type"] == "image_url"][:1]
    raw = base64.b64decode(url.partition(",")[2], validate=True)
    with Image.open(io.BytesIO(raw)) as image:
        return np.asarray(image.convert("RGB"))


def brightest_band(image: np.ndarray, bands: int) -> int:
    """Which of so many vertical bands of the picture is the brightest on average (the first of equals)."""
    edges = np.linspace(0, image.shape[1], bands + 1).astype(int)
    means = [image[:, a:b].mean() if b > a else -1.0 for a, b in pairwise(edges)]
    return int(np.argmax(means))


# -- writing an answer --------------------------------------------------------------------------------
def _counts(body: Body, text: str) -> tuple[int, int]:
    """Tokens in and out, a token taken as four characters."""
    return sum(len(str(m["content"])) for m in messages_of(body)) // 4 or 1, max(1, len(text) // 4)


def completion(body: Body, said: str | Sequence[ToolCall], usage: Any = None) -> Plain:
    """A chat completion. usage: instead of the true figures."""
    text = said if isinstance(said, str) else ""
    tok_in, tok_out = _counts(body, text)
    message: Plain = {"role": "assistant", "content": text}
    if not isinstance(said, str):
        calls = [{"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in said]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
    choice: Plain = {"index": 0, "message": message, "finish_reason": "stop" if text else "tool_calls"}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": _logprobs(text, body["top_logprobs"])}
    true = {"prompt_tokens": tok_in, "completion_tokens": tok_out}
    return {"model": body["model"], "choices": [choice], "usage": true if usage is None else usage}


def response(body: Body, said: str | Sequence[ToolCall], usage: Any = None) -> Plain:
    """An answer of the responses API. usage: instead of the true figures."""
    text = said if isinstance(said, str) else ""
    tok_in, tok_out = _counts(body, text)
    part: Plain = {"type": "output_text", "text": text, "annotations": []}
    if body.get("top_logprobs"):
        part["logprobs"] = _logprobs(text, body["top_logprobs"])
    output: list[Plain] = [{"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}]
    if not isinstance(said, str):
        output = [
            {"type": "function_call", "id": f"fc_{i}", "call_id": c.id, "name": c.name, "arguments": c.arguments}
            for i, c in enumerate(said)
        ]
    true = {"input_tokens": tok_in, "output_tokens": tok_out, "input_tokens_details": {"cached_tokens": 0}}
    whole: Plain = {"object": "response", "status": "completed", "model": body["model"], "output": output}
    return whole | {"usage": true if usage is None else usage}


def _logprobs(text: str, top: int) -> list[Plain]:
    """Each character as a token of probability 1/2, with equal alternatives."""
    other = [{"token": chr(97 + i), "logprob": float(np.log(0.5 / top))} for i in range(top - 1)]
    return [
        {"token": c, "logprob": float(np.log(0.5)), "top_logprobs": [t for t in other if t["token"] != c]} for c in text
    ]


def pieces(whole: Plain) -> list[bytes]:
    """The events of a streamed answer, whose parts together say what `whole` says."""
    if whole.get("object") == "response":
        events: list[Plain] = [
            {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}}
        ]
        for item in whole["output"]:
            for part in item.get("content", ()):
                events += [{"type": "response.output_text.delta", "delta": c} for c in part["text"]]
        events.append({"type": "response.completed", "response": whole})
        return [b"event: %s\ndata: %s\n\n" % (e["type"].encode(), msgspec.json.encode(e)) for e in events]
    choice = whole["choices"][0]
    deltas: list[Plain] = [{"delta": d} for d in _deltas(choice["message"])]
    if "logprobs" in choice:
        for delta, logprob in zip(deltas[1:], choice["logprobs"]["content"], strict=True):
            delta["logprobs"] = {"content": [logprob]}
    deltas.append({"delta": {}, "finish_reason": choice["finish_reason"]})
    chunks: list[Plain] = [{"model": whole["model"], "choices": [{"index": 0, **d}]} for d in deltas]
    chunks.append({"model": whole["model"], "choices": [], "usage": whole["usage"]})
    return [*(b"data: " + msgspec.json.encode(c) + b"\n\n" for c in chunks), b"data: [DONE]\n\n"]


def _deltas(message: Body) -> list[Plain]:
    deltas: list[Plain] = [{"role": "assistant", "content": ""}, *({"content": c} for c in message["content"] or "")]
    for i, call in enumerate(message.get("tool_calls", ())):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        first = {"index": i, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        deltas += [{"tool_calls": [{"index": i, "function": {"arguments": c}}]} for c in arguments]
    return deltas
