"""OpenSpiel's bots and alpha-beta: against enumeration, the same when asked again, no more than the seat may know."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest

from crossplay.agents import Context
from crossplay.agents.alpha_beta import search
from crossplay.agents.basic import Random
from crossplay.agents.connect_four import mirrored, place, position, solve
from crossplay.agents.connect_four_book import _book, look_up
from crossplay.agents.context import read_options
from crossplay.agents.openspiel_bots import openspiel_bot
from crossplay.envs.adapters.openspiel import replay
from crossplay.kernel import (
    Agent,
    Block,
    CrossplayError,
    Lineup,
    Observation,
    key,
    loop,
    make_env,
    pack,
    pick,
    play,
    unpack,
)
from crossplay.kernel.fast import compiled
from crossplay.kernel.obs import Scope

pyspiel = pytest.importorskip("pyspiel")


def bot(name: str, **given: Any) -> Agent:
    agent: Agent = openspiel_bot(name, read_options(openspiel_bot.options, given, "bot"), Context())
    return agent


def game(name: str, a: Agent, b: Agent, block: int = 0, **options: Any) -> Any:
    env = make_env(f"openspiel:{name}", options)
    lineup = {"p0": a, "p1": b}
    for seat, agent in lineup.items():
        agent.check(env, seat)
    return loop(play(env, Lineup(lineup), Block(3, block)))


# -- alpha-beta ------------------------------------------------------------------------------------------
@lru_cache(None)
def minimax(history: tuple[int, ...]) -> float:
    """The value of a position of tic-tac-toe for the first player, by trying everything."""
    state = pyspiel.load_game("tic_tac_toe").new_initial_state()
    replay(state, history)
    if state.is_terminal():
        return float(state.player_return(0))
    values = [minimax((*history, a)) for a in state.legal_actions()]
    return max(values) if state.current_player() == 0 else min(values)


def test_alpha_beta_finds_all_the_best_moves() -> None:
    """In every third position that random play reaches, against plain minimax."""
    tried = 0
    for block in range(30):
        state = pyspiel.load_game("tic_tac_toe").new_initial_state()
        history: list[int] = []
        for n in range(2 + block % 5):
            legal = state.legal_actions()
            history.append(legal[(7 * block + 3 * n) % len(legal)])
            state.apply_action(history[-1])
            if state.is_terminal():
                break
        if state.is_terminal():
            continue
        found = search(state, 64, 10**6)
        sign = 1 if state.current_player() == 0 else -1
        values = {a: sign * minimax((*history, a)) for a in state.legal_actions()}
        best = max(values.values())
        assert found.proven and found.value == best
        assert set(found.best) <= {a for a, v in values.items() if v == best}
        if best == 0:
            assert set(found.best) == {a for a, v in values.items() if v == 0}
        tried += 1
    assert tried > 20


def test_it_wins_at_once_and_loses_as_late_as_it_can() -> None:
    state = pyspiel.load_game("connect_four").new_initial_state()
    replay(state, [0, 6, 0, 6, 0, 6])  # three in a column each; the first to move has won
    assert search(state, 64, 5000) == (search(state, 1, 5000)) and search(state, 64, 5000).best == (0,)
    small = pyspiel.load_game("connect_four(rows=4,columns=4,x_in_row=3)")

    @lru_cache(None)
    def plies(history: tuple[int, ...]) -> tuple[float, int]:
        """(value for the mover, plies until it is decided when both play for time), by trying everything."""
        state = small.new_initial_state()
        replay(state, history)
        if state.is_terminal():
            return float(state.player_return(len(history) % 2)), 0
        after = [plies((*history, a)) for a in state.legal_actions()]
        best = max(-v for v, _ in after)
        lengths = [n + 1 for v, n in after if -v == best]
        return best, min(lengths) if best > 0 else max(lengths)

    lost = 0
    for n in range(60):
        state = small.new_initial_state()
        while not state.is_terminal() and len(state.history()) < 7:
            legal = state.legal_actions()
            state.apply_action(legal[pick(key("lost", n), len(legal), len(state.history()))])
        history = tuple(state.history())
        if state.is_terminal() or plies(history)[0] >= 0:
            continue
        found, (_, longest) = search(state, 64, 10**6), plies(history)
        assert found.proven and found.value == -1.0
        assert all(plies((*history, a))[1] + 1 == longest for a in found.best)
        lost += any(plies((*history, a))[1] + 1 < longest for a in state.legal_actions())
    assert lost > 2  # positions in which some moves lose sooner than others


def test_a_search_that_is_cut_says_so() -> None:
    state = pyspiel.load_game("connect_four").new_initial_state()
    found = search(state, 64, 3)
    assert not found.proven and found.depth == 0 and found.best == tuple(range(7))
    deeper = search(state, 3, 10**6)
    assert not deeper.proven and deeper.depth == 3


def test_perfect_players_draw_and_never_lose() -> None:
    perfect, chance = bot("alpha_beta"), bot("uniform_random")
    drawn = game("tic_tac_toe", perfect, perfect)
    assert drawn.score["return_p0"] == 0.0 and "unproven" not in drawn.counts["p0"]
    for block in range(4):
        assert game("tic_tac_toe", perfect, chance, block).score["return_p0"] >= 0.0
        assert game("tic_tac_toe", chance, perfect, block).score["return_p1"] >= 0.0
    cut = game("connect_four", bot("alpha_beta", nodes=300), chance)
    assert cut.counts["p0"]["unproven"] > 0 and cut.score["return_p0"] == 1.0


# -- connect four ----------------------------------------------------------------------------------------
needs_fast = pytest.mark.skipif(not compiled(), reason="solving connect four needs compiled loops (the extra fast)")


def late(n: int, plies: int) -> Any:
    """A position of connect four that random play reaches, not over."""
    for again in range(100):
        state = pyspiel.load_game("connect_four").new_initial_state()
        while not state.is_terminal() and len(state.history()) < plies:
            legal = state.legal_actions()
            state.apply_action(legal[pick(key("late", n, again), len(legal), len(state.history()))])
        if not state.is_terminal():
            return state
    raise AssertionError


@needs_fast
@pytest.mark.parametrize("n", range(8))
def test_the_solver_agrees_with_the_search_of_openspiels_states(n: int) -> None:
    """The outcome, and all the moves that keep it, found by another program on another board."""
    state = late(n, 27)
    solved = solve(*position(state.history()), 10**8)
    mover, values = state.current_player(), {}
    for column in state.legal_actions():
        then = state.child(column)
        found = None if then.is_terminal() else search(then, 64, 10**6)
        assert found is None or found.proven
        values[column] = then.player_return(mover) if found is None else -found.value
    best = max(values.values())
    assert solved.proven and solved.value == best
    assert solved.best == tuple(c for c, v in values.items() if v == best) or solved.nodes == 0
    assert set(solved.best) <= {c for c, v in values.items() if v == best}


@needs_fast
def test_mirrored_positions_have_mirrored_answers() -> None:
    for n in range(4):
        mine, full = position(late(n, 16).history())
        there, here = solve(mirrored(mine), mirrored(full), 10**8), solve(mine, full, 10**8)
        assert there.value == here.value and there.best == tuple(6 - c for c in reversed(here.best))
        target = solve(mine, full, 10**8, target=1)
        assert (target.value == 1) == (here.value == 1) and (here.value < 1 or target.best == here.best)


@needs_fast
def test_too_few_positions_are_said() -> None:
    solved = solve(0, 0, 1000)
    assert not solved.proven and solved.best == tuple(range(7))
    done = game("connect_four", bot("perfect", nodes=1000), bot("uniform_random"))
    assert done.status == "terminal"


def test_the_book_names_columns_that_can_be_played() -> None:
    assert look_up(0, 0) == 3  # the middle wins (Allis 1988; Allen 1988)
    for name, column in _book().items():
        assert 0 <= column < 7 and int(name, 36) < 1 << 49
    for columns in ([3, 0], [3, 6]):
        found = look_up(*position(columns))
        assert found is None or found == 6 - look_up(*position([6 - c for c in columns]))  # type: ignore[operator]


@needs_fast
def test_the_perfect_player_begins_and_wins() -> None:
    """The first player wins connect four with perfect play; the other searches as far as it can."""
    done = game("connect_four", bot("perfect", ties="first"), bot("alpha_beta", nodes=3000))
    assert done.score["return_p0"] == 1.0 and "unproven" not in done.counts["p0"]


@needs_fast
@pytest.mark.full
@pytest.mark.parametrize("n", range(6))
def test_moves_of_the_book_keep_the_win(n: int) -> None:
    """From the start, by the book, against drawn replies; what follows the book is solved afresh."""
    columns: list[int] = []
    while (column := look_up(*position(columns))) is not None:
        columns.append(column)
        free = [c for c in range(7) if place(position(columns)[1], c)]
        columns.append(free[pick(key("book", n), len(free), len(columns))])
    assert len(columns) >= 4
    assert solve(*position(columns), 10**9, all_best=False, target=1).value == 1


@needs_fast
@pytest.mark.full
@pytest.mark.parametrize("block", range(3))
def test_the_perfect_player_beats_long_searches(block: int) -> None:
    done = game("connect_four", bot("perfect", ties="first"), bot("mcts", simulations=2000), block)
    assert done.score["return_p0"] == 1.0 and "unproven" not in done.counts["p0"]


@needs_fast
def test_a_lost_game_is_not_made_easy() -> None:
    """Every move loses against perfect play; it takes one that does not lose at once."""
    columns = next(c for n in range(400) if (c := list(late(n, 22).history())) and _lost_but_not_at_once(c))
    env = make_env("openspiel:connect_four")
    env.reset(bytes(16))
    for column in columns:
        env.step({env.to_act()[0]: column}, ())
    (seat,) = env.to_act()
    for block in range(8):
        obs = Observation(Scope(env, env.id, Block(0, block), seat), "act", len(columns), env.legal(seat))
        assert bot("perfect").act(obs) in _not_at_once(columns)


def _not_at_once(columns: list[int]) -> list[int]:
    """The moves after which the other cannot win with the next one."""
    state = pyspiel.load_game("connect_four").new_initial_state()
    replay(state, columns)
    kept = []
    for column in state.legal_actions():
        then = state.child(column)
        if not any(
            then.child(a).is_terminal() and then.child(a).player_return(then.current_player()) > 0
            for a in then.legal_actions()
        ):
            kept.append(column)
    return kept


def _lost_but_not_at_once(columns: list[int]) -> bool:
    solved = solve(*position(columns), 10**7)
    return solved.value < 0 and 0 < len(_not_at_once(columns)) < len(solved.best)


def test_the_perfect_player_of_tic_tac_toe() -> None:
    perfect = bot("perfect")
    assert game("tic_tac_toe", perfect, bot("mcts")).score["return_p0"] >= 0.0
    assert game("tic_tac_toe", bot("mcts"), perfect).score["return_p1"] >= 0.0
    with pytest.raises(CrossplayError, match="plays openspiel:tic_tac_toe and openspiel:connect_four, not"):
        perfect.check(make_env("openspiel:connect_four", {"columns": 6}), "p0")


# -- OpenSpiel's own -------------------------------------------------------------------------------------
def test_mcts_beats_chance() -> None:
    search_, chance = bot("mcts", simulations=60), bot("uniform_random")
    wins = sum(
        game("connect_four", *((search_, chance) if n % 2 else (chance, search_)), n).score[f"return_p{1 - n % 2}"]
        for n in range(8)
    )
    assert wins >= 7  # a fair coin would do that with probability 9/256


@pytest.mark.parametrize(
    ("name", "options"),
    [("mcts", {"simulations": 20}), ("alpha_beta", {"nodes": 500}), ("fixed_action_preference", {})],
)
@pytest.mark.parametrize("played", ["connect_four", "breakthrough"])
def test_equal_blocks_give_equal_games_in_any_order(name: str, options: dict[str, Any], played: str) -> None:
    agent = bot(name, **options)
    first = [game(played, agent, Random(), block) for block in range(3)]
    again = [game(played, agent, Random(), block) for block in (2, 1, 0)][::-1]
    assert [o.world for o in first] == [o.world for o in again]
    assert len({o.world for o in first}) == 3


def test_bots_draw_by_the_seat_and_the_block() -> None:
    agent = bot("mcts", simulations=3)
    assert len({game("breakthrough", agent, agent, block).world for block in range(4)}) == 4


def test_games_with_chance_can_be_searched() -> None:
    done = game("pig", bot("mcts", simulations=10), bot("uniform_random"), winscore=15)
    assert done.status == "terminal"


def test_uniform_random_plays_what_is_hidden() -> None:
    for name in ("leduc_poker", "goofspiel"):
        assert game(name, bot("uniform_random"), bot("uniform_random")).status == "terminal"


# -- what a seat may know --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["chess", "backgammon", "oshi_zumo", "havannah", "pig"])
def test_the_state_is_rebuilt_from_data(name: str) -> None:
    env = make_env(f"openspiel:{name}")
    env.reset(key("rebuild", name))
    for tick in range(30):
        if env.ended():
            break
        data = unpack(pack(env.data(env.seats[0])))
        state = pyspiel.load_game(data["game"]).new_initial_state()
        replay(state, data["history"])
        assert str(state) == env.text()
        env.step({s: env.spec(s).draw(key("rebuild", s), tick, env.legal(s)) for s in env.to_act()}, ())


def test_games_that_hide_something_give_no_history() -> None:
    env = make_env("openspiel:leduc_poker")
    env.reset(key("hidden"))
    assert env.data("p0")["history"] is None
    for hidden, wanted in ((True, type(None)), (False, list)):
        env = make_env("openspiel:goofspiel", {"imp_info": hidden})
        env.reset(key("hidden"))
        assert type(env.data("p0")["history"]) is wanted


@pytest.mark.parametrize(
    ("name", "played", "options", "message"),
    [
        ("mcts", "leduc_poker", {}, "hides something"),
        ("mcts", "oshi_zumo", {}, "one move after the other"),
        ("alpha_beta", "pig", {}, "without chance"),
        ("alpha_beta", "quoridor", {"players": 4, "board_size": 5}, "two-player"),
        ("fixed_action_preference", "leduc_poker", {}, "hides something"),
        ("uniform_restricted_actions", "tic_tac_toe", {}, "OpenSpiel does not make it"),
    ],
)
def test_bots_refuse_what_they_cannot_play(name: str, played: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(CrossplayError, match=message):
        bot(name).check(make_env(f"openspiel:{played}", options), "p0")


def test_names_and_other_environments() -> None:
    with pytest.raises(CrossplayError, match='Did you mean "mcts"'):
        bot("mtcs")
    with pytest.raises(CrossplayError, match="plays games of OpenSpiel, not spread"):
        bot("mcts").check(make_env("spread"), "p0")
    assert bot("mcts", simulations=7).manifest()["settings"]["simulations"] == 7
