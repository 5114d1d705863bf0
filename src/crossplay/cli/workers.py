"""Commands about workers: check one, make and list environments for their interpreters."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from crossplay.cli import out

if TYPE_CHECKING:
    from crossplay.wire.check import Sample, Seats, Start
    from crossplay.wire.messages import Hello

__all__ = ["seats_of", "starter", "worker_check"]

Flag = Annotated[bool, Parameter(negative=())]
Json = Annotated[bool, Parameter(name="--json", negative=())]


def worker_check(
    command: str,
    /,
    *,
    python: str = "",
    env: str = "",
    seat: tuple[str, ...] = (),
    config: str = "",
    only: tuple[str, ...] = (),
    patience: float = 20.0,
    keep_env: tuple[str, ...] = (),
    json: Json = False,
) -> int:
    """Try everything a worker must keep: versions, seats, answers, broken frames, determinism, its end.

    Parameters
    ----------
    command
        How it is started, e.g. "python mine.py"; started as a study starts it, some thirty times.
    python
        Interpreter that `python` stands for, e.g. .venvs/sb3/bin/python.
    env
        Environment whose real seats and observations it is tried with; default: made-up ones.
    seat
        Seats of that environment; default: all.
    config
        Options of the agent as a study would give them, as JSON, e.g. '{"checkpoint": "best.zip"}'.
    only
        Names of checks; default: all.
    patience
        Seconds an answer may take.
    keep_env
        Environment variables with secrets that it may see.
    json
        Print JSON.

    """
    import msgspec

    from crossplay.agents.remote.process import split_command
    from crossplay.kernel import CrossplayError
    from crossplay.wire.check import CHECKS, check_worker

    try:
        options = msgspec.json.decode(config or "{}", type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise CrossplayError(f'worker check --config: {error}; e.g. \'{{"checkpoint": "best.zip"}}\'') from None
    words = split_command(command, python, Path())
    samples = seats_of(env, seat) if env else None
    with out.progress("checking") as (update, say):
        done = [0]

        def tell(name: str) -> None:
            update(done[0], max(len(only or CHECKS), done[0] + 1))  # what they need is tried as well
            say(name)
            done[0] += 1

        found = check_worker(
            starter(words, keep=keep_env), samples, config=options, only=only or None, patience=patience, say=tell
        )
    failed = [f for f in found if f.status == "failed"]
    if json:
        out.print_json({"command": list(words), "env": env, "ok": not failed, "findings": msgspec.to_builtins(found)})
        return 1 if failed else 0
    marks = {"ok": "ok", "failed": "FAILED", "skipped": "skipped"}
    out.table(f"Worker: {' '.join(words)}", ("check", "", "what was seen"), [(f.name, marks[f.status], f.text) for f in found])  # fmt: skip
    counts = {s: sum(f.status == s for f in found) for s in marks}
    line = f"{counts['ok']} passed, {counts['failed']} failed, {counts['skipped']} skipped."
    if failed:
        line += f" Next: repair {failed[0].name}, then try it alone: --only {failed[0].name}"
    elif not env:
        line += " Next: try it with the seats that it will fill: --env NAME"
    out.line(line)
    return 1 if failed else 0


def starter(command: tuple[str, ...], folder: Path | None = None, keep: tuple[str, ...] = ()) -> Start:
    """What starts a worker for a check: as a study does, in a process group of its own."""
    from crossplay.agents.remote.process import Child, environment

    class Watched(Child):
        """A child with its exit code, and what it printed."""

        @property
        def code(self) -> int | None:
            return self.process.poll()

        def printed(self) -> bytes:
            import os

            size = os.fstat(self._log.fileno()).st_size
            return os.pread(self._log.fileno(), 1 << 16, max(0, size - (1 << 16)))

    def start(given: Mapping[str, Sequence[int]]) -> tuple[socket.socket, Watched]:
        ours, theirs = socket.socketpair()
        inherited = {"CROSSPLAY_FD": (theirs.fileno(),), **given}
        extra = {name: ",".join(map(str, numbers)) for name, numbers in inherited.items()}
        fds = [number for numbers in inherited.values() for number in numbers]
        try:
            return ours, Watched(command, environment(extra, keep), fds=fds, folder=folder or Path.cwd())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    return start


def seats_of(name: str, seats: tuple[str, ...] = (), count: int = 48) -> Seats:
    """What gives the seats of an environment for a worker's hello: with the observations of random play, in the
    first view that the worker asks for. seats: these alone. Raises `CrossplayError` where they do not fit.
    """
    from crossplay.kernel import Agent, Block, CrossplayError, Lineup, loop, make_env, nearest, play

    env = make_env(name)
    chosen = seats or tuple(env.seats)
    for seat in chosen:
        if seat not in env.seats:
            raise CrossplayError(f'{name}: no seat "{seat}".{nearest(seat, env.seats)}')

    def found(hello: Hello) -> list[Sample]:
        from crossplay.agents.remote.link import Link, Start
        from crossplay.wire.check import Sample

        link = Link(hello.name, Start(), {})
        link.hello = hello
        samples = []
        for seat in chosen:
            bound = link.slot(env, env.id, seat, env.spec(seat), "checked")
            kind = bound.spec["kind"]
            if hello.kinds and kind not in hello.kinds:
                raise CrossplayError(f"{hello.name} answers {', '.join(hello.kinds)}; {name}, seat {seat} wants {kind}")
            met: list[tuple[Any, Any]] = []

            class Looking(Agent):
                """Plays at random, and keeps what one seat is shown."""

                name = "looking"

                def act(self, obs: Any) -> Any:
                    if obs.seat == bound.seat and len(met) < count:  # noqa: B023
                        legal = None if obs.legal is None else list(obs.legal)
                        met.append((obs.view(bound.view), legal))  # noqa: B023
                    return obs.spec.draw(obs.key("looking"), obs.tick, obs.legal)

            for block in range(8):
                loop(play(make_env(name), Lineup(dict.fromkeys(env.seats, Looking())), Block(1, block)))
                if len(met) >= count:
                    break
            if not met:
                raise CrossplayError(f"{name}: seat {seat} was not asked in eight episodes of random play")
            samples.append(Sample(bound, [v for v, _ in met], [m for _, m in met]))
        return samples

    return found
