"""Reading a run: tables of cells and episodes, records, and the event rows checked against their seals."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.kernel.events import Event
from crossplay.kernel.play import Outcome
from crossplay.kernel.types import CrossplayError
from crossplay.records.entry import Cell, EpisodeRecord, Place
from crossplay.records.errors import Damaged, explained
from crossplay.records.manifest import ALL, SEALED, Manifest
from crossplay.records.parts import Slice, cassette_file, checked, file_digest, read_slice, read_table, with_episodes
from crossplay.records.table import Table

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Reading"]


class Reading:
    """The reading half of a run folder. Reading never changes a file, and works beside a writer."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self._manifest = manifest
        self._lock = threading.RLock()
        self._sound: dict[str, tuple[int, int]] = {}  # parts whose digest was right, with size and time

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._manifest.close()

    # -- the run ---------------------------------------------------------------------------------------
    @property
    def study_digest(self) -> str:
        """sha256 of the study as resolved, in hex."""
        return self._manifest.meta("study") or ""

    @property
    def study_toml(self) -> str:
        """The study as resolved."""
        with explained(self.path, "read study.toml"):
            return (self.path / "study.toml").read_bytes().decode()

    @property
    def cassette_path(self) -> Path:
        """Where the answers of models are kept (the file may not exist)."""
        return cassette_file(self.path) or self.path / "cassette" / "cassette.sqlite"

    def studies(self) -> dict[str, str]:
        """Digest -> text of every study in the run: one, or several after `merge`."""
        first = self.study_digest
        found = {first: self.study_toml}
        for (digest,) in self._query("SELECT DISTINCT study FROM sources ORDER BY source"):
            if digest != first:
                with explained(self.path, f"read study-{digest}.toml"):
                    found[digest] = (self.path / f"study-{digest}.toml").read_bytes().decode()
        return found

    def sources(self) -> list[dict[str, Any]]:
        """Who played: identity of code, machine and models, one per change; `EpisodeRecord.source` counts them."""
        found = self._query("SELECT study, identity FROM sources ORDER BY source")
        return [{"study": study, **self._json(identity, dict[str, Any])} for study, identity in found]

    def identity(self, source: int = -1) -> dict[str, Any]:
        """One of `sources`, by default the last."""
        return self.sources()[source]

    # -- cells and episodes ----------------------------------------------------------------------------
    def cells(self) -> list[Cell]:
        """All cells, by name."""
        found = self._query("SELECT cell, env_id, lineup, agents, extra FROM cells ORDER BY cell")
        return [Cell(c, e, n, self._json(a, dict[str, str]), self._json(x, dict[str, Any])) for c, e, n, a, x in found]

    def done(self) -> set[Place]:
        """(cell, block, replicate) of every finished episode. Void ones are to be played again."""
        return set(map(tuple, self._query("SELECT cell, block, replicate FROM episodes WHERE status <> 'void'")))

    def attempts(self) -> dict[Place, int]:
        """How many episodes each (cell, block, replicate) holds, void ones included: the next attempt."""
        found = self._query("SELECT cell, block, replicate, max(attempt) + 1 FROM episodes GROUP BY 1, 2, 3")
        return {(c, b, r): n for c, b, r, n in found}

    def __len__(self) -> int:
        return int(self._query("SELECT count(*) FROM episodes")[0][0])

    def records(self) -> list[EpisodeRecord]:
        """All episodes in the order of their commits, without their rows."""
        return [self._record(row) for row in self._query(f"SELECT {ALL} FROM episodes ORDER BY seq")]

    def stored(self, names: Sequence[str], after: int = 0, most: int = -1) -> list[tuple[Any, ...]]:
        """(number of the commit, stored values of these columns) of every episode committed after number `after`.

        So that whoever watches a run reads what is new alone. names: of `manifest.SEALED`; JSON stays text.
        most: the first so many of them; -1: all.
        """
        if unknown := [n for n in names if n not in SEALED]:
            raise CrossplayError(f'episodes have no column "{unknown[0]}"; there are {", ".join(SEALED)}')
        return self._query(
            f"SELECT seq, {', '.join(names)} FROM episodes WHERE seq > ? ORDER BY seq LIMIT ?", (after, most)
        )

    def record(self, episode: int, missing_ok: bool = False) -> Any:
        """One episode without its rows. missing_ok: None for an unknown one instead of an error."""
        found = self._query(f"SELECT {ALL} FROM episodes WHERE episode = ?", (f"{episode:016x}",))
        if not found and missing_ok:
            return None
        if not found:
            raise CrossplayError(f"{self.path}: no episode {episode:016x}; it holds {len(self)} episodes")
        return self._record(found[0])

    def episodes(self) -> pl.DataFrame:
        """One line per episode in the order of their commits.

        Columns: episode u64, cell, env_id, lineup, root, block (i64, or text where a block has a name),
        replicate, attempt, status, detail, ticks, totals list<f64> in seat order, wall_s, world, mind and
        seal (hex), source, rows, counts and extra (JSON), and `score.NAME` f64 per score of any episode.
        """
        import polars as pl

        records = self.records()
        found = self._query("SELECT rows, seal, counts, extra FROM episodes ORDER BY seq")[: len(records)]
        named = any(isinstance(r.block, str) for r in records)
        columns: dict[str, Any] = {
            "episode": pl.Series([r.id for r in records], dtype=pl.UInt64),
            **{k: pl.Series([getattr(r, k) for r in records], dtype=pl.String) for k in ("cell", "env_id", "lineup")},
            "root": pl.Series([r.root for r in records], dtype=pl.Int64),
            "block": pl.Series([str(r.block) for r in records], dtype=pl.String)
            if named
            else pl.Series([r.block for r in records], dtype=pl.Int64),
            **{k: pl.Series([getattr(r, k) for r in records], dtype=pl.Int64) for k in ("replicate", "attempt")},
            **{k: pl.Series([getattr(r, k) for r in records], dtype=pl.String) for k in ("status", "detail")},
            "ticks": pl.Series([r.ticks for r in records], dtype=pl.Int64),
            "totals": pl.Series([list(r.totals) for r in records], dtype=pl.List(pl.Float64)),
            "wall_s": pl.Series([r.wall_s for r in records], dtype=pl.Float64),
            "world": pl.Series([r.world.hex() for r in records], dtype=pl.String),
            "mind": pl.Series([r.mind.hex() for r in records], dtype=pl.String),
            "seal": pl.Series([f[1] for f in found], dtype=pl.String),
            "source": pl.Series([r.source for r in records], dtype=pl.Int64),
            "rows": pl.Series([f[0] for f in found], dtype=pl.Int64),
            "counts": pl.Series([f[2] for f in found], dtype=pl.String),
            "extra": pl.Series([f[3] for f in found], dtype=pl.String),
        }
        for name in sorted({k for r in records for k in r.score}):
            columns[f"score.{name}"] = pl.Series([r.score.get(name) for r in records], dtype=pl.Float64)
        return pl.DataFrame(columns)

    # -- rows ------------------------------------------------------------------------------------------
    def events(self, episode: int) -> list[Event]:
        """The event rows of one episode, checked against its seal. Raises Damaged where they differ."""
        return self.table(episode).events()

    def outcome(self, episode: int) -> Outcome:
        """The episode as `play` returned it."""
        r: EpisodeRecord = self.record(episode)
        rows = [tuple(e) for e in self.events(episode)]
        return Outcome(r.status, r.score, tuple(r.totals), r.ticks, r.world, r.mind, r.counts, rows, r.detail)

    def table(self, episode: int) -> Table:
        """The event rows of one episode as columns, checked."""
        found = self._query(
            "SELECT e.part, e.first, e.rows, e.seal, b.rows FROM episodes e LEFT JOIN buffer b USING (seq) "
            "WHERE e.episode = ?",
            (f"{episode:016x}",),
        )
        if not found:
            raise CrossplayError(f"{self.path}: no episode {episode:016x}; it holds {len(self)} episodes")
        part, first, rows, seal, blob = found[0]
        if part is None:
            return self._inflate(episode, seal, blob)
        path = self._sound_part(part)
        try:
            return read_slice(path, Slice(episode, first, rows, seal))
        except ValueError as error:
            raise Damaged(f"{path}: episode {episode:016x}: {error}") from None

    def tables(self, episodes: Iterable[int] | None = None) -> Iterator[tuple[int, Table]]:
        """(episode, rows as columns) of these episodes (default: all), each part read once."""
        wanted = None if episodes is None else {f"{e:016x}" for e in episodes}
        found = self._query(
            "SELECT episode, part, first, rows, seal FROM episodes ORDER BY part IS NULL, part, first, seq"
        )
        if wanted is not None and (unknown := sorted(wanted - {row[0] for row in found})):
            raise CrossplayError(f"{self.path}: no episode {unknown[0]}; it holds {len(found)} episodes")
        open_part, ids, table = None, None, None
        for name, part, first, rows, seal in found:
            if wanted is not None and name not in wanted:
                continue
            episode = int(name, 16)
            if part is None:
                yield episode, self.table(episode)
                continue
            try:
                if part != open_part:
                    ids, table = read_table(self._sound_part(part))
                    open_part = part
                assert ids is not None and table is not None
                yield episode, checked(ids, table, Slice(episode, first, rows, seal), first)
            except ValueError as error:
                raise Damaged(f"{self.path}/trace/{part}: episode {name}: {error}") from None

    def frame(self, episodes: Iterable[int] | None = None) -> pl.DataFrame:
        """The event rows of these episodes (default: all) as one frame: `episode` and the trace columns."""
        pairs = list(self.tables(episodes))
        if not pairs:
            pairs = [(0, Table.of([]))]
        return with_episodes([e for e, _ in pairs], [t for _, t in pairs])

    # -- inside ----------------------------------------------------------------------------------------
    def _query(self, sql: str, values: Any = ()) -> list[Any]:
        with self._lock:
            return self._manifest.query(sql, values)

    def _json(self, text: str, kind: Any) -> Any:
        try:
            return msgspec.json.decode(text, type=kind)
        except (msgspec.DecodeError, TypeError, RecursionError) as error:
            raise Damaged(f"{self.path}/manifest.sqlite is damaged: {str(text)[:60]!r}: {error}") from None

    def _record(self, row: Any) -> EpisodeRecord:
        try:
            return EpisodeRecord.stored(row)
        except ValueError as error:
            raise Damaged(f"{self.path}/manifest.sqlite is damaged: episode {row[0]}: {error}") from None

    def _inflate(self, episode: int, seal: str, blob: bytes | None) -> Table:
        try:
            if blob is None:
                raise ValueError("its rows are missing")
            return Table.inflate(blob, seal)
        except ValueError as error:
            raise Damaged(f"{self.path}/manifest.sqlite: episode {episode:016x}: {error}") from None

    def _sound_part(self, part: str) -> Path:
        """The path of a part whose bytes are as written; Damaged otherwise. Hashed once per file version."""
        path = self.path / "trace" / part
        try:
            stat = path.stat()
        except OSError:
            raise Damaged(f"{path} is missing") from None
        version = (stat.st_size, stat.st_mtime_ns)
        if self._sound.get(part) != version:
            found = self._query("SELECT sha256 FROM parts WHERE part = ?", (part,))
            if not found or found[0][0] != file_digest(path):
                raise Damaged(f"{path} is damaged; `crossplay verify {self.path}` names its episodes")
            self._sound[part] = version
        return path
