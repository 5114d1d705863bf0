"""The tool loop of a language-model agent: offers, calls, results, until it answers or its rounds are used up.

Models with native tools get them as `Request.tools`; all others answer with one JSON object, {"tool": NAME,
"arguments": {...}} or {"answer": ...}, forced by a schema where the model takes one. Every call goes
through the door of the run: it is recorded, and a replay calls nothing.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.agents.prompt import Unreadable, find_json
from crossplay.agents.tools import AT_ONCE, LONGEST, ROOM, BadArguments, Tool, Toolbox, ToolError
from crossplay.kernel import CrossplayError, Observation, Usage, nearest, pack

if TYPE_CHECKING:
    from crossplay.agents.guards import Guards
    from crossplay.models import Message, Model, Reply, Request

__all__ = ["TOOL_TEMPLATE", "ToolTalk", "open_talk", "wrapped_schema"]

TOOL_TEXTS = {
    "offer": "You may call tools before you answer:",
    "native": "You may call the tools offered to you before you answer, in at most {rounds} rounds.",
    "call": 'To call one, answer with {"tool": NAME, "arguments": {...}} and nothing else; its result is shown to you. '
    "At most {rounds} calls.",
    "finish": 'To answer, give {"answer": X}, X being the answer in the form asked for.',
    "result": "Result of {name}: {result}",
    "error": "error: {error}",
    "none_left": "No calls are left. Answer now, without tools.",
}
TOOL_TEMPLATE = hashlib.blake2b(pack(TOOL_TEXTS), digest_size=8).hexdigest()
"""Digest of the fixed texts about tools, part of requests that offer some."""


class Wish:
    """One call that a model asks for. arguments: an object, or None with the reason why there is none."""

    def __init__(self, name: str, arguments: Any, id: str = "") -> None:
        self.name, self.id = name, id
        self.arguments: dict[str, Any] | None = arguments if isinstance(arguments, dict) else None


class ToolTalk:
    """The calls of one decision of one agent. made: rounds used so far, over all repairs."""

    def __init__(self, box: Toolbox, tools: Mapping[str, Tool], model: Model, guards: Guards | None = None) -> None:
        self.box, self.tools, self.model, self.guards = box, dict(tools), model, guards
        can = model.capabilities
        # Weights in this process are held to a schema by the portable form; their native calls are read from free text.
        self.native = can.tools and not (model.local and can.json_schema)
        self.made = 0

    @property
    def left(self) -> bool:
        """Whether another round may be made."""
        return self.made < self.box.rounds and bool(self.tools)

    def introduce(self, messages: Sequence[Message]) -> list[Message]:
        """The messages with what is said about tools at the end of the first, which never changes in a seat."""
        first, *rest = messages
        if self.native:
            words = TOOL_TEXTS["native"].format(rounds=self.box.rounds)
        else:
            listed = [self._described(t) for t in self.tools.values()]
            call = TOOL_TEXTS["call"].replace("{rounds}", str(self.box.rounds))
            words = "\n".join([TOOL_TEXTS["offer"], *listed, call, TOOL_TEXTS["finish"]])
        return [msgspec.structs.replace(first, text=f"{first.text}\n\n{words}"), *rest]

    @staticmethod
    def _described(tool: Tool) -> str:
        schema = msgspec.json.encode(tool.parameters, order="deterministic").decode()
        return f"- {tool.name}: {tool.description} Arguments: {schema}"

    # -- requests ----------------------------------------------------------------------------------
    def request(self, plain: Request, wanted: Mapping[str, Any] | None) -> Request:
        """The request of a decision with the tools in it. wanted: the schema of an answer, None for free text."""
        changes: dict[str, Any] = {"template": hashlib.blake2b(
            f"{plain.template}{TOOL_TEMPLATE}".encode(), digest_size=8).hexdigest()}  # fmt: skip
        if self.native:
            from crossplay.models import Tool as Offer

            changes["tools"] = tuple(Offer(t.name, t.description, t.parameters) for t in self.tools.values())
            # Several servers refuse tools beside a grammar or a schema, so neither is sent with them.
            changes |= {"grammar": None, "json_schema": None, "tool_choice": "auto" if self.left else "none"}
        else:
            tools = list(self.tools.values()) if self.left else []
            forced = wrapped_schema(tools, wanted) if self.model.capabilities.json_schema else None
            changes |= {"grammar": None, "json_schema": forced, "top_logprobs": 0}
        if self.left:
            changes["max_tokens"] = max(plain.max_tokens, ROOM)
        elif not self.native:
            changes["max_tokens"] = plain.max_tokens + 16  # the object around the answer
        return msgspec.structs.replace(plain, **changes)

    async def answer(
        self, obs: Observation, messages: Sequence[Message], ask: Callable[[Sequence[Message]], Any]
    ) -> tuple[str | None, list[Message], Reply]:
        """(the text of the answer, the messages that led to it, the reply), after all calls it wanted.

        The text is None where it wants calls and none are left.

        ask(messages) gives the model's reply. Raises what it raises.
        """
        from crossplay.models import Message

        asked = list(messages)
        while True:
            reply: Reply = await ask(asked)
            wishes, text = self._read(reply)
            if not wishes or not self.left:
                if wishes:
                    obs.count("tool_calls_refused", len(wishes))
                return (None if wishes and not text.strip() else text), asked, reply
            self.made += 1
            asked.append(Message("assistant", reply.text, (), tuple(reply.tool_calls) if self.native else ()))
            for i, wish in enumerate(wishes):
                result = await self._call(obs, wish) if i < AT_ONCE else self._refuse(obs, wish)
                if self.native and wish.id:
                    asked.append(Message("tool", result, tool_call_id=wish.id))
                else:
                    words = TOOL_TEXTS["result"].format(name=wish.name, result=result)
                    asked.append(Message("user", words if self.left else f"{words}\n\n{TOOL_TEXTS['none_left']}"))

    def _read(self, reply: Reply) -> tuple[list[Wish], str]:
        """(calls that the model wants, the text of its answer)."""
        if reply.tool_calls:
            return [Wish(c.name, _object(c.arguments), c.id) for c in reply.tool_calls], reply.text
        if "{" not in reply.text:
            return [], reply.text
        try:
            found = find_json(reply.text[reply.text.index("{") :])
        except Unreadable:
            return [], reply.text
        if isinstance(found, dict) and isinstance(found.get("tool"), str):
            return [Wish(found["tool"], found.get("arguments", {}))], ""
        if isinstance(found, dict) and set(found) == {"answer"}:
            inner = found["answer"]
            return [], inner if isinstance(inner, str) else msgspec.json.encode(inner).decode()
        return [], reply.text

    # -- calls -------------------------------------------------------------------------------------
    async def _call(self, obs: Observation, wish: Wish) -> str:
        """The text that the model is shown: a result, or an error in one line. Everything is counted and noted."""
        obs.count("tool_calls")
        began = time.perf_counter()
        arguments = wish.arguments
        try:
            tool = self.tools.get(wish.name)
            if tool is None:
                raise ToolError(f'unknown tool "{wish.name[:64]}".{nearest(wish.name, self.tools)}')
            if arguments is None:
                raise BadArguments("arguments must be one JSON object")
            arguments = self._outgoing(obs, tool, arguments)
            tool.check(arguments)
            text = self._incoming(obs, tool, await self._through(obs, tool, arguments))
            error = ""
        except ToolError as failed:
            error = " ".join(str(failed).split())[:500]
            text = TOOL_TEXTS["error"].format(error=error)
            obs.count("tool_errors")
        data: dict[str, Any] = {"called": wish.name[:64], "arguments": arguments, "shown": text}
        if error:
            data["error"] = error
        obs.note("tool", data, Usage(wall_us=int((time.perf_counter() - began) * 1e6)))
        return text

    async def _through(self, obs: Observation, tool: Tool, arguments: dict[str, Any]) -> str:
        """The result by the cassette of the run, or from the tool itself where there is no run."""
        from crossplay.models.door import ToolError as Failed

        async def run() -> str:
            return _shown(await tool.call(arguments, self.box.seconds))

        if self.box.door is None:
            return await run()
        name = getattr(tool, "identity", tool.name)
        repeatable = bool(getattr(tool, "repeatable", False))
        try:
            found: str = await self.box.door.tool(name, arguments, obs, run, repeatable=repeatable)
            return found
        except Failed as error:
            raise ToolError(str(error).removeprefix(f'tool "{name}": ')) from None

    def _outgoing(self, obs: Observation, tool: Tool, arguments: dict[str, Any]) -> dict[str, Any]:
        """What leaves the agent passes its guards, as what it says does."""
        if self.guards is None:
            return arguments
        from crossplay.agents.guards import About, Blocked

        found = self.guards.data("after", arguments, About("tool", obs.seat, tool.name, obs.tick), obs)
        if isinstance(found, Blocked):
            raise ToolError(f"the call was blocked: {found.reason}")
        kept: dict[str, Any] = found
        return kept

    def _incoming(self, obs: Observation, tool: Tool, text: str) -> str:
        if self.guards is None:
            return text
        from crossplay.agents.guards import About, Blocked

        found = self.guards.before(text, About("tool", tool.name, obs.seat, obs.tick), obs)
        if isinstance(found, Blocked):
            raise ToolError(f"the result was blocked: {found.reason}")
        return found

    @staticmethod
    def _refuse(obs: Observation, wish: Wish) -> str:
        obs.count("tool_calls_refused")
        return TOOL_TEXTS["error"].format(error=f"{wish.name[:64]}: at most {AT_ONCE} calls at a time")


async def open_talk(
    box: Toolbox, model: Model, guards: Guards | None, obs: Observation, memo: dict[str, Any]
) -> tuple[ToolTalk, dict[str, Any]]:
    """(the talk of one decision, the memo with what the sources list).

    Sources are asked once per seat and episode, through the cassette; then the list is remembered.
    """
    from crossplay.models.door import ToolError as Failed

    known: dict[str, list[dict[str, Any]]] = dict(memo.get("tools", {}))
    for source in box.sources:
        if source.title in known:
            continue
        if box.door is None:
            known[source.title] = await source.listing()
            continue
        name = f"{source.title} tools/list"
        try:
            known[source.title] = await box.door.tool(name, {}, obs, source.listing, repeatable=True)
        except Failed as error:
            raise CrossplayError(str(error)) from error
    memo = memo | {"tools": known} if known else memo
    return ToolTalk(box, box.of(known), model, guards), memo


def wrapped_schema(tools: Sequence[Tool], wanted: Mapping[str, Any] | None) -> dict[str, Any]:
    """The schema of one JSON object that is a call of one of the tools, or an answer."""
    answer = {
        "type": "object",
        "properties": {"answer": dict(wanted) if wanted is not None else {"type": "string"}},
        "required": ["answer"],
        "additionalProperties": False,
    }
    if not tools:
        return answer
    calls = [
        {
            "type": "object",
            "properties": {"tool": {"type": "string", "enum": [t.name]}, "arguments": _inlined(t.parameters)},
            "required": ["tool", "arguments"],
            "additionalProperties": False,
        }
        for t in tools
    ]
    return {"anyOf": [*calls, answer]}


def _inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without references, which would point nowhere inside another one; deeper than 8 it is open."""
    parts: Mapping[str, Any] = schema.get("$defs", {})

    def plain(node: Any, depth: int) -> Any:
        if isinstance(node, Mapping):
            where = node.get("$ref")
            if isinstance(where, str):
                part = parts.get(where.rpartition("/")[2])
                return plain(part, depth + 1) if part is not None and depth < 8 else {}
            return {k: plain(v, depth) for k, v in node.items() if k not in ("$defs", "$schema")}
        return [plain(v, depth) for v in node] if isinstance(node, list) else node

    found = plain(schema, 0)
    return found if found.get("type") == "object" else {"type": "object"}


def _object(text: str) -> Any:
    try:
        return msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return None


def _shown(result: Any) -> str:
    """A result as text, cut at `LONGEST` bytes with a mark that says so."""
    if isinstance(result, str):
        text = result
    else:
        try:
            text = msgspec.json.encode(result).decode()
        except (TypeError, ValueError):
            text = str(result)
    text = text.encode("utf-8", "replace").decode()
    if len(text.encode()) <= LONGEST:
        return text or "(nothing)"
    kept = text.encode()[:LONGEST].decode("utf-8", "ignore")
    return f"{kept} [cut: {len(text)} characters in all]"
