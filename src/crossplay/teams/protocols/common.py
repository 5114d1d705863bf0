"""What protocols share: settings as fields, roles, the forms of side answers, common waves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from crossplay.kernel import ActionSpec, CrossplayError, nearest
from crossplay.teams.decide import Voting
from crossplay.teams.room import Ask, Post, Room, Talk
from crossplay.teams.texts import BRIEFS, TEMPLATE
from crossplay.teams.topology import Topology, complete

__all__ = ["JUDGEMENT", "TEXT", "Settings", "judged", "together", "turns", "verdict_of"]

TEXT = ActionSpec("text", max_len=4096)
"""A side answer in words: a plan, a critique, a design."""

JUDGEMENT = ActionSpec(
    "data",
    schema={
        "type": "object",
        "properties": {
            "score": {"type": "integer", "minimum": 0, "maximum": 10},
            "reason": {"type": "string", "maxLength": 600},
        },
        "required": ["score", "reason"],
        "additionalProperties": False,
    },
)
"""A judgement of an answer: score 0 to 10 and a reason."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A protocol with its settings.

    rule: the decision rule, a name or a table. otherwise: the rule that decides where the first
    reaches no decision ("": then there is none, and the conduct of the study takes over).
    rationale, confidence: ask members for reasons and for how sure they are. roles: role -> name of
    a member; roles that are not given go to the members in order, the last one to all that are left.
    """

    name: ClassVar[str] = "protocol"
    strategy: ClassVar[str] = "role"  # how the survey of collaboration calls it: rule, role or model
    parts: ClassVar[tuple[str, ...]] = ()  # the roles of this protocol, in order
    rule: str | dict[str, Any] = "plurality"
    otherwise: str | dict[str, Any] = "plurality"
    rationale: bool = False
    confidence: bool = False
    roles: dict[str, str] = {}

    @property
    def voting(self) -> Voting:
        """How ballots become an answer."""
        return Voting(self.rule, self.otherwise)

    @property
    def wants(self) -> tuple[str, ...]:
        """What is asked for beside a value."""
        sure = self.confidence or self.voting.needs_confidence
        return ("rationale",) * self.rationale + ("confidence",) * sure

    def who(self, room: Room, role: str) -> int:
        """The member that plays a role; another takes over where that member is absent."""
        if role in self.roles and self.roles[role] not in room.absent:
            return self.named(room, self.roles[role])
        return min(self.parts.index(role), room.n - 1)

    def named(self, room: Room, name: str) -> int:
        """The member of that name."""
        if name not in room.names:
            raise CrossplayError(f'{self.name}: unknown member "{name}".{nearest(name, room.names)}')
        return room.names.index(name)

    def others(self, room: Room, *roles: str) -> list[int]:
        """The members that play none of these roles; all of them where nobody is left."""
        taken = {self.who(room, r) for r in roles}
        return [m for m in range(room.n) if m not in taken] or list(range(room.n))

    def default_topology(self, n: int) -> Topology:
        """Everybody sees everybody."""
        return complete(n)

    def manifest(self) -> dict[str, Any]:
        """Name and settings, and the digest of the words that are used."""
        return {"name": self.name, **msgspec.to_builtins(self), "texts": TEMPLATE}


def together(room: Room, members: Sequence[int], act: str = "answer", **more: Any) -> list[Ask]:
    """One ask per member, with the brief of that act."""
    brief = more.pop("brief", BRIEFS.get(act, ""))
    return [Ask(m, act, brief, **more) for m in members]


def turns(room: Room, act: str, wants: tuple[str, ...], window: int = 1) -> Talk:
    """One round by the room's topology: stage after stage, each member shown what it may see."""
    for stage in room.topology.stages:
        yield [Ask(m, act, BRIEFS[act], sees=room.visible(m, window), wants=wants) for m in stage]
    return None  # type: ignore[return-value]


def judged(post: Post) -> tuple[float, str]:
    """(score in 0..1, reason) of a judgement; (0, why) where there is none."""
    if not post.ok:
        return 0.0, post.fault
    return post.value["score"] / 10, post.value["reason"]


def verdict_of(post: Post | None, why: str, **data: Any) -> Any:
    """The verdict that a post's answer is the team's; none, and why, where there is no such post."""
    from crossplay.teams.room import Verdict

    if post is None or not post.ok:
        return Verdict(None, why=why if post is None else f"{why}: {post.fault}", data=data)
    return Verdict(post.value, post.confidence, data=data)
