"""`Room`: one deliberation of a team: what is asked, what was posted, who may see what.

A protocol is a generator without I/O: it yields the asks of a wave and receives their posts, in the
order asked, whatever order the answers came in. `Team` owns the I/O; everything else is here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.kernel import Action, ActionSpec, Fault, Invalid, Msg, Observation, Usage, pack
from crossplay.kernel.types import storable
from crossplay.teams.texts import BRIEFS
from crossplay.teams.topology import Topology

if TYPE_CHECKING:
    from crossplay.teams.team import Team

__all__ = ["Ask", "Post", "Room", "Talk", "Verdict"]

_NOTHING = pack(None)  # what an environment makes of an answer in which none can be read
CHANNEL = "team"
"""The channel of messages between members; they never leave the seat."""


class Ask(msgspec.Struct):
    """One question to one member.

    act: what its post will be ("answer", "improve", "critique", "plan", "vote", ...). brief: what is
    wanted, in words. spec: the form of the answer, None: the seat's own. sees: ids of the posts it
    is shown. wants: "rationale" and "confidence" beside the value. told: ids of the posts whose words
    the brief repeats.
    """

    member: int
    act: str = "answer"
    brief: str = ""
    spec: ActionSpec | None = None
    sees: tuple[int, ...] = ()
    wants: tuple[str, ...] = ()
    told: tuple[int, ...] = ()


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


Talk = Generator[Sequence[Ask], list[Post], Any]
"""What a protocol's `run(room)` is (it returns a `Verdict`), and the parts that it is made of."""


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
        # Memos of another team, after a handoff, are not for these members.
        self.memos: dict[str, Any] = dict(memo["members"]) if memo.get("of") == list(team.names) else {}
        self._asked: dict[tuple[int, int], int] = {}
        self._said: dict[int, Sequence[Msg]] = {}  # by post: what it said to other seats
        self._plain = obs.spec is obs.seat_spec

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
        """The last answer of a member (a candidate for a pool is none until it is adopted)."""
        for post in reversed(self.posts):
            if post.member == member and post.ok and (post.act != "candidate" if act is None else post.act == act):
                return post
        return None

    def ballots(self, members: Iterable[int]) -> list[Post]:
        """One post per member: its last answer; where it has none, the post that says why."""
        found: dict[int, Post] = {}
        for post in self.posts:
            if post.act != "candidate" and (post.ok or post.member not in found):
                found[post.member] = post
        return [found[m] for m in members if m in found]

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
            ask.sees, ask.brief, ask.told = (), "" if ask.told else ask.brief, ()
        if not ask.sees and ask.brief == BRIEFS["improve"]:
            ask.brief = BRIEFS["again"]  # nobody's answer is shown, so none is spoken of
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
        if self.team.players[ask.member].kind not in (
            "team",
            "single",
        ):  # members of a team in the team are asked themselves
            handle.count("asks")
        action = answer if isinstance(answer, Action) else Action(answer)
        usage = action.usage if isinstance(action.usage, Usage) else None
        if action.memo is not None:
            self.memos[str(self.slots[ask.member])] = action.memo
        try:
            self._settle(post, ask, handle, action)
        except Invalid as error:
            post.fault = f"invalid: {error}"[:300]
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
        known: dict[str, Any] = {"text": post.text or None, "confidence": post.confidence, "fault": post.fault or None}
        known["told"] = list(ask.told) or None
        known["side"] = True if ask.spec is not None else None  # a plan, a vote, ...: no answer to the seat's question
        data |= {name: value for name, value in known.items() if value is not None}
        handle.note("post", data, usage)
        self.posts.append(post)
        return post

    def _settle(self, post: Post, ask: Ask, handle: Observation, action: Action) -> None:
        """Fill a post from an answer; raises Invalid where it may not stand, with what may stand filled in."""
        value = action.value
        if isinstance(value, Fault):
            post.fault = f"{value.kind}: {value.detail}"[:300]
            return
        said: list[Any] = list(action.messages) if isinstance(action.messages, (list, tuple)) else [action.messages]
        if not all(isinstance(m, Msg) for m in said):
            raise Invalid("a message is not a Msg to a seat")
        if action.usage is not None and not isinstance(action.usage, Usage):
            raise Invalid(f"usage is a {type(action.usage).__name__}, not a Usage")
        post.text = _words(action.rationale, said)
        post.confidence = _share(action.confidence)
        if post.confidence is None and action.confidence is not None:
            handle.count("confidence_invalid")
        if self.team.guards is not None:
            value, post.text, blocked = self.team.guards.said(value, post.text, self.names[ask.member], handle)
            if blocked:
                raise Invalid(f"blocked by a guard: {blocked}")
        value = handle.spec.check(value, handle.legal)
        key = self.key_of(value) if ask.spec is None else pack(value)
        if key == _NOTHING and value is not None:
            post.text = post.text or str(value)  # what it said stays in the record; it is nobody's candidate
            raise Invalid("no answer can be read in it")
        post.value, post.key = value, key
        if said and ask.spec is None:
            self._said[post.id] = said

    def key_of(self, value: Any) -> bytes:
        """What votes compare of an answer: packed, by the environment's canonical form where it is the seat's."""
        return pack(self.obs.canonical(value) if self._plain else value)

    def account(self) -> None:
        """Count calls and tokens per model, so that a team of several models has a price.

        Counts stand for all notes of the seat so far, whichever team of it, inner or outer, adds them up.
        """
        total: dict[str, int] = {}
        for _, kind, data, usage in self.obs.notes:
            if kind == "model" and usage is not None:
                for name in ("calls", "tok_in", "tok_out", "cpu_us"):
                    if amount := getattr(usage, name):
                        mark = f"{name}:{data['model']}"
                        total[mark] = total.get(mark, 0) + amount
        known = self.obs.counts
        for mark, amount in total.items():
            if amount > known.get(mark, 0):
                self.obs.count(mark, amount - known.get(mark, 0))

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
        memo = {"members": self.memos, "of": list(self.team.names)} if self.memos else None
        if verdict.value is None:
            self.obs.count("no_decision")
            fault = Fault("invalid", f"{self.team.name}: {verdict.why or 'no decision'}", list(verdict.messages))
            return fault if memo is None else Action(fault, memo=memo)
        messages, why = verdict.messages, None
        if self._said or self.obs.wants:  # who agrees with the team speaks for it
            key = self.key_of(verdict.value)
            agree = [p for p in self.posts if p.ok and p.key == key]
            messages = messages or next((self._said[p.id] for p in reversed(agree) if p.id in self._said), ())
            why = next((p.text for p in reversed(agree) if p.text), None) if "rationale" in self.obs.wants else None
        return Action(verdict.value, messages, verdict.share, why, memo=memo)


def _share(confidence: Any) -> float | None:
    """A confidence in 0..1, or None."""
    known = isinstance(confidence, (int, float)) and not isinstance(confidence, bool)
    return float(confidence) if known and 0.0 <= confidence <= 1.0 else None


def _words(rationale: Any, said: Sequence[Msg]) -> str:
    """The reasons; where none are given, what is said to other seats."""
    if rationale:
        return str(storable(str(rationale)))
    return str(storable("\n".join(m.body for m in said if isinstance(m.body, str))))
