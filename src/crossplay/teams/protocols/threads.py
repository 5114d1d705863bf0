"""`threads`: a planner opens a thread, workers answer in it, a critic marks, anybody changes the plan, all vote.

After Anemoi (arXiv 2508.17068). Who reads what and who waits are those of `teams/forming/threads.py`: members that are
not mentioned wait, and waiting asks nobody; a part of the discussion that is closed is its summary from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec

from crossplay.agents.prompt import labels
from crossplay.kernel import ActionSpec, CrossplayError
from crossplay.teams.decide import Candidates, worded
from crossplay.teams.forming.machine import digest
from crossplay.teams.forming.texts import TEMPLATE, WORDS
from crossplay.teams.forming.threads import Move, mentions, ready, size, start, step, visible
from crossplay.teams.protocols.common import TEXT, Settings, _known
from crossplay.teams.room import Ask, Post, Room, Talk
from crossplay.teams.topology import Topology, complete

__all__ = ["Threads"]

MARKS = ("accept", "uncertain")


class Threads(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The planner plans and names workers, who answer; the critic accepts an answer or is uncertain. Where none is accepted,
    the plan is changed, at most `changes` times; then all vote on the answers, and the rule decides.

    replan: who may change the plan: "all" (the planner and the workers who have not answered yet), "workers" (those alone),
    "planner" (prompts pass one way only) or "nobody". summary: what is left of a part of the discussion when the plan is
    changed: "lines" (who answered what, and its mark; asks nobody), "planner" (the planner sums up) or "none" (all of
    it stays). about: worker -> what it can do, which the planner is shown.
    """

    name: ClassVar[str] = "threads"
    strategy: ClassVar[str] = "model"
    parts: ClassVar[tuple[str, ...]] = ("planner", "critic")
    aside: ClassVar[bool] = True
    changes: int = 1
    replan: Literal["all", "workers", "planner", "nobody"] = "all"
    summary: Literal["lines", "planner", "none"] = "lines"
    about: dict[str, str] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.changes < 0:
            raise CrossplayError(f"threads: changes = {self.changes} must be 0 or more")

    def check(self, names: Sequence[str]) -> None:
        """Members that `about` describes must be there."""
        super().check(names)
        for name in self.about:
            _known(self.name, name, names)

    def run(self, room: Room) -> Talk:
        """Plan, answers, marks, changes of the plan; the vote."""
        s = _Session(self, room)
        named = yield from s.plan()
        for change in range(self.changes + 1):
            yield from s.work(named)
            free = [w for w in s.workers if w not in s.worked]
            if any(s.accepted.values()) or change == self.changes or self.replan == "nobody" or not free:
                break
            named = yield from s.change(free)
            if not named:
                break
        verdict = yield from s.vote()
        verdict.data |= s.record()
        return verdict

    def default_topology(self, n: int) -> Topology:
        """Everybody may read everything that is not closed."""
        return complete(n)

    def calls(self, n: int) -> int:
        """The plan, an answer and a mark per worker, changes and summaries, the vote."""
        return 1 + 2 * n + self.changes * (n + 1) + n + self.voting.calls(n, n)

    def manifest(self) -> dict[str, Any]:
        """Name and settings, and the digest of the words that are used."""
        return {**super().manifest(), "texts": TEMPLATE}


class _Session:
    """One decision: the board, its moves, and the answers with their marks."""

    def __init__(self, protocol: Threads, room: Room) -> None:
        self.protocol, self.room = protocol, room
        self.planner, self.critic = protocol.who(room, "planner"), protocol.who(room, "critic")
        self.workers = protocol.others(room, "planner", "critic")
        self.board = start(room.names)
        self.log: list[Move] = []
        self.answers: list[Post] = []
        self.worked: set[int] = set()
        self.accepted: dict[int, bool] = {}  # id of an answer -> whether it was accepted
        self.shown = 0  # characters of the board that members were shown
        self._do(self.planner, "open", text="plan", who=range(room.n))
        for m in range(room.n):
            self._do(m, "wait")

    # -- the board -----------------------------------------------------------------------------------
    def _do(self, member: int, kind: Any, thread: int = -1, text: str = "", who: Any = (), ref: int = -1) -> None:
        names = tuple(self.room.names[m] for m in who)
        move = Move(self.room.names[member], kind, thread, text, names, ref)
        self.board, effects = step(self.board, move)
        self.log.append(move)
        if any(e.kind == "refused" for e in effects):
            raise CrossplayError(f"threads: {effects[0].text}")

    @property
    def thread(self) -> int:
        """The thread that is open."""
        return len(self.board.threads) - 1

    def _asks(self, members: Sequence[int], act: str, brief: str, spec: Any = None, **more: Any) -> list[Ask]:
        """One ask each, showing what the board shows. Whoever is asked reads, and waits no more."""
        return [self._ask(m, act, brief, spec, **more) for m in members]

    def _ask(
        self, member: int, act: str, brief: str, spec: Any = None, wants: tuple[str, ...] = (), told: Any = ()
    ) -> Ask:
        name = self.room.names[member]
        lines = visible(self.board, name)
        sees = tuple(x.ref for x in lines if x.ref >= 0)
        # In a silent team nobody's words are repeated; the ballot still stands, because the rule is the same.
        rest = "" if self.room.team.silent else "\n".join(x.text for x in lines if x.ref < 0 and x.text)
        self.shown += size(self.board, name)
        self._do(member, "read")
        if rest:
            brief = f"{WORDS['earlier'].format(lines=rest)}\n{brief}"
            told = (*(n.ref for n in self.board.notes if n.ref >= 0 and n.ref not in sees), *told)
        return Ask(member, act, brief, spec, sees, wants, tuple(told))

    def _say(self, post: Post, text: str, who: Sequence[int]) -> None:
        """A post stands in the open thread; its writer waits. What is no answer to the task is read as words."""
        if post.ok:
            self._do(post.member, "post", self.thread, text, dict.fromkeys(who), post.id)
            if post.act != "answer":
                post.value, post.text = None, text
        self._do(post.member, "wait")

    # -- the parts -----------------------------------------------------------------------------------
    def plan(self) -> Talk:
        """The planner's plan; gives the workers that it names."""
        names = [self.room.names[w] for w in self.workers]
        listed = "\n".join(f"- {n}: {self.protocol.about.get(n, 'no description')}" for n in names)
        form = _plan(names)
        [post] = yield [self._ask(self.planner, "plan", WORDS["plan"].format(workers=listed), form)]
        named = [self.workers[names.index(n)] for n in dict.fromkeys(post.value["to"])] if post.ok else []
        self._say(post, f"{post.value['plan']} For: {', '.join(post.value['to'])}." if post.ok else "", named)
        return named

    def work(self, named: Sequence[int]) -> Talk:
        """The named workers answer, the critic marks each answer."""
        self.room.round += 1
        members = [w for w in named if mentions(self.board, self.room.names[w])]
        posts = yield self._asks(members, "answer", WORDS["answer"], wants=self.protocol.wants)
        for post in posts:
            self._say(post, self._worded(post), [self.critic])
        self.worked |= set(members)
        new = [p for p in posts if p.ok]
        self.answers += posts
        self.room.round += 1
        spec = ActionSpec("names", names=MARKS)
        asks = []
        for p in new:
            brief = WORDS["mark"].format(who=self.room.names[p.member], answer=worded(p.value, self.room.spec))
            asks.append(self._ask(self.critic, "mark", brief, spec, told=(p.id,)))
        marks = yield asks
        for answer, mark in zip(new, marks, strict=True):
            self.accepted[answer.id] = mark.ok and mark.value == 0
            self._say(mark, MARKS[mark.value] if mark.ok else "", [])
        return None

    def change(self, free: Sequence[int]) -> Talk:
        """Who is asked names who takes the task on; the thread is closed and another one opened for them."""
        self.room.round += 1
        by = self.protocol.replan
        asked = ([self.planner] if by in ("all", "planner") else []) + (list(free) if by != "planner" else [])
        asked = list(dict.fromkeys(asked))
        self._do(self.critic, "post", self.thread, "", asked)  # uncertain: they are mentioned, and so are ready
        asked = [m for m in asked if self.room.names[m] in ready(self.board)]
        form = ActionSpec("names", names=("nobody", *(self.room.names[w] for w in free)))
        posts = yield self._asks(asked, "change", WORDS["change"], form)
        named = {free[p.value - 1] for p in posts if p.ok and p.value > 0}
        for post in posts:
            self._say(post, form.names[post.value] if post.ok else "", [])
        chosen = [w for w in free if w in named]
        if chosen:
            yield from self._turn(chosen)
        return chosen

    def _turn(self, named: Sequence[int]) -> Talk:
        """Another part of the discussion begins."""
        names = ", ".join(self.room.names[w] for w in named)
        if self.protocol.summary != "none":
            text = self._lines()
            if self.protocol.summary == "planner":
                self._do(self.planner, "post", self.thread, "", [self.planner])
                [post] = yield [self._ask(self.planner, "summary", WORDS["close"], TEXT)]
                if post.ok:
                    text = post.value
                else:
                    self.room.obs.count("summary_missing")
                self._do(self.planner, "wait")
            self._do(self.planner, "close", self.thread, text)
            self._do(self.planner, "open", text="plan", who=range(self.room.n))
        self._do(self.planner, "post", self.thread, f"Next: {names}.", named)
        return None

    def _lines(self) -> str:
        """Who answered what, and its mark."""
        done = [p for p in self.answers if p.ok]
        marks = {p.id: MARKS[0 if self.accepted[p.id] else 1] for p in done}
        who = self.room.names
        return (
            "; ".join(f"{who[p.member]}: {worded(p.value, self.room.spec)} ({marks[p.id]})" for p in done)
            or "no answer"
        )

    def _worded(self, post: Post) -> str:
        return f"{worded(post.value, self.room.spec)} {post.text}".strip() if post.ok else ""

    def vote(self) -> Talk:
        """All vote where there is more than one answer; the rule decides on the votes."""
        found = Candidates.of(self.answers)
        if len(found.values) < 2:
            return (yield from self.protocol.voting.decide(self.room, self.answers))
        self.room.round += 1
        known = labels(len(found.values))
        brief = WORDS["ballot"].format(listed=found.listed(self.room.spec))
        self._do(self.planner, "post", self.thread, "", range(self.room.n))
        spec = ActionSpec("names", names=tuple(known))
        posts = yield self._asks(range(self.room.n), "vote", brief, spec, wants=self.protocol.wants)
        first = [found.posts[found.choice.index(c)] for c in range(len(found.values))]
        ballots = [_ballot(p, first[p.value]) if p.ok else p for p in posts]
        return (yield from self.protocol.voting.decide(self.room, ballots))

    def record(self) -> dict[str, Any]:
        """What the vote event holds beside the vote: all moves, from which the board follows."""
        return {
            "moves": msgspec.to_builtins(self.log),
            "people": list(self.room.names),
            "digest": digest(self.board),
            "shown": self.shown,
            "accepted": [self.room.names[p.member] for p in self.answers if self.accepted.get(p.id)],
            "worked": [self.room.names[m] for m in sorted(self.worked)],
        }


def _ballot(vote: Post, answer: Post) -> Post:
    """A vote as if the voter had given the answer that it is for."""
    return msgspec.structs.replace(answer, id=vote.id, member=vote.member, confidence=vote.confidence)


def _plan(names: Sequence[str]) -> ActionSpec:
    """The form of a plan."""
    schema = {
        "type": "object",
        "properties": {
            "plan": {"type": "string", "maxLength": 400},
            "to": {"type": "array", "items": {"type": "string", "enum": list(names)}, "minItems": 1, "maxItems": len(names)},
        },
        "required": ["plan", "to"],
        "additionalProperties": False,
    }  # fmt: skip
    return ActionSpec("data", schema=schema)
