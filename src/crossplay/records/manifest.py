"""The manifest: one SQLite file that says which episodes count, and keeps the open buffer of rows.

Every row carries a seal over its own values, and the table of episodes a running sum of them, so
that a changed score, a lost row and an invented one are all found.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from crossplay.records.errors import Damaged, RunError, explained
from crossplay.records.table import seal

__all__ = ["ALL", "FORMAT", "SCHEMA", "SEALED", "Manifest", "row_seal"]

FORMAT = 1
"""Version of the run folder. A reader refuses newer ones and reads all older ones."""

SCHEMA = {
    "meta": "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "sources": "CREATE TABLE sources (source INTEGER PRIMARY KEY, study TEXT NOT NULL, identity TEXT NOT NULL, "
    "row_seal TEXT NOT NULL)",
    "cells": "CREATE TABLE cells (cell TEXT PRIMARY KEY, env_id TEXT NOT NULL, lineup TEXT NOT NULL, "
    "agents TEXT NOT NULL, extra TEXT NOT NULL, row_seal TEXT NOT NULL) WITHOUT ROWID",
    "episodes": "CREATE TABLE episodes (seq INTEGER PRIMARY KEY, episode TEXT NOT NULL UNIQUE, cell TEXT NOT NULL, "
    "env_id TEXT NOT NULL, lineup TEXT NOT NULL, root INTEGER NOT NULL, block NOT NULL, replicate INTEGER NOT NULL, "
    "attempt INTEGER NOT NULL, status TEXT NOT NULL, detail TEXT NOT NULL, score TEXT NOT NULL, totals TEXT NOT NULL, "
    "ticks INTEGER NOT NULL, world TEXT NOT NULL, mind TEXT NOT NULL, counts TEXT NOT NULL, wall_s REAL NOT NULL, "
    "extra TEXT NOT NULL, source INTEGER NOT NULL, rows INTEGER NOT NULL, seal TEXT NOT NULL, "
    "row_seal TEXT NOT NULL, part TEXT, first INTEGER)",
    "once": "CREATE UNIQUE INDEX once ON episodes (cell, root, block, replicate) WHERE status <> 'void'",
    "buffer": "CREATE TABLE buffer (seq INTEGER PRIMARY KEY, rows BLOB NOT NULL, sha256 TEXT NOT NULL)",
    "parts": "CREATE TABLE parts (part TEXT PRIMARY KEY, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, "
    "rows INTEGER NOT NULL, episodes INTEGER NOT NULL) WITHOUT ROWID",
    "totals": "CREATE TABLE totals (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
}

SEALED = [
    "episode",
    "cell",
    "env_id",
    "lineup",
    "root",
    "block",
    "replicate",
    "attempt",
    "status",
    "detail",
    "score",
    "totals",
    "ticks",
    "world",
    "mind",
    "counts",
    "wall_s",
    "extra",
    "source",
    "rows",
    "seal",
]
"""The columns of an episode that its row seal covers; where its rows lie (part, first) is checked by reading."""

ALL = ", ".join(SEALED)
_INSERT = f"INSERT INTO episodes ({ALL}, row_seal) VALUES ({', '.join('?' * (len(SEALED) + 1))})"
_encode = msgspec.msgpack.Encoder().encode
_SUM = 1 << 256


def row_seal(values: Sequence[Any]) -> str:
    """sha256 over the stored values of a row, in hex."""
    return hashlib.sha256(_encode(values)).hexdigest()


class Manifest:
    """A connection to manifest.sqlite. Not thread-safe: `RunFolder` holds a lock around it."""

    def __init__(self, folder: Path, *, write: bool, create: bool = False) -> None:
        self.folder = folder
        path = folder / "manifest.sqlite"
        with explained(folder, "open the run"):
            if create:
                self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
                self.db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            else:
                if not path.is_file():
                    raise RunError(f"{folder}: not a run folder (it has no manifest.sqlite)")
                self.db = _connect(path, write)
            if write:
                self.db.execute("PRAGMA journal_mode = WAL")
                self.db.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
            if create:
                self.db.execute("BEGIN IMMEDIATE")
                for statement in SCHEMA.values():
                    self.db.execute(statement)
                self.db.executemany("INSERT INTO totals VALUES (?, ?)", [("episodes", "0"), ("seals", "0")])
                self.db.execute("INSERT INTO meta VALUES ('format', ?)", (str(FORMAT),))
                self.db.execute("COMMIT")
                return
        try:
            version = int(self.meta("format") or "")
        except ValueError:
            self.db.close()
            raise Damaged(f"{folder}/manifest.sqlite is damaged: its format version cannot be read") from None
        except BaseException:
            self.db.close()
            raise
        if version > FORMAT:
            self.db.close()
            raise RunError(f"{folder}: run format {version} is newer than this version of crossplay reads ({FORMAT})")

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of a SELECT; errors become one clear line."""
        with explained(self.folder, "read the run"):
            return self.db.execute(sql, values).fetchall()

    def meta(self, key: str) -> str | None:
        """A value of the table meta."""
        found = self.query("SELECT value FROM meta WHERE key = ?", (key,))
        return found[0][0] if found else None

    def insert(self, rows: Sequence[tuple[list[Any], bytes]]) -> None:
        """Add episodes inside an open transaction: (sealed values, compressed rows) each."""
        db, seals = self.db, 0
        for values, blob in rows:
            own = row_seal(values)
            seals += int(own, 16)
            cursor = db.execute(_INSERT, (*values, own))
            db.execute("INSERT INTO buffer VALUES (?, ?, ?)", (cursor.lastrowid, blob, seal(blob)))
        count, total = self.totals()
        db.executemany(
            "UPDATE totals SET value = ? WHERE name = ?",
            [(str(count + len(rows)), "episodes"), (f"{(total + seals) % _SUM:x}", "seals")],
        )

    def totals(self) -> tuple[int, int]:
        """(number of episodes, sum of their row seals mod 2**256), as kept beside the rows."""
        found = dict(self.query("SELECT name, value FROM totals"))
        try:
            count, total = int(found["episodes"]), int(found["seals"], 16)
            if (str(count), f"{total:x}") != (found["episodes"], found["seals"]):
                raise ValueError("not as they are written")  # a capital letter reads as the same number
            return count, total
        except (KeyError, ValueError, TypeError):
            raise Damaged(f"{self.folder}/manifest.sqlite is damaged: its totals cannot be read") from None

    def settle(self) -> None:
        """Give free pages back and leave one plain file, which readers open without writing beside it."""
        self.db.executescript("PRAGMA incremental_vacuum")  # `execute` would free one page and stop
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with suppress(sqlite3.OperationalError):  # somebody is reading: the log stays
            self.db.execute("PRAGMA journal_mode = DELETE").fetchall()

    def close(self) -> None:
        """Close the connection; SQLite removes its log when it was the last one."""
        self.db.close()


def _connect(path: Path, write: bool) -> sqlite3.Connection:
    name = path.resolve().as_uri()
    if write:
        return sqlite3.connect(f"{name}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, timeout=30)
    db = sqlite3.connect(f"{name}?mode=ro", uri=True, isolation_level=None, check_same_thread=False, timeout=30)
    try:
        db.execute("SELECT 1 FROM sqlite_master").fetchall()
    except sqlite3.OperationalError:
        log = path.with_name(path.name + "-wal")
        if log.exists() and log.stat().st_size:
            raise
        db.close()  # a read-only folder without a log: nobody writes it
        db = sqlite3.connect(f"{name}?immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    return db
