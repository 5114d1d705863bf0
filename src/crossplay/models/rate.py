"""A token bucket: no more than so many requests and tokens a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

__all__ = ["Rate"]


class Rate:
    """Spreads sendings over time. rpm, tpm: requests and tokens a minute; None: no limit.

    Both buckets hold a minute's worth and start full. A call that is larger than a bucket waits
    until it is full and leaves it in debt, so that nothing waits for ever.
    """

    def __init__(
        self,
        rpm: float | None,
        tpm: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limits = (rpm, tpm)
        self._level = [rpm or 0.0, tpm or 0.0]
        self._clock, self._sleep = clock, sleep
        self._last = clock()

    async def take(self, tokens: int) -> None:
        """Wait until one request with so many tokens may be sent."""
        if self._limits == (None, None):
            return
        while (wait := self._try(tokens)) > 0:
            await self._sleep(wait)

    def _try(self, tokens: int) -> float:
        """0 when it was taken, else seconds until it may be."""
        now = self._clock()
        passed, self._last = now - self._last, now
        wait = 0.0
        wants = (1.0, float(tokens))
        for i, limit in enumerate(self._limits):
            if limit is not None:
                self._level[i] = min(limit, self._level[i] + passed * limit / 60)
                lacking = min(wants[i], limit) - self._level[i]
                wait = max(wait, lacking * 60 / limit)
        if wait > 1e-9:
            return wait
        for i, limit in enumerate(self._limits):
            if limit is not None:
                self._level[i] -= wants[i]
        return 0.0
