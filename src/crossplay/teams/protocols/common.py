"""What protocols share: settings as fields, roles, the forms of side answers, common waves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from crossplay.kernel import ActionSpec, CrossplayError, nearest
from crossplay.teams.decide import JUDGEMENT, Voting, judged
from crossplay.teams.room import Ask, Post, Room, Talk, Verdict
from crossplay.teams.texts import BRIEFS, TEMPLATE
from crossplay.teams.topology import Topology, complete

__all__ = ["JUDGEMENT", "TEXT", "Settings", "judged", "together", "turns", "verdict_of"]

TEXT = ActionSpec("text", max_len=4096)
"""A side answer in words: a plan, a critique, a design."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A protocol with its settings.

    rule: the decision rule, a name or a table. otherwise: the rule that decides where the first
    reaches no decision ("": then there is none, and the conduct of the study takes over).
    rationale, confidence: ask members for reasons and for how sure they are. roles: role -> name of
    a member; roles that are not given go to the members in order, the last one to all that are left
    (a rule's judge or verifier is the last member unless it is named).
    """

    name: ClassVar[str] = "protocol"
    strategy: ClassVar[str] = "role"  # how the survey of collaboration calls it: rule, role or model
    parts: ClassVar[tuple[str, ...]] = ()  # the roles of this protocol, in order
    aside: ClassVar[bool] = False  # whether it asks in other forms than the seat's
    least: ClassVar[int] = 1  # members that it needs
    rule: str | dict[str, Any] = "plurality"
    otherwise: str | dict[str, Any] = "plurality"
    rationale: bool = False
    confidence: bool = False
    roles: dict[str, str] = {}

    def __post_init__(self) -> None:
        self.voting.check()
        known = (*self.parts, "judge", "verifier")
        for role in self.roles:
            if role not in known:
                raise CrossplayError(f'{self.name}: unknown role "{role}".{nearest(role, known)}')

    def check(self, names: Sequence[str]) -> None:
        """Raise CrossplayError where members of these names cannot play it."""
        if len(names) < self.least:
            raise CrossplayError(f"{self.name}: needs {self.least} members, got {len(names)}")
        for name in self.roles.values():
            _known(self.name, name, names)

    @property
    def voting(self) -> Voting:
        """How ballots become an answer."""
        return Voting(self.rule, self.otherwise, self.roles.get("judge", ""), self.roles.get("verifier", ""))

    @property
    def opens(self) -> bool:
        """Whether round 0 is an independent answer of every member, so that its vote is a control."""
        return False

    def asks_aside(self, n: int) -> bool:
        """Whether some asks are in other forms than the seat's: plans, critiques, ballots."""
        return self.aside or self.voting.calls(n, n) > 0

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
        _known(self.name, name, room.names)
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


def _known(protocol: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise CrossplayError(f'{protocol}: unknown member "{name}".{nearest(name, names)}')


def together(room: Room, members: Sequence[int], act: str = "answer", **more: Any) -> list[Ask]:
    """One ask per member, with the brief of that act."""
    brief = more.pop("brief", BRIEFS.get(act, ""))
    return [Ask(m, act, brief, **more) for m in members]


def turns(room: Room, act: str, wants: tuple[str, ...], window: int = 1) -> Talk:
    """One round by the room's topology: stage after stage, each member shown what it may see."""
    room.topology = room.topology.of_round(room.key("edges"), room.round)
    for stage in room.topology.stages:
        yield [Ask(m, act, BRIEFS[act], sees=room.visible(m, window), wants=wants) for m in stage]
    return None


def verdict_of(post: Post | None, why: str, **data: Any) -> Any:
    """The verdict that a post's answer is the team's; none, and why, where there is no such post."""
    if post is None or not post.ok:
        return Verdict(None, why=why if post is None else f"{why}: {post.fault}", data=data)
    return Verdict(post.value, post.confidence, data=data)
