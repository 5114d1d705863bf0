"""What protocols share: settings as fields, the wave of independent answers, the verdict at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from crossplay.teams.decide import Voting
from crossplay.teams.room import Ask, Room, Talk
from crossplay.teams.texts import BRIEFS, TEMPLATE
from crossplay.teams.topology import Topology, complete

__all__ = ["Settings", "together", "turns"]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A protocol with its settings.

    rule: the decision rule, a name or a table. otherwise: the rule that decides where the first
    reaches no decision ("" : then there is none, and the conduct of the study takes over).
    rationale, confidence: ask members for reasons and for how sure they are.
    """

    name: ClassVar[str] = "protocol"
    strategy: ClassVar[str] = "role"  # how the survey of collaboration calls it: rule, role or model
    rule: str | dict[str, Any] = "plurality"
    otherwise: str | dict[str, Any] = "plurality"
    rationale: bool = False
    confidence: bool = False

    @property
    def voting(self) -> Voting:
        """How ballots become an answer."""
        return Voting(self.rule, self.otherwise)

    @property
    def wants(self) -> tuple[str, ...]:
        """What is asked for beside a value."""
        sure = self.confidence or self.voting.needs_confidence
        return ("rationale",) * self.rationale + ("confidence",) * sure

    def default_topology(self, n: int) -> Topology:
        """Everybody sees everybody."""
        return complete(n)

    def manifest(self) -> dict[str, Any]:
        """Name and settings, and the digest of the words that are used."""
        return {"name": self.name, **msgspec.structs.asdict(self), "texts": TEMPLATE}


def together(room: Room, members: Sequence[int], act: str = "answer", **more: Any) -> list[Ask]:
    """One ask per member, with the brief of that act."""
    brief = more.pop("brief", BRIEFS.get(act, ""))
    return [Ask(m, act, brief, **more) for m in members]


def turns(room: Room, act: str, wants: tuple[str, ...], window: int = 1, brief: str | None = None) -> Talk:
    """One round by the room's topology: stage after stage, each member shown what it may see."""
    words = BRIEFS.get(act, "") if brief is None else brief
    for stage in room.topology.stages:
        yield [Ask(m, act, words, sees=room.visible(m, window), wants=wants) for m in stage]
    return None  # type: ignore[return-value]
