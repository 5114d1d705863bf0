"""`relay` and `pipeline`: one member after the other, each taking over what the one before left."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import msgspec

from crossplay.kernel import ActionSpec, CrossplayError
from crossplay.teams.protocols.common import TEXT, Settings, _known, verdict_of
from crossplay.teams.room import Ask, Post, Room, Talk
from crossplay.teams.texts import BRIEFS
from crossplay.teams.topology import Topology, chain

__all__ = ["Gate", "Pipeline", "Relay", "Stage"]


class Relay(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each member takes the task over from the one before (hand-off); the last answer counts.

    laps: how often the baton goes round. window: how many posts of each writer that the topology lets it
    hear are shown beside the last answer (0: all). Who fails to answer drops out of the chain; the record
    says whose answer it was (`by`).
    """

    name: ClassVar[str] = "relay"
    laps: int = 1
    window: int = 1
    rationale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.laps < 1 or self.window < 0:
            raise CrossplayError(f"relay: laps = {self.laps} must be 1 or more, window = {self.window} 0 or more")

    def run(self, room: Room) -> Talk:
        """One ask at a time."""
        last: Post | None = None
        for lap in range(self.laps):
            room.round = lap
            for m in range(room.n):
                baton = {last.id} if last is not None and last.ok else set()
                sees = tuple(sorted(baton | set(room.visible(m, self.window))))
                brief = BRIEFS["continue"] if sees else BRIEFS["draft"]
                [post] = yield [Ask(m, "answer", brief if room.n > 1 else "", sees=sees, wants=self.wants)]
                last = post if post.ok or last is None else last
        by = room.names[last.member] if last is not None and last.ok else ""
        return verdict_of(last, "nobody answered", by=by)

    def default_topology(self, n: int) -> Topology:
        """A chain."""
        return chain(n)

    def calls(self, n: int) -> int:
        """One ask per member and lap."""
        return n * self.laps


class Gate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a contribution must pass. words: at least so many. matches: a regular expression that must be
    found in it. by: a member that judges it. retries: how often it is asked for again, with the reason.
    """

    words: int = 0
    matches: str = ""
    by: str = ""
    retries: int = 1


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stage: what is asked of its member, and the gate behind it. sees: "last" or "all" before it."""

    do: str
    member: str = ""
    gate: Gate = Gate()
    sees: str = "last"


class Pipeline(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stages in a fixed order, each behind a validation gate; the last one answers in the seat's form.

    A stage that does not pass its gate after its retries ends the decision without an answer. The stage
    of an absent member falls out; the last one that is left answers.
    """

    name: ClassVar[str] = "pipeline"
    aside: ClassVar[bool] = True
    stages: list[Stage] = []

    def __post_init__(self) -> None:
        super().__post_init__()
        for i, stage in enumerate(self.stages):
            if stage.gate.retries < 0 or stage.gate.words < 0:
                raise CrossplayError(f"pipeline: stages[{i}].gate: retries and words must not be negative")
            if stage.sees not in ("last", "all"):
                raise CrossplayError(f'pipeline: stages[{i}].sees = "{stage.sees}" is not "last" or "all"')
            try:
                re.compile(stage.gate.matches)
            except re.error as error:
                raise CrossplayError(f"pipeline: stages[{i}].gate.matches: {error}") from None

    def check(self, names: Sequence[str]) -> None:
        """Members that stages and gates name must be there."""
        super().check(names)
        for stage in self.stages:
            for name in filter(None, (stage.member, stage.gate.by)):
                _known(self.name, name, names)

    def run(self, room: Room) -> Talk:
        """Stage after stage."""
        stages = [s for i, s in enumerate(self.stages) if self._there(room, s, i)] or [Stage("")]
        done: list[Post] = []
        for i, stage in enumerate(stages):
            room.round = i
            member = self._member(room, stage.member, i)
            spec = None if i == len(stages) - 1 else TEXT
            post = yield from self._stage(room, stage, member, spec, done)
            if post is None:
                room.obs.count("gates_failed")
                return verdict_of(None, f"stage {i + 1} did not pass its gate")
            done.append(post)
        return verdict_of(done[-1], "no answer")

    def _stage(self, room: Room, stage: Stage, member: int, spec: ActionSpec | None, done: list[Post]) -> Talk:
        before = tuple(p.id for p in (done if stage.sees == "all" else done[-1:]))
        sees, brief = before, BRIEFS["stage"].format(instruction=stage.do)
        for k in range(stage.gate.retries + 1):
            if k:
                room.obs.count("gate_retries")
            [post] = yield [Ask(member, "answer" if spec is None else "stage", brief, spec, sees, self.wants)]
            passed, reasons = yield from self._gate(room, stage, post)
            if passed:
                return post
            sees = (*before, *((post.id,) if post.ok else ()), *reasons)
            brief = f"{stage.do}\n{BRIEFS['retry']}"
        return None

    def _gate(self, room: Room, stage: Stage, post: Post) -> Talk:
        """(whether it passed, ids of posts that say why not)."""
        gate = stage.gate
        words = post.value if isinstance(post.value, str) else post.text
        if not post.ok or len(words.split()) < gate.words or (gate.matches and not re.search(gate.matches, words)):
            return False, ()
        if not gate.by or gate.by in room.absent:
            return True, ()
        form = ActionSpec("names", names=("accept", "reject"))
        judge = self._member(room, gate.by, 0)
        brief = BRIEFS["gate"].format(instruction=stage.do)
        [said] = yield [Ask(judge, "gate", brief, form, (post.id,), ("rationale",))]
        return said.ok and said.value == 0, (said.id,) if said.ok else ()

    def _there(self, room: Room, stage: Stage, i: int) -> bool:
        """Whether the member of a stage is present; where it is not, the stage falls out."""
        place = min(i, room.n + len(room.absent) - 1)
        return stage.member not in room.absent if stage.member else place in room.slots

    def _member(self, room: Room, name: str, i: int) -> int:
        if not name:
            return min(i, room.n - 1)
        return self.named(room, name)

    def default_topology(self, n: int) -> Topology:
        """A chain."""
        return chain(n)

    def calls(self, n: int) -> int:
        """Every stage with all its retries and judgements."""
        return sum((s.gate.retries + 1) * (2 if s.gate.by else 1) for s in self.stages or [Stage("")])
