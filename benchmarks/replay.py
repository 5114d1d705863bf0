"""Replay from a cassette: calls per second of one core, through the door, at several concurrencies."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, calibration, median, row

EPISODES, CALLS, REPEATS = 1000, 15, 5
BAR = ">= 30000"
RULES = "You are one of five who answer a question together. " * 10
SAID = "I looked at what the others said and I keep my answer. " * 8


def _handles(scope: Any, episode: int) -> Iterator[tuple[Any, Any]]:
    """The calls of one episode: a growing question of about 1 KB, sampled, each at a place of its own."""
    from crossplay.kernel import Observation
    from crossplay.models import Message, Request

    for n in range(CALLS):
        messages = (Message("system", RULES), Message("user", f"Question {episode}, turn {n}. {SAID}"))
        at = Observation(scope, "act", n)
        yield at, Request(messages=messages, temperature=0.7, seed=episode * CALLS + n)


async def _play(door: Any, at_once: int) -> str:
    """Play all episodes; the digest of all that was answered and noted."""
    from crossplay.kernel import ActionSpec, Block, Env, pack
    from crossplay.kernel.obs import Scope

    class Quiet(Env):
        name, seats = "quiet", ("p0",)

        def spec(self, seat: str) -> ActionSpec:
            return ActionSpec("text")

    env, model = Quiet(), door.model("m")
    found = [b""] * EPISODES
    source = iter(range(EPISODES))

    async def worker() -> None:
        for e in source:
            digest = hashlib.sha256()
            for at, request in _handles(Scope(env, "quiet@1", Block(0, e), "p0"), e):
                [reply] = await model.generate([request], at=at)
                digest.update(reply.text.encode() + pack(at.notes[0][2]))
            found[e] = digest.digest()

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return hashlib.sha256(b"".join(found)).hexdigest()


def _door(source: Path | None, mode: Any = "record") -> Any:
    from crossplay.models import Door, ScriptedBackend
    from crossplay.records.cassette import Cassette

    return Door({"m": ScriptedBackend("m", concurrency=256, answers=("yes", "no"))}, Cassette(source, mode))


async def _whole(door: Any, at_once: int) -> str:
    digest = await _play(door, at_once)
    await door.aclose()
    return digest


def rows() -> list[Row]:
    """Strict replay from the run's cassette and from an exported file; opening the file is part of it."""
    from crossplay.records.cassette_file import export_cassette

    found = []
    with tempfile.TemporaryDirectory() as folder:
        run, file = Path(folder) / "cassette", Path(folder) / "x.mcz"
        recorded = asyncio.run(_whole(_door(run), 256))
        export_cassette(run, file)
        bare = [calibration() * 1000 for _ in range(REPEATS)]
        for source, name in ((run, "the run's cassette"), (file, "an exported file")):
            for at_once in (1, 8, 64):
                rates = []
                for _ in range(REPEATS):
                    began = time.process_time()
                    if asyncio.run(_whole(_door(source, "strict"), at_once)) != recorded:
                        raise AssertionError(f"replay of {name} at concurrency {at_once} has another digest")
                    rates.append(EPISODES * CALLS / (time.process_time() - began))
                title = f"replay: strict from {name}, {at_once} at once"
                found.append(
                    row(
                        title,
                        median(rates),
                        "calls/s",
                        BAR,
                        rates,
                        median(bare),
                        bare,
                        "1e6 steps of plain Python, ms CPU",
                    )
                )
        size = file.stat().st_size / (EPISODES * CALLS)
        found.append(row("replay: exported file, per call", size, "bytes", "reported", [size], 0.0, [], ""))
    return found
