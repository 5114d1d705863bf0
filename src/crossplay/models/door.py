"""The door to models: what agents get. Cassette, budget, sending and notes are behind it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from crossplay.kernel.obs import Observation
from crossplay.kernel.registry import entries, load, nearest
from crossplay.kernel.types import CrossplayError, Stop, Usage, pack, unpack
from crossplay.models.budget import Budget
from crossplay.models.prices import Price, price_of
from crossplay.models.types import Backend, Capabilities, ModelDown, ModelError, Reply, Request
from crossplay.records.cassette import Address, Call, Cassette, Missing, Row, call_key

__all__ = ["Door", "Model", "make_backend"]

_encode = msgspec.msgpack.encode
_reply = msgspec.msgpack.Decoder(Reply)


def make_backend(name: str, options: Mapping[str, Any] | None = None) -> Backend:
    """A backend by the table of a model, e.g. {"backend": "http", "url": ..., "model": ...}.

    Without a table, the name itself may say it: a model of the catalogue ("smollm2-135m"), an
    address ("http://host:port/v1#model"), or "scripted".
    """
    from crossplay.models.catalog import known

    if options is None:
        if name.startswith(("http://", "https://")):
            url, _, served = name.partition("#")
            options = {"backend": "http", "url": url, "model": served, "paid": False}
        elif name.partition(":")[0] == "scripted":
            options = {"backend": "scripted"}
        elif name in known():
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
        self._gates: WeakKeyDictionary[Any, dict[str, asyncio.Semaphore]] = WeakKeyDictionary()
        self._flying: dict[bytes, asyncio.Task[Row]] = {}
        self._asking: dict[bytes, asyncio.Task[Row]] = {}  # by request: the sendings that others share

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
        past = self.cassette.spent().get(model.name)
        if past is not None:
            self.budget.charge(past, model.price() if self.budget.money is not None else None)

    async def ready(self, names: Sequence[str]) -> None:
        """Raise `ModelDown` for the first of these models that cannot be asked (record mode only)."""
        if self.cassette.mode == "strict":
            return
        for name in names:
            await self.model(name).backend.ready()

    async def drain(self) -> None:
        """Wait for calls whose agents have stopped waiting, so that paid answers are kept."""
        here = asyncio.get_running_loop()
        mine = [t for t in self._flying.values() if t.get_loop() is here]
        await asyncio.gather(*mine, return_exceptions=True)

    async def aclose(self) -> None:
        """Drain, free the backends, close the cassette."""
        await self.drain()
        for model in self._models.values():
            await model.backend.aclose()
        self.cassette.close()

    def redact(self, text: str) -> str:
        """The text without keys, as hashed and stored."""
        for model in self._models.values():
            for secret in getattr(model.backend, "secrets", ()):
                text = text.replace(secret, "[redacted]")
        return self._user_redact(text) if self._user_redact else text

    # -- one call ----------------------------------------------------------------------------------
    async def call(
        self,
        model: Model,
        body: bytes,
        at: Observation,
        send: Callable[[str], Awaitable[Any]],
        bound: tuple[int, int],
        same: bool = False,
    ) -> Row:
        """The settled row of a call: from the cassette, or sent and recorded now.

        body: canonical bytes. send(idempotency key) -> Reply or ModelError. same: the model is
        declared to answer an equal request equally, so one sending serves all (invariant 6).
        """
        digest = hashlib.blake2b(body, digest_size=16).digest()
        address = _address(at)
        k = at.identical(digest)
        call = Call(call_key(digest, address, k), digest, model.name, address, k, body)
        row = self.cassette.find(call)
        if row is not None and row.status != "intent":
            return row
        if self.cassette.mode == "strict":
            raise Missing(_missing(self.cassette, call))
        task = self._flying.get(call.key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            share = self._share if same else self._send
            task = asyncio.ensure_future(share(model, call, send, bound))
            self._flying[call.key] = task
            task.add_done_callback(lambda _: self._flying.pop(call.key, None))
            task.add_done_callback(_heard)
        try:
            # A cancelled agent leaves its call in flight: it is paid, so its answer is kept.
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            at.note("model", {"model": model.name, "call": call.key.hex(), "cut": True}, Usage(calls=1))
            raise

    async def _share(
        self, model: Model, call: Call, send: Callable[[str], Awaitable[Any]], bound: tuple[int, int]
    ) -> Row:
        """As _send; a request that was answered before, or is being answered now, is not sent again."""
        first = self._asking.get(call.digest)
        if first is None or first.get_loop() is not asyncio.get_running_loop():
            row = self.cassette.same(call.digest)
            if row is None:
                first = asyncio.ensure_future(self._send(model, call, send, bound))
                self._asking[call.digest] = first
                first.add_done_callback(lambda _: self._asking.pop(call.digest, None))
                return await first
        else:
            row = await asyncio.shield(first)
        if row.reply is None or row.status != "answered":
            return await self._send(model, call, send, bound)
        reply = _reply.decode(row.reply)
        reply.usage = Usage()
        return self.cassette.share(call, _encode(reply))

    async def _send(
        self, model: Model, call: Call, send: Callable[[str], Awaitable[Any]], bound: tuple[int, int]
    ) -> Row:
        async with self._gate(model.backend):
            price = model.price() if self.budget is not None and self.budget.money is not None else None
            ticket = self.budget.reserve(bound, price) if self.budget is not None else None
            row: Row | None = None
            usage, cached = Usage(), 0
            try:
                row = await asyncio.wrap_future(self.cassette.intend(call))
                result = await send(row.idempotency)
                if isinstance(result, ModelError):
                    usage = Usage(calls=result.attempts)
                    error = _encode([result.kind, self.redact(str(result))])
                    done = self.cassette.fail(row, error, result.attempts, result.doubtful)
                else:
                    usage, cached = result.usage, result.cached
                    result.text = self.redact(result.text)
                    done = self.cassette.answer(row, _encode(result), usage, result.attempts, result.doubtful)
                return await asyncio.wrap_future(done)
            except ModelDown as error:
                if row is not None:
                    await asyncio.wrap_future(self.cassette.withdraw(row, error.doubtful))
                raise
            finally:
                if self.budget is not None and ticket is not None:
                    self.budget.settle(ticket, usage, price, cached)

    def _gate(self, backend: Backend) -> asyncio.Semaphore:
        gates = self._gates.setdefault(asyncio.get_running_loop(), {})
        if backend.name not in gates:
            gates[backend.name] = asyncio.Semaphore(backend.concurrency)
        return gates[backend.name]


class Model:
    """One model, as agents see it."""

    def __init__(self, door: Door, backend: Backend) -> None:
        self._door = door
        self.backend = backend
        self.name = backend.name

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
            return [self._use(await self._ask(requests[0], at), at)]
        asked = await asyncio.gather(*(self._ask(r, at) for r in requests), return_exceptions=True)
        # Notes come in the order of the requests, whatever order the answers came in.
        replies: list[Reply] = []
        failed: BaseException | None = None
        for row in asked:
            try:
                if isinstance(row, BaseException):
                    raise row
                replies.append(self._use(row, at))
            except (ModelError, Stop) as error:
                failed = failed if isinstance(failed, Stop) else error
        if failed is not None:
            raise failed
        return replies

    async def _ask(self, request: Request, at: Observation) -> Row:
        body = pack(request.canonical(self.backend.identity(), self._door.redact))

        async def send(idempotency: str) -> Reply | ModelError:
            return (await self.backend.generate([request], [idempotency]))[0]

        same = request.temperature == 0 and self.backend.repeats
        return await self._door.call(self, body, at, send, request.bound(), same)

    def _use(self, row: Row, at: Observation) -> Reply:
        """Note a settled call on the handle; give its reply or raise its error."""
        if row.attempts == 0:
            at.count("shared_answers")
        if row.attempts > 1:
            at.count("retry", row.attempts - 1)
        if row.doubtful:
            at.count("maybe_paid_twice", row.doubtful)
        data = {"model": self.name, "call": row.call.key.hex()}
        assert row.reply is not None, "a settled row has a reply"
        if row.status == "error":
            kind, text = unpack(row.reply)
            at.note("model", {**data, "error": kind, "text": text}, row.usage)
            raise ModelError(text, kind, row.attempts, row.doubtful)
        reply = _reply.decode(row.reply)
        if reply.estimated:
            at.count("usage_estimated")
        at.note("model", {**data, "text": reply.text, "finish": reply.finish}, row.usage)
        return reply

    async def embed(self, texts: Sequence[str], at: Observation) -> list[list[float]]:
        """One vector per text, through the same cassette and budget."""
        redacted = [self._door.redact(t) for t in texts]
        body = pack({"model": self.backend.identity(), "embed": redacted})
        bound = (sum(len(t.encode()) + 16 for t in texts), 0)

        async def send(idempotency: str) -> Reply | ModelError:
            try:
                vectors = await self.backend.embed(texts)
            except ModelError as error:
                return error
            packed = msgspec.json.encode(vectors).decode()
            return Reply(text=packed, finish="embedding", usage=Usage(1, bound[0]), estimated=True)

        row = await self._door.call(self, body, at, send, bound)
        assert row.reply is not None, "a settled row has a reply"
        if row.status == "error":
            kind, text = unpack(row.reply)
            raise ModelError(text, kind, row.attempts, row.doubtful)
        at.note("model", {"model": self.name, "call": row.call.key.hex(), "embedded": len(texts)}, row.usage)
        return msgspec.json.decode(_reply.decode(row.reply).text, type=list[list[float]])


def _heard(task: asyncio.Task[Row]) -> None:
    """Mark the error of a call as seen: whoever still waits for it gets it, nobody else must."""
    if not task.cancelled():
        task.exception()


def _address(at: Observation) -> Address:
    """The structural address; calls of begin and end are told from those of act at the same tick."""
    *front, path = at.ordinal
    return (*front, path if at.op == "act" else ({"begin": -1, "end": -2}[at.op], *path))


def _missing(cassette: Cassette, call: Call) -> str:
    """What strict replay looked for, and how it differs from what stands in its place."""
    root, env_id, block, replicate, seat, tick, path = call.address
    where = f"{env_id}, root {root}, block {block}, replicate {replicate}, seat {seat}, tick {tick}"
    where += f", path {'/'.join(map(str, path))}" if path else ""
    text = f'cassette: no answer of model "{call.model}" to this request at {where}'
    there = [r for r in cassette.at(call.address) if r.call.k == call.k]
    if not there:
        return f"{text}, and nothing else was asked there. Was the run recorded with these agents?"
    return f"{text}. What was asked there differs {_difference(unpack(call.request), unpack(there[0].call.request))}"


def _difference(now: Any, then: Any, where: str = "") -> str:
    """The first place where two canonical requests differ."""
    if isinstance(now, dict) and isinstance(then, dict):
        for name in sorted(now.keys() | then.keys()):
            if now.get(name) != then.get(name):
                return _difference(now.get(name), then.get(name), f"{where}.{name}" if where else name)
    if isinstance(now, list) and isinstance(then, list):
        if len(now) != len(then):
            return f"in {where}: {len(now)} items now, {len(then)} then"
        for i, (a, b) in enumerate(zip(now, then, strict=True)):
            if a != b:
                return _difference(a, b, f"{where}[{i}]")
    if isinstance(now, str) and isinstance(then, str):
        same = next((i for i, (a, b) in enumerate(zip(now, then, strict=False)) if a != b), min(len(now), len(then)))
        start = max(0, same - 20)
        return f"in {where} from character {same}: {now[start : same + 40]!r} now, {then[start : same + 40]!r} then"
    return f"in {where}: {now!r} now, {then!r} then"
