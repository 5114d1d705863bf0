"""Facets of teams: the five dimensions of collaboration, computed from members, topology and protocol.

Actors, type, structure, strategy, coordination: "Multi-agent collaboration mechanisms: a survey of LLMs" (Tran et
al. 2025, arXiv 2501.06322). The words are the survey's; the rules that compute them are ours and stand below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.agents.facets import VOCABULARY as OF_AGENTS
from crossplay.agents.facets import Facet, agent_facets
from crossplay.teams.topology import Topology

__all__ = ["VOCABULARY", "coordination_of", "structure_of", "team_facets"]

KINDS = ("llm", "vlm", "policy", "human", "script", "team", "random", "remote")
VOCABULARY: dict[str, Facet] = {
    **OF_AGENTS,
    "actors": Facet(KINDS, many=True),
    "type": Facet(("cooperation", "competition", "coopetition")),
    "structure": Facet(("centralised", "decentralised", "hierarchical")),
    "strategy": Facet(("rule-based", "role-based", "model-based")),
    "coordination": Facet(("static", "dynamic")),
}
"""Facets of a team: those of any agent, and the five dimensions."""


def structure_of(topology: Topology) -> str:
    """The structure of who sees whom; loops do not count.

    centralised: one member of three or more stands at an end of every edge, and is not a step between layers.
    hierarchical: no way leads back (chains, trees, layers). decentralised: everything else, and teams in which
    nobody sees anybody: peers.
    """
    edges = {(a, b) for a, b in topology.edges if a != b}
    if not edges:
        return "decentralised"
    hubs = [i for i in range(topology.n) if all(i in edge for edge in edges)]
    touched = {i for edge in edges for i in edge}
    back = _leads_back(edges)
    through = {b for _, b in edges} & {a for a, _ in edges}
    if len(hubs) == 1 and len(touched) == topology.n >= 3 and (back or not through):
        return "centralised"
    return "decentralised" if back else "hierarchical"


def _leads_back(edges: set[tuple[int, int]]) -> bool:
    """Whether the graph has a cycle: nodes without incoming edges are taken away until none is left."""
    left = set(edges)
    while left:
        readers = {b for _, b in left}
        kept = {(a, b) for a, b in left if a in readers}
        if len(kept) == len(left):
            return True
        left = kept
    return False


def coordination_of(protocol: Any, topology: Topology) -> str:
    """dynamic: who is asked or who hears whom is decided while they work; static: it stands before.

    A protocol that changes either says `coordination = "dynamic"`; one whose strategy is a model's (an orchestrator, a
    router) is dynamic too, and so is a topology that is drawn or edited as they go.
    """
    said = getattr(protocol, "coordination", "")
    if said:
        return str(said)
    drawn = topology.name == "sparse" or topology.name.endswith("*")
    return "dynamic" if drawn or getattr(protocol, "strategy", "") == "model" else "static"


def team_facets(
    manifest: Mapping[str, Any], kinds: Sequence[str], protocol: Any, topology: Topology, views: Sequence[str]
) -> dict[str, Any]:
    """The facets of a team. kinds: of its members; views: those they read.

    type: cooperation, because members of a team give one answer, unless the protocol says otherwise
    (`collaboration`). strategy: as the protocol says.
    """
    return {
        **agent_facets(manifest, views),
        "actors": sorted({k if k in KINDS else "script" for k in kinds}),
        "type": str(getattr(protocol, "collaboration", "cooperation")),
        "structure": structure_of(topology),
        "strategy": f"{getattr(protocol, 'strategy', 'role')}-based",
        "coordination": coordination_of(protocol, topology),
    }
