"""Any OpenAI-compatible endpoint: chat completions and embeddings over a pooled asyncio client."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp
import msgspec

from crossplay.kernel.seeds import key as hash_key
from crossplay.kernel.seeds import uniform
from crossplay.kernel.types import CrossplayError, Usage
from crossplay.models.local import read_logprobs
from crossplay.models.options import read_options
from crossplay.models.prices import Price
from crossplay.models.rate import Rate
from crossplay.models.types import Capabilities, ModelDown, ModelError, Picture, Reply, Request

__all__ = ["HttpBackend"]

_RETRY_STATUS = {
    408: "timeout",
    409: "server",
    429: "rate",
    500: "server",
    502: "server",
    503: "server",
    504: "timeout",
}
_MAY_BE_PAID = {"timeout", "disconnect", "malformed"}
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class HttpOptions(msgspec.Struct, forbid_unknown_fields=True):
    """url: up to and without /chat/completions. model: the name it is served under. key_env: the
    environment variable that holds the key. attempts: sendings of one call at most; base_s: first
    pause between them, doubled each time up to 30 s. rpm, tpm: requests and tokens a minute.
    paid = false: no money is paid for it. price: USD per million tokens, over the price table.
    max_tokens_field: some endpoints want "max_completion_tokens". extra: further fields of each
    request, part of its identity.
    """

    url: str
    model: str = ""
    key_env: str = ""
    timeout_s: float = 120.0
    connect_s: float = 5.0
    attempts: int = 4
    base_s: float = 0.5
    concurrency: int = 32
    repeats: bool = False
    rpm: float | None = None
    tpm: float | None = None
    paid: bool = True
    price: dict[str, Any] | None = None
    max_tokens_field: str = "max_tokens"
    capabilities: Capabilities = Capabilities()
    extra: dict[str, Any] = {}


class HttpBackend:
    """A chat endpoint. Failed sendings are repeated, a bounded number of times, with one
    idempotency key; what may have been paid without an answer is counted as doubtful.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = o = read_options(HttpOptions, options, f"models.{name}")
        parts = urlsplit(o.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise CrossplayError(f'models.{name}: url "{o.url}" is not like http://host:port/v1 (keys go to key_env)')
        if o.attempts < 1 or o.concurrency < 1 or o.timeout_s <= 0:
            raise CrossplayError(f"models.{name}: attempts, concurrency and timeout_s must be positive")
        self.served = o.model or name
        self.capabilities, self.concurrency = o.capabilities, o.concurrency
        self.price = Price.of(o.price, name)
        self.priced = self.served if o.paid else ""
        self.repeats = o.repeats
        self._url = o.url.rstrip("/")
        self._proxy = parts.hostname not in _LOOPBACK  # proxies of the environment break local servers
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
        self._rate = Rate(o.rpm, o.tpm)

    def identity(self) -> dict[str, Any]:
        """The served name and what is added to each request: no address, no key."""
        extra = {"extra": self.options.extra} if self.options.extra else {}
        return {"backend": "http", "model": self.served, **extra}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be stored: the key's value."""
        value = os.environ.get(self.options.key_env, "") if self.options.key_env else ""
        return (value,) if len(value) >= 8 else ()

    def _headers(self) -> dict[str, str]:
        if not self.options.key_env:
            return {}
        value = os.environ.get(self.options.key_env)
        if not value:
            raise ModelDown(f"models.{self.name}: the environment variable {self.options.key_env} holds no key")
        return {"Authorization": f"Bearer {value}"}

    def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        session = self._sessions.get(loop)
        if session is None or session.closed:
            for old, its in list(self._sessions.items()):
                if old.is_closed():
                    _discard(its)
                    del self._sessions[old]
            o = self.options
            session = self._sessions[loop] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=o.concurrency),
                timeout=aiohttp.ClientTimeout(total=o.timeout_s, sock_connect=o.connect_s),
                trust_env=self._proxy,
            )
        return session

    # -- the two methods ---------------------------------------------------------------------------
    async def generate(self, requests: Sequence[Request], keys: Sequence[str] = ()) -> list[Reply | ModelError]:
        """All at once, as far as `concurrency` allows; errors stand in their request's place."""
        padded = [*keys, *[""] * (len(requests) - len(keys))]
        return list(await asyncio.gather(*(self._one(r, k) for r, k in zip(requests, padded, strict=True))))

    async def _one(self, request: Request, key: str) -> Reply | ModelError:
        try:
            body = self._body(request)
            answer, attempts, doubtful = await self._post("/chat/completions", body, key, sum(request.bound()))
            reply = _reply(answer, request)
        except ModelError as error:
            return error
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            return ModelError(f'model "{self.name}": the answer is not a chat completion ({error!r})', "malformed")
        reply.attempts, reply.doubtful = attempts, doubtful
        return reply

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Vectors from /embeddings."""
        bound = sum(len(t.encode()) for t in texts)
        answer, *_ = await self._post("/embeddings", {"model": self.served, "input": list(texts)}, "", bound)
        return [row["embedding"] for row in sorted(answer["data"], key=lambda d: d["index"])]

    def _body(self, request: Request) -> dict[str, Any]:
        o, can = self.options, self.capabilities
        if any(m.images for m in request.messages) and not can.images:
            raise ModelError(
                f'model "{self.name}" is not said to read images; set capabilities.images = true', "request"
            )
        body: dict[str, Any] = {
            "model": self.served,
            "messages": [_message(m.role, m.text, m.images) for m in request.messages],
            o.max_tokens_field: request.max_tokens,
            "temperature": request.temperature,
        }
        if request.top_p < 1:
            body["top_p"] = request.top_p
        if request.stop:
            body["stop"] = list(request.stop)
        if request.seed is not None and can.seed:
            body["seed"] = request.seed
        if request.grammar is not None and can.grammar:
            body["grammar"] = request.grammar
        if request.json_schema is not None and can.json_schema:
            schema = {"name": "answer", "strict": True, "schema": request.json_schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.top_logprobs and can.logprobs:
            body |= {"logprobs": True, "top_logprobs": request.top_logprobs}
        return body | o.extra

    # -- sending -----------------------------------------------------------------------------------
    async def _post(self, path: str, body: Mapping[str, Any], key: str, tokens: int) -> tuple[dict[str, Any], int, int]:
        """(answer, attempts, doubtful); raises ModelError or ModelDown when the last attempt failed."""
        raw = msgspec.json.encode(body)
        headers = {"Content-Type": "application/json", **self._headers()}
        if key:
            headers["Idempotency-Key"] = key
        doubtful = 0
        for attempt in range(1, self.options.attempts + 1):
            await self._rate.take(tokens)
            answer, problem, text, pause = await self._try(path, raw, headers)
            if answer is not None:
                return answer, attempt, doubtful
            doubtful += problem in _MAY_BE_PAID
            if problem == "refused":
                raise ModelError(f'model "{self.name}": {text}', "request", attempt, doubtful)
            if problem == "down":
                raise ModelDown(f'model "{self.name}" at {self._url}: {text}', doubtful)
            if attempt < self.options.attempts:
                await asyncio.sleep(max(pause, self._backoff(key, attempt)))
        if problem == "connect":
            raise ModelDown(
                f'model "{self.name}": no answer from {self._url} ({text}). Is the server running?', doubtful
            )
        kind = "timeout" if problem == "timeout" else "rate" if problem == "rate" else "server"
        kind = "malformed" if problem == "malformed" else kind
        raise ModelError(f'model "{self.name}": {text}', kind, self.options.attempts, doubtful)

    def _backoff(self, key: str, attempt: int) -> float:
        """Seconds to wait: doubled each time, spread by a hash of the key so that calls do not meet again."""
        return min(30.0, self.options.base_s * 2 ** (attempt - 1)) * (
            0.5 + uniform(hash_key("retry", key), attempt) / 2
        )

    async def _try(
        self, path: str, raw: bytes, headers: Mapping[str, str]
    ) -> tuple[dict[str, Any] | None, str, str, float]:
        """One sending: (answer or None, problem, text of it, seconds that the endpoint asks to wait)."""
        try:
            async with self._session().post(self._url + path, data=raw, headers=headers) as response:
                content = await response.read()
                status, after = response.status, response.headers.get("Retry-After", "")
        except aiohttp.ClientConnectorError as error:
            return None, "connect", str(error.os_error or error), 0.0
        except (TimeoutError, aiohttp.ServerTimeoutError) as error:
            connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
            return None, "connect" if connecting else "timeout", f"no answer in {self.options.timeout_s:g} s", 0.0
        except aiohttp.ClientError as error:
            return None, "disconnect", f"the connection broke ({type(error).__name__})", 0.0
        if status == 200:
            try:
                return msgspec.json.decode(content, type=dict[str, Any]), "", "", 0.0
            except msgspec.MsgspecError:
                return None, "malformed", f"the answer is not JSON: {content[:80]!r}", 0.0
        text = _error_text(status, content)
        if status in _RETRY_STATUS:
            pause = float(after) if after.replace(".", "", 1).isdigit() else 0.0
            return None, _RETRY_STATUS[status], text, min(pause, 60.0)
        if status in (401, 403):
            hint = f"; the key is read from {self.options.key_env}" if self.options.key_env else "; set key_env"
            return None, "down", text + hint, 0.0
        return None, "down" if status == 404 else "refused", text, 0.0

    async def ready(self) -> None:
        """The endpoint answers at /models (what it says is not looked at: not all have it)."""
        try:
            async with self._session().get(self._url + "/models", headers=self._headers()) as response:
                if response.status in (401, 403):
                    raise ModelDown(f'model "{self.name}" at {self._url}: key rejected ({response.status})')
        except (aiohttp.ClientError, TimeoutError) as error:
            text = str(error) or type(error).__name__
            raise ModelDown(
                f'model "{self.name}": no answer from {self._url} ({text}). Is the server running?'
            ) from None

    async def aclose(self) -> None:
        """Close the connections of this event loop; those of ended loops are dropped."""
        for loop, session in list(self._sessions.items()):
            if loop is asyncio.get_running_loop():
                await session.close()
            else:
                _discard(session)
        self._sessions.clear()


def _discard(session: aiohttp.ClientSession) -> None:
    """Free a session whose event loop has ended, so that it cannot be closed the usual way."""
    connector = session.connector
    session.detach()
    if connector is not None:
        closing: Any = connector.close().__await__()
        with contextlib.suppress(StopIteration, RuntimeError):
            next(closing)  # with its loop gone there is nothing to wait for
        closing.close()


def _message(role: str, text: str, images: Sequence[Picture]) -> dict[str, Any]:
    if not images:
        return {"role": role, "content": text}
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    for image in images:
        url = "data:image/png;base64," + base64.b64encode(image.png()).decode()
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return {"role": role, "content": parts}


def _error_text(status: int, content: bytes) -> str:
    """The endpoint's own words, cut to one line."""
    try:
        error = msgspec.json.decode(content)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (msgspec.MsgspecError, KeyError, TypeError):
        text = content.decode(errors="replace")
    return f"status {status}: {' '.join(text.split())[:200]}"


def _reply(answer: dict[str, Any], request: Request) -> Reply:
    choice = answer["choices"][0]
    content = choice["message"].get("content") or ""
    if not isinstance(content, str):  # some endpoints answer in parts
        content = "".join(part.get("text", "") for part in content)
    usage = answer.get("usage")
    if usage:
        tok_in, tok_out = int(usage["prompt_tokens"]), int(usage.get("completion_tokens", 0))
        cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
    else:
        (tok_in, tok_out), cached = request.bound(), 0
    served = " ".join(str(answer[k]) for k in ("model", "system_fingerprint") if answer.get(k))
    return Reply(
        text=content,
        finish=choice.get("finish_reason") or "",
        usage=Usage(1, tok_in, tok_out),
        cached=cached,
        served=served,
        logprobs=read_logprobs(choice),
        estimated=not usage,
    )
