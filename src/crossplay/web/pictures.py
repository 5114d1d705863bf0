"""Pictures as small binary messages: what changed since the last one sent, packed. The page's `js/screen.js` reads them.

A message is a header of 20 bytes, little-endian, and the pixels of one box:

    u8 kind (1: picture) | u8 flags | u8 screen | u8 zero | u32 tick | u16 width, height of the picture |
    u16 x, y, width, height of the box

flags: 1 = key (what was shown before is gone: black), 2 = the pixels are deflated (RFC 1951, no wrapper).
The pixels are the box's rows of RGB bytes, each the exclusive-or of the new picture and the one before, so that a
message of equal pictures is its header alone.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

__all__ = ["DEFLATED", "HEADER", "KEY", "PICTURE", "Encoder"]

HEADER = struct.Struct("<BBBxIHHHHHH")
PICTURE = 1
KEY = 1
DEFLATED = 2
LARGEST = 4096  # pixels of a side: larger pictures are thinned out, pages do not show more
PLAIN = 64  # bytes of pixels that are not worth packing


class Encoder:
    """Makes the messages of one screen of one connection, in the order in which they are sent.

    screen: 0 to 255, which one it is where a connection has several.
    """

    def __init__(self, screen: int = 0) -> None:
        self.screen = screen
        self._last: np.ndarray | None = None

    def forget(self) -> None:
        """The next message stands by itself (for somebody who joins, or after one that was not sent)."""
        self._last = None

    def encode(self, picture: np.ndarray, tick: int) -> bytes:
        """The message of a picture: uint8[height, width, 3] (or [height, width], grey). tick: modulo 2**32."""
        picture = _rgb(picture)
        high, wide = picture.shape[:2]
        key = self._last is None or self._last.shape != picture.shape
        changed = picture if key or self._last is None else picture ^ self._last
        # The picture is kept, not its place: environments may draw the next one into the same array.
        self._last = picture.copy()
        x, y, box_wide, box_high = _box(changed)
        pixels = np.ascontiguousarray(changed[y : y + box_high, x : x + box_wide]).tobytes()
        packed = _deflated(pixels) if len(pixels) > PLAIN else pixels
        flags = KEY * key | DEFLATED * (len(packed) < len(pixels))
        if not flags & DEFLATED:
            packed = pixels
        head = HEADER.pack(PICTURE, flags, self.screen, tick & 0xFFFFFFFF, wide, high, x, y, box_wide, box_high)
        return head + packed


def _rgb(picture: np.ndarray) -> np.ndarray:
    """uint8[height, width, 3] with sides that the header can say."""
    picture = np.asarray(picture, np.uint8)
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    every = -(-max(picture.shape[:2]) // LARGEST)
    return picture[::every, ::every, :3]


def _box(changed: np.ndarray) -> tuple[int, int, int, int]:
    """(x, y, width, height) of the smallest box that holds all that is not zero."""
    rows = np.flatnonzero(changed.reshape(len(changed), -1).any(axis=1))
    if not len(rows):
        return 0, 0, 0, 0
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(np.bitwise_or.reduce(changed[top:bottom], axis=0).any(axis=1))
    return int(columns[0]), top, int(columns[-1]) + 1 - int(columns[0]), bottom - top


def _deflated(pixels: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return packer.compress(pixels) + packer.flush()
