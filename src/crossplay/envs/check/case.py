"""`Case`: an environment under test, and the plays that the checks look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from crossplay.kernel.batch import BatchEnv
from crossplay.kernel.env import Env
from crossplay.kernel.registry import load, make_batch, make_env, split_name
from crossplay.kernel.seeds import Block, env_key, key
from crossplay.kernel.types import Msg, pack, unpack

__all__ = ["LONG", "Case", "Failed", "Moment", "Skipped", "first_difference"]

LONG = 5000  # ticks; longer episodes are not played to their end
IMAGE_EVERY = 7  # an image is drawn at every so many moments: it costs a hundred times a text


class Failed(Exception):
    """A check does not hold; the text says where."""


class Skipped(Exception):
    """A check does not apply; the text says why."""


class Moment(NamedTuple):
    """What one seat knew at one tick. data and views are packed; images stand at some moments only."""

    block: int
    tick: int
    seat: str
    data: bytes
    views: Mapping[str, bytes]

    def __str__(self) -> str:
        return f"block {self.block}, tick {self.tick}, seat {self.seat}"


class Case:
    """An environment under test. Instances are made fresh for every play, unless a check says otherwise."""

    def __init__(
        self,
        subject: str | Callable[[], Env],
        batch: Callable[[int], BatchEnv | None] | None,
        options: Mapping[str, Any],
        blocks: int,
        ticks: int,
        chance: bool | None,
        processes: bool,
    ) -> None:
        """subject: a registered name, or a function that makes an environment."""
        self.options, self.blocks, self.ticks = dict(options), range(blocks), ticks
        self.chance, self.processes = chance, processes
        self.name: str | None = None
        self.family: Any = None
        self.rest = ""
        if isinstance(subject, str):
            family, self.rest = split_name(subject)
            self.name, self.family = subject, load("envs", family, "environment")
            self._make: Callable[[], Env] = lambda: make_env(subject, options)
            self._batch = batch or (lambda width: make_batch(subject, width, options))
        else:
            self._make, self._batch = subject, batch or (lambda width: None)
        self.env = self._make()  # for static facts; it is never played
        self.id = self.env.id

    def fresh(self) -> Env:
        """A new instance that has never been reset."""
        return self._make()

    def wide(self, width: int) -> BatchEnv:
        """A new batch of that many rows, or `Skipped`."""
        batch = self._batch(width)
        if batch is None:
            raise Skipped("it has no array form")
        return batch

    def key(self, block: int) -> bytes:
        """The world's key of a block of the kit."""
        return env_key(Block(271828, block), self.id)

    def started(self, block: int = 0) -> Env:
        """A new instance at the start of a block."""
        env = self.fresh()
        env.reset(self.key(block))
        return env

    # -- playing -------------------------------------------------------------------------------------
    def known(self, env: Env) -> tuple[str, ...]:
        """The seats that may be asked for data now."""
        return env.to_act() if env.seat_ends else env.seats

    def choose(self, env: Env, block: int, tick: int, choice: int = 0) -> dict[str, Any]:
        """Random legal moves of the seats whose turn it is; another choice, other moves."""
        return {
            seat: env.spec(seat).draw(key("check", choice, block, seat), tick, env.legal(seat)) for seat in env.to_act()
        }

    def mail(self, env: Env, tick: int) -> list[Msg]:
        """Something to read, for environments that read their mail."""
        if not env.mailed:
            return []
        return [Msg(dst, f"word {tick}", "main", src, tick) for src in env.to_act() for dst in env.audience(src)]

    def course(self, env: Env, block: int, limit: int | None = None, choice: int = 0) -> Iterator[bytes]:
        """The course of an episode as one packed record per tick, the start first. Resets env."""
        env.reset(self.key(block))
        yield self.record(env, (), {})
        yield from self.goes_on(env, block, 0, limit, choice)

    def goes_on(self, env: Env, block: int, tick: int, limit: int | None = None, choice: int = 0) -> Iterator[bytes]:
        """The records from a tick on, without a reset."""
        last = self.ticks if limit is None else limit
        while tick < last and env.ended() is None:
            actions = self.choose(env, block, tick, choice)
            rewards = env.step(actions, self.mail(env, tick))
            tick += 1
            yield self.record(env, rewards, actions)

    def record(self, env: Env, rewards: Any, actions: Any) -> bytes:
        """Everything that can be seen of a state from outside, and the fingerprint."""
        ended = env.ended()
        seats = self.known(env) if ended is None or not env.seat_ends else ()
        return pack(
            {
                "actions": actions,
                "rewards": [float(r) for r in rewards],
                "fingerprint": env.fingerprint(),
                "ended": ended,
                "to_act": list(env.to_act()) if ended is None else [],
                "legal": [env.legal(s) for s in env.to_act()] if ended is None else [],
                "data": {s: env.data(s) for s in seats},
                "score": {k: float(v) for k, v in env.score().items()},
            }
        )

    @cached_property
    def courses(self) -> list[list[bytes]]:
        """The course of every block, each played on a new instance: what other plays must equal."""
        return [list(self.course(self.fresh(), block)) for block in self.blocks]

    @cached_property
    def moments(self) -> list[Moment]:
        """What seats knew while they played, over all blocks, in order."""
        found: list[Moment] = []
        for block in self.blocks:
            env = self.started(block)
            for tick in range(self.ticks):
                if env.ended() is not None:
                    break
                for seat in self.known(env):
                    pictured = len(found) % IMAGE_EVERY == 0
                    views = {
                        n: pack(env.view(seat, n)) for n in env.views if n != "data" and (n != "image" or pictured)
                    }
                    found.append(Moment(block, tick, seat, pack(env.data(seat)), views))
                env.step(self.choose(env, block, tick), self.mail(env, tick))
        return found


def first_difference(a: list[bytes], b: list[bytes], first: int = 0) -> str:
    """Where two courses part, and in what; an empty text when they are equal. first: records left out before."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            left, right = unpack(x), unpack(y)
            parts = [k for k in left if pack(left[k]) != pack(right.get(k))]
            return f"{f'after tick {i + first - 1}' if i + first else 'at the start'} in {', '.join(parts)}"
    return "" if len(a) == len(b) else f"in length ({len(a) + first - 1} and {len(b) + first - 1} ticks)"
