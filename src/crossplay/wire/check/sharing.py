"""Checks of shared memory: arrays read in place, and never one that was overwritten."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import numpy as np

from crossplay.wire.arrays import SHARED
from crossplay.wire.check.case import SIZE, SLOTS, Case, refused, rows_of, same
from crossplay.wire.check.line import Failed, Line, Skipped
from crossplay.wire.messages import Acts

__all__ = ["shared", "stale"]

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
