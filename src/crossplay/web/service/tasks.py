"""Commands of ours that run beside the server: started by other services, watched, stopped, ended with the server.

A task is `crossplay ...` in a process of its own, exactly what the command line does, so that nothing runs here
that could not be run there. Its output goes to files that are gone when the server is.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from crossplay.agents.remote.process import Child
from crossplay.kernel import nearest
from crossplay.train.files import put
from crossplay.web.api import Route
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound, TooMany

__all__ = ["ROUTES", "Kept", "Log", "Task", "TaskList", "TaskView", "running", "start", "stop_task", "task", "tasks"]

AT_ONCE = 4
"""Tasks that run at a time."""
REMEMBERED = 50
"""Tasks that are remembered after their end."""
COMMANDS = ("gallery", "models", "run", "worker")
PATIENCE_S = 10.0
"""After it was asked to stop, before it is made to."""
LARGEST = 1 << 20  # bytes of a result that is read

State = Literal["running", "done", "failed", "stopped"]


class Task(msgspec.Struct, kw_only=True):
    """A command that was started from here.

    id: its name in addresses. kind: what it does, e.g. "gallery check". title: what with, in words.
    command: the same on a command line. state: running; done (exit code 0), failed, or stopped by somebody.
    code: its exit code, null while it runs. started, ended: seconds since 1970. runs: names of the run folders
    that it writes, as far as they are there. about: what no other task may be about meanwhile, "" for anything.
    """

    id: str
    kind: str
    title: str
    command: str
    state: State = "running"
    code: int | None = None
    started: float = 0.0
    ended: float | None = None
    runs: list[str] = []
    about: str = ""


class Kept(msgspec.Struct):
    """A result that outlives its task: when it came (seconds since 1970), the exit code, what was printed as JSON."""

    at: float
    code: int
    result: Any


class TaskView(Task, kw_only=True):
    """A task with the end of its log (oldest line first) and, of a command that prints JSON, its result."""

    log: list[str] = []
    result: Any = None


class TaskList(msgspec.Struct):
    """Tasks, the newest first."""

    tasks: list[Task]


class Log(msgspec.Struct):
    """lines: of the log at most, from its end."""

    lines: Annotated[int, msgspec.Meta(ge=0, le=2000)] = 200


class _Going(msgspec.Struct, kw_only=True):
    """A task and its process."""

    task: Task
    child: Child
    folder: Path | None
    keep: Path | None
    out: Path
    errors: Path
    json: bool
    asked: bool = False  # to stop


class _Tasks:
    def __init__(self, desk: Desk) -> None:
        self.lock = threading.Lock()
        self.found: dict[str, _Going] = {}
        self.folder: Path | None = None  # of the outputs, made for the first task
        desk.closing.append(self.close)

    def close(self) -> None:
        """Ask all to stop, give them a moment, end them."""
        with self.lock:
            left = [g for g in self.found.values() if g.task.state == "running"]
            for going in left:
                going.asked = True
                _signal(going.child, signal.SIGINT)
        until = time.monotonic() + 3.0
        for going in left:
            going.child.wait(max(0.0, until - time.monotonic()))
            going.child.signal()
            going.child.wait(2.0)
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _tasks(desk: Desk) -> _Tasks:
    return desk.part("tasks", _Tasks)


def start(
    desk: Desk,
    kind: str,
    title: str,
    args: Sequence[str],
    folder: Path | None = None,
    about: str = "",
    keep: Path | None = None,
) -> Task:
    """Start `crossplay ARGS` and give the task; kind and title say what it is, in words.

    args: a command of ours (`COMMANDS`); with "--json" what it prints becomes the result, and what it tells on the way
    the log. folder: where it writes runs. about: what only one task at a time may be about. keep: a file that the result
    is written to in the end (`Kept`).
    Raises `Conflict` where one is, `TooMany` beyond `AT_ONCE`, `Forbidden` for what starts only from the command line.
    """
    args = [str(a) for a in args]
    if not args or args[0] not in COMMANDS or "--trust" in args:
        raise Forbidden(f"crossplay {shlex.join(args[:2])} starts only from the command line")
    here = _tasks(desk)
    with here.lock:
        busy = [g for g in here.found.values() if g.task.state == "running"]
        if about and any(g.task.about == about for g in busy):
            raise Conflict(f"{about} is already being worked on; wait for it, or stop it")
        if len(busy) >= AT_ONCE:
            raise TooMany(f"{AT_ONCE} tasks are running, which is as many as there may be; wait for one, or stop one")
        name = secrets.token_hex(4)
        if here.folder is None:
            here.folder = Path(tempfile.mkdtemp(prefix="crossplay-tasks-"))
        out, errors = here.folder / f"{name}.out", here.folder / f"{name}.log"
        child = Child(
            [sys.executable, "-m", "crossplay", *args], {**os.environ, "PYTHONUNBUFFERED": "1"}, log=out, errors=errors
        )
        command, now = shlex.join(["crossplay", *args]), round(time.time(), 3)
        task = Task(id=name, kind=kind, title=title, command=command, started=now, about=about)
        going = _Going(task=task, child=child, folder=folder, keep=keep, out=out, errors=errors, json="--json" in args)
        here.found[name] = going
        _forget(here)
    threading.Thread(target=_watch, args=(here, going), daemon=True).start()
    return _now(desk, going)


def _forget(here: _Tasks) -> None:
    ended = [g for g in here.found.values() if g.task.state != "running"]
    for going in ended[: max(0, len(ended) - REMEMBERED)]:
        del here.found[going.task.id]
        for file in (going.out, going.errors):
            file.unlink(missing_ok=True)


def _watch(here: _Tasks, going: _Going) -> None:
    """Wait for its end and say how it was."""
    code = going.child.process.wait()
    going.child.close(0.0)
    if going.keep is not None and (result := _result(going)) is not None:
        with contextlib.suppress(OSError):  # a result that cannot be kept is still told
            put(going.keep, msgspec.json.encode(Kept(round(time.time(), 3), code, result)))
    with here.lock:
        task = going.task
        task.code, task.ended = code, round(time.time(), 3)
        task.state = "done" if code == 0 else "stopped" if going.asked else "failed"


def _signal(child: Child, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _now(desk: Desk, going: _Going, names: list[str] | None = None) -> Task:
    """The task as it stands. names: of the runs that there are, where somebody has looked already."""
    found = msgspec.structs.replace(going.task)
    if going.folder is not None and going.folder.resolve().is_relative_to(desk.root):
        name = "~".join(going.folder.resolve().relative_to(desk.root).parts)
        there = desk.run_names() if names is None else names
        found.runs = [r for r in there if r == name or r.startswith(f"{name}~")]
    return found


def running(desk: Desk, about: str) -> Task | None:
    """The task that is about this and runs now."""
    here = _tasks(desk)
    with here.lock:
        found = [g for g in here.found.values() if g.task.about == about and g.task.state == "running"]
    return _now(desk, found[0]) if found else None


def _find(desk: Desk, name: str) -> _Going:
    here = _tasks(desk)
    with here.lock:
        if name not in here.found:
            raise NotFound(f'there is no task "{name[:40]}"; tasks end with the server.{nearest(name, here.found)}')
        return here.found[name]


def tasks(desk: Desk) -> TaskList:
    """All commands that were started from here since the server started, the newest first."""
    here = _tasks(desk)
    with here.lock:
        found = list(here.found.values())
    names = desk.run_names() if found else []
    return TaskList([_now(desk, g, names) for g in reversed(found)])


def task(desk: Desk, task: str, query: Log) -> TaskView:
    """How a task stands: the end of its log and, when it is over, its result."""
    going = _find(desk, task)
    now = _now(desk, going)
    files = [going.errors] if going.json else [going.out, going.errors]
    log = [line for file in files for line in _tail(file, query.lines)]
    result = _result(going) if now.state != "running" else None
    told = {name: getattr(now, name) for name in Task.__struct_fields__}
    return TaskView(**told, log=log[-query.lines :] if query.lines else [], result=result)


def _result(going: _Going) -> Any:
    """What it printed as JSON, None where that is not its way, or too much."""
    if going.json:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            if going.out.stat().st_size <= LARGEST:
                return msgspec.json.decode(going.out.read_bytes())
    return None


def _tail(file: Path, lines: int) -> list[str]:
    """The last lines of a text file."""
    try:
        with file.open("rb") as source:
            source.seek(max(0, file.stat().st_size - 400 * (lines + 1)))
            text = source.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rpartition("\r")[2][:1000] for line in text.split("\n") if line.strip()][-lines:] if lines else []


def stop_task(desk: Desk, task: str) -> Task:
    """Stop a task: it is interrupted, as by Ctrl-C, so that what it has finished is kept; after ten seconds it is ended."""
    going = _find(desk, task)
    if going.task.state != "running":
        raise Conflict(f"the task is over ({going.task.state})")
    if not going.asked:
        going.asked = True
        _signal(going.child, signal.SIGINT)
        threading.Thread(target=_insist, args=(going.child,), daemon=True).start()
    return _now(desk, going)


def _insist(child: Child) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if child.wait(PATIENCE_S):
            return
        _signal(child, number)


ROUTES = [
    Route("GET", "/tasks", tasks),
    Route("GET", "/tasks/{task}", task),
    Route("POST", "/tasks/{task}/stop", stop_task),
]
