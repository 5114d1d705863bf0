"""Time in rooms: how late ticks are, and how often somebody may knock."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

__all__ = ["Beat", "Bucket", "Buckets", "Lateness", "quantile"]

KEPT = 4096
"""Ticks whose lateness is kept."""


class Lateness(msgspec.Struct):
    """How late the ticks of a room were, in milliseconds after the moment that the clock names.

    ticks: how many were measured. p50, p99, worst: of the newest 4096.
    """

    ticks: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    worst_ms: float = 0.0


class Beat:
    """Measures the ticks of a clock of `hertz`, from the first one on."""

    def __init__(self, hertz: float) -> None:
        self.hertz = hertz
        self.start: float | None = None
        self.late: deque[float] = deque(maxlen=KEPT)
        self.ticks = 0

    def tick(self, number: int, now: float) -> None:
        """Tick `number` has come, at `now` (seconds of the event loop)."""
        if self.start is None:
            return
        self.ticks += 1
        self.late.append(max(0.0, now - (self.start + number / self.hertz)))

    def shown(self, number: int, now: float) -> None:
        """What tick `number` brings was shown. After the first one the engine's clock begins to run."""
        if self.start is None:
            self.start = now - number / self.hertz

    def restart(self) -> None:
        """Another episode begins: its first tick sets the clock anew."""
        self.start = None

    def told(self) -> Lateness:
        """What was measured so far."""
        if not self.late:
            return Lateness()
        late = sorted(self.late)
        middle, high = quantile(late, 0.5), quantile(late, 0.99)
        return Lateness(self.ticks, *(round(1e3 * s, 3) for s in (middle, high, late[-1])))


def quantile(ordered: list[float], q: float) -> float:
    """The smallest value that is no less than a share `q` of them."""
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


class Bucket:
    """So many at once, and `rate` per second in the long run."""

    def __init__(self, rate: float, burst: float, now: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.now = rate, burst, now
        self.left, self.at = burst, now()

    def take(self, cost: float = 1.0) -> bool:
        """Whether it may be; then it counts."""
        now = self.now()
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left < cost:
            return False
        self.left -= cost
        return True


class Buckets:
    """A bucket per name; the names that were not heard of for longest are forgotten."""

    def __init__(self, rate: float, burst: float, names: int = 1024, now: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self.names, self.now = rate, burst, names, now
        self._known: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, name: str, cost: float = 1.0) -> bool:
        """Whether this name may; then it counts."""
        bucket = self._known.get(name)
        if bucket is None:
            bucket = self._known[name] = Bucket(self.rate, self.burst, self.now)
        self._known.move_to_end(name)
        while len(self._known) > self.names:
            self._known.popitem(last=False)
        return bucket.take(cost)
