"""The worker under check: connections to it, episodes in it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.kernel.seeds import key, key64
from crossplay.wire.arrays import Ring
from crossplay.wire.check.line import Failed, Line, Process, Skipped, Trouble
from crossplay.wire.check.samples import Sample, made
from crossplay.wire.lines import Pipes
from crossplay.wire.messages import Acts, Error, Hello, Ok

__all__ = ["Case", "Play", "Seats", "Start", "must_end", "refused", "rows_of", "same"]

Start = Callable[[Mapping[str, Sequence[int]]], tuple[socket.socket, Process]]
"""Starts a fresh worker: (our end of its connection, its process). The argument is what it inherits beside its socket:
names of environment variables (CROSSPLAY_SHM, CROSSPLAY_PIPES), each with the descriptors that stand in it, with commas
in between."""

Seats = Callable[[Hello], Sequence[Sample]]
"""The seats, with observations, that a worker with this hello is tried with."""

SLOTS, SIZE = 4, 1 << 20  # of the shared memory of a check


class Play:
    """One seat's episode in a worker. offset: which observations it meets."""

    __slots__ = ("ep", "key", "memo", "offset", "sample")

    def __init__(self, ep: int, key: bytes, sample: Sample, offset: int) -> None:
        self.ep, self.key, self.sample, self.offset = ep, key, sample, offset
        self.memo: Any = None


class Case:
    """Everything the checks share. wrong: what a worker was seen to do against a check, whenever that was."""

    def __init__(self, start: Start, samples: Seats | None, patience: float, start_s: float) -> None:
        self.start, self.patience, self.start_s = start, patience, start_s
        self.wrong: dict[str, list[str]] = {}
        self.config: dict[str, Any] = {}  # options of the agent, for bind
        self.real = samples is not None
        self._given = samples
        self._samples: list[Sample] = []
        self._line: Line | None = None
        self._open: list[Line] = []
        self._hello: Hello | None = None
        self._ep = 0
        self.starts = 0
        self.exit_s, self.deadline, self.slack = 5.0, 2.0, 1.0

    # -- connections -------------------------------------------------------------------------------------
    def raw(self, shared: bool = False, piped: bool = False) -> Line:
        """A fresh worker that has not been listened to yet. shared, piped: it inherits memory, two pipes."""
        with contextlib.ExitStack() as undo:
            given: dict[str, Sequence[int]] = {}
            ring = pipes = None
            if shared:
                ring = Ring.create(SLOTS, SIZE)
                undo.callback(ring.close)
                given["CROSSPLAY_SHM"] = (ring.fd,)
            if piped:
                pipes = Pipes()
                undo.callback(pipes.close)
                given["CROSSPLAY_PIPES"] = pipes.theirs
            sock, process = self.start(given)
            undo.pop_all()
        if pipes is not None:
            pipes.handed()
        self.starts += 1
        line = Line(sock, process, self.patience, self.wrong, ring, pipes)
        self._open.append(line)
        return line

    def fresh(self, shared: bool = False, bound: bool = True, piped: bool = False, **welcome: Any) -> Line:
        """A fresh worker, welcomed, and bound where it fills seats."""
        line = self.raw(shared, piped)
        self._hello = line.greet(self.start_s)
        line.welcome(**welcome)
        if bound and "agent" in self._hello.roles:
            self.bind(line)
        return line

    @property
    def line(self) -> Line:
        """The worker that most checks share; a fresh one where the last went wrong."""
        found = self._line
        if found is not None and found.usable and not found.eof and found.process.alive:
            return found
        if found is not None:
            self.drop(found)
        self._line = self.fresh()
        return self._line

    def drop(self, line: Line) -> None:
        """End a worker and its connection."""
        line.close()
        if line in self._open:
            self._open.remove(line)
        if line is self._line:
            self._line = None

    def keep(self, line: Line) -> None:
        """Let the checks that follow share this one."""
        if self._line is not None and self._line is not line:
            self.drop(self._line)
        self._line = line

    def tidy(self) -> None:
        """End what a check has left open, but for the shared worker."""
        for line in list(self._open):
            if line is not self._line:
                self.drop(line)

    def close(self) -> None:
        """End everything."""
        for line in list(self._open):
            self.drop(line)

    @contextlib.contextmanager
    def other(self, **options: Any) -> Iterator[Line]:
        """A fresh worker for the length of a block."""
        line = self.fresh(**options)
        try:
            yield line
        finally:
            self.drop(line)

    # -- what it is --------------------------------------------------------------------------------------
    @property
    def hello(self) -> Hello:
        """What the worker said of itself."""
        if self._hello is None:
            _ = self.line
        assert self._hello is not None
        return self._hello

    @property
    def own(self) -> bool:
        """Whether it keeps its memory itself, so that episodes have to be begun."""
        return self.hello.state == "own"

    @property
    def samples(self) -> list[Sample]:
        """The seats."""
        if not self._samples:
            self._samples = list((self._given or made)(self.hello))
        return self._samples

    def deterministic(self) -> None:
        """Skip where the worker does not claim it."""
        if not self.hello.deterministic:
            raise Skipped("it does not say that it is deterministic")

    # -- verbs -------------------------------------------------------------------------------------------
    def bind(self, line: Line, seats: Any = None, **more: Any) -> None:
        """Bind the seats; raises `Failed` where it refuses."""
        answer = line.ask("bind", seats=seats or [s.seat for s in self.samples], config=self.config, **more)
        if isinstance(answer, Error):
            hint = "" if self.real else "; give seats that it plays: --env NAME"
            raise Failed(f"refuses its seats: {answer.code} {answer.message}{hint}")
        done(answer, "bind")

    def begin(self, line: Line, name: Any, slot: int = 0, offset: int | None = None) -> Play:
        """An episode with the key of this name."""
        k = key("worker check", str(name))
        sample = self.samples[slot % len(self.samples)]
        self._ep += 1
        play = Play(self._ep if self.own else key64(k), k, sample, k[0] if offset is None else offset)
        if self.own:
            done(line.ask("reset", ep=[play.ep], slot=[sample.seat.slot], key=[k]), "reset")
        return play

    def end(self, line: Line, *plays: Play) -> None:
        """Episodes are over."""
        if self.own and plays:
            done(line.ask("end", ep=[p.ep for p in plays], status=["terminal"] * len(plays)), "end")

    def fields(self, plays: Sequence[Play], ticks: Sequence[int]) -> dict[str, Any]:
        """The columns of an act of these rows."""
        met = [p.sample.at(p.offset + t) for p, t in zip(plays, ticks, strict=True)]
        views, masks = [v for v, _ in met], [m for _, m in met]
        arrays = plays[0].sample.seat.view in ("array", "image")
        found: dict[str, Any] = {
            "ep": np.array([p.ep for p in plays], np.uint64),
            "slot": np.array([p.sample.seat.slot for p in plays], np.int64),
            "tick": np.array(ticks, np.int64),
            "obs": np.stack([np.asarray(v) for v in views]) if arrays else views,
        }
        if any(m is not None for m in masks):
            whole = len({None if m is None else len(m) for m in masks}) == 1
            found["legal"] = np.array(masks, bool) if whole else [None if m is None else list(m) for m in masks]
        if any(p.memo is not None for p in plays):
            found["memo"] = [p.memo for p in plays]
        return found

    def act(self, line: Line, plays: Sequence[Play], ticks: Sequence[int], **more: Any) -> list[Any]:
        """The values of one act of these rows; memos are kept in the plays."""
        answer = line.ask("act", **{**self.fields(plays, ticks), **more})
        values = rows_of(answer, len(plays))
        if answer.memo is not None:
            for play, memo in zip(plays, answer.memo, strict=True):
                play.memo = memo
        return values

    def played(self, line: Line, play: Play, ticks: int, first: int = 0) -> list[Any]:
        """The values of so many ticks, one row at a time."""
        return [self.act(line, [play], [t])[0] for t in range(first, first + ticks)]


def done(answer: Any, verb: str) -> Any:
    """The data of an ok; raises `Failed` otherwise."""
    if isinstance(answer, Ok):
        return answer.data
    if isinstance(answer, Error):
        raise Failed(f"{verb} is answered with an error: {answer.code} {answer.message}")
    raise Failed(f"{verb} is answered with {type(answer).__name__.lower()}, not ok")


def rows_of(answer: Any, rows: int) -> list[Any]:
    """The values of an act, one per row; raises `Failed`."""
    if isinstance(answer, Error):
        raise Failed(f"act is answered with an error: {answer.code} {answer.message}")
    if not isinstance(answer, Acts):
        raise Failed(f"act is answered with {type(answer).__name__.lower()}, not acts")
    if answer.faults:
        row, fault = next(iter(answer.faults.items()))
        raise Failed(f"row {row} of {rows} has a fault: {fault}")
    if not isinstance(answer.values, (list, np.ndarray)):
        raise Failed(f"the values of acts are a {type(answer.values).__name__}, not a list or an array")
    for name in ("values", "memo"):
        column = getattr(answer, name)
        if column is not None and (not isinstance(column, (list, np.ndarray)) or len(column) != rows):
            have = len(column) if isinstance(column, (list, np.ndarray)) else column
            raise Failed(f"{have} {name} for {rows} rows: give one for each row, in their order")
    for name in ("says", "confidence", "why", "usage", "counts"):
        for row in getattr(answer, name):
            if not 0 <= row < rows:
                raise Failed(f"{name} of row {row}, but there are {rows} rows")
    _beside(answer)
    values = answer.values
    return (
        [v.tolist() if isinstance(v, np.ndarray) else v for v in values]
        if isinstance(values, list)
        else values.tolist()
    )


def _beside(answer: Acts) -> None:
    """Refuse what stands beside the values where an engine could not read it."""
    for row, value in answer.confidence.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise Failed(f"confidence of row {row}: {value!r}; a number from 0 to 1")
    for row, value in answer.usage.items():
        if not isinstance(value, list) or len(value) != 4 or not all(type(n) is int and n >= 0 for n in value):
            raise Failed(f"usage of row {row}: {value!r}; [calls, tokens in, tokens out, cpu microseconds]")
    for row, value in answer.counts.items():
        if not isinstance(value, dict) or not all(isinstance(k, str) and type(n) is int for k, n in value.items()):
            raise Failed(f"counts of row {row}: {value!r}; a map from names to whole numbers")
    for row, value in answer.says.items():
        if not isinstance(value, list) or not all(isinstance(m, list) and len(m) in (2, 3) for m in value):
            raise Failed(f"says of row {row}: {value!r}; a list of [dst, body, channel]")
    for row, value in answer.why.items():
        if not isinstance(value, str):
            raise Failed(f"why of row {row}: {value!r}; a text")


def must_end(case: Case, line: Line, when: str) -> None:
    """Raise where the process does not end by itself, in order, now that its connection is closed."""
    if not line.process.wait(case.exit_s):
        raise Trouble(f"still runs {case.exit_s:g} s after {when}: end when reading gives nothing")
    code = line.process.code
    if code is not None and code < 0 and code not in (-13, -1, -15):
        raise Failed(f"was killed by signal {-code} after {when}")


def refused(answer: Any, what: str, *codes: str) -> str:
    """The code of the error that something must be answered with; raises `Failed` where it is not one of these."""
    if not isinstance(answer, Error):
        raise Failed(
            f"{what} is answered with {type(answer).__name__.lower()}; it must be an error {' or '.join(codes)}"
        )
    if codes and answer.code not in codes:
        raise Failed(f"{what} is answered with {answer.code} ({answer.message}); it must be {' or '.join(codes)}")
    return answer.code


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal, whatever holds them."""
    left, right = (x.tolist() if isinstance(x, (np.ndarray, np.generic)) else x for x in (left, right))
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return bool(left == right)
