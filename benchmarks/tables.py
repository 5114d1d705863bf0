"""The first look at a large result: 100,000 episodes read, averaged, compared, resampled; beside bare rows and a mean.

Two shapes, 20 lineups x 5,000 blocks and 4 x 25,000, scores that all differ. What is measured is what `crossplay show`, the
page and the report do first (`result_of`). The yardstick reads the same rows with sqlite3, decodes their scores and takes a
numpy mean per lineup: no blocks, no intervals, no counters.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row, interleaved, median, row

ROUNDS = 5
BAR = "<= 3"
SHAPES = ((20, 5000), (4, 25000))


def _many(known: list[Any], blocks: int) -> Iterator[Any]:
    """Each lineup's first episode again in every block, with a score, a world and a name of its own."""
    import msgspec

    from crossplay.kernel import generator, key

    chance = generator(key("bench", "tables", blocks))
    for n, r in enumerate(known):
        scores = chance.normal(size=(blocks, 1)) + n / 100
        for b in range(blocks):
            yield msgspec.structs.replace(
                r,
                id=(n + 1) * 10**9 + b,
                block=b + 10**6,
                score={k: float(scores[b, 0]) for k in r.score},
                world=key("world", n, b) * 2,
                events=(),
            )


def large_run(folder: Path, lineups: int, blocks: int) -> Path:
    """A run of that shape: played on one block, then filled."""
    from crossplay.records import RunFolder
    from crossplay.study.runner import run_study
    from crossplay.study.spec import parse_study
    from crossplay.study.stage import Stage

    names = [f"r{i}" for i in range(lineups)]
    data = {
        "study": {"blocks": 1, "margin": 0.05, "baseline": "r0", "metric": "payoff_row"},
        "environments": {"game": {"name": "matrix/prisoners_dilemma", "options": {"rounds": 4}}},
        "agents": dict.fromkeys(names, "random"),
        "lineups": {n: [n, n] for n in names},
        "controls": {"floor": False, "ceiling": False, "zero_message": False},
    }
    stage = Stage(parse_study(data), folder)
    stage.check()
    run_study(stage, folder)
    with RunFolder.open(folder, write=True) as run:
        first = {r.cell: r for r in run.records()}
        batch: list[Any] = []
        for record in _many(list(first.values()), blocks):
            batch.append(record)
            if len(batch) == 2000:
                run.put_many(batch)
                batch.clear()
        run.put_many(batch)
    return folder


def _look(folder: Path) -> Any:
    from crossplay.study.tables import result_of
    from crossplay.study.verify import load_run

    run, study = load_run(folder)
    with run:
        return result_of(run, study)


def _bare(folder: Path) -> dict[str, float]:
    import msgspec

    decode = msgspec.json.Decoder(dict[str, float]).decode
    values: dict[str, list[float]] = {}
    db = sqlite3.connect(folder / "manifest.sqlite")
    for cell, _, score in db.execute("SELECT cell, block, score FROM episodes"):
        values.setdefault(cell, []).append(decode(score)["payoff_row"])
    db.close()
    return {cell: float(np.mean(v)) for cell, v in values.items()}


def rows() -> list[Row]:
    """CPU seconds of the first look at each shape."""
    found = []
    for lineups, blocks in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            run = large_run(Path(folder) / "run", lineups, blocks)
            result = _look(run)
            if (
                result.episodes != lineups * (blocks + 1)
                or len([r for r in result.rows if r.comparison]) != lineups - 1
            ):
                raise AssertionError(f"{lineups} x {blocks}: the result does not hold what was written")
            ours, bare = interleaved(partial(_look, run), partial(_bare, run), ROUNDS, warm=1)
        title = f"tables: first look, {lineups} lineups x {blocks:,} blocks"
        what = "the same rows by sqlite3, and a mean, CPU s"
        found.append(row(title, median(ours), "CPU s", BAR, ours, median(bare), bare, what))
    return found
