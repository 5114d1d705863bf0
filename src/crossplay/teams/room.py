"""`Room`: one deliberation of a team: what is asked, what was posted, who may see what.

A protocol is a generator without I/O: it yields the asks of a wave and receives their posts, in the
order asked, whatever order the answers came in. `Team` owns the I/O; everything else is here.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.kernel import Action, ActionSpec, Fault, Invalid, Msg, Observation, Usage, pack
from crossplay.teams.topology import Topology

if TYPE_CHECKING:
    from crossplay.teams.team import Team

__all__ = ["Ask", "Post", "Room", "Talk", "Verdict"]

CHANNEL = "team"
"""The channel of messages between members; they never leave the seat."""


class Ask(msgspec.Struct):
    """One question to one member.

    act: what its post will be ("answer", "improve", "critique", "plan", "vote", ...). brief: what is
    wanted, in words. spec: the form of the answer, None: the seat's own. sees: ids of the posts it
    is shown. wants: "rationale" and "confidence" beside the value.
    """

    member: int
    act: str = "answer"
    brief: str = ""
    spec: ActionSpec | None = None
    sees: tuple[int, ...] = ()
    wants: tuple[str, ...] = ()


class Post(msgspec.Struct):
    """What a member said. value: canonical by its form, None where there is none; fault: why, or "".

    id: position among the posts of this decision. key: what votes compare of the value (packed).
    text: reasons, or the words of a text answer. sees: ids of the posts it was shown.
    """

    id: int
    round: int
    member: int
    act: str
    value: Any = None
    key: bytes = b""
    text: str = ""
    confidence: float | None = None
    sees: tuple[int, ...] = ()
    fault: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return not self.fault


class Verdict(msgspec.Struct):
    """What a protocol decides. value: the team's answer; None: none was reached, and `why` says why.

    share: of the valid ballots that agree with it, in [0, 1], or None. data: what the vote looked
    like, for the record.
    """

    value: Any
    share: float | None = None
    why: str = ""
    data: dict[str, Any] = {}
    messages: Sequence[Msg] = ()


Talk = Generator[Sequence[Ask], list[Post], Verdict]
"""What a protocol's `run(room)` is."""


class Room:
    """One decision of one team in one seat.

    round: of the posts that come next; a protocol counts it up. topology: who sees whom; a protocol
    may replace it. posts: all so far, in schedule order.
    """

    def __init__(self, team: Team, obs: Observation) -> None:
        self.team = team
        self.obs = obs
        self.slots = team.slots  # place of each member that is present in the whole team
        self.names = tuple(team.names[i] for i in team.slots)
        self.absent = frozenset(team.names) - frozenset(self.names)
        self.n = len(self.slots)
        self.topology: Topology = team.topology
        self.round = 0
        self.posts: list[Post] = []
        memo = obs.memo if isinstance(obs.memo, dict) else {}
        self.memos: dict[str, Any] = dict(memo.get("members", {}))
        self._asked: dict[tuple[int, int], int] = {}

    # -- for protocols -----------------------------------------------------------------------------
    @property
    def spec(self) -> ActionSpec:
        """The seat's form of answer."""
        return self.obs.spec

    def key(self, *purpose: Any) -> bytes:
        """A random stream of this team at this decision."""
        return self.obs.key("team", self.obs.tick, *purpose)

    def of_round(self, round: int, act: str | None = None) -> list[Post]:
        """The posts of a round that hold an answer, in schedule order."""
        return [p for p in self.posts if p.round == round and p.ok and (act is None or p.act == act)]

    def latest(self, member: int, act: str | None = None) -> Post | None:
        """The last answer of a member."""
        for post in reversed(self.posts):
            if post.member == member and post.ok and (act is None or post.act == act):
                return post
        return None

    def visible(self, reader: int, window: int = 1) -> tuple[int, ...]:
        """Ids of the posts that a member may see by the topology: of each writer it hears, the last `window`
        (0: all), in schedule order. A member sees its own posts when the topology has a loop at it.
        """
        seen: list[int] = []
        left = dict.fromkeys(self.topology.heard_by(reader), window or len(self.posts))
        for post in reversed(self.posts):
            if post.ok and left.get(post.member, 0) > 0:
                left[post.member] -= 1
                seen.append(post.id)
        return tuple(reversed(seen))

    # -- for teams ---------------------------------------------------------------------------------
    def handle(self, ask: Ask) -> Observation:
        """The member's request: path (round, its place, how often it was asked in this round)."""
        path = self._path(ask.member)
        if self.team.silent:
            ask.sees = ()
        inbox = [self._message(self.posts[i], ask.member) for i in ask.sees]
        outer = self.obs.brief
        handle = self.obs.for_member(
            path,
            spec=ask.spec,
            inbox=[*self.obs.inbox, *inbox] if self.obs.inbox else inbox,
            memo=self.memos.get(str(self.slots[ask.member])),
            brief=f"{outer}\n{ask.brief}".strip() if outer else ask.brief,
            wants=ask.wants,
        )
        if self.team.guards is not None:
            name = self.names[ask.member]
            handle.inbox = self.team.guards.inbox(handle.inbox, name, handle)
            handle.brief = self.team.guards.brief(handle.brief, name, handle)
        return handle

    def _path(self, member: int) -> tuple[int, int, int]:
        slot = (self.round, self.slots[member])
        k = self._asked.get(slot, 0)
        self._asked[slot] = k + 1
        return (*slot, k)

    def _message(self, post: Post, reader: int) -> Msg:
        body = {
            "id": post.id,
            "act": post.act,
            "text": post.text,
            "value": post.value,
            "confidence": post.confidence,
            "own": post.member == reader,
        }
        return Msg(self.names[reader], body, CHANNEL, self.names[post.member], post.round)

    def take(self, ask: Ask, handle: Observation, answer: Any) -> Post:
        """Settle an answer into a post, note it, keep the member's memo. Nothing is substituted."""
        post = Post(len(self.posts), self.round, ask.member, ask.act, sees=ask.sees)
        handle.count("asks")
        usage: Usage | None = None
        if isinstance(answer, Fault):
            post.fault = f"{answer.kind}: {answer.detail}"[:300]
        else:
            action = answer if isinstance(answer, Action) else Action(answer)
            usage = action.usage
            post.confidence = _share(action.confidence)
            post.text = _words(action)
            if action.memo is not None:
                self.memos[str(self.slots[ask.member])] = action.memo
            value, blocked = action.value, ""
            if self.team.guards is not None:
                value, post.text, blocked = self.team.guards.said(value, post.text, self.names[ask.member], handle)
            try:
                if blocked:
                    raise Invalid(f"blocked by a guard: {blocked}")
                post.value = handle.spec.check(value, handle.legal)
            except Invalid as error:
                post.fault = f"invalid: {error}"[:300]
            else:
                post.key = pack(self.obs.canonical(post.value) if ask.spec is None else post.value)
        if post.fault:
            handle.count("member_faults")
        data: dict[str, Any] = {
            "id": post.id,
            "round": post.round,
            "member": self.names[post.member],
            "act": post.act,
            "value": post.value,
            "sees": list(post.sees),
        }
        known = {"text": post.text or None, "confidence": post.confidence, "fault": post.fault or None}
        known["side"] = True if ask.spec is not None else None  # a plan, a vote, ...: no answer to the seat's question
        data |= {name: value for name, value in known.items() if value is not None}
        handle.note("post", data, usage)
        self.posts.append(post)
        return post

    def account(self) -> None:
        """Count calls and tokens per model, so that a team of several models has a price."""
        if self.obs.path:
            return  # the outermost team counts for all
        for _, kind, data, usage in self.obs.notes:
            if kind == "model" and usage is not None:
                for name in ("calls", "tok_in", "tok_out", "cpu_us"):
                    if amount := getattr(usage, name):
                        self.obs.count(f"{name}:{data['model']}", amount)

    def adopt(self, member: int, post: Post) -> Post:
        """A member starts from an answer that was sampled for the pool; no call is made."""
        new = Post(
            len(self.posts), self.round, member, "answer", post.value, post.key, post.text, post.confidence, (post.id,)
        )
        data = {"id": new.id, "round": new.round, "member": self.names[member], "act": "answer", "value": new.value}
        self.obs.child(*self._path(member)).note("post", {**data, "sees": [post.id], "adopted": post.id})
        self.posts.append(new)
        return new

    def close(self, verdict: Verdict) -> Action | Fault:
        """The team's answer: noted with the vote behind it, and with what round 0 alone would have said."""
        record = {"rounds": self.round + 1, "posts": len(self.posts), **verdict.data}
        if verdict.why:
            record["why"] = verdict.why
        self.obs.note("vote", record)
        if verdict.value is None:
            self.obs.count("no_decision")
            return Fault("invalid", f"{self.team.name}: {verdict.why or 'no decision'}", list(verdict.messages))
        memo = {"members": self.memos} if self.memos else None
        return Action(verdict.value, verdict.messages, confidence=verdict.share, memo=memo)


def _share(confidence: float | None) -> float | None:
    return None if confidence is None or not 0.0 <= confidence <= 1.0 else float(confidence)


def _words(action: Action) -> str:
    if action.rationale:
        return action.rationale
    said = [m.body for m in action.messages if isinstance(m.body, str)]
    return "\n".join(said)
