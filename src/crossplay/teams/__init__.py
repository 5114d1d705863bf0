"""Floor 4, teams: agents made of member agents.

Lives here: `Team`, topologies (who sees whom), protocols (who is asked what, and when), the single
conversation that plays all roles, and the ledger of who spent and said what.
Does not: decision rules (measure), models (below), who plays whom and with which controls (study).
"""

from __future__ import annotations

from typing import Any

__all__ = ["Ask", "Post", "Room", "Team", "Topology", "Verdict", "make_team", "make_topology"]

_WHERE = {"Team": "team", "make_team": "team", "Topology": "topology", "make_topology": "topology"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE.get(name, 'room')}"), name)
