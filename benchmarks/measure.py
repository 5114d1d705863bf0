"""How a row is measured, and what it looks like."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

import msgspec


class Row(msgspec.Struct):
    """One line of the result.

    value: in `unit`, judged against `bar` ("<=" or ">="). against: the bare or calibration loop of
    the same run, and against_what says which and in what unit; ratio: value over against, to compare
    runs on machines of different speed. samples: raw.
    """

    name: str
    value: float
    unit: str
    against: float
    against_what: str
    bar: str
    holds: bool
    ratio: float | None
    samples: list[float]
    against_samples: list[float]
    n: int


def judge(value: float, bar: str) -> bool:
    """Whether a value meets a bar such as "<= 5" or ">= 450000"; "reported" has none."""
    if bar == "reported":
        return True
    sign, limit = bar.split()
    return value <= float(limit) if sign == "<=" else value >= float(limit)


def row(
    name: str,
    value: float,
    unit: str,
    bar: str,
    samples: list[float],
    against: float,
    against_samples: list[float],
    what: str,
) -> Row:
    """A finished row."""
    ratio = value / against if against else None
    return Row(name, value, unit, against, what, bar, judge(value, bar), ratio, samples, against_samples, len(samples))


def interleaved(
    a: Callable[[], object], b: Callable[[], object], rounds: int, warm: int = 2
) -> tuple[list[float], list[float]]:
    """CPU seconds of two functions, called in turn: A B A B ...

    With a pause between rounds: a shared machine is slow for seconds at a time.
    """
    for _ in range(warm):
        a()
        b()
    first, second = [], []
    for _ in range(rounds):
        time.sleep(0.25)
        gc.collect()
        first.append(_cpu(a))
        second.append(_cpu(b))
    return first, second


def _cpu(f: Callable[[], object]) -> float:
    t = time.process_time()
    f()
    return time.process_time() - t


def calibration() -> float:
    """CPU seconds of a fixed loop of plain Python: how fast this machine is just now."""
    t = time.process_time()
    x = 0
    for i in range(1_000_000):
        x ^= i * 31
    return time.process_time() - t + 0.0 * x


def median(samples: list[float]) -> float:
    """The median."""
    return statistics.median(samples)
