"""Workers: their interpreters, training jobs and how they go, workers that runs met. No worker command starts from here."""

from __future__ import annotations

import contextlib
import math
import re
import shlex
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from crossplay.jobs.frameworks import installed
from crossplay.jobs.interpreters import Interpreter, interpreters
from crossplay.jobs.registry import LIVE, Folder, Spec, State
from crossplay.jobs.running import launch
from crossplay.jobs.telling import read
from crossplay.kernel import CrossplayError, nearest
from crossplay.records import RunFolder
from crossplay.study.named import of_all
from crossplay.study.progress import stamp_of
from crossplay.web.api import Route
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound

__all__ = [
    "ROUTES", "Job", "JobQuery", "JobTold", "Resumed", "Seen", "Series", "Workers", "resume_job", "show_job", "stop_job",
    "workers",
]  # fmt: skip

FOLDER = "jobs"
"""Below the folder that is served; `crossplay train` puts jobs into runs/jobs."""
RUNS = 200
POINTS = 400
"""Of a curve that are sent."""


class Job(msgspec.Struct, kw_only=True):
    """A training job. state: queued, running, stopping, done, failed, cancelled or lost. step of steps: decisions of the
    trained seats. heard_s: seconds since its worker was last heard, null where it never was or is over. starts, deaths: of
    the worker. metrics: the last of each. resumes: "", or why it cannot be gone on with from here.
    """

    id: str
    name: str
    env: str
    seat: str
    seed: int
    state: str
    why: str
    step: int
    steps: int
    heard_s: float | None
    started: float
    ended: float
    starts: int
    deaths: int
    events: int
    lost_events: int
    slots: list[str]
    metrics: dict[str, float]
    checkpoint: str
    checkpoint_step: int
    resumes: str


class Seen(msgspec.Struct, kw_only=True):
    """A worker that sat in seats of runs. worker, version, wire: as it greeted; framework: what it says of the packages
    behind it. command: of the study, as one line; files: file that the command names -> sha256, cut short. voids: episodes
    that were played again because something behind a seat went away; retries, late: of its seats; faults: moves that were
    served in its place. decisions: that its seats were asked for in episodes that counted; wall_s: seconds that these took with all
    seats and the engine, so decisions / wall_s is the least that the worker made a second.
    """

    agent: str
    worker: str
    version: str
    wire: str
    framework: dict[str, Any]
    command: str
    files: dict[str, str]
    runs: list[str]
    episodes: int
    voids: int
    retries: int
    late: int
    faults: int
    decisions: int
    wall_s: float


class Workers(msgspec.Struct, kw_only=True):
    """interpreters: environments of workers, where the server was started. jobs: the newest first. seen: in runs here.
    trouble: what could not be read. Worker commands start from the command line alone.
    """

    interpreters: list[Interpreter]
    jobs: list[Job]
    seen: list[Seen]
    trouble: list[str]


class JobQuery(msgspec.Struct):
    """log: which one; lines: of it at most, from its end."""

    log: Literal["events", "stdout", "stderr", "engine"] = "events"
    lines: Annotated[int, msgspec.Meta(ge=0, le=2000)] = 50


class Series(msgspec.Struct):
    """One metric over steps: [step, value] in the order told, thinned to some hundred; attempts may go back to a checkpoint."""

    name: str
    points: list[tuple[float, float]]


class JobTold(msgspec.Struct, kw_only=True):
    """A job whole. config, options: as asked for. command: of the worker, as one line. notes, died: in words. curves: its
    metrics by step. log: the end of what was chosen. worker: how it greeted.
    """

    job: Job
    options: dict[str, Any]
    config: dict[str, Any]
    command: str
    notes: list[str]
    died: list[str]
    worker: dict[str, Any]
    curves: list[Series]
    log: list[str]


class Resumed(msgspec.Struct, forbid_unknown_fields=True):
    """steps: decisions in all, where it is to go further than was asked for; 0: as it was."""

    steps: Annotated[int, msgspec.Meta(ge=0, le=10**12)] = 0


# -- reading -----------------------------------------------------------------------------------------
def workers(desk: Desk) -> Workers:
    """Interpreters of workers, training jobs, workers that runs met."""
    trouble: list[str] = []
    jobs = []
    for file in desk.root.glob(f"{FOLDER}/*/job.json"):
        try:
            jobs.append((folder := Folder(file.parent), folder.spec(), folder.state()))
        except CrossplayError as error:
            trouble.append(str(error))
    jobs.sort(key=lambda j: (-j[1].created, j[0].id))
    return Workers(
        interpreters=interpreters(), jobs=[_job(*one) for one in jobs], seen=_seen(desk, trouble), trouble=trouble
    )


def show_job(desk: Desk, job: str, query: JobQuery) -> JobTold:
    """A training job: how it stands, its curves, the end of a log."""
    folder = _find(desk, job)
    spec, state = folder.spec(), folder.state()
    events = read(folder.path)
    return JobTold(
        job=_job(folder, spec, state), options=spec.options, config=spec.config, command=_line(spec.command),
        notes=state.notes, died=state.deaths, worker={k: v for k, v in state.worker.items() if k != "pid"},
        curves=_curves(events), log=_log(folder.path, query),
    )  # fmt: skip


def _find(desk: Desk, name: str) -> Folder:
    root = desk.root / FOLDER
    folder = Folder(root / name)
    known = [p.parent.name for p in root.glob("*/job.json")]
    if name not in known:
        raise NotFound(f'there is no job "{name[:80]}".{nearest(name[:80], known)}')
    return folder


def _job(folder: Folder, spec: Spec, state: State) -> Job:
    live = state.state in LIVE
    return Job(
        id=folder.id, name=spec.name, env=spec.env, seat=spec.seat, seed=spec.seed, state=state.state, why=state.why,
        step=state.step, steps=spec.steps,
        heard_s=round(max(0.0, time.time() - state.heard), 1) if live and state.heard else None,
        started=state.started, ended=state.ended, starts=state.attempt, deaths=len(state.deaths), events=state.events,
        lost_events=state.lost_events, slots=state.slots, metrics=state.metrics, checkpoint=state.checkpoint,
        checkpoint_step=state.checkpoint_step, resumes="" if live else installed(spec),
    )  # fmt: skip


def _line(command: list[str]) -> str:
    return shlex.join(command)


def _curves(events: list[dict[str, Any]]) -> list[Series]:
    found: dict[str, list[tuple[float, float]]] = {}
    for e in events:
        step = e.get("step")
        if e.get("kind") != "metrics" or not _number(step):
            continue
        for name, value in e.items():
            if name not in ("at", "attempt", "seq", "kind", "step") and _number(value):
                found.setdefault(name, []).append((float(step), float(value)))  # type: ignore[arg-type]
    return [Series(name, _thin(points)) for name, points in sorted(found.items())]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Every k-th point, and the last."""
    k = -(-len(points) // POINTS)
    return points if k <= 1 else [*points[:-1:k], points[-1]]


def _log(folder: Path, query: JobQuery) -> list[str]:
    file = folder / ("events.jsonl" if query.log == "events" else f"{query.log}.log")
    try:
        with file.open("rb") as source:
            source.seek(max(0, file.stat().st_size - 400 * (query.lines + 1)))
            text = source.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line[:1000] for line in text.splitlines()]
    return lines[-query.lines :] if query.lines else []


# -- workers in runs -----------------------------------------------------------------------------------
def _seen(desk: Desk, trouble: list[str]) -> list[Seen]:
    """Workers of all runs; the same command of the same version is one line."""
    found: dict[Any, Seen] = {}
    for run, folder in desk.runs(RUNS):
        try:
            here = desk.kept(("workers", folder), stamp_of(folder), lambda folder=folder: _met(folder), RUNS)  # type: ignore[misc]
        except Exception as error:  # whatever stands in one run must not hide the others
            trouble.append(f"{run}: {error}")
            continue
        for one in here:
            key = (one.agent, one.worker, one.version, one.command, tuple(sorted(one.files.items())))
            if key not in found:
                found[key] = msgspec.structs.replace(one, runs=[run])
                continue
            known = found[key]
            known.runs.append(run)
            for name in ("episodes", "voids", "retries", "late", "faults", "decisions", "wall_s"):
                setattr(known, name, getattr(known, name) + getattr(one, name))
    return sorted(found.values(), key=lambda s: (s.agent, s.worker, s.version))


def _met(folder: Path) -> list[Seen]:
    """The workers of one run."""
    with RunFolder.open(folder) as run:
        manifests = {n: m for n, m in of_all(run.sources()).items() if m.get("kind") == "remote"}
        if not manifests:
            return []
        seats = {c.name: {s: a for s, a in c.agents.items() if a in manifests} for c in run.cells()}
        found = {name: _greeted(name, m) for name, m in manifests.items()}
        for record in run.records():
            mine, void = seats.get(record.cell, {}), record.status == "void"
            for agent in dict.fromkeys(mine.values()):  # of an episode once, in however many seats it sat
                one = found[agent]
                one.episodes += not void
                one.voids += void
                one.wall_s += 0.0 if void else record.wall_s
            for seat, agent in mine.items():
                one, counts = found[agent], record.counts.get(seat, {})
                one.decisions += 0 if void else counts.get("decisions", 0)
                one.retries += counts.get("retries", 0)
                one.late += counts.get("late", 0)
                one.faults += sum(k for name, k in counts.items() if name.startswith("link_"))
        return [found[name] for name in sorted(found)]


def _greeted(name: str, m: dict[str, Any]) -> Seen:
    hello = m.get("worker") or {}
    about = hello.get("about") or {}
    command = m.get("command") or []
    wire = hello.get("wire")
    return Seen(
        agent=name, worker=str(hello.get("name", "")), version=str(hello.get("version", "")),
        wire=".".join(map(str, wire)) if isinstance(wire, (list, tuple)) else str(wire or ""),
        framework=about if isinstance(about, dict) else {"about": about},
        command=_line([str(c) for c in command]) or str(m.get("listen", "")),
        files={re.split(r"[\\/]", str(k))[-1]: str(v)[:16] for k, v in (m.get("files") or {}).items()},
        runs=[], episodes=0, voids=0, retries=0, late=0, faults=0, decisions=0, wall_s=0.0,
    )  # fmt: skip


# -- acting ------------------------------------------------------------------------------------------
def stop_job(desk: Desk, job: str) -> Job:
    """Ask a training job to stop: its trainer writes a last checkpoint and ends; it can be gone on with."""
    folder = _find(desk, job)
    state = folder.state()
    if state.state not in LIVE:
        raise Conflict(f"{folder.id} is {state.state}; there is nothing to stop")
    folder.stop()
    return _job(folder, folder.spec(), folder.state())


def resume_job(desk: Desk, job: str, body: Resumed) -> Job:
    """Go on with a job from its last checkpoint, in a process of its own that outlives this server.

    Only where it runs an installed trainer on plain data; a job with a command of its own goes on from the command line.
    """
    folder = _find(desk, job)
    spec, state = folder.spec(), folder.state()
    if state.state in LIVE:
        raise Conflict(f"{folder.id} is {state.state}")
    if why := installed(spec):
        raise Forbidden(f"{folder.id} goes on only from the command line, because {why}: {resume_line(folder)}")
    if state.state == "done" and body.steps <= spec.steps:
        raise Conflict(f"{folder.id} is done; more than {spec.steps} steps go further")
    if body.steps:
        spec.steps = body.steps
        folder.write(spec)
    folder.again()
    launch(folder)
    with contextlib.suppress(CrossplayError):
        state = folder.state()
    return _job(folder, spec, state)


def resume_line(folder: Folder) -> str:
    """How the command line goes on with it."""
    return _line(["crossplay", "jobs", "resume", folder.id, "--in", str(folder.path.parent)])


ROUTES = [
    Route("GET", "/workers", workers),
    Route("GET", "/workers/jobs/{job}", show_job),
    Route("POST", "/workers/jobs/{job}/stop", stop_job),
    Route("POST", "/workers/jobs/{job}/resume", resume_job),
]
