"""Agents in other processes, beside a bare echo over pipes of the same frame in the same run.

The bare echo: two pipes, a length and one MessagePack map with the fields of `act` there (the array as dtype, shape,
bytes), one with those of `acts` back, no classes, no checks; the other side looks at the data. Ours: `act_array` of a worker agent, through the wire, to a worker written with the kit.
Wall time of one round trip: the median over a block of them; blocks of both are interleaved. All processes are kept on
one core, so that it is what both sides compute; on two, the time the system takes to wake the other is added to both.
"""

from __future__ import annotations

import contextlib
import os
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.measure import Row, median, row

ROUNDS, BLOCK = 11, 400
REQUESTS = int(os.environ.get("CROSSPLAY_BENCH_REQUESTS", "1000000"))
_ECHO = """
import os, struct, sys, msgspec, numpy as np
source, sink = int(sys.argv[1]), int(sys.argv[2])
decode, encode = msgspec.msgpack.Decoder().decode, msgspec.msgpack.Encoder().encode
def read(n):
    data = os.read(source, n)
    while len(data) < n:
        more = os.read(source, n - len(data))
        if not more:
            sys.exit()
        data += more
    return data
while True:
    head = os.read(source, 4)
    if not head:
        break
    m = decode(read(struct.unpack("<I", head)[0]))
    dtype, shape, data = m["obs"]
    a = np.frombuffer(data, dtype).reshape(shape)
    acts = (a.reshape(len(a), -1)[:, 0] > 1e9).astype(np.int64)
    body = encode({"t": "acts", "id": m["id"], "values": acts.tolist()})
    os.write(sink, struct.pack("<I", len(body)) + body)
"""


class Echo:
    """The bare loop."""

    def __init__(self) -> None:
        there, self.sink = os.pipe()
        self.source, back = os.pipe()
        self.process = subprocess.Popen([sys.executable, "-c", _ECHO, str(there), str(back)], pass_fds=(there, back))
        os.close(there)
        os.close(back)
        self.encode, self.decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode

    def ask(self, obs: np.ndarray, keys: np.ndarray, tick: np.ndarray) -> np.ndarray:
        array = (obs.dtype.str, obs.shape, obs.tobytes())
        act = {"t": "act", "id": 1, "ep": keys.tolist(), "slot": 0, "tick": tick.tolist(), "obs": array}
        body = self.encode(act)
        frame = memoryview(struct.pack("<I", len(body)) + body)
        while frame:
            frame = frame[os.write(self.sink, frame) :]
        size = struct.unpack("<I", os.read(self.source, 4))[0]
        return np.array(self.decode(os.read(self.source, size))["values"], np.int64)

    def close(self) -> None:
        os.close(self.sink)
        self.process.wait()
        os.close(self.source)


@contextlib.contextmanager
def worker(view: str, shape: tuple[int, ...], shared: bool = True, mode: str = "") -> Iterator[Any]:
    """A worker agent whose columns have this shape per row."""
    from crossplay.agents import make_agent
    from crossplay.agents.context import Context
    from crossplay.wire.messages import Seat

    context = Context(trust=True, folder=Path(__file__).parent)
    command = ["python", "wire_worker.py", *([mode] if mode else [])]
    agent: Any = make_agent({"type": "worker", "command": command, "shared_memory": shared}, context, "looks")
    spec = {"kind": "names", "names": ["a", "b"]}
    seat = Seat(slot=0, seat="p0", agent="looks", env="bench@1", view=view, spec=spec, shape=list(shape), dtype="<f4")
    agent.link.seats["bench"] = seat
    from crossplay.agents.remote.agent import Seated

    agent.columns = Seated(agent, 0)
    try:
        yield agent
    finally:
        for close in context.closing:
            close()


def asks(agent: Any, obs: np.ndarray) -> Callable[[], Any]:
    """One round trip of columns through the agent."""
    n = len(obs)
    keys, tick = np.arange(n, dtype=np.uint64), np.zeros(n, np.int64)
    return lambda: agent.columns.act_array(obs, None, keys, tick, None)


def bare_asks(echo: Echo, obs: np.ndarray) -> Callable[[], Any]:
    """One round trip of the same columns through the bare echo."""
    keys, tick = np.arange(len(obs), dtype=np.uint64), np.zeros(len(obs), np.int64)
    return lambda: echo.ask(obs, keys, tick)


def pairs(
    a: Callable[[], Any], b: Callable[[], Any], rounds: int = ROUNDS, block: int = BLOCK
) -> tuple[list[float], list[float]]:
    """Median wall microseconds of a round trip in each block, of both, in turn."""
    for f in (a, b):
        for _ in range(50):
            f()
    first: list[float] = []
    second: list[float] = []
    for _ in range(rounds):
        for f, into in ((a, first), (b, second)):
            samples = []
            for _ in range(block):
                t = time.perf_counter_ns()
                f()
                samples.append((time.perf_counter_ns() - t) / 1000)
            into.append(median(samples))
    return first, second


def _ratio_row(name: str, ours: list[float], bare: list[float], bar: str, what: str) -> Row:
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return row(name, median(ratios), "x", bar, ratios, median(bare), bare, what)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """This process, and those it starts, on one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rows(**_: Any) -> list[Row]:
    """All rows of the wire."""
    with one_core():
        return _rows()


def _rows() -> list[Row]:
    found = []
    echo = Echo()
    what = "bare pipe + MessagePack echo, us per round trip"
    try:
        for name, shape, n, dtype in (
            ("147 floats, batch 1", (147,), 1, "<f4"),
            ("147 floats, batch 64", (147,), 64, "<f4"),
            ("image 84x84x3, batch 1", (84, 84, 3), 1, "|u1"),
        ):
            obs = np.ones((n, *shape), dtype)
            with worker("array" if len(shape) == 1 else "image", shape) as agent:
                ours, bare = pairs(asks(agent, obs), bare_asks(echo, obs))
            found.append(_ratio_row(f"wire: {name}", ours, bare, "<= 2", what))
        found += _batches(echo)
    finally:
        echo.close()
    found += _large()
    found.append(_memory())
    return found


def _batches(echo: Echo) -> list[Row]:
    obs = np.ones((512, 147), "<f4")
    with worker("array", (147,)) as agent:
        ours, bare = pairs(asks(agent, obs), bare_asks(echo, obs), block=100)
    rates, bares = [512e6 / t for t in ours], [512e6 / t for t in bare]
    what = "bare pipe + MessagePack echo, decisions/s"
    found = [
        row("wire: one worker, batch 512", median(rates), "decisions/s", "reported", rates, median(bares), bares, what)
    ]
    with worker("array", (147,), mode="each") as agent:
        single, _ = pairs(asks(agent, obs), bare_asks(echo, obs), rounds=5, block=20)
    rates = [512e6 / t for t in single]
    found.append(
        row(
            "wire: one worker, batch 512, row by row in the worker",
            median(rates),
            "decisions/s",
            "reported",
            rates,
            median(bares),
            bares,
            what,
        )
    )
    return found


def _large() -> list[Row]:
    """Large arrays: inline over through shared memory."""
    found = []
    for size, bar in (
        (16 << 10, "reported"),
        (64 << 10, "reported"),
        (128 << 10, "reported"),
        (256 << 10, "reported"),
        (1 << 20, ">= 5"),
    ):
        shape = (size // 4,)
        obs = np.ones((1, *shape), "<f4")
        with worker("array", shape) as shared, worker("array", shape, shared=False) as inline:
            shared.link.channel.codec.shared = 1
            through, there = pairs(asks(shared, obs), asks(inline, obs), block=100)
        ratios = [b / a for a, b in zip(through, there, strict=True)]
        found.append(
            row(
                f"wire: {size >> 10} KiB, inline over shared memory",
                median(ratios),
                "x",
                bar,
                ratios,
                median(through),
                through,
                "through shared memory, us per round trip",
            )
        )
    return found


def _memory() -> Row:
    """What a million requests leave behind, on both sides."""
    obs = np.ones((1, 147), "<f4")
    with worker("array", (147,)) as agent:
        ask = asks(agent, obs)
        for _ in range(REQUESTS // 50):
            ask()
        pid = agent.link._child.pid
        before = _resident(pid), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        t = time.perf_counter()
        for _ in range(REQUESTS):
            ask()
        wall = time.perf_counter() - t
        grown = [_resident(pid) - before[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before[1]]
    what = f"requests/s over {REQUESTS:,} requests"
    return row(
        f"wire: memory gained over {REQUESTS:,} requests, worker or engine",
        max(grown),
        "MiB",
        "<= 2",
        grown,
        REQUESTS / wall,
        [REQUESTS / wall],
        what,
    )


def _resident(pid: int) -> float:
    """MiB that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
