"""Facets of teams: structure against networkx, the five dimensions of known teams, declarations."""

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.agents import Context, make_agent
from crossplay.agents.facets import check_facets
from crossplay.kernel import CrossplayError, entries, load
from crossplay.teams.facets import VOCABULARY, structure_of
from crossplay.teams.topology import TOPOLOGIES, Topology, make_topology, sparse

KNOWN = {
    "complete": "decentralised",
    "none": "decentralised",
    "chain": "hierarchical",
    "ring": "decentralised",
    "star": "centralised",
    "tree": "hierarchical",
}


@pytest.mark.parametrize(("name", "structure"), KNOWN.items())
def test_named_topologies(name, structure):
    assert structure_of(make_topology(name, 5)) == structure


def test_layers_and_small_teams():
    assert structure_of(make_topology({"name": "layered", "sizes": [2, 2, 1]}, 5)) == "hierarchical"
    assert structure_of(make_topology("tree", 3)) == "centralised"  # one level: a star
    assert structure_of(make_topology("chain", 3)) == "hierarchical"
    assert structure_of(make_topology("chain", 2)) == "hierarchical"
    assert structure_of(make_topology("complete", 2)) == "decentralised"
    assert structure_of(make_topology("complete", 1)) == "decentralised"
    assert structure_of(sparse(6, 2, b"k")) == "decentralised"


@st.composite
def topologies(draw):
    n = draw(st.integers(1, 6))
    pairs = [(a, b) for a in range(n) for b in range(n)]
    edges = draw(st.frozensets(st.sampled_from(pairs), max_size=12))
    return Topology(n, edges, (tuple(range(n)),))


@given(topologies())
def test_structure_by_another_reading(topology):
    graph = nx.DiGraph([(a, b) for a, b in topology.edges if a != b])
    found = structure_of(topology)
    if graph.number_of_edges() == 0:
        assert found == "decentralised"
        return
    rest = {v: nx.restricted_view(graph, [v], []).number_of_edges() == 0 for v in graph}
    star = topology.n >= 3 and graph.number_of_nodes() == topology.n and sum(rest.values()) == 1
    acyclic = nx.is_directed_acyclic_graph(graph)
    if star and not (acyclic and nx.dag_longest_path_length(graph) > 1):
        assert found == "centralised"
    else:
        assert found == ("hierarchical" if acyclic else "decentralised")


def made(table, **more):
    return make_agent({"type": "team", "members": ["random", "noop", "first-legal"], **table, **more}, Context())


def test_the_five_dimensions():
    found = made({"protocol": "vote"}).manifest()["facets"]
    assert found["structure"] == "decentralised" and found["strategy"] == "rule-based"
    assert found["coordination"] == "static" and found["type"] == "cooperation"
    assert found["actors"] == ["random", "script"] and found["brain"] == "team"
    report = made({"protocol": {"name": "debate", "paradigm": "report"}}).manifest()["facets"]
    assert report["structure"] == "centralised" and report["strategy"] == "role-based"
    members = made({"protocol": "vote"}).manifest()["members"]
    assert members["random"]["facets"]["brain"] == "chance"


@pytest.mark.parametrize("name", entries("teams"))
def test_every_protocol_says_a_strategy_of_the_vocabulary(name):
    strategy = getattr(load("teams", name), "strategy", "role")
    assert f"{strategy}-based" in VOCABULARY["strategy"].words


@pytest.mark.parametrize("name", sorted(TOPOLOGIES))
def test_facets_of_teams_are_of_the_vocabulary(name):
    options = {"layered": {"sizes": [1, 2]}, "custom": {"edges": [[0, 1]]}}.get(name, {})
    found = made({"protocol": "vote", "topology": {"name": name, **options}}).manifest()["facets"]
    assert check_facets(found, VOCABULARY) == found


def test_declared():
    team = made({"protocol": "vote"}, facets={"type": "coopetition", "structure": "hierarchical"})
    found = team.manifest()["facets"]
    assert found["type"] == "coopetition" and found["structure"] == "hierarchical"
    with pytest.raises(CrossplayError, match='structure: unknown word "flat"'):
        made({"protocol": "vote"}, facets={"structure": "flat"})
