"""Models: local files and their state, endpoints that studies name, what was seen to work, prices, speed. Never a key."""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from crossplay.kernel import CrossplayError, nearest
from crossplay.models.bench import Bench
from crossplay.models.catalog import Status, status
from crossplay.models.prices import table as price_table
from crossplay.models.probe import Finding, Probe, recorded
from crossplay.study.progress import stamp_of
from crossplay.web.api import Route
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound
from crossplay.web.service import tasks
from crossplay.web.service.tasks import Task
from crossplay.wire import is_loopback

__all__ = [
    "ROUTES", "BenchAsked", "BenchTold", "Endpoint", "LocalModel", "Models", "PriceTold", "ProbeTold", "bench_model",
    "models", "probe_model",
]  # fmt: skip

FOLDER = "models"
"""Below the folder that is served: bench/NAME.json."""
RUNS = 200
"""Runs whose studies are looked through for endpoints, the newest names last."""


class ProbeTold(msgspec.Struct):
    """What the last probe saw. when: day; served: what the model called itself; findings: each capability, yes, no or
    unclear, and what was seen; broken: declared, and seen not to work.
    """

    when: str
    served: str
    findings: list[Finding]
    broken: list[str]


class BenchTold(msgspec.Struct):
    """The last measurement that was made from here. at: seconds since 1970. whole: its figures."""

    at: float
    whole: Bench


class LocalModel(msgspec.Struct, kw_only=True):
    """A model file. state: "here", "not here" or "damaged" (another size). size: bytes. context: tokens, 0: not known.

    backend: whether llama.cpp is installed, without which it cannot answer. going: what is done with it now.
    """

    name: str
    state: Literal["here", "not here", "damaged"]
    size: int
    sha256: str
    context: int
    licence: str
    about: str
    backend: bool
    probe: ProbeTold | None
    bench: BenchTold | None
    going: Task | None


class Endpoint(msgspec.Struct, kw_only=True):
    """An endpoint that studies of runs name. id: its name in addresses here. url: without what could be secret.

    key_env: the variable that holds its key, "" for none. runs: where it is named. asks: whether it can be probed from
    here: on this machine and without a key; others are asked from the command line alone, because a run is no proof
    that its address may be trusted with a key.
    """

    id: str
    name: str
    url: str
    model: str
    key_env: str
    runs: list[str]
    asks: bool
    probe: ProbeTold | None
    bench: BenchTold | None
    going: Task | None


class PriceTold(msgspec.Struct):
    """USD per million tokens. cache_read: of prompt tokens that came out of the endpoint's cache, null where none is told."""

    model: str
    input: float
    output: float
    cache_read: float | None
    source: str
    date: str


class Models(msgspec.Struct):
    """Local models, endpoints, prices. trouble: what could not be read, in words."""

    local: list[LocalModel]
    endpoints: list[Endpoint]
    prices: list[PriceTold]
    trouble: list[str]


class BenchAsked(msgspec.Struct, forbid_unknown_fields=True):
    """repeats: of each figure. at_once: how far the curve of calls at a time goes, in powers of two."""

    repeats: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    at_once: Literal[1, 2, 4, 8, 16, 32] = 8


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No options."""


# -- reading -----------------------------------------------------------------------------------------
def models(desk: Desk) -> Models:
    """Local models with size and checksum, endpoints that runs name, what probes saw, speed, prices with their dates."""
    trouble: list[str] = []
    known: list[Status] = []
    probes: dict[str, Probe] = {}
    prices: list[PriceTold] = []
    try:
        known = status()
    except CrossplayError as error:
        trouble.append(str(error))
    try:
        probes = recorded()
    except CrossplayError as error:
        trouble.append(str(error))
    try:
        prices = [PriceTold(n, p.input, p.output, p.cache_read, p.source, p.date) for n, p in price_table().items()]
    except CrossplayError as error:
        trouble.append(str(error))
    backend = importlib.util.find_spec("xllamacpp") is not None
    local = [_local(desk, s, probes, backend) for s in known]
    return Models(local, _endpoints(desk, probes), sorted(prices, key=lambda p: p.model), trouble)


def _local(desk: Desk, s: Status, probes: dict[str, Probe], backend: bool) -> LocalModel:
    m = s.model
    return LocalModel(
        name=m.name, state=s.state, size=m.size, sha256=m.sha256, context=m.context, licence=m.licence, about=m.about,
        backend=backend, probe=_probe(probes.get(m.name)), bench=_bench(desk, m.name),
        going=tasks.running(desk, _about(m.name)),
    )  # fmt: skip


def _probe(p: Probe | None) -> ProbeTold | None:
    return None if p is None else ProbeTold(p.when, p.served, p.findings, p.broken())


def _bench(desk: Desk, name: str) -> BenchTold | None:
    try:
        kept = msgspec.json.decode(_bench_file(desk, name).read_bytes(), type=tasks.Kept)
        return BenchTold(kept.at, msgspec.convert(kept.result, Bench))
    except (OSError, msgspec.MsgspecError):
        return None


def _endpoints(desk: Desk, probes: dict[str, Probe]) -> list[Endpoint]:
    found: dict[str, Endpoint] = {}
    for run, folder in desk.runs(RUNS):
        tables = desk.kept(("models", folder), stamp_of(folder), lambda folder=folder: _tables(folder), RUNS)  # type: ignore[misc]
        for name, table in tables:
            url, model = _plain_url(str(table.get("url", ""))), str(table.get("model", ""))
            key_env = str(table.get("key_env", "") or "")
            place = hashlib.sha256(f"{url}#{model} {key_env}".encode()).hexdigest()[:12]
            if place not in found:
                local = is_loopback(urlsplit(url).hostname) and not key_env and bool(model)
                found[place] = Endpoint(
                    id=place, name=name, url=url, model=model, key_env=key_env, runs=[], asks=local,
                    probe=_probe(probes.get(model)), bench=_bench(desk, place), going=tasks.running(desk, _about(place)),
                )  # fmt: skip
            found[place].runs.append(run)
    return sorted(found.values(), key=lambda e: (e.url, e.model))


def _tables(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The tables of endpoints in the study of a run."""
    try:
        found = tomllib.loads((folder / "study.toml").read_text("utf-8")).get("models", {})
    except (OSError, ValueError):
        return []
    return [(n, t) for n, t in found.items() if isinstance(t, dict) and isinstance(t.get("url"), str)]


def _plain_url(url: str) -> str:
    """scheme://host:port/path alone: user, password and query may be secrets."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


# -- asking ------------------------------------------------------------------------------------------
def probe_model(desk: Desk, name: str, body: Nothing) -> Task:
    """Ask a model for everything it might do, one tiny call each: `crossplay models probe NAME`. name: local, or the id of
    an endpoint on this machine.
    """
    told, title = _asked(desk, name)
    return tasks.start(desk, "models probe", title, ["models", "probe", told, "--json"], about=_about(name))


def bench_model(desk: Desk, name: str, body: BenchAsked) -> Task:
    """Measure a model: tokens a second, calls at a time: `crossplay models bench NAME`."""
    told, title = _asked(desk, name)
    args = ["models", "bench", told, "--repeats", str(body.repeats), "--at-once", str(body.at_once), "--json"]
    return tasks.start(desk, "models bench", title, args, about=_about(name), keep=_bench_file(desk, name))


def _asked(desk: Desk, name: str) -> tuple[str, str]:
    """(the model as the command line takes it, as people read it)."""
    known = {s.model.name: s for s in status()}
    if name in known:
        if known[name].state != "here":
            raise Conflict(f"{name} is {known[name].state}; get it: crossplay models pull {name}")
        return name, name
    endpoints = {e.id: e for e in _endpoints(desk, {})}
    if name not in endpoints:
        raise NotFound(f'there is no model "{name[:80]}".{nearest(name[:80], [*known, *endpoints])}')
    e = endpoints[name]
    if not e.asks:
        raise Forbidden(
            f"{e.url} is not asked from here, because only a run names it; from the command line: "
            f"crossplay models probe {e.url}#{e.model}" + (f" --key-env {e.key_env}" if e.key_env else "")
        )
    return f"{e.url}#{e.model}", e.model


def _about(name: str) -> str:
    return f"model {name}"


def _bench_file(desk: Desk, name: str) -> Path:
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    return desk.root / FOLDER / "bench" / f"{plain}.json"


ROUTES = [
    Route("GET", "/models", models),
    Route("POST", "/models/{name}/probe", probe_model),
    Route("POST", "/models/{name}/bench", bench_model),
]
