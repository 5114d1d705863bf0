"""Parts: Parquet files of some hundred episodes each, written whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crossplay.kernel.events import COLUMNS
from crossplay.records.errors import Damaged, RunError, explained
from crossplay.records.table import Table, seal

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "ROW_GROUP",
    "Slice",
    "cassette_digest",
    "cassette_file",
    "encode_part",
    "file_digest",
    "read_slice",
    "read_table",
    "write_file",
]

ROW_GROUP = 65536
"""Rows per row group: what has to be decoded to read one episode, against size."""


class Slice(NamedTuple):
    """Where the rows of an episode lie in a part, and their seal."""

    episode: int
    first: int
    rows: int
    seal: str


def with_episodes(episodes: Sequence[int], tables: Sequence[Table]) -> pl.DataFrame:
    """The rows of several episodes as one frame, column `episode` (u64) first."""
    import polars as pl

    ids = np.repeat(np.array(episodes, "<u8"), [t.n for t in tables])
    return Table.join(tables).frame().insert_column(0, pl.Series("episode", ids))


def encode_part(episodes: Sequence[int], tables: Sequence[Table]) -> bytes:
    """The bytes of a Parquet file (zstd). They are read back and compared before anything relies on them."""
    import polars as pl

    frame = with_episodes(episodes, tables)
    out = io.BytesIO()
    frame.write_parquet(out, compression="zstd", row_group_size=ROW_GROUP, statistics=True)
    data = out.getvalue()
    if not pl.read_parquet(io.BytesIO(data)).equals(frame):
        raise RunError("trace: the Parquet writer did not give back the rows it was given; nothing was moved")
    return data


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: temporary name, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}.tmp")
    with explained(path.parent, f"write {path.name}"):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable (where the system can)."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def file_digest(path: Path) -> str:
    """sha256 of a file in hex. Raises Damaged when it is not there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise Damaged(f"{path} is missing") from None
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror or error}") from None


def cassette_file(folder: Path) -> Path | None:
    """The cassette of a run, where it has one: `cassette/cassette.sqlite`, or a file `cassette`."""
    for path in (folder / "cassette" / "cassette.sqlite", folder / "cassette"):
        if path.is_file():
            return path
    return None


def cassette_digest(folder: Path) -> str | None:
    """sha256 of the seal file of a closed cassette; None where there is none."""
    path = cassette_file(folder)
    sealed = None if path is None else path.with_suffix(".seal")
    return file_digest(sealed) if sealed is not None and sealed.is_file() else None


def read_table(path: Path) -> tuple[np.ndarray, Table]:
    """(episode of each row [n] u64, all rows) of a part. Raises ValueError when it cannot be read.

    Only for files whose digest is right: a Parquet reader may do anything with damaged bytes.
    """
    return _split(_read(path, None), path)


def read_slice(path: Path, where: Slice) -> Table:
    """The rows of one episode, checked against its seal. Raises ValueError where they differ."""
    ids, table = _split(_read(path, where), path)
    return checked(ids, table, where, 0)


def checked(ids: np.ndarray, table: Table, where: Slice, first: int) -> Table:
    """The rows from `first` on, if they are those of the episode and match its seal; else ValueError."""
    own = ids[first : first + where.rows]
    rows = table.cut(first, where.rows)
    if len(own) != where.rows or (own != np.uint64(where.episode)).any() or seal(rows.encode()) != where.seal:
        raise ValueError("rows do not match their seal")
    return rows


def _read(path: Path, where: Slice | None) -> pl.DataFrame:
    import polars as pl

    try:
        scan = pl.scan_parquet(path, glob=False)
        return (scan if where is None else scan.slice(where.first, where.rows)).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"cannot be read: {error}") from None


def _split(frame: pl.DataFrame, path: Path) -> tuple[np.ndarray, Table]:
    expected = ["episode", *(name for name, _ in COLUMNS)]
    if frame.columns != expected:
        raise ValueError(f"{path.name} has columns {frame.columns}")
    return frame["episode"].to_numpy(), Table.from_frame(frame)
