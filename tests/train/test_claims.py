"""What the settings are claimed to reach, trained from nothing (minutes)."""

import pytest

pytest.importorskip("torch")

from crossplay.agents import make_agent
from crossplay.agents.policy import PolicyAgent
from crossplay.measure.stats import wilson
from crossplay.train import PPO, evaluate, train, versus


@pytest.mark.full
def test_kitchen_reaches_160(tmp_path):
    train("kitchen/cramped_room", PPO.for_env("kitchen/cramped_room", seed=1), tmp_path)
    agent = PolicyAgent(tmp_path / "policy.safetensors")
    assert evaluate("kitchen/cramped_room", {"p0": agent, "p1": agent}, 100)["return"].mean() >= 160


@pytest.mark.full
def test_soccer_beats_random(tmp_path):
    config = PPO.for_env("pitch/soccer-1v1", seed=1)
    train("pitch/soccer-1v1", config, tmp_path)
    agent = PolicyAgent(tmp_path / "policy.safetensors")
    told = versus("pitch/soccer-1v1", agent, make_agent("random"), 500, options=config.options)
    assert told["wins"] >= 450 and wilson(told["wins"], 500).interval.low >= 0.87


@pytest.mark.full
def test_spread_reaches_minus_20(tmp_path):
    result = train("spread", PPO.for_env("spread", stop_at=-20.0), tmp_path)
    assert result.value >= -20.0
