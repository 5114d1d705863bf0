"""textarena: words in, words out; chance of its own; invalid moves counted; what does not work says why."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("textarena")

from crossplay.agents.scripts.textarena import Offered, offered
from crossplay.envs.adapters import textarena as adapter
from crossplay.envs.adapters.textarena import TextGame, family
from crossplay.envs.check import check
from crossplay.kernel import Agent, Block, CrossplayError, Lineup, key, loop, pack, play

PLAYED = ["KuhnPoker-v0-long", "TicTacToe-v0", "PigDice-v0-short", "ThreePlayerIPD-v0", "IndianPoker-v0", "Snake-v0"]


def moves(env: TextGame, salt: object) -> Iterator[tuple[Any, ...]]:
    """The moves of the random player, tick by tick, with what the game said to the one who moves."""
    tick = 0
    while env.ended() is None and tick < 60:
        (seat,) = env.to_act()
        told = env.view(seat, "text")
        found = [m for text in reversed(env.data(seat)["messages"]) for m in re.findall(r"\[[a-zA-Z0-9 ]+\]", text[3])]
        move = found[random.Random(f"{salt} {seat} {tick}").randrange(len(found))] if found else "[]"
        yield seat, told, env.step({seat: move}, ()), env.fingerprint()
        tick += 1


def apart(game: str, block: int) -> list[tuple[Any, ...]]:
    env = family.make(game, {})
    env.reset(key("apart", block))
    return list(moves(env, block))


def in_turns(game: str) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Two episodes that take turns, move by move."""
    envs = [family.make(game, {}), family.make(game, {})]
    runs: list[list[tuple[Any, ...]]] = [[], []]
    for block, env in enumerate(envs):
        env.reset(key("apart", block))
    ways = [moves(env, block) for block, env in enumerate(envs)]
    while any(env.ended() is None for env in envs):
        before = [len(r) for r in runs]
        for run, way in zip(runs, ways, strict=True):
            with contextlib.suppress(StopIteration):
                run.append(next(way))
        if before == [len(r) for r in runs]:
            break
    return runs[0], runs[1]


@pytest.mark.parametrize("game", PLAYED)
def test_episodes_that_take_turns_are_those_played_apart(game: str) -> None:
    mine, theirs = in_turns(game)
    assert mine == apart(game, 0)
    assert theirs == apart(game, 1)
    assert len(mine) > 3


def test_without_generators_of_their_own_they_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library does by itself: the global generator is seeded at reset, and then everybody's."""

    class Shared:
        def __init__(self, seed: int) -> None:
            pass

        def __enter__(self) -> None:
            pass

        def __exit__(self, *error: object) -> None:
            pass

    outside = random.getstate()
    monkeypatch.setattr(adapter, "_Dice", Shared)
    try:
        mine, theirs = in_turns("KuhnPoker-v0-long")
        assert mine != apart("KuhnPoker-v0-long", 0) or theirs != apart("KuhnPoker-v0-long", 1)
    finally:
        random.setstate(outside)


def test_the_generators_of_the_process_are_left_alone() -> None:
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002 (these are the ones that must not move)
    python, numpy = random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002
    env = family.make("KuhnPoker-v0", {})
    env.reset(key("outside"))
    env.step({env.to_act()[0]: "[check]"}, ())
    env.text()
    assert random.getstate() == python
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == numpy  # noqa: NPY002
    with pytest.raises(RuntimeError), adapter._Dice(3):
        random.random()
        raise RuntimeError
    assert random.getstate() == python


class Says(Agent):
    """Says what it was given, then that again."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def act(self, obs: Any) -> str:
        return self.words[min(obs.tick // 2, len(self.words) - 1)]


def test_a_game_to_its_end() -> None:
    env = family.make("TicTacToe-v0", {})
    done = loop(play(env, Lineup({"p0": Says("[0]", "1", "[2]"), "p1": Says("[3]", "[4]", "[8]")})))
    assert (done.status, done.ticks) == (
        "terminal",
        5,
    )  # a bare number is put in brackets, as the game's own wrapper does
    assert (done.score["reward_p0"], done.score["reward_p1"], done.score["invalid_p0"]) == (1.0, -1.0, 0.0)
    shown = env.view("p1", "text")
    assert shown.startswith("[GAME] You are Player 1 in Tic Tac Toe.") and "[Player 0]" in shown


def test_invalid_moves_are_counted_and_cost_a_tick() -> None:
    def played(errors: int | None) -> Any:
        env = family.make("TicTacToe-v0", {} if errors is None else {"errors": errors})
        return loop(play(env, Lineup({"p0": Says("[77]"), "p1": Says("[4]")})))

    own = played(None)  # the game forgives one in a row
    assert own.ticks == 2 and own.score["invalid_p0"] == 2.0 and own.score["reward_p0"] == -1.0
    hard, soft = played(0), played(5)
    assert hard.ticks == 1 and hard.score["invalid_p0"] == 1.0
    assert soft.ticks == 6 and soft.score["invalid_p0"] == 6.0 and soft.score["invalid_p1"] == 0.0
    env = family.make("TicTacToe-v0", {"errors": 5})
    env.reset(bytes(16))
    env.step({"p0": "[77]"}, ())
    assert env.to_act() == ("p0",) and "invalid move. Reason" in env.view("p0", "text")
    assert "invalid move" not in env.view("p1", "text")


def test_too_long_a_speech_is_invalid_where_the_library_would_cut_it() -> None:
    spec = family.make("IteratedPrisonersDilemma-v0", {}).spec("p0")
    assert spec.max_len == 1000
    assert family.make("TicTacToe-v0", {}).spec("p0").max_len == 4096


@pytest.mark.parametrize("game", ["KuhnPoker-v0", "ThreePlayerIPD-v0"])
def test_a_snapshot_goes_on_alike(game: str) -> None:
    env, other = family.make(game, {}), family.make(game, {})
    env.reset(key("snap"))
    for n, _ in enumerate(moves(env, "snap")):
        other.restore(env.snapshot())
        assert other.fingerprint() == env.fingerprint() and other.to_act() == env.to_act()
        assert [pack(other.data(s)) for s in env.seats] == [pack(env.data(s)) for s in env.seats]
        if n > 5:
            break


def test_seats_do_not_see_each_others_cards() -> None:
    env = family.make("KuhnPoker-v0", {})
    cards = []
    for block in range(12):
        env.reset(key("deal", block))
        own = [set(re.findall("Your card is: '(.)'", env.view(s, "text"))) for s in env.seats]
        cards.append(tuple(min(c) for c in own))
        assert len(own[0]) == len(own[1]) == 1 and own[0] != own[1]
    assert len(set(cards)) > 3


@pytest.mark.parametrize("game", ["KuhnPoker-v0", "TicTacToe-v0", "ThreePlayerIPD-v0", "GuessTheNumber-v0"])
def test_conformance(game: str) -> None:
    report = check(lambda: family.make(game, {"errors": 20}), blocks=2, ticks=8, processes=False)
    assert report.passed, report.text()


def test_options_are_of_the_constructor_and_ours() -> None:
    assert family.make("KuhnPoker-v0", {"max_rounds": 2}).id == "textarena:KuhnPoker-v0@1?max_rounds=2"
    assert family.make("KuhnPoker-v0", {"max_rounds": 3}).id == "textarena:KuhnPoker-v0@1"  # what it is registered with
    assert family.make("LiarsDice-v0", {"players": 4}).seats == ("p0", "p1", "p2", "p3")
    assert family.schema("KuhnPoker-v0")["properties"]["max_rounds"]["default"] == 3
    env = family.make("PigDice-v0", {"horizon": 4})
    done = loop(play(env, Lineup({s: Offered() for s in env.seats}), Block(1)))
    assert (done.status, done.ticks) == ("horizon", 4)


@pytest.mark.parametrize(
    ("game", "options", "message"),
    [
        ("KunPoker-v0", {}, 'Did you mean "KuhnPoker-v0"'),
        ("KuhnPoker-v0-raw", {}, 'unknown game "KuhnPoker-v0-raw"'),
        ("KuhnPoker-v0", {"rounds": 2}, 'unknown option "rounds"'),
        ("TicTacToe-v0", {"players": 5}, "AssertionError"),
        ("GuessWho-v0", {}, "OPENROUTER_API_KEY"),
        ("UsedCar-v0-balanced", {}, "No module named"),
    ],
)
def test_errors_say_what_to_do(
    game: str, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENROUTER_API_KEY", raising=False)
    with pytest.raises(CrossplayError, match=message) as caught:
        family.make(game, options)
    assert "\n" not in str(caught.value)


def test_nothing_is_downloaded_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    import nltk

    def never(*names: Any, **more: Any) -> bool:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(nltk, "download", never)
    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(CrossplayError, match="needs NLTK's words; python -m nltk.downloader words") as caught:
        family.make("Wordle-v0", {})
    assert caught.value.exit_code == 3
    assert nltk.download is never


def test_offered_plays_what_it_is_offered_and_nothing_else() -> None:
    env = family.make("KuhnPoker-v0-long", {})
    done = loop(play(env, Lineup({s: Offered() for s in env.seats}), Block(2)))
    assert done.status == "terminal" and done.ticks > 12
    assert done.score["invalid_p0"] == done.score["invalid_p1"] == 0.0
    with pytest.raises(CrossplayError, match="plays games of TextArena"):
        offered("", {}, None).check(type("E", (), {"name": "kitchen", "id": "kitchen@1"}), "p0")


def test_names_are_read_without_importing_the_library() -> None:
    names = family.names()
    assert "KuhnPoker-v0" in names and not any(n.endswith(("-raw", "-train")) for n in names)
    from textarena.envs.registration import ENV_REGISTRY

    assert set(names) == {n for n in ENV_REGISTRY if not n.endswith(("-raw", "-train"))}
