"""How fast and how many at a time one endpoint is asked: token buckets, and a limit that adapts to 429."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

__all__ = ["Limiter", "Rate", "Throttle"]

GROW_AFTER = 16
"""Successes after which one more call may be in flight."""
LONGEST_HOLD_S = 60.0
"""How long a Retry-After may hold back calls that have not been sent yet."""


class Rate:
    """Spreads sendings over time. rpm, tpm: requests and tokens a minute; None: no limit.

    Both buckets hold a minute's worth and start full. Who comes takes at once, if need be from the
    future, and waits until that time: so calls go out in the order in which they came. A call that
    is larger than a bucket waits until it is full and leaves it in debt, so that nothing waits for ever.
    """

    def __init__(
        self,
        rpm: float | None,
        tpm: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limits = [rpm, tpm]
        self._level = [rpm or 0.0, tpm or 0.0]
        self._clock, self._sleep = clock, sleep
        self._last = clock()

    def tighten(self, rpm: float | None, tpm: float | None) -> None:
        """Keep to these limits too; a limit that is there already stays where it is lower."""
        for i, limit in enumerate((rpm, tpm)):
            now = self._limits[i]
            if limit is not None and (now is None or limit < now):
                self._level[i] = limit if now is None else min(limit, self._level[i])
                self._limits[i] = limit

    @property
    def limited(self) -> bool:
        """Whether there is a limit at all."""
        return self._limits[0] is not None or self._limits[1] is not None

    async def take(self, tokens: int) -> None:
        """Wait until one request with so many tokens may be sent."""
        if not self.limited:
            return
        wait = self._book(1.0, float(tokens))
        if wait > 1e-9:
            try:
                await self._sleep(wait)
            except asyncio.CancelledError:
                self._add(1.0, float(tokens))
                raise

    def give_back(self, tokens: int) -> None:
        """Of what was taken, so many tokens were not used."""
        self._add(0.0, float(tokens))

    def _book(self, *wants: float) -> float:
        """Take, and give the seconds until what was taken is there."""
        now = self._clock()
        passed, self._last = now - self._last, now
        wait = 0.0
        for i, limit in enumerate(self._limits):
            if limit is not None:
                level = min(limit, self._level[i] + passed * limit / 60)
                wait = max(wait, (min(wants[i], limit) - level) * 60 / limit)
                self._level[i] = level - wants[i]
        return wait

    def _add(self, *amounts: float) -> None:
        for i, limit in enumerate(self._limits):
            if limit is not None:
                self._level[i] = min(limit, self._level[i] + amounts[i])


class Limiter:
    """How many calls may be in flight: additive increase, multiplicative decrease, first come first served.

    `refused` halves the limit, not below 1, once for all calls that were in flight together; every
    `GROW_AFTER` successes add 1, up to the ceiling. halved: how often it was halved. It may be used
    from several event loops and threads.
    Source: D. Chiu and R. Jain, Analysis of the increase and decrease algorithms for congestion
    avoidance in computer networks, 1989.
    """

    def __init__(
        self,
        ceiling: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.ceiling = self.limit = ceiling
        self.flying = self.halved = 0
        self._good = 0
        self._until = 0.0
        self._clock, self._sleep = clock, sleep
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._lock = threading.Lock()

    def tighten(self, ceiling: int) -> None:
        """Keep to this ceiling too."""
        self.ceiling = min(self.ceiling, ceiling)
        self.limit = min(self.limit, ceiling)

    def walk_in(self) -> int | None:
        """As `enter`, where nothing has to be waited for; else None."""
        with self._lock:
            if self._until or self._waiting or self.flying >= self.limit:
                return None
            self.flying += 1
            return self.halved

    async def enter(self) -> int:
        """Wait for a place; give the number that `refused` wants to be told."""
        with self._lock:
            free = self.flying < self.limit and not self._waiting
            if free:
                self.flying += 1
            else:
                place = asyncio.get_running_loop().create_future()
                self._waiting.append(place)
        if not free:
            await self._turn(place)
        if self._until:
            await self._hold()
        return self.halved

    async def _turn(self, place: asyncio.Future[None]) -> None:
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()  # the place was given in the same moment: it goes to the next
            raise

    async def _hold(self) -> None:
        """Wait until the endpoint wants to be asked again."""
        try:
            while (wait := self._until - self._clock()) > 0:
                await self._sleep(wait)
        except asyncio.CancelledError:
            self.leave()
            raise
        self._until = 0.0

    def leave(self) -> None:
        """Give the place to the next who waits."""
        with self._lock:
            self.flying -= 1
            woken = self._woken() if self._waiting else ()
        for place in woken:
            self._grant(place)

    def _woken(self) -> list[asyncio.Future[None]]:
        """Who may go now, counted as flying already."""
        woken = []
        while self._waiting and self.flying < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self.flying += 1
                woken.append(place)
        return woken

    def _grant(self, place: asyncio.Future[None]) -> None:
        """Wake who waits for a place, in the event loop where it waits."""

        def wake() -> None:
            if place.done():
                self.leave()
            else:
                place.set_result(None)

        loop = place.get_loop()
        if loop is asyncio._get_running_loop():
            wake()
            return
        try:
            loop.call_soon_threadsafe(wake)
        except RuntimeError:  # that event loop has ended
            self.leave()

    def good(self) -> None:
        """A call was answered."""
        if self.limit < self.ceiling:
            self._good += 1
            if self._good >= GROW_AFTER:
                self._good = 0
                self.limit += 1

    def refused(self, entered: int, pause_s: float = 0.0) -> None:
        """A call that entered with this number was refused for its rate (429).

        pause_s: seconds for which the endpoint asks not to be asked; nothing new is sent meanwhile,
        for `LONGEST_HOLD_S` at most.
        """
        if entered == self.halved:
            self.halved += 1
            self._good = 0
            self.limit = max(1, self.limit // 2)
        if pause_s > 0:
            self._until = max(self._until, self._clock() + min(pause_s, LONGEST_HOLD_S))


class Throttle:
    """Buckets and limiter of one model at one endpoint."""

    _all: WeakValueDictionary[tuple[str, ...], Throttle] = WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(self, rpm: float | None, tpm: float | None, concurrency: int) -> None:
        self.rate = Rate(rpm, tpm)
        self.limiter = Limiter(concurrency)

    @classmethod
    def shared(cls, who: tuple[str, ...], rpm: float | None, tpm: float | None, concurrency: int) -> Throttle:
        """The one that all callers of this process share who ask the same; the lowest of their limits hold."""
        with cls._lock:
            throttle = cls._all.get(who)
            if throttle is None:
                throttle = cls._all[who] = cls(rpm, tpm, concurrency)
            else:
                throttle.rate.tighten(rpm, tpm)
                throttle.limiter.tighten(concurrency)
            return throttle
