"""`verify`: propose, judge, propose again; `refine`: the longer loop of design, answer, check and repair."""

from __future__ import annotations

from typing import ClassVar

from crossplay.kernel import ActionSpec, CrossplayError
from crossplay.teams.protocols.common import JUDGEMENT, TEXT, Settings, judged, verdict_of
from crossplay.teams.room import Ask, Post, Room, Talk
from crossplay.teams.texts import BRIEFS

__all__ = ["Refine", "Verify"]


class Verify(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A proposer answers; a verifier scores; below `accept` the proposer answers again, up to `tries` times.

    show: the proposer sees why it was refused. Where none is accepted, the answer with the best score
    counts (and the counter `not_accepted`); a judgement that fails accepts nothing and ranks below every
    score. Roles: proposer, verifier.
    """

    name: ClassVar[str] = "verify"
    parts: ClassVar[tuple[str, ...]] = ("proposer", "verifier")
    aside: ClassVar[bool] = True
    tries: int = 3
    accept: float = 0.7
    show: bool = True
    rationale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tries < 1 or not 0 <= self.accept <= 1:
            raise CrossplayError(f"verify: tries = {self.tries} must be 1 or more, accept = {self.accept} in 0..1")

    def run(self, room: Room) -> Talk:
        """Propose and judge."""
        proposer, verifier = self.who(room, "proposer"), self.who(room, "verifier")
        scored: list[tuple[float | None, Post]] = []
        sees: tuple[int, ...] = ()
        for k in range(self.tries):
            room.round = k
            brief = BRIEFS["retry"] if sees else ""
            [post] = yield [Ask(proposer, "answer", brief, sees=sees, wants=self.wants)]
            if not post.ok:
                continue
            [said] = yield [Ask(verifier, "verify", BRIEFS["verify"], JUDGEMENT, (post.id,))]
            score = judged(said)
            scored.append((score, post))
            if score is not None and score >= self.accept:
                break
            if self.show:
                sees = (post.id, said.id) if said.ok else (post.id,)
        if not scored:
            return verdict_of(None, "the proposer gave no answer")
        scores = [s for s, _ in scored]
        rank = [-1.0 if s is None else s for s in scores]
        best = max(range(len(rank)), key=lambda i: (rank[i], -i))
        if rank[best] < self.accept:
            room.obs.count("not_accepted")
        record = {"scores": scores, "chosen": best}
        return verdict_of(scored[best][1], "no answer", **record)

    def calls(self, n: int) -> int:
        """Two asks a try."""
        return 2 * self.tries


class Refine(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Design, generate, verify; while it is not accepted: suggest, route, correct; at last structure.

    rounds: repairs at most. Roles: designer, generator, verifier, suggester, router, corrector,
    structurer; one member may play them all.
    """

    name: ClassVar[str] = "refine"
    parts: ClassVar[tuple[str, ...]] = (
        "designer",
        "generator",
        "verifier",
        "suggester",
        "router",
        "corrector",
        "structurer",
    )
    aside: ClassVar[bool] = True
    rounds: int = 2
    accept: float = 0.7
    rationale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 0 or not 0 <= self.accept <= 1:
            raise CrossplayError(f"refine: rounds = {self.rounds} must be 0 or more, accept = {self.accept} in 0..1")

    def run(self, room: Room) -> Talk:
        """The loop."""
        [design] = yield [self._ask(room, "designer", "design", TEXT, ())]
        base = (design.id,) if design.ok else ()
        [answer] = yield [self._ask(room, "generator", "generate", None, base)]
        for r in range(1, self.rounds + 1):
            room.round = r
            if not answer.ok:
                break
            [check] = yield [self._ask(room, "verifier", "verify", JUDGEMENT, (*base, answer.id))]
            score = judged(check)
            if score is not None and score >= self.accept:
                break
            shown = (*base, answer.id, check.id) if check.ok else (*base, answer.id)
            [hint] = yield [self._ask(room, "suggester", "suggest", TEXT, shown)]
            back = ActionSpec("names", names=("answer", "design"))
            [way] = yield [self._ask(room, "router", "back", back, (*shown, *((hint.id,) if hint.ok else ())))]
            if way.ok and way.value == 1:
                [design] = yield [self._ask(room, "designer", "design", TEXT, shown)]
                base = (design.id,) if design.ok else base
            shown = (*base, answer.id, *((hint.id,) if hint.ok else ()))
            [fixed] = yield [self._ask(room, "corrector", "correct", None, shown)]
            answer = fixed if fixed.ok else answer
        if answer.ok:
            room.round += 1
            [final] = yield [self._ask(room, "structurer", "structure", None, (answer.id,))]
            answer = final if final.ok else answer
        return verdict_of(answer, "no answer")

    def _ask(self, room: Room, role: str, act: str, spec: ActionSpec | None, sees: tuple[int, ...]) -> Ask:
        return Ask(self.who(room, role), act, BRIEFS[act], spec, sees, self.wants if spec is None else ())

    def calls(self, n: int) -> int:
        """Everything repaired every time."""
        return 3 + 5 * self.rounds
