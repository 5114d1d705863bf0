"""The log of a cassette: what was written last and does not stand in SQLite yet.

`cassette.log` beside `cassette.sqlite`, while the cassette is open and after a kill; a clean close leaves
none. Sixteen bytes of head, then one record per write, appended by one system call each, which no kill of
the process undoes:

    "call"   number of the record   length   crc32 of the body   crc32 of these 16 bytes   body

The body is a MessagePack list: a row is the list of its columns, a row that is taken back its key alone.
Records are numbered from 0, so that one that was taken out is missed. What is written is never changed:
rows that were folded into SQLite leave by a new file that takes the place of the old one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["HEAD", "SHARED", "Columns", "Logged", "frame", "log_path", "read_log", "scan"]

HEAD = b"crossplay log 1\0"
SHARED = len(HEAD) - 1
"""The byte of the head by which another process says that it writes to this cassette as well."""
MARK = b"call"
_front = struct.Struct("<4sIII")
_check = struct.Struct("<I")
FRONT = _front.size + _check.size
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[tuple[Any, ...] | bytes, ...]).decode

Columns = tuple[Any, ...]
"""A row as SQLite keeps it, without its seal."""


class Logged(msgspec.Struct):
    """What a log holds. rows: by key, None where the row was taken back. damage: what is wrong, record by
    record. suspects: columns, as far as they can still be read, of damaged records. torn: bytes of a last
    record that a kill cut short; it was never written.
    """

    rows: dict[bytes, Columns | None] = msgspec.field(default_factory=dict)
    records: int = 0
    damage: list[str] = msgspec.field(default_factory=list)
    suspects: list[Columns] = msgspec.field(default_factory=list)
    torn: int = 0

    def take(self, parts: Iterable[Columns | bytes]) -> None:
        """The rows of one record, which hold from now on."""
        for part in parts:
            if isinstance(part, bytes):
                self.rows[part] = None
            else:
                self.rows[part[0]] = part


def log_path(path: Path) -> Path:
    """The log's file: `cassette.log` beside `cassette.sqlite`."""
    return path.with_suffix(".log")


def frame(number: int, parts: Sequence[Columns | bytes]) -> bytes:
    """One record of the log."""
    body = _encode(parts)
    front = _front.pack(MARK, number & 0xFFFFFFFF, len(body), zlib.crc32(body))
    return front + _check.pack(zlib.crc32(front)) + body


def read_log(path: Path) -> Logged:
    """What the log of a cassette holds; nothing where there is none."""
    try:
        return scan(log_path(path).read_bytes())
    except FileNotFoundError:
        return Logged()


def scan(raw: bytes) -> Logged:
    """What the bytes of a log hold."""
    found = Logged()
    if raw[:SHARED] != HEAD[: min(len(raw), SHARED)]:
        found.damage.append("its head is damaged")
    at, size = min(len(raw), len(HEAD)), len(raw)
    while at < size:
        front = raw[at : at + FRONT]
        if len(front) < FRONT or not any(raw[at:]):  # zeros: room that a power cut left without content
            found.torn = size - at
            break
        length, number = _length(front)
        if length < 0:
            at = _skip(raw, at, found, "cannot be read")
            continue
        if number != found.records:
            found.damage.append(f"{number - found.records} records before record {number} are gone")
            found.records = number
        if at + FRONT + length > size:
            found.torn = size - at
            break
        body = raw[at + FRONT : at + FRONT + length]
        if zlib.crc32(body) != _front.unpack_from(front)[3]:
            _suspect(found, body)
            found.damage.append(f"record {found.records} is damaged")
        else:
            found.take(_decode(body))
        found.records += 1
        at += FRONT + length
    return found


def _length(front: bytes) -> tuple[int, int]:
    """(length of the body, number) of a record, (-1, 0) where its front is damaged."""
    mark, number, length, _ = _front.unpack_from(front)
    if mark != MARK or _check.unpack_from(front, _front.size)[0] != zlib.crc32(front[: _front.size]):
        return -1, 0
    return length, number


def _skip(raw: bytes, at: int, found: Logged, what: str) -> int:
    """Where the next record begins whose front is sound; the end where there is none."""
    number = found.records
    found.damage.append(f"record {number} {what}")
    _suspect(found, raw[at + FRONT :])
    here = at
    while (here := raw.find(MARK, here + 1)) >= 0:
        front = raw[here : here + FRONT]
        if len(front) == FRONT and _length(front)[0] >= 0:
            found.records = max(number + 1, _length(front)[1])
            return here
    found.records = number + 1
    return len(raw)


def _suspect(found: Logged, body: bytes) -> None:
    """Keep of a damaged record what tells which calls it held."""
    try:
        parts = msgspec.msgpack.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return
    found.suspects += (
        [tuple(p) for p in parts if isinstance(p, list) and len(p) > 6 and isinstance(p[0], bytes)]
        if isinstance(parts, list)
        else []
    )
