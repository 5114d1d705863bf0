"""Model calls: CPU of a call through the endpoint backend, beside a bare loop and other people's clients.

All rows come from interleaved rounds of one run against one endpoint (benchmarks/endpoint.py); each client
runs in a process of its own (benchmarks/clients.py), the foreign ones in environments under
build/bench-venvs that `--frameworks` makes.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.clients import CALLS
from benchmarks.endpoint import running
from benchmarks.measure import Row, median, row

FOREIGN = {
    "openai": ("openai client", ("openai",)),
    "pydantic_ai": ("pydantic-ai", ("pydantic-ai-slim[openai]",)),
    "langgraph": ("langgraph + langchain-openai", ("langgraph", "langchain-openai")),
}
OURS = ("backend", "stream", "door")
ROUNDS, FOREIGN_ROUNDS = 9, 3
SHAPES = {"one": "one after another", "debate": "debate, 320 in flight"}
VENVS = Path("build/bench-venvs")
Samples = dict[str, list[dict[str, float]]]


def _python(client: str) -> str:
    return str(VENVS / client / "bin/python") if client in FOREIGN else sys.executable


def _install(client: str) -> str:
    """Make the client's environment where it is not there yet; give the versions in it."""
    _, packages = FOREIGN[client]
    if not (VENVS / client / ".done").exists():
        print(f"  installing {' '.join(packages)} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENVS / client)], check=True)
        subprocess.run([_python(client), "-m", "pip", "install", "--quiet", *packages], check=True)
        (VENVS / client / ".done").touch()
    names = [p.partition("[")[0] for p in packages] + ["openai"] * (client != "openai")
    code = "import importlib.metadata as m, sys; print(', '.join(n + ' ' + m.version(n) for n in sys.argv[1:]))"
    told = subprocess.run([_python(client), "-c", code, *names], check=True, capture_output=True, text=True)
    return told.stdout.strip()


def _measure(client: str, url: str) -> dict[str, float]:
    """One round of a client: CPU us per call of each shape, and its peak memory."""
    command = [_python(client), "benchmarks/clients.py", client, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(f"{client}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found | {shape: found[shape] / calls * 1e6 for shape, calls in CALLS.items()}


def _rounds(url: str, foreign: list[str]) -> Samples:
    """Samples of every client, measured in turn: A B C ... A B C ..."""
    samples: Samples = {c: [] for c in ("bare", *OURS, *foreign)}
    for i in range(ROUNDS):
        for client in ("bare", *OURS, *(foreign if i < FOREIGN_ROUNDS else ())):
            time.sleep(0.25)
            samples[client].append(_measure(client, url))
    return samples


def _times(samples: Samples, client: str, shape: str, name: str, bar: str, what: str = "") -> Row:
    """How many times the bare loop's CPU a client takes: the least of each, and the ratio of every round."""
    mine = [s[shape] for s in samples[client]]
    bare = [s[shape] for s in samples["bare"]][: len(mine)]
    per_round = [m / b for m, b in zip(mine, bare, strict=True)]
    what = f"aiohttp + msgspec, us CPU per call{what}"
    return _ratio(name, min(mine) / min(bare), "x bare aiohttp", bar, per_round, min(bare), bare, what)


def _ratio(*given: Any) -> Row:
    """A row whose value is a ratio already."""
    made = row(*given)
    made.ratio = None
    return made


def _flat(samples: Samples) -> Row:
    """CPU of a call with 320 in flight over that of one at a time."""
    many, one = ([s[shape] for s in samples["backend"]] for shape in ("debate", "one"))
    per_round = [m / o for m, o in zip(many, one, strict=True)]
    bare = min(s["debate"] for s in samples["bare"]) / min(s["one"] for s in samples["bare"])
    value = min(many) / min(one)
    return _ratio(
        "calls: backend, 320 in flight over 1", value, "x", "<= 1.2", per_round, bare, [], "the same of aiohttp, x"
    )


def rows(frameworks: bool = False) -> list[Row]:
    """All rows of model calls. frameworks: install and measure the foreign clients too."""
    foreign = list(FOREIGN) if frameworks else []
    versions = {client: _install(client) for client in foreign}
    with running() as url:
        samples = _rounds(url, foreign)
    found = []
    for shape, words in SHAPES.items():
        found.append(_times(samples, "backend", shape, f"calls: backend, {words}", "<= 2"))
    found.append(_flat(samples))
    for client, name, bar in (
        ("stream", "backend, streamed", "reported"),
        ("door", "through the door, cassette on disk", "<= 2"),
    ):
        for shape, words in SHAPES.items():
            found.append(_times(samples, client, shape, f"calls: {name}, {words}", bar))
    for client, (name, _) in FOREIGN.items():
        for shape, words in SHAPES.items():
            title = f"calls: {name}, {words}"
            if client in versions:
                mib = median([s["mib"] for s in samples[client]])
                told = f"; {versions[client]}; peak {mib:.0f} MiB"
                found.append(_times(samples, client, shape, title, "reported", told))
            else:
                found.append(
                    row(title, math.nan, "not run: --frameworks", "reported", [], 0.0, [], "not run: --frameworks")
                )
    return found
