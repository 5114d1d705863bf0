"""What a computed prefix saves the next agent, measured on local weights: `python -m crossplay.gallery.agent_primitives.measure`.

Two ways of handing over. Inside the local backend: an agent goes on from the conversation of the one
before it, or starts a prompt of its own with the same words in it. Across time: llama.cpp's state of a slot is saved to
a file and restored, by the HTTP face that the run-time's server opens on loopback.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import platform
import secrets
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from crossplay.kernel import CrossplayError, key, pick
from crossplay.measure.stats.intervals import mean_t, paired_t
from crossplay.models import LocalBackend, Message, ModelError, Request
from crossplay.models.catalog import locate

__all__ = ["handed_over", "measure", "slots"]

KEPT = Path(__file__).parent / "measured"
SOLVER = "You solve tasks. Be brief."
CRITIC = "You review answers. Say in one sentence what is wrong."


def task(i: int, lines: int = 40) -> str:
    """A price list and a question about it; no two share a prefix beyond the first words."""
    k = key("handover", i)
    listed = "\n".join(f"Item {pick(k, 900, j) + 100}: {pick(k, 90, j, 1) + 10} coins" for j in range(lines))
    return f"List {pick(k, 10**6, 99)}.\n{listed}\nWhich item costs most? Name it and its price."


async def handed_over(model: str, n: int) -> dict[str, Any]:
    """A critic after a solver, n tasks each way. Per call: prompt tokens, those read from the cache, CPU s."""
    backend = LocalBackend(model, context=2048)
    await backend.load()
    rows: dict[str, list[list[float]]] = {"apart": [], "prefix": []}
    for i in range(n):
        for j, way in enumerate(("apart", "prefix") if i % 2 else ("prefix", "apart")):
            first = [Message("system", SOLVER), Message("user", task(2 * i + j))]
            draft = await _asked(backend, first)
            told = f"{first[1].text}\n\nThe answer of the solver:\n{draft.text}"
            then = (
                [Message("system", CRITIC), Message("user", told)]
                if way == "apart"
                else [*first, Message("assistant", draft.text), Message("user", CRITIC)]
            )
            reply = await _asked(backend, then)
            rows[way].append([reply.usage.tok_in, reply.cached, reply.usage.cpu_us / 1e6])
    await backend.aclose()
    saved = paired_t([r[2] for r in rows["apart"]], [r[2] for r in rows["prefix"]])
    return {
        "n": n,
        "columns": ["prompt tokens", "cached", "cpu_s"],
        "rows": rows,
        "mean": {way: [mean_t([r[c] for r in found]).value for c in range(3)] for way, found in rows.items()},
        "cpu_s saved per call": _shown(saved),
    }


async def _asked(backend: LocalBackend, messages: list[Message]) -> Any:
    [reply] = await backend.generate([Request(messages=tuple(messages), max_tokens=12)])
    if isinstance(reply, ModelError):
        raise reply
    return reply


def slots(model: str, n: int) -> dict[str, Any]:
    """Saving and restoring the state of a slot, n tasks: size, times, CPU s of a prompt with it and without."""
    import xllamacpp

    path, _ = locate(model)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        server, secret = _server(xllamacpp, path, f"{folder}{os.sep}")
        for i in range(n):
            whole, other = task(1000 + i), task(5000 + i)
            _chat(server, whole)
            saved = _slot(server, secret, "save")
            size = (Path(folder) / "state").stat().st_size
            _chat(server, other)
            without = _chat(server, whole + " Now.")
            _chat(server, other)
            restored = _slot(server, secret, "restore")
            given = _chat(server, whole + " Now.")
            times = [saved["timings"]["save_ms"], restored["timings"]["restore_ms"]]
            rows.append([*without, *given[1:], size / 2**20, *times])
        del server
    gain = paired_t([r[2] for r in rows], [r[4] for r in rows])
    columns = ["prompt tokens", "cached without", "cpu_s without", "cached with", "cpu_s with", "MiB", "save_ms", "restore_ms"]  # fmt: skip
    return {
        "n": n,
        "columns": columns,
        "rows": rows,
        "mean": [mean_t([r[c] for r in rows]).value for c in range(len(columns))],
        "cpu_s saved per call": _shown(gain),
    }


def _server(xllamacpp: Any, path: Path, folder: str) -> tuple[Any, str]:
    """A server of its own with one slot whose state may be saved, and no cache of earlier prompts."""
    p = xllamacpp.CommonParams()
    p.model.path = str(path)
    p.n_ctx, p.n_parallel, p.n_threads_http = 2048, 1, 1
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
    p.n_gpu_layers, p.fit_params, p.warmup, p.verbosity = 0, False, False, -1
    p.ui, p.offline, p.endpoint_slots, p.cache_ram_mib = False, True, True, 0
    p.slot_save_path = folder
    secret = secrets.token_hex(16)
    p.api_keys = [secret]
    return xllamacpp.Server(p), secret


def _chat(server: Any, text: str) -> list[float]:
    """[prompt tokens, cached tokens, CPU s of this process] of one greedy call of four tokens."""
    body = {"messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0, "cache_prompt": True}
    began = time.process_time()
    usage = server.handle_chat_completions(body)["usage"]
    return [usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], time.process_time() - began]


def _slot(server: Any, secret: str, verb: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"{server.listening_address}/slots/0?action={verb}",
        json.dumps({"filename": "state"}).encode(),
        {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # loopback, opened by this process
        found: dict[str, Any] = json.loads(answer.read())
    return found


def _shown(e: Any) -> list[float]:
    return [e.value, e.interval.low, e.interval.high] if e.interval else [e.value]


def measure(model: str = "smollm2-135m", n: int = 6) -> dict[str, Any]:
    """Both measurements, with what they were made on."""
    import xllamacpp

    return {
        "entry": "agent_primitives",
        "model": model,
        "sha256": locate(model)[1],
        "runtime": f"xllamacpp {xllamacpp.__version__}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": f"{platform.machine()} {platform.system()}, 1 thread",
        "command": f"python -m crossplay.gallery.agent_primitives.measure {model} {n}",
        "prefix": asyncio.run(handed_over(model, n)),
        "slots": slots(model, n),
    }


def main(arguments: list[str]) -> None:
    """Measure, write the file, say what came out."""
    model = arguments[0] if arguments else "smollm2-135m"
    n = int(arguments[1]) if len(arguments) > 1 else 6
    if n < 2:
        raise CrossplayError(f"n = {n}: two tasks at least, or there is no interval")
    found = measure(model, n)
    KEPT.mkdir(exist_ok=True)
    file = KEPT / f"{model}.json"
    file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(
        json.dumps(
            {k: {m: v[m] for m in v if m != "rows"} if isinstance(v, dict) else v for k, v in found.items()}, indent=1
        )
    )
    print(file)


if __name__ == "__main__":
    main(sys.argv[1:])
