"""Environments of the user's own, by module; metrics of seats that earn apart; what several environments share."""

import subprocess
import sys

import pytest
from study_files import study

from crossplay.kernel import CrossplayError
from crossplay.records import RunFolder
from crossplay.study.runner import run_study
from crossplay.study.stage import Stage
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run

GYM = """
import gymnasium

class Coin(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(2)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.side, self.t = int(self.np_random.integers(2)), 0
        return self.side, {}

    def step(self, action):
        self.t += 1
        reward = float(action == self.side)
        self.side = int(self.np_random.integers(2))
        return self.side, reward, self.t >= 5, False, {}

gymnasium.register("Coin-v0", entry_point=Coin)
"""
ZOO = "from pettingzoo.classic.tictactoe_v3 import env, raw_env\n"
STUDY = """
environments = ["{name}"]
[study]
name = "own"
blocks = 4
margin = 0.5
[agents]
random = "random"
first = "first-legal"
[lineups]
{lineups}
"""


def crossplay(*words, cwd):
    code = "from crossplay.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("name", "lineups"),
    [
        ("gym:my_coin:Coin-v0", 'a = ["first"]\nb = ["random"]'),
        ("pettingzoo:my_zoo", 'a = ["first", "random"]\nb = ["random", "random"]'),
    ],
)
def test_a_world_of_ones_own_needs_trust_and_plays(tmp_path, name, lineups):
    (tmp_path / "my_coin.py").write_text(GYM)
    (tmp_path / "my_zoo.py").write_text(ZOO)
    (tmp_path / "study.toml").write_text(STUDY.format(name=name, lineups=lineups))
    refused = crossplay("run", "study.toml", "--out", "run", cwd=tmp_path)
    assert refused.returncode == 2 and "--trust" in refused.stderr and "Traceback" not in refused.stderr
    for how in ([], ["--jobs", "2"]):
        done = crossplay("run", "study.toml", "--out", f"run{len(how)}", "--trust", *how, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    shown = crossplay("verify", "run0", "--level", "agents", "--trust", cwd=tmp_path)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    with RunFolder.open(tmp_path / "run0") as one, RunFolder.open(tmp_path / "run2") as two:
        assert {(r.cell, r.block): r.world for r in one.records()} == {
            (r.cell, r.block): r.world for r in two.records()
        }


def test_a_wrong_name_still_gets_the_nearest_one(tmp_path):
    (tmp_path / "study.toml").write_text(
        STUDY.format(name="pettingzoo:classic/chss_v6", lineups='a = ["random", "random"]')
    )
    done = crossplay("run", "study.toml", cwd=tmp_path)
    assert done.returncode == 2 and "chess_v6" in done.stderr


def test_the_value_is_that_of_the_agent_named_first_in_whichever_seat(tmp_path):
    text = """
environments = ["pitch/soccer-1v1"]
[study]
name = "sides"
blocks = 3
margin = 0.1
[agents]
good = "striker"
random = "random"
[lineups]
"good+random" = { seats = ["good", "random"], orders = "both" }
"random+good" = { seats = ["random", "good"], orders = "given", shared_memory = true }
"""
    run_study(Stage(study(text)), tmp_path / "run")
    run, spec = load_run(tmp_path / "run")
    with run:
        result = result_of(run, spec)
    assert result.metric == "win"
    value = {r.lineup: r.summary.mean.value for r in result.rows}
    assert value["good+random"] > 0.8 and value["random+good"] < 0.2
    (payoff,) = result.payoffs
    cells = {
        (a, b): c
        for a, row in zip(payoff.agents, payoff.cells, strict=True)
        for b, c in zip(payoff.agents, row, strict=True)
    }
    assert cells["good", "random"].mean.value > 0.8 and cells["random", "good"].mean.value < 0.2


def test_reward_is_a_metric_everywhere(tmp_path):
    text = """
environments = ["matrix/prisoners_dilemma"]
[study]
name = "reward"
blocks = 2
margin = 1
metric = "reward"
[agents]
nice = "strategy:always_cooperate"
bad = "strategy:always_defect"
[lineups]
"nice+bad" = { seats = ["nice", "bad"], orders = "both" }
[controls]
floor = false
"""
    run_study(Stage(study(text)), tmp_path / "run")
    run, spec = load_run(tmp_path / "run")
    with run:
        (row,) = result_of(run, spec).rows
    assert row.summary.mean.value == 0.0  # the one who cooperates gets nothing, in both seats


def test_environments_without_a_common_metric_are_refused_before_anything_is_played():
    text = """
environments = ["matrix/chicken", "kitchen/cramped_room"]
[study]
name = "two"
margin = 1
[agents]
random = "random"
[lineups]
"random+random" = ["random", "random"]
"""
    with pytest.raises(CrossplayError, match="study.metric: name one that all environments have"):
        Stage(study(text))
    assert Stage(study(text, metric="reward")).metric == "reward"
