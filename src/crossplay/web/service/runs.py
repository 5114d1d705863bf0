"""Runs: what there is, how far each is and what it has spent, one run's head, its episodes in pages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.records.lock import writer_of
from crossplay.study.costs import Costs
from crossplay.study.listing import Listing
from crossplay.study.named import agent_words, of_all
from crossplay.study.notes import controls
from crossplay.study.progress import Progress, State, Watch, changed_of, stamp_of
from crossplay.web.api import Route
from crossplay.web.desk import Desk, NotFound

__all__ = ["ROUTES", "RunRow", "Shelf", "row_of", "shelf_of"]

LISTINGS = 6  # tables of episodes that stay in memory

Limit = Annotated[int, msgspec.Meta(ge=1, le=500)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
Text = Annotated[str, msgspec.Meta(max_length=200)]


class RunRow(msgspec.Struct):
    """A run as the list shows it.

    run: its name in addresses. study: the name of its study. state: "done", "open" (unfinished, nobody plays),
    "going" or "damaged" (why: what is wrong). episodes: finished ones of those planned; void: plays that did not count.
    environments, lineups: by the names of the study. changed: seconds since 1970. calls, tokens, money, cpu_s: what models
    have cost by now, each call once, those of episodes that have not ended too. money: USD so far by the price
    table, null where a model has no price; cpu_s: processor seconds of models on this machine.
    """

    run: str
    study: str
    state: State
    why: str
    episodes: int
    planned: int
    void: int
    environments: list[str]
    lineups: list[str]
    changed: float
    calls: int
    tokens: int
    money: float | None
    cpu_s: float
    flagged: bool


class RunList(msgspec.Struct):
    """A cut of the list. total: how many runs the filter left. root: the folder that is shown."""

    rows: list[RunRow]
    total: int
    root: str


class RunsQuery(msgspec.Struct):
    """search: words that must all occur in name, study, environments, lineups or state. state: only those in it.
    sort, down: by which column, from high to low. offset, limit: which cut.
    """

    search: Text = ""
    state: Literal["", "done", "open", "going", "damaged"] = ""
    sort: Literal["run", "study", "state", "episodes", "planned", "changed", "calls", "tokens", "money", "cpu_s"] = (
        "changed"
    )
    down: bool = True
    offset: Offset = 0
    limit: Limit = 100


class CellRow(msgspec.Struct):
    """One environment met by one ordered lineup. seats: seat -> agent. statuses: how its episodes ended."""

    cell: str
    env: str
    env_id: str
    lineup: str
    order: str
    role: str
    seats: dict[str, str]
    done: int
    planned: int
    statuses: dict[str, int]


class AgentRow(msgspec.Struct):
    """An agent of the study: its type, what it is in words, its kind."""

    name: str
    type: str
    words: str
    kind: str


class RunHead(msgspec.Struct):
    """One run: its row in the list, its study, who played on what, and how far each cell is.

    toml: the study as resolved; digest: its sha256. sources: code, machine, packages and models, one entry per change.
    marks: what to know before reading its numbers. teams: whether agents with members sit in it; people: whether
    participants play it. costs: so far, by agent.
    """

    row: RunRow
    description: str
    toml: str
    digest: str
    metric: str
    baseline: str
    margin: float
    level: float
    root: int
    blocks: int
    replicates: int
    fault_limit: float
    marks: list[str]
    agents: list[AgentRow]
    cells: list[CellRow]
    sources: list[dict[str, Any]]
    costs: Costs
    teams: bool
    people: bool


class Shelf:
    """Every run that was looked at, and the tables of episodes of the latest ones. Thread-safe."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._watches: dict[Path, tuple[Watch, threading.Lock]] = {}
        self._listings: dict[Path, tuple[Listing, threading.Lock]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=_warm, daemon=True, name="crossplay imports").start()

    def look(self, name: str) -> tuple[Watch, Progress]:
        """How far a run is now. Raises `NotFound`."""
        return self.at(self.desk.run_folder(name))

    def at(self, folder: Path) -> tuple[Watch, Progress]:
        """How far the run in a folder is now."""
        watch, lock = self._of(self._watches, folder, Watch)
        with lock:
            return watch, watch.look()

    def episodes(self, name: str, read: Callable[[Listing], Any]) -> Any:
        """What `read` makes of a run's table of episodes as it is now."""
        folder = self.desk.run_folder(name)
        listing, lock = self._of(self._listings, folder, Listing)
        with self._lock:  # the latest come last
            self._listings[folder] = self._listings.pop(folder, (listing, lock))
            while len(self._listings) > LISTINGS:
                del self._listings[next(iter(self._listings))]
        with lock:
            listing.update()
            return read(listing)

    def rows(self) -> list[RunRow]:
        """All runs. What was known of runs that are gone is forgotten."""
        runs = self.desk.runs()
        there = {folder for _, folder in runs}
        with self._lock:
            for kept in (self._watches, self._listings):
                for folder in [f for f in kept if f not in there and not f.exists()]:
                    del kept[folder]
        return self.rows_of(runs)

    def rows_of(self, runs: Iterable[tuple[str, Path]]) -> list[RunRow]:
        """Lines of runs by name and folder; of those that are gone meanwhile there is none."""
        found = [(name, folder, *self.at(folder)) for name, folder in runs]
        return [
            row_of(name, watch, progress)
            for name, folder, watch, progress in found
            if progress.state != "damaged" or (folder / "manifest.sqlite").exists()
        ]

    def _of(self, kept: dict[Path, Any], folder: Path, make: Callable[[Path], Any]) -> Any:
        with self._lock:
            if folder not in kept:
                kept[folder] = make(folder), threading.Lock()
            return kept[folder]


def _warm() -> None:
    """Load what the first result and the first table of episodes need, while somebody looks at the list."""
    import polars  # noqa: F401
    import scipy.stats  # noqa: F401


def shelf_of(desk: Desk) -> Shelf:
    """The shelf of this desk."""
    return desk.part("runs", Shelf)


def row_of(name: str, watch: Watch, progress: Progress) -> RunRow:
    """A run's line in the list."""
    study, spent = watch.study, progress.spent
    return RunRow(
        name,
        study.name if study is not None else name,
        progress.state,
        progress.why,
        progress.episodes,
        progress.planned,
        progress.void,
        list(study.environments) if study is not None else [],
        list(study.lineups) if study is not None else [],
        progress.changed,
        spent.calls,
        spent.tokens,
        spent.money,
        spent.cpu_s,
        progress.costs.flagged,
    )


def list_runs(desk: Desk, query: RunsQuery) -> RunList:
    """All runs in the folder, searched, sorted and cut into pages."""
    words = query.search.lower().split()
    if not words and not query.state and query.sort in ("run", "changed"):
        return _cut(desk, query)
    rows = [r for r in shelf_of(desk).rows() if _fits(r, query.state, words)]
    rows.sort(key=lambda r: r.run)
    rows.sort(key=lambda r: _key(getattr(r, query.sort), query.down), reverse=query.down)
    return RunList(rows[query.offset : query.offset + query.limit], len(rows), str(desk.root))


def _cut(desk: Desk, query: RunsQuery) -> RunList:
    """The same where the order is known without reading a run: only those that are shown are read."""
    runs = desk.runs()
    if query.sort == "changed":
        runs.sort(key=lambda r: changed_of(stamp_of(r[1])), reverse=query.down)
    else:
        runs.sort(key=lambda r: r[0].lower(), reverse=query.down)
    shown = shelf_of(desk).rows_of(runs[query.offset : query.offset + query.limit])
    return RunList(shown, len(runs), str(desk.root))


def _fits(row: RunRow, state: str, words: list[str]) -> bool:
    text = " ".join([row.run, row.study, row.state, *row.environments, *row.lineups]).lower()
    return (not state or row.state == state) and all(w in text for w in words)


def _key(value: Any, down: bool) -> tuple[bool, Any]:
    """What is not known comes last, whichever way."""
    missing = value is None
    return (missing != down, 0.0 if missing else value.lower() if isinstance(value, str) else value)


def show_run(desk: Desk, run: str) -> RunHead:
    """One run: study, machine, marks, cells with their progress, costs so far."""
    watch, progress = shelf_of(desk).look(run)
    study = watch.study
    if study is None:
        raise CrossplayError(f"{run}: {progress.why}")
    agents = of_all(watch.sources)
    counted = {c: sum(k for s, k in found.items() if s != "void") for c, found in progress.cells.items()}
    cells = []
    for cell in watch.cells.values():
        lineup = study.lineups.get(str(cell.extra.get("group")))
        seats = cell.extra.get("seats", cell.agents)
        cells.append(
            CellRow(
                cell.name,
                str(cell.extra.get("env", "")),
                cell.env_id,
                str(cell.extra.get("group", cell.lineup)),
                cell.lineup,
                str(cell.extra.get("role") or ""),
                {s: cell.agents.get(s, "") for s in seats},
                counted.get(cell.name, 0),
                len(study.blocks_of(lineup)) * study.replicates if lineup is not None else 0,
                progress.cells.get(cell.name, {}),
            )
        )
    order = {name: i for i, name in enumerate(study.lineups)}
    cells.sort(key=lambda c: (c.env, order.get(c.lineup, len(order)), c.order))
    try:
        text = (watch.folder / "study.toml").read_text("utf-8", "replace")
    except OSError as error:
        raise NotFound(f"{run}: study.toml cannot be read: {error.strerror}") from None
    return RunHead(
        row_of(run, watch, progress),
        study.description,
        text,
        watch.sources[0]["study"] if watch.sources else "",
        study.metric or "",
        study.baseline or "",
        study.margin,
        study.level,
        study.root,
        len(study.blocks),
        study.replicates,
        study.conduct.fault_limit,
        _marks(watch, progress),
        [
            AgentRow(name, spec.type, agent_words(name, study, agents), str(agents.get(name, {}).get("kind", "")))
            for name, spec in study.agents.items()
        ],
        cells,
        watch.sources,
        progress.costs,
        any(a.get("kind") in ("team", "single") for a in agents.values()),
        study.people is not None,
    )


def _marks(watch: Watch, progress: Progress) -> list[str]:
    """What to know before reading the numbers of a run."""
    study = watch.study
    assert study is not None
    marks = []
    if progress.why:
        marks.append(f"damaged: {progress.why}")
    if progress.state == "open":
        left = progress.planned - progress.episodes
        marks.append(
            f"unfinished: {left:,} of {progress.planned:,} planned episodes are missing; crossplay run goes on with it"
        )
        if writer_of(watch.folder) == "elsewhere":
            marks.append("it was last played on another machine; whether it still is shows here when it changes")
    if progress.void:
        marks.append(f"{progress.void:,} plays were void and played again")
    if len({s["study"] for s in watch.sources}) > 1:
        marks.append("merged from several studies")
    elif len(watch.sources) > 1:
        marks.append(f"played in {len(watch.sources)} sittings with different code, machine or models")
    if progress.costs.flagged:
        marks.append(
            f"many fallbacks: the conduct moved for an agent in more than {study.conduct.fault_limit:.0%} of its decisions"
        )
    return marks + controls(study)


# -- episodes ------------------------------------------------------------------------------------------------
class EpisodeRow(msgspec.Struct):
    """An episode. episode: its id in hex. env, lineup: by the names of the study; order: who sat where, in seat order.

    value: the metric of the study, null where the world broke. wall_s, cpu_s: seconds. fallbacks: moves that the
    conduct served. scores: everything that the environment measured.
    """

    seq: int
    episode: str
    env: str
    lineup: str
    order: str
    role: str
    block: str
    replicate: int
    attempt: int
    status: str
    detail: str
    value: float | None
    ticks: int
    wall_s: float
    decisions: int
    calls: int
    tok_in: int
    tok_out: int
    cpu_s: float
    fallbacks: int
    invalid: int
    scores: dict[str, float]


class EpisodeList(msgspec.Struct):
    """A cut of the episodes. total: how many the filter left. metric: what `value` is.

    lineups, environments, statuses: what there is to filter by, each with its number of episodes. metrics: names of scores.
    """

    rows: list[EpisodeRow]
    total: int
    metric: str
    lineups: dict[str, int]
    environments: dict[str, int]
    statuses: dict[str, int]
    metrics: list[str]


class EpisodesQuery(msgspec.Struct):
    """lineup, env, status, block: only episodes of it. search: words that must all occur.
    sort: a column of the rows, or score.NAME; down: from high to low. offset, limit: which cut.
    """

    lineup: Text = ""
    env: Text = ""
    status: Text = ""
    block: Text = ""
    search: Text = ""
    sort: Text = "seq"
    down: bool = False
    offset: Offset = 0
    limit: Limit = 50


def list_episodes(desk: Desk, run: str, query: EpisodesQuery) -> EpisodeList:
    """The episodes of a run, filtered, sorted and cut into pages."""

    def read(listing: Listing) -> EpisodeList:
        page = listing.page(
            sort=query.sort,
            down=query.down,
            offset=query.offset,
            limit=query.limit,
            search=query.search,
            lineup=query.lineup,
            env=query.env,
            status=query.status,
            block=query.block,
        )
        return EpisodeList(
            [EpisodeRow(**row) for row in page.rows],
            page.total,
            listing.metric,
            *(listing.shares(c) for c in ("lineup", "env", "status")),
            listing.scores,
        )

    found: EpisodeList = shelf_of(desk).episodes(run, read)
    return found


ROUTES = [
    Route("GET", "/runs", list_runs),
    Route("GET", "/runs/{run}", show_run),
    Route("GET", "/runs/{run}/episodes", list_episodes),
]
