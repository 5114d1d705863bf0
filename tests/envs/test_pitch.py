"""The pitch games: rules by default and in reference mode, chance, views, skills and the striker."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.agents.basic import Noop, Random
from crossplay.agents.scripts.pitch import Striker, striker
from crossplay.envs.pitch import PitchBatch, facts, family, game_names, parse_game, rules
from crossplay.envs.pitch.draw import TILE
from crossplay.envs.pitch.skills import LIMIT
from crossplay.kernel import Block, CrossplayError, key, loop, pick, play

NOOP, LEFT, RIGHT, FORWARD, PICKUP, DROP = range(6)
EAST, SOUTH, WEST, NORTH = range(4)
OBSERVE = ("own", "full", "team")


def field(
    game: str, agents: list[tuple[int, int, int]], ball=(7, 9), carrier: int | None = None, **options
) -> PitchBatch:
    """One row in a given situation."""
    env = PitchBatch(game, 1, **options)
    env.reset([0], [key("given")])
    f = env.f
    f.x[0], f.y[0], f.face[0] = np.array(agents).T
    f.bx[0], f.by[0] = (0, 0) if carrier is not None else ball
    f.carrier[0] = 0 if carrier is None else carrier + 1
    return env


def act(env: PitchBatch, *actions: int) -> tuple[list[float], int]:
    rewards, ended = env.step(np.array([actions], np.int64))
    return rewards[0].tolist(), int(ended[0])


def at(env: PitchBatch, i: int) -> tuple[int, int, int]:
    return int(env.f.x[0, i]), int(env.f.y[0, i]), int(env.f.face[0, i])


def run(game: str, width: int, ticks: int, seed: int = 0, **options) -> PitchBatch:
    """Rows in the middle of random play."""
    env = PitchBatch(game, width, **options)
    env.reset(range(width), [key("run", seed, b) for b in range(width)])
    rng = np.random.default_rng(seed)
    for _ in range(ticks):
        env.step(rng.integers(0, 6, (width, len(env.seats))))
    return env


# -- rules ---------------------------------------------------------------------------------------------
def test_turns_and_steps() -> None:
    env = field("soccer-1v0", [(5, 5, EAST)])
    assert [act(env, a) and at(env, 0) for a in (LEFT, FORWARD, RIGHT, RIGHT, FORWARD, NOOP, 6, 7)] == [
        (5, 5, NORTH), (5, 4, NORTH), (5, 4, EAST), (5, 4, SOUTH), (5, 5, SOUTH), (5, 5, SOUTH), (5, 5, SOUTH), (5, 5, SOUTH),
    ]  # fmt: skip


def test_walls_and_balls_stop() -> None:
    env = field("soccer-1v0", [(1, 1, WEST)], ball=(1, 2))
    act(env, FORWARD)
    act(env, LEFT)
    act(env, FORWARD)
    assert at(env, 0) == (1, 1, SOUTH)


@pytest.mark.parametrize("reference", [False, True])
def test_agents_block_unless_reference(reference: bool) -> None:
    env = field("soccer-1v1", [(5, 5, EAST), (6, 5, WEST)], reference=reference)
    act(env, FORWARD, FORWARD)
    assert (at(env, 0)[:2], at(env, 1)[:2]) == (((6, 5), (5, 5)) if reference else ((5, 5), (6, 5)))


@pytest.mark.parametrize("reference", [False, True])
def test_the_own_goal_is_closed_unless_reference(reference: bool) -> None:
    env = field("soccer-1v1", [(2, 5, WEST), (13, 4, EAST)], reference=reference)
    act(env, FORWARD, FORWARD)
    assert (at(env, 0)[0] == 1) == reference and (at(env, 1)[0] == 14) == reference
    env = field("soccer-1v1", [(13, 5, EAST), (2, 4, WEST)], reference=reference)
    act(env, FORWARD, FORWARD)
    assert at(env, 0)[0] == 14 and at(env, 1)[0] == 1


@pytest.mark.parametrize(
    ("game", "goal"), [("soccer-1v1", (14, 6)), ("basketball-1v1", (17, 5)), ("football-1v1", (14, 1))]
)
def test_a_goal_by_default_ends_at_once_and_is_seen_at_once(game: str, goal: tuple[int, int]) -> None:
    env = field(game, [(goal[0] - 1, goal[1], EAST), (3, 8, EAST)], carrier=0, goals_to_win=1, observe="full")
    rewards, ended = act(env, FORWARD, NOOP)
    bonus = 0.05 * (env.horizon - 1)
    assert ended == 1 and env.ended(0) == 1
    assert env.sparse().tolist() == [[1 + bonus, 0.0]]
    goal_x, goal_y = env.game.target[0]
    gained = abs(goal[0] - 1 - goal_x) + abs(goal[1] - goal_y) - abs(goal[0] - goal_x) - abs(goal[1] - goal_y)
    assert env.shaped()[0] == pytest.approx([0.01 * gained, 0.0])
    assert rewards == pytest.approx([1 + bonus + 0.01 * gained, 0.0])
    data = env.data(0, 1)
    assert data["goals"] == [1, 0] and data["agents"][0][3] == 0 and len(data["balls"]) == 1
    assert data["events"] == {"goal": "left0"}
    assert env.ground[tuple(data["balls"][0])] == 0
    assert env.score(0) == {
        "left_win": 1.0,
        "right_win": 0.0,
        "goals_left": 1.0,
        "goals_right": 0.0,
        "goal_difference": 1.0,
        "ticks": 1.0,
    }


def test_the_first_tick_pays_thirteen_and_three_quarters() -> None:
    env = field("soccer-2v1", [(13, 5, EAST), (3, 3, EAST), (5, 8, EAST)], carrier=0, shaping=False)
    assert act(env, FORWARD, NOOP, NOOP)[0] == [13.75, 13.75, 0.0]


@pytest.mark.parametrize(("game", "late"), [("soccer-1v1", 1), ("basketball-1v1", 1), ("football-1v1", 0)])
def test_reference_reports_a_win_late(game: str, late: int) -> None:
    column = parse_game(game).width - 3
    env = field(game, [(column, 5, EAST), (3, 8, EAST)], carrier=0, goals_to_win=1, reference=True)
    ended = act(env, FORWARD, NOOP)[1]
    assert ended == 1 - late
    image = env.images(0)[0]
    assert image[1, 2].tolist() == [6, env.game.ball_colour, 0]  # the scorer still sees its ball
    if late:
        before = at(env, 0)
        assert act(env, LEFT, FORWARD) == ([0.0, 0.0], 1)
        assert at(env, 0) == before
        assert env.images(0)[0][1, 2].tolist() == [1, 0, 0]


@pytest.mark.parametrize("reference", [False, True])
def test_a_win_in_the_last_tick(reference: bool) -> None:
    env = field("soccer-1v0", [(13, 5, EAST)], carrier=0, goals_to_win=1, horizon=1, reference=reference)
    assert act(env, FORWARD)[1] == (2 if reference else 1)


def test_reference_shapes_the_scorer_by_the_new_ball() -> None:
    env = field("soccer-1v0", [(13, 5, EAST)], carrier=0, reference=True)
    act(env, FORWARD)
    bx, by = int(env.f.bx[0, 0]), int(env.f.by[0, 0])
    assert env.shaped()[0, 0] == pytest.approx(0.01 * (abs(13 - bx) + abs(5 - by) - abs(14 - bx) - abs(5 - by)))


def test_stealing_and_its_cooldown() -> None:
    env = field("soccer-1v1", [(5, 5, EAST), (6, 5, WEST)], carrier=1)
    assert act(env, PICKUP, NOOP)[0] == [0.3, 0.0]
    assert env.f.carrier[0] == 1 and env.f.cool[0].tolist() == [10, 10]
    for _ in range(9):
        act(env, NOOP, PICKUP)
        assert env.f.carrier[0] == 1
    assert "cannot steal" not in env.view_text(env.data(0, 1))
    act(env, NOOP, PICKUP)
    assert env.f.carrier[0] == 2


def test_cooldown_does_not_stop_a_pickup_and_mates_cannot_be_robbed() -> None:
    env = field("soccer-2v0", [(5, 5, EAST), (8, 8, EAST)], ball=(6, 5))
    env.f.cool[0] = 9
    act(env, PICKUP, NOOP)
    assert env.f.carrier[0] == 1
    env = field("soccer-2v0", [(5, 5, EAST), (6, 5, EAST)], carrier=1)
    act(env, PICKUP, NOOP)
    assert env.f.carrier[0] == 2


def test_a_pass_reaches_every_mate_equally_and_scores_on_the_goal() -> None:
    env = PitchBatch("soccer-4v1", 3000, shaping=False)
    env.reset(range(3000), [key("pass", b) for b in range(3000)])
    env.f.bx[:], env.f.by[:], env.f.carrier[:] = 0, 0, 2
    env.f.x[:, 3], env.f.y[:, 3] = 14, 4
    actions = np.zeros((3000, 5), np.int64)
    actions[:, 1] = DROP
    rewards, _ = env.step(actions)
    to = Counter(env.f.event[:, 2].tolist())
    assert set(to) == {1, 3, 4} and all(abs(n - 1000) < 120 for n in to.values())
    scored = env.f.event[:, 2] == 4
    assert (env.f.goals[:, 0] == scored).all() and (env.f.carrier[scored] == 0).all()
    assert rewards[scored].tolist() == [[13.75] * 4 + [0.0]] * int(scored.sum())


def test_alone_the_ball_is_put_on_free_floor_only() -> None:
    env = field("soccer-1v1", [(5, 5, EAST), (9, 9, EAST)], carrier=0)
    act(env, DROP, NOOP)
    assert env.f.carrier[0] == 0 and (env.f.bx[0, 0], env.f.by[0, 0]) == (6, 5)
    for agents in ([(5, 5, EAST), (6, 5, EAST)], [(13, 5, EAST), (9, 9, EAST)], [(1, 1, WEST), (9, 9, EAST)]):
        env = field("soccer-1v1", agents, carrier=0)
        act(env, DROP, NOOP)
        assert env.f.carrier[0] == 1, agents


def test_shaping_leads_to_the_ball_then_to_the_goal() -> None:
    env = field("soccer-1v1", [(5, 5, EAST), (8, 5, EAST)], ball=(7, 5))
    assert act(env, FORWARD, FORWARD)[0] == pytest.approx([0.01, -0.01])
    act(env, PICKUP, NOOP)
    assert act(env, LEFT, FORWARD)[0] == [0.0, 0.0]  # carried: nothing for the others
    assert act(env, FORWARD, NOOP)[0] == pytest.approx([-0.01, 0.0])  # north, away from row 5


def test_collect_is_zero_sum_between_two_teams_and_ends_with_the_last_ball() -> None:
    env = field("collect-2v2", [(2, 2, EAST), (8, 8, EAST), (5, 7, EAST), (5, 1, EAST)])
    env.f.bx[0], env.f.by[0] = 0, 0
    env.f.bx[0, 3], env.f.by[0, 3] = 3, 2
    env.f.goals[0] = [2, 4]
    value = 1 + 0.05 * 399
    assert act(env, PICKUP, NOOP, NOOP, DROP) == ([value, value, -value, -value], 1)
    assert env.score(0) == {
        "left_win": 0.0,
        "right_win": 1.0,
        "balls_left": 3.0,
        "balls_right": 4.0,
        "ball_difference": -1.0,
        "ticks": 1.0,
    }
    env = field("collect-solo", [(2, 2, EAST), (8, 8, EAST), (5, 7, EAST)])
    env.f.bx[0], env.f.by[0] = [3, 4, 5, 6, 7], [2, 1, 1, 1, 1]
    value = 1 + 0.05 * 299
    assert act(env, PICKUP, NOOP, NOOP) == ([value, -value, -value], 0)
    assert env.score(0)["first_win"] == 1.0


@pytest.mark.parametrize("game", ["soccer-3v3", "basketball-2v1", "football-2v2", "collect-2v2"])
def test_invariants_of_random_play(game: str) -> None:
    env = PitchBatch(game, 40, goals_to_win=3)
    env.reset(range(40), [key("play", b) for b in range(40)])
    rng, f = np.random.default_rng(1), env.f
    weights = [0.05, 0.15, 0.15, 0.4, 0.2, 0.05]
    for t in range(1, 180):
        _, ended = env.step(rng.choice(6, (40, len(env.seats)), p=weights))
        cells = f.x.astype(int) * 100 + f.y
        assert all(len(set(row)) == len(row) for row in cells.tolist())  # nobody shares a cell
        assert (env.ground[f.x, f.y] != 1).all()
        for side in range(2):
            assert not ((env.ground[f.x, f.y] == 2 + side) & (env.side == side)).any()  # own goals are empty
        loose = (f.bx > 0).sum(axis=1)
        assert (
            (loose + (f.carrier > 0) == 1).all()
            if not env.game.collect
            else (loose + f.goals.sum(axis=1) == env.game.balls).all()
        )
        assert ((ended == 0) == (f.t == t)).all() or t > 1
        assert (env.ground[f.bx, f.by][f.bx > 0] == 0).all()


# -- chance --------------------------------------------------------------------------------------------
@given(st.integers(0, 2**64 - 1), st.integers(0, 10**6), st.integers(0, 99), st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_draws_are_the_kernels(k: int, tick: int, slot: int, n: int) -> None:
    with np.errstate(over="ignore"):
        assert rules.choose(np.uint64(rules.mix(np.uint64(k), tick)), slot, n) == pick(k, n, tick, slot)


def test_orders_are_uniform() -> None:
    env = PitchBatch("soccer-3v0", 6000)
    env.reset(range(6000), [key("order", b) for b in range(6000)])
    env.f.carrier[:], env.f.bx[:], env.f.by[:] = 0, 5, 5
    for i, (x, y, face) in enumerate([(4, 5, EAST), (5, 4, SOUTH), (6, 5, WEST)]):
        env.f.x[:, i], env.f.y[:, i], env.f.face[:, i] = x, y, face
    env.step(np.full((6000, 3), PICKUP))  # who comes first has the ball
    first = Counter(env.f.carrier.tolist())
    assert all(abs(first[i] - 2000) < 150 for i in (1, 2, 3))
    order = np.empty(4, np.int64)
    found: Counter[tuple[int, ...]] = Counter()
    with np.errstate(over="ignore"):
        for k in range(4800):
            rules.draw_order(np.uint64(rules.mix(np.uint64(k), 7)), 4, order)
            found[tuple(order.tolist())] += 1
    assert set(found) == set(itertools.permutations(range(4)))
    assert sum((n - 200) ** 2 / 200 for n in found.values()) < 49.7  # chi squared, 23 degrees, p = 0.001


def test_starts_are_uniform_free_and_distinct() -> None:
    env = PitchBatch("football-2v1", 6000)
    env.reset(range(6000), [key("start", b) for b in range(6000)])
    f = env.f
    for x, y in [(f.x[:, i], f.y[:, i]) for i in range(3)] + [(f.bx[:, 0], f.by[:, 0])]:
        found = Counter(zip(x.tolist(), y.tolist(), strict=True))
        assert set(found) == set(itertools.product(range(2, 14), range(1, 10)))
        assert sum((n - 6000 / 108) ** 2 / (6000 / 108) for n in found.values()) < 158  # 107 degrees, p = 0.001
    cells = np.concatenate([f.x.astype(int) * 100 + f.y, f.bx.astype(int) * 100 + f.by], axis=1)
    assert all(len(set(row)) == 4 for row in cells.tolist())
    assert all(abs(n - 4500) < 250 for n in Counter(f.face.ravel().tolist()).values())


def test_chance_is_common_after_play_differs() -> None:
    one, two = (PitchBatch("soccer-1v1", 1, goals_to_win=9) for _ in range(2))
    for env, wait in ((one, 0), (two, 3)):
        env.reset([0], [key("common")])
        for _ in range(wait):
            act(env, LEFT, RIGHT)
        for _ in range(20 - wait):
            act(env, NOOP, NOOP)
        env.f.x[0], env.f.y[0] = (13, 5), (5, 3)
        env.f.face[0, 0], env.f.carrier[0] = EAST, 1
        act(env, FORWARD, NOOP)
    assert (one.f.bx[0, 0], one.f.by[0, 0]) == (two.f.bx[0, 0], two.f.by[0, 0])


@pytest.mark.parametrize("width", [1, 3, 64])
def test_rows_do_not_depend_on_the_width(width: int) -> None:
    wide, some = (run("soccer-2v2", n, 0) for n in (64, width))
    rng = np.random.default_rng(3)
    for _ in range(60):
        actions = rng.integers(0, 6, (64, 4))
        r, e = wide.step(actions)
        r2, e2 = some.step(actions[:width])
        assert r[:width].tobytes() == r2.tobytes() and e[:width].tobytes() == e2.tobytes()
    assert wide.fingerprint()[:width].tolist() == some.fingerprint().tolist()
    assert wide.obs_array(2)[:width].tobytes() == some.obs_array(2).tobytes()


SCRIPT = """
import numpy as np, hashlib
from crossplay.envs.pitch import PitchBatch
from crossplay.kernel import key
h = hashlib.sha256()
for game in ("soccer-2v1", "football-1v1", "collect-solo"):
    for observe in ("own", "full", "team"):
        env = PitchBatch(game, 3, observe=observe, view_size=5)
        env.reset(range(3), [key("same", b) for b in range(3)])
        rng = np.random.default_rng(0)
        for _ in range(25):
            r, e = env.step(rng.integers(1, 6, (3, len(env.seats))))
            h.update(r.tobytes() + e.tobytes() + env.fingerprint().tobytes())
            h.update(b"".join(env.obs_array(s).tobytes() + env.images(s).tobytes() for s in range(len(env.seats))))
print(h.hexdigest())
"""


def test_compiled_and_interpreted_are_equal() -> None:
    pytest.importorskip("numba")
    out = {
        fast: subprocess.run([sys.executable, "-W", "error::RuntimeWarning", "-c", SCRIPT], env={**os.environ, "CROSSPLAY_FAST": fast}, capture_output=True, text=True, check=True).stdout
        for fast in ("0", "1")
    }  # fmt: skip
    assert out["0"] == out["1"] and len(out["0"]) > 60


def test_snapshots_resume_exactly() -> None:
    env, other = run("soccer-2v2", 2, 40), PitchBatch("soccer-2v2", 2)
    for row in range(2):
        other.restore(row, env.snapshot(row))
    rng = np.random.default_rng(9)
    for _ in range(30):
        actions = rng.integers(0, 6, (2, 4))
        assert env.step(actions)[0].tobytes() == other.step(actions)[0].tobytes()
    assert (env.S == other.S).all()


# -- views ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("observe", OBSERVE)
@pytest.mark.parametrize("game", ["soccer-2v1", "football-1v1", "collect-solo", "basketball-0v1", "collect-2v2"])
def test_the_array_view_is_a_function_of_data(game: str, observe: str) -> None:
    env = run(game, 12, 0, observe=observe, view_size=5)
    rng = np.random.default_rng(2)
    for _ in range(25):
        env.step(rng.integers(1, 6, (12, len(env.seats))))
        for seat, name in enumerate(env.seats):
            lines = env.obs_array(seat)
            assert lines.shape[1:] == env.array_shape(name)
            for row in range(0, 12, 5):
                view = env.view_array(env.data(row, seat))
                assert view.dtype == lines.dtype and view.tobytes() == lines[row].tobytes()
    some = env.obs_array(0, np.array([7, 2]))
    assert some.tobytes() == env.obs_array(0)[[7, 2]].tobytes()


@pytest.mark.parametrize("observe", ["own", "team"])
def test_what_is_out_of_sight_is_not_in_data(observe: str) -> None:
    def look(ball: tuple[int, int], other: tuple[int, int, int]) -> list:
        env = field("soccer-1v1", [(3, 3, NORTH), other], ball=ball, observe=observe)
        env.f.cool[0, 1] = other[0]
        data = env.data(0, 0)
        return [env.view_text(data), env.view_image(data).tobytes(), env.view_array(data).tobytes(), str(data)]

    assert look((7, 7), (9, 9, EAST)) == look((8, 6), (5, 3, NORTH))  # both hidden
    assert look((7, 7), (9, 9, EAST)) != look((3, 1), (9, 9, EAST))  # two ahead
    assert look((7, 7), (9, 9, EAST)) != look((7, 7), (2, 2, EAST))


def test_a_team_shares_what_it_sees() -> None:
    env = field("soccer-2v1", [(3, 3, NORTH), (9, 5, EAST), (11, 5, WEST)], ball=(10, 4), observe="team")
    seen = facts(env.data(0, 0))
    assert seen.balls == ((10, 4),) and [p.seat for p in seen.people] == ["left1", "right0"]
    assert facts(env.data(0, 2)).people[0].seat == "left1" and len(facts(env.data(0, 2)).people) == 1
    alone = field("soccer-2v1", [(3, 3, NORTH), (9, 5, EAST), (11, 5, WEST)], ball=(10, 4), observe="own")
    assert facts(alone.data(0, 0)).balls == () and len(facts(alone.data(0, 0)).people) == 0
    assert facts(alone.data(0, 1)).balls == ((10, 4),)


@pytest.mark.parametrize("view", [3, 5, 9])
def test_facts_read_the_image_right(view: int) -> None:
    """What the image says about cells is where things are: found by looking from every side."""
    env = run("soccer-3v3", 30, 15, view_size=view)
    seen = 0
    for row, seat in itertools.product(range(30), range(6)):
        f = facts(env.data(row, seat))
        for p in f.people:
            j = next(j for j in range(6) if (env.f.x[row, j], env.f.y[row, j]) == (p.x, p.y))
            assert (p.face, p.mate, p.carries) == (
                env.f.face[row, j],
                env.game.side[j] == f.side,
                env.f.carrier[row] == j + 1,
            )
            seen += 1
        for ball in f.balls:
            assert ball == (env.f.bx[row, 0], env.f.by[row, 0])
            seen += 1
    assert seen > 20


@pytest.mark.parametrize("observe", OBSERVE)
@pytest.mark.parametrize("game", ["soccer-1v1", "football-1v1", "basketball-1v1"])
def test_both_teams_see_themselves_attack_to_the_right(game: str, observe: str) -> None:
    g = parse_game(game)
    rng = np.random.default_rng(5)
    for _ in range(12):
        free = list(itertools.product(range(2, g.width - 2), range(1, g.height - 1)))
        (ax, ay), (cx, cy), (bx, by) = (free[k] for k in rng.choice(len(free), 3, replace=False))
        da, dc = rng.integers(0, 4, 2)
        turned = [(g.width - 1 - x, g.height - 1 - y, (d + 2) % 4) for x, y, d in ((ax, ay, da), (cx, cy, dc))]
        one = field(game, [(ax, ay, da), (cx, cy, dc)], (bx, by), observe=observe, view_size=7)
        two = field(game, [turned[1], turned[0]], (g.width - 1 - bx, g.height - 1 - by), observe=observe, view_size=7)
        assert one.obs_array(0).tobytes() == two.obs_array(1).tobytes()
        assert one.obs_array(1).tobytes() == two.obs_array(0).tobytes()


def test_own_planes_are_bits_and_features_are_bounded() -> None:
    bits = run("soccer-2v2", 30, 30, view_size=7)
    assert set(np.unique(bits.obs_array(1))) == {0, 1}
    full = run("collect-2v2", 30, 30, observe="full").obs_array(3)
    assert np.isfinite(full).all() and np.abs(full).max() <= 1.0


def test_the_text_tells_what_matters() -> None:
    env = field("soccer-2v1", [(5, 5, EAST), (5, 8, NORTH), (6, 5, WEST)], carrier=2, observe="full")
    text = env.view_text(env.data(0, 0))
    assert "Ahead of you: an opponent with the ball." in text
    assert "left1: 3 to your right, facing to your left" in text
    assert "the nearest goal cell is 9 ahead." in text
    act(env, PICKUP, NOOP, NOOP)
    assert env.view_text(env.data(0, 2)).endswith("Last tick: left0 stole the ball from right0.")
    assert "You do not see the ball." in field("soccer-1v0", [(5, 5, EAST)]).view_text(
        field("soccer-1v0", [(5, 5, EAST)]).data(0, 0)
    )


@pytest.mark.parametrize("observe", OBSERVE)
def test_pictures(observe: str) -> None:
    env = field("football-2v1", [(5, 5, EAST), (5, 8, NORTH), (6, 5, WEST)], ball=(6, 4), observe=observe)
    picture = env.view_image(env.data(0, 0))
    cells = (3, 3) if observe == "own" else (11, 16)
    assert picture.shape == (cells[0] * TILE, cells[1] * TILE, 3) and picture.dtype == np.uint8
    assert env.picture(0).shape == (11 * TILE, 16 * TILE, 3)
    if observe == "team":
        assert (picture[5, -5] == (48, 48, 52)).all()  # the far corner is dark
    other = field("football-2v1", [(5, 5, EAST), (5, 8, NORTH), (6, 5, WEST)], ball=(6, 6), observe=observe)
    assert (picture != other.view_image(other.data(0, 0))).any()


# -- names and options ---------------------------------------------------------------------------------
def test_names_options_and_errors() -> None:
    assert len(game_names()) == 26 * 3 + 3 == len(set(family.names()))
    for name in game_names():
        game = parse_game(name)
        assert len(game.seats) == sum(game.teams) == len(set(game.seats))
    assert family.make("soccer-1v1", {"horizon": 256, "goals_to_win": 2}).id == "pitch/soccer-1v1@1"
    assert family.make("soccer-1v1", {"view_size": 5}).id == "pitch/soccer-1v1@1?view_size=5"
    assert family.schema("collect-2v2")["properties"]["horizon"]["default"] == 400
    for rest, options, part in (
        ("socer-1v1", {}, 'Did you mean "soccer-1v1"'),
        ("soccer-7v1", {}, "6v6"),
        ("soccer-0v0", {}, "6v6"),
        ("collect-3v3", {}, "collect-2v2"),
        ("soccer-1v1", {"view_size": 4}, "odd"),
        ("soccer-1v1", {"shapin": True}, "shaping"),
        ("soccer-1v1", {"observe": "all"}, "observe"),
    ):
        with pytest.raises(CrossplayError, match=part):
            family.make(rest, options)


# -- skills and the striker ----------------------------------------------------------------------------
@pytest.mark.parametrize("observe", OBSERVE)
@pytest.mark.parametrize("game", ["soccer-2v1", "collect-1v1", "football-1v1", "basketball-1v0"])
def test_every_skill_ends(game: str, observe: str) -> None:
    env = run(game, 1, 0, observe=observe, goals_to_win=99, horizon=4000)
    skills, rng, seats = env.skills, np.random.default_rng(4), range(len(env.seats))
    now: list = [None] * len(env.seats)
    used: Counter[str] = Counter()
    for _ in range(1200):
        actions = []
        for i in seats:
            data = env.data(0, i)
            if now[i] is None:
                legal = skills.legal(data)
                assert legal[skills.names.index("wait")]
                now[i] = [int(rng.choice(np.flatnonzero(legal))), None, 0]
                used[skills.names[now[i][0]]] += 1
                assert skills.describe(now[i][0])
            action, state, done = skills.step(data, now[i][0], now[i][1])
            now[i] = None if done else [now[i][0], state, now[i][2] + 1]
            assert done or now[i][2] < LIMIT + 1
            actions.append(action)
        if act(env, *actions)[1]:
            break
    assert used["get_ball"] > 1 and used["wait"] > 1
    if not env.game.collect:
        assert env.f.goals.sum() > 0


@pytest.mark.parametrize("observe", OBSERVE)
@pytest.mark.parametrize("game", ["soccer-1v1", "basketball-2v2", "football-2v1", "collect-2v2", "collect-solo"])
def test_the_striker_beats_random(game: str, observe: str) -> None:
    env = family.make(game, {"observe": observe})
    wins = []
    for block in range(8):
        mine = "left" if block % 2 == 0 else "right"
        mine = "solo0" if env.seats[0] == "solo0" else mine
        loop(play(env, {s: Striker() if s.startswith(mine) else Random() for s in env.seats}, Block(3, block)))
        win = next(iter(env.score().values()))
        wins.append(1 - win if mine == "right" else win)
    assert np.mean(wins) >= 0.9


@pytest.mark.parametrize("game", ["soccer-3v0", "football-0v2", "basketball-1v0"])
def test_strikers_score_together(game: str) -> None:
    env = family.make(game, {"observe": "full"})
    done = [loop(play(env, {s: striker("", {}) for s in env.seats}, Block(1, 1))) for _ in range(2)]
    assert env.score()["goals"] == 2.0 and env.score()["ticks"] < 150
    assert done[0].world == done[1].world
    still = family.make(game, {})
    loop(play(still, {s: Noop() for s in still.seats}, Block(1, 1)))
    assert still.score()["goals"] == 0.0


def test_the_striker_takes_no_options() -> None:
    with pytest.raises(CrossplayError, match="fast"):
        striker("", {"fast": 1})
    with pytest.raises(CrossplayError, match="plays pitch"):
        Striker().check(type("E", (), {"name": "spread", "id": "spread@1"}), "p0")


def test_pictures_of_the_page_are_current() -> None:
    from PIL import Image

    sys.path.insert(0, str(Path(__file__).parent))
    from pitch_pictures import FOLDER, pictures

    for name, pixels in pictures().items():
        with Image.open(FOLDER / f"pitch-{name}.png") as shown:
            assert (np.asarray(shown.convert("RGB")) == pixels).all(), (
                f"pitch-{name}.png: run tests/envs/pitch_pictures.py"
            )
