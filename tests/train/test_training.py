"""Training: the same curve again, also when it was killed in between; and it learns."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
# ruff: noqa: E402

from crossplay.agents import make_agent
from crossplay.agents.policy import PolicyAgent, flat
from crossplay.kernel import Agent, CrossplayError
from crossplay.train import PPO, draw_curves, evaluate, read_curve, ship, train, versus, view_digest
from crossplay.train.config import teams_of
from crossplay.train.rows import Rows

SMALL = {"rows": 8, "length": 20, "hidden": (16,), "minibatches": 2, "epochs": 2, "window": 10, "checkpoint_every": 3}
RUNS = {
    "spread": ("spread", {}),
    "spread-memory-apart": ("spread", {"recurrent": True, "sharing": "independent", "options": {"n": 2}}),
    "kitchen": ("kitchen/cramped_room", {"squash": True, "shaping_until": 0.5, "options": {"horizon": 33}}),
    "pitch": (
        "pitch/soccer-1v1",
        {"random_rows": 0.5, "recurrent": True, "options": {"observe": "full", "horizon": 30}},
    ),
}
SAME = ("curve.csv", "config.json", "state.safetensors")


class Killed(Exception):
    pass


def small(run, **changes):
    name, settings = RUNS[run]
    config = PPO(**{**SMALL, **settings, **changes})
    return name, PPO(**{**config.table(), "hidden": config.hidden, "total_steps": 6 * config.rows * config.length})


def contents(folder):
    names = [p.name for p in sorted(folder.iterdir()) if p.name in SAME or p.name.startswith("policy")]
    return {n: (folder / n).read_bytes() for n in names}


@pytest.mark.parametrize("run", RUNS)
def test_resumed_equals_undisturbed(run, tmp_path):
    name, config = small(run)
    train(name, config, tmp_path / "whole")

    def kill(p):
        if p.update == 4:  # one update after the checkpoint: it is computed again
            raise Killed

    with pytest.raises(Killed):
        train(name, config, tmp_path / "cut", progress=kill)
    assert len(read_curve(tmp_path / "cut" / "curve.csv")) == 3
    result = train(name, config, tmp_path / "cut", resume=True)
    assert result.updates == 6
    whole, cut = contents(tmp_path / "whole"), contents(tmp_path / "cut")
    assert len(whole) >= 5
    assert whole == cut
    assert train(name, config, tmp_path / "cut", resume=True).curve == result.curve  # nothing left to do
    assert contents(tmp_path / "cut") == whole


def test_seed_decides(tmp_path):
    name, config = small("spread", checkpoint_every=100)
    a, b = (train(name, config, tmp_path / f) for f in "ab")
    c = train(name, small("spread", seed=2)[1], tmp_path / "c")
    assert a.curve == b.curve and a.digests == b.digests
    assert a.curve != c.curve and a.digests != c.digests


def test_files_say_what_happened(tmp_path):
    name, config = small("kitchen")
    seen = []
    result = train(name, config, tmp_path, progress=seen.append)
    assert [p.update for p in seen] == [1, 2, 3, 4, 5, 6]
    assert [p.done for p in seen] == [False] * 5 + [True]
    assert PPO.of(json.loads((tmp_path / "config.json").read_text())["config"]) == config
    progress = json.loads((tmp_path / "progress.json").read_text())
    assert progress["done"] and progress["env_steps"] == result.env_steps == config.total_steps
    rows = read_curve(tmp_path / "curve.csv")
    assert rows == result.curve and rows[-1]["env_steps"] == config.total_steps
    assert [r["shaping"] for r in rows] == sorted((r["shaping"] for r in rows), reverse=True)
    assert rows[0]["shaping"] == 1.0 and rows[-1]["shaping"] == 0.0
    about = json.loads((tmp_path / "policy.json").read_text())
    assert about["views"] == view_digest(name, config.options) != view_digest(name)
    assert not list(tmp_path.glob("*.part"))
    svg = draw_curves({"1": rows}, tmp_path / "c.svg", title="a < b", marks={"goal": 160}).read_text()
    assert svg.count("<polyline") == 1 and "a &lt; b" in svg
    ship(tmp_path, tmp_path / "shop" / "mine-1", {"return": 1.5})
    assert PolicyAgent(tmp_path / "shop" / "mine-1.safetensors").about["trial"] == {"return": 1.5}


def test_spread_improves(tmp_path):
    result = train("spread", PPO.for_env("spread", total_steps=80_000), tmp_path)
    returns = [r["return"] for r in result.curve if r["return"] is not None]
    assert returns[0] < -23
    assert np.mean(returns[-3:]) > -21
    agent = PolicyAgent(tmp_path / "policy.safetensors")
    played = evaluate("spread", dict.fromkeys(("agent_0", "agent_1", "agent_2"), agent), 100)["return"]
    assert abs(played.mean() - np.mean(returns[-3:])) < 1.0


@pytest.mark.parametrize("run", ["spread", "pitch"])
def test_numpy_plays_as_torch_does(run, tmp_path):
    name, config = small(run)
    train(name, config, tmp_path)
    from crossplay.train.ppo import Trainer

    actor = Trainer(name, config, tmp_path, resume=True).learners[0].net.actor
    agent = PolicyAgent(tmp_path / "policy.safetensors")
    x = np.random.default_rng(0).normal(size=(5, 9, *agent.shape)).astype(np.float32)
    memo = None
    want, _ = actor(torch.from_numpy(x), torch.zeros(9, actor.memory), torch.zeros(5, 9, dtype=torch.bool))
    for t in range(5):
        got, memo = agent.logits(flat(x[t], False), memo)
        np.testing.assert_allclose(got, want[t].detach().numpy(), rtol=1e-4, atol=1e-6)


def test_errors_name_what_is_wrong(tmp_path):
    for bad, said in (
        ({"sedd": 1}, 'unknown setting "sedd". Did you mean "seed"'),
        ({"gamma": 2}, "gamma = 2 must lie in 0..1"),
        ({"hidden": []}, "hidden"),
        ({"activation": "tan"}, 'Did you mean "tanh"'),
    ):
        with pytest.raises(CrossplayError, match=None) as error:
            PPO.of(bad)
        assert said in str(error.value)
    name, config = small("spread")
    with pytest.raises(CrossplayError, match="no run to resume"):
        train(name, config, tmp_path, resume=True)
    train(name, config, tmp_path)
    with pytest.raises(CrossplayError, match="holds a run already"):
        train(name, config, tmp_path)
    with pytest.raises(CrossplayError, match="was run with seed = 1, not 2"):
        train(name, small("spread", seed=2)[1], tmp_path, resume=True)
    with pytest.raises(CrossplayError, match="one team only"):
        train("spread", small("spread", random_rows=0.5)[1], tmp_path / "r")


def test_games_against_another_swap_sides():
    class Only(Agent):
        name = "only"

        def act(self, obs):
            return 0

    told = versus("pitch/soccer-1v1", make_agent("striker"), Only(), 7, options={"observe": "full"})
    assert told == {"wins": 7, "draws": 0, "losses": 0}
    assert versus("pitch/soccer-1v1", Only(), Only(), 5, options={"horizon": 9})["draws"] == 5
    with pytest.raises(CrossplayError, match="not a game of two teams"):
        versus("spread", Only(), Only(), 2)


def test_teams():
    assert teams_of(("left0", "left1", "right0")) == ["left", "left", "right"]
    assert teams_of(("agent_0", "agent_1")) == ["agent", "agent"]


def test_random_rows_alternate_and_do_not_learn():
    name, config = small("pitch")
    rows = Rows(name, config)
    assert rows.against.tolist() == [0, 1, 0, 1, -1, -1, -1, -1]
    assert rows.learns.tolist() == [[False, True], [True, False]] * 2 + [[True, True]] * 4
    assert rows.K == 12
    views, _ = rows.observe()
    assert views.shape == (12, 53) and views.dtype == np.float32
    np.testing.assert_array_equal(views[0], rows.env.obs_array(1)[0])
    np.testing.assert_array_equal(views[5], rows.env.obs_array(1)[4])
    paid, over = rows.step(np.zeros(12, np.int64), 1.0)
    assert paid.shape == over.shape == (12,)


def test_team_reward_mixes_within_the_team():
    rows = Rows("spread", PPO(rows=2, team_reward=0.5))
    np.testing.assert_allclose(rows._shared(np.array([[3.0, 0, 0], [1, 1, 1]])), [[2, 0.5, 0.5], [1, 1, 1]])


def test_horizon_and_ends_start_afresh():
    rows = Rows("spread", PPO(rows=3, length=5, options={"horizon": 4}))
    starts = []
    for t in range(9):
        if t % 4 == 0:
            assert rows.fresh.all()
            starts.append(rows.env.S.copy())
        _, over = rows.step(np.zeros(9, np.int64), 0.0)
        assert over.all() == over.any() == (t % 4 == 3)
    assert len({s.tobytes() for s in starts}) == 3
    assert rows.episodes == 9 and len(rows.recent) == 6
