"""Commands that show and play episodes: `replay` and `play`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from crossplay.cli import out

__all__ = ["play", "replay"]

Flag = Annotated[bool, Parameter(negative=())]

STRIP = 8  # pictures of --png and of a replay without a terminal


def replay(
    run: Path,
    episode: str = "",
    /,
    *,
    gif: Path | None = None,
    png: Path | None = None,
    speed: float = 8.0,
    tick: int | None = None,
    fork: str = "",
    with_: Annotated[str | None, Parameter(name="--with")] = None,
    out_: Annotated[Path | None, Parameter(name="--out")] = None,
    trust: Flag = False,
    json: Flag = False,
) -> int:
    """Show a recorded episode: an animation in the terminal, a GIF, or a strip of pictures; or fork it.

    Plays the recorded moves again; runs nothing of the run but installed environments. With --fork the
    episode is replayed to a step, one answer is replaced, and its agents go on live, in a new run.

    Parameters
    ----------
    run
        The run folder.
    episode
        An id or its beginning, or LINEUP:BLOCK; default: the first of the baseline.
    gif
        Write an animation there instead.
    png
        Write a strip of eight pictures there instead.
    speed
        Ticks a second.
    tick
        Show only this tick.
    fork
        EPISODE:STEP. A step is TICK, TICK/SEAT, or TICK/SEAT/PATH for one call inside a seat, e.g. 3/p0/0/1.
    with_
        With --fork: the answer that takes the place of the recorded one.
    out_
        With --fork: the new run folder; default: RUN-fork-1, or the next number that is free.
    trust
        With --fork: use the code, files and endpoints that the run names.
    json
        With --fork: print JSON.

    """
    if fork:
        from crossplay.cli.forking import show_fork

        return show_fork(run, fork, with_, out_, trust, json)
    from crossplay.kernel.types import CrossplayError
    from crossplay.study import frames as f
    from crossplay.study.verify import load_run

    if not speed > 0:
        raise CrossplayError(f"--speed {speed:g} must be above 0 (ticks a second)")
    folder, study = load_run(run)
    with folder:
        record = f.find_episode(folder, study, episode)
        if tick is not None and not 0 <= tick <= record.ticks:
            raise CrossplayError(f"--tick {tick}: the episode has the ticks 0 to {record.ticks}")
        name = f"{record.id:016x}"
        title = f"{record.lineup}, block {record.block}, {record.env_id} (episode {name})"
        wanted = {tick} if tick is not None else None
        for path, save in ((gif, f.save_gif), (png, f.save_strip)):
            if path is None:
                continue
            if save is f.save_strip and tick is None:
                wanted = set(f.key_ticks(folder, record, STRIP))
            shown = list(f.frames(folder, study, record, wanted.__contains__ if wanted else None))
            if save is f.save_gif:
                f.save_gif(shown, path, speed)
            else:
                f.save_strip(shown, path)
            out.line(f"wrote {path}: {title}, {len(shown)} pictures")
        if gif is None and png is None:
            if tick is None and not out.console().is_terminal:
                wanted = set(f.key_ticks(folder, record, STRIP))
            _show(title, f.frames(folder, study, record, wanted.__contains__ if wanted else None), speed, bool(wanted))
    return 0


def _show(title: str, shown: Iterator[Any], speed: float, plain: bool) -> None:
    """Frames one below the other, or in place at `speed` ticks a second."""
    if plain:
        out.line(title)
        for frame in shown:
            out.line(f"\ntick {frame.tick}: {frame.caption}\n{frame.text}")
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=out.console(), auto_refresh=False) as live:
        for frame in shown:
            live.update(Text(f"{title}\n\ntick {frame.tick}: {frame.caption}\n\n{frame.text}"), refresh=True)
            time.sleep(1.0 / speed)


def play(
    env: str,
    /,
    *,
    seat: str = "",
    with_: Annotated[str, Parameter(name="--with")] = "",
    skills: Flag = False,
    clock: str = "wait",
    block: int = 0,
    root: int = 0,
    option: list[str] | None = None,
    out_: Annotated[Path | None, Parameter(name="--out")] = None,
) -> int:
    """Play a seat yourself; the other seats are filled by agents.

    A line is the number or the name of an action; ? shows the rules, `say TEXT` speaks. The episode is
    recorded as a run that can be verified and replayed.

    Parameters
    ----------
    env
        The environment, e.g. kitchen/cramped_room.
    seat
        Your seat; default: the first.
    with_
        Types of the agents in the other seats, joined by commas; one type fills them all. Default:
        the environment's scripted expert, or random.
    skills
        Choose among the environment's skills instead of single moves.
    clock
        "wait": the world waits for you; "deadline:SECONDS".
    block
        Which start of the world.
    root
        The root seed.
    option
        An option of the environment, NAME=VALUE, e.g. horizon=50; may come again.
    out_
        The run folder; default: a new one under runs/.

    """
    from crossplay.study.one import one_episode
    from crossplay.study.runner import run_study
    from crossplay.study.stage import Stage

    others = [w.strip() for w in with_.split(",") if w.strip()]
    options = dict(map(_option, option or ()))
    study = one_episode(env, seat, others, skills=skills, clock=clock, block=block, root=root, options=options)
    folder = out_ or _fresh(study.name)
    stage = Stage(study, folder)
    stage.check()
    (cell,) = stage.cells
    seats = ", ".join(f"{s}: {a}" for s, a in zip(stage.seats[cell.env], cell.seats, strict=True))
    out.line(f"{stage.probes[cell.env].id}, block {block}. {seats}. ? shows the rules, Ctrl-D leaves.")
    counts = run_study(stage, folder)
    if not counts:
        out.line(f"{folder} holds this episode already; another --block or --out plays a new one")
        return 0
    _told(folder)
    return 0


def _option(text: str) -> tuple[str, Any]:
    """("horizon", 50) of "horizon=50": the value as JSON, or as plain text."""
    import msgspec

    from crossplay.kernel.types import CrossplayError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CrossplayError(f'--option "{text}": expected NAME=VALUE, e.g. horizon=50')
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _fresh(name: str) -> Path:
    """runs/NAME-1, or the next number that is free."""
    n = 1
    while (Path("runs") / f"{name}-{n}").exists():
        n += 1
    return Path("runs") / f"{name}-{n}"


def _told(folder: Path) -> None:
    """How the episode ended, and what can be done with it."""
    from crossplay.study.verify import load_run

    run, _ = load_run(folder)
    with run:
        record = run.records()[-1]
    score = ", ".join(f"{k} {v:g}" for k, v in record.score.items())
    out.line(f"ended: {record.status} after {record.ticks} ticks; {score}")
    out.line(f"recorded in {folder}: crossplay replay {folder}, or crossplay verify {folder}")
