"""Studies from Python: `run`, `result`, `episode`, `open_run`, as the package `crossplay` offers them.

Each does what the command of that name does, without printing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from crossplay.records import EpisodeRecord, RunFolder
from crossplay.study.calls import Calls
from crossplay.study.runner import run_study
from crossplay.study.spec import Study, load_study, parse_study
from crossplay.study.stage import Stage
from crossplay.study.tables import Result, result_of
from crossplay.study.verify import load_run
from crossplay.study.widgets import Episode

__all__ = ["episode", "open_run", "result", "run"]

T = TypeVar("T")


def run(
    study: Study | Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    runner: Literal["inline", "processes", "ray"] = "inline",
    jobs: int = 1,
    trust: bool = False,
    calls: Calls | None = None,
    on_episode: Callable[[EpisodeRecord], None] | None = None,
) -> Result:
    """Play a study, or go on with one that was stopped, and return what it says.

    study: a `Study`, the tables of a study file, or its path. out: the run folder (default:
    runs/NAME). trust: load code that the study names. calls: how models are asked (default: live, or
    the cassette that the study names). Raises CrossplayError where the study is
    wrong, and Stop (budget spent, endpoint gone) with everything finished so far kept.
    """
    spec = _study(study)
    folder = Path(out) if out is not None else Path("runs") / spec.name

    def play() -> None:
        stage = Stage(spec, folder, trust=trust, calls=calls)
        stage.check()
        run_study(stage, folder, runner=runner, jobs=jobs, on_episode=on_episode)

    _outside_loop(play)
    return result(folder)


def result(folder: str | Path) -> Result:
    """What a run says: scores with intervals, paired differences, costs, answers."""
    opened, study = load_run(Path(folder))
    with opened:
        return result_of(opened, study)


def open_run(folder: str | Path) -> RunFolder:
    """A run, open to read: `episodes()` and `frame()` are Polars tables, `events(id)` one episode."""
    return RunFolder.open(folder)


def episode(folder: str | Path, asked: str = "") -> Episode:
    """An episode of a run, to look at. asked: its id or the beginning, LINEUP:BLOCK, or "" for the first of the baseline."""
    return Episode(folder, asked)


def _study(study: Study | Mapping[str, Any] | str | Path) -> Study:
    if isinstance(study, Study):
        return study
    if isinstance(study, Mapping):
        return parse_study(study)
    return load_study(study)


def _outside_loop(call: Callable[[], T]) -> T:
    """Call it; in a thread of its own where an event loop runs already (notebooks)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call).result()
