"""Any OpenAI-compatible endpoint: chat completions or responses, plain or streamed, and embeddings."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec

from crossplay.kernel.seeds import key as hash_key
from crossplay.kernel.seeds import uniform
from crossplay.kernel.types import CrossplayError
from crossplay.models.answer import Failed, reply_of
from crossplay.models.options import read_options
from crossplay.models.prices import Price
from crossplay.models.rate import Throttle
from crossplay.models.transport import Sent, Transport, failed
from crossplay.models.types import Capabilities, ModelDown, ModelError, Reply, Request
from crossplay.models.wire_chat import ChatStream, chat_body, read_chat
from crossplay.models.wire_responses import ResponseStream, read_response, responses_body
from crossplay.wire import is_loopback

__all__ = ["HttpBackend"]

_MAY_BE_PAID = {"timeout", "disconnect", "malformed"}
_PATHS = {"chat": "/chat/completions", "responses": "/responses"}
_json = msgspec.json.encode


class HttpOptions(msgspec.Struct, forbid_unknown_fields=True):
    """url: up to and without /chat/completions. model: the name it is served under. key_env: the
    environment variable that holds the key. api: the dialect. stream: answers come in pieces.
    timeout_s: of one sending; connect_s: of its connection; attempts: sendings of one call at most;
    deadline_s: of all of them together, pauses included, counted from the first; base_s: first
    pause between them, doubled each time up to 30 s. concurrency: calls in flight at most, fewer
    while the endpoint answers 429. rpm, tpm: requests and tokens a minute. repeats: equal greedy
    requests get equal answers. paid = false: no money is paid for it. price: USD per million tokens,
    over the price table. max_tokens_field: some endpoints want "max_completion_tokens".
    schema_style: the field in which a chat endpoint expects a JSON schema. omit: fields of a request
    that the endpoint refuses, such as "temperature". extra: further fields of each request. Both are
    part of its identity.
    """

    url: str
    model: str = ""
    key_env: str = ""
    api: Literal["chat", "responses"] = "chat"
    stream: bool = False
    timeout_s: float = 120.0
    connect_s: float = 5.0
    deadline_s: float = 600.0
    attempts: int = 4
    base_s: float = 0.5
    concurrency: int = 32
    repeats: bool = False
    rpm: float | None = None
    tpm: float | None = None
    paid: bool = True
    price: dict[str, Any] | None = None
    max_tokens_field: str = ""
    schema_style: Literal["response_format", "guided_json", "format"] = "response_format"
    omit: tuple[str, ...] = ()
    capabilities: Capabilities = Capabilities()
    extra: dict[str, Any] = {}


class HttpBackend:
    """A model behind an endpoint. Failed sendings are repeated, a bounded number of times and within a
    deadline, with one idempotency key; what may have been paid without an answer is counted as doubtful.
    """

    @staticmethod
    def plain(name: str, options: Mapping[str, Any]) -> str:
        """Why a study from elsewhere may not say this ("": it may): only endpoints of this machine, without keys."""
        url = options.get("url")
        try:
            parts = urlsplit(url) if isinstance(url, str) else None
            here = parts is not None and parts.scheme in ("http", "https") and is_loopback(parts.hostname)
        except ValueError:
            return "the address cannot be read"
        if options.get("key_env") or (parts is not None and (parts.username or parts.password)):
            return "endpoints with keys"
        return "" if here else "endpoints beyond this machine"

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = o = read_options(HttpOptions, options, f"models.{name}")
        _check(o, name)
        self.served = o.model or name
        self.capabilities, self.concurrency = o.capabilities, o.concurrency
        self.price = Price.of(o.price, name)
        self.priced = self.served if o.paid else ""
        self.repeats = o.repeats
        self._url = o.url.rstrip("/")
        self.throttle = Throttle.shared((self._url, self.served, o.key_env), o.rpm, o.tpm, o.concurrency)
        self._line: Transport | None = None

    def identity(self) -> dict[str, Any]:
        """The served name and what changes in each request: no address, no key."""
        o = self.options
        told = {"extra": o.extra, "omit": list(o.omit), "api": "" if o.api == "chat" else o.api}
        return {"backend": "http", "model": self.served, **{k: v for k, v in told.items() if v}}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be stored: the key's value."""
        value = os.environ.get(self.options.key_env, "") if self.options.key_env else ""
        return (value,) if len(value) >= 8 else ()

    def _transport(self) -> Transport:
        if self._line is None:
            o = self.options
            headers = {}
            if o.key_env:
                value = os.environ.get(o.key_env)
                if not value:
                    raise ModelDown(f"models.{self.name}: the environment variable {o.key_env} holds no key")
                headers["Authorization"] = f"Bearer {value}"
            self._line = Transport(self._url, headers, o.timeout_s, o.connect_s)
        return self._line

    # -- the two methods ---------------------------------------------------------------------------
    async def generate(self, requests: Sequence[Request], keys: Sequence[str] = ()) -> list[Reply | ModelError]:
        """All at once, as far as `concurrency` allows; errors stand in their request's place."""
        if len(requests) == 1:
            return [await self._one(requests[0], keys[0] if keys else "")]
        padded = [*keys, *[""] * (len(requests) - len(keys))]
        return list(await asyncio.gather(*map(self._one, requests, padded)))

    async def _one(self, request: Request, key: str) -> Reply | ModelError:
        bound = request.bound()
        try:
            asked = self._possible(request)
            call = _Call(self, _PATHS[self.options.api], _json(self._body(asked)), key, bound[0] + bound[1], asked)
            answer = await call.run()
        except ModelError as error:
            return error
        reply = reply_of(answer, asked, bound)
        reply.attempts, reply.doubtful = call.attempts, call.doubtful
        if self.throttle.rate.limited and not reply.estimated:
            self.throttle.rate.give_back(call.tokens - reply.usage.tok_in - reply.usage.tok_out)
        return reply

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Vectors from /embeddings."""
        raw = _json({"model": self.served, "input": list(texts)})
        vectors: list[list[float]] = await _Call(
            self, "/embeddings", raw, "", sum(len(t.encode()) for t in texts)
        ).run()
        if len(vectors) != len(texts):
            raise ModelError(f'model "{self.name}": {len(vectors)} embeddings for {len(texts)} texts', "malformed")
        return vectors

    def _body(self, request: Request) -> dict[str, Any]:
        o = self.options
        make = chat_body if o.api == "chat" else responses_body
        body = make(request, self.served, o.max_tokens_field, o.schema_style)
        if o.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}} if o.api == "chat" else {"stream": True}
        for name in o.omit:
            body.pop(name, None)
        return body | o.extra if o.extra else body

    def _possible(self, request: Request) -> Request:
        """The request without the wishes that the model is not said to fulfil; agents ask by capability.

        Raises ModelError for pictures and tools, without which it would be another question.
        """
        can = self.capabilities
        if not can.images:
            for message in request.messages:
                if message.images:
                    raise self._refuse("read images", "images")
        if request.tools and not can.tools:
            raise self._refuse("call tools", "tools")
        changes: dict[str, Any] = {}
        if request.seed is not None and not can.seed:
            changes["seed"] = None
        if request.grammar is not None and not can.grammar:
            changes["grammar"] = None
        if request.json_schema is not None and not can.json_schema:
            changes["json_schema"] = None
        if request.top_logprobs and not can.logprobs:
            changes["top_logprobs"] = 0
        return msgspec.structs.replace(request, **changes) if changes else request

    def _refuse(self, what: str, name: str) -> ModelError:
        text = f'model "{self.name}" is not said to {what}; set capabilities.{name} = true'
        return ModelError(text, "request")

    async def ready(self) -> None:
        """The endpoint answers at /models (what it says is not looked at: not all have it)."""
        try:
            status = await self._transport().status("/models")
        except (aiohttp.ClientError, OSError) as error:
            text = str(error) or type(error).__name__
            raise ModelDown(
                f'model "{self.name}": no answer from {self._url} ({text}). Is the server running?'
            ) from None
        if status in (401, 403):
            raise ModelDown(f'model "{self.name}" at {self._url}: key rejected ({status})')

    async def aclose(self) -> None:
        """Close the connections of this event loop; those of ended loops are dropped."""
        if self._line is not None:
            await self._line.aclose()


def _check(o: HttpOptions, name: str) -> None:
    parts = urlsplit(o.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise CrossplayError(f'models.{name}: url "{o.url}" is not like http://host:port/v1 (keys go to key_env)')
    if o.attempts < 1 or o.concurrency < 1 or not (o.timeout_s > 0 and o.deadline_s > 0 and o.connect_s > 0):
        raise CrossplayError(
            f"models.{name}: attempts, concurrency, timeout_s, connect_s and deadline_s must be positive"
        )
    if o.api == "responses" and (o.capabilities.grammar or o.schema_style != "response_format"):
        raise CrossplayError(
            f'models.{name}: api = "responses" takes no grammar, and a JSON schema in its own place only'
        )
    if (o.rpm is not None and not o.rpm > 0) or (o.tpm is not None and not o.tpm > 0):
        raise CrossplayError(f"models.{name}: rpm and tpm must be positive")


class _Call:
    """One call: its sendings, until an answer or the last problem. attempts, doubtful: see `Reply`."""

    __slots__ = ("_backend", "_began", "_key", "_path", "_raw", "attempts", "doubtful", "request", "tokens")

    def __init__(
        self, backend: HttpBackend, path: str, raw: bytes, key: str, tokens: int, request: Request | None = None
    ) -> None:
        self._backend, self._path, self._raw, self._key, self.tokens = backend, path, raw, key, tokens
        self.request = request
        self.attempts = self.doubtful = 0
        self._began: float | None = None

    async def run(self) -> Any:
        """The answer; raises ModelError or ModelDown when the last attempt failed or the time is over."""
        o = self._backend.options
        while True:
            answer, sent = await self._send()
            if answer is not None:
                return answer
            self.doubtful += sent.problem in _MAY_BE_PAID
            pause = max(sent.pause, self._backoff())
            last = self.attempts >= o.attempts or sent.problem in ("refused", "down")
            if last or pause >= self._left():
                raise self._error(sent, "" if last else self._too_late(sent.pause))
            await asyncio.sleep(pause)

    async def _send(self) -> tuple[Any, Sent]:
        """One sending, when its turn comes."""
        backend, limiter = self._backend, self._backend.throttle.limiter
        if backend.throttle.rate.limited:
            await backend.throttle.rate.take(self.tokens)
        entered = limiter.walk_in()
        if entered is None:
            entered = await limiter.enter()
        try:
            seconds = None if self._began is None else max(self._left(), 0.001)
            self._began = self._began or time.monotonic()
            self.attempts += 1
            if seconds is None and backend.options.deadline_s < backend.options.timeout_s:
                seconds = backend.options.deadline_s
            stream = self._stream() if backend.options.stream and self.request is not None else None
            sent = await backend._transport().post(self._path, self._raw, self._key, seconds, stream)
            answer = None
            if not sent.problem:
                answer, sent = self._read(sent, stream)
            if answer is not None:
                limiter.good()
            elif sent.problem == "rate":
                limiter.refused(entered, sent.pause)
            return answer, sent
        finally:
            limiter.leave()

    def _stream(self) -> ChatStream | ResponseStream:
        return ChatStream() if self._backend.options.api == "chat" else ResponseStream()

    def _read(self, sent: Sent, stream: ChatStream | ResponseStream | None) -> tuple[Any, Sent]:
        """(answer, how it was sent), or (None, what is wrong with it)."""
        try:
            if self.request is None:
                return _vectors(sent.content), sent
            if sent.streamed and stream is not None:
                answer = stream.answer()
            elif self._backend.options.api == "chat":
                answer = read_chat(sent.content)
            else:
                answer = read_response(sent.content)
        except Failed as error:
            return None, failed(error)
        except msgspec.ValidationError as error:
            return None, Sent(problem="malformed", text=f"the answer is not {self._what()} ({error})")
        except msgspec.DecodeError:
            return None, Sent(problem="malformed", text=f"the answer is not JSON: {sent.content[:80]!r}")
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            return None, Sent(problem="malformed", text=f"the answer is not {self._what()} ({error})")
        if self.request.stop and self._backend.options.api == "responses":
            answer.text = _cut(answer.text, self.request.stop)
        return answer, sent

    def _what(self) -> str:
        names = {"/chat/completions": "a chat completion", "/responses": "a response"}
        return names.get(self._path, "a list of embeddings")

    def _left(self) -> float:
        """Seconds until the deadline."""
        began = self._began if self._began is not None else time.monotonic()
        return began + self._backend.options.deadline_s - time.monotonic()

    def _too_late(self, asked: float) -> str:
        over = f"deadline_s = {self._backend.options.deadline_s:g} is over before it may be sent again"
        return f"; {over}" + (f" (the endpoint asks to wait {asked:g} s)" if asked else "")

    def _backoff(self) -> float:
        """Seconds to wait: doubled each time, spread by a hash of the key so that calls do not meet again."""
        spread = 0.5 + uniform(hash_key("retry", self._key), self.attempts) / 2
        return min(30.0, self._backend.options.base_s * 2 ** (self.attempts - 1)) * spread

    def _error(self, sent: Sent, late: str) -> ModelError | ModelDown:
        who = f'model "{self._backend.name}"'
        if sent.problem == "connect":
            text = f"{who}: no answer from {self._backend._url} ({sent.text}). Is the server running?"
            return ModelDown(text, self.doubtful)
        if sent.problem == "down":
            key_env = self._backend.options.key_env
            hint = f"; the key is read from {key_env}" if key_env else "; set key_env"
            hint = hint if sent.text.startswith(("status 401", "status 403")) else ""
            return ModelDown(f"{who} at {self._backend._url}: {sent.text}{hint}", self.doubtful)
        kind = "request" if sent.problem == "refused" else sent.problem
        return ModelError(f"{who}: {sent.text}{late}", kind, self.attempts, self.doubtful)


def _cut(text: str, stops: Sequence[str]) -> str:
    """The text up to the first of the stop texts."""
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


class _Vector(msgspec.Struct):
    index: int
    embedding: list[float]


class _Vectors(msgspec.Struct):
    data: list[_Vector]


_vectors_of = msgspec.json.Decoder(_Vectors).decode


def _vectors(content: bytes) -> list[list[float]]:
    return [row.embedding for row in sorted(_vectors_of(content).data, key=lambda v: v.index)]
