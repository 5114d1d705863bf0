"""maze: mazes, masks, agreement, the walk's score; scripted talkers against an independent reference; relay."""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.agents.relay import Relay
from crossplay.agents.scripts.maze import LEVELS, Talker, talker
from crossplay.envs.check import check
from crossplay.envs.maze import family
from crossplay.envs.maze.grid import MOVES, distances, draw_maze, valid_walk
from crossplay.kernel import Block, CrossplayError, loop, play
from crossplay.kernel.seeds import env_key, key, seat_key, uniform

STRONG, WEAK = talker("strong", {}), talker("weak", {})


def graph(open_cells: np.ndarray) -> nx.Graph:
    n = len(open_cells)
    g = nx.grid_2d_graph(n, n)
    g.remove_nodes_from([c for c in list(g) if not open_cells[c]])
    return g


def outcomes(lineup, blocks, rest="joint", **options):
    env = family.make(rest, options)
    return [loop(play(env, lineup, Block(3, b))) for b in blocks]


# -- mazes ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", range(3, 11))
def test_mazes_are_what_they_promise(size: int) -> None:
    env = family.make("joint", {"size": size})
    for block in range(6):
        maze = draw_maze(key("maze", block), size, 0.3, env.o["shortest"], env.o["longest"])
        g = graph(~maze.walls)
        assert nx.shortest_path_length(g, maze.start, maze.goal) == maze.length
        assert env.o["shortest"] <= maze.length <= env.o["longest"]
        assert not (maze.hidden[0] & maze.hidden[1]).any()
        counts = maze.hidden.sum(axis=(1, 2))
        assert counts.sum() == size * size - 2 and abs(int(counts[0]) - int(counts[1])) <= 1
        assert not maze.hidden[:, (maze.start[0], maze.goal[0]), (maze.start[1], maze.goal[1])].any()
    assert size != 6 or (env.o["shortest"], env.o["longest"]) == (7, 9)


@given(st.integers(0, 10_000), st.integers(3, 9))
def test_distances_equal_networkx(seed: int, size: int) -> None:
    walls = np.random.default_rng(seed).random((size, size)) < 0.35
    free = np.argwhere(~walls)
    if not len(free):
        return
    source = tuple(map(int, free[seed % len(free)]))
    reference = nx.single_source_shortest_path_length(graph(~walls), source)
    far = distances(walls, source)
    assert {tuple(map(int, c)): int(far[tuple(c)]) for c in np.argwhere(far >= 0)} == reference


def test_a_walk_counts_up_to_the_first_wall() -> None:
    walls = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]], bool)
    assert valid_walk(walls, (0, 0), ["right", "right", "down"]) == ((0, 1), 1, True)
    assert valid_walk(walls, (0, 0), ["right", "down", "down", "left"]) == ((2, 1 - 1), 4, False)
    assert valid_walk(walls, (0, 0), ["up"]) == ((0, 0), 0, True)


def test_options_that_cannot_be_met_say_so() -> None:
    with pytest.raises(CrossplayError, match="gave no shortest path of 40 to 50"):
        family.make("joint", {"shortest": 40, "longest": 50, "size": 3}).reset(key(0))
    with pytest.raises(CrossplayError, match="shortest = 12 is above longest = 9"):
        family.make("joint", {"shortest": 12})
    with pytest.raises(CrossplayError, match='Did you mean "joint"'):
        family.make("join", {})
    assert family.make("", {"shortest": 7}).id == family.make("joint", {}).id


# -- agreement -----------------------------------------------------------------------------------------
def names(env):
    return env.spec("a").names


def act(env, what: str) -> list[float]:
    (seat,) = env.to_act()
    index = names(env).index(what)
    assert env.legal(seat)[index], f"{what} is masked"
    return env.step({seat: index}, ())


def test_a_move_counts_only_when_both_agree() -> None:
    env = family.make("joint", {})
    env.reset(key("agree"))
    inside = next(m for m, ok in zip(MOVES, env.legal("a")[1:5], strict=True) if ok)
    act(env, f"propose {inside}")
    assert env.path() == [] and env.data("b")["pending"] == [1 + MOVES.index(inside), 0]
    act(env, "talk")  # words do not answer: the proposal stands
    agree = names(env).index("agree")
    assert not env.legal("a")[agree], "nobody agrees with himself"
    act(env, "talk")
    act(env, "agree")
    assert env.path() == [inside]
    act(env, f"propose {inside}") if env.legal("a")[1 + MOVES.index(inside)] else act(env, "propose stop")
    act(env, "refuse")
    assert env.path() == [inside] and env.data("a")["pending"] is None
    act(env, "propose stop")
    act(env, "agree")
    assert env.ended() == "terminal"


def test_the_score_of_a_walk_by_hand() -> None:
    env = family.make("joint", {})
    env.reset(key("score"))
    maze = env.maze
    way = nx.shortest_path(graph(~maze.walls), maze.start, maze.goal)
    for here, there in pairwise(way[:4]):
        step = next(
            m
            for m, d in zip(MOVES, ((-1, 0), (1, 0), (0, -1), (0, 1)), strict=True)
            if (here[0] + d[0], here[1] + d[1]) == there
        )
        act(env, f"propose {step}")
        assert act(env, "agree") == [0.0, 0.0]
    assert env.score()["weighted"] == pytest.approx(3 / maze.length) and env.score()["success"] == 0


def test_nothing_tells_of_walls_on_the_way() -> None:
    """Two mazes that look alike to a seat stay alike after an agreed move into a wall that it cannot see."""
    env = family.make("joint", {})
    for block in range(50):
        env.reset(key("silent", block))
        maze = env.maze
        for i, move in enumerate(MOVES):
            if not env.legal("a")[1 + i]:
                continue
            cell = (maze.start[0] + (-1, 1, 0, 0)[i], maze.start[1] + (0, 0, -1, 1)[i])
            if maze.hidden[0][cell] and maze.walls[cell]:
                act(env, f"propose {move}")
                assert act(env, "agree") == [0.0, 0.0]
                seen = env.data("a")
                assert seen["at"] == list(cell) and env.score()["broken"] == 1
                return
    raise AssertionError("no such maze")


# -- scripted talkers ------------------------------------------------------------------------------------
def swapped_is_solved(env, at: Block) -> bool:
    """Whether talk read with rows and columns swapped still leads to the goal, by networkx.

    The opener may enter what is open and what it takes for open: seen open by itself, or hidden from it
    and heard as open, i.e. the cell mirrored at the diagonal is seen by the partner and open.
    """
    env.reset(env_key(at, env.id))
    maze = env.maze
    n = len(maze.walls)
    taken = np.zeros((n, n), bool)
    for cell in np.ndindex(n, n):
        if not maze.hidden[0][cell]:
            taken[cell] = not maze.walls[cell]
        else:
            mirrored = cell[::-1]
            taken[cell] = not maze.hidden[1][mirrored] and not maze.walls[mirrored]
    g = graph(taken & ~maze.walls)
    return maze.goal in g and maze.start in g and nx.has_path(g, maze.start, maze.goal)


def test_talkers_do_exactly_what_the_reference_says() -> None:
    """Block by block: grounded, or solved although read wrongly. Also gap, order effect and relay gain."""
    blocks = range(250)
    env = family.make("joint", {})
    solved = np.array([swapped_is_solved(env, Block(3, b)) for b in blocks])
    draws = np.array([uniform(key(seat_key(Block(3, b), "a"), (), "grounding"), 0) for b in blocks])
    won = {}
    for name, first, second in (("ss", STRONG, STRONG), ("sw", STRONG, WEAK), ("ws", WEAK, STRONG), ("ww", WEAK, WEAK)):
        found = outcomes({"a": first, "b": second}, blocks)
        won[name] = np.array([o.score["success"] for o in found])
        grounded = draws < first.grounding
        assert won[name].tolist() == (grounded | solved).astype(float).tolist()
        assert all(o.status == "terminal" and o.score["broken"] == 0 for o in found)
        p = first.grounding + (1 - first.grounding) * solved.mean()
        assert abs(won[name].mean() - p) < 4 * sqrt(p * (1 - p) / len(blocks))
    for solo in ("full", "merged"):
        assert all(
            o.score["success"] == 1 and o.score["moves"] == o.score["shortest"]
            for o in outcomes({"a": WEAK}, range(40), solo=solo)
        )
    relayed = np.array([o.score["success"] for o in outcomes({"a": Relay(STRONG, WEAK, 1), "b": WEAK}, blocks)])
    assert won["sw"].mean() - won["ws"].mean() > 0.4, "the order effect"
    gain = (relayed.mean() - won["ww"].mean()) / (won["ss"].mean() - won["ww"].mean())
    assert gain > 0.9
    assert 1.0 - won["ww"].mean() > 0.4, "the gap between one and two"


def test_no_effect_where_cells_are_named_by_words() -> None:
    for o in outcomes({"a": WEAK, "b": WEAK}, range(60), words=True):
        assert o.score["success"] == 1


def test_silence_is_a_control() -> None:
    """With the channel off nobody hears of the other's cells: only mazes that the opener sees through are solved."""
    from crossplay.kernel import Channel, Conduct

    env = family.make("joint", {})
    for b in range(60):
        at = Block(3, b)
        o = loop(play(env, {"a": STRONG, "b": STRONG}, at, Conduct(mail=Channel(mode="off"))))
        maze = env.maze
        g = graph(~maze.walls & ~maze.hidden[0])
        assert o.score["success"] == float(nx.has_path(g, maze.start, maze.goal))


@pytest.mark.parametrize("rest", ["joint", "talk"])
def test_relay_is_the_engines_handoff(rest: str) -> None:
    env = family.make(rest, {})
    for at_turn in (0, 1, 3):
        for b in range(4):
            wrapped = loop(play(env, {"a": Relay(STRONG, WEAK, at_turn), "b": WEAK}, Block(3, b)))
            episode = play(env, {"a": STRONG if at_turn else WEAK, "b": WEAK}, Block(3, b))

            def hand(e, turn=2 * at_turn - 1) -> None:
                if e.tick == turn:
                    e.seat("a", WEAK)

            handed = loop(episode, hand)
            assert (wrapped.world, wrapped.score) == (handed.world, handed.score)
            assert wrapped.counts["a"].get("handoffs", 0) == 1


def test_talkers_refuse_other_games() -> None:
    with pytest.raises(CrossplayError, match='Did you mean "strong"'):
        talker("stron", {})
    with pytest.raises(CrossplayError, match="not grader of maze/talk"):
        STRONG.check(family.make("talk", {"grader": "seat"}), "grader")
    assert talker("", {"grounding": 0.5}).grounding == 0.5 and Talker().grounding == LEVELS["strong"]


@pytest.mark.parametrize(
    ("rest", "options"),
    [
        ("joint", {}),
        ("joint", {"words": True}),
        ("joint", {"solo": "merged"}),
        ("talk", {}),
        ("talk", {"grader": "seat"}),
        ("talk", {"solo": "full"}),
    ],
)
def test_conformance(rest: str, options: dict) -> None:
    report = check(lambda: family.make(rest, options), blocks=2, ticks=52, processes=False)
    assert report.passed, report.text()


@pytest.mark.full
def test_the_whole_table() -> None:
    """1,500 mazes: every figure within four standard errors of the closed form."""
    blocks = range(1500)
    env = family.make("joint", {})
    solved = np.mean([swapped_is_solved(env, Block(3, b)) for b in blocks])
    for first, second in ((STRONG, STRONG), (STRONG, WEAK), (WEAK, STRONG), (WEAK, WEAK)):
        p = first.grounding + (1 - first.grounding) * solved
        found = np.mean([o.score["success"] for o in outcomes({"a": first, "b": second}, blocks)])
        assert abs(found - p) < 4 * sqrt(p * (1 - p) / len(blocks))
