"""`Conduct` and `Channel`: what happens when an answer is missing or wrong, and to the mail."""

from __future__ import annotations

from typing import Literal

import msgspec

from crossplay.kernel.types import CrossplayError

__all__ = ["LINKS", "Channel", "Conduct", "parse_clock"]

LINKS = ("repeat", "noop", "random", "fail")
Link = Literal["repeat", "noop", "random", "fail"]


class Channel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the engine carries messages between seats.

    mode: "on"; "off" (what is said is recorded, nothing is delivered: the zero-message control);
    "shuffle" (each message is delivered with the body of one drawn from all said so far in the
    episode). delay: ticks. capacity: characters per seat and tick (the rest is cut and counted).
    noise: chance in [0, 1] that a word of a text, or a whole message that is not text, is erased.
    """

    mode: Literal["on", "off", "shuffle"] = "on"
    delay: int = 0
    capacity: int | None = None
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.delay < 0 or not 0.0 <= self.noise <= 1.0 or (self.capacity is not None and self.capacity < 0):
            raise CrossplayError(
                f"mail: delay {self.delay} and capacity {self.capacity} must not be negative, noise {self.noise} must lie in 0..1"
            )


class Conduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ordered links per fault kind; each link served is the recorded origin, and counted.

    A chain always ends in "fail": the seat forfeits the episode. fault_limit: share of served
    links among a cell's decisions above which the cell is flagged.
    """

    timeout: tuple[Link, ...] = ("repeat", "noop", "random")
    invalid: tuple[Link, ...] = ("noop", "random")
    error: tuple[Link, ...] = ("noop", "random")
    mail: Channel = Channel()
    fault_limit: float = 0.05

    def __post_init__(self) -> None:
        for kind in ("timeout", "invalid", "error"):
            for link in getattr(self, kind):
                if link not in LINKS:
                    raise CrossplayError(f"conduct.{kind}: {link!r} is not one of {', '.join(LINKS)}")


def parse_clock(clock: str) -> tuple[str, float]:
    """("wait", 0), ("deadline", seconds) or ("tick", hertz)."""
    kind, _, number = clock.partition(":")
    try:
        value = float(number) if kind != "wait" else 0.0
    except ValueError:
        value = -1.0
    if kind not in ("wait", "deadline", "tick") or (kind != "wait" and value <= 0):
        raise CrossplayError(f'clock: {clock!r} is not "wait", "deadline:SECONDS" or "tick:HZ"')
    return kind, value
