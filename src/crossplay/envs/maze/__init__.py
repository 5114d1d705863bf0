"""Maze: two walk together, each with half of the map; a move counts only if both agree (after arXiv 2511.02687).

Here live drawing and judging a maze (`grid`), the two protocols (`world`), the reader of free talk
(`grade`), rules and views (`views`), and the family object. Here may not live: agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.envs._options import option_schema, settle
from crossplay.envs.maze.world import PAIR_ACTIONS, SOLO_ACTIONS, Joint, MazeEnv, Talk
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["PAIR_ACTIONS", "SOLO_ACTIONS", "Joint", "MazeEnv", "Talk", "family"]

_STEPS = {"type": "integer", "minimum": 1, "maximum": 60, "default": None}
_OPTIONS: dict[str, dict[str, Any]] = {
    "size": {"type": "integer", "minimum": 3, "maximum": 10, "default": 6, "description": "rows and columns"},
    "density": {
        "type": "number",
        "minimum": 0.0,
        "maximum": 0.6,
        "default": 0.3,
        "description": "chance that a cell is a wall",
    },
    "shortest": {**_STEPS, "description": "least steps of the shortest path; default 7 at size 6, in proportion to it"},
    "longest": {**_STEPS, "description": "most steps of the shortest path; default 9 at size 6, in proportion to it"},
    "words": {
        "type": "boolean",
        "default": False,
        "description": 'cells are named as seen from the start ("2 up 1 right"): the easier level, no coordinates needed',
    },
    "solo": {
        "type": "string",
        "enum": ["", "full", "merged"],
        "default": "",
        "description": "one seat: with the full map, or with both masked maps; empty: two seats",
    },
    "turns": {"type": "integer", "minimum": 2, "maximum": 1000, "default": 50, "description": "turns at most, of both seats together"},
}  # fmt: skip
_GRADER = {
    "type": "string",
    "enum": ["code", "seat"],
    "default": "code",
    "description": "who reads the path from the talk: the built-in reader, or a third seat `grader` (a model, a person, a team)",
}
_WORLDS: dict[str, type[MazeEnv]] = {"joint": Joint, "talk": Talk}
_PATH_AT_6 = (7, 9)


class _Family:
    """`maze/joint` and `maze/talk`."""

    summary = "two walk a maze together, each sees half of the map; a move counts only if both agree"
    expert = "talker"

    def names(self) -> Sequence[str]:
        """The two protocols."""
        return tuple(_WORLDS)

    def make(self, rest: str, options: Mapping[str, Any]) -> MazeEnv:
        """A maze under that protocol (default: joint)."""
        protocol = rest or "joint"
        if protocol not in _WORLDS:
            raise CrossplayError(f'maze: unknown protocol "{rest}".{nearest(rest, _WORLDS)}')
        full, off = settle(f"maze/{protocol}", self.schema(protocol), options)
        for name, at_six in zip(("shortest", "longest"), _PATH_AT_6, strict=True):
            scaled = max(2, round(at_six * full["size"] / 6))
            full[name] = scaled if full[name] is None else full[name]
            if full[name] == scaled:
                off.pop(name, None)  # the default said aloud is the same game
        if full["shortest"] > full["longest"]:
            raise CrossplayError(
                f"maze: shortest = {full['shortest']} is above longest = {full['longest']} (they scale with size: give both)"
            )
        return _WORLDS[protocol](full, off)

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """There is no array form: agents talk."""

    def schema(self, rest: str) -> dict[str, Any]:
        """Options of a protocol."""
        return option_schema({**_OPTIONS, "grader": _GRADER} if rest == "talk" else _OPTIONS)


family = _Family()
