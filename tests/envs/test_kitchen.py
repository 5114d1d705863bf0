"""The kitchen's rules, starts, faces and views; the reference's own states stand in data/."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kitchen_record import FIXTURE, short
from kitchen_rows import load_state, numbers, replay

from crossplay.envs.kitchen import ACTIONS, LAYOUTS, KitchenBatch, family, layout
from crossplay.kernel.seeds import key
from crossplay.kernel.types import CrossplayError, pack, unpack

HERE = Path(__file__).parent
N, S, E, W, STAY, INTERACT = range(6)
ONION, DISH, SOUP3 = 1, 2, 5


def kitchen(name: str = "cramped_room", **options: object) -> KitchenBatch:
    env = KitchenBatch(1, name, **{"start": "standard", **options})
    env.reset([0], [key("test")])
    return env


def world(players: list, counters: list = (), pots: list = ((0, 0, -1),), **options: object) -> KitchenBatch:
    env = kitchen(**options)
    load_state(env, 0, [players, list(counters), list(pots)])
    return env


def act(env: KitchenBatch, a: int, b: int) -> float:
    rewards, _ = env.step(np.array([[a, b]]))
    assert rewards[0, 0] == rewards[0, 1]
    return float(rewards[0, 0])


# -- the reference -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", LAYOUTS)
def test_states_rewards_and_shaping_equal_the_recorded_reference(name: str) -> None:
    env = KitchenBatch(1, name)
    for episode in json.loads(FIXTURE.read_text())[name]:
        digits = [int(c) for c in episode["actions"]]
        lines = replay(name, "interact", [list(p) for p in zip(digits[::2], digits[1::2], strict=True)])
        for t, line in episode["full"].items():
            assert lines[int(t)] == line, f"{name}: step {t}"
            load_state(env, 0, line[:3])
            env.f.clock[0, 0] = line[3]
            shown = [base64.b64encode(env.obs_array(seat).tobytes()).decode() for seat in (0, 1)]
            assert [short(f) for f in shown] == episode["features"][t], f"{name}: features at step {t}"
        for t, line in enumerate(lines):
            assert short(line) == episode["digests"][8 * t : 8 * t + 8], f"{name}: step {t}"
        assert sum(sum(line[4] or ()) for line in lines) >= 20, "the recording should hold deliveries"


# -- the rules that the recording does not hold -----------------------------------------------------------
def test_third_onion_starts_cooking_and_the_soup_is_ready_twenty_steps_later() -> None:
    env = world([[2, 1, N, ONION], [3, 1, N, 0]], pots=[[2, 0, -1]])
    act(env, INTERACT, STAY)
    assert numbers(env, 0)[2] == [[3, 0, 1]] and env.shaped().tolist() == [[3, 0]]
    for t in range(2, 21):
        act(env, STAY, STAY)
        assert int(env.f.tick[0, 0]) == t
    act(env, STAY, STAY)
    assert int(env.f.tick[0, 0]) == 20, "no burning"


def test_a_dish_one_step_too_early_does_nothing() -> None:
    env = world([[2, 1, N, DISH], [3, 1, N, 0]], pots=[[3, 0, 19]])
    act(env, INTERACT, STAY)
    assert int(env.f.held[0, 0]) == DISH and int(env.f.tick[0, 0]) == 20
    act(env, INTERACT, STAY)
    assert int(env.f.held[0, 0]) == SOUP3 and numbers(env, 0)[2] == [[0, 0, -1]]
    assert env.shaped().tolist() == [[5, 0]]


def test_empty_hands_start_a_pot_under_the_interact_rule_only() -> None:
    for cooking, tick in (("auto", -1), ("interact", 1)):
        env = world([[2, 1, N, 0], [3, 1, N, 0]], pots=[[2, 0, -1]], cooking=cooking)
        act(env, INTERACT, STAY)
        assert int(env.f.tick[0, 0]) == tick
        assert env.shaped().tolist() == [[0, 0]]


def test_a_soup_of_three_pays_both_seats_and_any_other_pays_nothing() -> None:
    for item, paid in ((SOUP3, 20.0), (4, 0.0), (3, 0.0)):
        env = world([[3, 2, S, item], [1, 1, N, 0]], cooking="interact")
        assert act(env, INTERACT, STAY) == paid
        assert int(env.f.held[0, 0]) == 0
        assert env.score(0) == {
            "return": paid, "soups": paid / 20, "p0_potted": 0, "p1_potted": 0, "p0_dishes": 0, "p1_dishes": 0,
            "p0_delivered": 1, "p1_delivered": 0,
        }  # fmt: skip


def test_only_soups_can_be_served_and_nothing_is_returned_to_a_dispenser() -> None:
    env = world([[3, 2, S, DISH], [1, 1, W, ONION]])
    assert act(env, INTERACT, INTERACT) == 0
    assert env.f.held[0].tolist() == [DISH, ONION]


def test_interacts_come_before_movement_and_seat_0_before_seat_1() -> None:
    # Seat 0 puts on the counter north of (3, 1), seat 1 cannot reach it in the same cell: use (1, 0) twice.
    both = "coordination_ring"
    env = KitchenBatch(1, both, start="standard")
    env.reset([0], [key("x")])
    middle = [2, 2]
    load_state(env, 0, [[[2, 1, S, ONION], [2, 3, N, 0]], [], [[0, 0, -1], [0, 0, -1]]])
    act(env, INTERACT, INTERACT)
    assert env.f.held[0].tolist() == [0, ONION] and not env.f.cell.any(), "seat 1 takes what seat 0 put"
    load_state(env, 0, [[[2, 1, S, 0], [2, 3, N, ONION]], [], [[0, 0, -1], [0, 0, -1]]])
    act(env, INTERACT, INTERACT)
    assert env.f.held[0].tolist() == [0, 0] and numbers(env, 0)[1] == [[*middle, ONION]], "not the other way round"


def test_full_pot_takes_only_the_onion_of_seat_0() -> None:
    env = KitchenBatch(1, "asymmetric_advantages", start="standard")
    env.reset([0], [key("x")])
    load_state(env, 0, [[[3, 2, E, ONION], [5, 2, W, ONION]], [], [[2, 0, -1], [0, 0, -1]]])
    act(env, INTERACT, INTERACT)
    assert env.f.held[0].tolist() == [0, ONION] and numbers(env, 0)[2][0] == [3, 0, 1]
    load_state(env, 0, [[[3, 2, E, DISH], [5, 2, W, ONION]], [], [[3, 0, 20], [0, 0, -1]]])
    act(env, INTERACT, INTERACT)
    assert env.f.held[0].tolist() == [SOUP3, 0] and numbers(env, 0)[2][0] == [1, 0, -1]


@pytest.mark.parametrize(
    ("a", "b", "moves", "after"),
    [
        ((1, 1), (2, 1), (E, W), ((1, 1), (2, 1))),  # exchange
        ((1, 1), (3, 1), (E, W), ((1, 1), (3, 1))),  # one cell
        ((1, 1), (2, 1), (E, E), ((2, 1), (3, 1))),  # following
        ((1, 1), (2, 1), (E, STAY), ((1, 1), (2, 1))),  # into a standing player
        ((1, 1), (2, 1), (E, INTERACT), ((1, 1), (2, 1))),  # into an interacting player
        ((1, 1), (2, 1), (E, N), ((1, 1), (2, 1))),  # into one blocked by a pot
        ((1, 1), (2, 2), (N, S), ((1, 1), (2, 2))),  # walls
    ],
)  # fmt: skip
def test_movement(a: tuple, b: tuple, moves: tuple, after: tuple) -> None:
    env = world([[*a, S, 0], [*b, S, 0]])
    act(env, *moves)
    players = numbers(env, 0)[0]
    assert tuple(tuple(p[:2]) for p in players) == after
    assert [p[2] for p in players] == [m if m < 4 else S for m in moves], "facing always turns"


def test_the_horizon_is_the_only_end() -> None:
    env = kitchen(horizon=3)
    assert [int(env.step(np.array([[STAY, STAY]]))[1][0]) for _ in range(3)] == [0, 0, 2]
    assert env.ended(0) == 2
    single = family.make("cramped_room", {"horizon": 1})
    single.reset(key("a"))
    single.step({"p0": 4, "p1": 4}, ())
    assert single.ended() == "horizon"


# -- starts ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", LAYOUTS)
def test_drawn_starts_use_every_cell_and_keep_one_player_in_each_room(name: str) -> None:
    env = KitchenBatch(600, name)
    env.reset(np.arange(600), [key(i) for i in range(600)])
    k, pos = env.kitchen, env.f.pos
    assert (pos[:, 0] != pos[:, 1]).all()
    assert all(k.kind[c] == 0 for c in pos.ravel())
    floor = set(np.flatnonzero(k.kind == 0).tolist())
    assert set(pos[:, 0].tolist()) == set(pos[:, 1].tolist()) == floor == {c for r in k.rooms for c in r}
    assert set(env.f.facing.ravel().tolist()) == {0, 1, 2, 3}
    if len(k.rooms) == 2:
        left = np.isin(pos, k.rooms[0])
        assert (left.sum(axis=1) == 1).all() and 200 < left[:, 0].sum() < 400, "sides are drawn too"
    assert (env.f.tick == -1).all() and not env.f.pot.any() and not env.f.held.any()


def test_two_rooms_are_found_where_there_are_two() -> None:
    assert {n: len(layout(n).rooms) for n in LAYOUTS} == {
        "cramped_room": 1, "asymmetric_advantages": 2, "coordination_ring": 1, "forced_coordination": 2,
        "counter_circuit_o_1order": 1,
    }  # fmt: skip


def test_the_standard_start_is_that_of_the_original() -> None:
    env = kitchen("asymmetric_advantages")
    assert numbers(env, 0)[0] == [[6, 2, N, 0], [1, 3, N, 0]]
    assert kitchen().id == 'kitchen/cramped_room@1?start="standard"'
    assert KitchenBatch(1).id == "kitchen/cramped_room@1"
    assert KitchenBatch(1, horizon=400, cooking="auto").id == "kitchen/cramped_room@1"


@pytest.mark.parametrize(
    ("rest", "options", "words"),
    [
        ("cramped_rom", {}, 'Did you mean "cramped_room"'),
        ("cramped_room", {"horizn": 3}, 'Did you mean "horizon"'),
        ("cramped_room", {"cooking": "Auto"}, "auto"),
        ("cramped_room", {"horizon": 0}, "1..30000"),
        ("cramped_room", {"horizon": True}, "whole number"),
    ],
)
def test_errors_name_the_nearest_valid_value(rest: str, options: dict, words: str) -> None:
    with pytest.raises(CrossplayError, match=words.replace(".", r"\.")):
        family.make(rest, options)


# -- rows and faces ---------------------------------------------------------------------------------------
def trail(name: str, width: int, steps: int, cooking: str = "auto") -> list[int]:
    """Fingerprints of the first three rows after each step of fixed random actions."""
    env = KitchenBatch(width, name, cooking=cooking)
    env.reset(np.arange(width), [key(i % 3) for i in range(width)])
    actions = np.random.default_rng(3).choice(6, (steps, 3, 2), p=[0.14, 0.14, 0.14, 0.14, 0.04, 0.4])
    out = []
    for a in actions:
        rewards, _ = env.step(a[np.arange(width) % 3])
        out += [int(x) for x in env.fingerprint()[:3]] + rewards[:3].ravel().tolist()
        out.append(int(env.obs_array(1)[:3].astype(np.int64).sum()))
    return out


@pytest.mark.parametrize("name", ["cramped_room", "forced_coordination"])
def test_width_changes_no_bit(name: str) -> None:
    assert trail(name, 3, 60) == trail(name, 512, 60)
    one, three = KitchenBatch(1, name), KitchenBatch(3, name)
    one.reset([0], [key(1)])
    three.reset([0, 1, 2], [key(0), key(1), key(2)])
    for t in range(50):
        a = np.random.default_rng(t).integers(0, 6, (1, 2))
        r1, r3 = one.step(a)[0], three.step(np.repeat(a, 3, 0))[0]
        assert (one.S[0] == three.S[1]).all() and (r1[0] == r3[1]).all()


def test_interpreted_and_compiled_loops_agree() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_kitchen as t; print(t.trail('coordination_ring', 3, 200, 'interact'))"
    env = {**os.environ, "CROSSPLAY_FAST": "0"}
    done = subprocess.run([sys.executable, "-c", code, str(HERE)], capture_output=True, text=True, env=env, check=True)
    assert json.loads(done.stdout) == trail("coordination_ring", 3, 200, "interact")


def test_snapshot_returns_to_the_same_play() -> None:
    env = family.make("counter_circuit_o_1order", {})
    env.reset(key("s"))
    rng = np.random.default_rng(1)
    for _ in range(40):
        env.step({"p0": int(rng.integers(6)), "p1": int(rng.integers(6))}, ())
    saved, mark = env.snapshot(), env.fingerprint()
    env.step({"p0": N, "p1": S}, ())
    after = env.fingerprint()
    other = family.make("counter_circuit_o_1order", {})
    other.restore(saved)
    assert other.fingerprint() == mark != after
    other.step({"p0": N, "p1": S}, ())
    assert other.fingerprint() == after and other.data("p0") == env.data("p0")


# -- views ------------------------------------------------------------------------------------------------
def wander(name: str, cooking: str, seed: int, steps: int) -> KitchenBatch:
    env = KitchenBatch(1, name, cooking=cooking)
    env.reset([0], [key(seed)])
    actions = np.random.default_rng(seed).choice(6, (steps, 1, 2), p=[0.13, 0.13, 0.13, 0.13, 0.03, 0.45])
    for a in actions:
        env.step(a)
    return env


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(list(LAYOUTS)), st.sampled_from(["auto", "interact"]), st.integers(0, 10**6), st.integers(0, 390)
)
def test_the_array_view_is_a_function_of_data(name: str, cooking: str, seed: int, steps: int) -> None:
    env = wander(name, cooking, seed, steps)
    for seat in (0, 1):
        data = env.data(0, seat)
        assert unpack(pack(data)) == data
        view = env.view_array(data)
        assert view.dtype == np.int8 and view.shape == env.array_shape("p0")
        assert (view == env.obs_array(seat)[0]).all()
        assert (view == env.single().view_array(unpack(pack(data)))).all()
        assert env.view_text(data) == env.view_text(unpack(pack(data)))
    mine, theirs = env.obs_array(0)[0], env.obs_array(1)[0]
    assert (mine[..., [1, 0, 6, 7, 8, 9, 2, 3, 4, 5]] == theirs[..., :10]).all() and (
        mine[..., 10:] == theirs[..., 10:]
    ).all()


def test_the_last_39_steps_are_marked() -> None:
    env = kitchen(horizon=100)
    marked = []
    for _ in range(100):
        marked.append(bool(env.obs_array(0)[..., 25].all()))
        assert marked[-1] == bool(env.obs_array(0)[..., 25].any())
        env.step(np.array([[STAY, STAY]]))
    assert marked == [False] * 61 + [True] * 39


def test_every_fact_of_data_shows_in_text_and_image() -> None:
    base = [[1, 1, N, 0], [3, 1, N, 0]]
    scenes = [
        (base, [], [[0, 0, -1]]),
        ([[1, 1, W, 0], [3, 1, N, 0]], [], [[0, 0, -1]]),
        ([[1, 2, N, 0], [3, 1, N, 0]], [], [[0, 0, -1]]),
        ([[1, 1, N, ONION], [3, 1, N, 0]], [], [[0, 0, -1]]),
        ([[1, 1, N, DISH], [3, 1, N, 0]], [], [[0, 0, -1]]),
        ([[1, 1, N, SOUP3], [3, 1, N, 0]], [], [[0, 0, -1]]),
        ([[1, 1, N, 0], [3, 1, N, ONION]], [], [[0, 0, -1]]),
        ([[1, 1, N, 0], [3, 1, S, 0]], [], [[0, 0, -1]]),
        (base, [[1, 0, ONION]], [[0, 0, -1]]),
        (base, [[3, 0, ONION]], [[0, 0, -1]]),
        (base, [[1, 0, DISH]], [[0, 0, -1]]),
        (base, [], [[1, 0, -1]]),
        (base, [], [[2, 0, -1]]),
        (base, [], [[3, 0, 1]]),
        (base, [], [[3, 0, 11]]),
        (base, [], [[3, 0, 20]]),
    ]
    texts, pictures = set(), set()
    for scene in scenes:
        env = world(*scene)
        for seat in (0, 1):
            data = env.data(0, seat)
            texts.add(env.view_text(data))
            image = env.view_image(data)
            assert image.dtype == np.uint8 and image.shape == (4 * 28 + 6, 5 * 28, 3)
            pictures.add(image.tobytes())
    assert len(texts) == len(pictures) == 2 * len(scenes)


def test_text_is_short_and_says_what_matters() -> None:
    env = world([[1, 1, W, ONION], [3, 1, S, 0]], [[1, 0, DISH]], [[2, 0, -1]])
    text = env.view_text(env.data(0, 0))
    for words in (
        "You (player 0) hold an onion and face west: onions.",
        "Partner: 2 east, holds nothing, faces south.",
        "Pot 1 east, 1 north: 2 of 3 onions.",
        "On counters: a dish 1 north.",
        "Serving: 2 east, 2 south.",
        "XdPXX\nO0.1O\nX...X\nXDXSX",
        "Step 0 of 400, score 0.",
    ):
        assert words in text
    assert len(text) < 500
    assert env.text(0) == "XdPXX\nO0.1O\nX...X\nXDXSX"
    assert env.picture(0).shape == (118, 140, 3)


def test_actions_have_the_names_of_the_house() -> None:
    assert ACTIONS == ("north", "south", "east", "west", "stay", "interact")
    assert KitchenBatch.action_spec.noop == STAY
    assert set(family.schema("cramped_room")["properties"]) == {"horizon", "cooking", "start"}
    assert family.names() == tuple(LAYOUTS)
