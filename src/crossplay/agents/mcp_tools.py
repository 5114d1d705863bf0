"""Tools of MCP servers, through the official SDK (extra `mcp`): `mcp:COMMAND` (stdio) or `mcp:http://...`.

A server has one session per agent and run, on an event loop in a thread of its own, so that it outlives
the loops that episodes are played on. It starts when first needed and ends with the run. What it lists and
what it answers goes through the run's cassette: a replay starts no process and asks nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import tempfile
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from crossplay.agents.context import Context, NeedsTrust
from crossplay.agents.tools import BadArguments, ToolError
from crossplay.kernel import ActionSpec, CrossplayError, Invalid, nearest

__all__ = ["McpServer", "McpTool", "make_server"]

CONNECTING = 30.0
"""Seconds until a server that does not answer counts as absent."""
PAGES = 32
"""Pages of a listing that are read at most."""


def make_server(given: str | Mapping[str, Any], context: Context) -> McpServer:
    """The server of "mcp:COMMAND", "mcp:http://...", or of a table.

    {mcp = "COMMAND or address", name = "files", env = ["NAME", ...], token = "NAME"}: env names variables of
    this process that the server may see (it sees HOME, PATH and the like only); token names the variable that
    holds a bearer token for an address. Keys themselves never stand in a study.
    """
    table = {"mcp": given.removeprefix("mcp:")} if isinstance(given, str) else dict(given)
    known = {"mcp": str, "name": str, "env": list, "token": str}
    for key, value in table.items():
        if key not in known:
            raise CrossplayError(f'tools: unknown key "{key}" of an MCP server.{nearest(key, known)}')
        if not isinstance(value, known[key]):
            raise CrossplayError(f"tools: {key} = {value!r} of an MCP server must be a {known[key].__name__}")
    target = str(table.get("mcp", "")).strip()
    if not target:
        raise CrossplayError('tools: an MCP server needs a command or an address, e.g. "mcp:my-server --flag"')
    if not context.trust:
        raise NeedsTrust(f'tools: "mcp:{_shown(target)}" starts a process or opens a session; allow it with --trust')
    server = McpServer(target, table.get("name", ""), table.get("env", ()), table.get("token", ""), context.folder)
    context.closing.append(server.close)
    return server


class McpServer:
    """One server and the session with it.

    target: a command line, or an address that begins with http:// or https://. title: how records call it.
    """

    def __init__(self, target: str, title: str = "", env: Any = (), token: str = "", folder: Path = Path()) -> None:
        self.target = target
        self.title = title or f"mcp:{_shown(target)}"
        self._env, self._token, self._folder = tuple(env), token, folder
        self._session: _Session | None = None
        self._lock = threading.Lock()

    def connect(self) -> None:
        """Start it and shake hands; `CrossplayError` where that fails."""
        self._open().ready()

    async def listing(self) -> list[dict[str, Any]]:
        """Its tools as plain data, sorted by name: the order of a server is no part of a record."""
        session = self._open()
        try:
            found: list[dict[str, Any]] = await session.ask(_list, CONNECTING)
            return found
        except TimeoutError:
            raise CrossplayError(f"{self.title}: no list of tools within {CONNECTING:g} s") from None

    def tool(self, listed: Mapping[str, Any]) -> McpTool:
        """The tool of one entry."""
        return McpTool(self, listed)

    async def call(self, name: str, arguments: Mapping[str, Any], seconds: float) -> str:
        """The text of a result; raises `ToolError`. A session that broke is opened anew by the next call."""
        try:
            session = self._open()
            result = await session.ask(lambda client: client.call_tool(name, dict(arguments), seconds), seconds)
        except TimeoutError:
            raise ToolError(f"no result within {seconds:g} s") from None
        except CrossplayError as error:
            raise ToolError(str(error)) from None
        except Exception as error:
            if _broken(error):
                self.close()  # the next call opens another session
            raise ToolError(f"{type(error).__name__}: {error}"[:500]) from None
        text = _text(result)
        if result.is_error:
            raise ToolError(text or "the server reports an error without words")
        return text

    def close(self) -> None:
        """End the session and its process; may be called more than once."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _open(self) -> _Session:
        with self._lock:
            if self._session is None or not self._session.alive:
                how = partial(_transport, self.target, self._env, self._token, self._folder, self.title)
                self._session = _Session(self.title, how)  # holds no reference to self, so that self can go
                weakref.finalize(self, _Session.close, self._session)
            return self._session


class McpTool:
    """One tool of a server, as listed."""

    def __init__(self, server: McpServer, listed: Mapping[str, Any]) -> None:
        self.server = server
        self.remote = str(listed["name"])
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", self.remote)[:64]
        self.identity = f"{server.title}/{self.remote}"
        self.description = str(listed.get("description") or "")
        self.parameters = dict(listed.get("parameters") or {"type": "object"})
        self.repeatable = bool(listed.get("repeatable", False))

    def check(self, arguments: Mapping[str, Any]) -> None:
        """By the JSON schema that the server gives; a schema that is none is left to the server."""
        try:
            from jsonschema.validators import Draft202012Validator
        except ImportError:  # the SDK brings it; a replay elsewhere may lack it
            with contextlib.suppress(TypeError, KeyError):
                _plain_check(arguments, self.parameters)
            return
        found = sorted(Draft202012Validator(self.parameters).iter_errors(dict(arguments)), key=lambda e: e.json_path)
        if found:
            raise BadArguments(f"{found[0].json_path}: {found[0].message}"[:300])

    async def call(self, arguments: Mapping[str, Any], seconds: float) -> Any:
        """What the server answers."""
        self.check(arguments)
        return await self.server.call(self.remote, arguments, seconds)


def _plain_check(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    try:
        ActionSpec("data", schema=dict(schema)).check(dict(arguments))
    except Invalid as error:
        raise BadArguments(str(error)) from None


def _transport(target: str, env: Sequence[str], token: str, folder: Path, title: str, log: Any) -> Any:
    """The SDK's transport. log: the file that takes the server's stderr."""
    from mcp.client.stdio import StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    if target.startswith(("http://", "https://")):
        if not token:
            return streamable_http_client(target)
        headers = {"Authorization": f"Bearer {_variable(token, title)}"}
        return streamable_http_client(target, http_client=create_mcp_http_client(headers=headers))
    command, *args = shlex.split(target)
    given = {name: _variable(name, title) for name in env}
    params = StdioServerParameters(command=command, args=args, env=given, cwd=folder.resolve())
    return stdio_client(params, errlog=log)


def _broken(error: Exception) -> bool:
    """Whether the connection is gone, not only this call."""
    from mcp import MCPError
    from mcp_types import CONNECTION_CLOSED

    if isinstance(error, MCPError):
        return bool(error.error.code == CONNECTION_CLOSED)
    return type(error).__name__ in ("ClosedResourceError", "BrokenResourceError", "RuntimeError", "ConnectError")


# -- the session -----------------------------------------------------------------------------------
class _Session:
    """A thread with an event loop on which one task opens the client, waits, and closes it.

    The SDK's scopes belong to the task that opened them, so one task does both.
    """

    def __init__(self, title: str, transport: Callable[[Any], Any]) -> None:
        self.title = title
        self._transport = transport
        self._client: Any = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._opened = threading.Event()
        self._failed: BaseException | None = None
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  it lives as long as the server that writes to it
        self._thread = threading.Thread(target=self._run, daemon=True, name=title)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether calls may be sent, or it is still being opened."""
        return self._thread.is_alive() and self._failed is None and not self._stop.is_set()

    def ready(self) -> None:
        """Wait until it is open; raises `CrossplayError` with the server's last line."""
        if not self._opened.wait(CONNECTING + 5):
            raise CrossplayError(f"{self.title}: no answer within {CONNECTING:g} s")
        if self._client is None:
            why = self._failed
            raise CrossplayError(f"{self.title}: {_reason(why)}{self._last_words()}") from why

    async def ask(self, call: Callable[[Any], Coroutine[Any, Any, Any]], seconds: float) -> Any:
        """The result of a call on the client, awaited from any loop."""
        if not self._opened.is_set():
            await asyncio.to_thread(self.ready)
        self.ready()
        asked = asyncio.run_coroutine_threadsafe(asyncio.wait_for(call(self._client), seconds), self._loop)
        return await asyncio.wrap_future(asked)

    def close(self) -> None:
        """Let the task end; the SDK closes stdin, waits, and kills what does not go."""
        if self._thread.is_alive() and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
            if threading.current_thread() is not self._thread:
                self._thread.join(10)
        self._log.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failed = error
        finally:
            self._stop.set()
            self._opened.set()
            with contextlib.suppress(Exception):
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _serve(self) -> None:
        try:
            from mcp import Client
        except ImportError as error:
            raise CrossplayError("the package mcp is not installed; add it with the extra crossplay[mcp]") from error
        client = Client(self._transport(self._log))
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(CONNECTING):
                self._client = await stack.enter_async_context(client)
            self._opened.set()
            await self._stop.wait()

    def _last_words(self) -> str:
        """The last line that the server wrote to stderr."""
        try:
            self._log.seek(0)
            lines = [line.strip() for line in self._log.read()[-4000:].splitlines() if line.strip()]
        except (ValueError, OSError):
            return ""
        return f"; it said: {lines[-1][:200]}" if lines else ""


def _reason(error: BaseException | None) -> str:
    """The innermost reason: the SDK reports through groups of exceptions."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, CrossplayError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECTING:g} s"
    return f"cannot be reached ({type(error).__name__}: {error})" if error is not None else "it is closed"


async def _list(client: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(PAGES):
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            hints = tool.annotations
            safe = hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)
            schema = msgspec.json.decode(msgspec.json.encode(tool.input_schema))
            one = {"name": tool.name, "description": tool.description or "", "parameters": schema}
            found.append({**one, "repeatable": safe})
        cursor = page.next_cursor
        if not cursor:
            break
    return sorted(found, key=lambda t: str(t["name"]))


def _text(result: Any) -> str:
    """What a result says: its texts, other content by kind and size, or its structured value."""
    parts = []
    for block in result.content:
        if block.type == "text":
            parts.append(block.text)
        elif block.type == "resource" and getattr(block.resource, "text", None) is not None:
            parts.append(block.resource.text)
        else:
            size = len(getattr(block, "data", "") or "")
            parts.append(f"[{block.type}: {getattr(block, 'mime_type', '') or ''} {size} characters, not shown]")
    if not parts and result.structured_content is not None:
        return msgspec.json.encode(result.structured_content).decode()
    return "\n".join(parts)


def _variable(name: str, title: str) -> str:
    if name not in os.environ:
        raise CrossplayError(f"{title}: the environment variable {name} is not set")
    return os.environ[name]


def _shown(target: str) -> str:
    """A target as records show it: an address without user, password and query; a command's first words."""
    if target.startswith(("http://", "https://")):
        scheme, _, rest = target.partition("://")
        place = re.split(r"[?#]", rest)[0]
        host, slash, path = place.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    try:
        words = [Path(w).name if "/" in w else w for w in shlex.split(target)]
    except ValueError as error:
        raise CrossplayError(f"tools: mcp:{target}: {error}") from None
    kept = [w for w in words if not w.startswith("-")]
    return " ".join(kept[:2])
