"""Training on one core: throughput and share of the environment, and CPU seconds to a return."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.measure import Row, calibration, median, row


def _train(env: str, seed: int, **settings: object):
    from crossplay.train import PPO, train

    with tempfile.TemporaryDirectory() as folder:
        return train(env, PPO.for_env(env, seed=seed, **settings), Path(folder) / "run")


def rows() -> list[Row]:
    """All rows of training. Every run is one seed; the samples are the seeds."""
    marks, speeds, shares, spread, kitchen = [], [], [], [], []
    for seed in (1, 2, 3):
        marks.append(calibration())
        result = _train("spread", seed)
        speeds.append(result.env_steps / result.cpu_s)
        shares.append(result.env_share * 100)
        marks.append(calibration())
        result = _train("spread", seed, stop_at=-20.0)
        spread.append(result.cpu_s if (result.value or -99) >= -20 else float("inf"))
    for seed in (1, 2):
        marks.append(calibration())
        result = _train("kitchen/cramped_room", seed, stop_at=100.0)
        kitchen.append(result.cpu_s if (result.value or 0) >= 100 else float("inf"))
    base, per = 1 / median(marks), [1 / m for m in marks]
    what = "plain Python loops of 1e6 per second"
    return [
        row(
            "training: spread, PPO, one thread", median(speeds), "env-steps/CPU s", ">= 20000", speeds, base, per, what
        ),
        row("training: spread, share of the environment", median(shares), "% of CPU", "<= 15", shares, base, per, what),
        row("training: spread to -20 per seat", median(spread), "CPU s", "<= 15", spread, base, per, what),
        row("training: kitchen/cramped_room to 100", median(kitchen), "CPU s", "<= 60", kitchen, base, per, what),
    ]
