"""What a writer puts into the manifest beside episodes: the run itself, its sources, cells, cassette."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from crossplay.records.entry import Cell, to_json
from crossplay.records.identity import machine
from crossplay.records.manifest import row_seal

__all__ = ["add_source", "begin_run", "insert_cells", "note_cassette"]


def begin_run(db: sqlite3.Connection, digest: str, sources: Sequence[tuple[str, str]]) -> None:
    """Fill the manifest of a new run; from this commit on the folder is one."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO meta VALUES ('study', ?)", (digest,))
    db.execute("INSERT INTO meta VALUES ('created', ?)", (datetime.now(UTC).isoformat(timespec="seconds"),))
    meta = [list(row) for row in db.execute("SELECT key, value FROM meta ORDER BY key")]
    db.execute("INSERT INTO totals VALUES ('meta', ?)", (row_seal(meta),))
    for i, (study, identity) in enumerate(sources):
        _insert_source(db, i, study, identity)
    db.execute("COMMIT")


def add_source(db: sqlite3.Connection, identity: Mapping[str, Any] | None) -> None:
    """A new source when code, machine or the caller's part differ from the last one."""
    source, study, last = db.execute("SELECT source, study, identity FROM sources ORDER BY source DESC").fetchone()
    now = to_json({**(msgspec.json.decode(last) if identity is None else identity), **machine()})
    if now != last:
        _insert_source(db, source + 1, study, now)


def note_cassette(db: sqlite3.Connection, digest: str | None) -> None:
    """Keep the digest of the cassette's seal while the run is closed, so that its loss is found."""
    if digest is None:
        db.execute("DELETE FROM totals WHERE name = 'cassette'")
    else:
        db.execute("INSERT OR REPLACE INTO totals VALUES ('cassette', ?)", (digest,))


def insert_cells(db: sqlite3.Connection, cells: Iterable[Cell]) -> None:
    """Add cells inside an open transaction."""
    for c in cells:
        values = [c.name, c.env_id, c.lineup, to_json(c.agents), to_json(c.extra)]
        db.execute("INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?)", (*values, row_seal(values)))


def _insert_source(db: sqlite3.Connection, source: int, study: str, identity: str) -> None:
    values = [source, study, identity]
    db.execute("INSERT INTO sources VALUES (?, ?, ?, ?)", (*values, row_seal(values)))
