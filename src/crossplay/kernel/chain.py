"""The two chains of an episode that are equal for all drivers and every replay.

world: what happened (canonical joint actions, delivered mail, rewards, fingerprints). It holds no
agent, view, time or usage, so a person's episode equals its headless replay.
mind: what happened inside seats (member and model events in structural order).

A digest is BLAKE2b-256. Records are chained in blocks of 32 ticks, because an open hash object
cannot be part of a snapshot and one hash a tick costs ten times as much.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from crossplay.kernel.types import Msg, pack

__all__ = ["BLOCK", "WorldChain", "mind_link", "mind_start", "record_dtype", "world_start"]

BLOCK = 32  # ticks


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def world_start(env_id: str, seats: Sequence[str]) -> bytes:
    """The first link: format, environment, seats.

    No block: what chance did stands in the fingerprints, and episodes that went the same way in
    several blocks must count as one (invariant 7).
    """
    return _world_start(env_id, tuple(seats))


@functools.lru_cache(256)
def _world_start(env_id: str, seats: tuple[str, ...]) -> bytes:
    return _hash(pack(("crossplay/1", env_id, list(seats))))


def record_dtype(acting: int, seats: int) -> np.dtype:
    """The packed record of a tick: tag, u32 tick, (u16 seat, i32 value) * acting, f64 * seats, u64."""
    pair = np.dtype([("seat", "<u2"), ("value", "<i4")])
    return np.dtype(
        [("tag", "u1"), ("tick", "<u4"), ("act", pair, (acting,)), ("rewards", "<f8", (seats,)), ("fp", "<u8")]
    )


@functools.cache
def packed_struct(acting: int, seats: int) -> struct.Struct:
    """The same layout for one tick (little-endian, no padding)."""
    return struct.Struct("<BI" + "Hi" * acting + f"{seats}dQ")


def open_record(
    tick: int, actions: Sequence[tuple[int, Any]], mail: Sequence[Msg], rewards: Sequence[float], fingerprint: int
) -> bytes:
    """The record of a tick with mail or with values that are not names: tag 1 and MessagePack."""
    envelopes = [[m.src, m.dst, m.channel, m.tick, m.body] for m in mail]
    body = pack((tick, [list(a) for a in actions], envelopes, [r + 0.0 for r in rewards], fingerprint))
    return b"\x01" + len(body).to_bytes(4, "little") + body


class WorldChain:
    """The world chain of one episode; its state (digest, pending records) is plain data."""

    __slots__ = ("digest", "pending")

    def __init__(self, digest: bytes, pending: list[bytes] | None = None) -> None:
        self.digest = digest
        self.pending: list[bytes] = pending or []

    def add(self, record: bytes) -> None:
        """Append the record of one tick."""
        pending = self.pending
        pending.append(record)
        if len(pending) == BLOCK:
            self.digest = _hash(self.digest + b"".join(pending))
            pending.clear()

    def add_rows(self, rows: bytes, size: int) -> None:
        """Append fixed-size packed records that lie one after the other."""
        for i in range(0, len(rows), size):
            self.add(rows[i : i + size])

    def end(self, status: str) -> bytes:
        """The last link: what is pending, and how it ended."""
        return _hash(self.digest + b"".join(self.pending) + status.encode())


def world_digest(start: bytes, rows: bytes, size: int, status: str) -> bytes:
    """The digest of a whole episode of packed records (columnar driver): as WorldChain, in blocks."""
    step = size * BLOCK
    whole = len(rows) // step * step
    d = start
    for i in range(0, whole, step):
        d = _hash(d + rows[i : i + step])
    return _hash(d + rows[whole:] + status.encode())


def mind_start() -> bytes:
    """The first link of a mind chain; it stays so for an episode without inner events."""
    return _hash(b"crossplay/mind/1")


def mind_link(digest: bytes, tick: int, seat: int, path: Sequence[int], ord_: int, kind: str, data: Any) -> bytes:
    """The next link: structure and content of one inner event, without usage and time."""
    return _hash(digest + pack((tick, seat, list(path), ord_, kind, data)))
