"""Who sees whom: every topology as data, and what members of a team are really shown."""

import msgspec
import networkx as nx
import pytest
from deliberate import Quiz, any_form, decide, members, posts, team_of
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import Block, CrossplayError, loop, play
from crossplay.teams import make_team, make_topology
from crossplay.teams.topology import TOPOLOGIES, Topology


def edges(name, n, own=False, **more):
    return {e for e in make_topology({"name": name, **more}, n).edges if own or e[0] != e[1]}


def both(graph):
    return set(graph.edges) | {(b, a) for a, b in graph.edges}


@pytest.mark.parametrize("n", range(2, 9))
def test_named_topologies_are_the_graphs_of_networkx(n):
    assert edges("complete", n) == both(nx.complete_graph(n))
    assert edges("none", n) == set()
    assert edges("chain", n) == set(nx.path_graph(n, nx.DiGraph).edges)
    assert edges("ring", n) == set(nx.cycle_graph(n, nx.DiGraph).edges)
    assert edges("ring", n, both=True) == both(nx.cycle_graph(n))
    assert edges("star", n) == both(nx.star_graph(n - 1))
    tree = nx.bfs_tree(nx.full_rary_tree(2, n), 0)
    assert edges("tree", n) == set(tree.edges)
    assert edges("tree", n, up=True) == {(b, a) for a, b in tree.edges}


def test_layers_see_the_layer_before():
    found = make_topology({"name": "layered", "sizes": [2, 1, 2]}, 5)
    assert {e for e in found.edges if e[0] != e[1]} == {(0, 2), (1, 2), (2, 3), (2, 4)}
    assert found.stages == ((0, 1), (2,), (3, 4))


def test_stages_are_the_order_of_a_round():
    assert make_topology("chain", 3).stages == ((0,), (1,), (2,))
    assert make_topology("complete", 3).stages == ((0, 1, 2),)
    assert make_topology({"name": "complete", "turns": True}, 3).stages == ((0,), (1,), (2,))
    assert make_topology({"name": "star", "hub": 1, "turns": True}, 3).stages == ((1,), (0, 2))
    assert make_topology("tree", 4).stages == ((0,), (1, 2), (3,))
    assert make_topology({"name": "tree", "up": True}, 4).stages == ((3,), (1, 2), (0,))


@pytest.mark.parametrize("name", TOPOLOGIES)
@pytest.mark.parametrize("own", [True, False])
def test_loops_say_whether_a_member_sees_its_own(name, own):
    if name == "custom":
        assert make_topology({"edges": [[0, 0]]}, 2).heard_by(0) == (0,)
        return
    more = {"sizes": [2, 3]} if name == "layered" else {}
    loops = {e for e in make_topology({"name": name, "own": own, **more}, 5).edges if e[0] == e[1]}
    assert len(loops) == (5 if own else 0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("rign", 'unknown name "rign".*ring'),
        ({"name": "star", "hubb": 1}, 'star: unknown setting "hubb".*hub'),
        ({"name": "star", "hub": 7}, "hub = 7"),
        ({"name": "tree", "branch": 0}, "branch = 0"),
        ({"name": "layered", "sizes": [1, 1]}, "do not add up to 3"),
        ({"name": "layered", "sizes": 3}, "layered"),
        ({"name": "sparse", "degree": 0}, "degree = 0"),
        ({"edges": [[0, 3]]}, "leaves the members"),
        ({"edges": [[0]]}, "custom"),
        ({"edges": [], "stages": [[0, 1]]}, "do not ask each of 3"),
        ({"edges": [], "stages": [[0, 1], [1, 2]]}, "do not ask each of 3"),
    ],
)
def test_errors_name_the_nearest(given, words):
    with pytest.raises(CrossplayError, match=words):
        make_topology(given, 3)


def test_a_topology_is_data():
    made = make_topology({"name": "star", "hub": 1, "turns": True}, 3)
    data = msgspec.json.decode(msgspec.json.encode(made.to_dict()))
    assert make_topology({"edges": data["edges"], "stages": data["stages"]}, 3).edges == made.edges
    cut = made.edit(add=[(0, 2)], cut=[(1, 0), (0, 2)])
    assert (0, 2) in cut.edges and (1, 0) not in cut.edges and (1, 0) in made.edges  # what is added stands
    assert cut.edit().name == cut.name == "star*" and cut.stages == made.stages


def test_sparse_is_drawn_anew_each_round():
    made = make_topology({"name": "sparse", "degree": 2}, 6)
    rounds = [made.of_round(b"key", r) for r in range(8)]
    for t in rounds:
        assert all(len(set(t.heard_by(m)) - {m}) == 2 and m in t.heard_by(m) for m in range(6))
    assert len({t.edges for t in rounds}) == 8
    assert made.of_round(b"key", 3).edges == rounds[3].edges != made.of_round(b"other", 3).edges
    assert make_topology("ring", 6).of_round(b"key", 3) == make_topology("ring", 6)
    team = team_of([0, 1, 2, 3, 0, 1], {"name": "debate", "rounds": 3}, {"name": "sparse", "degree": 1, "own": False})
    shown = [p["sees"] for p in posts(decide(team))]
    assert [len(s) for s in shown] == [0] * 6 + [1] * 18
    writers = {r: tuple(s[0] % 6 for s in shown[6 * r : 6 * r + 6]) for r in (1, 2, 3)}
    assert len(set(writers.values())) > 1


@st.composite
def topologies(draw):
    n = draw(st.integers(1, 5))
    pairs = [(a, b) for a in range(n) for b in range(n)]
    order = draw(st.permutations(range(n)))
    cuts = sorted(draw(st.sets(st.integers(1, n - 1)))) if n > 1 else []
    stages = [tuple(order[a:b]) for a, b in zip([0, *cuts], [*cuts, n], strict=True)]
    return Topology(n, draw(st.frozensets(st.sampled_from(pairs))), tuple(stages))


@settings(deadline=None, max_examples=60)
@given(topologies(), st.integers(0, 3), st.integers(0, 2), st.sampled_from([None, 0, 1]))
def test_members_are_shown_what_the_topology_lets_them_hear(topology, rounds, window, broken):
    """By another reading: at every ask, of each writer that it hears the last `window` answers that came in an
    earlier stage; and the brief's inbox holds exactly the posts that the record says it saw.
    """
    answers = [any_form(lambda obs, i=i: i % 4) for i in range(topology.n)]
    if broken is not None and broken < topology.n:
        answers[broken] = lambda obs: 99  # never a valid answer: nobody is shown it
    mine = members(*answers)
    team = make_team(mine, {"name": "debate", "rounds": rounds, "window": window}, topology)
    found = posts(loop(play(Quiz(), {"p0": team}, Block(2, 2))))
    asked = [m for _ in range(1) for m in range(topology.n)]
    asked += [m for _ in range(rounds) for stage in topology.stages for m in stage]
    assert [p["member"] for p in found] == [mine[m].name for m in asked]
    stage_of = {m: k for k, stage in enumerate(topology.stages) for m in stage}
    when = [(0, 0)] * topology.n + [(r, stage_of[m]) for r in range(1, rounds + 1) for s in topology.stages for m in s]
    for p, reader, now in zip(found, asked, when, strict=True):
        before = [q for q in found if when[q["id"]] < now and "fault" not in q] if now[0] else []
        by_writer = {w: [q["id"] for q in before if asked[q["id"]] == w] for w, r in topology.edges if r == reader}
        wanted = sorted(i for ids in by_writer.values() for i in (ids[-window:] if window else ids))
        assert p["sees"] == wanted
    for m in mine:
        own = [p for p in found if p["member"] == m.name]
        for told, p in zip(m.asked, own, strict=True):
            assert [(src, value) for src, _, value, _ in told["posts"]] == [
                (found[i]["member"], found[i]["value"]) for i in p["sees"]
            ]


@pytest.mark.parametrize("protocol", ["debate", "relay", "graph", "review", "select", "orchestrate", "tree", "refine"])
def test_in_a_silent_team_nobody_is_shown_anything(protocol):
    secret = "MADE-UP-WORDS"
    mine = members(*[lambda obs: _leaky(obs, secret)] * 4)
    outcome = decide(make_team(mine, protocol, silent=True))
    assert outcome.status == "terminal" and len(posts(outcome)) > 1
    for m in mine:
        assert all(not a["posts"] and secret not in a["brief"] for a in m.asked)
    assert all(p["sees"] == [] and "told" not in p for p in posts(outcome))
    loud = members(*[lambda obs: _leaky(obs, secret)] * 4)
    decide(make_team(loud, protocol))
    assert any(a["posts"] or secret in a["brief"] for m in loud for a in m.asked)


def _leaky(obs, secret):
    if obs.spec is obs.seat_spec:
        return obs.pick(4)
    if obs.spec.kind == "text":
        return secret
    schema = obs.spec.schema or {}
    if schema.get("type") == "array":
        return [secret] if schema["items"].get("type") == "string" else obs.spec.draw(obs.key(), 0)
    if "to" in schema.get("properties", {}):
        return {"to": schema["properties"]["to"]["enum"][0], "instruction": secret}
    if "score" in schema.get("properties", {}):
        return {"score": 1, "reason": secret}
    return obs.spec.draw(obs.key("x"), 0)
