"""Checks of what a worker inherits beside its socket: shared memory, read in place and never stale; two pipes."""

from __future__ import annotations

import struct
import time
from typing import Any

import msgspec
import numpy as np

from crossplay.wire.arrays import SHARED
from crossplay.wire.check.case import SIZE, SLOTS, Case, done, must_end, refused, rows_of, same
from crossplay.wire.check.line import Failed, Line, Skipped, Trouble
from crossplay.wire.lines import PIPE
from crossplay.wire.messages import Acts

__all__ = ["pipes", "shared", "stale"]

TICKS = 6
LARGE = 2 * PIPE + 4099  # bytes: more than a pipe holds at once

_GENERATION = struct.Struct("<Q")


def shared(case: Case) -> str:
    """Arrays in shared memory give the same as inline, also when slots are used again and again."""
    _claimed(case)
    line = case.line
    rows = min(8, case.hello.batch)
    plays = [case.begin(line, f"shared {i}", i) for i in range(rows)]
    inline = [case.act(line, plays, [t] * rows) for t in range(3 * SLOTS)]
    case.end(line, *plays)
    other = _fresh(case)
    plays = [case.begin(other, f"shared {i}", i) for i in range(rows)]
    there = []
    for tick in range(3 * SLOTS):
        values = case.act(other, plays, [tick] * rows)
        assert other.ring is not None
        used = other.ring.take()
        if not used:
            raise Skipped("no array of its seats is large enough")
        other.ring.release(used)
        there.append(values)
    case.end(other, *plays)
    if case.hello.deterministic and not same(inline, there):
        raise Failed("arrays in shared memory give other values than inline: look at slot, offset, dtype and shape")
    return f"{3 * SLOTS} acts of {rows} rows"


def stale(case: Case) -> str:
    """A slot that was overwritten, does not exist or is too small is an error: never wrong data."""
    _claimed(case)
    line = _fresh(case)
    ring = line.ring
    assert ring is not None
    play = case.begin(line, "stale")
    fields = case.fields([play], [0])
    obs = np.asarray(fields["obs"])
    case.act(line, [play], [0])
    slot = (ring.take() or [0])[0]
    now = ring.generations[slot]
    for what, reference in {
        "a slot that was overwritten": (slot, now - 1, obs.dtype.str, obs.shape),
        "a slot that was not written yet": (slot, now + 1, obs.dtype.str, obs.shape),
        "a slot that there is not": (SLOTS + 3, now, obs.dtype.str, obs.shape),
        "a slot below zero": (-1, now, obs.dtype.str, obs.shape),
        "an array larger than its slot": (slot, now, obs.dtype.str, (SIZE, 64)),
    }.items():
        answer = _act(line, fields, reference)
        if isinstance(answer, Acts) and answer.faults:
            continue
        refused(answer, what, "BAD_FRAME", "BAD_VALUE")
    rows_of(_act(line, fields, (slot, now, obs.dtype.str, obs.shape)), 1)
    _GENERATION.pack_into(ring.map, slot * ring.stride, now + 1)
    refused(_act(line, fields, (slot, now, obs.dtype.str, obs.shape)), "a slot written again since", "BAD_FRAME")
    case.end(line, play)
    return "overwritten, future, foreign and too small slots are refused"


def _act(line: Line, fields: dict[str, Any], reference: Any) -> Any:
    """An act whose observations are a reference made by hand."""
    return line.ask("act", **{**fields, "obs": msgspec.msgpack.Ext(SHARED, msgspec.msgpack.encode(reference))})


def _claimed(case: Case) -> None:
    if case.samples[0].seat.view not in ("array", "image"):
        raise Skipped("its view holds no arrays")
    with case.other(shared=True) as line:
        if line.hello is None or not line.hello.shm:
            raise Skipped("it does not map shared memory")


def _fresh(case: Case) -> Line:
    return case.fresh(shared=True, shm={"slots": SLOTS, "size": SIZE, "from": 1})


def pipes(case: Case) -> str:
    """Over two pipes it plays as over the socket, which is left and closed; it ends when they are closed."""
    with case.other(piped=True) as line:
        if line.hello is None or not line.hello.pipes:
            raise Skipped("it does not use pipes")
        there = _toured(case, line)  # offered and not taken: over the socket
    line = _taken(case)
    here = _toured(case, line)
    line.leave()
    other = _taken(case)
    other.leave()  # at once, as engines do
    play = case.begin(other, "pipes end")
    case.act(other, [play], [0])
    other.cut()
    must_end(case, other, "its pipes were closed while it waited")
    try:
        if not same(here, _toured(case, line)) and case.hello.deterministic:
            raise Failed("over pipes it plays otherwise when its socket is closed")
    except Trouble as reason:
        raise Failed(f"{reason}: the socket was closed, as it is after a welcome with pipes") from None
    play = case.begin(line, "pipes vanish")
    for tick in range(8):
        line.open("act", **case.fields([play], [tick]))
    line.raw(line.frame({"t": "ping", "id": line.number()})[:-3])
    line.cut()
    must_end(case, line, "its pipes were closed in the middle of a frame, with requests open")
    if case.hello.deterministic and not same(there, here):
        raise Failed(f"over pipes it answers {here}, over the socket {there}")
    return f"{len(here)} acts as over the socket, in pieces and of {LARGE >> 20} MiB; ends when they are closed"


def _taken(case: Case) -> Line:
    """A fresh worker, welcomed with pipes, bound over them. Its socket is still open."""
    line = case.fresh(bound=False, piped=True, pipes=True)
    try:
        case.bind(line)
    except Trouble as reason:
        hint = "read the first number of CROSSPLAY_PIPES and write to the second from a welcome with pipes on"
        raise Trouble(f"over pipes: {reason}; {hint}") from None
    return line


def _toured(case: Case, line: Line) -> list[list[Any]]:
    """The values of some acts: of one row, of more, in two pieces, and in a frame larger than a pipe."""
    play = case.begin(line, "tour")
    found = [case.act(line, [play], [t]) for t in range(TICKS)]
    rows = min(8, case.hello.batch)
    plays = [case.begin(line, f"tour {i}", i) for i in range(rows)]
    found += [case.act(line, plays, [t] * rows) for t in range(TICKS)]
    for what, beside, cut in (("a frame in two pieces", 0, 50), ("a frame larger than a pipe", LARGE, LARGE // 2)):
        number = line.number()
        line.expect(number, "act")
        fields = {**case.fields([play], [len(found)]), "later": bytes(beside)}  # a key that is ignored
        frame = line.frame({"t": "act", "id": number, **fields})
        try:
            line.raw(frame[:cut])
            time.sleep(0.02)
            line.raw(frame[cut:])
            answer = line.answer(number)
        except Trouble as reason:
            raise Trouble(f"{what}: {reason}") from None
        found.append(rows_of(answer, 1))
    case.end(line, play, *plays)
    done(line.ask("ping"), "ping")
    return found
