"""gym and minigrid: equal to the library stepped by hand; names, masks, views, replay."""

from __future__ import annotations

import numpy as np
import pytest

from crossplay.envs.adapters import minigrid
from crossplay.envs.adapters._foreign import need, seed31
from crossplay.envs.adapters._spaces import array_of, array_shape, plain, spec_of
from crossplay.kernel import CrossplayError, Invalid, make_env, pack, unpack
from crossplay.kernel.seeds import key

gymnasium = pytest.importorskip("gymnasium")
from gymnasium import spaces  # noqa: E402


@pytest.mark.parametrize("name", ["CartPole-v1", "FrozenLake-v1", "Pendulum-v1", "Blackjack-v1", "Acrobot-v1"])
def test_equals_the_library(name: str) -> None:
    env, theirs = make_env(f"gym:{name}"), gymnasium.make(name)
    k = key("gym", name)
    env.reset(k)
    obs, _ = theirs.reset(seed=seed31(k))
    total = 0.0
    for tick in range(60):
        np.testing.assert_array_equal(np.asarray(env.data("p0")["observation"]), np.asarray(obs))
        value = env.spec("p0").draw(k, tick)
        native = value.astype(np.float32) if isinstance(value, np.ndarray) else value
        (reward,) = env.step({"p0": value}, ())
        obs, expected, terminated, truncated, _ = theirs.step(native)
        assert reward == pytest.approx(float(expected), abs=1e-6)
        total += reward
        assert env.ended() == ("terminal" if terminated else "horizon" if truncated else None)
        if env.ended():
            break
    assert env.score() == {"return": pytest.approx(total), "length": tick + 1.0}
    assert env.view("p0", "array").shape == env.array_shape("p0") if "array" in env.views else True


@pytest.mark.parametrize(
    "name", ["gym:CartPole-v1", "gym:FrozenLake-v1", "minigrid:MiniGrid-DoorKey-5x5-v0", "minigrid:BabyAI-GoToLocal-v0"]
)
def test_snapshot_is_a_replay(name: str) -> None:
    env, other = make_env(name), make_env(name)
    env.reset(key("snap"))
    for tick in range(6):
        env.step({"p0": env.spec("p0").draw(key("a"), tick)}, ())
    other.restore(env.snapshot())
    for tick in range(6, 12):
        assert other.fingerprint() == env.fingerprint()
        assert pack(other.data("p0")) == pack(env.data("p0"))
        action = {"p0": env.spec("p0").draw(key("a"), tick)}
        assert env.step(action, ()) == other.step(action, ())
    assert env.paired == "start"


def test_names_options_and_ids() -> None:
    assert make_env("gym:CartPole-v1").spec("p0").names == ("left", "right")
    lake = make_env("gym:FrozenLake-v1", {"is_slippery": False})
    assert lake.id == "gym:FrozenLake-v1@1?is_slippery=false" and lake.horizon == 100
    assert make_env("gym:FrozenLake-v1", {"is_slippery": True}).id == "gym:FrozenLake-v1@1"
    lake.reset(key(0))
    for action in ("down", "down", "right", "right", "down", "right"):
        lake.step({"p0": lake.spec("p0").check(action)}, ())
    assert lake.ended() == "terminal" and lake.score()["return"] == 1.0
    for name, options, message in (
        ("gym:CartPole-v9", {}, 'Did you mean "CartPole-v1"'),
        ("gym:CartPole-v1", {"size": 3}, 'unknown option "size"'),
        ("minigrid:MiniGrid-DorKey-5x5-v0", {}, 'Did you mean "MiniGrid-DoorKey-5x5-v0"'),
    ):
        with pytest.raises(CrossplayError, match=message):
            make_env(name, options)


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(CrossplayError, match=r"gym: the package no_such_package_here is missing") as caught:
        need("no_such_package_here", "gym")
    assert caught.value.exit_code == 3 and "crossplay[families]" in str(caught.value)


@pytest.mark.parametrize(
    ("space", "kind", "good", "bad"),
    [
        (spaces.Discrete(3, start=5), "names", "6", "9"),
        (spaces.Box(-1, 2, (2,)), "box", [0.5, 2.0], [0.0, 3.0]),
        (spaces.MultiDiscrete([2, 5]), "data", {"d0": 1, "d1": 4}, {"d0": 2, "d1": 0}),
        (spaces.MultiBinary(3), "data", [0, 1, 1], [0, 2, 1]),
        (spaces.Text(5), "text", "hello", "hello!"),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(0, 1, (2,))), "data", {"a": 1, "b": [0, 1]}, {"a": 1}),
        (spaces.Tuple((spaces.Discrete(2), spaces.Text(3))), "data", {"d0": 0, "d1": "ab"}, {"d0": 2, "d1": "ab"}),
    ],
)
def test_action_spaces(space, kind: str, good, bad) -> None:
    spec, native = spec_of(space)
    assert spec.kind == kind
    assert space.contains(native(spec.check(good)))
    with pytest.raises(Invalid):
        spec.check(bad)
    for tick in range(20):
        drawn = spec.draw(key("d"), tick)
        if kind != "text":
            assert space.contains(native(spec.check(drawn)))


def test_observations_survive_packing_and_flatten_as_gymnasium_does() -> None:
    space = spaces.Dict(
        a=spaces.Discrete(4),
        b=spaces.Box(-1, 1, (2, 2)),
        c=spaces.Tuple((spaces.MultiBinary(3), spaces.MultiDiscrete([2, 3]))),
    )
    for seed in range(10):
        space.seed(seed)
        sample = space.sample()
        line = array_of(space, unpack(pack(plain(sample))))
        np.testing.assert_allclose(line, spaces.flatten(space, sample).astype(np.float32))
        assert line.shape == array_shape(space)
    assert array_of(spaces.Dict(m=spaces.Text(9), n=spaces.Discrete(2)), {"m": "x", "n": 1}).tolist() == [0, 1]
    assert array_shape(spaces.Text(9)) is None


# -- MiniGrid --------------------------------------------------------------------------------------
def test_minigrid_constants_are_the_librarys() -> None:
    constants = pytest.importorskip("minigrid.core.constants")
    from minigrid.core.actions import Actions

    assert {n: i for i, n in enumerate(minigrid.OBJECTS)} == constants.OBJECT_TO_IDX
    assert {n: i for i, n in enumerate(minigrid.COLOURS)} == constants.COLOR_TO_IDX
    assert {n: i for i, n in enumerate(minigrid.STATES)} == constants.STATE_TO_IDX
    assert tuple(a.name for a in Actions) == minigrid.ACTIONS


def _view(**things) -> dict:
    """An empty 7 x 7 view with things at (ahead, right)."""
    image = np.zeros((7, 7, 3), np.uint8)
    image[..., 0] = 1
    for (ahead, right), cell in things.get("at", {}).items():
        image[3 + right, 6 - ahead] = cell
    return {"image": image, "direction": 3, "mission": "get it"}


def test_minigrid_speaks_of_places() -> None:
    pytest.importorskip("minigrid")
    env = make_env("minigrid:MiniGrid-Empty-8x8-v0")
    seen = {
        (2, -1): (5, 4, 0),
        (1, 0): (4, 0, 2),
        (0, 0): (6, 2, 0),
        (0, 2): (2, 5, 0),
        (3, 3): (9, 0, 0),
        (4, 0): (8, 1, 0),
    }
    text = env.view_text(_view(at=seen))
    assert "Mission: get it." in text and "You face north." in text
    assert "You carry a blue ball." in text
    assert "You see a yellow key 2 steps ahead and 1 to the left." in text
    assert "You see a locked red door 1 step ahead." in text
    assert "You see lava 3 steps ahead and 3 to the right." in text
    assert "You see the green goal 4 steps ahead." in text
    assert "Ahead: 0 free, then a locked red door. Left: 3 free as far as you see. Right: 1 free, then a wall." in text
    assert "You carry nothing." in env.view_text(_view())


def test_minigrid_text_agrees_with_the_grid() -> None:
    pytest.importorskip("minigrid")
    env = make_env("minigrid:MiniGrid-DoorKey-8x8-v0")
    found = 0
    for block in range(20):
        env.reset(key("grid", block))
        inner = env._env.unwrapped
        ahead, right = inner.dir_vec, inner.right_vec
        for line in env.view("p0", "text").splitlines():
            if line.startswith("You see") and "key" in line:
                steps = {"ahead": 0, "left": 0, "right": 0}
                words = line.rstrip(".").split()
                for i, word in enumerate(words):
                    if word.isdigit():
                        steps["ahead" if "step" in words[i + 1] else words[i + 3]] = int(word)
                place = inner.agent_pos + ahead * steps["ahead"] + right * (steps["right"] - steps["left"])
                assert inner.grid.get(*place).type == "key"
                found += 1
    assert found > 5


def test_minigrid_views_are_functions_of_data() -> None:
    pytest.importorskip("minigrid")
    env = make_env("minigrid:BabyAI-GoToLocal-v0")
    pictures = set()
    for block in range(5):
        env.reset(key("view", block))
        data = unpack(pack(env.data("p0")))
        assert env.view_text(data) == env.view("p0", "text")
        np.testing.assert_array_equal(env.view_image(data), env.view("p0", "image"))
        line = env.view_array(data)
        assert line.shape == env.array_shape("p0") == (151,) and line[147:].sum() == 1
        assert env.view("p0", "image").shape == (112, 112, 3) and env.picture().ndim == 3
        pictures.add(env.view("p0", "image").tobytes())
    assert len(pictures) == 5


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("MiniGrid-Empty-8x8-v0", 1.0),
        ("MiniGrid-DoorKey-8x8-v0", 1.0),
        ("MiniGrid-KeyCorridorS3R3-v0", 0.8),
        ("MiniGrid-GoToDoor-6x6-v0", 1.0),
        ("BabyAI-GoToLocal-v0", 0.8),
        ("BabyAI-OpenDoor-v0", 0.8),
    ],
)
def test_explorer_solves(name: str, floor: float) -> None:
    pytest.importorskip("minigrid")
    from crossplay.agents.scripts.minigrid import explorer
    from crossplay.kernel import Block, loop, play

    env, agent, won = make_env(f"minigrid:{name}"), explorer("", {}), 0
    for block in range(5):
        outcome = loop(play(env, {"p0": agent}, Block(3, block)))
        assert outcome.status in ("terminal", "horizon")
        won += outcome.score["return"] > 0
    assert won / 5 >= floor


def test_explorer_reads_missions() -> None:
    from crossplay.agents.scripts.minigrid import parse

    assert parse("use the key to open the door and then get to the goal") == [("open", 4, -1), ("reach", 8, -1)]
    assert parse("pick up the yellow box") == [("take", 7, 4)]
    assert parse("go to the red ball after you open a blue door") == [("open", 4, 2), ("face", 6, 0)]
    assert parse("go to the grey key, then pick up a ball") == [("face", 5, 5), ("take", 6, -1)]
    assert parse("nothing it knows") == [("reach", 8, -1)]


def test_explorer_resumes_from_a_snapshot() -> None:
    pytest.importorskip("minigrid")
    from crossplay.agents.scripts.minigrid import explorer
    from crossplay.kernel import Block, loop, play

    saved: list[bytes] = []
    name, lineup = "minigrid:MiniGrid-DoorKey-5x5-v0", {"p0": explorer("", {})}
    whole = loop(play(make_env(name), lineup, Block(1)), lambda e: saved.append(e.snapshot()) if e.tick == 5 else None)
    rest = loop(play(make_env(name), lineup, Block(1), resume=saved[0]))
    assert rest.world == whole.world and rest.ticks == whole.ticks > 6
