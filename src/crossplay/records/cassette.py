"""The cassette: every paid call of a run, so that none is lost and all can be replayed.

One SQLite file. A call's key is a hash of (canonical request, structural address); its life is
*intent* (committed before it is sent) and then *answered* or *error* (committed before it is used).
After SIGKILL an answered call is never sent again; one that was in flight is sent once more with
the same idempotency key and counted as possibly paid twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

import msgspec

from crossplay.kernel.seeds import key as hash_key
from crossplay.kernel.types import CrossplayError, Stop, Usage, pack, unpack
from crossplay.records._cassette_seal import Damage, check_seal, seal_path, verify_cassette, write_seal
from crossplay.records._cassette_writer import Writer

__all__ = [
    "Address",
    "Call",
    "Cassette",
    "Damage",
    "Damaged",
    "Missing",
    "Mode",
    "Row",
    "call_key",
    "verify_cassette",
]

VERSION = 1
Mode = Literal["record", "strict"]
Address = tuple[Any, ...]
"""(root, env id, block, replicate, seat, tick, path): where in a study a call is made."""

_COLUMNS = (
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
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS calls (
  key BLOB PRIMARY KEY, digest BLOB NOT NULL, model TEXT NOT NULL,
  root BLOB NOT NULL, env_id TEXT NOT NULL, block BLOB NOT NULL, replicate INTEGER NOT NULL,
  seat TEXT NOT NULL, tick INTEGER NOT NULL, path BLOB NOT NULL, k INTEGER NOT NULL,
  status TEXT NOT NULL, request BLOB NOT NULL, reply BLOB,
  calls INTEGER NOT NULL, tok_in INTEGER NOT NULL, tok_out INTEGER NOT NULL, cpu_us INTEGER NOT NULL,
  attempts INTEGER NOT NULL, doubtful INTEGER NOT NULL, idempotency TEXT NOT NULL,
  asked REAL NOT NULL, settled REAL, seal BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_digest ON calls (digest);
PRAGMA user_version = {VERSION};
"""
_SELECT = f"SELECT {', '.join(_COLUMNS)}, seal FROM calls"
_FIND = f"{_SELECT} WHERE key = ?"
_SAME = f"{_SELECT} WHERE digest = ? AND status = 'answered' AND calls > 0 ORDER BY settled LIMIT 1"
_UPSERT = f"INSERT OR REPLACE INTO calls ({', '.join(_COLUMNS)}, seal) VALUES ({', '.join('?' * (len(_COLUMNS) + 1))})"


class Missing(Stop):
    """Strict replay: the cassette holds no answer to this call, and nothing may be sent."""


class Damaged(CrossplayError):
    """A row, or the file, is not what was written."""

    exit_code = 1


class Call(msgspec.Struct, frozen=True):
    """A call before it is made. request: canonical bytes; digest: 16 bytes of them; k: how many
    identical requests were made before at this address.
    """

    key: bytes
    digest: bytes
    model: str
    address: Address
    k: int
    request: bytes


class Row(msgspec.Struct):
    """A call as the cassette holds it. reply: bytes of the caller's own format.

    attempts: times it was sent. doubtful: sendings that may have been paid without an answer kept.
    asked, settled: seconds since 1970, outside every digest but the seal.
    """

    call: Call
    status: Literal["intent", "answered", "error"]
    reply: bytes | None
    usage: Usage
    attempts: int
    doubtful: int
    idempotency: str
    asked: float
    settled: float | None

    @property
    def episode(self) -> Address:
        """(root, env id, block, replicate): which episodes it belongs to."""
        return self.call.address[:4]


def call_key(digest: bytes, address: Address, k: int) -> bytes:
    """16 bytes: H(digest of the canonical request, structural address, k)."""
    return hash_key("call", digest, list(address), k)


def _columns(row: Row) -> tuple[Any, ...]:
    c, u = row.call, row.usage
    root, env_id, block, replicate, seat, tick, path = c.address
    return (
        c.key,
        c.digest,
        c.model,
        pack(root),
        env_id,
        pack(block),
        replicate,
        seat,
        tick,
        pack(path),
        c.k,
        row.status,
        zlib.compress(c.request, 6),
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


def _seal(columns: tuple[Any, ...]) -> bytes:
    return hashlib.sha256(pack(columns)).digest()


def _check_seal(columns: tuple[Any, ...]) -> None:
    if _seal(columns[:-1]) != columns[-1]:
        raise Damaged(f"cassette: the record of call {_hex(columns[0])} is damaged")


def select_all(order: str) -> str:
    """The query that gives all rows, as `read_row` takes them."""
    return f"{_SELECT} ORDER BY {order}"


def read_row(columns: tuple[Any, ...]) -> Row:
    """The row of a record, or `Damaged` when its seal does not fit."""
    _check_seal(columns)
    values = columns
    address = (unpack(values[3]), values[4], unpack(values[5]), values[6], values[7], values[8], _tuple(values[9]))
    call = Call(values[0], values[1], values[2], address, values[10], zlib.decompress(values[12]))
    return Row(call, values[11], values[13], Usage(*values[14:18]), *values[18:23])


def _tuple(path: bytes) -> tuple[Any, ...]:
    return tuple(unpack(path))


def _hex(key: Any) -> str:
    return key.hex() if isinstance(key, bytes) else repr(key)


class Cassette:
    """The cassette of one run, or of several that are to share their calls.

    path: the file (made with its folder), a folder for `cassette.sqlite`, or None for memory only.
    mode: "record" uses what is there and keeps what is new; "strict" never sends.
    Writes are committed in groups by one thread; each write returns a `Future` that is done after
    its commit. A commit survives SIGKILL of this process; `durable=True` waits for the disk as well,
    so that it survives a power cut.
    """

    def __init__(self, path: Path | str | None = None, mode: Mode = "record", durable: bool = False) -> None:
        if mode not in ("record", "strict"):
            raise CrossplayError(f'cassette: mode "{mode}" is not "record" or "strict"')
        self.path = None if path is None else Path(path)
        if self.path is not None and (self.path.is_dir() or not self.path.suffix):
            self.path /= "cassette.sqlite"
        self.mode: Mode = mode
        self._sealed = False  # closed and sealed; stays as it is, byte by byte, until something is written
        self._lock = threading.Lock()
        self._read = self._open(durable)
        self._writer: Writer | None = None
        if mode == "record":
            self._write = self._read if self.path is None else self._open(durable)
            self._writer = Writer(self._write, self._lock if self.path is None else None)

    def _open(self, durable: bool) -> sqlite3.Connection:
        strict = self.mode == "strict"
        if self.path is None:
            db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        elif strict:
            if not self.path.is_file():
                raise Missing(f"cassette: {self.path} does not exist, and strict replay sends nothing")
            db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if problem := check_seal(self.path):
                raise Damaged(f"cassette: {problem}; `crossplay verify` names the calls")
            self._sealed = seal_path(self.path).is_file()
            db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=30)
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise CrossplayError(f"cassette: {self.path} has format {version}; this release reads up to {VERSION}")
            if self.path is None or not strict:
                db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            if self.path is None or not (strict or self._sealed):
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise Damaged(f"cassette: {self.path} cannot be read ({error})") from error
        return db

    # -- reading -----------------------------------------------------------------------------------
    def get(self, key: bytes) -> Row | None:
        """The committed row of a key, or None; raises `Damaged` when it is not as written."""
        found = self._fetch(key)
        return None if found is None else read_row(found)

    def find(self, call: Call) -> Row | None:
        """The same for a call that is at hand, whose address and request need not be unpacked again."""
        found = self._fetch(call.key)
        if found is None:
            return None
        _check_seal(found)
        return Row(call, found[11], found[13], Usage(*found[14:18]), *found[18:23])

    def same(self, digest: bytes) -> Row | None:
        """The first answered row of an equal request at any address that was sent, or None."""
        with self._lock:
            found = self._read.execute(_SAME, (digest,)).fetchone()
        return None if found is None else read_row(found)

    def _fetch(self, key: bytes) -> Any:
        try:
            with self._lock:
                return self._read.execute(_FIND, (key,)).fetchone()
        except sqlite3.DatabaseError as error:
            raise Damaged(f"cassette: {self.path} cannot be read ({error})") from error

    def rows(self) -> Iterator[Row]:
        """All rows, in order of (episode, seat, tick, path, k); raises `Damaged` at a bad one."""
        with self._lock:
            found = self._read.execute(select_all("env_id, root, block, replicate, seat, tick, path, k")).fetchall()
        return (read_row(columns) for columns in found)

    def at(self, address: Address) -> list[Row]:
        """All calls made at one address, by k."""
        root, env_id, block, replicate, seat, tick, path = address
        query = f"""SELECT * FROM ({select_all("k")}) WHERE env_id = ? AND root = ? AND block = ? AND replicate = ?
                    AND seat = ? AND tick = ? AND path = ?"""
        with self._lock:
            found = self._read.execute(
                query, (env_id, pack(root), pack(block), replicate, seat, tick, pack(path))
            ).fetchall()
        return [read_row(columns) for columns in found]

    def __len__(self) -> int:
        with self._lock:
            return int(self._read.execute("SELECT count(*) FROM calls").fetchone()[0])

    def spent(self) -> dict[str, Usage]:
        """What was spent per model: settled calls, and calls of lost sendings (without tokens)."""
        query = """SELECT model, sum(CASE WHEN status = 'intent' THEN attempts ELSE calls + doubtful END),
                   sum(tok_in), sum(tok_out), sum(cpu_us) FROM calls GROUP BY model ORDER BY model"""
        with self._lock:
            return {model: Usage(*map(int, sums)) for model, *sums in self._read.execute(query)}

    def counts(self) -> dict[str, int]:
        """Rows per status, and `maybe_paid_twice`: sendings that may have been paid in vain."""
        with self._lock:
            counts = dict(self._read.execute("SELECT status, count(*) FROM calls GROUP BY status ORDER BY status"))
            doubtful = self._read.execute("SELECT coalesce(sum(doubtful), 0) FROM calls").fetchone()[0]
        return {**counts, "maybe_paid_twice": int(doubtful)}

    # -- writing -----------------------------------------------------------------------------------
    def intend(self, call: Call) -> Future[Row]:
        """Log that a call will be sent now. Committed when the future is done.

        The row keeps its idempotency key; an earlier intent without an answer was in flight when
        its process died, so it counts as possibly paid.
        """
        before = self.find(call)
        row = Row(call, "intent", None, Usage(), 1, 0, secrets.token_hex(16), time.time(), None)
        if before is not None:
            row.idempotency, row.asked = before.idempotency, before.asked
            row.attempts = before.attempts + 1
            row.doubtful = before.doubtful + (1 if before.status == "intent" else 0)
        return self._put(row)

    def answer(self, row: Row, reply: bytes, usage: Usage, attempts: int = 1, doubtful: int = 0) -> Future[Row]:
        """Keep an answer. attempts, doubtful: of this sending, retries included."""
        return self._settle(row, "answered", reply, usage, attempts, doubtful)

    def share(self, call: Call, reply: bytes) -> Row:
        """Keep the answer of an equal request as this call's own.

        Nothing was sent and nothing paid, so nobody waits for the commit: after a kill the answer is
        shared again.
        """
        now = time.time()
        row = Row(call, "answered", reply, Usage(), 0, 0, secrets.token_hex(16), now, now)
        self._put(row)
        return row

    def fail(self, row: Row, error: bytes, attempts: int = 1, doubtful: int = 0) -> Future[Row]:
        """Keep the error that a call ended with, after its retries; it is replayed as it was."""
        return self._settle(row, "error", error, Usage(calls=attempts), attempts, doubtful)

    def withdraw(self, row: Row, doubtful: int = 0) -> Future[Row]:
        """The call could not be made (endpoint down). Forgotten, unless it may have been paid once."""
        if row.attempts > 1 or doubtful:
            return self._put(msgspec.structs.replace(row, doubtful=row.doubtful + doubtful))
        return self._submit("DELETE FROM calls WHERE key = ?", (row.call.key,), row)

    def _settle(
        self, row: Row, status: Literal["answered", "error"], reply: bytes, usage: Usage, attempts: int, doubtful: int
    ) -> Future[Row]:
        done = msgspec.structs.replace(row, status=status, reply=reply, usage=usage, settled=time.time())
        done.attempts += attempts - 1
        done.doubtful += doubtful
        return self._put(done)

    def _put(self, row: Row) -> Future[Row]:
        columns = _columns(row)
        return self._submit(_UPSERT, (*columns, _seal(columns)), row)

    def _submit(self, statement: str, values: tuple[Any, ...], row: Row) -> Future[Row]:
        if self._writer is None:
            raise Missing("cassette: strict replay writes nothing")
        if self._sealed and self.path is not None:
            seal_path(self.path).unlink(missing_ok=True)
            self._write.execute("PRAGMA journal_mode = WAL")
            self._sealed = False
        return self._writer.submit(statement, values, row)

    # -- the end -----------------------------------------------------------------------------------
    def seal(self) -> str:
        """sha256 over the seals of all rows, hexadecimal: what a run's manifest keeps."""
        with self._lock:
            seals = self._read.execute("SELECT seal FROM calls ORDER BY key").fetchall()
        return hashlib.sha256(b"".join(s[0] for s in seals)).hexdigest()

    def close(self) -> None:
        """Commit what is queued, fold the log into the one file and seal it."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            if self.path is not None:
                self._read.close()
                if not self._sealed:
                    with contextlib.suppress(sqlite3.OperationalError):  # open elsewhere too: the last one does it
                        self._write.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                        self._write.execute("PRAGMA journal_mode = DELETE")
                self._write.close()
                if not self._sealed:
                    write_seal(self.path)
                return
        self._read.close()

    def __enter__(self) -> Cassette:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
