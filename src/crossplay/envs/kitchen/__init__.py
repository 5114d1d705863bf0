"""Kitchen: two cooks, onions, pots and a hungry counter (after Carroll et al. 2019).

Here live the rules (`rules`), the five maps (`layouts`), the array environment (`batch`), its views
(`views`, `picture`), shortest paths and skills (`paths`, `skills`), and the family object.
Here may not live: agents, training, anything that needs more than numpy and msgspec to import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.envs.kitchen.batch import ACTIONS, OPTIONS, KitchenBatch
from crossplay.envs.kitchen.layouts import LAYOUTS, layout
from crossplay.kernel.env import Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["ACTIONS", "LAYOUTS", "OPTIONS", "KitchenBatch", "family", "layout"]


class _Family:
    """`kitchen/LAYOUT`: the five classic cooperative kitchens."""

    summary = "two cooks share onions, pots and dishes; the team is paid per delivered soup"
    expert = "chef"  # the type of its scripted agent, the ceiling that studies show

    def names(self) -> Sequence[str]:
        """The five layouts."""
        return tuple(LAYOUTS)

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A kitchen of that layout as an `Env`."""
        return self.batch(rest, 1, options).single()

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> KitchenBatch:
        """A kitchen of that layout as `width` rows."""
        if rest not in LAYOUTS:
            raise CrossplayError(f'kitchen: unknown layout "{rest}".{nearest(rest, LAYOUTS)}')
        return KitchenBatch(width, rest, **options)

    def schema(self, rest: str) -> dict[str, Any]:
        """Options of every layout."""
        return {"type": "object", "properties": dict(OPTIONS), "additionalProperties": False}


family = _Family()
