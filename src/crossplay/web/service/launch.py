"""Studies that are started, stopped and gone on with from the page: `crossplay run` beside the server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from crossplay.kernel import CrossplayError, split_name
from crossplay.study.drafts import Draft
from crossplay.web.api import Route
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound
from crossplay.web.service import tasks
from crossplay.web.service.forms import Written, checked
from crossplay.web.service.runs import shelf_of

__all__ = ["ROUTES", "launch", "resume", "stop"]

TAKEN = ("gallery", "jobs", "models")
"""Folders that hold other things than runs, made when they are first needed."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$"


class Launch(msgspec.Struct):
    """A study, as text or as its tables, and the name of its run: a new folder where the others are."""

    name: Annotated[str, msgspec.Meta(pattern=NAME)]
    toml: str = ""
    study: dict[str, Any] = {}


class Started(msgspec.Struct):
    """run: its name in addresses, also before its folder is there. file: what is played. task: the command that plays it."""

    run: str
    file: str
    task: tasks.Task


def launch(desk: Desk, body: Launch) -> Started:
    """Write the study file and play it, as `crossplay run FILE --out FOLDER` does.

    What is wrong with the study is an error; what only the command line may start is forbidden; a name that is taken is
    a conflict.
    """
    draft = checked(desk, Written(body.toml, body.study, plan=False))
    _fine(draft)
    if not body.toml:  # what is judged is the text that will be played
        draft = checked(desk, Written(toml=draft.toml, plan=False))
        _fine(draft)
    _without_people(draft)
    if "\n" in body.name:  # which the end of a pattern lets pass
        raise CrossplayError("the name of a run is one line")
    if body.name.lower() in TAKEN:
        raise Conflict(f'the folder "{body.name}" is for other things; choose another name')
    if (desk.root / "manifest.sqlite").is_file():
        raise Conflict("the page shows one run; serve the folder that runs are in, to start others there")
    folder, file = desk.root / body.name, desk.root / f"{body.name}.toml"
    if folder.exists() or tasks.running(desk, _about(body.name)):
        raise Conflict(f'there is a run "{body.name}" already; choose another name, or go on with that one')
    own = False  # whether the file was written now
    try:
        with file.open("x", encoding="utf-8", newline="") as out:
            own = True
            out.write(draft.toml)
        return _start(desk, body.name, file, folder)
    except FileExistsError:  # of a run that did not begin; but nobody's own file is written over
        if file.is_symlink() or not file.is_file() or file.read_text("utf-8") != draft.toml:
            raise Conflict(f"there is a file {file.name} already; choose another name") from None
    except BaseException as error:
        # What was not started leaves nothing that would be in the way the next time; but somebody who wanted the same
        # at the same moment may have been faster, and is playing it.
        if own and not isinstance(error, Conflict):
            file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise CrossplayError(f"{file.name}: {error.strerror or error}") from None
        raise
    return _start(desk, body.name, file, folder)


def stop(desk: Desk, run: str) -> tasks.Task:
    """Stop a run that was started here. What is finished is kept."""
    going = tasks.running(desk, _about(run))
    if going is None:
        desk.run_folder(run)
        raise Conflict(f'"{run}" is not played from here; where it was started, Ctrl-C stops it')
    return tasks.stop_task(desk, going.id)


def resume(desk: Desk, run: str) -> Started:
    """Go on with a run that was stopped, wherever it was begun, if a study from elsewhere may name all that it names."""
    folder = desk.run_folder(run)
    progress = shelf_of(desk).look(run)[1]
    if progress.state in ("going", "done"):
        said = "is being played" if progress.state == "going" else "is finished"
        raise Conflict(f'the run "{run}" {said}')
    file = folder / "study.toml"
    try:
        text = file.read_text("utf-8")
    except OSError:
        raise NotFound(f'the run "{run}" holds no study.toml to go on with') from None
    draft = checked(desk, Written(toml=text, plan=False))
    _fine(draft)
    _without_people(draft)
    return _start(desk, run, file, folder)


def _fine(draft: Draft) -> None:
    """Raise where the study is wrong, or not plain data."""
    for problem in sorted(draft.problems, key=lambda p: not p.refused):
        where = ".".join(map(str, problem.place))
        text = f"{where}: {problem.text}" if where and not problem.text.startswith(where) else problem.text
        raise Forbidden(text) if problem.refused else CrossplayError(text)


def _without_people(draft: Draft) -> None:
    """Raise where people play."""
    kinds = [split_name(str(a.get("type", "")))[0] for a in draft.study.get("agents", {}).values()]
    if "people" in draft.study or "person" in kinds:
        raise CrossplayError(
            "people play this study, so it is not started but opened: its seats wait for them at this page"
        )


def _about(run: str) -> str:
    return f"the run {run}"


def _start(desk: Desk, run: str, file: Path, folder: Path) -> Started:
    args = ["run", str(file), "--out", str(folder)]
    task = tasks.start(desk, "run", run, args, folder, _about(run))
    return Started(run, file.name, task)


ROUTES = [
    Route("POST", "/studies/start", launch),
    Route("POST", "/runs/{run}/stop", stop),
    Route("POST", "/runs/{run}/resume", resume),
]
