"""Frameworks in interpreters of their own: they train on our environments, and play what they trained as workers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from crossplay_worker.weights import load, prune, save
from crossplay_worker.worker import Refused

import crossplay
from crossplay.agents import Context, make_agent
from crossplay.jobs.frameworks import kit
from crossplay.jobs.registry import Spec, create
from crossplay.jobs.running import Runner, launch
from crossplay.kernel import Block, CrossplayError, columns, loop, make_batch, make_env, play

ROOT = Path(__file__).parents[2]
STAG = {"rows": 16, "hidden": [16], "learning_rate": 0.01, "n_steps": 20, "batch_size": 640, "gamma": 0.5, "checkpoint_every": 5000}  # fmt: skip
ALONE = kit() | {"OMP_NUM_THREADS": "1"}


def interpreter(name):
    """The interpreter of a framework, or a skip that says what is missing."""
    found = ROOT / ".venvs" / name / "bin" / "python"
    if not found.exists():
        pytest.skip(f".venvs/{name} is not there; docs/frameworks.md says how to make it")
    return str(found)


def trained(root, name, python=sys.executable, env="matrix/stag_hunt", steps=12_000, config=STAG, **more):
    words = [python, "-m", f"crossplay_worker.frameworks.{name}"]
    spec = Spec(id=name, name=name, command=words, env=env, steps=steps, config=config, variables=ALONE, **more)
    folder = create(root, spec)
    state = Runner(folder).run()
    assert state.state == "done", (state.why, (folder.path / "stderr.log").read_text()[-2000:])
    return folder


@pytest.fixture(scope="module")
def stag(tmp_path_factory):
    """A policy of SB3 for the stag hunt."""
    return trained(tmp_path_factory.mktemp("jobs"), "sb3")


@pytest.fixture(scope="module")
def seated():
    """Makes worker agents out of jobs, one of each; ends their processes."""
    context, known = Context(trust=True, closing=[]), {}

    def make(folder, checkpoint=None):
        path = str(checkpoint or folder.path / "policy")
        if path not in known:
            worker = {"type": "worker", "command": folder.spec().command, "env": ALONE, "config": {"checkpoint": path}}
            known[path] = make_agent(worker, context)
        return known[path]

    yield make
    for close in context.closing:
        close()


def compared(agent, env, blocks, mine=None, other="random"):
    """(low end of the trained agent's 95 % interval, high end of random's), of the primary metric."""
    from scipy import stats

    seats = make_env(env).seats
    mine = mine or seats
    ends = []
    for who, sign in ((agent, -1), (make_agent("random"), 1)):
        lineup = {s: who if s in mine else make_agent(other) for s in seats}
        found = [next(iter(loop(play(make_env(env), lineup, Block(0, b))).score.values())) for b in range(blocks)]
        ends.append(np.mean(found) + sign * stats.sem(found) * stats.t.ppf(0.975, blocks - 1))
    return ends


def test_sb3_learns_through_the_wire_and_plays_in_a_study(stag, seated, tmp_path):
    kept = {p.suffix for p in stag.path.rglob("*") if p.is_file()} - {".log", ".jsonl", ".vm", ""}
    assert {".safetensors", ".json"} <= kept and not kept & {".zip", ".pkl", ".pt", ".pth"}
    about = json.loads((stag.path / "policy.json").read_text())
    assert about["framework"] == "sb3" and about["algorithm"] == "PPO" and about["env"] == "matrix/stag_hunt@1"
    worker = {"type": "worker", "command": stag.spec().command, "env": ALONE, "config": {"checkpoint": str(stag.path / "policy")}}  # fmt: skip
    study = {
        "study": {"name": "elsewhere", "blocks": 25, "margin": 0.1, "baseline": "random"},
        "environments": {"game": {"name": "matrix/stag_hunt"}},
        "agents": {"sb3": worker, "random": "random"},
        "lineups": {"sb3": ["sb3", "sb3"], "random": ["random", "random"]},
    }
    result = crossplay.run(study, tmp_path / "run", trust=True)
    rows = {r.lineup: r for r in result.rows}
    assert rows["sb3"].comparison.verdict == "better"
    assert rows["sb3"].summary.mean.value > rows["random"].summary.mean.interval.high


def test_what_a_policy_was_not_trained_on_is_refused_before_it_plays(stag, seated, tmp_path):
    agent = seated(stag)
    with pytest.raises(CrossplayError, match="BAD_SPACE.*was trained on matrix/stag_hunt"):
        env = make_env("matrix/rock_paper_scissors")
        agent.check(env, "row")
    bomb = tmp_path / "policy.zip"
    with zipfile.ZipFile(bomb, "w") as file:
        file.writestr("policy.pth", b"cos\nsystem\n(S'touch " + str(tmp_path / "boom").encode() + b"'\ntR.")
    for path, said in ((bomb, "can run code"), (tmp_path / "nothing", "cannot read")):
        with pytest.raises(CrossplayError, match=said):
            seated(stag, path).check(make_env("matrix/stag_hunt"), "row")
    assert not (tmp_path / "boom").exists()


def test_checkpoints_are_what_they_say(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "n": np.array(3)}
    save(tmp_path / "one", arrays, {"framework": "sb3", "step": 7})
    back, about = load(tmp_path / "one.safetensors", "sb3")
    assert about["step"] == 7 and all(np.array_equal(back[k], v) for k, v in arrays.items())
    with pytest.raises(Refused, match="is of sb3, not of skrl"):
        load(tmp_path / "one", "skrl")
    save(tmp_path / "two", {"a": np.zeros(3)}, {"framework": "sb3"})
    shutil.copy(tmp_path / "two.safetensors", tmp_path / "one.safetensors")
    with pytest.raises(Refused, match=r"is not the file that one.json describes"):
        load(tmp_path / "one")
    (tmp_path / "two.json").write_text('{"format": 2}')
    with pytest.raises(Refused, match="not of format 1"):
        load(tmp_path / "two")
    (tmp_path / "two.json").write_text("{")
    with pytest.raises(Refused, match="is not JSON"):
        load(tmp_path / "two")
    for suffix in ("zip", "pt", "pth", "pkl", "ckpt", "npz"):
        with pytest.raises(Refused, match="can run code"):
            load(tmp_path / f"policy.{suffix}")
    for step in (10, 20, 100, 200):
        save(tmp_path / str(step), {"a": np.zeros(1)}, {})
    prune(tmp_path, 2)
    assert sorted(p.stem for p in tmp_path.glob("[0-9]*.json")) == ["100", "200"] and (tmp_path / "two.json").exists()


def test_a_trainer_of_ones_own(seated, tmp_path):
    words = [sys.executable, str(ROOT / "worker" / "examples" / "hill_climb.py")]
    spec = Spec(id="mine", name="mine", command=words, env="gym:CartPole-v1", steps=10_000, variables=ALONE)
    folder = create(tmp_path, spec)
    state = Runner(folder).run()
    assert state.state == "done", state.why
    low, high = compared(seated(folder), "gym:CartPole-v1", 4)
    assert low > 2 * high
    with pytest.raises(CrossplayError, match="BAD_SPACE"):
        seated(folder).check(make_env("spread"), "agent_0")


def test_settings_are_checked(tmp_path):
    from crossplay_worker.frameworks._common import choose, settings

    assert settings({"a": 2, "h": [1]}, {"a": 1.0, "h": [64], "z": ""}, "x") == {"a": 2.0, "h": [1], "z": ""}
    with pytest.raises(Refused, match="unknown setting 'b'; known: a"):
        settings({"b": 1}, {"a": 1}, "x")
    with pytest.raises(Refused, match="must be int"):
        settings({"a": "1"}, {"a": 1}, "x")
    scores = np.log(np.array([[0.1, 0.2, 0.7]] * 1000))
    draws = (np.arange(1000) + 0.5) / 1000
    assert np.bincount(choose(scores, None, draws)).tolist() == [100, 200, 700]
    legal = np.array([[True, True, False]] * 1000)
    assert np.bincount(choose(scores, legal, draws), minlength=3)[2] == 0
    assert set(choose(scores, legal, None)) == {1}


# -- the second ring ---------------------------------------------------------------------------------------


@pytest.mark.full
def test_columns_and_single_decisions_are_the_same(stag, seated):
    agent = seated(stag)
    env = make_batch("matrix/stag_hunt", 5)
    ats = [Block(3, b) for b in range(7)]
    found = dict(columns(env, dict.fromkeys(env.seats, agent), ats))
    for at in ats[:3]:
        single = make_env("matrix/stag_hunt")
        assert loop(play(single, dict.fromkeys(single.seats, agent), at)).world == found[at].world


@pytest.mark.full
def test_sb3_is_repeated_by_its_seed_and_goes_on_after_a_kill(stag, tmp_path):
    again = trained(tmp_path, "sb3")
    assert (again.path / "policy.safetensors").read_bytes() == (stag.path / "policy.safetensors").read_bytes()
    other = trained(tmp_path, "sb3", seed=2)
    assert (other.path / "policy.safetensors").read_bytes() != (stag.path / "policy.safetensors").read_bytes()
    spec = Spec(id="killed", name="sb3", command=again.spec().command, env="matrix/stag_hunt", steps=200_000, config=STAG, variables=ALONE)  # fmt: skip
    folder = create(tmp_path, spec)
    launch(folder)
    end = time.monotonic() + 120
    while not (folder.state().checkpoint_step and folder.state().worker.get("pid")):
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(folder.state().worker["pid"], signal.SIGKILL)
    while folder.state().state in ("queued", "running"):
        assert time.monotonic() < end + 200
        time.sleep(0.2)
    state = folder.state()
    assert state.state == "done" and state.attempt == 2 and state.result["step"] >= 200_000 and state.lost_events == 0


@pytest.mark.full
def test_masked_ppo_learns_a_board_game(seated, tmp_path):
    folder = trained(
        tmp_path, "sb3", env="openspiel:tic_tac_toe", steps=30_000, config={"rows": 16, "gamma": 0.99}, fill="random"
    )
    assert json.loads((folder.path / "policy.json").read_text())["algorithm"] == "MaskablePPO"
    low, high = compared(seated(folder), "openspiel:tic_tac_toe", 200, mine=("p0",))
    assert np.isfinite([low, high]).all()
    wins = []
    for who in (seated(folder), make_agent("random")):
        games = (play(make_env("openspiel:tic_tac_toe"), {"p0": who, "p1": make_agent("random")}, Block(0, b)) for b in range(200))  # fmt: skip
        wins.append(np.mean([loop(g).score["return_p0"] for g in games]))
    assert wins[0] > wins[1] + 0.2


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "python", "config"),
    [
        ("cleanrl", "sb3", {"hidden": [16], "learning_rate": 0.01, "length": 20, "gamma": 0.5}),
        ("skrl", "skrl", {"hidden": [16], "learning_rate": 0.01, "rollouts": 20, "discount_factor": 0.5}),
        ("rllib", "rllib", {"hidden": [16], "lr": 0.01, "length": 20, "minibatch_size": 640, "gamma": 0.5}),
        ("sb3", "sb3", STAG),
        ("sb3", "sb3", {**STAG, "algorithm": "A2C"}),
    ],
)
def test_frameworks_in_their_own_interpreters(seated, tmp_path, name, python, config):
    folder = trained(tmp_path, name, interpreter(python), config={"checkpoint_every": 5000, **config})
    low, high = compared(seated(folder), "matrix/stag_hunt", 25)
    assert low > high
    assert folder.state().lost_events == 0
    spec = folder.spec()
    spec.steps += 2000  # and on from its checkpoint
    folder.write(spec)
    state = Runner(folder).run()
    assert state.state == "done" and state.result["step"] >= spec.steps and state.result["episodes"] > 0


@pytest.mark.full
def test_crossplay_inside_the_framework_without_its_dependencies(tmp_path):
    python = interpreter("sb3")
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "src", copy / "src")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    words = [
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(tmp_path / "here"),
        str(copy),
    ]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    script = """
import numpy as np
from crossplay.jobs.envserver import here
from crossplay_worker import gym
from stable_baselines3 import PPO
env = gym.make("matrix/stag_hunt", fill="random", crossplay=here())
model = PPO("MlpPolicy", env, n_steps=200, batch_size=200, learning_rate=0.01, gamma=0.5, seed=1, policy_kwargs={"net_arch": [16]})
model.learn(4000)
means = []
for block in range(20):
    obs, _ = env.reset(options={"block": 100_000 + block})
    total, over = 0.0, False
    while not over:
        obs, reward, ended, cut, _ = env.step(model.predict(obs)[0])
        total, over = total + reward, ended or cut
    means.append(total / 20)
print(np.mean(means))
"""
    path = os.pathsep.join([str(tmp_path / "here"), *kit().values()])
    done = subprocess.run(
        [python, "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 2.8, "random gets 2.5, the hare 3"
