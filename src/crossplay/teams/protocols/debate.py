"""`debate`: rounds in which members see each other's answers and answer again.

Paradigms after MALLM (Becker et al. 2024, arXiv 2410.22932), each a topology and an order:
collective (all answer, all see all, at once: the debate of Du et al. 2023), memory (in turn on a
shared board), report (the first sees all, the others only it), relay (each sees the one before),
debate (the first drafts, the others exchange among themselves, it sees only their last word).
"""

from __future__ import annotations

from typing import ClassVar, Literal

from crossplay.kernel import CrossplayError
from crossplay.teams.decide import majority_of
from crossplay.teams.protocols.common import Settings, together, turns
from crossplay.teams.protocols.pool import Pool
from crossplay.teams.room import Ask, Room, Talk
from crossplay.teams.texts import BRIEFS
from crossplay.teams.topology import Topology, complete, ring, star

__all__ = ["Debate"]

PARADIGMS = ("collective", "memory", "report", "relay", "debate")


class Debate(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Independent answers (round 0), then `rounds` rounds by the paradigm's topology, then the rule.

    window: how many of each writer's posts are shown, 0: all. inner: exchanges of the paradigm
    "debate" before the first member is asked again. stop: end as soon as the rule decides on the
    answers of a round, the first ones included (of use with rules that may wait, as consensus does). pool: a diversity-aware choice of the first answers. draft: the first member
    drafts and no one else answers in round 0, as in the original; otherwise all do, so that the
    vote of round 0 and the debate are compared on the same answers. A member whose answer fails keeps
    the one it gave before; the failure is in the record and in the counter `member_faults`.
    """

    name: ClassVar[str] = "debate"
    rounds: int = 2
    paradigm: Literal["collective", "memory", "report", "relay", "debate"] = "collective"
    window: int = 1
    inner: int = 2
    stop: bool = False
    draft: bool = False
    rationale: bool = True
    pool: Pool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stop and not self.voting.form.stops:
            raise CrossplayError(
                f'debate: stop = true ends a debate when its rule decides, and "{self.voting.form.name}" always does; '
                'take one that waits, such as rule = "unanimity"'
            )
        if self.rounds < 0 or self.window < 0 or self.inner < 1:
            raise CrossplayError(
                f"debate: rounds = {self.rounds}, window = {self.window}, inner = {self.inner} are too small"
            )

    def run(self, room: Room) -> Talk:
        """Round 0, then rounds until the last, or until the rule is satisfied."""
        everyone = range(room.n)
        if self.pool is not None:
            posts = yield from self.pool.first(room, self.wants)
        else:
            posts = yield together(room, everyone[:1] if self.draft else everyone, wants=self.wants)
        first = majority_of(room, posts)
        for r in range(1, self.rounds + 1):
            if self.stop and self.voting.settled(room, room.ballots(everyone)):
                break
            room.round = r
            if self.paradigm == "debate" and room.n > 2:
                yield from self._exchange(room)
            else:
                yield from turns(room, "improve", self.wants, self.window)
        return (yield from self.voting.decide(room, room.ballots(everyone), first=first))

    def _exchange(self, room: Room) -> Talk:
        """The first member answers; the others exchange `inner` times, seeing it and each other."""
        brief = BRIEFS["improve"]
        yield [Ask(0, "improve", brief, sees=room.visible(0, 1), wants=self.wants)]
        for _ in range(self.inner):
            yield [Ask(m, "improve", brief, sees=room.visible(m, 1), wants=self.wants) for m in range(1, room.n)]
        return None

    def default_topology(self, n: int) -> Topology:
        """The paradigm's."""
        if self.paradigm == "memory":
            return complete(n, turns=True)
        if self.paradigm == "report":
            return star(n, turns=True)
        if self.paradigm == "relay":
            return ring(n, turns=True, own=False)
        return complete(n)

    def calls(self, n: int) -> int:
        """Asks of all rounds, and the votes that the rule wants."""
        per_round = 1 + self.inner * (n - 1) if self.paradigm == "debate" and n > 2 else n
        start = self.pool.candidates if self.pool else n
        return start + self.rounds * per_round + self.voting.calls(n, n)

    @property
    def opens(self) -> bool:
        """All answer before anybody is heard, but in the original drafts."""
        return not self.draft
