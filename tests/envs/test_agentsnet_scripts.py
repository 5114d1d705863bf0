"""node: the scripted players of agentsnet, through real mail: ceiling, collapse, noise, controls; and `llm` in a seat."""

from __future__ import annotations

import asyncio

import networkx as nx
import numpy as np
import pytest

from crossplay.agents import Llm
from crossplay.agents.llm import Settings
from crossplay.agents.scripts.agentsnet import METHODS, Node, node
from crossplay.envs.agentsnet import TASKS, family
from crossplay.kernel import Block, Channel, Conduct, CrossplayError, aio, loop, play
from crossplay.models import Door, ScriptedBackend

GRAPHS = ("ws", "ba", "delaunay")


def episode(task: str, agents, block: int = 0, conduct: Conduct = Conduct(), **options):  # noqa: B008 (frozen)
    env = family.make(task, options)
    lineup = dict.fromkeys(env.seats, agents) if not isinstance(agents, dict) else agents
    outcome = loop(play(env, lineup, Block(3, block), conduct))
    assert outcome.status == "terminal", outcome.detail
    return env, outcome


def mean(task: str, method: str, blocks: int, what: str = "score", noisy: float = 0.0, **options) -> float:
    found = [
        episode(task, Node(method, noisy), block, family=graph, **options)[1].score[what]
        for graph in GRAPHS
        for block in range(blocks)
    ]
    return float(np.mean(found))


def solved(env) -> bool:
    """Whether the answers solve the task, by networkx."""
    graph = nx.Graph([(env.seats[u], env.seats[v]) for u, v in env.edges])
    answers = dict(zip(env.seats, env.answers, strict=True))
    if env.task == "consensus":
        return len(set(answers.values())) == 1
    if env.task == "leader_election":
        return list(answers.values()).count("Yes") == 1
    if env.task == "coloring":
        assert set(answers.values()) <= {f"Group {i + 1}" for i in range(1 + max(d for _, d in graph.degree()))}
        return all(answers[u] != answers[v] for u, v in graph.edges)
    if env.task == "matching":
        pairs = {tuple(sorted((a, b))) for a, b in answers.items() if b != "None"}
        return all(b == "None" or answers[b] == a for a, b in answers.items()) and nx.is_maximal_matching(graph, pairs)
    outside = [a for a, said in answers.items() if said == "No"]
    return bool(outside) and set(nx.maximal_independent_set(graph, outside, seed=0)) == set(outside)


# -- ceiling and floor -------------------------------------------------------------------------------
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("n", [4, 8, 16])
def test_scripts_are_the_ceiling_within_the_published_rounds(task: str, n: int) -> None:
    assert mean(task, "local", 6, n=n) >= (0.97 if task != "matching" else 0.95)
    assert mean(task, "gather", 2, n=n) == 1.0


@pytest.mark.parametrize("task", TASKS)
def test_a_hundred_people(task: str) -> None:
    env, outcome = episode(task, Node(), n=100, family="delaunay")
    assert outcome.score["score"] >= 0.97 and outcome.score["rounds"] == 2 * env.across + 1


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", ["local", "gather"])
def test_networkx_agrees_that_it_is_solved(task: str, method: str) -> None:
    found = []
    for graph in GRAPHS:
        for block in range(4):
            env, outcome = episode(task, Node(method), block, family=graph, n=12)
            assert solved(env) == (outcome.score["solved"] == 1.0)
            found.append(solved(env))
    assert np.mean(found) > 0.8


@pytest.mark.parametrize("task", TASKS)
def test_random_answers_score_the_floor(task: str) -> None:
    gaps = []
    for graph in GRAPHS:
        for block in range(70):
            score = episode(task, Node("random"), block, family=graph, rounds=1, n=5)[1].score
            gaps.append(score["score"] - score["floor"])
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / len(gaps) ** 0.5 + 1e-12


def test_the_floor_of_coloring_is_high_and_normalised_scores_see_through_it() -> None:
    assert mean("coloring", "random", 20, n=16) > 0.8
    assert abs(mean("coloring", "random", 20, "normalised", n=16)) < 0.2
    assert mean("coloring", "gather", 2, "normalised", n=16) == 1.0


# -- rounds and messages -----------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["local", "gather"])
@pytest.mark.parametrize("task", ["leader_election", "consensus"])
def test_flooding_needs_as_many_rounds_as_the_network_is_wide(task: str, method: str) -> None:
    options = {"private_inputs": True} if task == "consensus" else {}
    short, enough = [], []
    for block in range(12):
        env, _ = episode(task, Node("constant"), block, n=30, family="delaunay", rounds=1)
        across = env.across
        assert across >= 4
        enough.append(
            episode(task, Node(method), block, n=30, family="delaunay", rounds=across, **options)[1].score["score"]
        )
        short.append(
            episode(task, Node(method), block, n=30, family="delaunay", rounds=across - 3, **options)[1].score["score"]
        )
    assert np.mean(enough) == 1.0 and np.mean(short) < 0.5


def test_what_is_heard_comes_from_within_reach() -> None:
    """After r rounds a node knows exactly the ties that touch a node at most r - 1 steps away."""
    env, outcome = episode("coloring", Node("gather"), n=20, family="delaunay", rounds=2)
    graph = nx.Graph([(env.seats[u], env.seats[v]) for u, v in env.edges])
    for seat in env.seats[:5]:
        heard = {
            fact for box in env.data(seat)["heard"] for _, body in box for fact in body[6:].split(",") if "-" in fact
        }
        near = nx.ego_graph(graph, seat, 2).nodes
        assert heard == {"-".join(sorted(e)) for e in graph.edges if e[0] in near or e[1] in near}
    assert outcome.score["delivered"] > 0


@pytest.mark.parametrize("task", TASKS)
def test_without_messages_nothing_is_solved(task: str) -> None:
    options = {"private_inputs": True} if task == "consensus" else {}
    quiet = Conduct(mail=Channel(mode="off"))
    found = [episode(task, Node(), block, quiet, n=8, **options)[1].score for block in range(12)]
    assert all(s["delivered"] == 0 for s in found)
    assert np.mean([s["solved"] for s in found]) < 0.3
    # Pairs are ordered by their names, which both ends know without a word: a convention, worth something in matching.
    assert np.mean([s["normalised"] for s in found]) < (0.6 if task == "matching" else 0.3)


def test_a_constant_solves_only_the_published_consensus() -> None:
    assert mean("consensus", "constant", 3) == 1.0
    assert mean("consensus", "constant", 10, private_inputs=True) < 0.4
    for task in set(TASKS) - {"consensus"}:
        assert mean(task, "constant", 3, "solved") == 0.0


def test_shuffled_mail_hurts() -> None:
    mixed = Conduct(mail=Channel(mode="shuffle"))
    plain = [episode("matching", Node(), block, n=16)[1].score["score"] for block in range(6)]
    other = [episode("matching", Node(), block, mixed, n=16)[1].score["score"] for block in range(6)]
    assert np.mean(other) < np.mean(plain) - 0.2


def test_noise_of_the_channel_counts_erased_words() -> None:
    _, outcome = episode("consensus", Node(), conduct=Conduct(mail=Channel(noise=0.5)))
    assert sum(c.get("erased", 0) for c in outcome.counts.values()) > 10


def test_agreement_falls_with_dropped_messages_and_with_size() -> None:
    def agreed(noisy: float, n: int) -> float:
        return mean("consensus", "local", 8, "solved", noisy=noisy, n=n, rounds=4, private_inputs=True)

    clean, some, most = (agreed(q, 8) for q in (0.0, 0.6, 0.9))
    assert clean == 1.0 and clean > some > most
    assert agreed(0.6, 20) < some


def test_dropped_messages_are_counted_and_drawn_at_addresses() -> None:
    _, one = episode("coloring", Node(noisy=0.4), n=16)
    _, two = episode("coloring", Node(noisy=0.4), n=16)
    assert one.world == two.world
    dropped = sum(c["dropped"] for c in one.counts.values())
    said = sum(c["said"] for c in one.counts.values())
    assert dropped / (dropped + said) == pytest.approx(0.4, abs=0.06)
    _, none = episode("coloring", Node(noisy=1.0), n=16)
    assert none.score["delivered"] == 0


# -- words that scripts do not write -----------------------------------------------------------------
class Talker(Node):
    """A node whose words are not the scripts'."""

    def _messages(self, obs, near, said):
        words = ["first=Aa value=99", "rank=x group=", "hello there", {"first": "Aa"}, "facts=x,-,:,a-b-c point="]
        return [type(m)(m.dst, words[obs.tick % 5]) for m in super()._messages(obs, near, said)]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("method", ["local", "gather"])
def test_scripts_stand_what_others_write(task: str, method: str) -> None:
    env = family.make(task, {})
    lineup = {s: Talker(method) if i % 3 == 0 else Node(method) for i, s in enumerate(env.seats)}
    _, outcome = episode(task, lineup)
    assert not any(c.get("error") or c.get("invalid") for c in outcome.counts.values())


def test_factory_and_mistakes() -> None:
    assert node("", {}).name == "node:local" and node("gather", {"noisy": 0.5}).noisy == 0.5
    with pytest.raises(CrossplayError, match='unknown method "locl". Did you mean "local"'):
        node("locl", {})
    with pytest.raises(CrossplayError, match="plays agentsnet, not matrix"):
        from crossplay.envs.matrix import family as matrix

        node("", {}).check(matrix.make("", {}), "row")
    assert {Node(m).manifest()["method"] for m in METHODS} == set(METHODS)


# -- models ------------------------------------------------------------------------------------------
def test_an_unmodified_llm_talks_and_answers() -> None:
    shown: list[str] = []

    def answer(request) -> str:
        text = request.messages[-1].text
        shown.append(text)
        if "Write to your neighbours" in text:
            return '{"say": "first=Aaron value=1", "action": "A"}'
        return "B"

    door = Door({"double": ScriptedBackend("double", answer)})
    env = family.make("leader_election", {"n": 4, "rounds": 2})
    agents = {s: Llm(door.model("double"), Settings(talk=True, memory=0)) for s in env.seats}
    outcome = asyncio.run(aio(play(env, agents, Block(0, 0))))
    assert outcome.status == "terminal" and outcome.score["answered"] == 1.0
    assert sum(c["calls"] for c in outcome.counts.values()) == 4 * 3
    assert outcome.score["delivered"] == 2 * len(env.edges) * 2 / 4
    assert "Written in round 2:" in shown[-1] and "first=Aaron value=1" in shown[-1]
