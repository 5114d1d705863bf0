"""Logs that Inspect reads (extra `inspect`): one .eval per cell, one sample per episode.

Inspect's own package writes the files. A sample's id is the block, its epoch the replicate (from 1),
its uuid the episode. Crossplay stores durations, not times of day: all events of a log carry the
time at which the run was made, and `working_start` says how long after the episode's begin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossplay.kernel import WORLD, CrossplayError, Env, Event, make_env, unpack
from crossplay.records import Cell, EpisodeRecord, RunFolder
from crossplay.records.errors import explained
from crossplay.study.export import plain
from crossplay.study.named import seat_orders_of
from crossplay.study.spec import Study

__all__ = ["write_logs"]

SHOWN = ("act", "fault", "msg", "mail", "step", "note", "model", "tool", "post", "vote", "late", "end")


def write_logs(run: RunFolder, study: Study, target: Path) -> list[Path]:
    """Write the logs of all cells that hold an episode; the files. Raises CrossplayError without the extra."""
    try:
        from inspect_ai.log import write_eval_log
    except ImportError:
        raise CrossplayError("export to Inspect needs the extra `inspect`: pip install 'crossplay[inspect]'") from None
    orders = seat_orders_of(run, study)
    by_cell: dict[str, list[EpisodeRecord]] = {}
    for record in run.records():
        if record.status != "void":  # replayed in the same block: its successor is the sample
            by_cell.setdefault(record.cell, []).append(record)
    written = []
    with explained(target, "write the export"):
        target.mkdir(parents=True, exist_ok=True)
        for cell in run.cells():
            if cell.name not in by_cell:
                continue
            log = _log(run, study, cell, by_cell[cell.name], orders[cell.name])
            path = target / _file(log, cell)
            write_eval_log(log, str(path))
            written.append(path)
    return written


def _file(log: Any, cell: Cell) -> str:
    """TIME_TASK_ID.eval, as Inspect names its own."""
    name = "".join(c if c.isalnum() or c == "." else "-" for c in cell.name).strip("-")
    return f"{log.eval.created.replace(':', '-').replace('+', '-')}_{name[:80]}_{log.eval.task_id}.eval"


def _log(run: RunFolder, study: Study, cell: Cell, records: Sequence[EpisodeRecord], seats: tuple[str, ...]) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSpec, EvalStats

    label = cell.extra.get("env", cell.env_id)
    source = run.sources()[records[0].source]
    samples = [_sample(run, study, cell, r, seats) for r in records]
    group = study.lineups.get(cell.extra.get("group", ""))
    planned = len(study.blocks if group is None else study.blocks[: group.blocks]) * study.replicates
    blocks = list(dict.fromkeys(r.block for r in records))
    created = _created(run)
    spec = EvalSpec(
        eval_id=_short(cell.name, source["study"]),
        run_id=source["study"][:22],
        task_id=_short(cell.name, source["study"]),
        created=created,
        task=f"{label}: {cell.lineup}",
        task_display_name=f"{label}: {cell.lineup}",
        task_args={"env": cell.env_id, "lineup": cell.lineup, "root": study.root},
        dataset=EvalDataset(name=cell.env_id, samples=len(blocks), sample_ids=blocks, shuffled=False),
        model=f"crossplay/{cell.lineup}",
        config=EvalConfig(epochs=study.replicates),
        packages={"crossplay": str(source.get("crossplay", ""))},
        metadata={
            "crossplay": True,
            "study": study.name,
            "study_digest": source["study"],
            "cell": cell.name,
            "role": cell.extra.get("role", ""),
            "seats": {s: cell.agents[s] for s in seats},
            "agents": {a: source.get("agents", {}).get(a, {}) for a in dict.fromkeys(cell.agents.values())},
            "git_sha": source.get("git_sha"),
            "lock_digest": source.get("lock_digest"),
        },
    )
    return EvalLog(
        status="success" if len(records) >= planned else "cancelled",
        eval=spec,
        results=_results(study, records),
        stats=EvalStats(
            started_at=created,
            completed_at=created,
            model_usage=_sum([s.model_usage for s in samples]),
            role_usage=_sum([s.role_usage for s in samples]),
        ),
        samples=samples,
    )


def _short(name: str, study: str) -> str:
    """22 letters that name a cell of a study."""
    import hashlib

    return hashlib.sha256(f"{study}\0{name}".encode()).hexdigest()[:22]


def _created(run: RunFolder) -> str:
    return str(run._manifest.meta("created") or "1970-01-01T00:00:00+00:00")


def _sample(run: RunFolder, study: Study, cell: Cell, record: EpisodeRecord, seats: tuple[str, ...]) -> Any:
    from inspect_ai.log import EvalError, EvalSample
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser
    from inspect_ai.scorer import Score

    events = run.events(record.id)
    name = f"{record.id:016x}"
    asked = f"{record.env_id}, block {record.block}, root seed {record.root}"
    messages: list[Any] = [ChatMessageUser(id=f"{name}-input", content=asked)]
    names = _action_names(study, cell, seats)
    for tick, said in _ticks(events, seats, names):
        messages.append(
            ChatMessageAssistant(id=f"{name}-{tick}", content=said, metadata={"tick": tick}, source="generate")
        )
    usage = _usage(run, record, cell)
    fault = record.status == "env-fault"
    return EvalSample(
        id=record.block,
        epoch=record.replicate + 1,
        uuid=name,
        input=asked,
        target="",
        messages=messages,
        events=_events(run, events, seats, names),
        scores={k: Score(value=float(v)) for k, v in record.score.items() if not math.isnan(v)},
        metadata={
            "episode": name,
            "status": record.status,
            "ticks": record.ticks,
            "totals": dict(zip(seats, map(float, record.totals), strict=False)),
            "counts": record.counts,
            "world": record.world.hex(),
            "mind": record.mind.hex(),
            "detail": record.detail,
        },
        model_usage=usage[0],
        role_usage=usage[1],
        total_time=record.wall_s,
        working_time=record.wall_s,
        error=EvalError(message=record.detail, traceback="", traceback_ansi="") if fault else None,
    )


def _action_names(study: Study, cell: Cell, seats: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Seat -> names of its actions, from the installed environment; {} where it is not here."""
    spec = study.environments.get(cell.extra.get("env", ""))
    if spec is None:
        return {}
    try:
        env: Env = make_env(spec.name, spec.options, spec.clock)
    except CrossplayError:
        return {}
    try:
        return {s: env.spec(s).names for s in seats} if env.id == cell.env_id else {}
    except Exception:  # some families know their actions only after a start
        return {}
    finally:
        env.close()


def _action(e: Event, names: tuple[str, ...]) -> Any:
    if e.value is not None:
        return names[e.value] if e.value < len(names) else e.value
    return plain(unpack(e.payload)) if e.payload else None


def _ticks(events: Sequence[Event], seats: Sequence[str], names: dict[str, tuple[str, ...]]) -> list[tuple[int, str]]:
    """(tick, what every seat did) in order."""
    said: dict[int, list[str]] = {}
    for e in events:
        if e.kind == "act":
            own = "" if e.origin == "own" else f" ({e.origin})"
            said.setdefault(e.tick, []).append(f"{seats[e.seat]}: {_action(e, names.get(seats[e.seat], ()))}{own}")
    return [(tick, "; ".join(parts)) for tick, parts in said.items()]


def _events(
    run: RunFolder, events: Sequence[Event], seats: Sequence[str], names: dict[str, tuple[str, ...]]
) -> list[Any]:
    """What happened, as Inspect's info events."""
    from datetime import datetime

    from inspect_ai.event import InfoEvent

    made = datetime.fromisoformat(_created(run))
    found, spent = [], 0
    for k, e in enumerate(events):
        spent += e.wall_us
        if e.kind not in SHOWN:
            continue
        seat = "" if e.seat == WORLD else seats[e.seat]
        data: dict[str, Any] = {"kind": e.kind, "tick": e.tick}
        if seat:
            data |= {"seat": seat, "agent": e.agent}
        if e.kind == "act":
            data |= {"action": _action(e, names.get(seat, ())), "origin": e.origin, "view": e.view}
        elif e.payload is not None:
            data["payload"] = plain(unpack(e.payload))
        if e.rewards is not None:
            data["rewards"] = [float(r) for r in e.rewards]
        if e.note:
            data["note"] = plain(unpack(e.note))
        if e.calls:
            data |= {"calls": e.calls, "tok_in": e.tok_in, "tok_out": e.tok_out}
        found.append(
            InfoEvent(uuid=f"{k}", timestamp=made, working_start=spent / 1e6, source=f"crossplay/{e.kind}", data=data)
        )
    return found


def _usage(run: RunFolder, record: EpisodeRecord, cell: Cell) -> tuple[dict[str, Any], dict[str, Any]]:
    """(by model, by agent): tokens of the episode."""
    from inspect_ai.model import ModelUsage

    agents = run.sources()[record.source].get("agents", {})
    models: dict[str, Any] = {}
    roles: dict[str, Any] = {}
    for seat, counts in record.counts.items():
        if not counts.get("calls"):
            continue
        agent = cell.agents[seat]
        used = ModelUsage(
            input_tokens=counts.get("tok_in", 0),
            output_tokens=counts.get("tok_out", 0),
            total_tokens=counts.get("tok_in", 0) + counts.get("tok_out", 0),
        )
        identity = agents.get(agent, {}).get("model") or {}
        model = str(identity.get("name", agent)) if isinstance(identity, dict) else str(identity)
        for table, key in ((models, model), (roles, agent)):
            table[key] = table[key] + used if key in table else used
    return models, roles


def _sum(tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for table in tables:
        for key, used in table.items():
            found[key] = found[key] + used if key in found else used
    return found


def _results(study: Study, records: Sequence[EpisodeRecord]) -> Any:
    """Means over blocks and their standard errors, for every score of the cell."""
    from inspect_ai.log import EvalMetric, EvalResults, EvalScore

    scores = []
    for name in dict.fromkeys(k for r in records for k in r.score):
        by_block: dict[Any, list[float]] = {}
        for r in records:
            if not math.isnan(r.score.get(name, math.nan)):
                by_block.setdefault(r.block, []).append(r.score[name])
        means = [sum(v) / len(v) for v in by_block.values()]
        if not means:
            continue
        n, mean = len(means), sum(means) / len(means)
        metrics = {"mean": EvalMetric(name="mean", value=mean)}
        if n > 1:
            error = math.sqrt(sum((m - mean) ** 2 for m in means) / (n - 1) / n)
            metrics["stderr"] = EvalMetric(name="stderr", value=error)
        primary = {"primary": True} if name == study.metric else None
        scores.append(EvalScore(name=name, scorer=name, scored_samples=len(records), metrics=metrics, metadata=primary))
    scores.sort(key=lambda s: s.name != study.metric)
    return EvalResults(total_samples=len(records), completed_samples=len(records), scores=scores)
