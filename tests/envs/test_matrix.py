"""matrix: payoffs, histories, continuation and the classic strategies."""

from __future__ import annotations

import numpy as np
import pytest

from crossplay.agents.scripts.matrix import STRATEGIES, _generosity, strategy
from crossplay.envs.matrix import GAMES, MatrixBatch, family
from crossplay.kernel import Block, CrossplayError, loop, play
from crossplay.kernel.seeds import key, uniform


def match(row: str, column: str, game: str = "prisoners_dilemma", block: int = 0, **options: object):
    env = family.make(game, options)
    lineup = {"row": strategy(row, {}), "column": strategy(column, {})}
    outcome = loop(play(env, lineup, Block(0, block)))
    assert outcome.status in ("terminal", "horizon")
    return env, outcome


def moves(env, seat: str) -> str:
    return "".join(env.data(seat)["actions"][m][0] for m in env.data(seat)["mine"])


def test_the_standard_dilemma() -> None:
    names, table, _ = GAMES["prisoners_dilemma"]
    assert names == ("cooperate", "defect")
    (r, _), (s, t) = table[0][0], table[0][1]
    p = table[1][1][0]
    assert (t, r, p, s) == (5, 3, 1, 0) and 2 * r > t + s


@pytest.mark.parametrize(
    ("row", "column", "rows_moves", "columns_moves"),
    [
        ("tit_for_tat", "always_defect", "cddddd", "dddddd"),
        ("suspicious_tit_for_tat", "tit_for_tat", "dcdcdc", "cdcdcd"),
        ("tit_for_two_tats", "alternate", "cccccc", "cdcdcd"),
        ("tit_for_two_tats", "always_defect", "ccdddd", "dddddd"),
        ("grim", "alternate", "ccdddd", "cdcdcd"),
        ("pavlov", "always_defect", "cdcdcd", "dddddd"),
        ("win_stay_lose_shift", "always_cooperate", "cccccc", "cccccc"),
        ("random(0)", "random(1)", "dddddd", "cccccc"),
        ("generous_tit_for_tat:0", "always_defect", "cddddd", "dddddd"),
        ("generous_tit_for_tat(1)", "always_defect", "cccccc", "dddddd"),
        ("best_reply", "maximin", "dddddd", "dddddd"),
        ("fictitious_play", "always_cooperate", "dddddd", "cccccc"),
    ],
)
def test_strategies_by_hand(row: str, column: str, rows_moves: str, columns_moves: str) -> None:
    env, outcome = match(row, column, rounds=6)
    assert moves(env, "row") == rows_moves and moves(env, "column") == columns_moves
    pay = {"cc": (3, 3), "cd": (0, 5), "dc": (5, 0), "dd": (1, 1)}
    expected = np.mean([pay[a + b] for a, b in zip(rows_moves, columns_moves, strict=True)], axis=0)
    assert outcome.score["payoff_row"] == pytest.approx(expected[0])
    assert outcome.score["payoff_column"] == pytest.approx(expected[1])
    assert outcome.score["payoff"] == pytest.approx(expected.mean())
    share = (rows_moves + columns_moves).count("c") / 12
    assert outcome.score["share_cooperate"] == pytest.approx(share)


def test_every_strategy_plays_every_game() -> None:
    for game in GAMES:
        for name in STRATEGIES:
            _, outcome = match(name, "random", game, rounds=5)
            assert outcome.score["rounds"] == 5 and not outcome.counts.get("faults")


def test_generosity_is_one_third() -> None:
    assert _generosity(np.array([[3, 0], [5, 1]])) == pytest.approx(1 / 3)


def test_generous_forgives_at_its_rate() -> None:
    forgiven = rounds = 0
    for block in range(40):
        env, _ = match("generous_tit_for_tat", "always_defect", rounds=50, block=block)
        mine = env.data("row")["mine"][1:]
        forgiven, rounds = forgiven + int((mine == 0).sum()), rounds + len(mine)
    assert abs(forgiven / rounds - 1 / 3) < 4 * (2 / 9 / rounds) ** 0.5


def test_continuation_is_geometric_and_addressed() -> None:
    width = 4000
    env = MatrixBatch("stag_hunt", width, rounds=200, continuation=0.8)
    env.reset(range(width), [key("c", i) for i in range(width)])
    length = np.zeros(width, int)
    for tick in range(200):
        _, ended = env.step(np.zeros((width, 2), int))
        length[(ended > 0) & (length == 0)] = tick + 1
        if length.all():
            break
    assert abs(length.mean() - 5) < 4 * (0.8 / 0.04 / width) ** 0.5
    row = 7
    by_hand = next(t for t in range(1, 201) if uniform(key("c", row), t, 0) >= 0.8)
    assert length[row] == by_hand


def test_views_agree() -> None:
    env = MatrixBatch("rock_paper_scissors", 5, rounds=4)
    env.reset(range(5), [key(i) for i in range(5)])
    for tick in range(5):
        for seat in (0, 1):
            lines = env.obs_array(seat)
            assert lines.shape == (5, *env.array_shape("row"))
            for row in range(5):
                assert lines[row].tobytes() == env.view_array(env.data(row, seat)).tobytes()
            assert env.view_image(env.data(0, seat)).shape == (32, 32, 3)
        if tick < 4:
            rewards, _ = env.step(np.random.default_rng(tick).integers(0, 3, (5, 2)))
            assert (rewards.sum(axis=1) == 0).all()
    text = env.view_text(env.data(2, 1))
    assert "The game is over." in text and "Round 4: you" in text


def test_seats_see_their_own_side() -> None:
    env = MatrixBatch("custom", 1, payoff=[[[1, 10], [2, 20]], [[3, 30], [4, 40]]], actions=["a", "b"])
    env.reset([0], [key(0)])
    rewards, _ = env.step(np.array([[0, 1]]))
    assert rewards.tolist() == [[2, 20]]
    row, column = env.data(0, 0), env.data(0, 1)
    assert row["payoff"].tolist() == [[1, 2], [3, 4]] and column["payoff"].tolist() == [[10, 30], [20, 40]]
    assert row["mine"].tolist() == column["theirs"].tolist() == [0]
    assert (
        "custom" in env.id
        and MatrixBatch("custom", 1, payoff=[[[1.0, 10], [2, 20]], [[3, 30], [4, 40]]], actions=["a", "b"]).id == env.id
    )


def test_snapshot_returns_to_the_same_play() -> None:
    env = family.make("chicken", {"continuation": 0.9})
    env.reset(key(3))
    env.step({"row": 0, "column": 1}, ())
    saved, print_ = env.snapshot(), env.fingerprint()
    first = [env.step({"row": 1, "column": 0}, ()), env.fingerprint()]
    env.restore(saved)
    assert env.fingerprint() == print_
    assert [env.step({"row": 1, "column": 0}, ()), env.fingerprint()] == first


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: family.make("prisoner_dilemma", {}), 'Did you mean "prisoners_dilemma"'),
        (lambda: family.make("custom", {}), "payoff is missing"),
        (lambda: family.make("custom", {"payoff": [[[1, 2]], [[1, 2]]]}), "square"),
        (lambda: family.make("chicken", {"actions": ["a"]}), "2 different names"),
        (lambda: strategy("tit_for_tit", {}), 'Did you mean "tit_for_tat"'),
        (lambda: strategy("grim(0.2)", {}), "p = '0.2'"),
        (lambda: strategy("random", {"q": 1}), 'unknown option "q"'),
        (lambda: strategy("always_stag", {}).check(family.make("chicken", {}), "row"), "no such action"),
    ],
)
def test_errors_say_what_to_do(call, message: str) -> None:
    with pytest.raises(CrossplayError, match=message):
        call()


def test_columns_and_loop_play_the_same_episodes() -> None:
    from crossplay.kernel import columns

    lineup = {"row": strategy("generous_tit_for_tat", {}), "column": strategy("random(0.6)", {})}
    ats = [Block(2, b) for b in range(12)]
    options = {"continuation": 0.9}
    together = {at.block: o for at, o in columns(MatrixBatch("prisoners_dilemma", 5, **options), lineup, ats)}
    for at in ats:
        alone = loop(play(family.make("", options), lineup, at))
        assert together[at.block].world == alone.world and together[at.block].score == alone.score
    assert len({o.ticks for o in together.values()}) > 3
