"""What a reader sees of a log that it does not write: its rows in the place of those of SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from crossplay.records._cassette_log import Columns, log_path, read_log
from crossplay.records._cassette_rows import COLUMNS, Damaged, row_seal

__all__ = ["Overlay", "lay_over"]

NAMES = ", ".join((*COLUMNS, "seal"))
VIEW = f"""
CREATE TEMP VIEW calls AS
SELECT rowid AS rowid, {NAMES} FROM main.calls WHERE key NOT IN (SELECT key FROM temp.logged)
UNION ALL SELECT NULL AS rowid, {NAMES} FROM temp.logged WHERE seal NOT NULL
"""


def lay_over(db: sqlite3.Connection, rows: Mapping[bytes, Columns | None]) -> None:
    """Let `calls` mean, on this connection, the rows of the file and in their place those of a log."""
    db.execute("PRAGMA temp_store = MEMORY")
    db.executescript("DROP VIEW IF EXISTS temp.calls; DROP TABLE IF EXISTS temp.logged")
    if rows:
        db.execute(f"CREATE TEMP TABLE logged ({NAMES}, PRIMARY KEY (key))")
        for key, row in rows.items():
            values = (key,) + (None,) * len(COLUMNS) if row is None else (*row, row_seal(row))
            db.execute(f"INSERT INTO temp.logged VALUES ({', '.join('?' * len(values))})", values)
        db.execute(VIEW)


class Overlay:
    """A connection that reads a cassette, kept up with the log that another process writes, or left."""

    def __init__(self, path: Path) -> None:
        self._path, self._log = path, log_path(path)
        self._seen: tuple[int, ...] = ()
        self.there = False  # whether the log holds rows

    def refresh(self, db: sqlite3.Connection) -> None:
        """Look at the log, before SQLite is asked: what was folded in between is found there then. Raises
        `Damaged` when the log is not as written.
        """
        try:
            stat = self._log.stat()
            seen: tuple[int, ...] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError:
            seen = ()
        if seen == self._seen:
            return
        found = read_log(self._path)
        if found.damage:
            raise Damaged(f"cassette: {self._log}: {found.damage[0]}; `crossplay verify` names the calls")
        lay_over(db, found.rows)
        self._seen, self.there = seen, bool(found.rows)
