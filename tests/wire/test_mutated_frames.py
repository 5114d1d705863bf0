"""Frames with bytes changed: a worker answers, refuses or ends in order; it is never killed by a signal, and never hangs."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crossplay.cli.workers import starter
from crossplay.wire.check.case import Case
from crossplay.wire.check.line import Failed

EXAMPLES = Path(__file__).parents[2] / "worker/examples"
ENDS = {0, 4}


def bodies(case, line):
    """Bodies of requests that would be served."""
    play = case.begin(line, "mutated")
    fields = case.fields([play, play], [0, 1])
    requests = [
        {"t": "act", **fields},
        {"t": "act", **{k: np.asarray(v).tolist() for k, v in fields.items()}},
        {
            "t": "act",
            **fields,
            "inbox": {0: [["a", {"x": 1}, "main", "b", 3]]},
            "reward": np.zeros(2),
            "deadline_ms": 5,
        },
        {"t": "bind", "seats": [s.seat for s in case.samples], "config": {"a": [1, {"b": None}]}},
        {"t": "ping"},
    ]
    return [line.frame({**r, "id": 5})[4:] for r in requests]


def mutated(body, chance):
    """The body with some bytes changed, cut off, doubled or put in."""
    data = bytearray(body)
    for _ in range(int(chance.integers(1, 4))):
        at, kind = int(chance.integers(len(data))), int(chance.integers(5))
        if kind < 3:
            data[at] = (
                int(chance.integers(256))
                if kind
                else int(chance.choice([0xC1, 0xDD, 0xDF, 0xC6, 0xC9, 0x91, 0x81, 0xFF, 0x80]))
            )
        elif kind == 3:
            del data[at : at + int(chance.integers(1, 9))]
        else:
            data[at:at] = chance.bytes(int(chance.integers(1, 9)))
        data = data or bytearray(b"\0")
    return bytes(data)


def tried(command, count):
    """Send so many mutated frames; how many a worker lived through."""
    chance = np.random.Generator(np.random.Philox(5))
    case = Case(starter(command), None, 20.0, 60.0)
    lived, line, good = 0, None, []
    try:
        for _ in range(count):
            if line is None:
                case.tidy()
                line = case.fresh()
                good = good or bodies(case, line)
            body = mutated(good[int(chance.integers(len(good)))], chance)
            ping = line.number() + (1 << 20)
            frame = struct.pack("<I", len(body)) + body
            line.expect(ping, "ping")
            line.expect(5, "act")
            try:
                line.raw(frame + line.frame({"t": "ping", "id": ping}))
                line.answer(ping)
                lived += 1
                continue
            except Failed:
                assert line.process.wait(10.0), f"hangs after {body.hex()}"
                assert line.process.code in ENDS, f"ends with {line.process.code} after {body.hex()}: {line.fate()}"
                line = None
    finally:
        case.close()
    return lived


def compiled(tmp_path, *flags):
    compiler = shutil.which("gcc") or shutil.which("cc") or pytest.skip("no C compiler here")
    binary = tmp_path / "worker_c"
    built = subprocess.run(
        [compiler, "-std=c11", "-O1", *flags, "-o", str(binary), str(EXAMPLES / "worker.c")], capture_output=True
    )
    if built.returncode:
        pytest.skip("cannot be compiled here: " + built.stderr.decode()[-200:])
    return (str(binary),)


def test_the_worker_in_c_lives_through_mutated_frames(tmp_path):
    assert tried(compiled(tmp_path), 300) > 30


@pytest.mark.full
def test_the_same_with_its_memory_watched(tmp_path):
    flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    assert tried(compiled(tmp_path, *flags), 2000) > 200


@pytest.mark.full
def test_the_kit_lives_through_mutated_frames():
    assert tried((sys.executable, str(EXAMPLES / "python_worker.py")), 100) > 10


@pytest.mark.full
def test_the_worker_in_javascript_lives_through_mutated_frames():
    if not shutil.which("node"):
        pytest.skip("no node here")
    assert tried(("node", str(EXAMPLES / "worker.js")), 200) > 20
