"""pettingzoo: equal to the library stepped by hand, AEC and parallel; births and deaths; boards as text."""

from __future__ import annotations

import numpy as np
import pytest

from crossplay.envs.adapters._foreign import seed31
from crossplay.envs.adapters.pettingzoo import AecGame, ParallelGame
from crossplay.kernel import CrossplayError, make_env, pack, unpack
from crossplay.kernel.seeds import key

pettingzoo = pytest.importorskip("pettingzoo")
from gymnasium import spaces  # noqa: E402

AEC = [
    "classic/connect_four_v3",
    "classic/tictactoe_v3",
    "classic/leduc_holdem_v4",
    "classic/texas_holdem_no_limit_v6",
    "classic/rps_v2",
    "classic/hanabi_v5",
]


@pytest.mark.parametrize("name", AEC)
def test_aec_equals_the_library(name: str) -> None:
    module = __import__(f"pettingzoo.{name.replace('/', '.')}", fromlist=["env"])
    env, theirs, k = make_env(f"pettingzoo:{name}"), module.env(), key("zoo", name)
    env.reset(k)
    theirs.reset(seed=seed31(k))
    totals = dict.fromkeys(env.seats, 0.0)
    for tick in range(100):
        if env.ended():
            break
        (seat,) = env.to_act()
        assert seat == theirs.agent_selection
        obs = theirs.observe(seat)
        mask = obs["action_mask"] if isinstance(obs, dict) else None
        np.testing.assert_array_equal(
            env.data(seat)["observation"], obs["observation"] if isinstance(obs, dict) else obs
        )
        if mask is not None:
            assert env.legal(seat) == mask.astype(bool).tolist()
        action = env.spec(seat).draw(k, tick, env.legal(seat))
        rewards = env.step({seat: action}, ())
        theirs.step(action)
        paid = dict(theirs.rewards)
        assert list(rewards) == [pytest.approx(paid.get(s, 0.0)) for s in env.seats]
        for s, r in zip(env.seats, rewards, strict=True):
            totals[s] += r
    assert env.ended() == ("horizon" if name.startswith("classic/rps") else "terminal")
    assert {s: env.score()[f"return_{s}"] for s in env.seats} == totals
    assert all(env.out(s) for s in env.seats) and env.to_act() == ()


def test_parallel_equals_the_library() -> None:
    from mpe2 import simple_tag_v3

    env, theirs, k = make_env("pettingzoo:mpe/simple_tag_v3"), simple_tag_v3.parallel_env(), key("tag")
    env.reset(k)
    obs, _ = theirs.reset(seed=seed31(k))
    for tick in range(25):
        assert env.ended() is None and env.to_act() == env.seats
        for seat in env.seats:
            np.testing.assert_array_equal(env.view(seat, "array"), obs[seat])
        actions = {s: env.spec(s).draw(key(k, s), tick) for s in env.seats}
        rewards = env.step(actions, ())
        obs, expected, *_ = theirs.step(actions)
        assert list(rewards) == [pytest.approx(expected[s]) for s in env.seats]
    assert env.ended() == "horizon" and env.spec(env.seats[0]).names[1] == "left"


def test_one_game_in_two_forms_is_two_ids() -> None:
    turns, together = (
        make_env("pettingzoo:classic/rps_v2"),
        make_env("pettingzoo:classic/rps_v2", {"api": "parallel", "max_cycles": 4}),
    )
    assert (
        turns.id == "pettingzoo:classic/rps_v2@1"
        and together.id == 'pettingzoo:classic/rps_v2@1?api="parallel"&max_cycles=4'
    )
    together.reset(key(0))
    rewards = [together.step({"player_0": 1, "player_1": 0}, ()) for _ in range(4)]  # paper beats rock
    assert rewards == [[1.0, -1.0]] * 4 and together.ended() == "horizon"
    assert "last move: rock" in together.view("player_0", "text")


@pytest.mark.parametrize(
    "name", ["classic/chess_v6", "classic/go_v5", "classic/texas_holdem_v4", "mpe/simple_spread_v3"]
)
def test_snapshot_is_a_replay(name: str) -> None:
    env, other = make_env(f"pettingzoo:{name}"), make_env(f"pettingzoo:{name}")

    def go(world, tick):
        return world.step({s: world.spec(s).draw(key(s), tick, world.legal(s)) for s in world.to_act()}, ())

    env.reset(key("snap"))
    for tick in range(3):
        if env.ended() is None:
            go(env, tick)
    other.restore(env.snapshot())
    for tick in range(3, 7):
        assert other.fingerprint() == env.fingerprint()
        if env.ended():
            break
        for seat in env.seats:
            assert pack(env.data(seat)) == pack(other.data(seat))
            assert env.view_text(unpack(pack(env.data(seat)))) == env.view(seat, "text")
        assert go(env, tick) == go(other, tick)


def test_chess_names_and_board_are_the_games() -> None:
    chess = pytest.importorskip("chess")
    env = make_env("pettingzoo:classic/chess_v6")
    env.reset(key("chess"))
    board = chess.Board()
    for tick in range(80):
        if env.ended():
            break
        (seat,) = env.to_act()
        names = env.spec(seat).names
        legal = sorted(n for n, ok in zip(names, env.legal(seat), strict=True) if ok)
        expected = sorted({m.uci().removesuffix("q") for m in board.legal_moves})
        assert legal == expected
        rows = [line[2:].split() for line in env.view(seat, "text").splitlines()[1:9]]
        shown = rows if seat == "player_0" else rows[::-1]
        assert "\n".join(" ".join(r) for r in shown) == str(board)
        move = legal[(tick * 7) % len(legal)]
        env.step({seat: names.index(move)}, ())
        found = next(
            m for m in board.legal_moves if m.uci().removesuffix("q") == move and m.uci()[4:] in ("", "q", move[4:])
        )
        board.push(found)
    assert tick > 20 and len(set(env.spec("player_0").names)) == 4672


def test_boards_as_text() -> None:
    env = make_env("pettingzoo:classic/connect_four_v3")
    env.reset(key(0))
    for column in ("column_4", "column_4", "column_1"):
        (seat,) = env.to_act()
        env.step({seat: env.spec(seat).check(column)}, ())
    lines = env.view("player_1", "text").splitlines()
    assert lines[5:8] == [". . . X . . .", "O . . O . . .", "1 2 3 4 5 6 7"]
    assert "Legal now: column_1, column_2" in lines[8]
    ttt = make_env("pettingzoo:classic/tictactoe_v3")
    ttt.reset(key(0))
    for cell in ("top_right", "centre_middle"):
        (seat,) = ttt.to_act()
        ttt.step({seat: ttt.spec(seat).check(cell)}, ())
    assert ttt.view("player_1", "text").splitlines()[1:4] == [". . X", ". O .", ". . ."]


def test_go_names_and_stones() -> None:
    env = make_env("pettingzoo:classic/go_v5", {"board_size": 5})
    env.reset(key(0))
    for point in ("A5", "C3", "pass", "E1"):
        (seat,) = env.to_act()
        env.step({seat: env.spec(seat).check(point)}, ())
    for seat in env.seats:  # to move or not, the stones are where they are
        rows = [line.split()[1:] for line in env.view(seat, "text").splitlines()[1:6]]
        assert rows[0][0] == "X" and rows[2][2] == "O" and rows[4][4] == "O"
        assert sum(c != "." for r in rows for c in r) == 3
    assert env.view("black_0", "text").startswith("You are black") and env.view("white_0", "text").startswith(
        "You are white"
    )


class _Crowd:
    """A parallel world: b is born at tick 1 and dies at tick 2, a is cut at tick 3."""

    possible_agents = ["a_0", "b_0"]

    def observation_space(self, agent):
        return spaces.Box(0, 9, (1,))

    def action_space(self, agent):
        return spaces.Discrete(2)

    def reset(self, seed=None, options=None):
        self.agents, self.t = ["a_0"], 0
        return {"a_0": np.zeros(1, np.float32)}, {"a_0": {}}

    def step(self, actions):
        self.t += 1
        assert set(actions) == set(self.agents)
        before = list(self.agents)
        if self.t == 1:
            self.agents = ["b_0", "a_0"]
        live = sorted(set(before) | set(self.agents))
        ends = {"b_0": self.t == 2}
        cuts = {"a_0": self.t == 3}
        self.agents = [a for a in self.agents if not (ends.get(a) or cuts.get(a))]
        return (
            {a: np.full(1, self.t, np.float32) for a in live},
            dict.fromkeys(before, 1.0),
            {a: ends.get(a, False) for a in live},
            {a: cuts.get(a, False) for a in live},
            {a: {"action_mask": np.array([1, 0])} for a in live},
        )

    def close(self):
        pass


def test_births_and_deaths() -> None:
    env = ParallelGame("pettingzoo:test/crowd", "test/crowd_v0", {}, _Crowd())
    env.reset(key(0))
    assert env.to_act() == ("a_0",) and env.out("b_0") is None
    assert env.view("b_0", "text") == "You are not in play yet." and env.view("b_0", "array").shape == env.array_shape(
        "b_0"
    )
    assert env.step({"a_0": 0}, ()) == [1.0, 0.0]
    assert env.to_act() == ("a_0", "b_0") and env.legal("b_0") == [True, False]
    assert env.step({"a_0": 0, "b_0": 0}, ()) == [1.0, 1.0]
    assert env.out("b_0") == "terminal" and env.to_act() == ("a_0",) and env.ended() is None
    assert env.step({"a_0": 0}, ()) == [1.0, 0.0]
    assert env.ended() == "terminal" and env.out("a_0") == "horizon" and env.to_act() == ()
    assert env.view("b_0", "array").tolist() == [2.0]  # the last thing it saw


class _Duel(pettingzoo.AECEnv):
    """Three seats in turn; b is out after its first move, which pays c; the rest are cut at the sixth."""

    def __init__(self):
        self.possible_agents = ["a_0", "b_0", "c_0"]
        self.metadata = {"name": "duel"}

    def observation_space(self, agent):
        return spaces.Box(0, 9, (1,))

    def action_space(self, agent):
        return spaces.Discrete(2)

    def observe(self, agent):
        return np.full(1, self.t, np.float32)

    def reset(self, seed=None, options=None):
        self.agents, self.t = list(self.possible_agents), 0
        self.rewards, self._cumulative_rewards = dict.fromkeys(self.agents, 0), dict.fromkeys(self.agents, 0)
        self.terminations, self.truncations = dict.fromkeys(self.agents, False), dict.fromkeys(self.agents, False)
        self.infos = {a: {} for a in self.agents}
        self._skip_agent_selection = None
        self.agent_selection = "a_0"

    def step(self, action):
        if self.terminations[self.agent_selection] or self.truncations[self.agent_selection]:
            self._was_dead_step(action)
            return
        assert action is not None
        agent = self.agent_selection
        self.t += 1
        self._clear_rewards()
        live = [a for a in self.agents if not self.terminations[a]]
        self.agent_selection = live[(live.index(agent) + 1) % len(live)]
        if agent == "b_0":
            self.terminations["b_0"] = True
            self.rewards["c_0"] = 2
        if self.t == 6:
            self.truncations = dict.fromkeys(self.agents, True)
        self._accumulate_rewards()
        self._deads_step_first()


def test_a_dead_seat_is_passed_over_in_turns() -> None:
    env = AecGame("pettingzoo:test/duel", "test/duel_v0", {}, _Duel())
    env.reset(key(1))
    order, rewards = [], []
    while env.ended() is None:
        (seat,) = env.to_act()
        order.append(seat[0])
        rewards.append(env.step({seat: 0}, ()))
        assert env.out("b_0") == (None if len(order) < 2 else "terminal")
    assert "".join(order) == "abcaca"
    assert rewards[1] == [0.0, 0.0, 2.0] and sum(map(sum, rewards)) == 2.0
    assert env.ended() == "terminal" and env.out("a_0") == "horizon"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("classic/conect_four_v3", {}, 'Did you mean "classic/connect_four_v3"'),
        ("classic/connect_four_v3", {"api": "parallel"}, 'api = "parallel"'),
        ("mpe/simple_spread_v3", {"M": 4}, 'unknown option "M"'),
        ("sisl/multiwalker_v9", {}, r"pettingzoo\[sisl\]"),
    ],
)
def test_errors_say_what_to_do(name: str, options: dict, message: str) -> None:
    if "sisl" in name:
        try:
            import Box2D  # noqa: F401

            pytest.skip("Box2D is installed")
        except ImportError:
            pass
    with pytest.raises(CrossplayError, match=message):
        make_env(f"pettingzoo:{name}", options)


def test_a_forfeit_of_a_board_game_is_a_loss() -> None:
    env = make_env("pettingzoo:classic/tictactoe_v3")
    env.reset(key(0))
    assert (
        env.forfeit_score("player_1")["return_player_1"] == -1.0
        and env.forfeit_score("player_1")["return_player_2"] == 1.0
    )
