"""Checks of bytes: frames in pieces, too large, garbage; what is printed; JSON; memory and processor time at rest."""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path

import msgspec

from crossplay.kernel.seeds import generator, key
from crossplay.wire.check.case import Case, done, rows_of, same
from crossplay.wire.check.line import Failed, Line, Skipped, Trouble
from crossplay.wire.frames import FRAME
from crossplay.wire.messages import MAJOR, MINOR

__all__ = ["chatter", "frames", "garbage", "json_codec", "memory", "oversized", "partial", "rest"]

SMALL = 1 << 16  # frame limit of the check of oversized frames
GROWTH = 6 << 20  # bytes that a process may grow over REQUESTS requests
REQUESTS = 1500
REACH = 192 << 20  # bytes that no garbage may make it take
_marks = (b"\xa1t\xa4acts", b"\xa1t\xa5hello", b"\xa1t\xa2ok", b'"t":"acts"', b'"t":"hello"', b'"t":"ok"')


def frames(case: Case) -> str:
    """All that came over the connection were messages in frames, within the limit."""
    with contextlib.suppress(Failed):  # what is wrong with the framing is noted; all else is for other checks
        line = case.fresh()
        play = case.begin(line, "frames")
        case.played(line, play, 60)
        case.end(line, play)
    return f"nothing else, on {case.starts} connections so far"


def chatter(case: Case) -> str:
    """Standard output and error are the worker's own: they may hold anything but frames."""
    line = case.line
    play = case.begin(line, "chatter")
    case.played(line, play, 4)
    case.end(line, play)
    printed = line.process.printed()
    if any(mark in printed for mark in _marks):
        raise Failed("frames are printed: write them to the descriptor in CROSSPLAY_FD alone")
    return f"{len(printed)} bytes printed, none of them a frame"


def partial(case: Case) -> str:
    """Frames may come byte by byte, or several and a half at once."""
    line = case.line
    play = case.begin(line, "partial")
    number = line.number()
    line.expect(number, "act")
    frame = line.frame({"t": "act", "id": number, **case.fields([play], [0])})
    for i in range(len(frame)):
        line.raw(frame[i : i + 1])
        if i < 12:
            time.sleep(0.002)
    rows_of(line.answer(number), 1)
    numbers = [line.number() for _ in range(3)]
    for n in numbers:
        line.expect(n, "ping")
    whole = b"".join(line.frame({"t": "ping", "id": n}) for n in numbers)
    line.raw(whole[:-2])
    done(line.answer(numbers[0]), "ping")
    line.raw(whole[-2:])
    for n in numbers[1:]:
        done(line.answer(n), "ping")
    case.end(line, play)
    _at_once(case)
    return f"{len(frame)} bytes one by one; two and a half frames at once; welcome and bind together"


def _at_once(case: Case) -> None:
    """Welcome and the first requests in one write."""
    line = case.raw()
    line.greet(case.start_s)
    version = [MAJOR, min(MINOR, case.hello.v[1])]
    welcome = {"t": "welcome", "v": version, "codec": "msgpack", "session": "check", "frame": FRAME, "inflight": 8}
    numbers = [line.number(), line.number()]
    for n, verb in zip(numbers, ("bind", "ping"), strict=True):
        line.expect(n, verb)
    bind = {"t": "bind", "id": numbers[0], "seats": [s.seat for s in case.samples], "config": case.config}
    line.raw(b"".join(map(line.frame, (welcome, bind, {"t": "ping", "id": numbers[1]}))))
    for n, verb in zip(numbers, ("bind", "ping"), strict=True):
        done(line.answer(n), f"{verb} that came with the welcome")


def oversized(case: Case) -> str:
    """A frame over the agreed limit, and one of no bytes, are refused; the connection ends."""
    for what, data in (
        (f"a frame of {SMALL + 1} bytes where {SMALL} were agreed", struct.pack("<I", SMALL + 1) + bytes(SMALL + 1)),
        ("a frame of 4 GiB", struct.pack("<I", 0xFFFFFFFF) + bytes(1000)),
        ("a frame of no bytes", struct.pack("<I", 0)),
    ):
        line = case.fresh(frame=SMALL)
        before = _peak(line)
        _put(line, data)
        _reacts(case, line, what)
        after = _peak(line)
        if before and after and after - before > REACH:
            raise Failed(f"{what} makes it take {(after - before) >> 20} MiB: look at the length before reading on")
        if line.process.alive:
            raise Failed(f"{what} is answered, but the connection goes on: what follows cannot be told apart")
        case.drop(line)
    return "refused, and the connection ends"


def garbage(case: Case) -> str:
    """Whatever a frame holds, it is answered with an error or ends the connection: no crash, no silence, no hunger."""
    noise = generator(key("garbage")).bytes
    tries = {
        "random bytes": noise(300),
        "a map that is cut off": msgspec.msgpack.encode({"t": "act", "id": 5, "obs": [1] * 50})[:-9],
        "a list instead of a map": msgspec.msgpack.encode([1, 2, 3]),
        "200,000 nested lists": b"\x82\xa1t\xa3act\xa3obs" + b"\x91" * 200_000,
        "a list that claims 4 thousand million elements": b"\x82\xa1t\xa3act\xa3obs\xdd\xff\xff\xff\xff\x01",
        "bytes that claim 4 GiB": b"\x82\xa1t\xa3act\xa3obs\xc6\xff\xff\xff\xff\x01",
        "text that is no UTF-8": b"\x82\xa1t\xa4ping\xa2id\xa2\xff\xfe",
        "JSON that is cut off": b'{"t":"ping","id":',
        "an array of 2**60 elements": _act_with(msgspec.msgpack.encode(("<f4", [1 << 30, 1 << 30], b"1234"))),
        "an array of a type that there is not": _act_with(msgspec.msgpack.encode(("|O8", [1], b"12345678"))),
    }
    alive = 0
    line = None
    for what, body in tries.items():
        if line is None or not line.process.alive or line.eof or not line.usable:
            line = case.fresh()
        before = _peak(line)
        _put(line, struct.pack("<I", len(body)) + body)
        alive += _reacts(case, line, what)
        after = _peak(line)
        if before and after and after - before > REACH:
            raise Failed(f"{what} makes it take {(after - before) >> 20} MiB: never reserve what a header claims")
    return f"{len(tries)} kinds; it lived on after {alive}, ended in order after the others"


def _act_with(array: bytes) -> bytes:
    """The body of an act whose observations are this extension."""
    ext = b"\xc7" + bytes([len(array), 1]) + array
    return b"\x86\xa1t\xa3act\xa2id\x05\xa2ep\x91\x01\xa4slot\x91\x00\xa4tick\x91\x00\xa3obs" + ext


def _put(line: Line, data: bytes) -> None:
    try:
        line.raw(data)
    except Trouble:
        pass  # it may close before all was sent
    finally:
        line.usable = True


def _reacts(case: Case, line: Line, what: str) -> bool:
    """Wait for an error or the end; whether it lives on. Raises `Failed` at silence or a crash."""
    line.expect(5, "act")
    until = time.monotonic() + case.exit_s
    while time.monotonic() < until and not line.eof and 5 not in line._answers and not line._gone:
        line.quiet(0.01)
    answer = line._answers.pop(5, None)
    if answer is not None and type(answer).__name__ != "Error":
        raise Failed(f"{what} is answered with {type(answer).__name__.lower()}; it must be an error")
    if line._gone or line.eof:
        line.ended(case.exit_s)
        if not line.process.wait(case.exit_s):
            raise Failed(f"still runs {case.exit_s:g} s after {what}, with its connection ended")
        code = line.process.code
        if code is not None and code < 0 and code != -13:
            raise Failed(f"was killed by signal {-code} at {what}")
        return False
    if answer is None:
        raise Trouble(f"says nothing to {what}: answer error BAD_FRAME and close the connection")
    return True


def json_codec(case: Case) -> str:
    """Where it offers JSON, a connection of JSON frames gives the same."""
    if "json" not in case.hello.codecs:
        raise Skipped("it does not offer JSON")
    line = case.line
    play = case.begin(line, "json")
    there = case.played(line, play, 6)
    case.end(line, play)
    with case.other(codec="json") as other:
        play = case.begin(other, "json")
        here = case.played(other, play, 6)
        case.end(other, play)
        if not other.json_seen:
            return "reads JSON, answers in MessagePack" + _equal(case, here, there)
    return "reads and writes JSON" + _equal(case, here, there)


def _equal(case: Case, here: list, there: list) -> str:
    if not case.hello.deterministic:
        return ""
    if not same(here, there):
        raise Failed(f"with JSON frames it answers {here}, with MessagePack {there}: arrays come as nested lists there")
    return ", with the values of MessagePack"


def memory(case: Case) -> str:
    """Its memory does not grow with the number of requests and episodes."""
    line = case.line
    if not _resident(line):
        raise Skipped("the memory of a process cannot be read on this system")
    _work(case, line, REQUESTS // 3)
    before = _resident(line)
    _work(case, line, REQUESTS)
    grown = _resident(line) - before
    if grown > GROWTH:
        raise Failed(
            f"grows by {grown / 2**20:.1f} MiB over {REQUESTS} requests in {REQUESTS // 10} episodes: forget an episode at end"
        )
    return f"{grown / 2**20:+.1f} MiB over {REQUESTS} requests"


def _work(case: Case, line: Line, requests: int) -> None:
    for episode in range(requests // 10):
        play = case.begin(line, f"memory {episode}")
        for tick in range(10):
            case.act(line, [play], [tick])
        case.end(line, play)


def rest(case: Case) -> str:
    """It takes no processor time while it waits."""
    line = case.line
    before = _busy(line)
    if before is None:
        raise Skipped("the processor time of a process cannot be read on this system")
    watched = used = 0.0
    # On a busy machine it gets little, however it waits: then it is watched for longer.
    while watched < 0.4 or (used > 0.02 and watched < 3.0):
        line.quiet(0.2)
        watched += 0.2
        used = (_busy(line) or before) - before
        if used > 0.08:
            raise Failed(
                f"takes {used:.2f} s of processor time in {watched:.1f} s without requests: wait in a blocking read"
            )
    return f"{used:.2f} s of processor time in {watched:.1f} s"


def _status(line: Line, field: str) -> int:
    try:
        text = Path(f"/proc/{line.process.pid}/status").read_text()
    except OSError:
        return 0
    return next((int(row.split()[1]) << 10 for row in text.splitlines() if row.startswith(field)), 0)


def _resident(line: Line) -> int:
    return _status(line, "VmRSS:")


def _peak(line: Line) -> int:
    return _status(line, "VmHWM:")


def _busy(line: Line) -> float | None:
    try:
        fields = Path(f"/proc/{line.process.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / 100.0
