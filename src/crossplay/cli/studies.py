"""Commands on studies and runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from crossplay.cli import out

__all__ = ["demo", "export", "merge", "report", "run", "show", "verify"]

Json = Annotated[bool, Parameter(name="--json", negative=())]
Flag = Annotated[bool, Parameter(negative=())]


def run(
    study: Path,
    /,
    *,
    out_: Annotated[Path | None, Parameter(name="--out")] = None,
    jobs: int = 1,
    runner: Literal["inline", "processes", "ray"] = "inline",
    plan: Flag = False,
    trust: Flag = False,
    live: Flag = False,
    calls: Literal["record", "strict", "lenient", "refresh", "off"] | None = None,
    answers: Path | None = None,
    shared_prefix: Flag = False,
    json: Json = False,
) -> int:
    """Play a study, or go on with one that was stopped.

    Parameters
    ----------
    study
        The study file (TOML).
    out_
        The run folder; default: runs/NAME beside where you stand.
    jobs
        Worker processes for fast episodes.
    runner
        Where fast episodes are played.
    plan
        Print cells, calls, tokens, price and time, and play nothing.
    trust
        Load code that the study names (python: agents).
    live
        Ask the models, although the study names a cassette.
    calls
        How models are asked: record (live, answers kept), strict (only what is kept), lenient (equal
        requests of other places too), refresh (all anew), off (nothing kept).
    answers
        An exported cassette (.mcz) whose answers are read first.
    shared_prefix
        With --calls lenient: sampled answers to equal questions may serve several places of one block.
    json
        Print JSON.

    """
    from crossplay.study.calls import Calls
    from crossplay.study.spec import load_study

    spec = load_study(study)
    how = Calls(calls or "record", answers, shared_prefix) if live or calls or answers else None
    return play_study(spec, out_ or Path("runs") / spec.name, jobs, runner, plan, trust, json, study, how)


def play_study(
    spec: Any,
    folder: Path,
    jobs: int = 1,
    runner: str = "inline",
    plan: bool = False,
    trust: bool = False,
    json: bool = False,
    source: Path | None = None,
    calls: Any = None,
) -> int:
    """Plan or play a study, then show it. source: its file, named by what is wrong with it."""
    from crossplay.kernel.types import CrossplayError, Stop
    from crossplay.study.plan import make_plan
    from crossplay.study.runner import run_study
    from crossplay.study.stage import Stage

    try:
        stage = Stage(spec, None if plan else folder, trust=trust, calls=calls)
        stage.check()
    except CrossplayError as error:
        raise type(error)(f"{source}: {error}" if source else str(error)) from error
    if plan:
        _print_plan(make_plan(stage), json)
        return 0
    total = [0, 0, 0]  # finished, planned, finished before
    with out.progress(f"playing {spec.name}") as (update, say):
        spent = dict.fromkeys(("calls", "tok_in", "tok_out", "cpu_us"), 0)
        began = time.monotonic()

        def start(done: int, planned: int) -> None:
            total[:] = [done, planned, done]
            update(done, planned)

        def episode(record: Any) -> None:
            total[0] += 1
            update(*total[:2])
            for counts in record.counts.values():
                for name in spent:
                    spent[name] += counts.get(name, 0)
            say(_so_far(spent, total[0] - total[2], time.monotonic() - began))

        try:
            run_study(stage, folder, runner=runner, jobs=jobs, on_episode=episode, on_start=start)
        except Stop as stop:
            raise type(stop)(f"{stop} ({total[0]} of {total[1]} episodes are kept; the same command goes on)") from stop
        except KeyboardInterrupt:
            out.fail(f"stopped: {total[0]} of {total[1]} episodes are kept in {folder}; the same command goes on")
            return 130
    return show(folder, json=json)


def _so_far(spent: dict[str, int], episodes: int, seconds: float) -> str:
    """Rate, and what models have cost so far."""
    parts = [f"{episodes / max(seconds, 1e-9):.1f} episodes/s"]
    if spent["calls"]:
        parts.append(f"{spent['calls']:,} calls, {spent['tok_in'] + spent['tok_out']:,} tokens")
    if spent["cpu_us"]:
        parts.append(f"{spent['cpu_us'] / 1e6:.0f} model CPU s")
    return ", ".join(parts)


def _print_plan(plan: Any, json: bool) -> None:
    if json:
        out.print_json(plan)
        return
    rows = [
        (
            r.lineup,
            r.role,
            f"{r.episodes:,}",
            f"{r.decisions:,}",
            f"{r.calls:,}",
            f"{r.tok_in:,}",
            f"{r.tok_out:,}",
            _money(r.money),
            _duration(r.seconds),
            r.how,
        )
        for r in plan.rows
    ]
    rows.append(
        (
            "all",
            "",
            f"{plan.episodes:,}",
            "",
            f"{plan.calls:,}",
            f"{plan.tok_in:,}",
            f"{plan.tok_out:,}",
            _money(plan.money),
            _duration(plan.seconds),
            "",
        )
    )
    columns = (
        "lineup",
        "role",
        ">episodes",
        ">decisions <=",
        ">calls <=",
        ">tokens in <=",
        ">tokens out <=",
        ">USD <=",
        ">time <=",
        "how",
    )
    out.table(f"Plan of {plan.study}: upper bounds, nothing is spent yet", columns, rows)
    for warning in plan.warnings:
        out.line(f"note: {warning}")
    out.line("Play it: the same command without --plan.")


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def show(run: Path, /, *, by: str | None = None, json: Json = False) -> int:
    """Show what a run says: scores with intervals, paired differences, costs, faults.

    Parameters
    ----------
    run
        The run folder.
    by
        Slice the lineups by a facet of their agents instead (structure, strategy, core, ...).
    json
        Print JSON.

    """
    from crossplay.study.tables import result_of
    from crossplay.study.verify import load_run

    folder, study = load_run(run)
    with folder:
        result = result_of(folder, study)
        manifests = folder.identity().get("agents", {})
    if by is not None:
        from crossplay.cli.tables import print_slices

        print_slices(result, manifests, by, json)
    elif json:
        out.print_json(result.to_dict())
    else:
        from crossplay.cli.tables import print_result

        print_result(result, run)
    return 0


def verify(
    run: Path, /, *, level: Literal["seals", "actions", "agents"] = "actions", trust: Flag = False, json: Json = False
) -> int:
    """Check a run: seals, then the recorded actions, then the agents asked again.

    Exits 1 and names the episodes when anything is not as recorded.
    """
    from crossplay.study.verify import verify as check

    with out.progress("replaying") as (update, _):
        found = check(run, level, trust=trust, on_episode=update)
    if json:
        out.print_json({"ok": found.ok, **_plain(found)})
        return 0 if found.ok else 1
    for f in found.findings:
        out.line(f"DAMAGED {f.episode or f.where}: {f.where}: {f.what}")
    for cell, why in found.recorded_only.items():
        out.line(f"replayed only: {cell}: {why}")
    if found.ok:
        exact = "exact" if found.exact else "within tolerance"
        said = [f"{found.episodes} episodes: seals hold"]
        said += [f"{found.replayed} replayed ({exact})"] if found.replayed else []
        said += [f"{found.reexecuted} played again by their agents"] if found.reexecuted else []
        out.line("verified: " + ", ".join(said))
        return 0
    named = len({f.episode for f in found.findings if f.episode})
    out.line(f"NOT verified: {len(found.findings)} findings in {named} episodes")
    return 1


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


def report(run: Path, /, *, out_: Annotated[Path | None, Parameter(name="--out")] = None, json: Json = False) -> int:
    """Write the report of a run: one HTML file that opens offline (default: report.html in the run)."""
    from crossplay.study.report import write_report

    out.wrote([write_report(run, out_)], json)
    return 0


def merge(a: Path, b: Path, /, *, out_: Annotated[Path, Parameter(name="--out")], json: Json = False) -> int:
    """Join two runs into a new one; refuses episodes that clash."""
    from crossplay.records import merge as join

    join(a, b, out_)
    return show(out_, json=json)


def withdraw(run: Path, participant: str, /, *, yes: bool = False, json: Json = False) -> int:
    """Remove everything of a participant ("p07" or 7), who withdraws the consent, from a run. It cannot be undone.

    Without --yes nothing is removed.
    """
    import msgspec

    from crossplay.kernel import CrossplayError
    from crossplay.study.withdraw import withdraw as remove

    number = participant.removeprefix("p")
    if not number.isdecimal():
        raise CrossplayError(f'"{participant}" is no participant; they are called p01, p02, ...')
    if not yes:
        raise CrossplayError(f"this removes {participant} from {run} for good; to do it, add --yes")
    done = remove(run, int(number))
    if json:
        out.print_json(msgspec.to_builtins(done))
        return 0
    out.line(f"{done.participant} is removed: {done.episodes} episodes, {done.answers} answers, {done.calls} calls")
    for name in done.files:
        out.line(f"removed as well, because it held them too: {run / name}")
    return 0


def export(
    run: Path,
    /,
    *,
    to: Literal["csv", "parquet", "inspect"] = "csv",
    out_: Annotated[Path | None, Parameter(name="--out")] = None,
    json: Json = False,
) -> int:
    """Export a run: episodes and events as CSV or Parquet, or Inspect logs."""
    from crossplay.study.export import export_run

    out.wrote(export_run(run, to, out_), json)
    return 0


def demo(*, out_: Annotated[Path, Parameter(name="--out")] = Path("runs/demo"), jobs: int = 1) -> int:
    """Play the study `mixed-kitchen`, verify it, write its report, and say what to do next."""
    from importlib.resources import files

    from crossplay.models.catalog import pull
    from crossplay.study.report import write_report
    from crossplay.study.spec import load_study

    with out.progress("getting smollm2-135m (98 MB, once)") as (update, _):
        pull("smollm2-135m", lambda done, total, *_: update(done, total))
    spec = load_study(Path(str(files("crossplay.study") / "studies" / "mixed-kitchen.toml")))
    code = play_study(spec, out_, jobs)
    if code:
        return code
    code = verify(out_, level="agents")  # the recorded actions first, then the agents
    if code:
        return code
    out.line(f"report: {write_report(out_)}")
    out.line(
        f"Next: open the report, watch an episode with `crossplay replay {out_}`, or change the study: `crossplay run {out_}/study.toml --out runs/mine`."
    )
    out.line(
        f"The page shows all of it and lets you play: `crossplay serve {out_.parent} --open` (without --open: http://127.0.0.1:8765/)."
    )
    return 0
