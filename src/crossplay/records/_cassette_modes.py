"""How a cassette is used: the modes, and where a fork leaves the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError
from crossplay.records._cassette_rows import Address, Call, Row

if TYPE_CHECKING:
    from crossplay.records.cassette import Cassette

__all__ = ["Fork", "Mode", "check_mode", "same_place"]

Mode = Literal["record", "strict", "lenient", "fork", "refresh", "off"]


def check_mode(mode: str, fork: Fork | None) -> None:
    """Raise unless the mode exists and has what it needs."""
    known = get_args(Mode)
    if mode not in known:
        raise CrossplayError(f'cassette: unknown mode "{mode}".{nearest(mode, known)}')
    if (mode == "fork") != (fork is not None):
        raise CrossplayError(
            f'cassette: mode "{mode}" with fork = {fork!r}; a fork and only a fork says where it leaves'
        )


class Fork(msgspec.Struct):
    """Where a replay leaves the record of `base`: strict before, live after.

    tick: the tick that forks. key: the one call inside it whose answer is replaced by `reply`; seat
    and path: where that call stands. Without a key no answer is replaced, and all of the tick is
    strict. The tick's other calls are read from the record where they are the very same: asked
    beside the replaced answer, not because of it.
    """

    base: Cassette
    tick: int
    seat: str = ""
    path: tuple[Any, ...] = ()
    key: bytes = b""
    reply: bytes = b""

    def replaces(self, call: Call) -> bool:
        """Whether this is the call whose answer is replaced."""
        return call.key == self.key

    def recorded(self, address: Address) -> bool:
        """Whether the record is looked at."""
        return _time(address) <= self.tick

    def live(self, address: Address) -> bool:
        """Whether a call that the record does not hold may be sent."""
        *_, seat, _, path = address
        if _time(address) != self.tick:
            return _time(address) > self.tick
        return bool(self.key) and (seat != self.seat or tuple(path) >= self.path)


def _time(address: Address) -> float:
    """The tick of a call; what is asked at the beginning comes before the tick, at the end after it."""
    *_, tick, path = address
    first = path[0] if path else 0
    return float(tick) - 0.5 if first == -1 else float(tick) + 0.5 if first == -2 else float(tick)


def same_place(a: Row, b: Call) -> bool:
    """Whether two calls stand at the same place of their blocks: replicate, seat, tick, path, k.

    Two calls of one block never do, so answers given by place never serve two calls of one block.
    """
    return (a.call.address[3:], a.call.k) == (b.address[3:], b.k)
