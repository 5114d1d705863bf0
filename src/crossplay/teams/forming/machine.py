"""What state machines of this package share: refusals, replay, digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from crossplay.kernel import pack

__all__ = ["Refused", "counted", "digest", "replay"]

S = TypeVar("S")
M = TypeVar("M")


class Refused(Exception):
    """Why a message is not applied. code: a word that is counted; the text says it in full."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def counted(counts: dict[str, int], code: str) -> dict[str, int]:
    """The counts with one more of that code, in the order of codes."""
    more = {**counts, code: counts.get(code, 0) + 1}
    return dict(sorted(more.items()))


def replay(step: Callable[[S, M], tuple[S, Any]], start: S, messages: Iterable[M]) -> S:
    """The state after these messages, refused ones included: they change the counts of refusals and nothing else."""
    state = start
    for message in messages:
        state, _ = step(state, message)
    return state


def digest(state: msgspec.Struct) -> str:
    """BLAKE2b of a state, 16 hexadecimal digits: equal states have equal digests, on any machine."""
    return hashlib.blake2b(pack(msgspec.to_builtins(state)), digest_size=8).hexdigest()
