"""What can go wrong with a run folder, in one line each."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossplay.kernel.types import CrossplayError

__all__ = ["FULL", "Damaged", "RunError", "explained"]


class RunError(CrossplayError):
    """The folder cannot be written or read: disk full, no permission, held by another process."""

    exit_code = 3


class Damaged(CrossplayError):
    """Stored bytes are not what was written."""

    exit_code = 1


FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
"""What the system says where there is no room."""


@contextmanager
def explained(path: Path, doing: str) -> Iterator[None]:
    """Turn errors of the file system and of SQLite into one clear line about this run.

    doing: what was tried, as in "cannot ... the run". Finished episodes are safe in every case: they
    count only from their commit on.
    """
    try:
        yield
    except sqlite3.IntegrityError:  # a clash of episodes, which the caller explains
        raise
    except sqlite3.Error as error:
        raise _from_sqlite(path, doing, error) from error
    except UnicodeDecodeError as error:  # what SQLite says of damaged names repeats their bytes
        raise Damaged(f"{path}/manifest.sqlite is damaged: {error}") from error
    except OSError as error:
        if error.errno in FULL:
            raise RunError(_full(path)) from error
        raise RunError(f"{path}: cannot {doing}: {error.strerror or error}") from error


def _full(path: Path) -> str:
    return f"{path}: the disk is full; every reported episode is kept. Free some space, then resume the run"


def _from_sqlite(path: Path, doing: str, error: sqlite3.Error) -> CrossplayError:
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith(("SQLITEFULL", "SQLITE_IOERR")):
        if name.startswith("SQLITEFULL") or "WRITE" in name or name == "SQLITE_IOERR":
            return RunError(_full(path))
        return RunError(f"{path}: cannot {doing}: {error} ({name})")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or isinstance(error, sqlite3.DataError):
        return Damaged(f"{path}/manifest.sqlite is damaged: {error}")
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return RunError(f"{path}: cannot {doing}: {error}; is the folder writable?")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return RunError(f"{path}: cannot {doing}: another process keeps the manifest locked")
    if name == "SQLITE_ERROR" or not name:  # no such table or column, text that is not UTF-8
        return Damaged(f"{path}/manifest.sqlite is damaged: {error}")
    return RunError(f"{path}: cannot {doing}: {error} ({name})")
