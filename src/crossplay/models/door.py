"""The door to models: what agents get. Cassette, budget, sending and notes are behind it."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import msgspec

from crossplay.kernel.obs import Observation
from crossplay.kernel.registry import entries, load, nearest
from crossplay.kernel.types import CrossplayError, Stop, Usage, pack, unpack
from crossplay.models._calls import (
    NOTED,
    Asked,
    Done,
    Kind,
    ToolError,
    address_of,
    bound_of,
    given,
    missing,
    note_counts,
    redacted,
)
from crossplay.models._flights import Flights
from crossplay.models.budget import Budget
from crossplay.models.prices import Price, price_of
from crossplay.models.types import Backend, Capabilities, ModelError, Reply, Request, ToolCall
from crossplay.records.cassette import Call, Cassette, Commit, Missing, Row, call_key

__all__ = ["Door", "Model", "ToolError", "given", "make_backend"]

_encode = msgspec.msgpack.encode
_reply = msgspec.msgpack.Decoder(Reply)


def make_backend(name: str, options: Mapping[str, Any] | None = None) -> Backend:
    """A backend by the table of a model, e.g. {"backend": "http", "url": ..., "model": ...}.

    Without a table, the name itself may say it: a model of the catalogue ("smollm2-135m"), an
    address ("http://host:port/v1#model"), or "scripted".
    """
    from crossplay.models.catalog import known, named

    if options is None:
        if name.startswith(("http://", "https://")):
            url, _, served = name.partition("#")
            options = {"backend": "http", "url": url, "model": served, "paid": False}
        elif name.partition(":")[0] == "scripted":
            options = {"backend": "scripted"}
        elif named(name) is not None:
            options = {"backend": "local"}
        else:
            raise CrossplayError(f'unknown model "{name}".{nearest(name, [*known(), "scripted"])}')
    rest = {k: v for k, v in options.items() if k != "backend"}
    kind = options.get("backend")
    if kind is None:
        raise CrossplayError(f'models.{name}: "backend" is missing; it is one of {", ".join(entries("models"))}')
    backend: Backend = load("models", str(kind), "backend")(name, **rest)
    return backend


class Door:
    """Models by name, behind one cassette and one budget.

    models: name -> table (see `make_backend`) or a backend. cassette: None keeps calls in memory.
    redact: applied to every text before it is hashed, stored or used; keys of endpoints are always
    removed. One door per run; it may be used from several event loops, one after the other.
    """

    def __init__(
        self,
        models: Mapping[str, Mapping[str, Any] | Backend] | None = None,
        cassette: Cassette | None = None,
        budget: Budget | None = None,
        redact: Callable[[str], str] | None = None,
    ) -> None:
        self._tables = dict(models or {})
        self.cassette = Cassette(None) if cassette is None else cassette  # an empty one is false
        self.budget = budget
        self._user_redact = redact
        self._models: dict[str, Model] = {}
        self._flights = Flights(self.cassette, budget)

    def model(self, name: str) -> Model:
        """The model of that name; the same object each time."""
        if name not in self._models:
            table = self._tables.get(name)
            if table is None and self._tables and "/" not in name:
                try:
                    backend = make_backend(name)
                except CrossplayError:
                    hint = nearest(name, self._tables)
                    raise CrossplayError(f'unknown model "{name}".{hint}') from None
            else:
                backend = make_backend(name, table) if table is None or isinstance(table, Mapping) else table
            self._models[name] = Model(self, backend)
            self._charge_past(self._models[name])
        return self._models[name]

    def _charge_past(self, model: Model) -> None:
        """What a killed run has spent counts against the budget of the one that resumes it."""
        if self.budget is None:
            return
        if self.budget.money is not None:
            model.price()  # an unknown price must be heard before the first call
        price = model.price() if self.budget.money is not None else None
        past = self.cassette.spent().get(model.name)
        if past is not None:
            self.budget.charge(past, price)
        for row in self.cassette.doubtful():  # calls are counted above; of tokens, what they took at most
            if row.call.model == model.name:
                lost = row.attempts if row.status == "intent" else row.doubtful
                tok_in, tok_out = bound_of(row.call.request)
                self.budget.charge(Usage(0, lost * tok_in, lost * tok_out), price)

    async def ready(self, names: Sequence[str]) -> None:
        """Raise `ModelDown` for the first of these models that cannot be asked (record mode only)."""
        if self.cassette.mode in ("strict", "lenient"):  # which may find all that it needs
            return
        for name in names:
            await self.model(name).backend.ready()

    async def drain(self) -> None:
        """Wait for calls whose agents have stopped waiting, so that paid answers are kept."""
        await self._flights.drain()

    async def aclose(self) -> None:
        """Drain, free the backends, close the cassette."""
        await self.drain()
        for model in self._models.values():
            await model.backend.aclose()
        self.cassette.close()

    def redact(self, text: str) -> str:
        """The text without keys, as hashed and stored."""
        return self.redactor()(text)

    def redactor(self) -> Callable[[str], str]:
        """What removes keys from texts; `str` where there is nothing to remove."""
        own = self._user_redact
        secrets: list[str] = []
        for model in self._models.values():
            secrets += getattr(model.backend, "secrets", ())
        if not secrets:
            return own or str

        def clean(text: str) -> str:
            for secret in secrets:
                text = text.replace(secret, "[redacted]")
            return own(text) if own else text

        return clean

    # -- one call ----------------------------------------------------------------------------------
    def look(self, who: str, body: bytes, at: Observation) -> tuple[Call, Row | None]:
        """A call and its settled row, or None where it has to be made; raises `Missing` where it may not.

        who: the model's name, or tool:NAME. body: canonical bytes. Counts the call on the handle.
        """
        digest = hashlib.blake2b(body, digest_size=16).digest()
        address = address_of(at)
        k = at.identical(digest)
        call = Call(call_key(digest, address, k), digest, who, address, k, body)
        row = self.cassette.find(call)
        if row is not None and row.status != "intent":
            return call, row
        if not self.cassette.live(address):
            raise Missing(missing(self.cassette, call))
        return call, None

    def fetch(self, asked: Asked, at: Observation) -> Awaitable[Row]:
        """The settled row of a call that `look` did not find: borrowed where the cassette's mode says so,
        else sent and recorded now.
        """
        donor = self.cassette.content(asked.call, asked.sampled)
        if donor is not None and donor.reply is not None:
            return Commit(None, (), self.cassette.share(asked.call, asked.bare(donor.reply), "hit-"))
        return self._flights.row(asked, at)

    # -- tools and people --------------------------------------------------------------------------
    async def tool(
        self, name: str, arguments: Any, at: Observation, run: Callable[[], Any], *, repeatable: bool = False
    ) -> Any:
        """The result of a tool, through the cassette as a model's answer goes: the intent is committed
        before it runs, the result before it is used, and replay returns it without running anything.

        arguments, result: what `pack` stores. run() gives the result, or an awaitable of it. A tool in
        flight at a kill is run again, and counted as `maybe_done_twice` unless it is repeatable.
        Raises `ToolError` when it failed, now or then.
        """
        return await self._outside("tool", name, arguments, at, run, repeatable)

    async def person(self, name: str, question: Any, at: Observation, ask: Callable[[], Any]) -> Any:
        """What a person answers, kept and replayed as the result of a tool is. A question that was open
        at a kill is asked again, and counted as `maybe_asked_twice`.
        """
        return await self._outside("person", name, question, at, ask, False)

    async def _outside(
        self, kind: Kind, name: str, arguments: Any, at: Observation, run: Callable[[], Any], repeatable: bool
    ) -> Any:
        who, redact = f"{kind}:{name}", self.redact
        call, row = self.look(who, pack({kind: name, "arguments": redacted(arguments, redact)}), at)

        async def send(_: str) -> Done:
            try:
                result = run()
                if inspect.isawaitable(result):
                    result = await result
                return Done(pack(redacted(result, redact)))
            except Stop:
                raise
            except Exception as error:
                return Done(pack([type(error).__name__, redact(str(error))]), failed=True)

        if row is None:
            asked = Asked(call, kind, send, sampled=not repeatable, harmless=repeatable)
            row = await self.fetch(asked, at)
        note_counts(row, at, kind)
        assert row.reply is not None, "a settled row has a reply"
        data = {kind: name, "call": row.call.key.hex()}
        if row.status == "error":
            error, text = unpack(row.reply)
            at.note(NOTED[kind], {**data, "error": error, "text": text})
            raise ToolError(f'{kind} "{name}": {text or error}', error)
        result = unpack(row.reply)
        at.note(NOTED[kind], {**data, "result": result})
        return result


class Model:
    """One model, as agents see it."""

    def __init__(self, door: Door, backend: Backend) -> None:
        self._door = door
        self.backend = backend
        self.name = backend.name
        self._identity: msgspec.Raw | None = None
        self._gate = (backend.name, backend.concurrency)
        self._priced = self.price  # bound once, not with every call

    @property
    def capabilities(self) -> Capabilities:
        """What it can be asked for beyond text."""
        return self.backend.capabilities

    @property
    def local(self) -> bool:
        """Whether it runs in this process."""
        return bool(getattr(self.backend, "local", False))

    def identity(self) -> dict[str, Any]:
        """What tells it from other models in a record."""
        return self.backend.identity()

    def price(self) -> Price | None:
        """USD per million tokens; None where no money is paid; an error where the price is unknown."""
        if not self.backend.priced:
            return None
        given: Price | None = getattr(self.backend, "price", None)
        return given or price_of(self.backend.priced)

    async def generate(self, requests: Sequence[Request], at: Observation) -> list[Reply]:
        """One reply per request, asked concurrently, noted on the handle in order.

        Raises ModelError (a call failed for good), or `Stop`: ModelDown, BudgetSpent, Missing.
        """
        if len(requests) == 1:
            only = self._look(requests[0], at)
            if isinstance(only, Missing):
                raise only
            return [self._use(await self._door.fetch(only, at) if isinstance(only, Asked) else only, at)]
        return await self._several(requests, at)

    async def _several(self, requests: Sequence[Request], at: Observation) -> list[Reply]:
        found: list[Any] = [self._look(request, at) for request in requests]
        sent = [f for f in found if isinstance(f, Asked)]
        if sent:
            settled = iter(await asyncio.gather(*(self._door.fetch(f, at) for f in sent), return_exceptions=True))
            found = [next(settled) if isinstance(f, Asked) else f for f in found]
        # Notes come in the order of the requests, whatever order the answers came in.
        replies: list[Reply] = []
        failed: BaseException | None = None
        for row in found:
            try:
                if isinstance(row, BaseException):
                    raise row
                replies.append(self._use(row, at))
            except (ModelError, Stop) as error:
                failed = failed if isinstance(failed, Stop) else error
        if failed is not None:
            raise failed
        return replies

    def _look(self, request: Request, at: Observation) -> Row | Asked | Missing:
        """The settled row of a request, how to ask it, or why it may not be asked."""
        plain = request.canonical({}, self._door.redactor())
        plain["model"] = self._packed_identity()
        try:
            call, row = self._door.look(self.name, pack(plain), at)
        except Missing as error:
            return error
        if row is not None:
            return row

        sampled = request.temperature > 0
        send = partial(self._send, request)
        return self._asked(call, send, request.bound(), sampled, not sampled and self.backend.repeats)

    async def _send(self, request: Request, idempotency: str) -> Done:
        return self._done((await self.backend.generate([request], [idempotency]))[0])

    def _asked(
        self,
        call: Call,
        send: Callable[[str], Awaitable[Done]],
        bound: tuple[int, int],
        sampled: bool = False,
        same: bool = False,
    ) -> Asked:
        return Asked(call, "model", send, bound, self._gate, self._priced, sampled, same, bare=_bare)

    def _packed_identity(self) -> msgspec.Raw:
        """The identity as it stands in a canonical request; packed once."""
        if self._identity is None:
            self._identity = msgspec.Raw(pack(self.backend.identity()))
        return self._identity

    def _done(self, result: Reply | ModelError) -> Done:
        """An answer of the backend as the cassette keeps it."""
        redact = self._door.redactor()
        if isinstance(result, ModelError):
            error = _encode([result.kind, redact(str(result))])
            return Done(error, True, Usage(calls=result.attempts), 0, result.attempts, result.doubtful)
        if redact is not str:
            result.text = redact(result.text)
            result.tool_calls = [ToolCall(c.id, c.name, redact(c.arguments)) for c in result.tool_calls]
        return Done(_encode(result), False, result.usage, result.cached, result.attempts, result.doubtful)

    def _use(self, row: Row, at: Observation) -> Reply:
        """Note a settled call on the handle; give its reply or raise its error."""
        if row.attempts != 1 or row.doubtful:
            note_counts(row, at, "model")
        data = {"model": self.name, "call": row.call.key.hex()}
        if row.status == "error":
            self._fail(row, data, at)
        assert row.reply is not None, "a settled row has a reply"
        reply = _reply.decode(row.reply)
        if reply.estimated:
            at.count("usage_estimated")
        if reply.cached:
            at.count("tok_cached", reply.cached)
            if at.path:  # inside a team, which may be of several models
                at.count(f"tok_cached:{self.name}", reply.cached)
        if reply.doubt:
            for word in reply.doubt.split():
                at.count(f"{word}_doubted")
        data["text"] = reply.text
        data["finish"] = reply.finish
        at.note("model", data, row.usage)
        return reply

    def _fail(self, row: Row, data: dict[str, Any], at: Observation) -> NoReturn:
        """Note a call that failed, and raise its error."""
        kind, text = unpack(row.reply or b"")
        at.note("model", {**data, "error": kind, "text": text}, row.usage)
        raise ModelError(text, kind, row.attempts, row.doubtful)

    async def embed(self, texts: Sequence[str], at: Observation) -> list[list[float]]:
        """One vector per text, through the same cassette and budget."""
        redacted_texts = [self._door.redact(t) for t in texts]
        body = pack({"model": self._packed_identity(), "embed": redacted_texts})
        bound = (sum(len(t.encode()) + 16 for t in texts), 0)

        async def send(_: str) -> Done:
            try:
                vectors = await self.backend.embed(texts)
            except ModelError as error:
                return self._done(error)
            packed = msgspec.json.encode(vectors).decode()
            return self._done(Reply(text=packed, finish="embedding", usage=Usage(1, bound[0]), estimated=True))

        call, row = self._door.look(self.name, body, at)
        if row is None:
            row = await self._door.fetch(self._asked(call, send, bound), at)
        note_counts(row, at, "model")
        if row.status == "error":
            self._fail(row, {"model": self.name, "call": row.call.key.hex()}, at)
        assert row.reply is not None, "a settled row has a reply"
        at.note("model", {"model": self.name, "call": row.call.key.hex(), "embedded": len(texts)}, row.usage)
        return msgspec.json.decode(_reply.decode(row.reply).text, type=list[list[float]])


def _bare(reply: bytes) -> bytes:
    """A reply as a call keeps it that did not spend for it."""
    found = _reply.decode(reply)
    found.usage, found.cached = Usage(), 0
    return _encode(found)
