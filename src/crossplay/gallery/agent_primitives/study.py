"""Settings and plays: compositions of primitives by scripted members, read back from the trace."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from crossplay import make_agent
from crossplay.gallery.agent_primitives.algebra import Shape
from crossplay.gallery.plays import play_blocks
from crossplay.teams import make_team

__all__ = ["Played", "Settings", "played", "team"]

CHANNELS = 8


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The experiment.

    members: of the compositions. depth: primitives in a row at most. solvers: of the selection whose gain is
    measured, each with accuracy `skill`. own: whether each reads a channel of its own (else all read one:
    clones). silent: nobody is shown anybody's words. n: questions; shapes: questions per composition.
    """

    members: int = 4
    depth: int = 3
    solvers: int = 5
    skill: float = 0.65
    own: bool = True
    silent: bool = False
    n: int = 900
    shapes: int = 1
    root: int = 0


class Played(msgspec.Struct, frozen=True, eq=False):
    """right: bool[n]; chosen: int[n], the team's answers; shapes and values: per question, post by post."""

    right: np.ndarray
    chosen: np.ndarray
    shapes: list[Shape]
    values: list[list[Any]]


def team(s: Settings, protocol: dict[str, Any], n: int) -> Any:
    """A team of n scripted answerers, named m0, m1, ..., each with a channel of its own or all with the first."""
    members = [make_agent({"type": f"answerer:{i if s.own else 0}", "correlation": 1.0}) for i in range(n)]
    return make_team(members, protocol, names=[f"m{i}" for i in range(n)], silent=s.silent)


def played(s: Settings, protocol: dict[str, Any], members: int, n: int) -> Played:
    """Questions with two options answered by such a team."""
    return _played(s.own, s.silent, s.skill, s.root, msgspec.msgpack.encode(protocol), members, n)


@lru_cache(maxsize=512)
def _played(own: bool, silent: bool, skill: float, root: int, protocol: bytes, members: int, n: int) -> Played:
    s = Settings(own=own, silent=silent)
    options = {"options": 2, "channels": CHANNELS, "quality": skill}  # the same questions for all
    plays = play_blocks(
        "qa/synthetic", [team(s, msgspec.msgpack.decode(protocol), members)], n, options, root, inside=True
    )
    posts = [sorted(rows, key=lambda p: p["id"]) for rows in plays.posts]
    shapes = [[(int(p["member"][1:]), bool(p.get("side")), tuple(p["sees"])) for p in rows] for rows in posts]
    chosen = np.where(plays.scores["chose_A"] == 1, 0, 1)
    return Played(plays.scores["accuracy"] == 1, chosen, shapes, [[p["value"] for p in rows] for rows in posts])
