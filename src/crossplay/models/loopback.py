"""An OpenAI-compatible endpoint on loopback, for tests: slow, failing or wrong on demand.

Its default model answers by a hash of the request. The model `fake-vlm` decodes the picture it is
sent and answers from its pixels; it exists to exercise the path of pictures and says nothing
about vision-language models.
"""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from aiohttp import web

from crossplay.kernel.seeds import key, pick
from crossplay.models.scripted import labels_in

__all__ = ["FAKE_VLM", "Loopback", "brightest_band", "picture_of"]

FAKE_VLM = "fake-vlm"
Script = Callable[[int, Mapping[str, Any]], Any]
"""script(number of the request, body) -> None (answer normally), a text, "disconnect" (hang up), a
status code, or a dict to send as it is."""


class Loopback:
    """A server in a thread of its own; use it as a context manager.

    latency_s: of every answer. script: see `Script`. key: required as bearer token when given.
    schema: honour response_format. What it saw: requests (bodies), keys (idempotency), most_flying.
    """

    def __init__(
        self, latency_s: float = 0.0, script: Script | None = None, key: str = "", schema: bool = True, port: int = 0
    ) -> None:
        self.latency_s, self.script, self.key, self.schema, self.port = latency_s, script, key, schema, port
        self.requests: list[dict[str, Any]] = []
        self.keys: Counter[str] = Counter()
        self.flying = self.most_flying = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loopback", daemon=True)

    @property
    def url(self) -> str:
        """What a model's table says as url."""
        return f"http://127.0.0.1:{self.port}/v1"

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
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", self.port)
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

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        if not self._allowed(request):
            return _error(401, "wrong key")
        body: dict[str, Any] = msgspec.json.decode(await request.read())
        number = len(self.requests)
        self.requests.append(body)
        self.keys[request.headers.get("Idempotency-Key", "")] += 1
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            await asyncio.sleep(self.latency_s)
        finally:
            self.flying -= 1
        said = self.script(number, body) if self.script else None
        if said == "disconnect":
            assert request.transport is not None, "a live request has a transport"
            request.transport.abort()
            return web.Response()
        if isinstance(said, int):
            return _error(said, f"scripted status {said}")
        if isinstance(said, dict):
            return web.json_response(said)
        text = said if isinstance(said, str) else self._answer(body)
        return web.json_response(_completion(body, text))

    def _answer(self, body: Mapping[str, Any]) -> str:
        contents = [m["content"] for m in body["messages"]]
        texts = [c if isinstance(c, str) else "\n".join(p["text"] for p in c if p["type"] == "text") for c in contents]
        known = labels_in(texts) or ("ok",)
        if body["model"] == FAKE_VLM:
            choice = known[brightest_band(picture_of(next(c for c in contents if not isinstance(c, str))), len(known))]
        else:
            choice = known[pick(key(msgspec.json.encode(body, order="deterministic")), len(known), 0)]
        wanted = body.get("response_format", {}).get("json_schema", {}).get("schema", {}) if self.schema else {}
        if "properties" in wanted:
            return msgspec.json.encode({n: choice if n == "action" else "ok" for n in wanted["properties"]}).decode()
        return choice

    async def _embed(self, request: web.Request) -> web.Response:
        body = msgspec.json.decode(await request.read())
        vectors = [[float(len(t)), float(t.count(" ")), 1.0] for t in body["input"]]
        return web.json_response({"data": [{"index": i, "embedding": v} for i, v in enumerate(vectors)]})


def picture_of(content: Sequence[Mapping[str, Any]] | str) -> np.ndarray:
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


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": {"message": text}}, status=status, headers={"Retry-After": "0"})


def _completion(body: Mapping[str, Any], text: str) -> dict[str, Any]:
    tokens = sum(len(str(m["content"])) for m in body["messages"]) // 4
    usage = {"prompt_tokens": tokens, "completion_tokens": max(1, len(text) // 4)}
    message = {"role": "assistant", "content": text}
    return {
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }
