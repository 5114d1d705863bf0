"""Tools that language-model agents may call: functions of the user, built-in safe ones, MCP servers.

`tools = ["calculator", "python:my_tools:lookup", "mcp:COMMAND"]` on an agent becomes a `Toolbox`. What runs
code or starts a process that a file names needs `--trust`. How they are called: `tool_loop.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
import threading
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from crossplay.agents.context import Context
from crossplay.agents.python import imported
from crossplay.kernel import CrossplayError, nearest, pack

__all__ = ["BadArguments", "FunctionTool", "Source", "Tool", "ToolError", "Toolbox", "make_toolbox"]

BUILT_IN = ("calculator", "python_sandbox")
LONGEST = 4000
"""Bytes of a result that the model is shown; what is cut is said."""
AT_ONCE = 8
"""Calls of one reply that are made; the others are told to wait."""
ROOM = 256
"""Tokens an answer may have at least while it may be a call."""
LISTED = 16_000
"""Bytes that a plan reserves for the list of a source that was not asked yet."""


class ToolError(Exception):
    """What went wrong in a tool, in words for the model."""


class BadArguments(ToolError):
    """Arguments that do not fit the tool's schema; the text names the place."""


class Tool(Protocol):
    """Something an agent may call.

    name: 1 to 64 of A-Z a-z 0-9 _ -. parameters: the JSON schema of its arguments, an object.
    """

    name: str
    description: str
    parameters: dict[str, Any]

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise `BadArguments` where the arguments do not fit."""
        ...

    async def call(self, arguments: Mapping[str, Any], seconds: float) -> Any:
        """The result: text or JSON data. Raises `ToolError`; seconds: how long it may take at most."""
        ...


class Source(Protocol):
    """Where tools come from that are known only when it is asked (an MCP server)."""

    title: str

    def connect(self) -> None:
        """Raise `CrossplayError` where it cannot be reached."""
        ...

    async def listing(self) -> list[dict[str, Any]]:
        """Plain data of its tools: name, description, parameters."""
        ...

    def tool(self, listed: Mapping[str, Any]) -> Tool:
        """The tool of one entry of a listing; reaches for the server only when it is called."""
        ...

    def close(self) -> None:
        """End the session."""
        ...


# -- functions -------------------------------------------------------------------------------------
class FunctionTool:
    """A Python function as a tool: the schema from its type hints, the texts from its docstring.

    function: plain or `async def`; plain ones run in a thread of their own, so that one that hangs
    holds nobody up. inline: so quick and bounded that no thread is needed.
    """

    def __init__(self, function: Callable[..., Any], name: str = "", inline: bool = False) -> None:
        self.function, self.inline = function, inline
        self.repeatable = False  # may be run again after a kill without being done twice
        self.name = name or function.__name__
        self.description, about = _texts(function)
        self._form = _form(function, self.name)
        self.parameters = _schema(self._form, about)

    def check(self, arguments: Mapping[str, Any]) -> None:
        """By the type hints."""
        self._read(arguments)

    def _read(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            given = msgspec.convert(dict(arguments), self._form)
        except msgspec.ValidationError as error:
            raise BadArguments(str(error)) from None
        return {f: getattr(given, f) for f in self._form.__struct_fields__}

    async def call(self, arguments: Mapping[str, Any], seconds: float) -> Any:
        """What the function returns; its exceptions become `ToolError`."""
        given = self._read(arguments)
        try:
            if inspect.iscoroutinefunction(self.function):
                return await asyncio.wait_for(self.function(**given), seconds)
            if self.inline:
                return self.function(**given)
            return await asyncio.wait_for(_in_thread(self.function, given), seconds)
        except ToolError:
            raise
        except TimeoutError:
            raise ToolError(f"no result within {seconds:g} s") from None
        except Exception as error:
            raise ToolError(f"{type(error).__name__}: {error}"[:500]) from error


def _in_thread(function: Callable[..., Any], given: Mapping[str, Any]) -> asyncio.Future[Any]:
    """The result of a call in a daemon thread: an executor would wait for a hung one at the end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, failed: BaseException | None) -> None:
        if not answer.done():
            answer.set_result(result) if failed is None else answer.set_exception(failed)

    def work() -> None:
        result, failed = None, None
        try:
            result = function(**given)
        except BaseException as error:  # SystemExit of a tool is the tool's error, not the run's end
            failed = error if isinstance(error, Exception) else ToolError(f"{type(error).__name__}: {error}")
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=work, daemon=True, name=f"tool {function.__name__}").start()
    return answer


def _form(function: Callable[..., Any], name: str) -> Any:
    """A struct whose fields are the function's parameters: schema and checking come from msgspec."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise CrossplayError(f'tool "{name}": its type hints cannot be read ({error})') from error
    fields: list[Any] = []
    for p in inspect.signature(function).parameters.values():
        if p.kind not in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY):
            raise CrossplayError(f'tool "{name}": parameter {p} has no name that a model could give')
        hint = hints.get(p.name, Any)
        fields.append((p.name, hint) if p.default is p.empty else (p.name, hint, p.default))
    try:
        return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
    except TypeError as error:
        raise CrossplayError(f'tool "{name}": {error}') from error


def _schema(form: Any, about: Mapping[str, str]) -> dict[str, Any]:
    try:
        (found,), parts = msgspec.json.schema_components([form], ref_template="#/$defs/{name}")
    except (TypeError, ValueError) as error:
        raise CrossplayError(f"tool: a type hint has no JSON schema ({error})") from error
    schema = parts.pop("Arguments") if "$ref" in found else found
    plain: dict[str, Any] = {"type": "object", "properties": dict(schema.get("properties", {}))}
    for name, words in about.items():
        if name in plain["properties"]:
            plain["properties"][name] = {**plain["properties"][name], "description": words}
    if schema.get("required"):
        plain["required"] = list(schema["required"])
    plain["additionalProperties"] = False
    if parts:
        plain["$defs"] = parts
    return plain


def _texts(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """The docstring's first paragraph, and what it says of parameters (`name: text`, one line each)."""
    text = inspect.getdoc(function) or ""
    head = " ".join(text.partition("\n\n")[0].split())
    names = inspect.signature(function).parameters
    lines = re.findall(r"^\s*(\w+)(?: \([^)\n]*\))?\s*:\s+(\S.*)$", text, re.MULTILINE)
    return head, {name: words.strip() for name, words in lines if name in names}


# -- the box ---------------------------------------------------------------------------------------
class Toolbox:
    """The tools of one agent, and the limits of their use.

    tools: known now; sources: asked when first used. rounds: how often in a decision the model may
    call tools at most; seconds: per call. door: of the run, which keeps results for replay.
    """

    def __init__(
        self,
        tools: Sequence[Tool] = (),
        sources: Sequence[Source] = (),
        *,
        rounds: int = 4,
        seconds: float = 30.0,
        door: Any = None,
        given: Sequence[str] = (),
    ) -> None:
        self.tools, self.sources = tuple(tools), tuple(sources)
        self.rounds, self.seconds, self.door = rounds, seconds, door
        self.given = tuple(given) or tuple(t.name for t in tools)
        self._known: dict[bytes, dict[str, Tool]] = {}

    def manifest(self) -> dict[str, Any]:
        """What was asked for, the schemas known without asking anybody, and the limits."""
        fixed = {t.name: hashlib.blake2b(_described(t), digest_size=8).hexdigest() for t in self.tools}
        return {"given": list(self.given), "schemas": fixed, "rounds": self.rounds, "seconds": self.seconds}

    @property
    def shown(self) -> int:
        """Bytes that the results of one round may have at most."""
        return AT_ONCE * (LONGEST + 200)

    def bound(self, per_out: int) -> tuple[int, int]:
        """(bytes that the list of tools adds to a request, tokens of a reply) at most."""
        listed = sum(2 * len(_described(t)) + 32 for t in self.tools) + LISTED * len(self.sources)
        return listed + 600, max(per_out, ROOM) + 16

    def connect(self) -> None:
        """Reach every source, and see that every tool can work; `CrossplayError` before anything is spent."""
        for tool in self.tools:
            if hasattr(tool, "ready"):
                tool.ready()
        for source in self.sources:
            source.connect()

    def of(self, listings: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Tool]:
        """All tools by name, those of sources as listed; `CrossplayError` where two have one name."""
        known = hashlib.blake2b(pack(listings), digest_size=16).digest()
        if known not in self._known:
            found: dict[str, Tool] = {}
            many = [*self.tools, *(s.tool(x) for s in self.sources for x in listings.get(s.title, ()))]
            for tool in many:
                if tool.name in found:
                    raise CrossplayError(f'tools: two have the name "{tool.name}"')
                found[tool.name] = tool
            self._known[known] = found
        return self._known[known]


def _described(tool: Tool) -> bytes:
    return pack([tool.name, tool.description, tool.parameters])


def make_toolbox(
    given: Sequence[str | Mapping[str, Any]], context: Context, rounds: int = 4, seconds: float = 30.0
) -> Toolbox | None:
    """The tools of an option such as ["calculator", "python:my_tools:lookup", {mcp = "COMMAND"}]; None for none.

    Errors name the nearest; NeedsTrust where code or a command needs --trust.
    """
    if not given:
        return None
    tools: list[Tool] = []
    sources: list[Source] = []
    named: list[str] = []
    for entry in given:
        if isinstance(entry, Mapping) or entry.startswith("mcp:"):
            from crossplay.agents.mcp_tools import make_server

            server = make_server(entry, context)
            sources.append(server)
            named.append(server.title)
        elif entry.startswith("python:"):
            found, digest = imported(entry, context, "tool")
            tools.append(_as_tool(found, entry))
            named.append(f"{entry} sha256 {digest}")
        else:
            tools.append(_built_in(entry))
            named.append(entry)
    titles = [t.name for t in tools] + [s.title for s in sources]
    for name in titles:
        if titles.count(name) > 1:
            raise CrossplayError(f'tools: "{name}" is named twice')
    return Toolbox(tools, sources, rounds=rounds, seconds=seconds, door=context.door, given=named)


def _as_tool(found: Any, entry: str) -> Tool:
    if all(hasattr(found, a) for a in ("name", "description", "parameters", "check", "call")):
        made: Tool = found
        return made
    if not callable(found) or inspect.isclass(found):
        raise CrossplayError(f'tool "{entry}" is a {type(found).__name__}, not a function')
    return FunctionTool(found)


def _built_in(name: str) -> Tool:
    if name == "calculator":
        from crossplay.agents.calculator import calculator

        tool = FunctionTool(calculator, inline=True)
        tool.repeatable = True
        return tool
    if name == "python_sandbox":
        from crossplay.agents.calculator import SandboxTool

        return SandboxTool()
    hint = nearest(name, [*BUILT_IN, "python:MODULE:FUNCTION", "mcp:COMMAND"])
    raise CrossplayError(f'tools: unknown tool "{name}".{hint}')
