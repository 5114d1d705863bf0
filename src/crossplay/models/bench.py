"""How fast a model is: tokens a second in and out, calls at a time, and what a known beginning saves.

Everything is asked live. Prompts begin with a word that was never sent before, so that no cache
but the one that is being measured has part in the figures.
"""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Callable, Sequence

import msgspec

from crossplay.kernel.types import CrossplayError, Usage
from crossplay.models.types import Backend, Message, ModelError, Reply, Request

__all__ = ["Bench", "Level", "Range", "bench"]

LEVELS = (1, 2, 4, 8)
"""Calls at a time, unless told otherwise."""


class Range(msgspec.Struct, frozen=True):
    """Median, least and most of n repeats."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Range | None:
        """None where nothing could be measured."""
        good = [v for v in values if v > 0]
        return cls(statistics.median(good), min(good), max(good), len(good)) if good else None


class Level(msgspec.Struct):
    """So many calls at a time: tokens of answer a second over all of them, and seconds until all were here."""

    at_once: int
    tokens_s: Range | None
    seconds: Range | None


class Bench(msgspec.Struct):
    """All figures of a model. prompt_s, answer_s: tokens a second of one call; *_cpu: tokens a CPU
    second, of local models; first_s, later_s: seconds of a call whose long beginning is new, or was
    sent before; cached: share of the later prompts that came out of a cache.
    """

    model: str
    repeats: int
    prompt_s: Range | None = None
    answer_s: Range | None = None
    prompt_cpu: Range | None = None
    answer_cpu: Range | None = None
    first_s: Range | None = None
    later_s: Range | None = None
    cached: float = 0.0
    levels: list[Level] = []
    usage: Usage = msgspec.field(default_factory=Usage)
    tok_cached: int = 0


async def bench(
    backend: Backend,
    repeats: int = 3,
    words: int = 200,
    tokens: int = 32,
    at_once: int = LEVELS[-1],
    progress: Callable[[int, int, str], None] | None = None,
) -> Bench:
    """Measure. repeats: of each figure; words: of the long prompt; tokens: of the long answer; at_once:
    how far the curve of calls at a time goes, in powers of two.
    """
    if repeats < 1 or words < 8 or tokens < 4 or at_once < 1:
        raise CrossplayError(
            f"bench: repeats {repeats}, words {words}, tokens {tokens}, at_once {at_once} "
            "must be at least 1, 8, 4 and 1"
        )
    levels = [2**i for i in range(at_once.bit_length())]
    found = Bench(backend.name, repeats)
    run = _Run(backend, found, progress, repeats * (6 + len(levels)))
    await run.call("Hello.", tokens=1)  # connections and weights are there before anything is timed
    await _prompts(run, found, words)
    await _answers(run, found, tokens)
    for level in levels:
        await _level(run, found, level, tokens)
    return found


class _Run:
    def __init__(
        self, backend: Backend, found: Bench, progress: Callable[[int, int, str], None] | None, total: int
    ) -> None:
        self.backend, self.found, self.progress, self.total = backend, found, progress, total
        self.done = 0

    def step(self, what: str) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total, what)

    async def call(self, *texts: str, tokens: int) -> tuple[list[Reply], float]:
        """(replies, wall seconds) of these calls, all at once."""
        asked = [Request(messages=(Message("user", text),), max_tokens=tokens) for text in texts]
        start = time.perf_counter()
        replies = await self.backend.generate(asked)
        wall = time.perf_counter() - start
        for reply in replies:
            if isinstance(reply, ModelError):
                raise reply
            self.found.usage.add(reply.usage)
            self.found.tok_cached += reply.cached
        return [r for r in replies if isinstance(r, Reply)], wall


async def _prompts(run: _Run, found: Bench, words: int) -> None:
    """A long new prompt, then the same beginning with two other ends."""
    wall, cpu, first, later, cached = [], [], [], [], []
    for _ in range(run.found.repeats):
        rules = f"{secrets.token_hex(4)} Rules: " + "stay on the path and keep left " * (words // 7)
        for end in ("One.", "Two.", "Three."):
            [reply], seconds = await run.call(f"{rules}\n{end}", tokens=1)
            run.step("prompt")
            if end == "One.":
                new = reply.usage.tok_in - reply.cached
                wall.append(new / seconds)
                cpu.append(new * 1e6 / reply.usage.cpu_us if reply.usage.cpu_us else 0.0)
                first.append(seconds)
            else:
                later.append(seconds)
                cached.append(reply.cached / max(1, reply.usage.tok_in))
    found.prompt_s, found.prompt_cpu = Range.of(wall), Range.of(cpu)
    found.first_s, found.later_s, found.cached = Range.of(first), Range.of(later), statistics.median(cached)


async def _answers(run: _Run, found: Bench, tokens: int) -> None:
    """A long answer, less the time of a one-token answer to the same prompt, known by then."""
    wall, cpu = [], []
    for _ in range(run.found.repeats):
        text = f"{secrets.token_hex(4)} Write the numbers from one to one hundred in words: one, two, three,"
        await run.call(text, tokens=1)
        run.step("answer")
        [short], base = await run.call(text, tokens=1)
        run.step("answer")
        [reply], seconds = await run.call(text, tokens=tokens)
        run.step("answer")
        more = reply.usage.tok_out - short.usage.tok_out
        wall.append(more / max(seconds - base, 1e-9) if more > 0 else 0.0)
        spent = reply.usage.cpu_us - short.usage.cpu_us
        cpu.append(more * 1e6 / spent if more > 0 and spent > 0 else 0.0)
    found.answer_s, found.answer_cpu = Range.of(wall), Range.of(cpu)


async def _level(run: _Run, found: Bench, at_once: int, tokens: int) -> None:
    rates, walls = [], []
    for _ in range(run.found.repeats):
        texts = [f"{secrets.token_hex(4)} Write the numbers from one to fifty in words:" for _ in range(at_once)]
        replies, seconds = await run.call(*texts, tokens=tokens)
        run.step(f"{at_once} at once")
        rates.append(sum(r.usage.tok_out for r in replies) / seconds)
        walls.append(seconds)
    found.levels.append(Level(at_once, Range.of(rates), Range.of(walls)))
