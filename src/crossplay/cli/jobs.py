"""Commands for trainers and training jobs: `worker envs`, `jobs list|show|tail|stop|resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from crossplay.cli import out

__all__ = ["jobs_list", "jobs_resume", "jobs_show", "jobs_stop", "jobs_tail", "run_job", "worker_envs"]

Flag = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=())]
In = Annotated[Path, Parameter(name="--in")]
FOLDER = Path("runs/jobs")


def worker_envs(*, trust: Flag = False) -> int:
    """Serve environments to the trainer that started this command (see `crossplay_worker.envs.make`).

    Parameters
    ----------
    trust
        Agents that fill seats may name commands and code.

    """
    from crossplay.jobs.envserver import inherited, serve

    sock, ring = inherited()
    serve(sock, ring=ring, trust=trust)
    return 0


def jobs_list(*, in_: In = FOLDER, json: Json = False) -> int:
    """List the training jobs of a folder, the oldest first.

    Parameters
    ----------
    in_
        The folder of jobs.
    json
        Print JSON.

    """
    from crossplay.jobs.registry import jobs

    found = [(f, f.spec(), f.state()) for f in jobs(in_)]
    if json:
        out.print_json([_data(*one) for one in found])
        return 0
    rows = [
        (f.id, state.state, spec.name, spec.env, f"{state.step:,} of {spec.steps:,}", _return(state),
         str(len(state.deaths)), state.why)
        for f, spec, state in found
    ]  # fmt: skip
    columns = ("job", "state", "worker", "environment", ">decisions", ">return", ">deaths", "why")
    out.table("Training jobs", columns, rows, "Next: crossplay jobs show JOB, or tail, stop, resume")
    return 0


def jobs_show(job: str, /, *, in_: In = FOLDER, json: Json = False) -> int:
    """Show a training job: what was asked for, how it stands, where things are.

    Parameters
    ----------
    job
        Its name.
    in_
        The folder of jobs.
    json
        Print JSON.

    """
    from crossplay.jobs.registry import find

    folder = find(in_, job)
    spec, state = folder.spec(), folder.state()
    if json:
        out.print_json(_data(folder, spec, state))
        return 0
    out.line(f"{folder.id}: {state.state}" + (f" ({state.why})" if state.why else ""))
    out.line(f"  {spec.name} on {spec.env}, seed {spec.seed}: {state.step:,} of {spec.steps:,} decisions")
    out.line(f"  starts {state.attempt}, deaths {len(state.deaths)}, events {state.events} (lost {state.lost_events})")
    if state.slots:
        out.line(f"  GPU slots: {', '.join(state.slots)}")
    if state.checkpoint:
        out.line(f"  last checkpoint: {folder.path / state.checkpoint} (decision {state.checkpoint_step:,})")
    for name, value in state.metrics.items():
        out.line(f"  {name}: {value:,.5g}")
    for line in [*(f"died: it {d}" for d in state.deaths), *(f"note: {n}" for n in state.notes)]:
        out.line(f"  {line}")
    out.line(f"  folder: {folder.path} (events.jsonl, stdout.log, stderr.log, tensorboard/)")
    return 0


def jobs_tail(
    job: str,
    /,
    *,
    lines: int = 20,
    log: Literal["events", "stdout", "stderr", "engine"] = "events",
    follow: Flag = False,
    in_: In = FOLDER,
) -> int:
    """Print the end of what a training job tells, as JSON lines, or of its logs.

    Parameters
    ----------
    job
        Its name.
    lines
        How many.
    log
        events, or what the worker (stdout, stderr) or the engine printed.
    follow
        Go on until the job is over.
    in_
        The folder of jobs.

    """
    import time

    from crossplay.jobs.registry import LIVE, find

    folder = find(in_, job)
    file = folder.path / ("events.jsonl" if log == "events" else f"{log}.log")
    content = file.read_bytes() if file.exists() else b""
    for line in content.decode("utf-8", "replace").splitlines()[-lines:] if lines > 0 else ():
        out.line(line)
    done = len(content)
    while follow:
        live = folder.state().state in LIVE
        if file.exists():
            with file.open("rb") as source:
                source.seek(done)
                more = source.read()
            whole = more[: more.rfind(b"\n") + 1]
            done += len(whole)
            for line in whole.decode("utf-8", "replace").splitlines():
                out.line(line)
        if not live:
            break
        time.sleep(0.5)
    return 0


def jobs_stop(job: str, /, *, wait: Flag = False, in_: In = FOLDER) -> int:
    """Stop a training job: its trainer writes a last checkpoint and ends; it can be resumed.

    Parameters
    ----------
    job
        Its name.
    wait
        Until it is over.
    in_
        The folder of jobs.

    """
    import time

    from crossplay.jobs.registry import LIVE, find

    folder = find(in_, job)
    state = folder.state().state
    if state not in LIVE:
        out.line(f"{folder.id} is {state}; there is nothing to stop")
        return 0
    folder.stop()
    while wait and folder.state().state in LIVE:
        time.sleep(0.2)
    out.line(f"{folder.id}: {folder.state().state}" if wait else f"{folder.id} was asked to stop")
    return 0


def jobs_resume(job: str, /, *, steps: int = 0, detach: Flag = False, in_: In = FOLDER, json: Json = False) -> int:
    """Go on with a training job that was stopped, failed or lost, from its last checkpoint.

    Parameters
    ----------
    job
        Its name.
    steps
        Decisions in all, where it is to go further than was asked for.
    detach
        In the background, independent of this terminal.
    in_
        The folder of jobs.
    json
        Print the result as JSON.

    """
    from crossplay.jobs.registry import LIVE, find
    from crossplay.kernel import CrossplayError

    folder = find(in_, job)
    spec, state = folder.spec(), folder.state()
    if state.state in LIVE:
        raise CrossplayError(f"job {folder.id} is {state.state}")
    if state.state == "done" and steps <= spec.steps:
        raise CrossplayError(f"job {folder.id} is done; --steps N (more than {spec.steps}) goes further")
    if steps:
        spec.steps = steps
        folder.write(spec)
    folder.again()
    return run_job(folder, detach, json)


def run_job(folder: Any, detach: bool, json: bool) -> int:
    """Run a job here with a progress bar, or in a process of its own."""
    if detach:
        from crossplay.jobs.running import launch

        pid = launch(folder)
        if json:
            out.print_json({"job": folder.id, "folder": str(folder.path), "pid": pid})
        else:
            out.line(f"{folder.id}: started in the background (process {pid})")
            out.line(f"Next: crossplay jobs tail {folder.id} --follow --in {folder.path.parent}")
        return 0
    from crossplay.jobs.running import Runner

    spec = folder.spec()
    with out.progress(f"{spec.name} trains {spec.env}") as (update, say):

        def heard(state: Any, steps: int) -> None:
            update(min(state.step, steps), steps)
            say(f"return {_return(state)}" + (f", {len(state.deaths)} deaths" if state.deaths else ""))

        state = Runner(folder, heard).run()
    if json:
        out.print_json(_data(folder, spec, state))
    else:
        out.line(f"{folder.id}: {state.state}" + (f" ({state.why})" if state.why else ""))
        if state.state == "done":
            out.line(f"policy: {folder.path / 'policy.safetensors'}; in a study:")
            out.line(
                f'  type = "worker", command = {_toml(spec.command)}, config = {{ checkpoint = "{folder.path / "policy"}" }}'
            )
        else:
            out.line(f"Next: crossplay jobs resume {folder.id} --in {folder.path.parent}")
    return 0 if state.state == "done" else 130 if state.state == "cancelled" else 3


def _return(state: Any) -> str:
    value = state.metrics.get("return")
    return "-" if value is None else f"{value:.2f}"


def _data(folder: Any, spec: Any, state: Any) -> dict[str, Any]:
    import msgspec

    return {
        "job": folder.id,
        "folder": str(folder.path),
        "spec": msgspec.to_builtins(spec),
        "state": msgspec.to_builtins(state),
    }


def _toml(words: list[str]) -> str:
    import msgspec

    return msgspec.json.encode(words).decode().replace('","', '", "')
