"""`Replay`: an episode played again from its record, to be looked at tick by tick, forwards and back.

Nothing that a run names is executed but installed environments: moves and delivered messages are those of the
record. Each step is compared with it: a replay that leaves the record says so and shows nothing after that tick.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from crossplay.kernel import WORLD, Block, CrossplayError, Event, Msg, unpack
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.records.identity import machine
from crossplay.study.frames import TOLERANCE, words_of, world_of
from crossplay.study.spec import Study

__all__ = ["Parted", "Replay", "by_tick"]

APART = 50
"""Ticks between two snapshots at first."""
ROOM = 32 << 20
"""Bytes of snapshots of one replay; where they would take more, every second one is given up."""


class Parted(CrossplayError):
    """The replay left the record at `tick`: what was played after it cannot be shown."""

    def __init__(self, tick: int, why: str) -> None:
        super().__init__(
            f"played again here, the episode leaves its record at tick {tick}: {why}; `crossplay verify` says more"
        )
        self.tick = tick


def by_tick(events: Sequence[Event]) -> dict[int, list[Event]]:
    """The rows of each tick, in their order."""
    return {tick: list(found) for tick, found in itertools.groupby(events, lambda e: e.tick)}


class Replay:
    """One environment that stands at a tick of the episode. Not thread-safe.

    tick: where it stands; the world is as it was before the moves of that tick. drift: the first tick after which
    the state differed in its last digits (another processor or other packages), or None. played: how many steps
    were made so far, for tests and measurements.
    """

    def __init__(
        self, run: RunFolder, study: Study, record: EpisodeRecord, events: Sequence[Event] | None = None
    ) -> None:
        """events: the rows of the episode where they are at hand. Raises CrossplayError where it cannot be played here."""
        self.env, _, _ = world_of(run, study, record)
        self.record = record
        self.last = record.ticks
        self.tick = 0
        self.drift: int | None = None
        self.played = 0
        self._rows = by_tick(run.events(record.id) if events is None else events)
        self._source = run.sources()[record.source]
        self._parted: Parted | None = None
        self._kept: dict[int, bytes] = {}
        self._apart = APART
        self._at = Block(record.root, record.block, record.replicate)
        self._start()

    def close(self) -> None:
        """Free what the environment holds."""
        self._kept.clear()
        self.env.close()

    def seek(self, tick: int) -> None:
        """Go to a tick (cut to 0 ... `last`). Raises `Parted` where the record cannot be followed so far."""
        tick = min(max(tick, 0), self.last)
        if self._parted is not None and tick > self._parted.tick:
            raise self._parted
        if tick < self.tick or any(self.tick < t <= tick for t in self._kept):
            self._back(tick)
        while self.tick < tick:
            self._step()

    # -- what is there to see ------------------------------------------------------------------------------
    def picture(self) -> np.ndarray | None:
        """The whole world for spectators: uint8[height, width, 3], or None."""
        return self.env.picture()

    def text(self) -> str:
        """The whole world in words; where there are none, what the seats read."""
        return words_of(self.env)

    def view(self, seat: str, name: str) -> Any:
        """What a seat could see at this tick: "data", "text", "array", "image", or "text of skills" (the short text
        that an agent reads who chooses among skills).
        """
        if name == "text of skills":
            short = getattr(self.env.skills, "text", None)
            if short is None:
                raise CrossplayError(f"{self.env.id} has no text of skills")
            return short(self.env.data(seat))
        return self.env.view(seat, name)

    # -- moving ----------------------------------------------------------------------------------------------
    def _start(self) -> None:
        try:
            self.env.start(self._at)
        except CrossplayError:
            raise
        except Exception as error:  # a foreign environment may fail in any way
            raise Parted(0, f"{type(error).__name__}: {error}"[:300]) from error
        self.tick = 0

    def _back(self, tick: int) -> None:
        """The nearest earlier place that is kept, else the beginning."""
        near = max((t for t in self._kept if t <= tick), default=None)
        if near is None:
            self._start()
            return
        self.env.restore(self._kept[near])
        self.tick = near

    def _step(self) -> None:
        env, tick = self.env, self.tick
        if tick % self._apart == 0 and tick and tick not in self._kept:
            self._keep(tick)
        moves: dict[str, Any] = {}
        mail: list[Msg] = []
        step: Event | None = None
        for e in self._rows.get(tick, ()):
            if e.kind == "act":
                moves[env.seats[e.seat]] = e.value if e.payload is None else unpack(e.payload)
            elif e.kind == "mail" and e.seat == WORLD:
                src, dst, channel, said, body = unpack(e.payload or b"\xc0")
                mail.append(Msg(dst, body, channel, src, said))
            elif e.kind == "step":
                step = e
        try:
            if step is None:
                raise CrossplayError(f"the record ends at tick {tick}")
            self._same(step, env.step(self._asked(moves), mail))
        except Exception as error:
            why = str(error) if isinstance(error, CrossplayError) else f"{type(error).__name__}: {error}"
            self._parted = Parted(tick, why[:300])
            self._back(0)  # the environment stands where nothing was recorded
            raise self._parted from error
        self.tick += 1
        self.played += 1

    def _asked(self, moves: dict[str, Any]) -> dict[str, Any]:
        ended = self.env.ended()
        if ended is not None:
            raise CrossplayError(f"it has ended already ({ended})")
        acting = self.env.to_act()
        if set(acting) != set(moves):
            raise CrossplayError(
                f"it is the turn of {', '.join(acting)}, recorded are {', '.join(moves) or 'no moves'}"
            )
        return {s: moves[s] for s in acting}

    def _same(self, recorded: Event, rewards: Sequence[float]) -> None:
        before = recorded.rewards or ()
        near = len(before) == len(rewards) and all(
            abs(a - b) <= TOLERANCE * max(1.0, abs(b)) for a, b in zip(rewards, before, strict=True)
        )
        if not near:
            raise CrossplayError(f"the rewards are {_few(rewards)}, recorded are {_few(before)}")
        if self.env.fingerprint() != recorded.fingerprint:
            if self.env.exact and _same_machine(self._source):
                raise CrossplayError("the state of the world is another one")
            self.drift = recorded.tick if self.drift is None else min(self.drift, recorded.tick)

    def _keep(self, tick: int) -> None:
        """A snapshot, so that going back need not begin at the beginning."""
        try:
            self._kept[tick] = self.env.snapshot()
        except Exception:  # it cannot say its state: going back plays from the beginning
            self._apart = 1 << 60
            return
        while sum(map(len, self._kept.values())) > ROOM and len(self._kept) > 1:
            self._apart *= 2
            self._kept = {t: s for t, s in self._kept.items() if t % self._apart == 0}


def _few(values: Sequence[float]) -> str:
    return ", ".join(f"{v:g}" for v in values[:8]) + (" ..." if len(values) > 8 else "")


def _same_machine(source: dict[str, Any]) -> bool:
    """Whether equal moves must lead to equal bits: the same processor and the same packages."""
    here = machine()
    return all(source.get(name) == here.get(name) for name in ("cpu", "lock_digest"))
