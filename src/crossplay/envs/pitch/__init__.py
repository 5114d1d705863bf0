"""`pitch`: team games with a ball on a small field, seen from within it.

Here live the games (`games`), their rules as loops over rows (`rules`), what seats see (`looks`,
`words`, `draw`) and the environment made of them (`batch`). No agents: those who play are on the
floor above. Names: `pitch/soccer-2v2`, `pitch/basketball-1v1`, `pitch/football-3v3`,
`pitch/soccer-3v0` (one team), `pitch/collect-solo`. The rules follow mosaic_multigrid 7.0.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.envs.pitch.batch import SCHEMA, PitchBatch, Recorded
from crossplay.envs.pitch.games import ACTIONS, Game, game_names, parse_game
from crossplay.envs.pitch.words import Facts, Person, facts
from crossplay.kernel.env import Env

__all__ = [
    "ACTIONS",
    "Facts",
    "Game",
    "Person",
    "PitchBatch",
    "Recorded",
    "facts",
    "family",
    "game_names",
    "parse_game",
]


class _Family:
    """Entry of the group `crossplay.envs`."""

    summary = "Soccer, basketball, American football and collect on a grid: teams of 1 to 6, partial views"
    expert = "striker"  # the type of its scripted agent, the ceiling that studies show

    def names(self) -> Sequence[str]:
        """The published sizes; every size up to 6v6 is playable."""
        return game_names()

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """One field."""
        return PitchBatch(rest, 1, **options).single()

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> PitchBatch:
        """`width` fields."""
        return PitchBatch(rest, width, **options)

    def schema(self, rest: str) -> dict[str, Any]:
        """Options with descriptions and defaults; the horizon's default depends on the game."""
        known = {name: dict(value) for name, value in SCHEMA["properties"].items()}
        known["horizon"]["default"] = parse_game(rest).horizon
        return {**SCHEMA, "properties": known}


family = _Family()
