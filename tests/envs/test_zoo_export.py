"""The way back: PettingZoo's own conformance tests on exported environments."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from crossplay.envs.adapters.export import to_aec, to_parallel
from crossplay.kernel import Block, CrossplayError, Invalid, env_key, make_env

pytest.importorskip("pettingzoo")
from pettingzoo.test import api_test, parallel_api_test, seed_test
from pettingzoo.test.seed_test import parallel_seed_test

SIMULTANEOUS = {
    "spread": {},
    "matrix/chicken": {"continuation": 0.8},
    "kitchen/cramped_room": {"horizon": 40},
    "pitch/soccer-2v2": {},
    "openspiel:goofspiel": {"num_cards": 5},
}
TURNS = {"openspiel:leduc_poker": {}, "openspiel:tic_tac_toe": {}, "pettingzoo:classic/connect_four_v3": {}}


def build(name: str):
    return make_env(name, SIMULTANEOUS.get(name, TURNS.get(name, {})))


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", [*SIMULTANEOUS, *TURNS])
def test_aec_passes_pettingzoos_own_tests(name: str, capsys) -> None:
    api_test(to_aec(build(name)), num_cycles=120)
    assert "Passed API test" in capsys.readouterr().out
    seed_test(lambda: to_aec(build(name)), num_cycles=60)


@pytest.mark.parametrize("name", SIMULTANEOUS)
def test_parallel_passes_pettingzoos_own_tests(name: str, capsys) -> None:
    parallel_api_test(to_parallel(build(name)), num_cycles=450)
    assert "Passed Parallel API test" in capsys.readouterr().out
    if not name.startswith("openspiel"):  # that test samples without masks
        parallel_seed_test(lambda: to_parallel(build(name)), num_cycles=60)


def test_episodes_are_blocks_of_the_root() -> None:
    exported, env = to_parallel(make_env("spread")), make_env("spread")
    exported.reset(seed=5)
    observations, _ = exported.reset()  # the second episode under seed 5
    env.reset(env_key(Block(5, 1), env.id))
    total = dict.fromkeys(env.seats, 0.0)
    while exported.agents:
        actions = {a: (i + 1) % 5 for i, a in enumerate(exported.agents)}
        for a in env.seats:
            np.testing.assert_array_equal(observations[a], env.view(a, "array"))
        rewards = env.step(actions, ())
        observations, paid, _, truncated, _ = exported.step(actions)
        assert list(paid.values()) == list(rewards)
        total = {a: total[a] + paid[a] for a in total}
    assert all(truncated.values()) and np.mean(list(total.values())) == pytest.approx(env.score()["return"])


def test_aec_and_parallel_pay_the_same() -> None:
    together, turns = to_parallel(make_env("spread")), to_aec(make_env("spread"))
    together.reset(seed=2)
    turns.reset(seed=2)
    paid, summed = np.zeros(3), np.zeros(3)
    while together.agents:
        _, rewards, *_ = together.step(dict.fromkeys(together.agents, 3))
        paid += list(rewards.values())
    for agent in turns.agent_iter():
        _, reward, terminated, truncated, _ = turns.last()
        summed[turns.possible_agents.index(agent)] += reward
        turns.step(None if terminated or truncated else 3)
    np.testing.assert_allclose(paid, summed)


def test_illegal_moves_and_unfit_environments_are_refused() -> None:
    game = to_aec(make_env("openspiel:tic_tac_toe"))
    game.reset(seed=0)
    game.step(4)
    with pytest.raises(Invalid):
        game.step(4)
    with pytest.raises(CrossplayError, match="use to_aec"):
        to_parallel(make_env("openspiel:tic_tac_toe"))
    with pytest.raises(CrossplayError, match="no array view"):
        env = make_env("spread")
        env.views = ("data",)
        to_aec(env)
