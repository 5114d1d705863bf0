"""Five kinds of decision-makers in one study (examples/five-kinds.toml): the same blocks, one table, equal digests."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crossplay

EXAMPLES = Path(__file__).parents[2] / "examples"
SURE = ("policy", "sb3", "node", "client", "random+random", "chef+chef")  # the model's answers come from its cassette


@pytest.mark.full
def test_five_kinds_meet_the_same_blocks_and_replay(tmp_path):
    pytest.importorskip("stable_baselines3", reason="the policy of another framework needs Stable-Baselines3")
    if shutil.which("node") is None:
        pytest.fail("the second ring needs Node (packages.txt)")
    cli = [sys.executable, "-m", "crossplay"]
    train = ["train", "kitchen/cramped_room", "--worker", "sb3", "--steps", "4096", "--seat", "p0", "--fill", "chef"]
    more = ["--option", "horizon=100", "--out", str(tmp_path / "jobs"), "--python", sys.executable]
    subprocess.run([*cli, *train, *more], check=True, timeout=300)
    [policy] = (tmp_path / "jobs").glob("*/policy.safetensors")
    for file in (policy, policy.with_suffix(".json"), EXAMPLES / "mcp_player.py"):
        shutil.copy(file, tmp_path)
    text = (EXAMPLES / "five-kinds.toml").read_text()
    text = text.replace("../.venvs/sb3/bin/python", sys.executable).replace(
        "../worker", str(EXAMPLES.parent / "worker")
    )
    study = tmp_path / "five-kinds.toml"
    study.write_text(text)
    worlds = []
    for name in ("one", "two"):
        result = crossplay.run(study, tmp_path / name, trust=True)
        assert result.to_dict()["episodes"] == result.to_dict()["planned"] == 42
        with crossplay.open_run(tmp_path / name) as run:
            worlds.append({(r.lineup, r.block): r.world for r in run.records()})
    found = [{k: w for k, w in one.items() if any(k[0].startswith(s) for s in SURE)} for one in worlds]
    assert found[0] == found[1] and len({k[0] for k in found[0]}) == 6
    assert {block for _, block in worlds[0]} == set(range(6))
    verify = subprocess.run(
        [*cli, "verify", "one", "--trust", "--level", "agents"], cwd=tmp_path, capture_output=True, text=True
    )
    assert verify.returncode == 0, verify.stdout + verify.stderr
