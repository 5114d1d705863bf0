"""`pip install --no-deps crossplay` in an interpreter that has numpy and msgspec alone: kernel and envs work there.

The package is built as a wheel from a copy, so that what is missing from the wheel is missed here.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

ALONE = """
import importlib.util
for name in ("scipy", "polars", "aiohttp", "rich", "numba", "torch", "gymnasium", "PIL", "cyclopts"):
    assert importlib.util.find_spec(name) is None, name
"""

PLAY = """
import numpy as np
import crossplay.kernel
from crossplay.kernel import Agent, Block, entries, loop, make_batch, make_env, play
import crossplay.envs.kitchen, crossplay.envs.pitch, crossplay.envs.spread, crossplay.envs.matrix, crossplay.envs.check
import crossplay.envs.adapters.gym, crossplay.envs.adapters.pettingzoo, crossplay.envs.adapters.export
import crossplay.envs.adapters.minigrid, crossplay.envs.adapters.openspiel

assert {"kitchen", "pitch", "spread", "matrix"} <= set(entries("envs"))

class Drawn(Agent):
    def act(self, obs):
        obs.view("data"), obs.view("text"), obs.view("array")
        return obs.spec.draw(obs.key(), obs.tick, obs.legal)

for name, options in (
    ("kitchen/cramped_room", {"horizon": 12}),
    ("pitch/soccer-2v2", {"horizon": 12}),
    ("spread", {}),
    ("matrix/prisoners_dilemma", {}),
):
    env = make_env(name, options)
    rows = make_batch(name, 3, options)
    rows.reset(range(3), [bytes([i]) * 16 for i in range(3)])
    rows.step(np.zeros((3, len(rows.seats)), np.int64))
    outcome = loop(play(env, dict.fromkeys(env.seats, Drawn()), Block(root=7)))
    print(env.id, outcome.status, outcome.ticks, outcome.world.hex())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as a wheel, built with the setuptools that is here."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, copy]
    subprocess.run(build, check=True)
    return next(out.glob("crossplay-*.whl"))


def test_the_wheel_holds_what_the_source_holds(wheel):
    """Every file of the package but caches is in the wheel: a missing pattern in package-data is found here."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: what belongs to the source cannot be told")
    tracked = subprocess.run(
        ["git", "ls-files", "src/crossplay"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    expected = {name.removeprefix("src/") for name in tracked if (ROOT / name).exists()}
    with zipfile.ZipFile(wheel) as packed:
        inside = set(packed.namelist())
    assert not expected - inside


def _from_lock(site, python):
    """As a user would: pip, the versions of the lock."""
    lock = (ROOT / "locks" / "demo.txt").read_text()
    wanted = [re.search(rf"^{name}==.*$", lock, re.M).group() for name in ("numpy", "msgspec")]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *wanted], check=True)


def _from_here(site, python):
    """The same two packages as they are installed here: nothing is fetched."""
    for name in ("numpy", "msgspec"):
        files = importlib.metadata.distribution(name).files
        for top in {f.parts[0] for f in files if ".." not in f.parts}:
            (site / top).symlink_to(Path(files[0].locate()).parents[len(files[0].parts) - 1] / top)


@pytest.mark.parametrize("supply", [_from_here, pytest.param(_from_lock, marks=pytest.mark.full)])
def test_kernel_and_envs_with_numpy_and_msgspec_alone(wheel, tmp_path, supply):
    """Another interpreter, without our other dependencies, plays an episode of each family."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = next(p for p in (tmp_path / "venv").glob("*/python*") if p.stem == "python")
    site = next((tmp_path / "venv").glob("[Ll]ib/**/site-packages"))
    supply(site, python)
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True)
    there = _play([python, "-I", "-c", ALONE + PLAY], tmp_path)
    assert [line.split("@")[0] for line in there] == [
        "kitchen/cramped_room",
        "pitch/soccer-2v2",
        "spread",
        "matrix/prisoners_dilemma",
    ]
    assert there == _play([sys.executable, "-c", PLAY], tmp_path), "compiled or not, the same episodes"


def _play(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
