"""Skills do what they say, by the shortest way, and none blocks for ever; so does the chef."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kitchen_rows import load_state

from crossplay.agents.scripts.kitchen import Chef
from crossplay.envs.kitchen import LAYOUTS, KitchenBatch, family
from crossplay.envs.kitchen.scene import approach, passing
from crossplay.envs.kitchen.skills import LIMIT, PATIENCE, WAIT
from crossplay.kernel import Agent, Block, Observation, loop, pack, play, unpack
from crossplay.kernel.seeds import key

N, S, E, W, STAY, INTERACT = range(6)


def world(name: str, players: list, counters: list, pots: list, cooking: str = "auto") -> KitchenBatch:
    env = KitchenBatch(1, name, cooking=cooking, start="standard")
    env.reset([0], [key("test")])
    load_state(env, 0, [players, counters, pots])
    return env


def carry_out(env: KitchenBatch, seat: int, skill: str, partner: int = STAY) -> int:
    """Run one skill to its end; the number of steps it took."""
    index = env.skills.names.index(skill)
    assert env.skills.legal(env.data(0, seat))[index], f"{skill} is not legal"
    state = None
    for ticks in range(1, LIMIT + 2):
        action, state, done = env.skills.step(unpack(pack(env.data(0, seat))), index, state)
        state = unpack(pack(state))
        pair = [partner, partner]
        pair[seat] = action
        env.step(np.array([pair]))
        if done:
            return ticks
    raise AssertionError(f"{skill} did not end")


def test_a_soup_by_skills_alone_takes_the_shortest_ways() -> None:
    env = world("cramped_room", [[2, 1, S, 0], [3, 1, N, 0]], [], [[0, 0, -1]])
    assert carry_out(env, 0, "get_onion") == 2  # west (now it faces the box), interact
    assert carry_out(env, 0, "pot_onion") == 3  # east, north (a turn), interact
    for _ in range(2):
        carry_out(env, 0, "get_onion")
        carry_out(env, 0, "pot_onion")
    assert int(env.f.tick[0, 0]) == 1
    carry_out(env, 0, "get_dish")
    began = int(env.f.clock[0, 0])
    carry_out(env, 0, "take_soup")
    assert int(env.f.clock[0, 0]) > began + 10, "it waits for the pot"
    assert int(env.f.held[0, 0]) == 5
    env.f.pos[0, 1] = env.kitchen.cell((1, 1))
    carry_out(env, 0, "serve")
    assert env.score(0)["return"] == 20.0


def test_start_cooking_exists_under_the_interact_rule_only() -> None:
    env = world("cramped_room", [[1, 1, S, 0], [3, 1, N, 0]], [], [[3, 0, -1]], "interact")
    assert carry_out(env, 0, "start_cooking") == 3
    assert int(env.f.tick[0, 0]) == 1
    assert "start_cooking" not in KitchenBatch(1).skills.names


def test_a_split_kitchen_passes_over_the_shared_counter() -> None:
    name = "forced_coordination"
    env = world(name, [[3, 1, N, 0], [1, 2, N, 0]], [], [[0, 0, -1]] * 2)
    assert {env.kitchen.xy(c) for c in passing(name)} == {(2, 1), (2, 2), (2, 3)}
    assert passing("cramped_room") == frozenset()
    legal = dict(zip(env.skills.names, env.skills.legal(env.data(0, 0)), strict=True))
    assert not legal["get_onion"] and legal["wait"] and not legal["serve"]
    carry_out(env, 1, "get_onion")
    assert not dict(zip(env.skills.names, env.skills.legal(env.data(0, 1)), strict=True))["pot_onion"]
    carry_out(env, 1, "put_down")
    assert {env.kitchen.xy(c) for c in np.flatnonzero(env.f.cell[0])} <= {(2, 1), (2, 2), (2, 3)}
    carry_out(env, 1, "get_onion")
    assert env.f.cell.any(), "what was put down for the partner is left alone"
    carry_out(env, 0, "get_onion")
    carry_out(env, 0, "pot_onion")
    assert int(env.f.pot[0].sum()) == 1


def test_skills_give_up_when_the_partner_blocks_the_only_way() -> None:
    env = world("cramped_room", [[1, 1, S, 1], [2, 1, N, 0]], [], [[0, 0, -1]])
    assert carry_out(env, 0, "pot_onion") <= PATIENCE + 8
    assert int(env.f.held[0, 0]) == 1


def test_wait_and_step_aside() -> None:
    env = world("cramped_room", [[2, 1, S, 0], [2, 2, N, 0]], [], [[0, 0, -1]])
    assert carry_out(env, 0, "wait") == WAIT
    assert carry_out(env, 1, "step_aside") <= WAIT
    assert int(env.f.pos[0, 1]) != env.kitchen.cell((2, 2))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(LAYOUTS)), st.sampled_from(["auto", "interact"]), st.integers(0, 10**6))
def test_every_legal_skill_ends_and_some_skill_is_always_legal(name: str, cooking: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    env = KitchenBatch(1, name, cooking=cooking, horizon=30_000)
    env.reset([0], [key(seed)])
    for a in rng.choice(6, (int(rng.integers(300)), 1, 2), p=[0.13, 0.13, 0.13, 0.13, 0.03, 0.45]):
        env.step(a)
    for _ in range(6):
        seat = int(rng.integers(2))
        legal = env.skills.legal(env.data(0, seat))
        assert len(legal) == len(env.skills.names) and any(legal)
        choice = env.skills.names[rng.choice(np.flatnonzero(legal))]
        assert carry_out(env, seat, choice, partner=int(rng.integers(6))) <= LIMIT + 1
    assert all(env.skills.describe(i).endswith(".") for i in range(len(env.skills.names)))


@pytest.mark.parametrize("name", LAYOUTS)
def test_ways_are_shortest(name: str) -> None:
    """Against playing: every first step lowers the remaining cost by one."""
    env = KitchenBatch(1, name, start="standard")
    env.reset([0], [key(0)])
    k = env.kitchen
    far = k.cell((0, 0))
    for room in k.rooms:
        for start in room:
            for target in np.flatnonzero(k.kind > 1).tolist():
                way = approach(name, start, 0, target)
                if way is None:
                    continue
                steps, action = way
                cell, facing = start, 0
                while action != INTERACT:
                    facing = action
                    to = k.near[cell][action]
                    cell = to if k.kind[to] == 0 else cell
                    left, action = approach(name, cell, facing, target)  # type: ignore[misc]
                    assert left == steps - 1
                    steps = left
                assert k.near[cell][facing] == target
    assert approach(name, k.rooms[0][0], 0, far) is None, "a corner cannot be used"


class Still(Agent):
    name = "still"

    def act(self, obs: Observation) -> int:
        return STAY


class Wild(Agent):
    name = "wild"

    def act(self, obs: Observation) -> int:
        return obs.pick(6)


def returns(name: str, a: Agent, b: Agent, blocks: range, cooking: str = "auto") -> list[float]:
    out = []
    for block in blocks:
        outcome = loop(play(family.make(name, {"cooking": cooking}), {"p0": a, "p1": b}, Block(5, block)))
        assert outcome.status == "horizon", outcome.detail
        out.append(outcome.score["return"])
    return out


@pytest.mark.parametrize("cooking", ["auto", "interact"])
@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("cramped_room", 200),
        ("asymmetric_advantages", 300),
        ("coordination_ring", 240),
        ("forced_coordination", 180),
        ("counter_circuit_o_1order", 140),
    ],
)
def test_two_chefs_cook_everywhere(name: str, floor: int, cooking: str) -> None:
    assert min(returns(name, Chef(), Chef(), range(3), cooking)) >= floor


@pytest.mark.parametrize("name", [n for n in LAYOUTS if n != "forced_coordination"])
def test_a_chef_cooks_beside_anybody_from_either_seat(name: str) -> None:
    for other in (Still(), Wild()):
        blocks = range(6)
        assert sum(returns(name, Chef(), other, blocks)) / 6 >= 25
        assert sum(returns(name, other, Chef(), blocks)) / 6 >= 25


def test_the_chef_is_a_function_of_what_it_is_shown() -> None:
    env = family.make("coordination_ring", {})
    first = loop(play(env, {"p0": Chef(), "p1": Chef()}, Block(1, 2)))
    again = loop(play(env, {"p0": Chef(), "p1": Chef()}, Block(1, 2)))
    other = loop(play(env, {"p0": Chef(), "p1": Chef()}, Block(1, 3)))
    assert first.world == again.world != other.world
