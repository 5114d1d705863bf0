"""Frames: u32 little-endian length, then one map, as MessagePack or (first byte `{`) JSON.

The worker kit carries a copy of this file: it needs numpy and msgspec alone, and Python 3.9.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np

from .arrays import Ring, decoder_hook, inline, to_lists
from .messages import CODES, MAJOR, MINOR, REQUESTS, SINCE, Act, Message, State

__all__ = ["FRAME", "BadFrame", "Codec", "Reader", "WireError", "agree"]

FRAME = 16 << 20  # bytes, unless another limit was agreed
_LENGTH = struct.Struct("<I")
_CLASSES = {cls.__struct_config__.tag: cls for cls in Message.__args__}  # type: ignore[attr-defined]

_NEW = {_CLASSES[tag]: since for tag, since in SINCE.items()}


class WireError(Exception):
    """An error of the protocol: a code, one line, whether asking again may help."""

    def __init__(self, code: str, message: str = "", retry: bool = False, detail: Any = None, id: int = 0) -> None:
        super().__init__((code + ": " + message) if message else code)
        self.code = code if code in CODES else "INTERNAL"
        self.message, self.retry, self.detail, self.id = message, retry, detail, id


class BadFrame(WireError):
    """What came is no frame of this protocol. id: of the request in it, where that could be read; tag: its verb."""

    def __init__(self, message: str, id: int = 0, code: str = "BAD_FRAME", tag: str = "") -> None:
        super().__init__(code, message, id=id)
        self.tag = tag


def agree(theirs: Any) -> list[int]:
    """The version of a connection: equal majors, the lower minor; raises VERSION otherwise."""
    good = isinstance(theirs, (list, tuple)) and len(theirs) == 2 and all(isinstance(n, int) for n in theirs)
    if not good or theirs[0] != MAJOR or theirs[1] < 0:
        raise WireError("VERSION", f"this side speaks {MAJOR}.{MINOR}, the other {theirs!r}")
    return [MAJOR, min(MINOR, theirs[1])]


class Codec:
    """Messages to frames and back, for one connection.

    json: write JSON instead of MessagePack (both are read). limit: bytes of the largest frame. minor: of
    the connection; newer messages are refused. ring: shared memory; `shared` is the size from which the
    owner of the ring puts arrays there.
    """

    def __init__(
        self,
        json: bool = False,
        limit: int = FRAME,
        minor: int = MINOR,
        ring: Ring | None = None,
        shared: int = 1 << 17,
    ) -> None:
        self.json, self.limit, self.minor, self.ring, self.shared = json, limit, minor, ring, shared
        self._shares = False  # whether the message at hand may
        hook = decoder_hook(ring)
        self._msgpack = msgspec.msgpack.Decoder(Message, ext_hook=hook)
        self._json = msgspec.json.Decoder(Message)
        self._plain = msgspec.msgpack.Decoder(ext_hook=lambda code, data: None)
        coder: Any = msgspec.json.Encoder if json else msgspec.msgpack.Encoder
        self._encode = coder(enc_hook=to_lists if json else self._array).encode

    def _array(self, value: Any) -> Any:
        if type(value) is not np.ndarray:
            return to_lists(value)
        ring = self.ring
        if self._shares and ring is not None and ring.owner and value.nbytes >= self.shared:
            return ring.put(value) or inline(value)
        return inline(value)

    def frame(self, message: Any) -> bytes:
        """A message as one frame; raises BAD_FRAME where it is larger than the limit, UNSUPPORTED where the other side
        is too old for it. Only observations go through shared memory: what they are read for ends with the answer.
        """
        kind = type(message)
        self._shares = kind is Act or kind is State or kind is dict  # plain maps: the check of workers
        if _NEW.get(kind, 0) > self.minor:
            raise WireError(
                "UNSUPPORTED", f"{kind.__struct_config__.tag}: this connection speaks minor version {self.minor}"
            )
        body = self._encode(message)
        if len(body) > self.limit:
            raise BadFrame(f"a frame of {len(body)} bytes, at most {self.limit}; send fewer rows at once")
        return _LENGTH.pack(len(body)) + body

    def message(self, body: Any) -> Any:
        """The message of a frame's body; raises `BadFrame` (BAD_FRAME, UNSUPPORTED, BAD_VALUE)."""
        is_json = body[0] == 123  # {
        try:
            found = (self._json if is_json else self._msgpack).decode(body)
        except msgspec.ValidationError as error:
            raise self._refused(body, is_json, error) from None
        except (msgspec.DecodeError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise BadFrame(f"cannot read the frame: {error}", self._id(body, is_json)) from None
        since = _NEW.get(type(found))
        if since is not None and since > self.minor:
            tag = type(found).__struct_config__.tag
            text = f"{tag} came with minor version {since}; this connection speaks {self.minor}"
            raise BadFrame(text, found.id if tag in REQUESTS else 0, "UNSUPPORTED")
        return found

    def _refused(self, body: Any, is_json: bool, error: Exception) -> BadFrame:
        """A map that is no message: an unknown verb, or a field that holds what it may not."""
        try:
            plain = msgspec.json.decode(body) if is_json else self._plain.decode(body)
        except Exception:
            return BadFrame(f"cannot read the frame: {error}")
        if not isinstance(plain, dict):
            return BadFrame(f"a frame holds one map, not {type(plain).__name__}")
        number, tag = plain.get("id"), plain.get("t")
        number = number if type(number) is int else 0
        if not isinstance(tag, str) or tag not in _CLASSES:
            return BadFrame(f"unknown message {str(tag)[:40]!r}", number, "UNSUPPORTED")
        return BadFrame(f"{tag}: {error}", number, "BAD_VALUE", tag)

    def _id(self, body: Any, is_json: bool) -> int:
        try:
            plain = msgspec.json.decode(body) if is_json else self._plain.decode(body)
            return plain["id"] if type(plain["id"]) is int else 0
        except Exception:
            return 0


class Reader:
    """Takes bytes as they come, gives whole bodies. Raises `BadFrame` at a length over the limit."""

    def __init__(self, limit: int = FRAME) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._need = 0  # bytes of the body that is being read; 0: its length is not known yet

    def whole(self, data: bytes) -> Any:
        """The body, where these bytes are exactly one frame and nothing waits; else None."""
        size = len(data)
        if self._buffer or not 4 < size <= self.limit + 4 or int.from_bytes(data[:4], "little") != size - 4:
            return None
        return data[4:] if size < 1024 else memoryview(data)[4:]

    def feed(self, data: bytes) -> list[Any]:
        """The bodies that are complete now, in order."""
        buffer = self._buffer
        buffer += data
        found: list[Any] = []
        start = 0
        while True:
            if len(buffer) - start < 4:
                break
            need = _LENGTH.unpack_from(buffer, start)[0]
            if need == 0 or need > self.limit:
                raise BadFrame(f"a frame of {need} bytes; it may have 1 to {self.limit}")
            if len(buffer) - start - 4 < need:
                self._need = need
                break
            found.append(bytes(buffer[start + 4 : start + 4 + need]))
            start += 4 + need
            self._need = 0
        if start:
            del buffer[:start]
        return found

    @property
    def wants(self) -> int:
        """A good number of bytes to read next."""
        return max(65536, self._need + 4 - len(self._buffer))

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)
