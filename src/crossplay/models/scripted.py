"""A deterministic double of a model, in process: for tests, for demonstrations, for budgets."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from crossplay.kernel.seeds import key, pick, uniform
from crossplay.kernel.types import Usage, pack
from crossplay.models.options import read_options
from crossplay.models.prices import Price
from crossplay.models.types import Capabilities, ModelDown, ModelError, Reply, Request, Tool, ToolCall

__all__ = ["ScriptedBackend", "called", "choices", "example_of", "labels_in"]


class ScriptedOptions(msgspec.Struct, forbid_unknown_fields=True):
    """latency_s: how long a call takes. error_rate: share of calls that fail for good.
    malformed_rate: share of answers that are prose around no choice. down: cannot be asked.
    answers: the texts to choose from; none: one of the choices that the grammar, the schema or the
    options in the prompt allow. concurrency: calls at a time. price: USD per million tokens.
    """

    latency_s: float = 0.0
    error_rate: float = 0.0
    malformed_rate: float = 0.0
    down: bool = False
    answers: tuple[str, ...] = ()
    concurrency: int = 64
    price: dict[str, Any] | None = None
    capabilities: Capabilities = Capabilities(grammar=True, json_schema=True, images=True, tools=True)


class ScriptedBackend:
    """Answers by a hash of the request: equal requests get equal answers, seeds included.

    Where tools are offered it calls one, and answers in words once it has the result. answer: a
    function of the request, instead of the hash (then the name should say what it does).
    """

    @staticmethod
    def plain(name: str, options: Mapping[str, Any]) -> str:
        """A study from elsewhere may say it."""
        return ""

    def __init__(
        self, name: str = "scripted", answer: Callable[[Request], str | Reply] | None = None, **options: Any
    ) -> None:
        self.name = name
        self.options = read_options(ScriptedOptions, options, f"models.{name}")
        self.capabilities = self.options.capabilities
        self.concurrency = self.options.concurrency
        self.price = Price.of(self.options.price, name)
        self.priced = name if self.price else ""
        self.repeats = False
        self._answer = answer
        self.calls = 0
        self.flying = 0
        self.most_flying = 0

    def identity(self) -> dict[str, Any]:
        """Name and what changes the answers."""
        o = self.options
        given = {"answers": list(o.answers), "error_rate": o.error_rate, "malformed_rate": o.malformed_rate}
        return {"name": self.name, "backend": "scripted", **{k: v for k, v in given.items() if v}}

    async def generate(self, requests: Sequence[Request], keys: Sequence[str] = ()) -> list[Reply | ModelError]:
        """All at once, each after the latency."""
        if self.options.down:
            raise ModelDown(f'model "{self.name}" is down (scripted)')
        self.calls += len(requests)
        self.flying += len(requests)
        self.most_flying = max(self.most_flying, self.flying)
        try:
            if self.options.latency_s:
                await asyncio.sleep(self.options.latency_s)
        finally:
            self.flying -= len(requests)
        return [self._reply(r) for r in requests]

    def _reply(self, request: Request) -> Reply | ModelError:
        chance = key("scripted", pack(request.canonical(self.identity())))
        if uniform(chance, 0) < self.options.error_rate:
            return ModelError(f'model "{self.name}": scripted failure', "server")
        calls: list[ToolCall] = []
        if self._answer is not None:
            answer = self._answer(request)
            if isinstance(answer, Reply):
                return answer
            text = answer
        elif call := called(request.tools, request.tool_choice, request.messages[-1].role == "tool", chance):
            text, calls = "", [call]
        elif uniform(chance, 1) < self.options.malformed_rate:
            text = "Let me think about this."
        else:
            known = self.options.answers or choices(request) or ("ok",)
            text = known[pick(chance, len(known), 2)]
        said = len(text) + sum(len(c.arguments) for c in calls)
        usage = Usage(calls=1, tok_in=_tokens(request), tok_out=min(max(1, said // 4), request.max_tokens))
        finish = "tool_calls" if calls else "stop"
        return Reply(text=text, finish=finish, usage=usage, served=self.name, tool_calls=calls)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors of 16 numbers: each word adds its hash, so shared words bring texts closer."""
        return [_vector(t) for t in texts]

    async def ready(self) -> None:
        """Raise when `down` is set."""
        if self.options.down:
            raise ModelDown(f'model "{self.name}" is down (scripted)')

    async def aclose(self) -> None:
        """Nothing to free."""


def _tokens(request: Request) -> int:
    """A token is taken as four characters; a double has no tokenizer."""
    return sum(len(m.text) // 4 + 4 + 256 * len(m.images) for m in request.messages)


def called(tools: Sequence[Tool], choice: str, answered: bool, chance: bytes) -> ToolCall | None:
    """The call that a double makes: of the tool that must be called, or of one drawn from `chance`.

    choice: as in `Request.tool_choice`. answered: the result of a call came last, so that words are
    next. None where nothing is called.
    """
    if not tools or choice == "none" or (choice == "auto" and answered):
        return None
    named = [t for t in tools if t.name == choice]
    tool = named[0] if named else tools[pick(chance, len(tools), 3)]
    arguments = msgspec.json.encode(example_of(tool.parameters, key(chance, tool.name))).decode()
    return ToolCall(f"call_{chance.hex()[:8]}", tool.name, arguments)


def example_of(schema: Mapping[str, Any], chance: bytes) -> Any:
    """A value that a JSON schema allows, drawn from `chance`: enums, types, required fields, bounds of integers."""
    if "enum" in schema:
        return schema["enum"][pick(chance, len(schema["enum"]), 0)]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        fields: Mapping[str, Any] = schema.get("properties", {})
        return {name: example_of(fields.get(name, {}), key(chance, name)) for name in schema.get("required", fields)}
    if kind == "array":
        items = schema.get("items", {})
        return [example_of(items, key(chance, i)) for i in range(schema.get("minItems", 1))]
    if kind in ("integer", "number"):
        low = schema.get("minimum", 0)
        return low + pick(chance, max(1, int(schema.get("maximum", low + 9) - low) + 1), 0)
    return {"boolean": bool(pick(chance, 2, 0)), "null": None}.get(kind, "ok")


def choices(request: Request) -> tuple[str, ...]:
    """The answers that a request asks to choose from: grammar, schema, or lines `A) text`."""
    if request.grammar:
        return tuple(re.findall(r'"([^"\\]+)"', request.grammar))
    schema: Mapping[str, Any] = request.json_schema or {}
    if "properties" in schema:
        return tuple(_objects(schema))
    if "enum" in schema:
        return tuple(msgspec.json.encode(v).decode() for v in schema["enum"])
    return labels_in([m.text for m in request.messages])


def labels_in(texts: Sequence[str]) -> tuple[str, ...]:
    """The labels that a prompt offers: of its last list of lines `A) name`, or those `Possible now: A, C`."""
    known: tuple[str, ...] = ()
    for text in texts:
        found = re.findall(r"^(\w{1,3})\) ", text, re.MULTILINE)
        now = re.findall(r"^Possible now: (.+)$", text, re.MULTILINE)
        known = tuple(now[-1].split(", ")) if now else tuple(found) or known
    return known


def _objects(schema: Mapping[str, Any]) -> list[str]:
    """One JSON object per value of the first property with an enum; other texts are short."""
    props: Mapping[str, Mapping[str, Any]] = schema["properties"]
    fixed = {name: "ok" for name, p in props.items() if p.get("type") == "string" and "enum" not in p}
    for name, p in props.items():
        if "enum" in p:
            return [msgspec.json.encode({**fixed, name: v}).decode() for v in p["enum"]]
    return [msgspec.json.encode(fixed).decode()]


def _vector(text: str) -> list[float]:
    total = [0.0] * 16
    for word in re.findall(r"\w+", text.lower()) or [text]:
        for i, byte in enumerate(hashlib.blake2b(word.encode(), digest_size=16).digest()):
            total[i] += byte - 127.5
    norm = sum(x * x for x in total) ** 0.5
    return [x / norm for x in total]
