"""openspiel: equal to pyspiel by hand; chance is addressed; names that claim to be static are."""

from __future__ import annotations

import numpy as np
import pytest

from crossplay.envs.adapters.openspiel import STATIC_NAMES, _outcome, family
from crossplay.kernel import CrossplayError, Invalid, make_env, pack, unpack
from crossplay.kernel.seeds import key, uniform

pyspiel = pytest.importorskip("pyspiel")

GAMES = [
    "tic_tac_toe",
    "connect_four",
    "leduc_poker",
    "kuhn_poker",
    "goofspiel",
    "matrix_pd",
    "markov_soccer",
    "hanabi",
    "coop_box_pushing",
]


def draw_actions(env, tick: int, salt: object = 0) -> dict:
    return {s: env.spec(s).draw(key("play", salt, s), tick, env.legal(s)) for s in env.to_act()}


@pytest.mark.parametrize("name", GAMES)
def test_equals_pyspiel(name: str) -> None:
    env = make_env(f"openspiel:{name}")
    k = key("spiel", name)
    env.reset(k)
    state = pyspiel.load_game(name).new_initial_state()
    total = np.zeros(len(env.seats))

    def chance(tick: int) -> None:
        slot = 0
        while state.is_chance_node():
            state.apply_action(_outcome(state.chance_outcomes(), uniform(k, tick, slot)))
            slot += 1

    chance(0)
    for tick in range(200):
        if env.ended():
            break
        if state.is_simultaneous_node():
            assert env.to_act() == tuple(s for i, s in enumerate(env.seats) if state.legal_actions(i))
        else:
            assert env.to_act() == (f"p{state.current_player()}",)
        for seat in env.to_act():
            assert [i for i, ok in enumerate(env.legal(seat)) if ok] == state.legal_actions(int(seat[1:]))
        actions = draw_actions(env, tick)
        total += env.step(actions, ())
        if state.is_simultaneous_node():
            state.apply_actions([actions.get(s, 0) for s in env.seats])
        else:
            state.apply_action(next(iter(actions.values())))
        chance(tick + 1)
        assert str(state) == env.text()
    assert state.is_terminal() == (env.ended() == "terminal")
    np.testing.assert_allclose(total, state.returns(), atol=1e-9)
    assert [env.score()[f"return_{s}"] for s in env.seats] == state.returns()


@pytest.mark.parametrize("name", GAMES)
def test_snapshot_restores_without_drawing(name: str) -> None:
    env, other = make_env(f"openspiel:{name}"), make_env(f"openspiel:{name}")
    env.reset(key("snap"))
    tick = 0
    while env.ended() is None and tick < 60:
        other.restore(env.snapshot())
        assert other.fingerprint() == env.fingerprint() and other.to_act() == env.to_act()
        assert [pack(other.data(s)) for s in env.seats] == [pack(env.data(s)) for s in env.seats]
        actions = draw_actions(env, tick)
        assert list(env.step(actions, ())) == list(other.step(actions, ()))
        assert other.fingerprint() == env.fingerprint() and other.score() == env.score()
        tick += 1


def test_chance_pairs_after_the_first_different_action() -> None:
    """Prize cards of goofspiel stay equal whatever is bid; the deal of leduc does not depend on play."""
    prizes = []
    for salt in range(3):
        env = make_env("openspiel:goofspiel", {"num_cards": 6})
        env.reset(key("pairs"))
        seen = []
        tick = 0
        while env.ended() is None:
            seen.append(env.view("p0", "text").split("Current point card: ")[1].split("\n")[0])
            env.step(draw_actions(env, tick, salt), ())
            tick += 1
        prizes.append(seen)
    assert prizes[0] == prizes[1] == prizes[2] and len(set(prizes[0])) == len(prizes[0])
    assert env.paired == "events"


def test_chance_has_the_right_frequencies() -> None:
    env = make_env("openspiel:kuhn_poker")
    counts: dict[str, int] = {}
    for block in range(3000):
        env.reset(key("deal", block))
        deal = " ".join(env.text().split()[:2])
        counts[deal] = counts.get(deal, 0) + 1
    assert len(counts) == 6
    expected = 3000 / 6
    assert sum((c - expected) ** 2 / expected for c in counts.values()) < 25.7  # chi-squared, 5 degrees: p < 1e-4


@pytest.mark.parametrize("name", sorted(STATIC_NAMES | {"tic_tac_toe", "leduc_poker", "matrix_pd"}))
def test_static_names_are_static(name: str) -> None:
    env = make_env(f"openspiel:{name}")
    assert env.spec("p0").names != tuple(str(i) for i in range(len(env.spec("p0").names)))
    for salt in range(4):
        env.reset(key("names", salt))
        tick = 0
        while env.ended() is None and tick < 80:
            for seat in env.to_act():
                assert all(label == said for label, said in env.data(seat)["legal"])
            env.step(draw_actions(env, tick, salt), ())
            tick += 1


def test_other_names_are_numbers_with_labels() -> None:
    env = make_env("openspiel:chess")
    env.reset(key(0))
    assert "2426 (e4)" in env.view("p1", "text") and env.spec("p1").names[7] == "7"
    assert make_env("openspiel:connect_four").spec("p0").names[0] == "column_1"


def test_seats_see_only_their_own_cards() -> None:
    env = make_env("openspiel:leduc_poker")
    env.reset(key(4))
    a, b = env.data("p0"), env.data("p1")
    assert a["information"] != b["information"] and a["legal"] and not b["legal"]
    for seat in env.seats:
        data = unpack(pack(env.data(seat)))
        assert env.view_text(data) == env.view(seat, "text")
        np.testing.assert_array_equal(env.view_array(data), env.view(seat, "array"))
        assert env.view(seat, "array").shape == env.array_shape(seat)


def test_data_of_a_seat_does_not_depend_on_hidden_cards() -> None:
    """Two deals that differ only in the other's card give equal data."""
    game = make_env("openspiel:kuhn_poker")
    by_card: dict[str, set[bytes]] = {}
    for block in range(60):
        game.reset(key("hidden", block))
        own = game.text().split()[0]
        by_card.setdefault(own, set()).add(pack(game.data("p0")))
    assert len(by_card) == 3 and all(len(v) == 1 for v in by_card.values())


def test_forfeit_costs_the_least_utility() -> None:
    env = make_env("openspiel:leduc_poker")
    env.reset(key(0))
    score = env.forfeit_score("p1")
    assert score["return_p1"] == -13.0 and score["return_p0"] == 13.0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("leduc", {}, 'Did you mean "leduc_poker"'),
        ("goofspiel", {"cards": 4}, 'unknown option "cards"'),
        ("goofspiel", {"num_cards": "x"}, "Wrong type"),
        ("mfg_crowd_modelling", {}, "mean-field"),
        ("tarok", {}, "inside itself"),
    ],
)
def test_errors_say_what_to_do(name: str, options: dict, message: str) -> None:
    with pytest.raises(CrossplayError, match=message):
        make_env(f"openspiel:{name}", options)


def test_illegal_moves_are_refused_and_options_enter_the_id() -> None:
    env = make_env("openspiel:tic_tac_toe")
    env.reset(key(0))
    env.step({"p0": 4}, ())
    with pytest.raises(Invalid):
        env.spec("p1").check("o(1,1)", env.legal("p1"))
    assert make_env("openspiel:goofspiel", {"num_cards": 4}).id == "openspiel:goofspiel@1?num_cards=4"
    assert make_env("openspiel:goofspiel", {"num_cards": 13}).id == "openspiel:goofspiel@1"


def test_every_listed_game_can_be_begun() -> None:
    names = family.names()
    assert "leduc_poker" in names and "tarok" not in names and len(names) > 60
    assert all(family.schema(n)["type"] == "object" for n in names)
