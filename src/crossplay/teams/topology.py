"""Topologies as data: who sees whom, and in which order members are asked.

An edge (writer, reader) lets the reader see the writer's posts; a loop (i, i) lets a member see its
own. Members of one stage are asked together; stages follow one another within a round.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import msgspec

from crossplay.kernel import CrossplayError, nearest, permutation

__all__ = ["TOPOLOGIES", "Topology", "make_topology"]

Edge = tuple[int, int]


class Topology(msgspec.Struct, frozen=True, dict=True):
    """n members, directed edges (writer, reader), and the stages of a round (a partition of members).

    degree: where it is not 0, each reader's writers are drawn anew every round, so many of them.
    """

    n: int
    edges: frozenset[Edge]
    stages: tuple[tuple[int, ...], ...]
    name: str = ""
    degree: int = 0

    def __post_init__(self) -> None:
        asked = sorted(m for stage in self.stages for m in stage)
        if asked != list(range(self.n)):
            raise CrossplayError(f"topology: the stages {self.stages} do not ask each of {self.n} members once")
        for a, b in self.edges:
            if not (0 <= a < self.n and 0 <= b < self.n):
                raise CrossplayError(f"topology: edge {a} -> {b} leaves the members 0..{self.n - 1}")

    @cached_property
    def _heard(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(w for w in range(self.n) if (w, r) in self.edges) for r in range(self.n))

    def heard_by(self, reader: int) -> tuple[int, ...]:
        """The writers that a member sees, in member order."""
        return self._heard[reader]

    def edit(self, add: Sequence[Edge] = (), cut: Sequence[Edge] = ()) -> Topology:
        """Another topology with edges added and cut (mutable graphs: a protocol replaces the room's)."""
        return Topology(
            self.n, (self.edges - frozenset(cut)) | frozenset(add), self.stages, f"{self.name.rstrip('*')}*"
        )

    def of_round(self, key: bytes, round: int) -> Topology:
        """The topology of one round: itself, or drawn anew from (key, round) where it has a degree."""
        if not self.degree:
            return self
        loops = {(a, b) for a, b in self.edges if a == b}
        drawn = _drawn(self.n, self.degree, key, round) | loops
        return Topology(self.n, frozenset(drawn), self.stages, self.name, self.degree)

    def only(self, members: Sequence[int]) -> Topology:
        """What is left of it among some members, who are numbered anew in the order given."""
        place = {m: i for i, m in enumerate(members)}
        edges = frozenset((place[a], place[b]) for a, b in self.edges if a in place and b in place)
        stages = tuple(s for stage in self.stages if (s := tuple(place[m] for m in stage if m in place)))
        return Topology(len(place), edges, stages, self.name, self.degree)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for manifests and pictures."""
        return {
            "name": self.name,
            "n": self.n,
            "edges": sorted(map(list, self.edges)),
            "stages": [list(s) for s in self.stages],
        }


def _together(n: int) -> tuple[tuple[int, ...], ...]:
    return (tuple(range(n)),)


def _in_turn(n: int) -> tuple[tuple[int, ...], ...]:
    return tuple((i,) for i in range(n))


def _loops(n: int) -> set[Edge]:
    return {(i, i) for i in range(n)}


def complete(n: int, turns: bool = False, own: bool = True) -> Topology:
    """Everybody sees everybody. turns: one after the other within a round, as on a blackboard."""
    edges = {(a, b) for a in range(n) for b in range(n) if a != b} | (_loops(n) if own else set())
    return Topology(n, frozenset(edges), _in_turn(n) if turns else _together(n), "complete")


def none(n: int, own: bool = True) -> Topology:
    """Nobody sees anybody (but itself): the zero-message control."""
    return Topology(n, frozenset(_loops(n) if own else ()), _together(n), "none")


def chain(n: int, own: bool = True) -> Topology:
    """Each sees the one before it; asked in turn."""
    edges = {(i - 1, i) for i in range(1, n)} | (_loops(n) if own else set())
    return Topology(n, frozenset(edges), _in_turn(n), "chain")


def ring(n: int, turns: bool = False, both: bool = False, own: bool = True) -> Topology:
    """Each sees its predecessor, the first the last (both: its successor too)."""
    edges = {((i - 1) % n, i) for i in range(n)} | ({((i + 1) % n, i) for i in range(n)} if both else set())
    edges = (edges - _loops(n)) | (_loops(n) if own else set())
    return Topology(n, frozenset(edges), _in_turn(n) if turns else _together(n), "ring")


def star(n: int, hub: int = 0, turns: bool = False, own: bool = True) -> Topology:
    """The hub sees all, all see the hub. turns: the hub first, then the others together."""
    if not 0 <= hub < n:
        raise CrossplayError(f"topology: hub = {hub} is not one of the {n} members")
    edges = {(hub, i) for i in range(n) if i != hub} | {(i, hub) for i in range(n) if i != hub}
    rest = tuple(i for i in range(n) if i != hub)
    stages = ((hub,), rest) if turns and rest else _together(n)
    return Topology(n, frozenset(edges | (_loops(n) if own else set())), stages, "star")


def tree(n: int, branch: int = 2, up: bool = False, own: bool = True) -> Topology:
    """Member 0 is the root; each parent is seen by its `branch` children (up: by them, leaves first)."""
    if branch < 1:
        raise CrossplayError(f"topology: branch = {branch} must be 1 or more")
    parent = {i: (i - 1) // branch for i in range(1, n)}
    depth = {0: 0}
    for i in range(1, n):
        depth[i] = depth[parent[i]] + 1
    levels = [tuple(i for i in range(n) if depth[i] == d) for d in range(max(depth.values()) + 1)]
    edges = {(c, p) if up else (p, c) for c, p in parent.items()} | (_loops(n) if own else set())
    return Topology(n, frozenset(edges), tuple(reversed(levels)) if up else tuple(levels), "tree")


def layered(n: int, sizes: Sequence[int] = (), own: bool = True) -> Topology:
    """Layers of the given sizes; each member sees the whole layer before its own."""
    if sum(sizes) != n or min(sizes, default=0) < 1:
        raise CrossplayError(f"topology: the layer sizes {list(sizes)} do not add up to {n} members")
    layers, start = [], 0
    for size in sizes:
        layers.append(tuple(range(start, start + size)))
        start += size
    edges = {(a, b) for low, high in itertools.pairwise(layers) for a in low for b in high}
    return Topology(n, frozenset(edges | (_loops(n) if own else set())), tuple(layers), "layered")


def custom(n: int, edges: Sequence[Sequence[int]] = (), stages: Sequence[Sequence[int]] = ()) -> Topology:
    """Edges [writer, reader] and stages as given (none: all together)."""
    found = tuple(tuple(s) for s in stages) if stages else _together(n)
    return Topology(n, frozenset((int(a), int(b)) for a, b in edges), found, "custom")


def sparse(n: int, degree: int = 2, own: bool = True) -> Topology:
    """Each sees `degree` others, drawn anew every round."""
    if degree < 1:
        raise CrossplayError(f"topology: degree = {degree} must be 1 or more")
    edges = _drawn(n, degree, b"", 0) | (_loops(n) if own else set())
    return Topology(n, frozenset(edges), _together(n), "sparse", degree)


def _drawn(n: int, degree: int, key: bytes, round: int) -> set[Edge]:
    edges = set()
    for reader in range(n):
        others = [w for w in range(n) if w != reader]
        edges |= {(others[i], reader) for i in permutation(key, len(others), round, reader)[:degree]}
    return edges


TOPOLOGIES = {f.__name__: f for f in (complete, none, chain, ring, star, tree, layered, sparse, custom)}


def make_topology(given: str | Mapping[str, Any], n: int) -> Topology:
    """The topology of a name or a table such as {"name": "star", "hub": 1}; errors name the nearest."""
    table = {"name": given} if isinstance(given, str) else dict(given)
    name = table.pop("name", "custom" if "edges" in table else None)
    if name not in TOPOLOGIES:
        raise CrossplayError(f'topology: unknown name "{name}".{nearest(str(name), TOPOLOGIES)}')
    known = tuple(inspect.signature(TOPOLOGIES[name]).parameters)[1:]
    for key in table:
        if key not in known:
            raise CrossplayError(f'topology {name}: unknown setting "{key}".{nearest(key, known) or " It has none."}')
    try:
        made: Topology = TOPOLOGIES[name](n, **table)
    except (TypeError, ValueError) as error:
        raise CrossplayError(f"topology {name}: {error}") from None
    return made
