"""Arrays on the wire: inline as (dtype, shape, bytes), or in shared memory with generations.

The worker kit carries a copy of this file: it needs numpy and msgspec alone, and Python 3.9.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import struct
import tempfile
from typing import Any

import msgspec
import numpy as np

__all__ = ["INLINE", "SHARED", "Ring", "Stale", "decoder_hook", "inline", "to_lists"]

INLINE, SHARED = 1, 2  # extension codes
_HEADER = struct.Struct("<QQ")  # generation, bytes in use
_DTYPE = re.compile("[<>|=]?[biuf][1248]").fullmatch
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[str, tuple[int, ...], memoryview]).decode  # the bytes are not copied
_unpack_shared = msgspec.msgpack.Decoder(tuple[int, int, str, tuple[int, ...]]).decode
_Ext = msgspec.msgpack.Ext
_names: dict[np.dtype, str] = {}
_dtypes: dict[str, np.dtype] = {}  # those met so far; what is in here has been looked at


class Stale(ValueError):
    """A slot of shared memory holds something newer than what was sent."""


def inline(array: np.ndarray) -> msgspec.msgpack.Ext:
    """An array as extension 1: MessagePack of (dtype, shape, bytes)."""
    name = _names.get(array.dtype)
    if name is None:
        name = array.dtype.str
        _dtype(name)
        _names[array.dtype] = name
    large = array.nbytes >= 4096 and array.flags.c_contiguous
    raw = array.reshape(-1).data.cast("B") if large else array.tobytes()
    return _Ext(INLINE, _pack((name, array.shape, raw)))


def _dtype(name: str) -> np.dtype:
    found = _dtypes.get(name)
    if found is None:
        if not _DTYPE(name):  # numpy would also read lists of fields, as Python expressions
            raise TypeError("arrays on the wire hold numbers or booleans, not " + name[:40])
        found = np.dtype(name)
        if len(_dtypes) < 64:
            _dtypes[name] = found
    return found


def to_lists(value: Any) -> Any:
    """What JSON frames hold instead of arrays."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError("cannot send " + type(value).__name__)


class Ring:
    """Slots of shared memory that the engine writes and the worker reads in place.

    Memory: `slots` times (16 bytes header, `size` bytes). The header's generation goes up with each use;
    a reference on the wire is (slot, generation, dtype, shape). A reader checks it before and after it
    has worked with the data: a slot that was written again in between is an error, never wrong data.
    The memory has no name; the worker inherits its descriptor.
    """

    def __init__(self, fd: int, slots: int, size: int, owner: bool) -> None:
        self.fd, self.slots, self.size, self.owner = fd, slots, size, owner
        self.stride = _HEADER.size + (size + 63) // 64 * 64
        self.map = (
            mmap.mmap(fd, self.stride * slots) if owner else mmap.mmap(fd, self.stride * slots, prot=mmap.PROT_READ)
        )
        self.free = list(range(slots))
        self.generations = [0] * slots
        self.taken: list[int] = []  # slots written for the message that is being encoded
        self.read: list[tuple[int, int]] = []  # slots that the message at hand refers to

    @classmethod
    def create(cls, slots: int, size: int) -> Ring:
        """Fresh memory without a name."""
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("crossplay")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        ring_size = (_HEADER.size + (size + 63) // 64 * 64) * slots
        os.ftruncate(fd, ring_size)
        return cls(fd, slots, size, True)

    def put(self, array: np.ndarray) -> msgspec.msgpack.Ext | None:
        """The reference to a copy of the array, or None where no slot is free or large enough."""
        if array.nbytes > self.size or not self.free or not _DTYPE(array.dtype.str):
            return None
        slot = self.free.pop()
        self.taken.append(slot)
        self.generations[slot] += 1
        start = slot * self.stride
        # The generation first: who still reads the slot's former content must see that it is gone.
        _HEADER.pack_into(self.map, start, self.generations[slot], array.nbytes)
        target = np.frombuffer(self.map, array.dtype, array.size, start + _HEADER.size).reshape(array.shape)
        target[...] = array
        return msgspec.msgpack.Ext(SHARED, _pack((slot, self.generations[slot], array.dtype.str, array.shape)))

    def take(self) -> list[int]:
        """The slots written since the last call: they are free again when the message was answered."""
        taken, self.taken = self.taken, []
        return taken

    def release(self, slots: list[int]) -> None:
        """These slots may be written again."""
        self.free += slots

    def get(self, data: Any) -> np.ndarray:
        """The array of a reference, in place and read-only; raises `Stale`."""
        slot, generation, dtype, shape = _unpack_shared(data)
        if not 0 <= slot < self.slots:
            raise ValueError("shared memory has no slot " + str(slot))
        kind = _dtype(dtype)
        count = 1
        for side in shape:
            count *= side
        if min(shape, default=1) < 0 or count * kind.itemsize > self.size:
            raise ValueError("an array that does not fit its slot")
        self.check([(slot, generation)])
        self.read.append((slot, generation))
        array = np.frombuffer(self.map, kind, count, slot * self.stride + _HEADER.size).reshape(shape)
        array.flags.writeable = False
        return array

    def check(self, read: list[tuple[int, int]]) -> None:
        """Raise `Stale` when any of these slots was written again."""
        for slot, generation in read:
            found = _HEADER.unpack_from(self.map, slot * self.stride)[0]
            if found != generation:
                raise Stale(f"slot {slot} holds generation {found}, not {generation}")

    def close(self) -> None:
        """Give the memory back; arrays that still look at it keep it alive."""
        with contextlib.suppress(BufferError):
            self.map.close()
        os.close(self.fd)


def decoder_hook(ring: Ring | None) -> Any:
    """The hook of a decoder that reads arrays of both kinds."""

    def hook(code: int, data: memoryview) -> Any:
        if code == INLINE:
            dtype, shape, raw = _unpack(data)
            array: Any = np.ndarray(shape, _dtype(dtype), raw)  # refuses too few bytes
            if array.nbytes != len(raw) or array.shape != shape:
                raise ValueError("an array whose bytes are not those of its shape")
            return array
        if code == SHARED and ring is not None:
            return ring.get(data)
        raise ValueError("unknown extension " + str(code))

    return hook
