"""The cassette: every paid call of a run, so that none is lost and all can be replayed.

One SQLite file, and while it is written a log beside it, from which rows are folded into the file in
groups. A call's key is a hash of (canonical request, structural address); its life is *intent* (logged
before it is sent) and then *answered* or *error* (logged before it is used).
After SIGKILL an answered call is never sent again; one that was in flight is sent once more with
the same idempotency key and counted as possibly paid twice. Calls are to models, tools and people.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from crossplay.kernel.types import CrossplayError, Usage, pack
from crossplay.records._cassette_ahead import ELSEWHERE, Log, Logs, Unkept
from crossplay.records._cassette_modes import Fork, Mode, check_mode, same_place
from crossplay.records._cassette_open import connect, reading, writing
from crossplay.records._cassette_overlay import Overlay
from crossplay.records._cassette_pack import SUFFIX as PACKED
from crossplay.records._cassette_pack import Packed
from crossplay.records._cassette_rows import (
    DELETE,
    EPISODE,
    FIND,
    INDEXES,
    SAME,
    SELECT,
    SETTLE,
    UPSERT,
    VERSION,
    Address,
    Call,
    Damaged,
    Missing,
    Row,
    Status,
    Stored,
    call_key,
    check_row,
    columns_of,
    front_of,
    new_key,
    read_row,
    row_of,
    row_seal,
    select_all,
    stored_of,
    superseded_key,
)
from crossplay.records._cassette_seal import Damage, seal_path, verify_cassette, write_seal
from crossplay.records._cassette_shelf import Shelf, episode_rows
from crossplay.records._cassette_writer import Commit, Writer

__all__ = [
    "Address",
    "Call",
    "Cassette",
    "Commit",
    "Damage",
    "Damaged",
    "Fork",
    "Missing",
    "Mode",
    "Row",
    "call_key",
    "verify_cassette",
]


class Cassette:
    """The cassette of one run, or of several that are to share their calls.

    path: the file (made with its folder), a folder for `cassette.sqlite`, an exported `.mcz` (strict
    only, read as it is), or None for memory only. mode:

    - "record" uses what is there and keeps what is new;
    - "strict" never sends;
    - "lenient" takes, where the slot is empty, the answer of an equal request that this cassette held
      when it was opened, or one of `others`. A sampled call (temperature above 0) takes only an answer
      given at the same place of another block, so that no answer serves two calls of one block;
      shared = True, for a study that declares a shared prefix, lifts that;
    - "fork" reads `fork.base` up to a place and goes on live; what was read is kept here as well;
    - "refresh" asks again for what was settled before `since` (seconds since 1970; default: now).
      The old answer stays, as superseded. A refresh that was killed goes on with the same `since`;
    - "off" keeps nothing and looks nothing up.

    Writes are appended to the log (see `Log`), or committed to SQLite in groups (see `Writer`) where
    several processes write, and where it is durable; each gives a `Commit`, to be awaited in an event loop
    or asked for its `result()` elsewhere. A commit survives SIGKILL of this process; `durable=True`
    waits for the disk as well, so that it survives a power cut.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        mode: Mode = "record",
        durable: bool = False,
        *,
        others: Sequence[Cassette] = (),
        shared: bool = False,
        fork: Fork | None = None,
        since: float | None = None,
    ) -> None:
        check_mode(mode, fork)
        self.path = None if path is None or mode == "off" else Path(path)
        if self.path is not None and (self.path.is_dir() or not self.path.suffix):
            self.path /= "cassette.sqlite"
        self.mode: Mode = mode
        self.fork, self._others, self._shared = fork, tuple(others), shared
        self._since = (time.time() if since is None else since) if mode == "refresh" else 0.0
        self._before: dict[bytes, Row] = {}  # what this sitting asks again, until it is answered
        self._absent: set[bytes] = set()  # looked for in vain, so that an intent need not look again
        self._sealed = False  # closed and sealed; stays as it is, byte by byte, until something is written
        self._lock = threading.Lock()
        self._logs: Logs | None = None
        self._overlay: Overlay | None = None  # of a log that others may write
        self._indexed = False  # as far as is known
        self._writer: Writer | None = None
        self._shelf: Shelf | None = None
        self._packed: Packed | None = None
        self._db: sqlite3.Connection | None = None
        if self.path is not None and self.path.suffix == PACKED:
            if mode != "strict":
                raise CrossplayError(
                    f"cassette: {self.path} is an exported file; it is read in strict mode, or imported"
                )
            self._packed = Packed.open(self.path)
            self._shelf = Shelf(self._packed.episode)
            return
        self._db = self._open(durable)
        self._overlay = None if self.path is None else Overlay(self.path)
        if mode == "strict":
            self._shelf = Shelf(self._fetcher())
            return
        self._write = self._db if self.path is None else self._open(durable)
        self._writer = Writer(self._write, self._lock if self.path is None else threading.Lock(), durable)
        try:
            if self.path is not None:
                self._logs = Logs(self.path, self._writer, not durable)
                self._logs.adopt()
            self._newest = int(self._query("SELECT coalesce(max(rowid), 0) FROM calls")[0][0])
        except BaseException:
            self._writer.close()
            self._db.close()
            self._write.close()
            raise

    def _open(self, durable: bool) -> sqlite3.Connection:
        if self.path is None:
            return connect()
        if self.mode == "strict":
            return reading(self.path)
        self._sealed = seal_path(self.path).is_file()
        return writing(self.path, durable, self._sealed)

    def _ahead(self) -> Log | None:
        """The log, while this process alone writes."""
        return None if self._logs is None else self._logs.mine()

    def _begin(self) -> Log | None:
        """The log to write to, None where SQLite is written."""
        if self._sealed and self.path is not None:
            seal_path(self.path).unlink(missing_ok=True)
            self._write.execute("PRAGMA journal_mode = WAL")
            self._write.execute(f"PRAGMA user_version = {VERSION}")
            self._sealed = False
        return None if self._logs is None else self._logs.begin()

    # -- reading -----------------------------------------------------------------------------------
    @property
    def _read(self) -> sqlite3.Connection:
        """The rows as SQLite; those of an exported file are unpacked into memory when first asked for."""
        if self._db is None:
            assert self._packed is not None, "only an exported file is opened without its rows"
            self._db = connect()
            self._db.executescript(INDEXES)
            for row in self._packed.rows():
                self._db.execute(UPSERT, _values(row))
        return self._db

    def _fetcher(self) -> Callable[[Address], Mapping[bytes, Stored]]:
        """How rows come into memory: by episode, or all at once where an older file has no index of episodes."""
        db = self._read
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'by_episode'").fetchone():
            return self._episode
        whole: dict[Address, dict[bytes, Stored]] = {}
        for columns in self._query(SELECT):
            row = read_row(columns)
            whole.setdefault(row.episode, {})[row.call.key] = stored_of(columns)
        return lambda episode: whole.get(episode, {})

    def _episode(self, episode: Address) -> Mapping[bytes, Stored]:
        root, env_id, block, replicate = episode
        return episode_rows(self._query(EPISODE, env_id, pack(root), pack(block), replicate))

    def _query(self, query: str, *values: Any, fold: bool = True) -> list[Any]:
        """fold: whether it has to see what stands in this process's log."""
        writer, log, overlay = self._writer, self._ahead(), self._overlay
        try:
            if log is not None:
                if fold:
                    log.fold(True)
            elif overlay is not None:
                with self._lock:
                    overlay.refresh(self._read)
                    if overlay.there:
                        return self._read.execute(query, values).fetchall()
            if writer is not None and writer.lock.acquire(blocking=False):
                try:  # its pages are in memory, where another connection must look for what was written
                    return writer.db.execute(query, values).fetchall()
                finally:
                    writer.lock.release()
            with self._lock:
                return self._read.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise Damaged(f"cassette: {self.path} cannot be read ({error})") from error

    def get(self, key: bytes) -> Row | None:
        """The committed row of a key, or None; raises `Damaged` when it is not as written."""
        log = self._ahead()
        logged = ELSEWHERE if log is None else log.look(key)
        if logged is not ELSEWHERE:
            return None if logged is None else row_of(logged)
        found = self._query(FIND, key, fold=False)
        return read_row(found[0]) if found else None

    def _own(self, call: Call) -> Row | None:
        """The committed row of a call that is at hand, whose request need not be unpacked again."""
        if self._shelf is not None:
            return self._shelf.find(call)
        log = self._ahead()
        logged = ELSEWHERE if log is None else log.look(call.key)
        if logged is not ELSEWHERE:
            return None if logged is None else Row.of(call, stored_of(logged))
        found = self._query(FIND, call.key, fold=False)
        if not found:
            return None
        check_row(found[0])
        return Row.of(call, stored_of(found[0]))

    def find(self, call: Call) -> Row | None:
        """The row that stands for a call in this mode, or None.

        An intent is not an answer: whoever gets None or an intent sends, if `live` allows it.
        """
        if self.mode == "off":
            return None
        row = self._own(call)
        if row is not None:
            self._absent.discard(call.key)
        elif self._writer is not None:
            self._absent.add(call.key)
        if row is None and self.fork is None:
            return None
        if self.mode == "refresh" and row is not None and row.status != "intent" and self._stale(row):
            return None
        if self.fork is not None and (row is None or row.status == "intent"):
            return self._forked(self.fork, call) or row
        return row

    def live(self, address: Address) -> bool:
        """Whether a call that has no answer here may be sent."""
        return self.mode != "strict" and (self.fork is None or self.fork.live(address))

    def _stale(self, row: Row) -> bool:
        return row.settled is not None and row.settled < self._since

    def _forked(self, fork: Fork, call: Call) -> Row | None:
        """What a fork takes from its base: the replaced answer, or the record's; kept here as well."""
        if fork.replaces(call):
            return self.share(call, fork.reply, "given-")
        row = fork.base.find(call) if fork.recorded(call.address) else None
        if row is None or row.status == "intent":
            return None
        self._put(row)
        return row

    def content(self, call: Call, sampled: bool) -> Row | None:
        """Lenient mode: the answer of an equal request at another address that may serve this call.

        Of several the first in structural order, whatever order they were made in.
        """
        if self.mode != "lenient":
            return None
        for source in (self, *self._others):
            newest = " AND rowid <= ?" if source is self else ""
            values = (call.digest, self._newest) if source is self else (call.digest,)
            source._index()
            order = "ORDER BY env_id, root, block, replicate, seat, tick, path, k"
            found = source._query(f"{SAME}{newest} {order}", *values, fold=source is not self)
            for row in map(read_row, found):
                if not sampled or self._shared or same_place(row, call):
                    return row
        return None

    def same(self, digest: bytes) -> Row | None:
        """The first answered row of an equal request at any address that was sent, or None."""
        if self.mode == "off":
            return None
        self._index()
        log = self._ahead()
        logged = None if log is None else log.first(digest)  # looked for first: it may be folded meanwhile
        found = self._query(f"{SAME} AND settled >= ? ORDER BY settled LIMIT 1", digest, self._since, fold=False)
        return read_row(found[0]) if found else None if logged is None else row_of(logged)

    def _index(self) -> None:
        """Have the indexes; without them, where nothing may be written now, the same is found slowly."""
        writer = self._writer
        if self._indexed or self._sealed or writer is None:
            return
        with writer.lock, contextlib.suppress(sqlite3.OperationalError):  # another process is at it
            writer.db.executescript(INDEXES)
            self._indexed = True

    def rows(self) -> Iterator[Row]:
        """All rows, in order of (episode, seat, tick, path, k); raises `Damaged` at a bad one."""
        found = self._query(select_all("env_id, root, block, replicate, seat, tick, path, k, settled, key"))
        return (read_row(columns) for columns in found)

    def of_env(self, env_id: str) -> list[Row]:
        """All calls made in one environment, in the order in which they were asked."""
        return [read_row(columns) for columns in self._query(f"{SELECT} WHERE env_id = ? ORDER BY asked, key", env_id)]

    def at(self, address: Address) -> list[Row]:
        """All calls made at one address, by k; superseded answers are left out."""
        root, env_id, block, replicate, seat, tick, path = address
        query = f"{EPISODE} AND seat = ? AND tick = ? AND path = ? AND status != 'superseded' ORDER BY k"
        found = self._query(query, env_id, pack(root), pack(block), replicate, seat, tick, pack(path))
        return [read_row(columns) for columns in found]

    def __len__(self) -> int:
        return int(self._query("SELECT count(*) FROM calls")[0][0])

    def spent(self, envs: Collection[str] | None = None) -> dict[str, Usage]:
        """What was spent per model (in these environments): settled calls, and calls of lost sendings (without tokens)."""
        among = "" if envs is None else f"WHERE env_id IN ({', '.join('?' * len(envs))})"
        query = f"""SELECT model, sum(CASE WHEN status = 'intent' THEN attempts ELSE calls + doubtful END),
                   sum(tok_in), sum(tok_out), sum(cpu_us) FROM calls {among} GROUP BY model ORDER BY model"""
        return {model: Usage(*map(int, sums)) for model, *sums in self._query(query, *(envs or ()))}

    def doubtful(self) -> list[Row]:
        """Rows with sendings that may have been paid without an answer kept."""
        return list(map(read_row, self._query(f"{SELECT} WHERE doubtful > 0 OR status = 'intent'")))

    def counts(self) -> dict[str, int]:
        """Rows per status, and `maybe_paid_twice`: sendings that may have been paid in vain."""
        counts = dict(self._query("SELECT status, count(*) FROM calls GROUP BY status ORDER BY status"))
        doubtful = self._query("SELECT coalesce(sum(doubtful), 0) FROM calls")[0][0]
        return {**counts, "maybe_paid_twice": int(doubtful)}

    # -- writing -----------------------------------------------------------------------------------
    def intend(self, call: Call, harmless: bool = False) -> Commit[Row]:
        """Log that a call will be sent now. Committed when the future is done.

        The row keeps its idempotency key; an earlier intent without an answer was in flight when
        its process died, so it counts as possibly paid, unless the call is harmless (a repeatable
        tool). An answer that is asked for again is kept as superseded, and the new sending has a key
        of its own: under the old one an endpoint might repeat its answer.
        """
        row = Row(call, "intent", None, Usage(), 1, 0, new_key(), time.time(), None, front_of(call))
        if self.mode == "off" or call.key in self._absent:
            self._absent.discard(call.key)
            return self._put(row)
        before = self._own(call)
        if before is None:
            return self._put(row)
        if before.status != "intent" and self._stale(before):
            self._before[call.key] = before
            return self._submit([_superseded(before), row], row)
        row.idempotency, row.asked = before.idempotency, before.asked
        row.attempts = before.attempts + 1
        row.doubtful = before.doubtful + (1 if before.status == "intent" and not harmless else 0)
        return self._put(row)

    def answer(self, row: Row, reply: bytes, usage: Usage, attempts: int = 1, doubtful: int = 0) -> Commit[Row]:
        """Keep an answer. attempts, doubtful: of this sending, retries included."""
        return self._settle(row, "answered", reply, usage, attempts, doubtful)

    def share(self, call: Call, reply: bytes, origin: str = "") -> Row:
        """Keep an answer that was not made for this call as its own. origin: see `Row.idempotency`.

        Nothing was sent and nothing paid, so nobody waits for the commit: after a kill the answer is
        shared again.
        """
        now = time.time()
        row = Row(call, "answered", reply, Usage(), 0, 0, origin + new_key(), now, now)
        self._absent.discard(call.key)
        before = self._own(call) if self.mode == "refresh" else None
        if before is not None and self._stale(before):
            self._submit([_superseded(before), row], row)
        else:
            self._put(row)
        return row

    def fail(
        self,
        row: Row,
        error: bytes,
        usage: Usage | None = None,
        attempts: int = 1,
        doubtful: int = 0,
    ) -> Commit[Row]:
        """Keep the error that a call ended with, after its retries; it is replayed as it was."""
        return self._settle(row, "error", error, usage or Usage(), attempts, doubtful)

    def withdraw(self, row: Row, doubtful: int = 0) -> Commit[Row]:
        """The call could not be made (endpoint down). Forgotten, unless it may have been paid once; an
        answer that was to be asked for again is put back.
        """
        if row.attempts > 1 or doubtful:
            return self._put(msgspec.structs.replace(row, doubtful=row.doubtful + doubtful))
        before = self._before.pop(row.call.key, None)
        if before is not None:
            return self._submit([before, superseded_key(before)], row)
        return self._submit([row.call.key], row)

    def _settle(
        self, row: Row, status: Status, reply: bytes, usage: Usage, attempts: int, doubtful: int
    ) -> Commit[Row]:
        attempts, doubtful = row.attempts + attempts - 1, row.doubtful + doubtful
        done = Row(
            row.call, status, reply, usage, attempts, doubtful, row.idempotency, row.asked, time.time(), row.front
        )
        if self._before:
            self._before.pop(row.call.key, None)
        return self._submit([done], done, SETTLE)

    def keep(self, rows: Sequence[Row]) -> Commit[None]:
        """Write rows of another cassette as they are, times and attempts included; one commit."""
        return self._submit(rows, None)

    def _put(self, row: Row) -> Commit[Row]:
        return self._submit([row], row)

    def _submit(self, parts: Sequence[Row | bytes], result: Any, how: str = UPSERT) -> Commit[Any]:
        """Write rows, and take back those of which the key is given. how: the statement for SQLite."""
        if self._writer is None:
            raise Missing("cassette: strict replay writes nothing")
        if self.mode == "off":
            return Commit(None, (), result)
        try:
            log = self._ahead() or self._begin()
            if log is not None:
                log.append([part if isinstance(part, bytes) else columns_of(part) for part in parts])
                return Commit(None, (), result)
        except Unkept as error:
            return Commit.failed(error)
        statements = [(DELETE, (p,)) if isinstance(p, bytes) else (how, _values(p)) for p in parts]
        return self._writer.submit(statements, result, self.path is None)

    # -- the end -----------------------------------------------------------------------------------
    def seal(self) -> str:
        """sha256 over the seals of all rows, hexadecimal: what a run's manifest keeps."""
        seals = self._query("SELECT seal FROM calls ORDER BY key")
        return hashlib.sha256(b"".join(s[0] for s in seals)).hexdigest()

    def close(self) -> None:
        """Commit what is queued, fold the log into the one file and seal it."""
        if self._writer is not None:
            if self._logs is not None:
                self._logs.close()
            self._writer.close()
            self._writer = None
            if self.path is not None:
                self._read.close()
                if not self._sealed:
                    with contextlib.suppress(sqlite3.OperationalError):  # open elsewhere too: the last one does it
                        self._write.executescript(INDEXES)
                        self._write.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                        self._write.execute("PRAGMA journal_mode = DELETE")
                self._write.close()
                if not self._sealed:
                    write_seal(self.path)
                return
        if self._db is not None:
            self._db.close()

    def __enter__(self) -> Cassette:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _values(row: Row) -> tuple[Any, ...]:
    """A row as SQLite keeps it, with its seal."""
    columns = columns_of(row)
    return *columns, row_seal(columns)


def _superseded(row: Row) -> Row:
    """An answer that is asked for again, under a key of its own."""
    call = msgspec.structs.replace(row.call, key=superseded_key(row))
    return msgspec.structs.replace(row, call=call, status="superseded", front=())
