"""The episodes of a run as a table in memory that is kept up as the run grows, sorted, filtered and cut into pages."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from crossplay.kernel import CrossplayError, nearest
from crossplay.study.costs import LINKS
from crossplay.study.progress import Growing, stamp_of
from crossplay.study.values import metric_of, metrics_of
from crossplay.study.verify import load_run

if TYPE_CHECKING:
    import polars as pl

__all__ = ["COLUMNS", "Listing", "Page"]

STORED = (
    "episode",
    "cell",
    "block",
    "replicate",
    "attempt",
    "status",
    "detail",
    "score",
    "totals",
    "ticks",
    "counts",
    "wall_s",
)
COLUMNS = (
    "seq", "episode", "env", "lineup", "order", "role", "block", "replicate", "attempt", "status", "detail", "value",
    "ticks", "wall_s", "decisions", "calls", "tok_in", "tok_out", "cpu_s", "fallbacks", "invalid",
)  # fmt: skip
"""Of the table: number of the commit, id in hex, what was played, how it ended (value: the metric), what was spent.

lineup: as the study names it; order: who sat where, in seat order. fallbacks: moves that the conduct served.
"""

_scores = msgspec.json.Decoder(dict[str, float | None])
_totals = msgspec.json.Decoder(list[float | None])
_counts = msgspec.json.Decoder(dict[str, dict[str, int]])


class _Ended(NamedTuple):
    """What a metric reads of an episode."""

    cell: str
    status: str
    score: dict[str, float | None]
    totals: list[float]


class Page(msgspec.Struct):
    """A cut of the table. rows: of `COLUMNS`, with `scores`. total: how many the filter left."""

    rows: list[dict[str, Any]]
    total: int


class Listing:
    """The episodes of one run. Not thread-safe. frame: `COLUMNS`, `score.NAME` per score, `order.block` to sort by."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frame: pl.DataFrame | None = None
        self.metric = ""
        self._digest = ""
        self._episodes = Growing(STORED)
        self._stamp: object = None

    def update(self) -> pl.DataFrame:
        """Read what is new; the whole table. Raises CrossplayError where the run cannot be read."""
        import polars as pl

        stamp = stamp_of(self.folder)
        if self.frame is not None and stamp == self._stamp:
            return self.frame
        run, study = load_run(self.folder)
        with run:
            if run.study_digest != self._digest:
                self._digest = run.study_digest
                self._episodes.forget()
            try:
                anew, found = self._episodes.read(run)
                cells = {c.name: c for c in run.cells()}
                if found or anew or self.frame is None:
                    new = _frame((row[: len(STORED) + 1] for row in found), cells, metric_of(run, study))
                    keep = None if anew else self.frame
                    self.frame = new if keep is None else pl.concat([keep, new], how="diagonal")
            except Exception:
                self._episodes.forget()
                raise
            self.metric = study.metric or next(iter(metrics_of(run)))
        self._stamp = stamp
        return self.frame

    def page(
        self,
        *,
        sort: str = "seq",
        down: bool = False,
        offset: int = 0,
        limit: int = 50,
        search: str = "",
        **only: str,
    ) -> Page:
        """Rows offset..offset+limit-1 of what is left. Call `update` first.

        sort: a column, or score.NAME. search: words that must all occur (id, lineup, order, block, status, detail,
        environment). only: column=text that must be equal; "" leaves a column out. Raises CrossplayError for a
        column that there is none of.
        """
        import polars as pl

        frame = self.frame if self.frame is not None else self.update()
        for name in (sort, *only):
            if name not in frame.columns:
                raise CrossplayError(f'episodes have no column "{name[:80]}".{nearest(name[:80], frame.columns)}')
        keep = [pl.col(k) == v for k, v in only.items() if v]
        keep += [pl.col("text").str.contains(word.lower(), literal=True) for word in search.split()]
        if keep:
            frame = frame.filter(keep)
        if sort == "seq":
            cut = (frame.reverse() if down else frame).slice(offset, limit)
        else:
            keys = ["order.block", "block"] if sort == "block" else [sort]
            order = frame.select(*keys, "seq").with_row_index("at")
            ways = [down] * len(keys) + [False]
            cut = frame[order.sort([*keys, "seq"], descending=ways, nulls_last=True)["at"].slice(offset, limit)]
        scores = [c for c in frame.columns if c.startswith("score.")]
        rows = cut.select(*COLUMNS).to_dicts()
        for row, values in zip(rows, cut.select(scores).to_dicts() if scores else [{}] * len(rows), strict=True):
            row["scores"] = {k.removeprefix("score."): v for k, v in values.items() if v is not None}
        return Page(rows, frame.height)

    @property
    def scores(self) -> list[str]:
        """Names of the scores that any episode has."""
        return [
            c.removeprefix("score.")
            for c in (self.frame.columns if self.frame is not None else ())
            if c.startswith("score.")
        ]

    def shares(self, column: str) -> dict[str, int]:
        """How many episodes have each value of a column, in the order of their first one."""
        frame = self.frame if self.frame is not None else self.update()
        found = frame.group_by(column, maintain_order=True).len()
        return dict(zip(found[column].cast(str).to_list(), found["len"].to_list(), strict=True))


def _frame(found: Iterable[tuple[Any, ...]], cells: dict[str, Any], value_of: Any) -> pl.DataFrame:
    """New rows of the table."""
    import polars as pl

    rows: list[tuple[Any, ...]] = []
    scores: dict[str, list[float | None]] = {}
    said: dict[str, tuple[str, ...]] = {}
    for seq, id_, name, block, replicate, attempt, status, detail, score, totals, ticks, counts, wall_s in found:
        if name not in said:
            said[name] = _played(cells[name])
        env, group, order, role, words = said[name]
        mine = _scores.decode(score)
        for k in mine.keys() - scores.keys():
            scores[k] = [None] * len(rows)
        for k, values in scores.items():
            values.append(mine.get(k))
        earned = [float("nan") if t is None else t for t in _totals.decode(totals)]
        spent: dict[str, int] = {}
        for per_seat in _counts.decode(counts).values():
            for k, c in per_seat.items():
                spent[k] = spent.get(k, 0) + c
        told = spent.get
        rows.append(
            (
                seq, id_, env, group, order, role, str(block), replicate, attempt, status, detail,
                value_of(_Ended(name, status, mine, earned)), ticks, wall_s, told("decisions", 0), told("calls", 0),
                told("tok_in", 0), told("tok_out", 0), told("cpu_us", 0) / 1e6, sum(told(k, 0) for k in LINKS),
                told("invalid", 0), block if isinstance(block, int) else None,
                f"{words} {id_} {status} {detail.lower()} {block}",
            )
        )  # fmt: skip
    names = (*COLUMNS, "order.block", "text")
    columns = zip(names, zip(*rows, strict=True) if rows else [()] * len(names), strict=True)
    kinds = {
        **dict.fromkeys(
            (
                "seq",
                "replicate",
                "attempt",
                "ticks",
                "decisions",
                "calls",
                "tok_in",
                "tok_out",
                "fallbacks",
                "invalid",
                "order.block",
            ),
            pl.Int64,
        ),
        **dict.fromkeys(("value", "wall_s", "cpu_s"), pl.Float64),
    }
    series = [pl.Series(k, v, dtype=kinds.get(k, pl.String)) for k, v in columns]
    series += [pl.Series(f"score.{k}", v, dtype=pl.Float64) for k, v in sorted(scores.items())]
    return pl.DataFrame(series)


def _played(cell: Any) -> tuple[str, ...]:
    """(environment, lineup, order, role, words to search) of a cell."""
    env, group = str(cell.extra.get("env", cell.env_id)), str(cell.extra.get("group", cell.lineup))
    return env, group, cell.lineup, str(cell.extra.get("role") or ""), f"{env} {group} {cell.lineup}".lower()
