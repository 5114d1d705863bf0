"""einstein: drawn games, exhaustive optimum, the two repaired faults, verifiers, reasoners, reject and resample."""

from __future__ import annotations

from collections import deque
from math import sqrt

import networkx as nx
import numpy as np
import pytest

from crossplay.agents.scripts.einstein import Reasoner, reasoner
from crossplay.agents.verified import Verified
from crossplay.envs.check import check
from crossplay.envs.einstein import family
from crossplay.envs.einstein.board import BINS, COMMON, OWN, Game, draw_game, optimum, reaches
from crossplay.envs.einstein.verify import affordance, certain, communication, possible, reasoning
from crossplay.envs.einstein.world import MODES, actions
from crossplay.kernel import Agent, Block, CrossplayError, aio, loop, play
from crossplay.kernel.seeds import key


def outcomes(agent: Agent, blocks, **options):
    env = family.make("", options)
    return [loop(play(env, {"first": agent, "second": agent}, Block(4, b))) for b in blocks]


def mean(found, name: str) -> float:
    return float(np.mean([o.score[name] for o in found]))


# -- games -----------------------------------------------------------------------------------------------
def exhaustive(game: Game) -> int:
    """Least turns by breadth-first search over all boards, passes included."""
    start = (game.at, 0)
    seen, queue = {start: 0}, deque([start])
    while queue:
        at, turn = state = queue.popleft()
        if at == game.goal:
            return seen[state]
        reach = reaches(turn)
        after = [at]
        for b, place in enumerate(at):
            if place in reach and place > 3:
                after += [(*at[:b], t, *at[b + 1 :]) for t in reach if t > 3 or t == game.goal[b]]
        for board in after:
            if (board, 1 - turn) not in seen:
                seen[board, 1 - turn] = seen[state] + 1
                queue.append((board, 1 - turn))
    raise AssertionError("unsolvable")


@pytest.mark.parametrize("blocks", [4, 5])
def test_games_are_what_they_promise(blocks: int) -> None:
    sizes = set()
    for i in range(200):
        game = draw_game(key("game", i), blocks)
        assert set(game.goal) == {0, 1, 2, 3}
        sizes.add(sum(a == OWN[0] for a in game.at))
        tree = nx.Graph([(a, b) for a, b, _ in game.relations])
        assert nx.is_tree(tree) and len(tree) == blocks
        assert set(game.known) == {0, 1, 2} and len(game.known) == blocks - 1
        for a, b, relation in game.relations:
            row, column = (game.goal[a] // 2 != game.goal[b] // 2), (game.goal[a] % 2 != game.goal[b] % 2)
            assert relation == 2 * row + column
    assert sizes == ({2} if blocks == 4 else {2, 3})


@pytest.mark.parametrize(("blocks", "games"), [(4, 60), (5, 15)])
def test_the_optimum_equals_exhaustive_search(blocks: int, games: int) -> None:
    for i in range(games):
        game = draw_game(key("optimum", i), blocks)
        assert optimum(game) == exhaustive(game)


def test_what_follows_equals_enumeration() -> None:
    """certain and possible, against all placements that agree with what a seat knows."""
    from itertools import product

    env = family.make("", {"blocks": 4, "mode": "provide"})
    for block in range(25):
        env.reset(key("closure", block))
        for tick in range(12):
            if env.ended() is not None:
                break
            for seat in env.seats:
                d = env.data(seat)
                worlds = [
                    w
                    for w in product(range(4), repeat=4)
                    if w[0] == d["ground"]
                    and all(w[a] ^ w[b] == r for a, b, r in d["relations"])
                    and all(p > 3 or w[b] == p for b, p in enumerate(d["at"]))
                    and all(w[b] != p for b, p in d["refused"])
                ]
                values = [sorted({w[b] for w in worlds}) for b in range(4)]
                assert [possible(d, b) for b in range(4)] == values
                assert certain(d) == {b: v[0] for b, v in enumerate(values) if len(v) == 1}
            (seat,) = env.to_act()
            env.step({seat: env.spec(seat).draw(key("any", block), tick, env.legal(seat))}, ())


# -- the two faults of the published code ------------------------------------------------------------------
def test_an_ask_can_be_wrong() -> None:
    """Comparing the block with names of bins, as published, finds no ask wrong; what is known decides here."""
    env = family.make("", {})
    env.reset(key("ask"))
    d = env.data("first")
    assert 0 not in BINS and all(b not in BINS for b in range(5)), "the published comparison never holds"
    assert 0 in certain(d) and communication(d, ("ask", 0))
    unknown = next(b for b in range(5) if b not in certain(d))
    assert communication(d, ("ask", unknown)) == []
    env.step({"first": env.spec("first").names.index(f"ask {unknown}")}, ())
    assert env.data("second")["pending"] == unknown
    env.step({"second": env.spec("second").noop}, ())
    assert "nothing new" in communication(env.data("first"), ("ask", unknown))[0]
    assert env.verify(env.data("first"), env.spec("first").names.index(f"ask {unknown}"))


def test_a_blocks_name_is_its_number() -> None:
    """No sentinel heads the list: acting on block i moves block i and no neighbour."""
    for mode in MODES:
        named = actions(5, mode)
        assert named[0] == (f"move 0 to {BINS[0]}", ("move", 0, 0))
        assert sorted({a[1] for _, a in named if a[0] == "move"}) == [0, 1, 2, 3, 4]
    env = family.make("", {})
    for b in range(5):
        env.reset(key("ids"))
        seat = env.seats[OWN.index(env.data("first")["at"][b])]
        if seat != env.to_act()[0]:
            env.step({"first": env.spec("first").noop}, ())
        before = env.data(seat)["at"]
        env.step({seat: env.spec(seat).names.index(f"move {b} to common")}, ())
        assert [i for i, (x, y) in enumerate(zip(before, env.data(seat)["at"], strict=True)) if x != y] == [b]


# -- the rules -----------------------------------------------------------------------------------------------
def test_the_board_refuses_and_counts() -> None:
    env = family.make("", {"mode": "none"})
    for i in range(20):
        env.reset(key("refuse", i))
        b = next(b for b, p in enumerate(env.data("first")["at"]) if p == OWN[0])
        wrong = next(d for d in (2, 3) if d != env.game.goal[b])
        assert env.step({"first": 7 * b + wrong}, ()) == [-0.1, 0.0]
        assert env.score()["wrong_moves"] == 1 and env.data("second")["refused"] == [[b, wrong]]
        assert env.data("first")["at"][b] == OWN[0]


def test_messages_by_mode() -> None:
    counts = {m: {a[0] for _, a in actions(5, m)} for m in MODES}
    assert counts["none"] == {"move", "pass"} and counts["provide"] == {"move", "share", "pass"}
    assert counts["seek"] == counts["provide_seek"] == {"move", "share", "ask", "pass"}
    env = family.make("", {"mode": "seek"})
    env.reset(key("seek"))
    shares = [i for i, n in enumerate(env.spec("first").names) if n.startswith("share")]
    assert not any(env.legal("first")[i] for i in shares), "nobody asked"
    _, b, _ = next(r for r in env.data("second")["relations"])
    env.step({"first": env.spec("first").names.index(f"ask {b}")}, ())
    can = [env.spec("second").names[i] for i in shares if env.legal("second")[i]]
    assert can and all(str(b) in n for n in can)
    told, before = env.data("first")["relations"], env.score()["redundant"]
    env.step({"second": env.spec("second").names.index(can[0])}, ())
    new = len(env.data("first")["relations"]) - len(told)
    assert new == 1 - (env.score()["redundant"] - before), "a share is new to the other, or redundant"
    assert env.data("second")["pending"] is None


def test_under_all_what_is_impossible_costs_a_turn() -> None:
    env = family.make("", {"legal": "all"})
    env.reset(key("all"))
    assert env.legal("first") is None
    b = next(b for b, p in enumerate(env.data("first")["at"]) if p == OWN[1])
    assert env.step({"first": 7 * b + COMMON}, ()) == [-0.1, 0.0]
    assert env.score()["invalid"] == 1 and env.data("first")["at"][b] == OWN[1] and env.to_act() == ("second",)


def test_verifiers_by_hand() -> None:
    d = {
        "player": 0, "blocks": 4, "mode": "provide", "ground": 2, "at": [4, 4, 5, 6], "relations": [[0, 1, 1], [2, 3, 2]],
        "refused": [], "shared": [[0, 1]], "asked": [], "pending": None,
    }  # fmt: skip
    assert certain(d) == {0: 2, 1: 3}
    assert affordance(d, ("move", 2, 6)) == ["affordance: block 2 is out of reach"]
    assert affordance(d, ("move", 0, 0)) == ["affordance: that bin is out of reach"]
    assert affordance(d, ("move", 0, 4)) == ["affordance: block 0 is there already"]
    assert affordance(d, ("move", 0, 3)) == [] and reasoning(d, ("move", 0, 3)) and not reasoning(d, ("move", 0, 2))
    assert reasoning(d, ("move", 1, COMMON)) and reasoning(d, ("move", 3, 2)) and reasoning(d, ("pass",))
    assert communication(d, ("share", 0, 1)) == ["communication: that relation was shared already"]
    assert communication(d, ("share", 0, 2)) == ["communication: that relation is not known"]
    assert communication(d, ("share", 2, 3)) == []
    d["refused"] = [[2, 0]]  # then 3, in the other row of the same column, is not bottom left
    assert possible(d, 3) == [0, 1, 3] and reasoning(d, ("move", 3, 3))
    d["refused"] = [[3, 2], [3, 3]]
    assert reasoning(d, ("pass",)) and not reasoning({**d, "at": [2, 3, 5, 4]}, ("move", 3, COMMON))


# -- reasoners -------------------------------------------------------------------------------------------------
def test_what_communication_is_for() -> None:
    """No messages still succeed by trial, with wrong moves; messages succeed without any."""
    blocks = range(150)
    silent, trying = outcomes(Reasoner(), blocks, mode="none"), outcomes(Reasoner(True), blocks, mode="none")
    assert mean(silent, "success") < 0.15 and mean(silent, "wrong_moves") == 0
    assert mean(trying, "success") == 1 and mean(trying, "wrong_moves") > 1
    for mode in ("provide", "seek", "provide_seek"):
        found = outcomes(Reasoner(), blocks, mode=mode)
        assert mean(found, "success") == 1 and mean(found, "wrong_moves") == 0
        assert all(o.score["step_ratio"] >= 1 for o in found)


def test_the_verifier_repairs_noise_and_a_coin_does_not() -> None:
    blocks, options = range(150), {"mode": "provide", "limit": 20, "legal": "all"}
    noisy = Reasoner(noise=0.6)
    plain = outcomes(noisy, blocks, **options)
    perfect = outcomes(Verified(noisy, 12), blocks, **options)
    coin = outcomes(Verified(noisy, 12, noise=0.5), blocks, **options)
    p = mean(plain, "success")
    assert p < 0.5 and mean(perfect, "success") > 0.97
    assert abs(mean(coin, "success") - p) < 4 * sqrt(2 * 0.25 / len(blocks)), "a coin knows nothing"
    assert sum(o.counts["first"].get("corrected", 0) for o in perfect) > 0
    same = outcomes(Verified(Reasoner()), range(30), mode="provide")
    assert [o.world for o in same] == [o.world for o in outcomes(Reasoner(), range(30), mode="provide")]


class Waiting(Agent):
    """Asynchronous; its candidates are listed by path, and the memo says how often it was played."""

    def __init__(self, names: list[str]) -> None:
        self.names, self.name = names, "waiting"

    async def act(self, obs):
        from crossplay.kernel import Action

        (j,) = obs.path
        return Action(self.names[min(j, len(self.names) - 1)], memo=[*(obs.memo or []), j])


def test_verified_takes_the_first_good_one_else_the_least_bad() -> None:
    import asyncio

    env = family.make("", {"legal": "all", "limit": 2})

    def first_move(names: list[str], k: int = 4) -> tuple[str, dict]:
        agent = Verified(Waiting(names), k)
        o = asyncio.run(aio(play(env, {"first": agent, "second": Reasoner()}, Block(4, 1))))
        return env.spec("first").names[env.data("first")["log"][0][1]], o.counts["first"]

    env.reset(key("x"))
    loop(play(env, {"first": Reasoner(), "second": Reasoner()}, Block(4, 1)))
    good = env.spec("first").names[env.data("first")["log"][0][1]]
    assert first_move(["nonsense", "ask 0", good, "pass"])[0] == good
    assert first_move(["nonsense", "ask 0"])[0] == "ask 0"
    name, counts = first_move(["ask 0", good])
    assert name == good and counts["corrected"] == 1 and counts["rejected"] == 1
    assert first_move(["nonsense", "ask 0", good], k=2)[1]["unverified"] == 1


def test_errors_say_what_to_do() -> None:
    from crossplay.envs.matrix import family as matrix

    with pytest.raises(CrossplayError, match="has no verifier"):
        Verified(Reasoner()).check(matrix.make("chicken", {}), "row")
    with pytest.raises(CrossplayError, match="Known: guess"):
        reasoner("guesss", {})
    with pytest.raises(CrossplayError, match="blocks = 6"):
        family.make("", {"blocks": 6})


@pytest.mark.parametrize("options", [{}, {"mode": "none", "blocks": 4}, {"mode": "seek"}, {"legal": "all"}])
def test_conformance(options: dict) -> None:
    report = check(lambda: family.make("", options), blocks=2, ticks=32, processes=False)
    assert report.passed, report.text()
