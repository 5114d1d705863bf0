"""The kitchen against overcooked-ai 1.1.0 in an interpreter of its own, and against recorded people.

The package and its data are installed by the test into `.venvs/overcooked` and never redistributed.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from kitchen_moves import episodes
from kitchen_rows import load_state, numbers, replay

from crossplay.envs.kitchen import LAYOUTS, KitchenBatch

pytestmark = pytest.mark.full

HERE = Path(__file__).parent
DRIVER = HERE / "kitchen_reference_driver.py"
VENV = HERE.parents[1] / ".venvs" / "overcooked"
PINS = (
    "overcooked-ai==1.1.0", "numpy==1.26.4", "scipy==1.17.1", "gym==0.26.2", "tqdm==4.70.1", "pygame==2.6.1",
    "ipython==9.18.1", "ipywidgets==8.1.9", "pandas==1.5.3", "pyarrow==14.0.2",
)  # fmt: skip
HUMAN_LAYOUTS = {"random0": "forced_coordination", "random3": "counter_circuit_o_1order"}
HUMAN_GAMES = {"train": (46_729, 39), "test": (44_373, 37)}


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter with the reference package, made once."""
    exe = VENV / "bin" / "python"
    ready = (
        exe.exists()
        and not subprocess.run([exe, "-c", "import overcooked_ai_py, pandas"], capture_output=True).returncode
    )
    if not ready:
        base = shutil.which("python3.11")
        if base is None:
            pytest.skip("the reference package's pinned dependencies need python3.11")
        subprocess.run([base, "-m", "venv", VENV], check=True)
        subprocess.run([exe, "-m", "pip", "install", "-q", *PINS], check=True)
    return str(exe)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_transition_equals_the_reference(python: str, layout: str) -> None:
    played = episodes(layout, count=11, length=400)
    job = {"layout": layout, "episodes": played, "every": 7}
    done = subprocess.run([python, DRIVER, "step"], input=json.dumps(job), capture_output=True, text=True, check=True)
    theirs = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    env = KitchenBatch(1, layout, cooking="interact", start="standard")
    at = paid = shaped = images = 0
    for episode in played:
        for ours in replay(layout, "interact", episode):
            assert ours == theirs[at][:6], f"{layout}: line {at}"
            paid += sum(ours[4] or ())
            shaped += sum(ours[5] or ())
            if theirs[at][6] is not None:
                images += 1
                load_state(env, 0, ours[:3])
                env.f.clock[0, 0] = ours[3]
                for seat in (0, 1):
                    want = np.frombuffer(base64.b64decode(theirs[at][6][seat]), np.int8)
                    assert (env.obs_array(seat).ravel() == want).all(), f"{layout}: features at line {at}"
            at += 1
    assert at == len(theirs) == 11 * 401
    print(f"\n{layout}: {at - 11} transitions, return {paid:g}, shaped {shaped:g}, {images} feature pairs")
    assert paid > 0 and shaped > 0 and images > 600


@pytest.mark.parametrize("part", HUMAN_GAMES)
def test_recorded_people_are_reproduced(python: str, part: str) -> None:
    where = subprocess.run(
        [python, "-c", "import importlib.util as u; print(u.find_spec('overcooked_ai_py').submodule_search_locations[0])"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    file = Path(where) / "data" / "human_data" / f"clean_{part}_trials.pickle"
    done = subprocess.run([python, DRIVER, "humans", file], capture_output=True, text=True, check=True)
    steps = games = soups = 0
    for line in done.stdout.splitlines():
        name, grid, rows = json.loads(line)
        n = len(rows)
        env = KitchenBatch(n, HUMAN_LAYOUTS.get(name, name), start="standard", horizon=30_000)
        assert [r.replace(" ", ".").replace("1", ".").replace("2", ".") for r in grid] == list(env.kitchen.rows)
        env.reset(np.arange(n), [b"\0" * 16] * n)
        for i, (state, _, _, _) in enumerate(rows):
            load_state(env, i, state)
        rewards, _ = env.step(np.array([pair for _, pair, _, _ in rows]))
        for i, (_, _, reward, after) in enumerate(rows):
            assert numbers(env, i) == after, f"{part} {name}: step {i}"
            assert rewards[i, 0] == 4 * reward, f"{part} {name}: reward {i}"
        steps, games, soups = steps + n, games + 1, soups + int((rewards[:, 0] > 0).sum())
    print(f"\n{part}: {steps} transitions of {games} games, {soups} soups")
    assert (steps, games) == HUMAN_GAMES[part]
