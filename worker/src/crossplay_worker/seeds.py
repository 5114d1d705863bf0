"""Seeds: every random number has an address, none is consumed from a generator.

A *key* is 16 bytes derived from names by a hash; a *draw* is a pure function of (key, counters).
Two lineups that meet the same block therefore meet the same chance at every address, also after
their play has diverged, and a snapshot needs no generator state.

Source: keys are BLAKE2b-128 of the MessagePack of the names; draws chain the SplitMix64 finaliser
(Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators") over the counters.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Block",
    "draw",
    "env_key",
    "generator",
    "item_of",
    "key",
    "key64",
    "permutation",
    "pick",
    "seat_key",
    "uniform",
]

_M64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_C1 = 0xBF58476D1CE4E5B9
_C2 = 0x94D049BB133111EB
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_U64 = np.uint64


class Block(msgspec.Struct, frozen=True, order=True):
    """Where an episode stands: the unit of pairing.

    root: the seed of the whole study; block: environment seed, question or participant;
    replicate: repetition of the same block with other agent streams (the world's chance is equal).
    """

    root: int = 0
    block: int | str = 0
    replicate: int = 0


def key(*names: Any) -> bytes:
    """16 bytes that address a stream of chance; names are anything MessagePack can hold."""
    return hashlib.blake2b(_encode(names), digest_size=16).digest()


def key64(k: bytes) -> int:
    """The first 64 bits of a key as an integer in [0, 2**64): what array kernels carry."""
    return int.from_bytes(k[:8], "little")


def env_key(at: Block, env_id: str) -> bytes:
    """The world's key: (root, env id, block), and nothing else (invariant 1)."""
    return key("world", at.root, env_id, at.block)


@lru_cache(maxsize=8)
def _order(root: Any, env_id: str, items: int) -> list[int]:
    return permutation(key("items", root, env_id), items)


def item_of(at: Block, env_id: str, items: int) -> int | str:
    """Which of so many questions a block asks: a text names one; whole numbers go through an order
    drawn from (root, env id), so that none comes again before all were asked.
    """
    if isinstance(at.block, str):
        return at.block
    return _order(at.root, env_id, items)[at.block % items]


def seat_key(at: Block, seat: str) -> bytes:
    """An agent's key: (root, block, seat, replicate); members and rounds append their path."""
    return key("seat", at.root, at.block, seat, at.replicate)


def _mix(h: int, c: int) -> int:
    z = ((h ^ (c * _GOLDEN)) + _GOLDEN) & _M64
    z = ((z ^ (z >> 30)) * _C1) & _M64
    z = ((z ^ (z >> 27)) * _C2) & _M64
    return z ^ (z >> 31)


@overload
def draw(k: bytes | int, *counters: int) -> int: ...
@overload
def draw(k: NDArray[np.uint64], *counters: Any) -> NDArray[np.uint64]: ...
def draw(k: Any, *counters: Any) -> Any:
    """64 random bits at an address.

    k: a key (bytes), its first 64 bits (int), or uint64[B]. counters: usually (tick, slot);
    non-negative integers or, with an array key, integer arrays that broadcast with it.
    The array form gives the same bits as the scalar one. One round at least is always applied.
    """
    if isinstance(k, np.ndarray):
        if (
            k.ndim == 1
            and len(k) == 1
            and all(isinstance(c, int) or (np.ndim(c) < 2 and np.size(c) == 1) for c in counters)
        ):
            # One row: plain integers are twenty times as fast as array calls, with equal bits.
            return np.array(
                [draw(int(k[0]), *(int(c if isinstance(c, int) else np.ravel(c)[0]) for c in counters))], _U64
            )
        h: Any = k
        with np.errstate(over="ignore"):
            for c in counters or (0,):
                h = _mix_array(h, c)
        return h
    h = key64(k) if isinstance(k, bytes) else k
    for c in counters or (0,):
        h = _mix(h, c)
    return h


def _mix_array(h: Any, c: Any) -> Any:
    step = np.asarray(c).astype(_U64) * _U64(_GOLDEN)
    z = (h ^ step) + _U64(_GOLDEN)
    z = (z ^ (z >> _U64(30))) * _U64(_C1)
    z = (z ^ (z >> _U64(27))) * _U64(_C2)
    return z ^ (z >> _U64(31))


def pick(k: Any, n: Any, *counters: Any) -> Any:
    """An integer in [0, n) at an address (scalar or array as the key is); 1 <= n < 2**31.

    Multiply-shift on the upper 32 bits: the bias is below n / 2**32.
    """
    x = draw(k, *counters)
    if isinstance(x, np.ndarray):
        n64 = np.asarray(n).astype(_U64)
        return (((x >> _U64(32)) * n64) >> _U64(32)).astype(np.int64)
    return ((x >> 32) * n) >> 32


def uniform(k: Any, *counters: Any) -> Any:
    """A float in [0, 1) with 53 random bits at an address (scalar or array as the key is)."""
    x = draw(k, *counters)
    if isinstance(x, np.ndarray):
        return (x >> _U64(11)).astype(np.float64) * 2.0**-53
    return (x >> 11) * 2.0**-53


def permutation(k: bytes | int, n: int, *counters: int) -> list[int]:
    """A uniformly random order of range(n) (Fisher-Yates; the last counter is the position)."""
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = pick(k, i + 1, *counters, i)
        order[i], order[j] = order[j], order[i]
    return order


def generator(k: bytes) -> np.random.Generator:
    """A sequential numpy generator (Philox) for agents that want one. Never for environments."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(k, "little")))
