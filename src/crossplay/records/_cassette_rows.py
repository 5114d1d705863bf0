"""What a cassette holds: calls, rows, how they stand in SQLite, and the seal of a row."""

from __future__ import annotations

import hashlib
import itertools
import os
import secrets
import zlib
from typing import Any, Literal

import msgspec

from crossplay.kernel.seeds import key as hash_key
from crossplay.kernel.types import CrossplayError, Stop, Usage, pack, unpack

__all__ = [
    "Address",
    "Call",
    "Damaged",
    "Missing",
    "Row",
    "Status",
    "Stored",
    "call_key",
    "check_row",
    "columns_of",
    "front_of",
    "new_key",
    "read_row",
    "row_of",
    "row_seal",
    "same_answer",
    "select_all",
    "squeeze",
    "stored_of",
    "superseded_key",
]

VERSION = 2
"""2: short requests stand as they are. Version 1 had all of them compressed, which is read as well."""
SHORT = 2048
"""Bytes up to which a request is not compressed: that takes longer than all else that is done to keep it."""
PLAIN = b"\0"
"""What a request begins with that is not compressed; no compressed one does."""
NOWHERE = pack(())
"""A path as it is stored where there is none: most calls are made outside teams."""
Address = tuple[Any, ...]
"""(root, env id, block, replicate, seat, tick, path): where in a study a call is made."""

Status = Literal["intent", "answered", "error", "superseded"]
"""superseded: an answer that was asked for again (mode refresh); kept under a key of its own."""

Stored = tuple[Status, "bytes | None", int, int, int, int, int, int, str, float, "float | None"]
"""Status, reply, calls, tok_in, tok_out, cpu_us, attempts, doubtful, idempotency, asked, settled."""

COLUMNS = (
    "key",
    "digest",
    "model",
    "root",
    "env_id",
    "block",
    "replicate",
    "seat",
    "tick",
    "path",
    "k",
    "status",
    "request",
    "reply",
    "calls",
    "tok_in",
    "tok_out",
    "cpu_us",
    "attempts",
    "doubtful",
    "idempotency",
    "asked",
    "settled",
)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS calls (
  key BLOB PRIMARY KEY, digest BLOB NOT NULL, model TEXT NOT NULL,
  root BLOB NOT NULL, env_id TEXT NOT NULL, block BLOB NOT NULL, replicate INTEGER NOT NULL,
  seat TEXT NOT NULL, tick INTEGER NOT NULL, path BLOB NOT NULL, k INTEGER NOT NULL,
  status TEXT NOT NULL, request BLOB NOT NULL, reply BLOB,
  calls INTEGER NOT NULL, tok_in INTEGER NOT NULL, tok_out INTEGER NOT NULL, cpu_us INTEGER NOT NULL,
  attempts INTEGER NOT NULL, doubtful INTEGER NOT NULL, idempotency TEXT NOT NULL,
  asked REAL NOT NULL, settled REAL, seal BLOB NOT NULL
);
PRAGMA user_version = {VERSION};
"""
INDEXES = """
CREATE INDEX IF NOT EXISTS by_digest ON calls (digest);
CREATE INDEX IF NOT EXISTS by_episode ON calls (env_id, root, block, replicate);
"""
"""Made when first needed, or when the cassette is closed: to keep them up to date with every call takes much
longer than to make them once.
"""
SELECT = f"SELECT {', '.join(COLUMNS)}, seal FROM calls"
FIND = f"{SELECT} WHERE key = ?"
SAME = f"{SELECT} WHERE digest = ? AND status = 'answered' AND calls > 0"
EPISODE = f"{SELECT} WHERE env_id = ? AND root = ? AND block = ? AND replicate = ?"
DELETE = "DELETE FROM calls WHERE key = ?"
UPSERT = f"INSERT OR REPLACE INTO calls ({', '.join(COLUMNS)}, seal) VALUES ({', '.join('?' * (len(COLUMNS) + 1))})"
INDEXED = {"key", "digest", "root", "env_id", "block", "replicate"}
SETTLE = f"""INSERT INTO calls ({", ".join(COLUMNS)}, seal) VALUES ({", ".join("?" * (len(COLUMNS) + 1))})
ON CONFLICT (key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in (*COLUMNS, "seal") if name not in INDEXED)}"""
"""As UPSERT for a call whose intent stands there: the key says what the indexed columns are, so that no
index is written again."""


class Missing(Stop):
    """Strict replay: the cassette holds no answer to this call, and nothing may be sent."""


class Damaged(CrossplayError):
    """A row, or the file, is not what was written."""

    exit_code = 1


class Call(msgspec.Struct, frozen=True, gc=False):
    """A call before it is made. request: canonical bytes; digest: 16 bytes of them; k: how many
    identical requests were made before at this address.
    """

    key: bytes
    digest: bytes
    model: str
    address: Address
    k: int
    request: bytes


class Row(msgspec.Struct, gc=False):
    """A call as the cassette holds it. reply: bytes of the caller's own format.

    attempts: times it was sent; 0 where the answer was made for another call. doubtful: sendings
    that may have been paid (tools: done) without an answer kept. idempotency: the key of the
    sending; "hit-KEY" where the content of another sending was used, "given-KEY" where a person put
    the answer in its place. asked, settled: seconds since 1970, outside every digest but the seal.
    """

    call: Call
    status: Status
    reply: bytes | None
    usage: Usage
    attempts: int
    doubtful: int
    idempotency: str
    asked: float
    settled: float | None
    front: tuple[Any, ...] = ()  # `front_of` the call, once it is known

    @property
    def episode(self) -> Address:
        """(root, env id, block, replicate): which episodes it belongs to."""
        return self.call.address[:4]

    @property
    def borrowed(self) -> Literal["", "shared", "hit", "given"]:
        """Where the answer of a call that was never sent came from; "" where it was sent."""
        if self.attempts:
            return ""
        return "hit" if self.idempotency[:4] == "hit-" else "given" if self.idempotency[:6] == "given-" else "shared"

    @classmethod
    def of(cls, call: Call, stored: Stored) -> Row:
        """The row of a call that is at hand."""
        status, reply, calls, tok_in, tok_out, cpu, attempts, doubtful, idempotency, asked, settled = stored
        usage = Usage(calls, tok_in, tok_out, cpu)
        return cls(call, status, reply, usage, attempts, doubtful, idempotency, asked, settled)


def same_answer(a: Row, b: Row) -> bool:
    """Whether two settled calls came to the same: status and reply. What a reply says of its cost (its `usage`) is
    measured anew each time, so that one answer of a local model never costs the same twice; it does not count.
    """
    if a.status != b.status or a.reply is None or b.reply is None:
        return a.status == b.status and a.reply == b.reply
    return a.reply == b.reply or (_said(a.reply) is not None and _said(a.reply) == _said(b.reply))


def _said(reply: bytes) -> dict[str, Any] | None:
    """A reply without its cost; None where it is of another format."""
    try:
        found = unpack(reply)
    except (msgspec.DecodeError, ValueError):
        return None
    return {k: v for k, v in found.items() if k != "usage"} if isinstance(found, dict) else None


def squeeze(request: bytes) -> bytes:
    """A request as it is stored."""
    return PLAIN + request if len(request) <= SHORT else zlib.compress(request, 1)


def unsqueeze(stored: bytes) -> bytes:
    """A request from what is stored of it."""
    return stored[1:] if stored[:1] == PLAIN else zlib.decompress(stored)


def new_key() -> str:
    """32 hexadecimal digits for one sending, never given twice: a counter under a secret of this process."""
    return hashlib.blake2b(b"%d %d" % (os.getpid(), next(_count)), key=_secret, digest_size=16).hexdigest()


_secret = secrets.token_bytes(32)
_count = itertools.count()


def call_key(digest: bytes, address: Address, k: int) -> bytes:
    """16 bytes: H(digest of the canonical request, structural address, k)."""
    return hash_key("call", digest, address, k)


def superseded_key(row: Row) -> bytes:
    """The key under which an answer stays that was asked for again; one sending, one key."""
    return hash_key("superseded", row.call.key, row.idempotency)


def front_of(call: Call) -> tuple[Any, ...]:
    """What SQLite stores of a call: the columns before its status, and its request."""
    c = call
    root, env_id, block, replicate, seat, tick, path = c.address
    place = (pack(root), env_id, pack(block), replicate, seat, tick, pack(path) if path else NOWHERE)
    return (c.key, c.digest, c.model, *place, c.k, squeeze(c.request))


def columns_of(row: Row) -> tuple[Any, ...]:
    """The values of a row as SQLite stores them, in the order of `COLUMNS`."""
    front, u = row.front or front_of(row.call), row.usage
    return (
        *front[:-1],
        row.status,
        front[-1],
        row.reply,
        u.calls,
        u.tok_in,
        u.tok_out,
        u.cpu_us,
        row.attempts,
        row.doubtful,
        row.idempotency,
        row.asked,
        row.settled,
    )


def stored_of(columns: tuple[Any, ...]) -> Stored:
    """What a row holds beside its call."""
    return (columns[11], *columns[13:23])


def row_seal(columns: tuple[Any, ...]) -> bytes:
    """sha256 over the stored values of a row."""
    return hashlib.sha256(pack(columns)).digest()


def check_row(columns: tuple[Any, ...]) -> None:
    """Raise `Damaged` unless the seal, the last of the columns, fits the others."""
    if row_seal(columns[:-1]) != columns[-1]:
        raise Damaged(f"cassette: the record of call {_hex(columns[0])} is damaged")


def select_all(order: str) -> str:
    """The query that gives all rows, as `read_row` takes them."""
    return f"{SELECT} ORDER BY {order}"


def read_row(columns: tuple[Any, ...]) -> Row:
    """The row of a record, or `Damaged` when its seal does not fit."""
    check_row(columns)
    return row_of(columns)


def row_of(values: tuple[Any, ...]) -> Row:
    """The row of its columns, with or without a seal that was checked."""
    address = (unpack(values[3]), values[4], unpack(values[5]), values[6], values[7], values[8], _tuple(values[9]))
    call = Call(values[0], values[1], values[2], address, values[10], unsqueeze(values[12]))
    return Row(call, values[11], values[13], Usage(*values[14:18]), *values[18:23])


def _tuple(path: bytes) -> tuple[Any, ...]:
    return tuple(unpack(path))


def _hex(key: Any) -> str:
    return key.hex() if isinstance(key, bytes) else repr(key)
