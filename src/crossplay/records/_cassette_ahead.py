"""The one who writes the log of a cassette: appends, knows what is in it, folds it into SQLite in groups."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sqlite3
import threading
import weakref
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from crossplay.kernel.types import Stop
from crossplay.records._cassette_log import HEAD, SHARED, Columns, frame, log_path, scan
from crossplay.records._cassette_rows import COLUMNS, DELETE, UPSERT, Damaged, row_seal
from crossplay.records._cassette_writer import Writer
from crossplay.records.errors import FULL

try:
    import fcntl
except ImportError:  # where files cannot be locked as a whole, SQLite alone is used
    fcntl = None  # type: ignore[assignment]

__all__ = ["ELSEWHERE", "Log", "Logs", "Unkept", "knock"]

ELSEWHERE: Any = object()
"""A row that is not in the log: it may be in SQLite."""
RECORDS = 2048
"""Records after which settled rows are folded into SQLite."""
BYTES = 4 << 20
"""Bytes after which they are, however few they are."""
FLYING = 512
"""Intents without an answer that stay in the log when the others are folded: most are answered soon, and
then need no place in SQLite of their own."""
KEYS = 300_000
"""Rows of a cassette up to which its keys are kept in memory, so that what is not there is not looked for."""
STATUS, CALLS, IDEMPOTENCY, ATTEMPTS = map(COLUMNS.index, ("status", "calls", "idempotency", "attempts"))

WIDE = 64
"""Rows of one statement: between statements the thread that folds has to wait for the one that asks."""
ADD = UPSERT.replace("REPLACE", "IGNORE", 1)
ADD_WIDE = ADD + f", ({', '.join('?' * (len(COLUMNS) + 1))})" * (WIDE - 1)
FOLD = f"""INSERT OR REPLACE INTO calls ({", ".join(COLUMNS)}, seal)
SELECT {", ".join(f"?{n}" for n in range(1, len(COLUMNS) + 2))} WHERE NOT EXISTS (
  SELECT 1 FROM calls WHERE key = ?1 AND idempotency = ?{IDEMPOTENCY + 1} AND
  (attempts > ?{ATTEMPTS + 1} OR (status != 'intent' AND ?{STATUS + 1} = 'intent')))"""
"""Another process may have gone on with the same sending meanwhile; that stays."""


class Unkept(Stop):
    """A call cannot be logged, so nothing may be sent or used: the disk is full, or the log is gone."""


class Log:
    """The log of one cassette, held by one writer at a time: by the system's lock on its file, which ends
    with the process.

    Whoever else writes says so in the head of the log; then everything is folded, the log ends and all
    write to SQLite. db: used under writer.lock only.
    """

    def __init__(self, path: Path, writer: Writer) -> None:
        self.path, self._cassette, self._writer = log_path(path), path, writer
        self._lock = threading.Lock()  # the file, and what is known of it
        self._folding = threading.Lock()
        self._pending: dict[bytes, Columns | None] = {}
        self._answered: dict[bytes, bytes] = {}  # digest of a request -> key of the first that was sent and answered
        self._known: set[bytes] | None = None
        self._new: set[bytes] = set()  # keys that SQLite does not hold, as far as this process knows
        self._number = self._end = self._due = 0
        self._fd = -1
        self.head: mmap.mmap | bytes = HEAD  # as the file has it at every moment
        self._most = BYTES
        self._broken = ""

    # -- whose it is -------------------------------------------------------------------------------
    def take(self) -> bool:
        """Become the one who writes it, after whoever was killed; False where another process is, or
        where the file system locks no files. Raises `Damaged` when what was left there is not as written.
        """
        while fcntl is not None:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                return False
            if _same(fd, self.path):
                self._adopt(fd)
                _open.add(self)
                return True
            os.close(fd)  # its holder has left it meanwhile
        return False

    def _adopt(self, fd: int) -> None:
        """Fold what another left, and begin an empty log."""
        self._fd = fd
        try:
            with open(fd, "rb", closefd=False) as file:
                found = scan(file.read())
            if found.damage:
                raise Damaged(
                    f"cassette: {self.path}: {found.damage[0]}; `crossplay verify` names the calls. "
                    "Remove that file to go on without what it holds; it is asked again then"
                )
            self._pending, self._number = found.rows, found.records
            self.fold(True)
            if self.head is HEAD:
                self._renew()
            db = self._writer.db
            with self._writer.lock:
                (rows,) = db.execute("SELECT coalesce(max(rowid), 0) FROM calls").fetchone()
                self._known = {key for (key,) in db.execute("SELECT key FROM calls")} if rows <= KEYS else None
        except BaseException:
            if not os.fstat(fd).st_size:  # made just now
                self.path.unlink(missing_ok=True)
            self._drop()
            raise

    def close(self) -> None:
        """Fold everything and leave no log; where SQLite cannot take it now, the log stays for the next."""
        if self._fd < 0:
            return
        with contextlib.suppress(sqlite3.OperationalError):
            self.fold(True)
        with self._lock:
            if not self._pending:
                self.path.unlink(missing_ok=True)
            self._drop()

    def _drop(self) -> None:
        """Let the file go, and its lock with it."""
        fd, self._fd, self.head = self._fd, -1, HEAD
        os.close(fd)

    def forget(self) -> None:
        """In a forked process: the log is its parent's, and so must be the lock."""
        self._lock, self._folding, self._pending = threading.Lock(), threading.Lock(), {}
        self._broken = "it is written by the process that this one was forked from"
        if self._fd >= 0:
            self._drop()

    # -- writing -----------------------------------------------------------------------------------
    def append(self, parts: Sequence[Columns | bytes]) -> None:
        """Write rows, or keys of rows that are taken back, as one record: when this returns, no kill of the
        process undoes it. Raises `Unkept`, and then nothing of it is written.
        """
        with self._lock:
            record = frame(self._number, parts)
            self._write(record)
            self._number += 1
            self._end += len(record)
            for part in parts:
                self._note(part)
            due = self._number >= self._due or self._end > self._most
            if due:
                self._due, self._most = self._number + RECORDS, self._end + BYTES
        if due:
            self._writer.bid(self._background)

    def _write(self, record: bytes) -> None:
        if self._fd < 0 or self._broken:
            raise Unkept(f"cassette: {self.path} cannot be written: {self._broken or 'it is closed'}")
        try:
            if os.write(self._fd, record) == len(record):
                return
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a part of it found room
        except OSError as failed:
            error = failed
        try:
            os.ftruncate(self._fd, self._end)
        except OSError:
            self._broken = f"after {error.strerror}, its end is not sound"
        raise Unkept(_unwritten(self.path, error)) from error

    def _note(self, part: Columns | bytes) -> None:
        """What a record says holds from now on."""
        known = self._known
        if isinstance(part, bytes):
            self._pending[part] = None
            return
        key = part[0]
        self._pending[key] = part
        if known is not None and key not in known:
            known.add(key)
            self._new.add(key)
        if part[STATUS] == "answered" and part[CALLS] > 0:
            self._answered.setdefault(part[1], key)

    # -- reading -----------------------------------------------------------------------------------
    def look(self, key: bytes) -> Columns | None:
        """The row of a key, None where there is none, ELSEWHERE where SQLite has to be asked."""
        row = self._pending.get(key, ELSEWHERE)
        if row is ELSEWHERE and self._known is not None and key not in self._known:
            return None
        return row

    def first(self, digest: bytes) -> Columns | None:
        """The first row in the log of an equal request that was sent and answered."""
        row = self._pending.get(self._answered.get(digest, b""))
        return row if row is not None and row[STATUS] == "answered" else None

    # -- into SQLite -------------------------------------------------------------------------------
    def fold(self, everything: bool) -> None:
        """Bring rows into SQLite and drop them from the log; of a kill in between comes nothing, for to fold
        them again changes nothing. everything: intents that wait for their answers too.
        """
        with self._folding:
            with self._lock:
                batch = self._batch(everything)
            if not batch:
                return
            self._commit(batch)
            with self._lock:
                pending = self._pending
                self._new.difference_update([key for key, _ in batch])
                for key, row in batch:
                    if pending[key] is row:
                        del pending[key]
                self._answered = {d: key for d, key in self._answered.items() if key in pending}
                if self.head is not HEAD:
                    with contextlib.suppress(OSError):  # no room: the old one says nothing wrong
                        self._renew()

    def _commit(self, batch: list[tuple[bytes, Columns | None]]) -> None:
        rows = [(*row, row_seal(row)) for _, row in batch if row is not None]
        new = [row for row in rows if row[0] in self._new]
        old = [row for row in rows if row[0] not in self._new]
        gone = [(key,) for key, row in batch if row is None]
        wide = len(new) // WIDE * WIDE
        groups = [tuple(chain.from_iterable(new[at : at + WIDE])) for at in range(0, wide, WIDE)]
        if sum(self._writer.many([(ADD_WIDE, groups), (ADD, new[wide:]), (FOLD, old), (DELETE, gone)])[:2]) < len(new):
            self._writer.many([(FOLD, new)])  # another process has some of them too

    def _batch(self, everything: bool) -> list[tuple[bytes, Columns | None]]:
        rows = list(self._pending.items())
        settled = [(key, row) for key, row in rows if row is None or row[STATUS] != "intent"]
        return rows if everything or len(rows) - len(settled) > FLYING else settled

    def _renew(self) -> None:
        """A log of what SQLite does not hold yet, in the place of the old one."""
        assert fcntl is not None, "a log that is held is locked"
        path, rows = self.path.with_name(self.path.name + ".new"), list(self._pending.items())
        records = [frame(n, [key if row is None else row]) for n, (key, row) in enumerate(rows)]
        content = HEAD + b"".join(records)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(fd, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            head = mmap.mmap(fd, len(HEAD), prot=mmap.PROT_READ)
            path.replace(self.path)
        except BaseException:  # the old one stays, and holds all that it held
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        old, before = self._fd, self.head
        self._fd, self.head = fd, head
        self._number, self._end = len(records), len(content)
        self._due, self._most = self._number + RECORDS, self._end + BYTES
        if before[SHARED]:
            knock(self._cassette)
        os.close(old)

    def _background(self) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):  # it is tried again later; the log holds all
            self.fold(False)


class Logs:
    """Where the writes of an open cassette go: to its log, while this process alone writes, else to SQLite.

    wanted: False where there is to be no log (a durable cassette waits for the disk anyway).
    """

    def __init__(self, path: Path, writer: Writer, wanted: bool) -> None:
        self._path, self._writer = path, writer
        self._alone = wanted  # as far as is known
        self._mine: Log | None = None
        self._told = 0  # the log whose holder knows of this process

    def adopt(self) -> None:
        """Fold the log of a process that was killed, if there is one."""
        if log_path(self._path).exists():
            left = Log(self._path, self._writer)
            if left.take():
                left.close()

    def mine(self) -> Log | None:
        """The log, once this process writes it, and until another one writes as well."""
        log = self._mine
        if log is None or not log.head[SHARED]:
            return log
        self._mine, self._alone = None, False
        log.close()
        return None

    def begin(self) -> Log | None:
        """A log to write to, None where SQLite is written; then whoever holds the log knows of it."""
        log: Log | None = None
        if self._alone:
            log = Log(self._path, self._writer)
            try:
                self._alone = log.take()
            except OSError as error:
                if error.errno in FULL:
                    raise Unkept(_unwritten(log.path, error)) from error
                self._alone = False  # a file system that cannot do all of this
            self._mine = log = log if self._alone else None
        if log is None:
            try:
                there = log_path(self._path).stat().st_ino
            except FileNotFoundError:
                there = 0
            if there != self._told:
                self._told = knock(self._path)
        return log

    def close(self) -> None:
        """Leave no log, neither an own one nor that of a process that was killed meanwhile."""
        if self._mine is not None:
            self._mine.close()
            self._mine = None
        self.adopt()


def knock(path: Path) -> int:
    """Say in the log of a cassette that this process writes as well; the file's number, 0 without a log."""
    log = log_path(path)
    while True:
        try:
            fd = os.open(log, os.O_RDWR)
        except FileNotFoundError:
            return 0
        try:
            if os.fstat(fd).st_size > SHARED:  # else nothing stands in it
                os.pwrite(fd, b"\xff", SHARED)
            if _same(fd, log):
                return os.fstat(fd).st_ino
        finally:
            os.close(fd)


def _unwritten(path: Path, error: OSError) -> str:
    return (
        f"cassette: {path} cannot be written ({error.strerror}); what is not logged is neither sent nor used. "
        "Make room, then resume the run"
    )


def _same(fd: int, path: Path) -> bool:
    """Whether a file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


_open: weakref.WeakSet[Log] = weakref.WeakSet()


def _forked() -> None:
    for log in list(_open):
        log.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
