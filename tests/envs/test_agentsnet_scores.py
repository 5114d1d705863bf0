"""agentsnet: scores by hand, against networkx and enumeration; faults of the published scorer; floors."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.envs.agentsnet import family, scores
from crossplay.envs.agentsnet.graphs import draw_graph, neighbours
from crossplay.kernel.seeds import key

PATH = [(0, 1), (1, 2), (2, 3)]
TIED = neighbours(PATH, 4)
NAMES = ("Ann", "Bob", "Cid", "Dee")


def draw(block: int, n: int = 6, kind: str = "ba"):
    edges = draw_graph(key("scores", block), kind, n)
    graph = nx.Graph(edges)
    return edges, neighbours(edges, n), graph


# -- by hand -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("answers", "score"),
    [("0000", 1), ("1111", 1), ("0001", 0), (["0", "0", "0", None], 0), ([None] * 4, 0)],
)
def test_consensus(answers, score: float) -> None:
    assert scores.consensus(list(answers)) == score


def test_consensus_on_nobodys_value_does_not_count() -> None:
    assert scores.consensus(["3"] * 4, inputs=["3", "5", "5", "5"]) == 1.0
    assert scores.consensus(["4"] * 4, inputs=["3", "5", "5", "5"]) == 0.0


@pytest.mark.parametrize(
    ("answers", "score"),
    [("YNNN", 1), ("NNNN", 0), ("YYNN", 0), ("YNN-", 0)],
)
def test_leader_election(answers: str, score: float) -> None:
    assert scores.leader_election([{"Y": "Yes", "N": "No", "-": None}[a] for a in answers]) == score


def test_coloring() -> None:
    assert scores.coloring(["Group 1", "Group 2", "Group 1", "Group 2"], PATH) == 1.0
    assert scores.coloring(["Group 1", "Group 2", "Group 1", "Group 1"], PATH) == pytest.approx(2 / 3)
    assert scores.coloring(["Group 1", "Group 2", "Group 1", None], PATH) == 0.0


@pytest.mark.parametrize(
    ("answers", "score"),
    [
        (["Bob", "Ann", "Dee", "Cid"], 1.0),
        (["None", "Cid", "Bob", "None"], 1.0),
        (["None", "None", "Dee", "Cid"], 0.5),  # Ann and Bob could have been a pair
        (["Bob", "Cid", "Bob", "Cid"], 0.5),  # Bob and Cid; the others are not named back
        (["Cid", "None", "Ann", "None"], 0.5),  # Ann and Cid are no neighbours
        ([None, "Cid", "Bob", "None"], 0.75),
        (["Ann", "Cid", "Bob", "Zoe"], 0.5),  # oneself, and nobody
    ],
)
def test_matching(answers, score: float) -> None:
    assert scores.matching(answers, TIED, NAMES) == score


@pytest.mark.parametrize(
    ("answers", "score"),
    [("NYYN", 1.0), ("NYNY", 1.0), ("YYNY", 2 / 3), ("YYYY", 0.0), ("NYNN", 2 / 3), ("YYNN", 2 / 3 * 1 / 2)],
)
def test_vertex_cover(answers: str, score: float) -> None:
    assert scores.vertex_cover([{"Y": "Yes", "N": "No"}[a] for a in answers], PATH, TIED) == pytest.approx(score)


# -- independent checks ------------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.lists(st.integers(0, 6), min_size=6, max_size=6))
def test_a_full_score_is_what_networkx_calls_solved(block: int, draws: list[int]) -> None:
    edges, tied, graph = draw(block)
    names = tuple("abcdef")
    groups = [f"Group {d}" for d in draws]
    proper = all(groups[u] != groups[v] for u, v in graph.edges)
    assert (scores.coloring(groups, edges) == 1.0) == proper

    pairs = [[*(names[j] for j in tied[i]), "None"][d % (len(tied[i]) + 1)] for i, d in enumerate(draws)]
    mutual = all(p == "None" or pairs[names.index(p)] == names[i] for i, p in enumerate(pairs))
    found = {frozenset((i, names.index(p))) for i, p in enumerate(pairs) if p != "None"}
    solved = mutual and nx.is_maximal_matching(graph, {tuple(e) for e in found})
    assert (scores.matching(pairs, tied, names) == 1.0) == solved

    chosen = ["Yes" if d % 2 else "No" for d in draws]
    cover = {i for i, a in enumerate(chosen) if a == "Yes"}
    covers = all(u in cover or v in cover for u, v in graph.edges)
    minimal = all(any(u not in cover - {w} and v not in cover - {w} for u, v in graph.edges) for w in cover)
    assert (scores.vertex_cover(chosen, edges, tied) == 1.0) == (covers and minimal)


# -- faults of the published scorer ------------------------------------------------------------------
def published_cover(answers: list[str], edges) -> float:
    """The published formula: coverage x critical / chosen, critical being tested on the whole cover."""

    def coverage(a: list[str]) -> float:
        return sum(a[u] == "Yes" or a[v] == "Yes" for u, v in edges) / len(edges)

    chosen = [i for i, a in enumerate(answers) if a == "Yes"]
    critical = sum(coverage([*answers[:i], "No", *answers[i + 1 :]]) < 1.0 for i in chosen)
    return coverage(answers) * critical / len(chosen)


def test_nobody_covers_is_zero_and_no_division() -> None:
    with pytest.raises(ZeroDivisionError):
        published_cover(["No"] * 4, PATH)
    assert scores.vertex_cover(["No"] * 4, PATH, TIED) == 0.0
    env = family.make("vertex_cover", {"rounds": 1})
    env.reset(key("x"))
    env.step(dict.fromkeys(env.seats, 0), [])
    env.step(dict.fromkeys(env.seats, env.action_spec.names.index("No")), [])
    assert env.ended() == "terminal" and env.score()["score"] == 0.0 and env.score()["normalised"] < 0.0


def test_coordinators_of_an_incomplete_cover_must_be_needed_too() -> None:
    answers = ["Yes", "Yes", "No", "No"]  # 2-3 is open; Ann covers nothing that Bob does not
    assert published_cover(answers, PATH) == pytest.approx(2 / 3)
    assert scores.vertex_cover(answers, PATH, TIED) == pytest.approx(1 / 3)
    complete = ["Yes", "Yes", "Yes", "No"]  # on complete covers both say the same
    assert published_cover(complete, PATH) == scores.vertex_cover(complete, PATH, TIED)


def test_who_was_silent_is_told_by_name() -> None:
    env = family.make("coloring", {})
    env.reset(key("x"))
    data = env.data(env.seats[0])
    near = data["neighbours"]
    ids = range(env.n)  # the published list drops the ids of those who wrote: none of them is ever a name
    assert [i for i in ids if i not in {near[0]: "hello"}] == list(ids)
    text = env.view_text({**data, "round": 1, "heard": [[[near[0], "hello"]]]})
    assert f"- {near[0]}: hello\n- nothing from {', '.join(near[1:])}\n" in text
    text = env.view_text({**data, "round": 1, "heard": [[[name, "hello"] for name in near]]})
    assert "nothing from" not in text


def test_a_constant_solves_consensus_but_not_with_private_inputs() -> None:
    def constant(options: dict, block: int) -> float:
        env = family.make("consensus", {"rounds": 1, **options})
        env.reset(key("constant", block))
        env.step(dict.fromkeys(env.seats, 0), [])
        env.step(dict.fromkeys(env.seats, env.action_spec.names.index("0")), [])
        return env.score()["score"]

    assert all(constant({}, block) == 1.0 for block in range(20))
    share = np.mean([constant({"private_inputs": True}, block) for block in range(200)])
    assert share < 0.125 + 3 * 0.024  # two of sixteen values are held


# -- floors ------------------------------------------------------------------------------------------
def expected(tied, options, score) -> float:
    """The mean over all equally likely answers."""
    found = [score(list(a)) for a in itertools.product(*options)]
    return sum(found) / len(found)


@pytest.mark.parametrize("block", range(3))
@pytest.mark.parametrize("kind", ["ws", "ba", "delaunay"])
def test_floors_are_the_mean_over_all_answers(block: int, kind: str) -> None:
    n = 5 if block else 6
    edges, tied, _ = draw(block, n, kind)
    names = "abcdef"[:n]
    near = [[*(names[j] for j in t), "None"] for t in tied]
    groups = [[f"Group {g}" for g in range(1 + max(map(len, tied)))]] * n
    yes_no, bits = [["Yes", "No"]] * n, [["0", "1", "2"]] * n
    held = ["1", "2"] * 3
    cases = [
        (scores.floor("matching", tied), near, lambda a: scores.matching(a, tied, names)),
        (scores.floor("vertex_cover", tied), yes_no, lambda a: scores.vertex_cover(a, edges, tied)),
        (scores.floor("consensus", tied, 3), bits, scores.consensus),
        (scores.floor("consensus", tied, 3, held[:n]), bits, lambda a: scores.consensus(a, held[:n])),
    ]
    if kind == "ws" and n == 5 and block == 1:
        cases.append((scores.floor("coloring", tied), groups, lambda a: scores.coloring(a, edges)))
    for floor, options, score in cases:
        assert floor == pytest.approx(expected(tied, options, score), abs=1e-12)


def test_the_floor_of_an_election_is_the_best_of_equal_nodes() -> None:
    _, tied, _ = draw(0)
    chances = [n_yes * p * (1 - p) ** (n_yes - 1) for n_yes in [6] for p in np.linspace(0.01, 1, 300)]
    assert max(chances) == pytest.approx(scores.floor("leader_election", tied), rel=1e-3)
