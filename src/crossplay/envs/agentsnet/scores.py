"""How the five tasks are scored, and what answers drawn by chance are expected to score.

Answers are text or None (no answer). Formulas: Groetschla et al. 2025 (arXiv 2507.08616) and its
published scorer, without its faults: nobody covers scores 0 instead of dividing by zero, and a
coordinator of an incomplete cover counts only if an edge hangs on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

__all__ = ["coloring", "consensus", "floor", "leader_election", "matching", "vertex_cover"]

Answers = Sequence[str | None]
Edges = Sequence[tuple[int, int]]
Tied = Sequence[Sequence[int]]


def consensus(answers: Answers, inputs: Sequence[str] | None = None) -> float:
    """1 if all gave the same answer, else 0; with private inputs it must also be somebody's input."""
    first = answers[0]
    agreed = first is not None and all(a == first for a in answers)
    return float(agreed and (inputs is None or first in inputs))


def leader_election(answers: Answers) -> float:
    """1 if exactly one says Yes and everybody answered, else 0."""
    return float(all(a is not None for a in answers) and sum(a == "Yes" for a in answers) == 1)


def coloring(answers: Answers, edges: Edges) -> float:
    """The share of edges whose ends differ; 0 if somebody did not answer."""
    if any(a is None for a in answers):
        return 0.0
    return sum(answers[u] != answers[v] for u, v in edges) / len(edges)


def matching(answers: Answers, tied: Tied, names: Sequence[str]) -> float:
    """The share of nodes in order: paired both ways, or "None" with no neighbour who says "None"."""
    index = {name: i for i, name in enumerate(names)}
    good = 0
    for i, answer in enumerate(answers):
        if answer == "None":
            good += all(answers[j] != "None" for j in tied[i])
        elif answer is not None and index.get(answer) in tied[i]:
            good += answers[index[answer]] == names[i]
    return good / len(answers)


def vertex_cover(answers: Answers, edges: Edges, tied: Tied) -> float:
    """Share of covered edges x share of coordinators whose removal uncovers an edge; 0 without coordinators."""
    chosen = [a == "Yes" for a in answers]
    if not any(chosen):
        return 0.0
    covered = sum(chosen[u] or chosen[v] for u, v in edges) / len(edges)
    needed = sum(chosen[i] and any(not chosen[j] for j in tied[i]) for i in range(len(answers)))
    return covered * needed / sum(chosen)


# -- what chance scores ------------------------------------------------------------------------------
def floor(task: str, tied: Tied, options: int = 2, inputs: Sequence[str] | None = None) -> float:
    """The exact expected score of answers drawn without a word, uniformly from the options of each node.

    In leader election "Yes" is drawn with chance 1/n, the best that equal nodes can do without
    talking. options: how many answers there are (consensus); the colours are largest degree + 1.
    """
    n = len(tied)
    if task == "consensus":
        return (options if inputs is None else len(set(inputs))) * float(options) ** -n
    if task == "leader_election":
        return (1.0 - 1.0 / n) ** (n - 1)
    if task == "coloring":
        return 1.0 - 1.0 / (1 + max(map(len, tied)))
    return _matching_floor(tied) if task == "matching" else _cover_floor(tied)


def _matching_floor(tied: Tied) -> float:
    """Node i names each of its d(i) neighbours, or None, with chance 1/(d(i) + 1)."""
    p = [1.0 / (len(t) + 1) for t in tied]
    pairs = (p[i] * p[j] for i, t in enumerate(tied) for j in t)
    alone = (p[i] * math.prod(1.0 - p[j] for j in t) for i, t in enumerate(tied))
    return (sum(pairs) + sum(alone)) / len(tied)


def _cover_floor(tied: Tied) -> float:
    """E[covered x needed / chosen] where each node is chosen with chance 1/2 (0 where none is).

    1/K is the integral of t^(K-1) over 0..1; under it, a chosen node weighs t/2, one that is not 1/2
    and any node (1 + t)/2. Summed over the node v that is needed, minus the terms of an uncovered
    edge that does not touch v. The integrand is a polynomial of degree < n: Gauss-Legendre is exact.
    """
    n = len(tied)
    at, weight = np.polynomial.legendre.leggauss(n // 2 + 1)
    t, weight = (at + 1.0) / 2.0, weight / 2.0
    chosen, free, out = t / 2.0, (1.0 + t) / 2.0, 0.5
    edges = [(u, v) for u, line in enumerate(tied) for v in line if u < v]
    total = np.zeros_like(t)
    for v, line in enumerate(tied):
        d, near = len(line), {v, *line}
        beside = sum(v not in e for e in edges)  # edges that v does not touch
        apart = sum(not near & set(e) for e in edges)  # nor a neighbour of v
        needed = chosen * free ** (n - 1) - chosen ** (d + 1) * free ** (n - d - 1)
        lost = beside * chosen * out**2 * free ** (n - 3)
        if apart:
            lost = lost - apart * chosen ** (d + 1) * out**2 * free ** (n - d - 3)
        total += needed - lost / len(edges)
    return float((total / t * weight).sum())
