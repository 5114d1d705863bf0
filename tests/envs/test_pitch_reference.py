"""Whole episodes of the pitch games against mosaic_multigrid 7.0.0, with its own chance injected.

The full ring installs the package into an interpreter of its own, plays there and compares here;
the first ring does the same with a small file that was recorded that way.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pitch_episodes import compare, jobs, load

HERE = Path(__file__).parent
DRIVER = HERE / "pitch_reference_driver.py"
RECORDED = HERE.parent / "data" / "pitch_episodes.npz"
VENV = HERE.parents[1] / ".venvs" / "mosaic"


def record(python: str, what: list, where: Path) -> None:
    """Let the reference play `what` and write the episodes to `where`."""
    subprocess.run([python, DRIVER, where], input=json.dumps(what), text=True, check=True, capture_output=True)


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter with the reference package, made once."""
    exe = VENV / "bin" / "python"
    if subprocess.run([exe, "-c", "import mosaic_multigrid"], capture_output=True).returncode if exe.exists() else True:
        venv.create(VENV, with_pip=True)
        subprocess.run([exe, "-m", "pip", "install", "-q", "mosaic-multigrid==7.0.0"], check=True)
    return str(exe)


def test_recorded_episodes_are_reproduced() -> None:
    seen: Counter[str] = Counter()
    for job, theirs in load(RECORDED):
        seen += compare(job, theirs)
    assert seen["episodes"] == len(jobs(small=True)) == 8
    assert seen["goals"] > 2 and seen["collected"] > 2 and seen["terminal"] > 1 and seen["horizon"] > 1, seen


@pytest.mark.full
def test_whole_episodes_equal_the_reference(python: str, tmp_path: Path) -> None:
    what = jobs()
    record(python, what, tmp_path / "played.npz")
    seen: Counter[str] = Counter()
    per_sport: Counter[str] = Counter()
    for job, theirs in load(tmp_path / "played.npz"):
        one = compare(job, theirs)
        seen += one
        per_sport[job["game"].split("-")[0]] += one["goals"] + one["collected"]
    print("\n" + ", ".join(f"{v} {k}" for k, v in seen.items()), dict(per_sport))
    assert seen["episodes"] == len(what) >= 100
    assert min(seen[k] for k in ("goals", "passes", "steals", "shared cells", "terminal", "horizon", "collected")) > 20
    assert min(per_sport[k] for k in ("soccer", "basketball", "football", "collect")) > 10
