"""Connected graphs of three families, drawn at addresses of a key: small worlds, hubs, planar maps.

Sources: Watts and Strogatz 1998, "Collective dynamics of small-world networks", Nature 393;
Barabasi and Albert 1999, "Emergence of scaling in random networks", Science 286; Delaunay 1934.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from crossplay.kernel.seeds import key, permutation, pick, uniform

__all__ = [
    "FAMILIES",
    "barabasi_albert",
    "delaunay",
    "diameter",
    "draw_graph",
    "neighbours",
    "watts_strogatz",
    "widest",
]

Edges = list[tuple[int, int]]

_TRIES = 1000


def watts_strogatz(k: bytes, n: int, near: int = 4, p: float = 0.4) -> Edges:
    """A ring where everybody knows the `near` nearest; each of those edges is rewired with chance p.

    Edges (u, u + d) are visited distance by distance, and the far end of a rewired one becomes a
    node drawn uniformly from those that u is not yet tied to. near >= n gives the complete graph.
    It need not be connected.
    """
    if near >= n:
        return [(u, v) for u in range(n) for v in range(u + 1, n)]
    tied: list[set[int]] = [set() for _ in range(n)]
    for d in range(1, near // 2 + 1):
        for u in range(n):
            _tie(tied, u, (u + d) % n)
    for d in range(1, near // 2 + 1):
        for u in range(n):
            v = (u + d) % n
            if uniform(k, d, u, 0) >= p or len(tied[u]) >= n - 1:
                continue
            free = [w for w in range(n) if w != u and w not in tied[u]]
            tied[u].discard(v)
            tied[v].discard(u)
            _tie(tied, u, free[pick(k, len(free), d, u, 1)])
    return _edges(tied)


def barabasi_albert(k: bytes, n: int, m: int = 2) -> Edges:
    """A star of m + 1 nodes grows: each newcomer ties itself to m different nodes, by their degree.

    m * (n - m) edges, always connected.
    """
    if n <= m:
        raise ValueError(f"{n} nodes, {m} ties each")
    edges = [(0, v) for v in range(1, m + 1)]
    ends = [node for edge in edges for node in edge]  # every node once per tie: a uniform draw is by degree
    for new in range(m + 1, n):
        chosen: list[int] = []
        slot = 0
        while len(chosen) < m:
            node = ends[pick(k, len(ends), new, slot)]
            slot += 1
            if node not in chosen:
                chosen.append(node)
        edges += [(node, new) for node in chosen]
        ends += [node for old in chosen for node in (old, new)]
    return sorted(edges)


def delaunay(points: np.ndarray) -> Edges:
    """The edges of the Delaunay triangulation of points float[n, 2] in general position.

    Points i and j are tied when some circle through both holds no other point. Its centre lies on
    their bisector, at (i + j) / 2 + t * normal; every other point bounds t from one side.
    """
    n = len(points)
    edges: Edges = []
    for i in range(n - 1):
        other = points - points[i]  # [n, 2], relative to i
        for j in range(i + 1, n):
            way = other[j]
            side = other @ np.array([-way[1], way[0]])
            rest = side != 0.0
            rest[[i, j]] = False
            bound = ((other * other).sum(axis=1) - other @ way)[rest] / (2.0 * side[rest])
            left = side[rest] > 0.0
            if bound[~left].max(initial=-math.inf) < bound[left].min(initial=math.inf):
                edges.append((i, j))
    return edges


def _ws(k: bytes, n: int) -> Edges:
    return watts_strogatz(k, n)


def _ba(k: bytes, n: int) -> Edges:
    return barabasi_albert(k, n)


def _map(k: bytes, n: int) -> Edges:
    return delaunay(np.array([[uniform(k, i, 0), uniform(k, i, 1)] for i in range(n)]))


FAMILIES: dict[str, Callable[[bytes, int], Edges]] = {"ws": _ws, "ba": _ba, "delaunay": _map}
"""Watts-Strogatz with 4 neighbours and p = 0.4; Barabasi-Albert with m = 2; Delaunay of uniform points in a square."""


def widest(n: int) -> int:
    """The largest diameter that is accepted, so that a round budget of 2 * diameter + 1 has a bound."""
    return math.ceil(math.sqrt(n)) + 3


def draw_graph(k: bytes, family: str, n: int) -> Edges:
    """A connected graph of the family with nodes 0..n-1 in random order: pairs (u < v), sorted.

    Draws that are not connected, or wider than `widest(n)`, are drawn again.
    """
    for attempt in range(_TRIES):
        again = key(k, "graph", attempt)
        edges = FAMILIES[family](again, n)
        if 0 <= diameter(neighbours(edges, n)) <= widest(n):
            place = permutation(key(again, "places"), n)
            return sorted((min(place[u], place[v]), max(place[u], place[v])) for u, v in edges)
    raise ValueError(f"no connected graph of {n} nodes in {_TRIES} draws of {family}")


def neighbours(edges: Sequence[tuple[int, int]], n: int) -> list[list[int]]:
    """The neighbours of each node, ascending."""
    tied: list[list[int]] = [[] for _ in range(n)]
    for u, v in edges:
        tied[u].append(v)
        tied[v].append(u)
    return [sorted(t) for t in tied]


def diameter(tied: Sequence[Sequence[int]]) -> int:
    """The longest of all shortest paths; -1 where a node cannot be reached."""
    longest = 0
    for start in range(len(tied)):
        far = {start: 0}
        queue = deque([start])
        while queue:
            u = queue.popleft()
            for v in tied[u]:
                if v not in far:
                    far[v] = far[u] + 1
                    queue.append(v)
        if len(far) < len(tied):
            return -1
        longest = max(longest, *far.values())
    return longest


def _tie(tied: list[set[int]], u: int, v: int) -> None:
    tied[u].add(v)
    tied[v].add(u)


def _edges(tied: Sequence[set[int]]) -> Edges:
    return [(u, v) for u in range(len(tied)) for v in sorted(tied[u]) if u < v]
