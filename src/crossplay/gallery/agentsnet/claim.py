"""What is checked of AgentsNet: validity, floors by enumeration, what flooding can reach, and loss of messages.

Flooding: after R rounds everybody knows the first name within R steps. So who elects whom, and which values are
agreed on, follows from the distances in the graph, network by network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import crossplay
from crossplay.gallery.agentsnet.study import FAMILIES, TASKS, Network, Settings, control, networks, study
from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Level, Mechanism, Trial
from crossplay.measure.stats import paired_t, welch, wilson

__all__ = ["ENTRY", "agreed", "check", "distances", "enumerated", "flooded", "judge", "simulated", "solved"]

WIDE = 3.29  # standard deviations: two-sided chance .001


# -- references ------------------------------------------------------------------------------------
def distances(tied: np.ndarray) -> np.ndarray:
    """int[n, n]: steps between nodes of a connected graph, by growing balls. tied: bool[n, n]."""
    n = len(tied)
    ball, far = np.eye(n, dtype=bool), np.zeros((n, n), int)
    while not ball.all():
        far += ~ball
        ball = ball | (ball.astype(int) @ tied.astype(int) > 0)
    return far


def solved(task: str, net: Network) -> bool:
    """Whether the answers solve the task on the graph: proper, minimal, maximal, one, agreed."""
    n, tied, answers = len(net.names), net.tied, net.answers
    if task == "consensus":
        return len(set(answers)) == 1 and (net.inputs[0] is None or answers[0] in net.inputs)
    if task == "leader_election":
        return answers.count("Yes") == 1
    if task == "coloring":
        group = np.array(answers)
        return not (tied & (group[:, None] == group)).any()
    if task == "vertex_cover":
        out = np.array([a == "No" for a in answers])
        # A minimal cover leaves a maximal independent set: nobody outside is tied to one, everybody else is.
        return bool(((tied & out).any(1) == ~out).all())
    partner = np.array([net.names.index(a) if a in net.names else -1 for a in answers])
    paired = [p >= 0 and tied[i, p] and partner[p] == i for i, p in enumerate(partner)]
    alone = np.array([p < 0 for p in partner])
    return (
        all(p or a for p, a in zip(paired, alone, strict=True)) and not (tied & np.outer(alone, alone)).any() and n > 0
    )


def enumerated(task: str, tied: np.ndarray) -> tuple[float, float]:
    """(mean, variance) of the score of answers by chance, over all answers that there are (n up to 6).

    Uniform from each node's own options, but Yes with chance 1/n for a leader; consensus has two values.
    """
    n = len(tied)
    degree = tied.sum(1)
    edges = [(u, v) for u, v in itertools.combinations(range(n), 2) if tied[u, v]]
    near = [np.flatnonzero(row).tolist() for row in tied]
    if task == "coloring":
        options: list[Sequence[int]] = [range(int(degree.max()) + 1)] * n
    elif task == "matching":
        options = [[*line, -1] for line in near]
    else:
        options = [range(2)] * n
    chance = 1.0 / math.prod(map(len, options))
    mean = square = 0.0
    for a in itertools.product(*options):
        p = (1 / n) ** sum(a) * (1 - 1 / n) ** (n - sum(a)) if task == "leader_election" else chance
        score = _score(task, a, edges, near)
        mean, square = mean + p * score, square + p * score**2
    return mean, square - mean**2


def _score(task: str, a: Sequence[int], edges: Sequence[tuple[int, int]], near: Sequence[Sequence[int]]) -> float:
    """The published score of answers as numbers (a leader or coordinator is 1, no partner -1)."""
    n = len(a)
    if task == "consensus":
        return float(len(set(a)) == 1)
    if task == "leader_election":
        return float(sum(a) == 1)
    if task == "coloring":
        return sum(a[u] != a[v] for u, v in edges) / len(edges)
    if task == "matching":
        return sum(a[a[i]] == i if a[i] >= 0 else all(a[j] >= 0 for j in near[i]) for i in range(n)) / n
    if not any(a):
        return 0.0
    needed = sum(a[i] and any(not a[j] for j in near[i]) for i in range(n))
    return sum(a[u] or a[v] for u, v in edges) / len(edges) * needed / sum(a)


def flooded(net: Network, rounds: int) -> np.ndarray:
    """int[n]: per node the node whose name comes first in the alphabet within so many steps."""
    rank = np.argsort(np.argsort(np.array(net.names)))
    reach = np.where(distances(net.tied) <= rounds, rank, len(rank))
    return np.argsort(rank)[reach.min(1)]


def agreed(task: str, net: Network, rounds: int) -> bool:
    """Whether flooding of so many rounds solves leader election, or consensus with private inputs."""
    first = flooded(net, rounds)
    if task == "leader_election":
        return int((first == np.arange(len(first))).sum()) == 1
    return len({net.inputs[i] for i in first}) == 1


def simulated(net: Network, lost: float, times: int, rng: np.random.Generator) -> float:
    """Share of runs in which flooding agrees, every message being lost with chance `lost`, drawn by numpy."""
    n = len(net.names)
    rank = np.argsort(np.argsort(np.array(net.names)))
    held = np.array(net.inputs)[np.argsort(rank)]  # the value of the node with that rank
    state = np.tile(rank, (times, 1))
    for _ in range(net.rounds):
        arrives = net.tied & (rng.random((times, n, n)) >= lost)  # [run, to, from]
        state = np.minimum(state, np.where(arrives, state[:, None, :], n).min(2))
    values = held[state]
    return float((values == values[:, :1]).all(1).mean())


# -- tier 0 ----------------------------------------------------------------------------------------
def check(settings: Settings) -> list[Finding]:
    """Scripted nodes against enumeration, distances and simulation."""
    s = settings
    played = {
        t: [x for f in FAMILIES for x in networks(s, t, s.graphs, n=s.people, family=f, rounds=s.rounds)] for t in TASKS
    }
    return [
        *_ceiling(played),
        _validity(s, played),
        *_floors(s),
        *_width(s),
        _silent(s),
        _constant(s),
        *_loss(s),
    ]  # fmt: skip


def _ceiling(played: dict[str, list[Network]]) -> list[Finding]:
    found = []
    for task, nets in played.items():
        bar = 0.95 if task == "matching" else 0.97
        value = float(np.mean([x.score["score"] for x in nets]))
        found.append(
            Finding(f"ceiling, {task}", f"a local algorithm solves {task} within the rounds", value >= bar, value,
                    f">= {bar:g}", "1, a valid solution of the graph", n=len(nets))
        )  # fmt: skip
    return found


def _validity(s: Settings, played: dict[str, list[Network]]) -> Finding:
    """Over local and random answers, so that both kinds occur."""
    wrong = total = 0
    for task, nets in played.items():
        chance = networks(s, task, 40, "random", n=5, rounds=1)
        for net in (*nets, *chance):
            wrong += bool(net.score["score"] == 1) != solved(task, net)
            total += 1
    return Finding(
        "validity", "a score of 1 means a solution, and nothing else does", wrong == 0, wrong, "= 0 answers otherwise",
        "proper colouring, minimal cover, maximal matching, one leader, one value: of the graph's matrix", n=total,
    )  # fmt: skip


def _floors(s: Settings) -> list[Finding]:
    far = 0.0
    gap = spread = raw = 0.0
    n = 0
    for task in TASKS:
        held: dict[str, Any] = {"private_inputs": False} if task == "consensus" else {}
        for net in networks(s, task, 40, "random", n=5, rounds=1, **held):
            mean, variance = enumerated(task, net.tied)
            far = max(far, abs(mean - net.score["floor"]))
            gap += (net.score["score"] - mean) / (1 - mean)
            spread += variance / (1 - mean) ** 2
            raw += net.score["score"]
            n += 1
    half = WIDE * math.sqrt(spread) / n
    return [
        Finding("floors", "the floor that is reported is what chance scores on that graph", far < 1e-9, far, "< 1e-9",
                "enumeration of all answers (5 people)", n=n),
        Finding("chance is 0", f"normalised, random players score nothing (they score {raw / n:.2f} as published)",
                abs(gap / n) <= half, gap / n, f"0 +- {half:.3f}", "variance by enumeration", gap / n - half, gap / n + half,
                null=True, n=n),
    ]  # fmt: skip


def _width(s: Settings) -> list[Finding]:
    """Rounds fewer than, and as many as, the network is wide."""
    wrong = total = 0
    enough, short = [], []
    for task in ("leader_election", "consensus"):
        for rounds in (1, 2, 3, 4, 6):
            for net in networks(s, task, 8, n=s.wide, family="delaunay", rounds=rounds):
                won, across = net.score["score"] == 1, int(distances(net.tied).max())
                wrong += won != agreed(task, net, rounds)
                total += 1
                if rounds >= across:
                    enough.append(won)
                elif rounds <= across - 3:
                    short.append(won)
    few = wilson(sum(short), len(short)).interval
    assert few is not None
    return [
        Finding("reach", "leader and value are exactly those that R steps can bring", wrong == 0, wrong, "= 0 networks otherwise",
                "distances in the graph, network by network", n=total),
        Finding("wide enough", "with as many rounds as the network is wide, all agree", all(enough) and len(enough) > 0,
                float(np.mean(enough)), "= 1", "diameter", n=len(enough)),
        Finding("too few rounds", "with three rounds less, agreement collapses", few.high < 0.5, float(np.mean(short)),
                "upper end < 0.5", "the same tasks with enough rounds", few.low, few.high, n=len(short)),
    ]  # fmt: skip


def _silent(s: Settings) -> Finding:
    wrong = total = 0
    for task in ("leader_election", "consensus"):
        for net in networks(s, task, 40, "local", mail="off", n=4, rounds=2, **_private(task)):
            wrong += (net.score["score"] == 1) != agreed(task, net, 0)
            total += 1
    return Finding(
        "zero messages", "without mail nobody knows but himself: agreement is left to equal inputs, and leaders are many",
        wrong == 0, wrong, "= 0 networks otherwise", "zero steps of the same reference", null=True, n=total,
    )  # fmt: skip


def _private(task: str) -> dict[str, Any]:
    return {"private_inputs": True} if task == "consensus" else {}


def _constant(s: Settings) -> Finding:
    """Two of 16 values are held; that 0 is one of them has chance 1/8, less those that nobody happened to be given."""
    n, people = 120, 8
    nets = networks(s, "consensus", n, "constant", n=people, rounds=1)
    won = sum(x.score["score"] == 1 for x in nets)
    expected = 2 / 16 * (1 - 0.5**people)
    half = WIDE * math.sqrt(expected * (1 - expected) / n)
    return Finding(
        "a constant does not win", "with private inputs, saying 0 without listening is no longer worth 1",
        abs(won / n - expected) <= half, won / n, f"{expected:.3f} +- {half:.3f} (without private inputs: 1)",
        "closed form: 2/16 (1 - 2^-n)", n=n,
    )  # fmt: skip


def _loss(s: Settings) -> list[Finding]:
    rng = np.random.default_rng(s.root)
    shares, ideal, found = [], [], []
    for n in s.sizes:
        nets = [
            x
            for f in FAMILIES
            for x in networks(s, "consensus", s.lossy, lost=s.lost, n=n, family=f, rounds=5, **_private("consensus"))
        ]
        won = [x.score["score"] == 1 for x in nets]
        p = np.array([simulated(x, s.lost, 200, rng) for x in nets])
        half = WIDE * math.sqrt(float((p * (1 - p)).sum()) * (1 + 1 / 200)) / len(nets) + 1e-9
        shares.append(won)
        found.append(
            Finding(f"loss, {n} people", f"{s.lost:g} of all messages lost: {n} people agree as often as flooding can",
                    abs(float(np.mean(won)) - float(p.mean())) <= half, float(np.mean(won)), f"{p.mean():.3f} +- {half:.3f}",
                    "simulation by numpy on the same graphs", n=len(nets))
        )  # fmt: skip
        sure = networks(s, "consensus", s.lossy, "local", mail="on", n=n, rounds=5, **_private("consensus"))
        ideal.append(all(x.score["score"] == 1 for x in sure))
    fall = welch(np.array(shares[0], float), np.array(shares[1], float))
    low, high = (fall.interval.low, fall.interval.high) if fall.interval else (fall.value, fall.value)
    few, many = s.sizes
    return [
        *found,
        Finding("more people, less agreement", f"where messages are lost, {many} people agree less often than {few}", low > 0.1,
                fall.value, "lower end > 0.1", "other graphs of the same families", low, high, n=len(shares[0])),
        Finding("nothing lost, no fall", "where none is lost, the number of people changes nothing", all(ideal),
                float(np.mean(ideal)), "= 1 for both sizes", "flooding", null=True, n=2 * s.lossy),
    ]  # fmt: skip


# -- tiers 1 and 2 -----------------------------------------------------------------------------------
def judge(result: Any, folder: Any) -> list[Finding]:
    """What talking brings the network, against silence, chance and one model that is told everything."""
    won = {x.lineup: np.array(x.values) for x in result.scores}
    by_role = {r.role: r.lineup for r in result.rows}
    talk = won["models"]
    found = [
        _above("talk", "what is said helps the network", paired_t(talk, won["models (no messages)"], 0.95, (-1.0, 1.0)), "the same networks, mail off"),
        _above("above chance", "the network does better than answers by chance", paired_t(talk, won[by_role["control: floor"]], 0.95, (-1.0, 1.0)), "the same networks"),
    ]  # fmt: skip
    beside = Path(folder).with_name(Path(folder).name + "-control")
    if beside.is_dir():
        alone = {x.lineup: np.array(x.values) for x in crossplay.result(beside).scores}["one model"]
        paired = paired_t(alone[: len(talk)], talk[: len(alone)], 0.95, (-1.0, 1.0))
        found.append(
            _above(
                "gap",
                "one model among scripts, told everything, does better than a network of models",
                paired,
                "the same networks",
            )
        )
    return found  # fmt: skip


def _above(name: str, says: str, e: Any, reference: str) -> Finding:
    """Without an interval (one network, no variation) nothing is shown."""
    low, high = (e.interval.low, e.interval.high) if e.interval else (None, None)
    return Finding(name, says, low is not None and low > 0, e.value, "lower end > 0", reference, low, high, n=e.n)


_SMALL = {"family": "ba"}
ENTRY = Entry(
    name="agentsnet",
    title="AgentsNet: Coordination and Collaborative Reasoning in Multi-Agent LLMs",
    source="arXiv 2507.08616; its code is MIT, none of it is used here",
    about="One agent per node of a graph hears only its neighbours. After some rounds of messages everybody answers, and the answers "
    "must fit together: a colouring, a minimal vertex cover, a matching, one leader, one value.",
    claims=(
        Claim("Models coordinate in small networks.", (1, 2)),
        Claim("Performance falls off as the network grows."),
    ),
    figures=(
        Figure("Frontier models were probed with up to 100 agents.", "A"),
        Figure("Published code: 4, 8 and 16 nodes, three families of graphs; 4, 5, 6 rounds, or 2 x diameter + 1.", "S"),
    ),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism(
            "messages arrive",
            {"mail": "off"},
            ("ceiling, leader_election", "ceiling, consensus", "ceiling, vertex_cover", "reach", "wide enough", "loss, 4 people"),
        ),
        Mechanism("there are rounds enough", {"rounds": 1}, ("ceiling, leader_election", "ceiling, consensus", "ceiling, vertex_cover")),
        Mechanism("inputs are private", {"private": False}, ("a constant does not win",)),
        Mechanism("messages are lost", {"lost": 0.0}, ("more people, less agreement",)),
        Mechanism("nodes follow an algorithm", {"method": "random"}, ("ceiling, coloring", "ceiling, matching", "wide enough")),
    ),
    trial=Trial(
        levels=(
            Level("coloring", "4 people, a group that no neighbour has", {**_SMALL, "task": "coloring"}),
            Level("leader", "4 people, exactly one says Yes", {**_SMALL, "task": "leader_election"}),
            Level("consensus", "4 people, all answer a value that somebody holds", {**_SMALL, "task": "consensus", "private_inputs": True, "values": 3}),
        ),
        control=control,
        single="one model",
        study=study,
        judge=judge,
        models=("qwen2.5-coder-1.5b",),
        n=40,
        n_control=40,
        effect=0.2,
    ),
    missing="Networks of 20 to 100 models (1,600 calls a network), the retry of unreadable JSON as published (repairs of the agent do it), "
    "and the hosted graphs: graphs are drawn here from the same three families.",
)  # fmt: skip
