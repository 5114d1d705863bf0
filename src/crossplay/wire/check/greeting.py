"""Checks of how a connection begins and ends: hello, versions, seats, bye, an engine that vanishes."""

from __future__ import annotations

import socket
import time

from crossplay.wire.check.case import Case, done, must_end, refused
from crossplay.wire.check.line import Failed, Line
from crossplay.wire.frames import WireError, agree
from crossplay.wire.messages import MAJOR, Acts, Error, Hello, Ok, Seat

__all__ = ["bad_seats", "bind", "bye", "hello", "kill", "older_minor", "other_major", "rebind", "vanish"]

VERSION_EXIT = 3
VIEWS = ("array", "text", "data", "image")
KINDS = ("names", "box", "text", "data")


def hello(case: Case) -> str:
    """The first frame is a complete hello, and nothing follows until the welcome."""
    line = case.raw()
    said = line.greet(case.start_s)
    case._hello = said
    problems = _of_hello(said)
    line.quiet(0.05)
    if case.wrong.pop("ids", None) or line._gone or line.eof:
        problems.append("it goes on before it was welcomed: wait for welcome")
    if not problems:
        line.welcome()
        case.keep(line)
    if problems:
        raise Failed("; ".join(problems))
    return (
        f"{said.name} {said.version}".strip()
        + f", wire {said.v[0]}.{said.v[1]}, state {said.state}, batch {said.batch}, views {', '.join(said.views) or 'none'}"
    )


def _of_hello(h: Hello) -> list[str]:
    problems = []
    try:
        agree(h.v)
    except WireError as error:
        problems.append(f"v: {error.message}")
    if not h.name:
        problems.append("name is empty")
    for name, values, known in (
        ("codecs", h.codecs, ("msgpack", "json")),
        ("views", h.views, VIEWS),
        ("kinds", h.kinds, KINDS),
        ("roles", h.roles, ("agent", "trainer", "envs")),
    ):
        strange = [v for v in values if v not in known]
        if strange:
            problems.append(f"{name}: {strange[0]!r} is none of {', '.join(known)}")
    if not h.codecs:
        problems.append("codecs is empty: name msgpack or json")
    if "agent" in h.roles and not h.views:
        problems.append("views is empty: name what it can read, best first")
    if h.batch < 1:
        problems.append(f"batch: {h.batch}; at least 1")
    if h.state not in ("none", "memo", "own"):
        problems.append(f"state: {h.state!r} is none of none, memo, own")
    return problems


def bind(case: Case) -> str:
    """The seats are taken."""
    case.bind(case.line)
    return ", ".join(f"{s.seat.env} {s.seat.seat}" for s in case.samples[:3])


def rebind(case: Case) -> str:
    """Between episodes it may be bound again, with all seats and one more."""
    with case.other() as line:
        first = case.samples[0].seat
        more = _changed(first, slot=len(case.samples) + 5, seat="another")
        case.bind(line, [*(s.seat for s in case.samples), more])
        play = case.begin(line, "rebind")
        case.act(line, [play], [0])
    return "a second bind with one seat more"


def older_minor(case: Case) -> str:
    """An engine of an older minor version is served."""
    with case.other(v=[MAJOR, 0]) as line:
        play = case.begin(line, "older")
        case.played(line, play, 2)
        case.end(line, play)
    return f"plays on a connection of version {MAJOR}.0"


def other_major(case: Case) -> str:
    """Another major version ends it with exit code 3: as an engine's refusal, and in a welcome."""
    refusals: list[tuple[str, dict[str, object]]] = [
        ("an error VERSION", {"t": "error", "id": 0, "code": "VERSION", "message": "this engine speaks 9.0"}),
        ("a welcome of version 9.0", {"t": "welcome", "v": [9, 0], "codec": "msgpack", "session": "x", "frame": 1 << 20, "inflight": 4}),
    ]  # fmt: skip
    for what, message in refusals:
        line = case.raw()
        line.greet(case.start_s)
        line.send(message)
        if not line.process.wait(case.exit_s):
            raise Failed(f"goes on after {what}: it must end with exit code {VERSION_EXIT}")
        if line.process.code != VERSION_EXIT:
            raise Failed(f"ends with exit code {line.process.code} after {what}; it must be {VERSION_EXIT}")
        case.drop(line)
    return f"ends with exit code {VERSION_EXIT}"


def bad_seats(case: Case) -> str:
    """Seats that it cannot play are refused with BAD_SPACE, or played without harm; the seats it has stay bound."""
    first = case.samples[0].seat
    free = len(case.samples) + 9
    wrong: dict[str, Seat] = {"a view it does not read": _changed(first, slot=free, view="smell", shape=[], dtype="")}
    other = next((k for k in KINDS if case.hello.kinds and k not in case.hello.kinds), None)
    if other is not None:
        spec = {"names": {"kind": "names", "names": ["a", "b"]}, "box": {"kind": "box", "shape": [1], "low": [0.0], "high": [1.0]},
                "text": {"kind": "text", "max_len": 9}, "data": {"kind": "data"}}[other]  # fmt: skip
        wrong[f"actions of kind {other}"] = _changed(first, slot=free + 1, spec=spec)
    if first.shape:
        wrong["a shape of no sides and of nine"] = _changed(first, slot=free + 2, shape=[2] * 9)
    wrong["an action kind that there is not"] = _changed(first, slot=free + 3, spec={"kind": "dance"})
    told = []
    line = case.line
    for what, seat in wrong.items():
        answer = line.ask("bind", seats=[*(s.seat for s in case.samples), seat], config=case.config)
        if isinstance(answer, Error):
            refused(answer, f"bind with {what}", "BAD_SPACE", "BAD_VALUE", "UNSUPPORTED")
            told.append("refused")
            continue
        done(answer, f"bind with {what}")
        told.append("taken")
        _try_seat(case, line, seat, what)
    case.bind(line)
    play = case.begin(line, "after bad seats")
    case.act(line, [play], [0])
    case.end(line, play)
    return f"{told.count('refused')} of {len(told)} refused; the others played without harm"


def _try_seat(case: Case, line: Line, seat: Seat, what: str) -> None:
    """An act in a seat that it took though it should not have."""
    ep = 1 << 40
    if case.own:
        answer = line.ask("reset", ep=[ep], slot=[seat.slot], key=[bytes(16)])
        if isinstance(answer, Error):
            return
    view, _ = case.samples[0].at(0)
    answer = line.ask("act", ep=[ep], slot=[seat.slot], tick=[0], obs=[view])
    if not isinstance(answer, (Acts, Error)):
        raise Failed(f"act in a seat with {what} is answered with {type(answer).__name__.lower()}")
    if case.own:
        line.ask("end", ep=[ep])


def bye(case: Case) -> str:
    """Bye is answered with ok; then the process ends by itself with exit code 0."""
    line = case.fresh()
    answer = line.ask("bye")
    if not isinstance(answer, Ok):
        raise Failed(f"bye is answered with {type(answer).__name__.lower()}, not ok")
    if not line.process.wait(case.exit_s):
        raise Failed(f"still runs {case.exit_s:g} s after bye")
    if line.process.code != 0:
        raise Failed(f"ends with exit code {line.process.code} after bye; it must be 0{line._said()}")
    return "ok, then exit code 0"


def kill(case: Case) -> str:
    """When the connection is closed without a word, the process ends within seconds."""
    line = case.fresh()
    play = case.begin(line, "kill")
    case.act(line, [play], [0])
    began = time.monotonic()
    line.cut()
    must_end(case, line, "the connection was closed while it waited")
    return f"ends {time.monotonic() - began:.1f} s after the connection was closed"


def vanish(case: Case) -> str:
    """The same in the middle of a frame, and with answers that nobody reads any more."""
    line = case.fresh()
    frame = line.frame({"t": "ping", "id": 1})
    line.raw(frame[:-3])
    line.cut()
    must_end(case, line, "the connection was closed in the middle of a frame")
    line = case.fresh()
    play = case.begin(line, "vanish")
    for i in range(8):
        line.open("act", **case.fields([play], [i]))
    line.sock.shutdown(socket.SHUT_RDWR)
    line.cut()
    must_end(case, line, "the engine vanished with requests open")
    return "ends in the middle of a frame, and with requests open"


def _changed(seat: Seat, /, **changes: object) -> Seat:
    fields = {name: getattr(seat, name) for name in seat.__struct_fields__}
    return Seat(**{**fields, **changes})
