"""agentsnet: graphs, rules, rounds, views, and the conformance kit."""

from __future__ import annotations

import re

import networkx as nx
import numpy as np
import pytest

from crossplay.envs.agentsnet import TASKS, family
from crossplay.envs.agentsnet.graphs import FAMILIES, delaunay, diameter, draw_graph, neighbours, watts_strogatz, widest
from crossplay.envs.agentsnet.people import NAMES
from crossplay.envs.agentsnet.world import budget
from crossplay.envs.check import check
from crossplay.kernel import CrossplayError
from crossplay.kernel.seeds import key


def nx_graph(edges, n: int) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(edges)
    return graph


# -- conformance -------------------------------------------------------------------------------------
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("options", [{}, {"n": 18, "family": "ba", "abstain": True}])
def test_conformance(task: str, options: dict) -> None:
    report = check(lambda: family.make(task, options), blocks=2, ticks=12, processes=False, chance=True)
    assert report.passed, report.text()


def test_conformance_of_private_inputs() -> None:
    options = {"private_inputs": True, "family": "delaunay"}
    report = check(lambda: family.make("consensus", options), blocks=2, ticks=12, processes=False, chance=True)
    assert report.passed, report.text()


# -- graphs ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("n", [4, 5, 8, 16, 100])
def test_graphs_are_connected_simple_and_not_wider_than_said(kind: str, n: int) -> None:
    for block in range(3):
        edges = draw_graph(key("graph", block), kind, n)
        graph = nx_graph(edges, n)
        assert len(set(edges)) == len(edges) and all(0 <= u < v < n for u, v in edges)
        assert nx.is_connected(graph)
        assert diameter(neighbours(edges, n)) == nx.diameter(graph) <= widest(n)
        assert [len(t) for t in neighbours(edges, n)] == [graph.degree(v) for v in range(n)]


def test_a_graph_in_pieces_has_no_diameter() -> None:
    assert diameter(neighbours([(0, 1), (2, 3)], 4)) == -1


def test_no_seed_is_lost_to_the_limit_of_width() -> None:
    for kind in FAMILIES:
        for n in (8, 16, 40):
            wide = [FAMILIES[kind](key("wide", block, "graph", 0), n) for block in range(40)]
            across = [diameter(neighbours(edges, n)) for edges in wide]
            assert max(across) < widest(n)


def moments(sequences: list[list[int]]) -> tuple[float, float, float]:
    """Mean degree, mean standard deviation and mean largest degree."""
    return (
        float(np.mean([np.mean(s) for s in sequences])),
        float(np.mean([np.std(s) for s in sequences])),
        float(np.mean([max(s) for s in sequences])),
    )


@pytest.mark.parametrize("kind", ["ws", "ba"])
def test_degrees_are_those_of_networkx(kind: str) -> None:
    n, many = 40, 60
    ours = [[len(t) for t in neighbours(draw_graph(key("d", b), kind, n), n)] for b in range(many)]
    if kind == "ws":
        reference = [nx.connected_watts_strogatz_graph(n, 4, 0.4, seed=s) for s in range(many)]
    else:
        reference = [nx.barabasi_albert_graph(n, 2, seed=s) for s in range(many)]
    theirs = [[d for _, d in g.degree()] for g in reference]
    mean, spread, top = moments(ours)
    mean_, spread_, top_ = moments(theirs)
    assert mean == pytest.approx(mean_)  # the number of edges is fixed
    assert spread == pytest.approx(spread_, rel=0.08)
    assert top == pytest.approx(top_, rel=0.12)


def test_rewiring_makes_paths_short() -> None:
    ring = watts_strogatz(key("ring"), 40, p=0.0)
    assert nx.utils.graphs_equal(nx_graph(ring, 40), nx.watts_strogatz_graph(40, 4, 0.0))
    far = nx.average_shortest_path_length(nx_graph(ring, 40))
    mine = np.mean([nx.average_shortest_path_length(nx_graph(draw_graph(key(b), "ws", 40), 40)) for b in range(20)])
    theirs = np.mean(
        [nx.average_shortest_path_length(nx.connected_watts_strogatz_graph(40, 4, 0.4, seed=s)) for s in range(20)]
    )
    assert mine < 0.7 * far and mine == pytest.approx(theirs, rel=0.05)
    assert len(watts_strogatz(key("all"), 4)) == 6  # four people with four neighbours: all know all


@pytest.mark.parametrize("n", [4, 8, 16, 60])
def test_delaunay_is_that_of_scipy(n: int) -> None:
    from scipy.spatial import Delaunay

    for seed in range(5):
        points = np.random.default_rng(seed).random((n, 2))
        theirs = {
            tuple(sorted((int(t[a]), int(t[b]))))
            for t in Delaunay(points).simplices
            for a, b in ((0, 1), (1, 2), (0, 2))
        }
        assert set(delaunay(points)) == theirs


# -- rules -------------------------------------------------------------------------------------------
def test_names_are_different_single_words() -> None:
    assert len(NAMES) >= 120 and len(set(NAMES)) == len(NAMES)
    assert all(name.isalpha() and name.istitle() and name != "None" for name in NAMES)


def test_rounds_are_the_published_ones() -> None:
    for task in ("coloring", "matching", "vertex_cover"):
        assert [budget(task, n, 3) for n in (4, 8, 16, 20)] == [4, 5, 6, 7]
    for task in ("leader_election", "consensus"):
        assert [budget(task, n, 3) for n in (4, 8, 16, 20)] == [7, 7, 7, 7]
    env = family.make("coloring", {"n": 100, "family": "delaunay"})
    env.reset(key("x"))
    assert env.rounds == 2 * nx.diameter(nx_graph(env.edges, 100)) + 1 < env.horizon
    assert family.make("matching", {"rounds": 3}).horizon == 4


def test_only_neighbours_hear_and_nobody_at_the_answer() -> None:
    env = family.make("matching", {"rounds": 1})
    env.reset(key("x"))
    graph = nx_graph(env.edges, env.n)
    for i, seat in enumerate(env.seats):
        assert set(env.audience(seat)) == {env.seats[j] for j in graph[i]}
        assert env.legal(seat) == [True] + [False] * 9
    env.step(dict.fromkeys(env.seats, 0), [])
    for i, seat in enumerate(env.seats):
        names = [name for name, ok in zip(env.spec(seat).names, env.legal(seat), strict=True) if ok]
        assert names == [*(env.seats[j] for j in sorted(graph[i])), "None"]
        assert env.audience(seat) == ()


def test_there_is_one_group_more_than_the_most_neighbours() -> None:
    env = family.make("coloring", {"rounds": 1, "family": "ba", "abstain": True})
    env.reset(key("x"))
    env.step(dict.fromkeys(env.seats, 0), [])
    most = max(d for _, d in nx_graph(env.edges, env.n).degree())
    assert sum(env.legal(env.seats[0])) == 1 + most + 1  # with the answer "pass"


def test_private_inputs_are_two_of_the_values() -> None:
    seen = set()
    for block in range(40):
        env = family.make("consensus", {"private_inputs": True})
        env.reset(key("block", block))
        assert len(set(env.inputs)) <= 2 and env.data(env.seats[0])["input"] == env.inputs[0]
        seen |= set(env.inputs)
    assert len(seen) > 12 and seen <= set(env.spec(env.seats[0]).names)


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("colouring", {}, 'unknown task "colouring". Did you mean "coloring"'),
        ("coloring", {"n": 3}, "option n = 3"),
        ("coloring", {"family": "tree"}, "option family = 'tree'"),
        ("coloring", {"private_inputs": True}, 'unknown option "private_inputs"'),
        ("consensus", {"values": 20}, "needs private_inputs"),
    ],
)
def test_mistakes_are_named(task: str, options: dict, words: str) -> None:
    with pytest.raises(CrossplayError, match=re.escape(words)):
        family.make(task, options)
