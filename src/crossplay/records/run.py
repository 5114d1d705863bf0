"""`RunFolder`: everything one run leaves behind, written by one process and read by any.

    study.toml        the study as resolved
    manifest.sqlite   cells, episodes, status, scores, seals; rows of the newest episodes
    trace/*.parquet   rows of all other episodes, some hundred episodes a part
    cassette/         answers of models (`records.cassette`)

An episode counts when it is in the manifest. `put` returns, and a future resolves, after the commit.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from crossplay.kernel.play import Outcome
from crossplay.kernel.types import CrossplayError
from crossplay.records.entry import Cell, EpisodeRecord, study_digest, to_json
from crossplay.records.errors import RunError, explained
from crossplay.records.identity import machine
from crossplay.records.lock import Lock
from crossplay.records.manifest import Manifest
from crossplay.records.parts import cassette_digest, encode_part, sync_folder, write_file
from crossplay.records.reading import Reading
from crossplay.records.table import Table, seal
from crossplay.records.writing import add_source, begin_run, insert_cells, note_cassette

if TYPE_CHECKING:
    from typing import Self

__all__ = ["RunFolder"]


class _Item(NamedTuple):
    """An episode ready to be committed."""

    record: EpisodeRecord
    values: list[Any]
    blob: bytes
    future: Future[None]


class RunFolder(Reading):
    """A run on disk. Make one with `create` or `open`; use it as a context manager.

    part_episodes, part_rows, part_bytes: a part is written when the buffer holds that many episodes,
    event rows or compressed bytes. commit_s: longest wait of a submitted episode for its commit.
    """

    part_rows = 1 << 20
    part_bytes = 16 << 20

    def __init__(
        self, path: Path, manifest: Manifest, lock: Lock | None, part_episodes: int = 256, commit_s: float = 0.05
    ) -> None:
        super().__init__(path, manifest)
        self.part_episodes, self.commit_s = part_episodes, commit_s
        self._writer = lock
        self._pid = os.getpid()
        self._compacting = threading.Lock()
        self._wake = threading.Condition()
        self._pending: list[_Item] = []
        self._thread: threading.Thread | None = None
        self._closing = False
        self._late_error: CrossplayError | None = None  # of a compaction, told by the next put or close
        if lock is not None:
            self._cells = {c.name: c for c in self.cells()}
            self._source = self._query("SELECT max(source) FROM sources")[0][0]
            (self._waiting, self._waiting_rows, self._waiting_bytes) = self._query(
                "SELECT count(*), coalesce(sum(e.rows), 0), coalesce(sum(length(b.rows)), 0) "
                "FROM buffer b JOIN episodes e USING (seq)"
            )[0]

    # -- making ----------------------------------------------------------------------------------------
    @classmethod
    def create(
        cls,
        path: str | Path,
        study_toml: str,
        identity: Mapping[str, Any] | None = None,
        *,
        sources: Sequence[tuple[str, str]] | None = None,
        **options: Any,
    ) -> Self:
        """A new run, open for writing.

        study_toml: the study as resolved. identity: what the caller knows of this run (model shas,
        digests of prompt templates, sampling settings); version, commit, packages, interpreter and
        processor are added. sources: (study digest, identity as JSON) of the runs joined in it. Raises CrossplayError when the folder holds a run, RunError (exit code 3)
        when it cannot be written.
        """
        folder = Path(path)
        with explained(folder, "create the run"):
            (folder / "trace").mkdir(parents=True, exist_ok=True)
        lock = Lock(folder / "lock")
        try:
            _refuse_existing(folder)
            digest = study_digest(study_toml)
            write_file(folder / "study.toml", study_toml.encode())
            # The manifest comes last, and what it is of last of all: before that the folder is no run (`begun`).
            manifest = Manifest(folder, write=True, create=True)
            try:
                with explained(folder, "create the run"):
                    begin_run(manifest.db, digest, sources or [(digest, to_json({**(identity or {}), **machine()}))])
                    sync_folder(folder)
                return cls(folder, manifest, lock, **options)
            except BaseException:
                manifest.close()
                raise
        except BaseException:
            lock.release()
            raise

    @staticmethod
    def begun(path: str | Path) -> bool:
        """Whether the folder holds a run, be it damaged; not where its creation was cut short, by a kill or a full disk."""
        file = Path(path) / "manifest.sqlite"
        if not file.exists():
            return False
        if any((Path(path) / "trace").glob("part-*")):
            return True  # of whatever is left of its manifest
        db = sqlite3.connect(file, isolation_level=None)
        try:
            return bool(db.execute("SELECT 1 FROM sqlite_master").fetchall()) and any(
                db.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchall()
                for table in ("sources", "episodes", "meta WHERE key = 'study'")
            )
        except sqlite3.Error:
            return True
        finally:
            db.close()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        write: bool = False,
        identity: Mapping[str, Any] | None = None,
        same_source: bool = False,
        **options: Any,
    ) -> Self:
        """A run that exists: to read (any number of processes), or to go on writing (one).

        identity: as in `create`; when it, the code or the machine differs from the last time, the
        episodes written from now on name a new source (same_source: nothing will be played).
        """
        folder = Path(path)
        if not write:
            return cls(folder, Manifest(folder, write=False), None)
        if not (folder / "manifest.sqlite").is_file():
            raise RunError(f"{folder}: not a run folder (it has no manifest.sqlite)")
        lock = Lock(folder / "lock")
        try:
            manifest = Manifest(folder, write=True)
            try:
                with explained(folder, "open the run"):
                    (folder / "trace").mkdir(exist_ok=True)
                    _sweep(folder, manifest)
                    if not same_source:
                        add_source(manifest.db, identity)
                    note_cassette(manifest.db, None)  # it may grow from now on
                return cls(folder, manifest, lock, **options)
            except BaseException:
                manifest.close()
                raise
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except CrossplayError:
            if error is None:
                raise

    # -- writing ---------------------------------------------------------------------------------------
    def add_cells(self, cells: Iterable[Cell]) -> None:
        """Store cells. The same ones may come again (`extra` stays as it was first); a cell of one name
        cannot become another environment, lineup or other agents.
        """
        self._check_writer()
        with self._lock:
            new = [c for c in cells if self._new_cell(c)]
            self._transaction(lambda db: insert_cells(db, new))
            self._cells.update({c.name: c for c in new})

    def put(self, record: EpisodeRecord) -> None:
        """Store a finished episode; it is committed when this returns.

        An equal episode of the same id is taken as stored; another one raises CrossplayError, as does
        a second counted episode in the same place. RunError (exit code 3) when the disk is full.
        """
        self.put_many([record])

    def put_many(self, records: Iterable[EpisodeRecord]) -> None:
        """Store many episodes in one transaction; all are committed when this returns."""
        self._put_items([self._item(r) for r in records])

    def _put_items(self, items: list[_Item]) -> None:
        self._commit(items)
        self._compact_if_due()
        for item in items:
            item.future.result()

    def submit(self, record: EpisodeRecord) -> Future[None]:
        """Store an episode with others; the future resolves after the commit (within `commit_s` or so)."""
        item = self._item(record)
        with self._wake:
            if self._closing:
                raise RunError(f"{self.path}: the run is closed")
            self._pending.append(item)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="crossplay-commit", daemon=True)
                self._thread.start()
            self._wake.notify()
        return item.future

    async def aput(self, record: EpisodeRecord) -> None:
        """`put` for asyncio: waits for the commit without blocking the loop."""
        await asyncio.wrap_future(self.submit(record))

    def put_outcome(self, outcome: Outcome, **where: Any) -> EpisodeRecord:
        """`put(EpisodeRecord.of(outcome, **where))`; returns the record."""
        where.setdefault("study", self.study_digest)
        record = EpisodeRecord.of(outcome, **where)
        self.put(record)
        return record

    def put_tables(self, pairs: Iterable[tuple[EpisodeRecord, Table]]) -> None:
        """`put_many` of records whose rows are columns already and which name their source."""
        self._check_writer()
        self._put_items([self._sealed(record, table) for record, table in pairs])

    def flush(self) -> None:
        """Commit what was submitted so far."""
        with self._wake:
            items, self._pending = self._pending, []
        self._commit(items)

    def compact(self, everything: bool = True) -> None:
        """Move buffered rows to Parquet parts: all of them, or only full parts."""
        self._check_writer()
        with self._compacting:
            while self._compact_one(everything):
                pass

    def close(self) -> None:
        """Commit, move the rest of the buffer to a part, and let the next writer in."""
        if self._writer is None or os.getpid() != self._pid:
            super().close()
            return
        lock, problem = self._writer, None
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        try:
            self.flush()
            self._raise_late()
            self.compact()
            with self._lock, explained(self.path, "close the run"):
                note_cassette(self._manifest.db, cassette_digest(self.path))
                self._manifest.settle()
        except CrossplayError as error:
            problem = error
        finally:
            super().close()
            self._writer = None
            lock.release()
        if problem is not None:
            raise problem

    # -- inside ----------------------------------------------------------------------------------------
    def _check_writer(self) -> None:
        if self._writer is None:
            raise RunError(f"{self.path}: the run is not open for writing")
        if os.getpid() != self._pid:
            raise RunError(f"{self.path}: only the process that opened the run may write it; send it the episodes")

    def _item(self, record: EpisodeRecord) -> _Item:
        self._check_writer()
        self._raise_late()
        record.source = self._source
        return self._sealed(record, Table.of(record.events))

    def _sealed(self, record: EpisodeRecord, table: Table) -> _Item:
        data = table.encode()
        values = [*record.values(), table.n, seal(data)]
        return _Item(record, values, zlib.compress(data, 1), Future())

    def _raise_late(self) -> None:
        error, self._late_error = self._late_error, None
        if error is not None:
            raise error

    def _serve(self) -> None:
        """The commit thread: one transaction per `commit_s` while episodes arrive."""
        while True:
            with self._wake:
                while not self._pending and not self._closing:
                    self._wake.wait()
                if self._closing:
                    return
            time.sleep(self.commit_s / 2)  # let others join; the other half is for the commit itself
            try:
                self.flush()
            except Exception:
                continue  # each future holds the error
            self._compact_if_due()

    def _commit(self, items: list[_Item]) -> None:
        """One transaction for all; where one clashes, each is decided on its own."""
        if not items:
            return
        try:
            with self._lock:
                try:
                    self._insert(items)
                except sqlite3.IntegrityError:
                    for item in items:
                        self._commit_alone(item)
        except BaseException as error:
            for item in items:
                if not item.future.done():
                    item.future.set_exception(error)
            raise
        for item in items:
            if not item.future.done():
                item.future.set_result(None)

    def _commit_alone(self, item: _Item) -> None:
        try:
            self._insert([item])
        except sqlite3.IntegrityError:
            clash = self._clash(item.record)
            if clash is not None:
                item.future.set_exception(clash)

    def _insert(self, items: list[_Item]) -> None:
        new = {c.name: c for c in (_cell(i.record) for i in items) if self._new_cell(c, strict=False)}

        def write(db: sqlite3.Connection) -> None:
            insert_cells(db, new.values())
            self._manifest.insert([(i.values, i.blob) for i in items])

        self._transaction(write)
        self._cells.update(new)
        self._waiting += len(items)
        self._waiting_rows += sum(i.values[-2] for i in items)
        self._waiting_bytes += sum(len(i.blob) for i in items)

    def _transaction(self, write: Any) -> None:
        db = self._manifest.db
        with explained(self.path, "write the run"):
            db.execute("BEGIN IMMEDIATE")
            try:
                write(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _new_cell(self, cell: Cell, strict: bool = True) -> bool:
        """Whether a cell is unknown. Raises CrossplayError when the known one means something else."""
        known = self._cells.get(cell.name)
        if known is None:
            return True
        same = (known.env_id, known.lineup) == (cell.env_id, cell.lineup)
        if not same or (strict and known.agents != cell.agents):
            raise CrossplayError(
                f'{self.path}: cell "{cell.name}" is {known.env_id} with {known.lineup}; '
                f"it cannot become {cell.env_id} with {cell.lineup}, or change its agents"
            )
        return False

    def _clash(self, record: EpisodeRecord) -> CrossplayError | None:
        """Why an episode cannot be stored; None when the stored one is equal."""
        stored = self.record(record.id, missing_ok=True)
        if stored is not None:
            if all(getattr(stored, k) == getattr(record, k) for k in ("cell", "status", "world", "mind")):
                return None
            return CrossplayError(
                f"{self.path}: episode {record.id:016x} ({_where(record)}) is already stored, with another digest or cell"
            )
        return CrossplayError(
            f"{self.path}: {_where(record)} already holds a finished episode; a second one needs another replicate"
        )

    def _compact_if_due(self) -> None:
        due = (
            self._waiting >= self.part_episodes
            or self._waiting_rows >= self.part_rows
            or self._waiting_bytes >= self.part_bytes
        )
        if due:
            try:
                self.compact(everything=False)
            except CrossplayError as error:  # the episodes are safe in the manifest
                self._late_error = error

    def _compact_one(self, everything: bool) -> bool:
        """Write one part. Returns whether there may be another."""
        chosen, full = self._next_part()
        if not chosen or not (full or everything):
            return False
        ids = [int(c[1], 16) for c in chosen]
        tables = [self._inflate(int(c[1], 16), c[3], c[4]) for c in chosen]
        name = f"part-{self._query('SELECT count(*) FROM parts')[0][0]:05d}.parquet"
        data = encode_part(ids, tables)
        write_file(self.path / "trace" / name, data)
        first, places = 0, []
        for c, table in zip(chosen, tables, strict=True):
            places.append((name, first, c[0]))
            first += table.n

        def write(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO parts VALUES (?, ?, ?, ?, ?)", (name, seal(data), len(data), first, len(ids)))
            db.executemany("UPDATE episodes SET part = ?, first = ? WHERE seq = ?", places)
            db.executemany("DELETE FROM buffer WHERE seq = ?", [(c[0],) for c in chosen])

        with self._lock:
            self._transaction(write)
            self._waiting -= len(ids)
            self._waiting_rows -= first
            self._waiting_bytes -= sum(len(c[4]) for c in chosen)
        return True

    def _next_part(self) -> tuple[list[Any], bool]:
        """(seq, episode, rows, seal, blob) of the oldest buffered episodes; whether they fill a part."""
        chosen: list[Any] = []
        rows = size = 0
        with self._lock, explained(self.path, "read the run"):
            cursor = self._manifest.db.execute(
                "SELECT b.seq, e.episode, e.rows, e.seal, b.rows FROM buffer b JOIN episodes e USING (seq) ORDER BY seq"
            )
            for line in cursor:
                chosen.append(line)
                rows += line[2]
                size += len(line[4])
                if len(chosen) >= self.part_episodes or rows >= self.part_rows or size >= self.part_bytes:
                    return chosen, True
        return chosen, False


def _cell(record: EpisodeRecord) -> Cell:
    return Cell(record.cell, record.env_id, record.lineup, record.agents)


def _where(record: EpisodeRecord) -> str:
    return f'cell "{record.cell}", root {record.root}, block {record.block}, replicate {record.replicate}'


def _refuse_existing(folder: Path) -> None:
    """Raise CrossplayError when the folder holds a run; sweep what a creation cut short left."""
    if RunFolder.begun(folder):
        raise CrossplayError(f"{folder}: holds a run already; resume it, or name another folder")
    for name in ("", "-wal", "-shm"):
        (folder / f"manifest.sqlite{name}").unlink(missing_ok=True)


def _sweep(folder: Path, manifest: Manifest) -> None:
    """Remove what a kill left between a part's writing and its commit; its rows are in the buffer."""
    known = {row[0] for row in manifest.query("SELECT part FROM parts")}
    for file in (folder / "trace").iterdir():
        if file.name not in known and (file.name.startswith("part-") or file.name.endswith(".tmp")):
            file.unlink(missing_ok=True)
