"""An OpenAI-compatible endpoint on loopback, for tests: slow, failing or wrong on demand.

Its default model answers by a hash of the request. The model `fake-vlm` decodes the picture it is
sent and answers from its pixels; it exists to exercise the path of pictures and says nothing
about vision-language models.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from aiohttp import web

from crossplay.models.loopback_answers import (
    FAKE_VLM,
    answer_to,
    brightest_band,
    completion,
    picture_of,
    pieces,
    response,
)
from crossplay.models.types import ToolCall

__all__ = ["FAKE_VLM", "Loopback", "Said", "brightest_band", "picture_of"]


class Said(msgspec.Struct):
    """One scripted answer. text: None for the usual one; tool_calls: instead of a text. usage: instead
    of the true figures. raw: the body as it is; status, headers: of the answer. wait_s: before it
    comes; a hang is a long one. cut: send only so many events of a stream, or so much of a body (0 to 1),
    then go on as `end` says: "abort" breaks the connection, "close" ends the answer as if it were whole,
    "stall" says nothing more.
    """

    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Any = None
    raw: bytes | None = None
    status: int = 200
    headers: dict[str, str] = {}
    wait_s: float = 0.0
    cut: float | None = None
    end: Literal["abort", "close", "stall"] = "abort"


Line = Said | str | int | Mapping[str, Any] | None
"""None: the usual answer; a text; "disconnect": hang up; a status; a mapping: the JSON to send; `Said`."""
Script = Callable[[int, Mapping[str, Any]], Line] | Sequence[Line]
"""What each request gets: from its number and body, or by number, after the last line as usual."""


class Loopback:
    """A server in a thread of its own; use it as a context manager.

    latency_s: of every answer. script: see `Script`. key: required as bearer token when given.
    schema: follow a JSON schema. What it saw: requests (bodies), paths, keys (idempotency), times
    (s, of its event loop), most_flying, connections (how many were opened).
    """

    def __init__(
        self, latency_s: float = 0.0, script: Script | None = None, key: str = "", schema: bool = True, port: int = 0
    ) -> None:
        self.latency_s, self.script, self.key, self.schema, self.port = latency_s, script, key, schema, port
        self.requests: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.times: list[float] = []
        self.keys: Counter[str] = Counter()
        self.flying = self.most_flying = 0
        self._sockets: set[Any] = set()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loopback", daemon=True)

    @property
    def url(self) -> str:
        """What a model's table says as url."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def connections(self) -> int:
        """How many connections were opened for requests."""
        return len(self._sockets)

    def __enter__(self) -> Loopback:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._generate)
        app.router.add_post("/v1/responses", self._generate)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=1024)
        self._loop.run_until_complete(site.start())
        self.port = runner.addresses[0][1]
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _models(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            return _error(401, "wrong key")
        return web.json_response({"data": [{"id": "hash"}, {"id": FAKE_VLM}]})

    def _allowed(self, request: web.Request) -> bool:
        return not self.key or request.headers.get("Authorization") == f"Bearer {self.key}"

    # -- one request -------------------------------------------------------------------------------
    async def _generate(self, request: web.Request) -> web.StreamResponse:
        if not self._allowed(request):
            return _error(401, "wrong key")
        body: dict[str, Any] = msgspec.json.decode(await request.read())
        said = self._line(self._saw(request, body), body)
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            await asyncio.sleep(self.latency_s + said.wait_s)
        finally:
            self.flying -= 1
        if said.status != 200 and said.raw is None:
            return _error(said.status, f"scripted status {said.status}", said.headers)
        if body.get("stream") and said.raw is None:
            return await self._stream(request, body, said)
        raw = said.raw if said.raw is not None else msgspec.json.encode(self._whole(request, body, said))
        if said.cut is None:
            headers = {"Content-Type": "application/json", **said.headers}
            return web.Response(body=raw, status=said.status, headers=headers)
        answer = web.StreamResponse(headers={"Content-Length": str(len(raw)), "Content-Type": "application/json"})
        return await self._send(request, answer, [raw[: int(len(raw) * said.cut)]], "abort")

    def _saw(self, request: web.Request, body: dict[str, Any]) -> int:
        """Note a request; give its number."""
        self.requests.append(body)
        self.paths.append(request.path)
        self.times.append(self._loop.time())
        self.keys[request.headers.get("Idempotency-Key", "")] += 1
        self._sockets.add(request.transport.get_extra_info("peername") if request.transport else None)
        return len(self.requests) - 1

    def _line(self, number: int, body: Mapping[str, Any]) -> Said:
        """What the script has for this request."""
        if callable(self.script):
            line = self.script(number, body)
        else:
            line = self.script[number] if self.script and number < len(self.script) else None
        if line == "disconnect":
            return Said(raw=b"", cut=0.0)
        if isinstance(line, str):
            return Said(text=line)
        if isinstance(line, int):
            return Said(status=line)
        if isinstance(line, Mapping):
            return Said(raw=msgspec.json.encode(line))
        return line or Said()

    def _whole(self, request: web.Request, body: Mapping[str, Any], said: Said) -> dict[str, Any]:
        words: str | Sequence[ToolCall] = said.tool_calls or (
            answer_to(body, self.schema) if said.text is None else said.text
        )
        make = response if request.path.endswith("/responses") else completion
        return make(body, words, said.usage)

    async def _stream(self, request: web.Request, body: Mapping[str, Any], said: Said) -> web.StreamResponse:
        events = pieces(self._whole(request, body, said))
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", **said.headers})
        if said.cut is None:
            return await self._send(request, answer, events, "close")
        return await self._send(request, answer, events[: int(said.cut)], said.end)

    async def _send(
        self, request: web.Request, answer: web.StreamResponse, parts: Sequence[bytes], end: str
    ) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None, "a live request has a transport"
        if parts != [b""]:
            await answer.prepare(request)
            for part in parts:
                await answer.write(part)
        if end == "stall":
            await asyncio.sleep(3600)
        if end == "abort":
            await asyncio.sleep(0.01)  # what was written goes out first
            transport.abort()
        return answer

    async def _embed(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read())
        vectors = [[float(len(t)), float(t.count(" ")), 1.0] for t in body["input"]]
        return web.json_response({"data": [{"index": i, "embedding": v} for i, v in enumerate(vectors)]})


def _error(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": text}}, status=status, headers=headers or {"Retry-After": "0"})
