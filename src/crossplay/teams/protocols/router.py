"""`route`: one member of several answers; who, is decided by a member, by what they are about, or by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from crossplay.kernel import ActionSpec, CrossplayError, permutation
from crossplay.teams.forming.registry import bm25
from crossplay.teams.protocols.common import Settings, _known, verdict_of
from crossplay.teams.room import Ask, Room, Talk
from crossplay.teams.texts import BRIEFS
from crossplay.teams.topology import Topology, none

__all__ = ["Route"]


class Route(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """by: "member" (the first one, role router, chooses among the others), "words" (BM25 of the task over
    `about`; equal scores in an order drawn from the seed) or "random" (the control). about: member -> what
    it is good at. top: so many answer, and the rule decides among them (a member chooses one).
    """

    name: ClassVar[str] = "route"
    strategy: ClassVar[str] = "model"
    parts: ClassVar[tuple[str, ...]] = ("router",)
    aside: ClassVar[bool] = True
    by: Literal["member", "words", "random"] = "member"
    about: dict[str, str] = {}
    top: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.top < 1 or (self.top > 1 and self.by == "member"):
            raise CrossplayError(f'route: top = {self.top} must be 1 or more, and 1 where by = "member"')

    def check(self, names: Sequence[str]) -> None:
        """Members that `about` describes must be there."""
        super().check(names)
        for name in self.about:
            _known(self.name, name, names)

    def run(self, room: Room) -> Talk:
        """Choose, then ask."""
        workers = self.others(room, "router") if self.by == "member" else list(range(room.n))
        if self.by == "member":
            listed = "\n".join(f"- {room.names[w]}: {self.about.get(room.names[w], 'no description')}" for w in workers)
            form = ActionSpec("names", names=tuple(room.names[w] for w in workers))
            [said] = yield [Ask(self.who(room, "router"), "route", BRIEFS["route"].format(workers=listed), form)]
            if not said.ok:
                return verdict_of(said, "the router chose nobody")
            chosen = [workers[said.value]]
        elif self.by == "words":
            if "text" not in room.obs.views:
                raise CrossplayError('route: by = "words" needs an environment with a text view')
            scores = bm25(room.obs.view("text"), [self.about.get(room.names[w], "") for w in workers])
            if not any(scores):
                room.obs.count("route_unmatched")
            ranked = sorted(permutation(room.key("route"), len(workers)), key=lambda i: -scores[i])  # stable
            chosen = [workers[i] for i in ranked[: self.top]]
        else:
            chosen = permutation(room.key("route"), len(workers))[: self.top]
        room.round += 1
        posts = yield [Ask(m, wants=self.wants) for m in chosen]
        if len(posts) == 1:
            return verdict_of(posts[0], "no answer", routed=[room.names[m] for m in chosen])
        return (yield from self.voting.decide(room, posts))

    def default_topology(self, n: int) -> Topology:
        """Nobody sees anybody."""
        return none(n)

    def calls(self, n: int) -> int:
        """The choice and the answers."""
        top = min(self.top, n)
        return (self.by == "member") + top + (self.voting.calls(n, top) if top > 1 else 0)
