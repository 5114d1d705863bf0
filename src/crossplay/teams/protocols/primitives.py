"""`compose`: three primitives that chain: review, select (voting and selection), and plan (and execute).

Source of the three: "Agent Primitives" (arXiv 2602.03695), which passes hidden states between them;
here they pass text. Each primitive sees the answer of the one before and gives one answer.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.teams.protocols.common import TEXT, Settings, together, verdict_of
from crossplay.teams.room import Ask, Post, Room, Talk
from crossplay.teams.texts import BRIEFS

__all__ = ["Compose", "Plan", "Review", "Select"]

Seen = tuple[int, ...]
Step = Literal["review", "select", "plan"]


class Compose(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Primitives one after the other; the answer of the last one counts.

    steps: "review", "select", "plan", in any order and number. rounds: critiques and revisions of a
    review. steps_of_plan: the most steps of a plan. by: a selection is made by the "selector", or by
    the "rule". Roles: solver, critic, selector, planner.
    """

    name: ClassVar[str] = "compose"
    parts: ClassVar[tuple[str, ...]] = ("solver", "critic", "selector", "planner")
    aside: ClassVar[bool] = True
    steps: list[Step] = msgspec.field(default_factory=lambda: ["review"])
    rounds: int = 1
    steps_of_plan: int = 4
    by: Literal["selector", "rule"] = "selector"
    rationale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.steps or self.rounds < 1 or self.steps_of_plan < 1:
            raise CrossplayError(f"{self.name}: steps = {self.steps}, rounds = {self.rounds} are too few")

    def run(self, room: Room) -> Talk:
        """Step after step, each in rounds of its own."""
        seen: Seen = ()
        answer: Post | None = None
        for i, step in enumerate(self.steps):
            room.round += i > 0
            answer = yield from {"review": self._review, "select": self._select, "plan": self._plan}[step](room, seen)
            if answer is None or not answer.ok:
                return verdict_of(answer, f"step {i + 1} ({step}) gave no answer")
            seen = (answer.id,)
        return verdict_of(answer, "no answer")

    def _solve(self, room: Room, seen: Seen, act: str = "answer") -> Ask:
        brief = BRIEFS["improve"] if seen and act == "answer" else BRIEFS[act]
        return Ask(self.who(room, "solver"), act, brief, sees=seen, wants=self.wants)

    def _review(self, room: Room, seen: Seen) -> Talk:
        """Solver drafts, critic examines, solver revises."""
        [draft] = yield [self._solve(room, seen)]
        for _ in range(self.rounds):
            if not draft.ok:
                break
            room.round += 1
            [critique] = yield [Ask(self.who(room, "critic"), "critique", BRIEFS["critique"], TEXT, (*seen, draft.id))]
            shown = (draft.id, critique.id) if critique.ok else (draft.id,)
            [revised] = yield [self._solve(room, shown, "revise")]
            draft = revised if revised.ok else draft
        return draft

    def _select(self, room: Room, seen: Seen) -> Talk:
        """All solve at once; the selector, or the rule, takes one."""
        brief = BRIEFS["improve"] if seen else ""
        posts = yield together(room, range(room.n), brief=brief, sees=seen, wants=self.wants)
        good = [p for p in posts if p.ok]
        if not good:
            return posts[0]
        if self.by == "rule":
            verdict = yield from self.voting.decide(room, posts)
            key = None if verdict.value is None else room.key_of(verdict.value)
            return next((p for p in good if p.key == key), None)
        room.round += 1
        ids = tuple(p.id for p in good)
        [chosen] = yield [Ask(self.who(room, "selector"), "answer", BRIEFS["select"], sees=ids, wants=self.wants)]
        return chosen

    def _plan(self, room: Room, seen: Seen) -> Talk:
        """The planner plans, the solver carries it out."""
        brief = BRIEFS["plan"].format(steps=self.steps_of_plan)
        [plan] = yield [Ask(self.who(room, "planner"), "plan", brief, TEXT, seen)]
        room.round += 1
        [done] = yield [self._solve(room, (*seen, plan.id), "execute") if plan.ok else self._solve(room, seen)]
        return done

    def calls(self, n: int) -> int:
        """Asks of all steps."""
        per = {
            "review": 1 + 2 * self.rounds,
            "select": n + (1 if self.by == "selector" else self.voting.calls(n, n)),
            "plan": 2,
        }
        return sum(per[s] for s in self.steps)

    @property
    def opens(self) -> bool:
        """A selection begins with everybody's answer."""
        return self.steps[0] == "select"


class Review(Compose, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Draft, critique, revision."""

    name: ClassVar[str] = "review"


class Select(Compose, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Independent answers, of which a selector takes one."""

    name: ClassVar[str] = "select"
    steps: list[Step] = msgspec.field(default_factory=lambda: ["select"])


class Plan(Compose, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan, then its execution."""

    name: ClassVar[str] = "plan"
    parts: ClassVar[tuple[str, ...]] = ("planner", "solver", "critic", "selector")
    steps: list[Step] = msgspec.field(default_factory=lambda: ["plan"])
