"""AgentsNet: validity and distances against networkx, floors and loss against other computations, the judge on runs of scripts."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crossplay
from crossplay.gallery.agentsnet.claim import ENTRY, agreed, distances, enumerated, flooded, judge, simulated, solved
from crossplay.gallery.agentsnet.study import TASKS, Network, Settings, networks

NAMES = ("Mia", "Ada", "Zoe", "Ben", "Eva", "Leo")


def graph(seed: int, n: int = 6) -> nx.Graph:
    """Connected, at random."""
    found = nx.gnp_random_graph(n, 0.45, seed=seed)
    nx.add_path(found, np.random.default_rng(seed).permutation(n).tolist())
    return found


def net(g: nx.Graph, answers=None, inputs=None) -> Network:
    n = len(g)
    return Network(
        nx.to_numpy_array(g, nodelist=range(n)) > 0, NAMES[:n], answers or [None] * n, inputs or [None] * n, 2, {}
    )


@given(st.integers(0, 5000))
def test_distances_equal_networkx(seed: int) -> None:
    g = graph(seed)
    expected = dict(nx.all_pairs_shortest_path_length(g))
    far = distances(net(g).tied)
    assert all(far[u, v] == expected[u][v] for u in g for v in g)
    assert far.max(1).tolist() == [nx.eccentricity(g)[u] for u in range(len(g))]


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_valid_answers_are_those_that_networkx_calls_valid(seed: int, draw: int) -> None:
    g, rng = graph(seed), np.random.default_rng(draw)
    n = len(g)
    groups = rng.integers(0, 4, n)
    assert solved("coloring", net(g, [f"Group {x}" for x in groups])) == all(groups[u] != groups[v] for u, v in g.edges)
    pairs = nx.maximal_matching(g) if draw % 2 else {e for e in g.edges if rng.random() < 0.3}
    partner = {}
    for u, v in pairs:
        partner[u], partner[v] = v, u  # may clash: then somebody is not named back
    answers = [NAMES[partner[u]] if u in partner else "None" for u in range(n)]
    mutual = all(partner.get(v) == u for u, v in partner.items())
    valid = mutual and nx.is_maximal_matching(g, {tuple(sorted(e)) for e in partner.items()})
    assert solved("matching", net(g, answers)) == valid
    outside = nx.maximal_independent_set(g, seed=draw) if draw % 2 else [u for u in g if rng.random() < 0.4]
    inner = g.subgraph(outside)
    minimal = not inner.edges and nx.is_dominating_set(g, outside) if outside else False
    assert solved("vertex_cover", net(g, ["No" if u in outside else "Yes" for u in range(n)])) == minimal


def test_agreement_by_hand() -> None:
    """A path Mia - Ada - Zoe - Ben: the first name is Ada, Ben hears of her after two rounds."""
    path = net(nx.path_graph(4), inputs=["3", "5", "5", "7"])
    assert flooded(path, 0).tolist() == [0, 1, 2, 3] and flooded(path, 1).tolist() == [1, 1, 1, 3]
    assert flooded(path, 2).tolist() == [1, 1, 1, 1]
    assert not agreed("leader_election", path, 1) and agreed("leader_election", path, 2)
    assert not agreed("consensus", path, 1) and agreed("consensus", path, 2)
    assert agreed("consensus", net(nx.path_graph(4), inputs=["5", "5", "5", "5"]), 0)


def test_simulated_loss_by_hand() -> None:
    """Two people, two rounds: they agree unless both messages to the later name are lost."""
    pair = net(nx.path_graph(2), inputs=["1", "2"])
    rng = np.random.default_rng(0)
    assert simulated(pair, 0.0, 50, rng) == 1.0 and simulated(pair, 1.0, 50, rng) == 0.0
    assert simulated(pair, 0.6, 20_000, rng) == pytest.approx(1 - 0.6**2, abs=0.015)


def test_floors_by_closed_form() -> None:
    """Where there is one: 1 - 1/groups of every edge, 2^(1-n), n people with Yes at 1/n."""
    g = graph(3, 5)
    tied = net(g).tied
    groups = 1 + max(d for _, d in g.degree)
    assert enumerated("coloring", tied)[0] == pytest.approx(1 - 1 / groups)
    assert enumerated("consensus", tied) == pytest.approx((2**-4, 2**-4 * (1 - 2**-4)))
    assert enumerated("leader_election", tied)[0] == pytest.approx((1 - 1 / 5) ** 4)


@pytest.mark.parametrize("task", TASKS)
def test_scripts_are_called_valid_by_the_same_rules(task: str) -> None:
    for n, method in itertools.product((4, 9), ("local", "gather", "random")):
        for x in networks(Settings(), task, 4, method, n=n):
            assert (x.score["score"] == 1) == solved(task, x)


def as_scripts(level, plan: dict, talks: bool) -> dict:
    """A study of the trial with scripts in the place of models."""
    for name, spec in plan["agents"].items():
        if name == "model":
            plan["agents"][name] = {"type": "node" if talks else "node:random", "talk": True}
        assert spec
    return plan


@pytest.mark.parametrize("level", ENTRY.trial.levels, ids=lambda level: level.name)
def test_the_judge_on_runs_of_scripts(tmp_path, level) -> None:
    """Nodes that talk beat silence and chance; those that answer by chance beat neither."""
    for talks in (True, False):
        out = tmp_path / f"{level.name}-{talks}"
        result = crossplay.run(as_scripts(level, ENTRY.trial.study(("m",), level, 30), talks), out)
        found = {f.name: f for f in judge(result, out)}
        assert set(found) == {"talk", "above chance"}
        assert all(f.holds for f in found.values()) == talks and any(f.holds for f in found.values()) == talks


def test_the_control_asks_one_seat_for_the_answer_alone(tmp_path) -> None:
    """With a script in the place of the model nothing is lost; by chance it is the floor."""
    level = ENTRY.trial.levels[2]
    plan = ENTRY.trial.control(("m",), level, 25)
    plan["agents"]["model"] = {"type": "random"}
    rows = {r.lineup: r for r in crossplay.run(plan, tmp_path / "control").rows}
    assert rows["scripts"].summary.mean.value == 1 and rows["one guess"].summary.mean.value < 0.7
    assert rows["one model"].summary.mean.value == rows["one guess"].summary.mean.value
    assert {r.role for r in rows.values()} == {"", "control: floor", "control: ceiling"}
