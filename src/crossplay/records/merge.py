"""Joining runs: the same study played in parts, or studies that met the same blocks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from crossplay.kernel.types import CrossplayError
from crossplay.records.entry import Cell, EpisodeRecord, to_json
from crossplay.records.errors import Damaged, explained
from crossplay.records.parts import cassette_file, write_file
from crossplay.records.run import RunFolder

__all__ = ["Merged", "copy_episodes", "merge"]

_BATCH = 64


class Merged(msgspec.Struct, frozen=True):
    """What a merge did. joined: episodes both runs held, stored once."""

    first: int
    second: int
    joined: int


def merge(a: str | Path, b: str | Path, out: str | Path, *, cassette: bool = True) -> Merged:
    """Join two runs in a new folder. The sources stay as they are; `out` appears whole or not at all.

    The rule, in order:

    1. A cell of one name must be the same environment, lineup and agents in both.
    2. One place (cell, root, block, replicate) holds one counted episode. Where both runs have one,
       the two must be equal in status, scores, world and mind digest; they are then stored once (the
       first run's copy). Unequal ones are refused: the merged table could not say which is true. To
       keep both, play one of the runs with other replicates or another root.
    3. The same holds for episodes of one id. A void episode gives way to a counted one.
    4. Studies may differ: the first is `study.toml`, the other `study-DIGEST.toml`, and every
       episode names its source (study, code, machine, models).
    5. Every row is checked against its seal on the way; a damaged run is refused.
    6. Cassettes are joined call by call; the same call with two answers is refused, but two that
       differ in their cost alone are one (the first run's). cassette=False leaves the cassettes out; the
       models' part of such a run cannot be replayed.
    """
    target = Path(out)
    if target.exists():
        raise CrossplayError(f"{target}: exists already; name a new folder for the merged run")
    with explained(target, "create the merged run"):
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with RunFolder.open(a) as first, RunFolder.open(b) as second:
            done = _join(first, second, work)
            if cassette:
                _join_cassettes(first.path, second.path, work)
        with RunFolder.open(work, write=True, same_source=True):
            pass  # notes the cassette
        with explained(target, "create the merged run"):
            (work / "lock").unlink(missing_ok=True)
            work.chmod(0o755)
            work.rename(target)
        return done
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _join(a: RunFolder, b: RunFolder, work: Path) -> Merged:
    cells = _cells(a, b)
    keep_a, keep_b, joined = _choose(a, b)
    sources: list[tuple[str, str]] = []
    maps = []
    for run in (a, b):
        mapped = []
        for known in run.sources():
            source = (known.pop("study"), to_json(known))
            if source not in sources:
                sources.append(source)
            mapped.append(sources.index(source))
        maps.append(mapped)
    with RunFolder.create(work, a.study_toml, sources=sources) as out:
        for digest, text in {**b.studies(), **a.studies()}.items():
            if digest != a.study_digest:
                write_file(work / f"study-{digest}.toml", text.encode())
        out.add_cells(cells)
        for run, keep, mapped in ((a, keep_a, maps[0]), (b, keep_b, maps[1])):
            copy_episodes(run, keep, mapped, out)
    return Merged(len(keep_a), len(keep_b), joined)


def _cells(a: RunFolder, b: RunFolder) -> list[Cell]:
    found = {c.name: c for c in a.cells()}
    for c in b.cells():
        known = found.setdefault(c.name, c)
        if (known.env_id, known.lineup, known.agents) != (c.env_id, c.lineup, c.agents):
            raise CrossplayError(
                f'cannot merge {b.path}: cell "{c.name}" is {c.env_id} with {c.lineup} {to_json(c.agents)} there, '
                f"and {known.env_id} with {known.lineup} {to_json(known.agents)} in {a.path}"
            )
    return list(found.values())


def _choose(a: RunFolder, b: RunFolder) -> tuple[list[EpisodeRecord], list[EpisodeRecord], int]:
    """(episodes to take from a, from b, how many both held)."""
    ours = {r.id: r for r in a.records()}
    places = {_place(r): r for r in ours.values() if r.status != "void"}
    keep: list[EpisodeRecord] = []
    joined = 0
    for r in b.records():
        same = ours.get(r.id)
        if r.status == "void":
            if same is None:
                keep.append(r)
            else:
                joined += 1
            continue
        if same is not None and same.status == "void":
            del ours[r.id]
            same = None
        same = same or places.get(_place(r))
        if same is None:
            keep.append(r)
        elif _result(same) == _result(r):
            joined += 1
        else:
            raise CrossplayError(
                f'cannot merge {b.path} into {a.path}: cell "{r.cell}", root {r.root}, block {r.block}, replicate '
                f"{r.replicate} was played in both with different results ({_differs(same, r)}). Play one of them "
                "with other replicates or another root, or keep the runs apart"
            )
    return list(ours.values()), keep, joined


def _place(r: EpisodeRecord) -> tuple[object, ...]:
    return r.cell, r.root, r.block, r.replicate


def _result(r: EpisodeRecord) -> tuple[object, ...]:
    return r.env_id, r.lineup, r.status, to_json(r.score), r.world, r.mind


def _differs(a: EpisodeRecord, b: EpisodeRecord) -> str:
    names = ("environment", "lineup", "status", "score", "world digest", "mind digest")
    return ", ".join(n for n, x, y in zip(names, _result(a), _result(b), strict=True) if x != y)


def copy_episodes(run: RunFolder, keep: Sequence[EpisodeRecord], sources: Sequence[int], out: RunFolder) -> None:
    """Copy episodes of a run with their rows. sources: for each of its sources, which one of `out` it is."""
    records = {r.id: r for r in keep}
    batch = []
    for episode, table in run.tables(records):
        record = records[episode]
        record.source = sources[record.source]
        batch.append((record, table))
        if len(batch) == _BATCH:
            out.put_tables(batch)
            batch = []
    out.put_tables(batch)


def _join_cassettes(a: Path, b: Path, work: Path) -> None:
    files = [f for f in (cassette_file(a), cassette_file(b)) if f is not None]
    if not files:
        return
    from crossplay.records._cassette_rows import same_answer
    from crossplay.records.cassette import Cassette, verify_cassette

    with Cassette(work / "cassette" / "cassette.sqlite") as out:
        for file in files:
            if verify_cassette(file):
                raise Damaged(f"cannot merge {file}: it is damaged; `crossplay verify` names the calls")
            with Cassette(file, "strict") as source:
                for row in source.rows():
                    known = out.get(row.call.key)
                    if known is not None and known.status == row.status == "answered" and not same_answer(known, row):
                        raise CrossplayError(
                            f"cannot merge {file}: the call {row.call.key.hex()} (environment {row.call.address[1]}, "
                            f"block {row.call.address[2]}, seat {row.call.address[4]}, tick {row.call.address[5]}) has "
                            "another answer in the other run; merge without cassettes, or keep the runs apart"
                        )
                    if known is None or (known.status != "answered" and row.status == "answered"):
                        out._put(row).result()  # as it is, times and attempts included
