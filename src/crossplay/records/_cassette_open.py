"""Opening the file of a cassette: to read it, to write it, or in memory only."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from crossplay.kernel.types import CrossplayError
from crossplay.records._cassette_rows import SCHEMA, VERSION, Damaged, Missing
from crossplay.records._cassette_seal import check_seal

__all__ = ["connect", "reading", "writing"]

MAPPED = 1 << 30
"""Bytes of a file that strict replay maps into memory instead of copying pages."""


def reading(path: Path) -> sqlite3.Connection:
    """A cassette that is only read; raises `Missing` where there is none."""
    if not path.is_file():
        raise Missing(f"cassette: {path} does not exist, and strict replay sends nothing")
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
    return _checked(db, path, [f"PRAGMA mmap_size = {MAPPED}"])


def writing(path: Path, durable: bool, sealed: bool) -> sqlite3.Connection:
    """A cassette that may be written, made where it is missing. sealed: nothing of it is changed yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if problem := check_seal(path):
        raise Damaged(f"cassette: {problem}; `crossplay verify` names the calls")
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    ready = [] if sealed else ["PRAGMA journal_mode = WAL", *SCHEMA.split(";")]
    return _checked(db, path, [f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}", *ready])


def connect() -> sqlite3.Connection:
    """An empty cassette in memory."""
    db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    db.executescript(SCHEMA)
    return db


def _checked(db: sqlite3.Connection, path: Path, statements: list[str]) -> sqlite3.Connection:
    """The connection, after these statements; closed where the file cannot be used."""
    try:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise CrossplayError(f"cassette: {path} has format {version}; this release reads up to {VERSION}")
        for statement in statements:
            db.execute(statement)
    except sqlite3.DatabaseError as error:
        db.close()
        raise Damaged(f"cassette: {path} cannot be read ({error})") from error
    except BaseException:
        db.close()
        raise
    return db
