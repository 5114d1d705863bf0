"""One prompt to one model, outside studies: how the command line names models and asks them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from crossplay.kernel import ActionSpec, Block, Env, Observation, nearest
from crossplay.kernel.obs import Scope
from crossplay.kernel.types import CrossplayError, Usage
from crossplay.models.catalog import known, models_folder
from crossplay.models.door import Door, Model, make_backend
from crossplay.models.prices import Price
from crossplay.models.types import Backend, Capabilities, ModelError, Reply, Request
from crossplay.wire import is_loopback

__all__ = ["Asked", "Cost", "ask", "calls_file", "connect", "cost_of"]


def _on_this_machine(url: str) -> bool:
    """Whether an address is of this machine, where nobody sends a bill."""
    return is_loopback(urlsplit(url).hostname)


def connect(
    name: str,
    tables: Mapping[str, Mapping[str, Any]] | None = None,
    key_env: str = "",
    wants: Capabilities | None = None,
) -> Backend:
    """The backend behind a name of the catalogue, an address (`http://host:port/v1#model`), or a table.

    tables: of a study file, by name. key_env, wants: for addresses, which have no table to say them:
    the environment variable with the key, and what may be asked for. An address of another machine
    is paid for, at the price of the table; only one of this machine is taken to cost nothing.
    """
    if tables and name in tables:
        return make_backend(name, tables[name])
    if not name.startswith(("http://", "https://")):
        names = [*(tables or {}), *known(), "scripted"]
        if name.partition(":")[0] not in names:
            raise CrossplayError(
                f'unknown model "{name}".{nearest(name, names)} Or an address: http://host:port/v1#MODEL'
            )
        return make_backend(name)
    url, _, served = name.partition("#")
    table: dict[str, Any] = {"backend": "http", "url": url, "model": served, "paid": not _on_this_machine(url)}
    if key_env:
        table["key_env"] = key_env
    if wants is not None:
        table["capabilities"] = msgspec.to_builtins(wants)
    if not served:
        raise CrossplayError(f'"{name}" does not say which model: write {url}#MODEL')
    return make_backend(served, table)


def calls_file() -> Path:
    """The cassette of the prompts that were asked outside studies, under the user's cache folder."""
    return models_folder().parent / "calls" / "cassette.sqlite"


class _Desk(Env):
    """Where prompts outside studies are asked: nothing but a place in the cassette."""

    name, version, seats, rules = "call", 1, ("caller",), "Ask."
    views = ("data",)

    def spec(self, seat: str) -> ActionSpec:
        """Any text."""
        return ActionSpec("text")

    def data(self, seat: str) -> dict[str, Any]:
        """Nothing."""
        return {}


class Cost(msgspec.Struct):
    """What tokens cost. usd: None where no price is known, said in `unpriced`; price: by which, None
    where nothing is paid.
    """

    usd: float | None
    price: Price | None = None
    unpriced: str = ""


class Asked(msgspec.Struct):
    """What came of it. sent: answers that were not in the cassette; cost: of all of them when they were
    sent, be it now or earlier; wall_s: seconds of waiting.
    """

    replies: list[Reply]
    sent: int
    cost: Cost
    wall_s: float


async def ask(door: Door, name: str, requests: Sequence[Request]) -> Asked:
    """The answers to all, each its own call; raises ModelError and the like."""
    model = door.model(name)
    # Two endpoints may serve models of one name; their answers are not each other's.
    place = getattr(getattr(model.backend, "options", None), "url", "") or "here"
    at = Observation(Scope(_Desk(), "call@1", Block(0, place, 0), "caller"), "act", 0)
    fresh = door.cassette.mode == "refresh"
    before, start = len(door.cassette), time.perf_counter()
    try:
        replies = await model.generate(requests, at)
    except ModelError as error:
        if not fresh and len(door.cassette) == before:
            raise ModelError(f"{error} (so it was answered earlier; --fresh asks again)", error.kind) from None
        raise
    wall_s = time.perf_counter() - start
    sent = (len(replies) if fresh else len(door.cassette) - before) - at.counts.get("shared_answers", 0)
    usage = Usage()
    for reply in replies:
        usage.add(reply.usage)
    return Asked(replies, sent, cost_of(model, usage, sum(r.cached for r in replies)), wall_s)


def cost_of(model: Model, usage: Usage, cached: int) -> Cost:
    """The cost at today's table; cached: of the tokens in, those read from the endpoint's cache."""
    try:
        price = model.price()
    except CrossplayError as error:
        return Cost(None, None, str(error))
    return Cost(price.cost(usage.tok_in, usage.tok_out, cached) if price else 0.0, price)
