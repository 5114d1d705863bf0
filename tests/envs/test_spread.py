"""spread: equal to mpe2's simple_spread; rows do not depend on the batch; faces and views agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.envs.spread import ACTIONS, COVER, SpreadBatch, family
from crossplay.kernel.seeds import key
from crossplay.kernel.types import CrossplayError


def started(width: int, seed: int = 0, **options: object) -> SpreadBatch:
    env = SpreadBatch(width, **options)
    env.reset(range(width), [key("spread", seed, i) for i in range(width)])
    return env


def mpe_twin(env: SpreadBatch, **options: object):
    """mpe2's environment, its world set to the start positions of row 0."""
    simple_spread = pytest.importorskip("mpe2.simple_spread_v3")
    twin = simple_spread.parallel_env(N=env.n, max_cycles=env.horizon, **options)
    twin.reset(seed=0)
    world = twin.unwrapped.world
    for i, agent in enumerate(world.agents):
        agent.state.p_pos = env.f.pos[0, i].copy()
        agent.state.p_vel = np.zeros(2)
    for i, landmark in enumerate(world.landmarks):
        landmark.state.p_pos = env.f.land[0, i].copy()
    return twin, world


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_equals_mpe2(n: int, seed: int) -> None:
    env = started(1, seed, n=n)
    if seed == 1 and n > 1:  # start in contact, so that the contact forces are exercised
        env.f.pos[0] *= 0.2
    twin, world = mpe_twin(env)
    contacts = 0
    for tick in range(env.horizon):
        actions = np.random.default_rng([seed, n, tick]).integers(0, 5, (1, n))
        rewards, ended = env.step(actions)
        obs, theirs, _, truncated, _ = twin.step({f"agent_{i}": int(a) for i, a in enumerate(actions[0])})
        for i, agent in enumerate(world.agents):
            np.testing.assert_allclose(env.f.pos[0, i], agent.state.p_pos, rtol=0, atol=1e-12)
            np.testing.assert_allclose(env.f.vel[0, i], agent.state.p_vel, rtol=0, atol=1e-12)
            assert rewards[0, i] == pytest.approx(theirs[f"agent_{i}"], abs=1e-12)
            mine = env.obs_array(i)[0]
            np.testing.assert_array_equal(mine, obs[f"agent_{i}"])
        contacts += int(env.f.hits[0])
        assert (ended[0] == 2) == all(truncated.values()) == (tick == 24)
    assert seed != 1 or n == 1 or contacts > 0


@pytest.mark.parametrize("ratio", [0.0, 1.0, 0.3])
def test_options_of_mpe2(ratio: float) -> None:
    env = started(1, 5, n=2, local_ratio=ratio, stop_when_covered=True, horizon=40)
    twin, _ = mpe_twin(env, local_ratio=ratio, terminate_on_success=True)
    env.f.pos[0] = env.f.land[0] + 0.12
    twin.unwrapped.world.agents[0].state.p_pos = env.f.pos[0, 0].copy()
    twin.unwrapped.world.agents[1].state.p_pos = env.f.pos[0, 1].copy()
    for action in ([1, 1], [3, 3], [0, 0], [0, 0]):
        rewards, ended = env.step(np.array([action]))
        _, theirs, terminated, _, _ = twin.step({"agent_0": action[0], "agent_1": action[1]})
        assert rewards[0].tolist() == pytest.approx(list(theirs.values()), abs=1e-12)
        assert (ended[0] == 1) == all(terminated.values())
        if ended[0]:
            break
    assert ended[0] == 1 and env.score(0)["covered"] == 1.0


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 6), seed=st.integers(0, 1000), crowd=st.booleans())
def test_bits_do_not_depend_on_the_batch(n: int, seed: int, crowd: bool) -> None:
    wide = started(37, seed, n=n)
    if crowd:
        wide.f.pos[:] *= 0.1
    rows = [0, 17, 36]
    alone = [SpreadBatch(1, n=n) for _ in rows]
    for env, row in zip(alone, rows, strict=True):
        env.restore(0, wide.snapshot(row))
    for tick in range(5):
        actions = np.random.default_rng([seed, tick]).integers(0, 5, (37, n))
        rewards, _ = wide.step(actions)
        for env, row in zip(alone, rows, strict=True):
            mine, _ = env.step(actions[row : row + 1])
            assert mine.tobytes() == rewards[row].tobytes()
            assert env.S.tobytes() == wide.S[row].tobytes()
            assert env.obs_all().tobytes() == wide.obs_all()[row].tobytes()


def test_array_view_is_a_function_of_data() -> None:
    for n in (1, 2, 3, 5):
        env = started(4, n=n)
        env.step(np.full((4, n), 2))
        for seat in range(n):
            line = env.obs_array(seat, np.array([2]))[0]
            assert line.tobytes() == env.view_array(env.data(2, seat)).tobytes() == env.obs_all()[2, seat].tobytes()
            assert line.shape == env.array_shape(f"agent_{seat}")


def test_views_and_score() -> None:
    env = family.make("", {"n": 2})
    env.reset(key("v"))
    assert env.id == "spread@1?n=2" and env.spec("agent_0").names == ACTIONS
    for _ in range(25):
        assert env.ended() is None
        env.step({"agent_0": 2, "agent_1": 4}, ())
    assert env.ended() == "horizon"
    text = env.view("agent_0", "text")
    assert "Landmark 1" in text and "Tick 25 of 25" in text
    image = env.view("agent_1", "image")
    assert image.shape == (120, 120, 3) and image.dtype == np.uint8 and image.std() > 0
    assert set(env.score()) == set(env.metrics)
    assert "two" not in env.rules and "2 agents" in env.rules


def test_return_is_the_mean_of_summed_rewards_and_covered_is_counted() -> None:
    env = started(3, 9)
    total = np.zeros((3, 3))
    for tick in range(25):
        rewards, _ = env.step(np.random.default_rng(tick).integers(0, 5, (3, 3)))
        total += rewards
    for row in range(3):
        gaps = np.linalg.norm(env.f.pos[row][:, None] - env.f.land[row][None], axis=2).min(axis=0)
        assert env.score(row)["return"] == pytest.approx(total[row].mean(), abs=1e-12)
        assert env.score(row)["covered"] == pytest.approx((gaps < COVER).mean())


def test_agents_at_one_point_stay_finite() -> None:
    env = started(1)
    env.f.pos[0] = 0.25
    rewards, _ = env.step(np.zeros((1, 3), int))
    assert np.isfinite(rewards).all() and np.isfinite(env.f.pos).all()


def test_starts_are_uniform_in_the_square() -> None:
    env = started(2000)
    points = env.f.points.reshape(-1)
    counts, _ = np.histogram(points, bins=8, range=(-1, 1))
    expected = points.size / 8
    assert ((counts - expected) ** 2 / expected).sum() < 30  # chi-squared, 7 degrees of freedom: p < 1e-4
    again = started(2000)
    assert again.S.tobytes() == env.S.tobytes()


def test_bad_options_name_the_key() -> None:
    with pytest.raises(CrossplayError, match="local_ratio = 2"):
        family.make("", {"local_ratio": 2.0})
    with pytest.raises(CrossplayError, match=r'"horizn".*Did you mean "horizon"'):
        family.make("", {"horizn": 3})
    with pytest.raises(CrossplayError, match="option n = 0"):
        family.make("", {"n": 0})
    with pytest.raises(CrossplayError, match="option n"):
        family.make("ring", {})
