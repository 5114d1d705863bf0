"""Commands about models: list, pull, add, probe, bench, and `call`, one prompt to one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from crossplay.cli import out

if TYPE_CHECKING:
    from crossplay.models.bench import Range
    from crossplay.models.direct import Asked, Cost
    from crossplay.models.types import Backend, Capabilities

__all__ = ["call", "models_add", "models_bench", "models_list", "models_probe", "models_pull"]

Flag = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=())]


def models_list(*, json: Json = False) -> int:
    """List known models and whether they are here."""
    import msgspec

    from crossplay.models.catalog import status

    found = status()
    if json:
        out.print_json(msgspec.to_builtins(found, enc_hook=str))
        return 0
    rows = [
        (
            s.model.name,
            s.state,
            f"{s.model.size / 1e6:.0f} MB",
            str(s.model.context or "unknown"),
            s.model.licence,
            str(s.path),
        )
        for s in found
    ]
    columns = ("name", "state", ">size", ">context", "licence", "file")
    out.table(
        "Models", columns, rows, "Get one: crossplay models pull NAME. Register any GGUF: crossplay models add FILE"
    )
    return 0


def models_pull(name: str, /, *, json: Json = False) -> int:
    """Get the weights of a known model; its checksum is pinned."""
    from crossplay.models.catalog import pull

    with out.progress(f"getting {name}") as (update, _):
        path = pull(name, lambda done, total, *_: update(done, total))
    if json:
        out.print_json({"name": name, "path": str(path)})
    else:
        out.line(f"{name}: {path}")
    return 0


def models_add(file: Path, /, *, name: str = "", json: Json = False) -> int:
    """Register a GGUF file as a model. One that is known by its checksum gets its name and licence note."""
    from crossplay.models.catalog import add

    known = add(file, name)
    if json:
        out.print_json(
            {
                "name": known.name,
                "path": known.path,
                "licence": known.licence,
                "context": known.context,
                "about": known.about,
            }
        )
    else:
        told = [known.about, known.licence, f"context {known.context} tokens" if known.context else ""]
        out.line("; ".join(t for t in told if t))
        out.line(f'added {known.name}; use it in a study: type = "llm", model = "{known.name}"')
    return 0


def models_probe(
    name: str,
    /,
    *,
    study: Path | None = None,
    key_env: str = "",
    images: Flag = False,
    json: Json = False,
) -> int:
    """Ask a model for everything it might do, one tiny call each, and keep what was found.

    Exits 1 when the model's table declares what was seen not to work.

    Parameters
    ----------
    name
        A name of `models list`, an address like http://localhost:8000/v1#NAME, or a table of --study.
    study
        A study file with a table for the model.
    key_env
        The environment variable that holds the key, for an address.
    images
        Send pictures too, to an address (in a study, capabilities.images says so).
    json
        Print JSON.

    """
    import asyncio

    import msgspec

    from crossplay.models.probe import probe, record
    from crossplay.models.types import Capabilities

    backend = _backend(name, study, key_env, Capabilities(seed=False, images=images))

    async def run() -> Any:
        try:
            return await probe(backend, lambda done, total, what: (update(done, total), say(what))[0])
        finally:
            await backend.aclose()

    with out.progress(f"asking {name}") as (update, say):
        found = asyncio.run(run())
    record(found)
    line = ", ".join(f"{k} = {str(v).lower()}" for k, v in msgspec.structs.asdict(found.found).items())
    broken = found.broken()
    if json:
        out.print_json({**msgspec.to_builtins(found), "found": found.found, "broken": broken})
        return 1 if broken else 0
    rows = [(f.name.replace("_", " "), f.found, f.said) for f in found.findings]
    out.table(f"{found.model} ({found.served or 'says no name'})", ("what", "works", "seen"), rows)
    out.line(_took("asked", backend, found))
    if broken:
        out.fail(f"declared, but not seen to work: {', '.join(broken)}")
    out.line(f"In the table of an endpoint: capabilities = {{ {line} }}")
    return 1 if broken else 0


def models_bench(
    name: str,
    /,
    *,
    study: Path | None = None,
    key_env: str = "",
    repeats: int = 3,
    words: int = 200,
    tokens: int = 32,
    at_once: int = 8,
    json: Json = False,
) -> int:
    """Measure a model: tokens a second, calls at a time, what a known beginning of the prompt saves.

    Parameters
    ----------
    name
        A name of `models list`, an address like http://localhost:8000/v1#NAME, or a table of --study.
    study
        A study file with a table for the model.
    key_env
        The environment variable that holds the key, for an address.
    repeats
        Of each figure; medians and the range are shown.
    words
        Length of the long prompt.
    tokens
        Length of the long answer.
    at_once
        How far the curve of calls at a time goes: 1, 2, 4 and so on.
    json
        Print JSON.

    """
    import asyncio

    import msgspec

    from crossplay.models.bench import bench

    backend = _backend(name, study, key_env)

    async def run() -> Any:
        try:
            return await bench(
                backend, repeats, words, tokens, at_once, lambda done, total, what: (update(done, total), say(what))[0]
            )
        finally:
            await backend.aclose()

    with out.progress(f"measuring {name}") as (update, say):
        found = asyncio.run(run())
    if json:
        out.print_json(msgspec.to_builtins(found))
        return 0
    rows = [
        ("prompt", _range(found.prompt_s), "tokens/s"),
        ("prompt, per CPU second", _range(found.prompt_cpu), "tokens/CPU s"),
        ("answer", _range(found.answer_s), "tokens/s"),
        ("answer, per CPU second", _range(found.answer_cpu), "tokens/CPU s"),
        ("long prompt, new", _range(found.first_s), "s"),
        (f"the same beginning again ({found.cached:.0%} cached)", _range(found.later_s), "s"),
    ]
    rows += [(f"{level.at_once} at once, all answers", _range(level.tokens_s), "tokens/s") for level in found.levels]
    measured = [r for r in rows if r[1] or "CPU" not in r[0]]
    out.table(
        f"{found.model}: median [range] of {found.repeats}",
        ("what", ">figure", "unit"),
        [(what, figure or "not measurable", unit) for what, figure, unit in measured],
    )
    out.line(_took("measured", backend, found))
    return 0


def _took(did: str, backend: Backend, found: Any) -> str:
    """What a probe or a bench took: calls, tokens, money."""
    from crossplay.models import Door
    from crossplay.models.direct import cost_of

    u = found.usage
    cost = cost_of(Door({"m": backend}).model("m"), u, found.tok_cached)
    return (
        f"{did} with {u.calls} calls, {u.tok_in} tokens in ({found.tok_cached} cached), {u.tok_out} out; "
        f"cost: {_money(cost, u.cpu_us)}"
    )


def _money(cost: Cost, cpu_us: int) -> str:
    if cost.unpriced:
        return f"UNKNOWN: {cost.unpriced}"
    if cost.price:
        return f"{cost.usd:.6f} USD (price of {cost.price.date or 'the table'}: {cost.price.source})"
    return f"{cpu_us / 1e6:.2f} CPU s of this machine" if cpu_us else "nothing is paid, as its table or address says"


def _range(value: Range | None) -> str:
    return f"{value.median:.3g} [{value.low:.3g}, {value.high:.3g}]" if value else ""


def _backend(name: str, study: Path | None, key_env: str, wants: Capabilities | None = None) -> Backend:
    from crossplay.models.direct import connect

    return connect(name, _tables(study), key_env, wants)


def _tables(study: Path | None) -> dict[str, dict[str, Any]]:
    if study is None:
        return {}
    from crossplay.study.spec import load_study

    return load_study(study).models


def call(
    model: str,
    prompt: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    study: Path | None = None,
    system: str = "",
    temperature: float = 0.0,
    max_tokens: int = 256,
    seed: int | None = None,
    schema: Path | None = None,
    image: Path | None = None,
    n: int = 1,
    key_env: str = "",
    fresh: Flag = False,
    json: Json = False,
) -> int:
    """Ask a model one thing. The answer is kept, so the same question again costs nothing.

    Parameters
    ----------
    model
        A name of `models list`, an address like http://localhost:8000/v1#NAME, or a table of --study.
    prompt
        What to ask; "-" reads it from standard input.
    study
        A study file with a table for the model.
    system
        What the model is told first.
    temperature
        0 takes the likeliest token each time.
    max_tokens
        The answer ends there.
    seed
        For sampling, where the model takes one; of several answers each gets the next.
    schema
        A file with a JSON schema that the answer must keep to.
    image
        A picture to show after the prompt.
    n
        So many answers; give a temperature above 0 to see them differ.
    key_env
        The environment variable that holds the key, for an address.
    fresh
        Ask again although the answer is known.
    json
        Print JSON.

    """
    import asyncio
    import sys

    from crossplay.kernel.types import CrossplayError
    from crossplay.models import Door
    from crossplay.models.direct import ask, calls_file
    from crossplay.models.types import Capabilities, Message, Request
    from crossplay.records.cassette import Cassette

    if n < 1:
        raise CrossplayError(f"--n {n} must be at least 1")
    wants = Capabilities(json_schema=schema is not None, images=image is not None)
    backend = _backend(model, study, key_env, wants)
    for name, given in (("json_schema", schema), ("images", image)):
        if given is not None and not getattr(backend.capabilities, name):
            raise CrossplayError(f'model "{model}" is not said to take this: capabilities.{name} is false in its table')
    text = sys.stdin.read() if prompt == "-" else prompt
    told = (Message("system", system),) if system else ()
    shown = (_picture(image),) if image else ()
    keep = _schema(schema) if schema else None
    requests = [
        Request(
            messages=(*told, Message("user", text, shown)),
            temperature=temperature,
            max_tokens=max_tokens,
            seed=None if seed is None else seed + i,
            json_schema=keep,
        )
        for i in range(n)
    ]
    if fresh:
        backend.repeats = False  # an equal question asked earlier must not answer this one
    door = Door({model: backend}, Cassette(calls_file(), mode="refresh" if fresh else "record"))

    async def run() -> Asked:
        try:
            return await ask(door, model, requests)
        finally:
            await door.aclose()

    asked = asyncio.run(run())
    if json:
        out.print_json(_asked(model, asked))
    else:
        _show(asked)
    return 0


def _schema(file: Path) -> dict[str, Any]:
    import msgspec

    from crossplay.kernel.types import CrossplayError

    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise CrossplayError(f"--schema {file}: {error}") from None


def _picture(file: Path) -> Any:
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    from crossplay.kernel.types import CrossplayError
    from crossplay.models.types import Picture

    try:
        with Image.open(file) as image:
            return Picture.of(np.asarray(image.convert("RGB")))
    except UnidentifiedImageError:
        raise CrossplayError(f"--image {file}: not a picture") from None


def _asked(model: str, asked: Asked) -> dict[str, Any]:
    answers = [
        {
            "text": r.text,
            "finish": r.finish,
            "tok_in": r.usage.tok_in,
            "tok_out": r.usage.tok_out,
            "tok_cached": r.cached,
            "cpu_s": r.usage.cpu_us / 1e6,
            "estimated": r.estimated,
        }
        for r in asked.replies
    ]
    return {
        "model": model,
        "served": asked.replies[0].served,
        "answers": answers,
        "sent": asked.sent,
        "from_cassette": len(asked.replies) - asked.sent,
        "usd": asked.cost.usd,
        "price": asked.cost.price,
        "unpriced": asked.cost.unpriced,
        "wall_s": asked.wall_s,
    }


def _show(asked: Asked) -> None:
    many = len(asked.replies) > 1
    for i, reply in enumerate(asked.replies, 1):
        cut = "" if reply.finish != "length" else "  [cut at --max-tokens]"
        out.line((f"{i}) " if many else "") + reply.text + cut)
    cached = sum(r.cached for r in asked.replies)
    tok_in, tok_out, cpu_us = (sum(getattr(r.usage, k) for r in asked.replies) for k in ("tok_in", "tok_out", "cpu_us"))
    roughly = " (upper bounds: the endpoint reports none)" if any(r.estimated for r in asked.replies) else ""
    cost = _money(asked.cost, cpu_us)
    known = len(asked.replies) - asked.sent
    if not known:
        when = f"asked now, in {asked.wall_s:.2f} s"
    elif not asked.sent:
        when = "known from an earlier call, so free this time; --fresh asks again"
    else:
        when = f"{asked.sent} asked now in {asked.wall_s:.2f} s, {known} known from earlier calls and free this time"
    out.line(f"\ntokens   {tok_in} in ({cached} cached), {tok_out} out{roughly}\ncost     {cost}\nanswer   {when}")
