"""Slices: the rows of a table by what their agents are made of (facets), each slice with its own mean.

Facets stand in the manifests of a run: `agents/facets.py` and `teams/facets.py` say what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.agents.facets import agent_facets
from crossplay.kernel import CrossplayError, nearest
from crossplay.measure.stats.intervals import mean_t
from crossplay.measure.stats.results import Estimate
from crossplay.study.tables import Row, Scores

__all__ = ["NONE", "Slice", "facet_value", "slice_by", "slice_mean"]

NONE = "(none)"
"""The value of a lineup none of whose agents has the facet: structure, where nobody is a team."""


class Slice(msgspec.Struct, frozen=True):
    """The rows of one environment whose lineups share a value of a facet."""

    env: str
    facet: str
    value: str
    rows: tuple[Row, ...]

    @property
    def lineups(self) -> tuple[str, ...]:
        """The names of its lineups, in the order of the table."""
        return tuple(r.lineup for r in self.rows)

    @property
    def episodes(self) -> int:
        """Episodes behind it."""
        return sum(r.summary.episodes for r in self.rows)


def slice_by(rows: Sequence[Row], manifests: Mapping[str, Mapping[str, Any]], facet: str) -> list[Slice]:
    """The rows grouped by a facet: environments in their order, values sorted, rows in theirs.

    manifests: of the run's agents, by name. `CrossplayError` names the nearest facet that any of them has.
    """
    facets = {name: m.get("facets") or agent_facets(m) for name, m in manifests.items()}
    known = sorted({f for found in facets.values() for f in found})
    if facet not in known:
        raise CrossplayError(f'unknown facet "{facet}".{nearest(facet, known)}')
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        value = facet_value([facets.get(agent, {}) for agent in row.costs.by_agent], facet)
        found.setdefault(row.env, {}).setdefault(value, []).append(row)
    return [
        Slice(env, facet, value, tuple(grouped[value])) for env, grouped in found.items() for value in sorted(grouped)
    ]


def facet_value(agents: Sequence[Mapping[str, Any]], facet: str) -> str:
    """One word for a lineup: the different values of its agents, sorted; lists within one agent by commas."""
    words = {
        ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        for found in agents
        if (value := found.get(facet)) is not None
    }
    return " | ".join(sorted(words)) or NONE


def slice_mean(found: Slice, scores: Sequence[Scores], level: float = 0.95) -> Estimate | None:
    """The mean of a slice: its lineups averaged inside each block that all of them played, then t over blocks.

    scores: block means per lineup, as a result holds them; where people took part, a participant stands for their blocks.
    None where its lineups share no block.
    """
    of = {s.lineup: dict(zip(*s.units(), strict=True)) for s in scores if s.env == found.env}
    mine = [of[name] for name in found.lineups if name in of]
    common = [b for b in mine[0] if all(b in other for other in mine)] if mine else []
    if not common:
        return None
    return mean_t(np.array([[values[b] for values in mine] for b in common]).mean(axis=1), level)
