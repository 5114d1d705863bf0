"""Exports of a run: tables of episodes, events and comparisons as CSV or Parquet, or logs that Inspect reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from crossplay.kernel import WORLD, CrossplayError, nearest, unpack
from crossplay.records import RunFolder
from crossplay.records.errors import explained
from crossplay.study.named import seat_orders_of
from crossplay.study.sessions import answer_rows, opened, session_rows
from crossplay.study.spec import Study
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run

if TYPE_CHECKING:
    import polars as pl

__all__ = ["FORMATS", "answers", "comparisons", "episodes", "events", "export_run", "participants", "plain"]

FORMATS = ("csv", "parquet", "inspect")
TOGETHER = 256  # episodes whose rows are in memory at a time


def export_run(run: Path, to: str = "csv", out: Path | None = None) -> list[Path]:
    """Write a run in another form (default: the folder export/FORMAT in it); the files written.

    csv, parquet: episodes, events and comparisons; where people take part, participants and answers. inspect: one .eval per cell (extra `inspect`).
    """
    if to not in FORMATS:
        raise CrossplayError(f'--to "{to}" is no format of an export.{nearest(to, FORMATS)}')
    folder, study = load_run(run)
    target = out or run / "export" / to
    with folder:
        if to == "inspect":
            from crossplay.study.inspect_log import write_logs

            return write_logs(folder, study, target)
        with explained(target, "write the export"):
            target.mkdir(parents=True, exist_ok=True)
            return _tables(folder, study, target, to)


def _tables(run: RunFolder, study: Study, target: Path, to: str) -> list[Path]:
    written = []
    frames = [("episodes", episodes(run, study)), ("comparisons", comparisons(run, study))]
    if study.people is not None:
        frames += [("participants", participants(run, study)), ("answers", answers(run, study))]
    for name, frame in frames:
        path = target / f"{name}.{to}"
        if to == "csv":
            frame.write_csv(path)
        else:
            frame.write_parquet(path)
        written.append(path)
    path = target / f"events.{to}"
    if to == "csv":
        _events_csv(run, study, path)
    else:
        _events_parquet(run, path)
    return [*written, path]


def episodes(run: RunFolder, study: Study) -> pl.DataFrame:
    """One line per episode: what was played where by whom, how it ended, scores and totals.

    `episode` is the id in hex; `env`, `group` and `role` come from the study; `seat.NAME` says who sat
    there, `total.NAME` the sum of its rewards, `score.NAME` the scores; `counts` and `extra` are JSON.
    """
    import polars as pl

    frame = run.episodes()
    cells = {c.name: c for c in run.cells()}
    names = frame["cell"].to_list()
    found = [cells[n] for n in names]
    order = seat_orders_of(run, study)
    seats = list(dict.fromkeys(s for c in found for s in order[c.name]))
    totals = frame["totals"].to_list()
    by_seat: dict[str, list[float | None]] = {s: [] for s in seats}
    for name, values in zip(names, totals, strict=True):
        mine = dict(zip(order[name], values, strict=False))
        for s in seats:
            by_seat[s].append(mine.get(s))
    front = [
        pl.Series("episode", [f"{e:016x}" for e in frame["episode"].to_list()], dtype=pl.String),
        *(pl.Series(k, [str(c.extra.get(k) or "") for c in found], dtype=pl.String) for k in ("env", "group", "role")),
        *(pl.Series(f"seat.{s}", [c.agents.get(s) for c in found], dtype=pl.String) for s in seats),
        *(pl.Series(f"total.{s}", by_seat[s], dtype=pl.Float64) for s in seats),
    ]
    rest = frame.drop("episode", "totals")
    return pl.DataFrame(front).hstack(rest.get_columns())


def events(run: RunFolder, study: Study, ids: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The event rows of episodes as plain values: ids in hex, seats by name, payload and note decoded."""
    order, cells = seat_orders_of(run, study), {r.id: r.cell for r in run.records()}
    for episode, table in run.tables(ids):
        seats = order[cells[episode]]
        for e in table.events():
            row = e._asdict()
            row["seat"] = "" if e.seat == WORLD else seats[e.seat] if e.seat < len(seats) else str(e.seat)
            row["path"] = ".".join(map(str, e.path))
            row["payload"] = None if e.payload is None else _json(unpack(e.payload))
            row["rewards"] = None if e.rewards is None else _json(list(e.rewards))
            row["note"] = _json(unpack(e.note)) if e.note else ""
            yield {"episode": f"{episode:016x}", **row}


def _events_csv(run: RunFolder, study: Study, path: Path) -> None:
    import csv

    from crossplay.kernel.events import COLUMNS

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["episode", *(n for n, _ in COLUMNS)], lineterminator="\n")
        writer.writeheader()
        for ids in _batches(run):
            writer.writerows(events(run, study, ids))


def _events_parquet(run: RunFolder, path: Path) -> None:
    """The rows as stored (payload and note stay MessagePack), batch by batch, then joined."""
    import tempfile

    import polars as pl

    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for k, ids in enumerate(_batches(run)):
            parts.append(Path(folder) / f"{k:06}.parquet")
            run.frame(ids).write_parquet(parts[-1])
        if not parts:
            run.frame([]).write_parquet(path)
            return
        pl.scan_parquet(parts).sink_parquet(path)


def _batches(run: RunFolder) -> Iterator[list[int]]:
    ids = [r.id for r in run.records()]
    for i in range(0, len(ids), TOGETHER):
        yield ids[i : i + TOGETHER]


def comparisons(run: RunFolder, study: Study) -> pl.DataFrame:
    """One line per comparison: those with the baseline (family "baseline"), then the study's questions."""
    import polars as pl

    result = result_of(run, study)
    pairs = [("baseline", r.env, r.comparison) for r in result.rows if r.comparison is not None]
    pairs += [("question", a.env, a.comparison) for a in result.answers]
    rows = []
    for family, env, c in pairs:
        line: dict[str, Any] = {"env": env, "kind": family}
        for name in c.__struct_fields__:
            value = getattr(c, name)
            if name in ("interval", "adjusted_interval"):
                short = "" if name == "interval" else "adjusted_"
                line[f"{short}low"], line[f"{short}high"] = (value.low, value.high) if value else (None, None)
            elif name == "iqm":
                line["iqm"] = value.value if value else None
            elif isinstance(value, tuple):
                line[name] = "; ".join(value)
            else:
                line[name] = value
        rows.append(line)
    whole = ("family", "units", "blocks", "episodes", "blocks_needed", "episodes_needed")
    texts = ("env", "kind", "candidate", "baseline", "metric", "verdict", "marks", "warnings")
    columns = list(rows[0]) if rows else [*texts, "difference", "low", "high"]
    kinds: dict[str, Any] = {**dict.fromkeys(texts, pl.String), **dict.fromkeys(whole, pl.Int64)}
    return pl.DataFrame({k: pl.Series([r[k] for r in rows], dtype=kinds.get(k, pl.Float64)) for k in columns})


def participants(run: RunFolder, study: Study) -> pl.DataFrame:
    """One line per participant: state, order of partners, finished episodes of how many, interruptions."""
    import polars as pl

    cells = {c.name: str(c.extra["group"]) for c in run.cells()}
    done = [(cells[r.cell], r.block) for r in run.records() if r.status != "void"]
    texts, whole = ("participant", "status", "partners"), ("order", "episodes", "of", "begun_anew", "resumed")
    schema: dict[str, Any] = {**dict.fromkeys(texts, pl.String), **dict.fromkeys(whole, pl.Int64)}
    return pl.DataFrame(session_rows(study, opened(run, study), done), schema=schema)


def answers(run: RunFolder, study: Study) -> pl.DataFrame:
    """One line per answer to a question: participant, lineup ("" at the end), as it was given, and its score."""
    import polars as pl

    texts = ("participant", "status", "lineup", "question", "kind", "answer")
    schema: dict[str, Any] = {**dict.fromkeys(texts, pl.String), "place": pl.Int64, "score": pl.Float64}
    return pl.DataFrame(answer_rows(study, opened(run, study)), schema=schema)


def plain(value: Any) -> Any:
    """MessagePack data and arrays as JSON data."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    return value


def _json(value: Any) -> str:
    return msgspec.json.encode(plain(value)).decode()
