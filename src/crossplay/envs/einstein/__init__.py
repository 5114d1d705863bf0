"""Einstein puzzles: two players with different knowledge bring blocks to their places (after arXiv 2510.25595).

Here live the game (`board`), the world (`world`), the verifiers (`verify`) and the family object. Here
may not live: agents, and the wrapper that uses the verifiers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.envs._options import option_schema, settle
from crossplay.envs.einstein.world import MODES, Einstein
from crossplay.kernel.types import CrossplayError

__all__ = ["MODES", "Einstein", "family"]

_OPTIONS = option_schema(
    {
        "blocks": {"type": "integer", "enum": [4, 5], "default": 5, "description": "blocks, 4 or 5"},
        "mode": {
            "type": "string",
            "enum": list(MODES),
            "default": "provide_seek",
            "description": "which messages there are: none, shares, asks (and their answers), or both",
        },
        "limit": {"type": "integer", "minimum": 2, "maximum": 1000, "default": 30, "description": "turns at most, of both together"},
        "legal": {
            "type": "string",
            "enum": ["affordance", "all"],
            "default": "affordance",
            "description": "the mask leaves what is possible now, or everything (what is not possible costs a turn and 0.1)",
        },
    }
)  # fmt: skip


class _Family:
    """`einstein`."""

    summary = "two players with different knowledge bring blocks to their places, and may share and ask"
    expert = "reasoner"

    def names(self) -> Sequence[str]:
        """One game; its variants are options."""
        return ()

    def make(self, rest: str, options: Mapping[str, Any]) -> Einstein:
        """A fresh game."""
        if rest:
            raise CrossplayError(f'einstein has no variants by name, got "{rest}"; give options, e.g. mode = "provide"')
        return Einstein(*settle("einstein", _OPTIONS, options))

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """There is no array form."""

    def schema(self, rest: str) -> dict[str, Any]:
        """Options."""
        return _OPTIONS


family = _Family()
