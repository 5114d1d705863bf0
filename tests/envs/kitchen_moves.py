"""Action sequences for the conformance tests: random, and random steered towards useful work."""

from __future__ import annotations

import numpy as np


def episodes(layout: str, count: int, length: int) -> list[list[list[int]]]:
    rng = np.random.default_rng(list(layout.encode()))
    return [rng.integers(0, 6, (length, 2)).tolist() for _ in range(count)]
