"""Finding damage: is every stored byte of a run what was written, and if not, whose is it?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from crossplay.kernel.types import CrossplayError
from crossplay.records.entry import study_digest
from crossplay.records.errors import Damaged
from crossplay.records.manifest import ALL, SCHEMA, SEALED, Manifest, row_seal
from crossplay.records.parts import Slice, cassette_digest, cassette_file, checked, file_digest, read_table
from crossplay.records.reading import Reading
from crossplay.records.salvage import differing
from crossplay.records.table import Table, seal

__all__ = ["Damage", "check_seals", "manifest_damage"]

_SUM = 1 << 256
_CELL, _SOURCE = SEALED.index("cell"), SEALED.index("source")


class Damage(msgspec.Struct, frozen=True):
    """One finding. file: relative to the run. episodes: whose records are affected, as far as known."""

    file: str
    what: str
    episodes: tuple[int, ...] = ()

    def __str__(self) -> str:
        names = " ".join(f"{e:016x}" for e in self.episodes[:8])
        more = f" and {len(self.episodes) - 8} more" if len(self.episodes) > 8 else ""
        plural = "episode" if len(self.episodes) == 1 else "episodes"
        return f"{self.file}: {self.what}" + (f" ({plural} {names}{more})" if self.episodes else "")


def check_seals(run: Reading | str | Path) -> list[Damage]:
    """All damage of a run: study, manifest, trace and cassette. Empty when every byte that counts is
    as it was written. Reads everything, changes nothing. Raises RunError when there is no run.
    """
    folder = run.path if isinstance(run, Reading) else Path(run)
    found: list[Damage] = []
    try:
        manifest = Manifest(folder, write=False)
    except Damaged as error:
        return [Damage("manifest.sqlite", _text(error, folder)), *_cassette(None, folder)]
    try:
        check = _Check(folder, manifest, found)
        check.everything()
        found += _cassette(check, folder)
    finally:
        manifest.close()
    return found


def manifest_damage(folder: str | Path) -> list[Damage]:
    """The damage of the manifest and the study alone: what whoever reads tables of a run depends on."""
    found: list[Damage] = []
    try:
        manifest = Manifest(Path(folder), write=False)
    except Damaged as error:
        return [Damage("manifest.sqlite", _text(error, Path(folder)))]
    try:
        _Check(Path(folder), manifest, found).tables()
    finally:
        manifest.close()
    return found


class _Check:
    """One pass over a run, inside one read transaction."""

    def __init__(self, folder: Path, manifest: Manifest, found: list[Damage]) -> None:
        self.folder, self.db, self.manifest, self.found = folder, manifest.db, manifest, found
        self.db.text_factory = lambda data: data.decode("utf-8", "surrogateescape")

    def everything(self) -> None:
        slices = self.tables()
        self._buffer()
        self._parts(slices)

    def tables(self) -> dict[str, list[Slice]]:
        """Check the manifest but for its buffer; returns where event rows lie, per part."""
        with self._told():
            self.db.execute("BEGIN")
        self._structure()
        self._study()
        for table, columns in (
            ("sources", "source, study, identity"),
            ("cells", "cell, env_id, lineup, agents, extra"),
        ):
            self._sealed_rows(table, columns)
        return self._episodes()

    def say(self, what: str, episodes: Iterable[int] = (), file: str = "manifest.sqlite") -> None:
        self.found.append(Damage(file, what, tuple(episodes)))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, CrossplayError) as error:
            self.say(_text(error, self.folder))

    def rows(self, sql: str) -> Iterator[Any]:
        """Rows of a SELECT as far as they can be read."""
        with self._told():
            yield from self.db.execute(sql)

    # -- manifest --------------------------------------------------------------------------------------
    def _structure(self) -> None:
        for (line,) in self.rows("PRAGMA integrity_check"):
            if line != "ok":
                self.say(f"SQLite finds: {line}")
        stored = dict(self.rows("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        for name, sql in SCHEMA.items():
            if stored.get(name) != sql:
                self.say(f"the definition of {name} is not the one of this format")

    def _study(self) -> None:
        meta = [list(r) for r in self.rows("SELECT key, value FROM meta ORDER BY key")]
        sealed = dict(self.rows("SELECT name, value FROM totals")).get("meta")
        if _seal(meta) != sealed:
            self.say("the description of the run (table meta) does not match its seal")
        first = dict(meta).get("study")
        for study in {first, *(s for (s,) in self.rows("SELECT DISTINCT study FROM sources"))}:
            name = "study.toml" if study == first else f"study-{study}.toml"
            try:
                if study_digest((self.folder / name).read_bytes().decode()) != study:
                    self.say("is not the study that was run (another digest)", file=name)
            except (OSError, ValueError) as error:
                self.say(f"cannot be read: {error}", file=name)

    def _sealed_rows(self, table: str, columns: str) -> None:
        for *values, sealed in self.rows(f"SELECT {columns}, row_seal FROM {table}"):
            if _seal(values) != sealed:
                self.say(f"{table}: {values[0]!r} does not match its seal")

    def _episodes(self) -> dict[str, list[Slice]]:
        """Check all rows of episodes; returns where their event rows lie, per part."""
        slices: dict[str, list[Slice]] = {}
        count = total = 0
        cells = {name for (name,) in self.rows("SELECT cell FROM cells")}
        sources = {source for (source,) in self.rows("SELECT source FROM sources")}
        if not sources:
            self.say("who played it (table sources) is lost")
        for seq, part, first, sealed, *values in self.rows(f"SELECT seq, part, first, row_seal, {ALL} FROM episodes"):
            count += 1
            own = _seal(values)
            total += int(own, 16) if own else 0
            name = _episode(values[0])
            if own != sealed or name is None:
                self.say(
                    f"the entry of an episode does not match its seal (row {seq})", () if name is None else (name,)
                )
            if values[_CELL] not in cells or values[_SOURCE] not in sources:
                self.say(f"what an episode belongs to is lost (row {seq})", () if name is None else (name,))
            if part is None or name is None:
                continue
            if not isinstance(part, str) or not isinstance(first, int) or not isinstance(values[-2], int):
                self.say(f"where its rows lie cannot be read (row {seq})", (name,))
                continue
            slices.setdefault(part, []).append(Slice(name, first, values[-2], str(values[-1])))
        with self._told():
            expected, seals = self.manifest.totals()
            if count != expected:
                self.say(f"holds {count} episodes where {expected} were written")
            elif total % _SUM != seals:
                self.say("the episodes together do not match the run's seal")
        return slices

    def _buffer(self) -> None:
        for name, sealed, blob, digest in self.rows(
            "SELECT e.episode, e.seal, b.rows, b.sha256 FROM episodes e LEFT JOIN buffer b USING (seq) WHERE e.part IS NULL"
        ):
            episode = _episode(name)
            try:
                if not isinstance(blob, bytes):
                    raise ValueError("rows are missing")
                Table.inflate(blob, sealed)
                if seal(blob) != digest:  # some bits of a compressed stream do not change what it holds
                    raise ValueError("bytes differ from those written")
            except ValueError as error:
                self.say(f"buffer: {error}", () if episode is None else (episode,))
        for (lost,) in self.rows(
            "SELECT count(*) FROM buffer b LEFT JOIN episodes e USING (seq) WHERE e.part IS NOT NULL OR e.seq IS NULL"
        ):
            if lost:
                self.say(f"holds buffered rows of {lost} episodes that should not be there")

    # -- parts -----------------------------------------------------------------------------------------
    def _parts(self, slices: dict[str, list[Slice]]) -> None:
        damaged: list[tuple[str, Path, list[Slice]]] = []
        known = set()
        for part, digest, size, rows, episodes in self.rows("SELECT part, sha256, bytes, rows, episodes FROM parts"):
            known.add(part)
            own = slices.get(part, [])
            if (rows, episodes) != (sum(s.rows for s in own), len(own)):
                self.say(
                    f"{part} holds {len(own)} episodes of {sum(s.rows for s in own)} rows; {episodes} of {rows} were written"
                )
            path = self.folder / "trace" / str(part)
            try:
                sound = file_digest(path) == digest and path.stat().st_size == size
            except (Damaged, ValueError):
                self.say("is missing or cannot be read", (s.episode for s in own), f"trace/{part}")
                continue
            if sound:
                self._sound(path, own)
            else:
                damaged.append((str(part), path, own))
        for part in slices.keys() - known:
            self.say("is not among the parts of the manifest", (s.episode for s in slices[part]), f"trace/{part}")
        for (part, _, own), bad in zip(damaged, differing([(p, s) for _, p, s in damaged]), strict=True):
            if bad:
                self.say("rows do not match their seals", (s.episode for s in own if s.episode in bad), f"trace/{part}")
            else:
                what = (
                    "bytes differ from those written; all rows still match their seals, so all its episodes are suspect"
                )
                self.say(what, (s.episode for s in own), f"trace/{part}")

    def _sound(self, path: Path, own: Sequence[Slice]) -> None:
        """The rows of a part whose bytes are as written, against the seals of the manifest."""
        try:
            ids, table = read_table(path)
        except ValueError as error:
            self.say(str(error), (s.episode for s in own), f"trace/{path.name}")
            return
        for where in own:
            try:
                checked(ids, table, where, where.first)
            except ValueError as error:
                self.say(str(error), (where.episode,), f"trace/{path.name}")


def _seal(values: Any) -> str:
    """The row seal, or "" for values that cannot be sealed (text that is no text)."""
    try:
        return row_seal(values)
    except (UnicodeEncodeError, TypeError, OverflowError, ValueError):
        return ""


def _episode(name: Any) -> int | None:
    try:
        return int(name, 16) if len(name) == 16 else None
    except (TypeError, ValueError):
        return None


def _text(error: Exception, folder: Path) -> str:
    return str(error).removeprefix(f"{folder}/manifest.sqlite ").removeprefix(f"{folder}: ")


def _cassette(check: _Check | None, folder: Path) -> list[Damage]:
    """What the cassette's own seals find, with the episodes whose calls it concerns."""
    file = cassette_file(folder)
    expected = None
    if check is not None:
        expected = dict(check.rows("SELECT name, value FROM totals")).get("cassette")
    if file is None:
        return [Damage("cassette", "is gone; the run was closed with one")] if expected else []
    from crossplay.records.cassette import verify_cassette

    name = file.relative_to(folder).as_posix()
    found: list[Damage] = []
    damage = verify_cassette(file)
    if damage.calls or damage.episodes:
        calls = (
            f"{len(damage.calls)} calls do not match their seals" if damage.calls else "calls are missing or changed"
        )
        found.append(Damage(name, calls, _players(check, damage.episodes)))
    elif damage.file:
        what = damage.file.removeprefix(f"{file} ").removeprefix(f"{folder}/")
        told = "; no call is known to differ, so all episodes that asked a model are suspect"
        found.append(Damage(name, what + told, _askers(check)))
    elif expected and expected != cassette_digest(folder):
        found.append(Damage(name, "is another one than when the run was closed"))
    return found


_ASKING = ("calls", "tool_calls", "shared_answers", "content_hits", "given_answers")
"""Counters of seats whose answers stand in the cassette."""


def _askers(check: _Check | None) -> tuple[int, ...]:
    """The episodes in which a model, a tool or a person was asked."""
    if check is None:
        return ()
    found = (
        _episode(name)
        for name, counts in check.rows("SELECT episode, counts FROM episodes ORDER BY seq")
        if any(f'"{counter}"' in str(counts) for counter in _ASKING)
    )
    return tuple(e for e in found if e is not None)


def _players(check: _Check | None, addresses: Sequence[tuple[Any, ...]]) -> tuple[int, ...]:
    """The episodes at (root, env id, block, replicate): all lineups, for they may share a call."""
    if check is None:
        return ()
    wanted = set(map(repr, addresses))
    found = (
        _episode(name)
        for name, *place in check.rows("SELECT episode, root, env_id, block, replicate FROM episodes ORDER BY seq")
        if repr(tuple(place)) in wanted
    )
    return tuple(e for e in found if e is not None)
