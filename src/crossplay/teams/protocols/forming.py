"""`forming`: an organiser finds members in a registry, they talk, share out work and conclude; groups may be nested.

After the Internet of Agents (arXiv 2407.07061). The rules are those of `teams/forming/group.py`: every message goes
through its `step`, only who is due is asked, and the record holds all messages, from which the run follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import msgspec

from crossplay.agents.prompt import labels
from crossplay.kernel import ActionSpec, CrossplayError, permutation
from crossplay.teams.forming.group import Due, Effect, Limits, Message, allowed, due, start, step
from crossplay.teams.forming.machine import digest
from crossplay.teams.forming.registry import Card, Registry, card_of
from crossplay.teams.forming.texts import TEMPLATE, WORDS
from crossplay.teams.protocols.common import TEXT, Settings, _known, verdict_of
from crossplay.teams.room import Ask, Post, Room, Talk
from crossplay.teams.topology import Topology, star

__all__ = ["Forming"]


class Forming(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The other members are a registry: `about` says what each can do, as words or as a card (description, skills,
    tags, cost). by: how it is searched ("random" is the control); k: results of a search.

    lead: "member": organisers search, invite, talk and assign themselves; "engine": the description of the work is the
    query, the `size` best that were found are invited, each is given the whole work, and the leader concludes.
    depth, attempts, turns: limits of the groups (see `Limits`); most: asks at most, then nobody is asked but for the
    conclusion (`pruned`).
    """

    name: ClassVar[str] = "forming"
    strategy: ClassVar[str] = "model"
    parts: ClassVar[tuple[str, ...]] = ("organiser",)
    aside: ClassVar[bool] = True
    about: dict[str, str | dict[str, Any]] = {}
    by: Literal["words", "embedding", "random"] = "words"
    lead: Literal["member", "engine"] = "member"
    k: int = 3
    size: int = 1
    depth: int = 1
    attempts: int = 3
    turns: int = 6
    most: int = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.k, self.size, self.attempts, self.turns) < 1 or self.depth < 0 or self.most < 2:
            raise CrossplayError(
                f"forming: k = {self.k}, size = {self.size}, depth = {self.depth}, attempts = {self.attempts}, "
                f"turns = {self.turns} or most = {self.most} is too small"
            )

    def check(self, names: Sequence[str]) -> None:
        """Members that `about` describes must be there."""
        super().check(names)
        for name in self.about:
            _known(self.name, name, names)

    @property
    def limits(self) -> Limits:
        """Of the groups; a discussion that the engine leads has the turns it needs."""
        turns = self.turns if self.lead == "member" else max(self.turns, self.size + 2)
        return Limits(self.depth, self.attempts, turns)

    def run(self, room: Room) -> Talk:
        """Ask whoever is due, wave after wave, until the first group has concluded."""
        session = _Session(self, room)
        while not session.state.over:
            waiting = session.waiting()
            final = [d for d in waiting if d.group == 0 and d.what == "conclusion"]
            if len(room.posts) + len(waiting) > self.most - (not final) and not final:
                room.obs.count("pruned", len(waiting))
                for one in waiting:
                    session.silent(one)
                continue
            posts = yield [session.ask(one) for one in waiting]
            for one, post in zip(waiting, posts, strict=True):
                session.take(one, post)
            room.round += 1
        return verdict_of(session.answer, "the group came to no conclusion", **session.record())

    def default_topology(self, n: int) -> Topology:
        """A star around the organiser; who reads what follows from the groups."""
        return star(n)

    def calls(self, n: int) -> int:
        """All attempts, turns, votes, work and conclusions of all groups, within `most`."""
        limits, below = self.limits, 0
        for _ in range(self.depth + 1):
            work = 2 + below  # alone or not, the work itself, a group of its own
            below = limits.attempts * n + limits.turns * (1 + n + work) + 1
        return min(self.most, below)

    def manifest(self) -> dict[str, Any]:
        """Name and settings, and the digest of the words that are used."""
        return {**super().manifest(), "texts": TEMPLATE}


class _Session:
    """One decision: the groups, their messages, and which posts are read in which group."""

    def __init__(self, protocol: Forming, room: Room) -> None:
        self.protocol, self.room = protocol, room
        names = room.names
        self.registry = Registry([_card(n, protocol.about.get(n, "")) for n in names], _embed)
        self.state = self.first = start(names, names[protocol.who(room, "organiser")], WORDS["task"], protocol.limits)
        self.log: list[Message] = []
        self.said: dict[int, tuple[int, ...]] = {0: ()}  # group -> ids of the posts that its members read
        self.given: dict[int, tuple[int, ...]] = {}  # task -> the post in whose words it was given
        self.found: dict[int, str] = {}  # group -> what its leader's last search found
        self.alone: set[int] = set()  # tasks whose assignee forms no team
        self.answer: Post | None = None

    # -- who is asked --------------------------------------------------------------------------------
    def waiting(self) -> list[Due]:
        """All who are due, after what the engine does itself."""
        while True:
            waiting = due(self.state)
            mine = next((d for d in waiting if d.what in ("team_up", "speak")), None)
            if mine is None or self.protocol.lead == "member":
                return list(waiting)
            self._apply(mine, self._led(mine))

    def _led(self, one: Due) -> Message:
        """What a leader does where the engine leads: invite the best, give everybody the work, wait, conclude."""
        g = self.state.groups[one.group]
        if one.what == "team_up":
            names = self._search(g.id, self._goal(g.id), self.protocol.size)
            return Message(g.id, one.who, "team_up", to=tuple(names))
        working = {t.to for t in self.state.tasks if t.group == g.id}
        free = [m for m in g.members if m != g.leader and m not in working]
        if free:
            return Message(g.id, one.who, "assign_async", g.goal, (free[0],))
        left = self._open(g.id)
        return Message(g.id, one.who, "pause", tasks=left) if left else Message(g.id, one.who, "conclude")

    def _open(self, group: int) -> tuple[int, ...]:
        return tuple(t.id for t in self.state.tasks if t.group == group and t.status == "open")

    def _goal(self, group: int) -> str:
        """What a group is for, in words to search by: for the first one, what the environment shows."""
        views = self.room.obs.views
        return self.room.obs.view("text") if group == 0 and "text" in views else self.state.groups[group].goal

    def _search(self, group: int, query: str, k: int) -> list[str]:
        g, by = self.state.groups[group], self.protocol.by
        without = {g.leader, *g.declined}
        if by != "random":
            return [f.name for f in self.registry.search(query, k, by, without)]
        names = [n for n in self.registry.names if n not in without]
        return [names[i] for i in permutation(self.room.key("search"), len(names), group, g.attempts)][:k]

    # -- what is asked -------------------------------------------------------------------------------
    def ask(self, one: Due) -> Ask:
        """The question to whoever is due."""
        g = self.state.groups[one.group]
        member, told = self.room.names.index(one.who), self.given.get(g.task, ())
        seen = self.said[g.id]
        if one.what == "team_up":
            return Ask(member, "team_up", self._inviting(one), self._form_of_team_up(one), told=told)
        if one.what == "reply":
            brief = WORDS["reply"].format(leader=g.leader, goal=g.goal)
            return Ask(member, "reply", brief, ActionSpec("names", names=("accept", "decline")), told=told)
        if one.what == "vote":
            known = labels(len(g.options))
            listed = "\n".join(f"{k}) {x}" for k, x in zip(known, g.options, strict=True))
            return Ask(
                member, "vote", WORDS["vote"].format(listed=listed), ActionSpec("names", names=known), seen, told=seen
            )
        if one.what == "work":
            return self._work(one, member, seen)
        if one.what == "conclusion":
            if g.id == 0:
                brief = WORDS["final"] if seen else ""
                return Ask(member, "answer", brief, sees=seen, wants=self.protocol.wants)
            return Ask(member, "conclusion", WORDS["sum_up"].format(what=g.goal), TEXT, seen, told=told)
        return Ask(member, "speak", self._talking(one), self._form_of_speech(one), seen, told=told)

    def _work(self, one: Due, member: int, seen: tuple[int, ...]) -> Ask:
        task, told = self.state.tasks[one.task], self.given.get(one.task, ())
        if "open" in allowed(self.state, one) and one.task not in self.alone:
            spec = ActionSpec("names", names=("alone", "team"))
            return Ask(member, "alone", WORDS["alone"].format(what=task.what), spec, seen, told=told)
        return Ask(member, "work", WORDS["work"].format(what=task.what), TEXT, seen, told=told)

    def _inviting(self, one: Due) -> str:
        g, limits = self.state.groups[one.group], self.state.limits
        return WORDS["team_up"].format(
            goal=g.goal, attempt=g.attempts + 1, attempts=limits.attempts, found=self.found.get(g.id, ""),
            gone=WORDS["gone"].format(names=", ".join(g.declined)) if g.declined else "",
            how=WORDS["team_up_last" if one.last else "team_up_any"],
        )  # fmt: skip

    def _form_of_team_up(self, one: Due) -> ActionSpec:
        g = self.state.groups[one.group]
        free = [n for n in self.state.people if n != g.leader and n not in g.declined]
        return _object({
            "do": {"type": "string", "enum": list(allowed(self.state, one))},
            "query": {"type": "string", "maxLength": 300},
            "names": {"type": "array", "items": {"type": "string", "enum": free}, "maxItems": min(8, len(free))},
        })  # fmt: skip

    def _talking(self, one: Due) -> str:
        g = self.state.groups[one.group]
        how = "; ".join(WORDS[t] for t in allowed(self.state, one))
        left = max(0, self.state.limits.turns - g.turns)
        return WORDS["speak"].format(members=", ".join(g.members), goal=g.goal, leader=g.leader, how=how, left=left)

    def _form_of_speech(self, one: Due) -> ActionSpec:
        g = self.state.groups[one.group]
        options = {"type": "array", "items": {"type": "string", "maxLength": 200}, "maxItems": 6}
        return _object({
            "do": {"type": "string", "enum": list(allowed(self.state, one))},
            "to": {"type": "string", "enum": list(g.members)},
            "text": {"type": "string", "maxLength": 1000},
        }, options=options)  # fmt: skip

    # -- what is said --------------------------------------------------------------------------------
    def take(self, one: Due, post: Post) -> None:
        """A post becomes a message; one that may not stand is counted, and is as if nothing had been said."""
        if one.what == "work" and post.act == "alone" and post.ok and post.value == 0:
            self.alone.add(one.task)
            return
        message = self._message(one, post) if post.ok else None
        if message is None or not self._apply(one, message, post):
            self.silent(one)

    def silent(self, one: Due) -> None:
        """Nothing usable was said."""
        self._apply(one, Message(one.group, one.who, "silence", task=one.task))

    def _message(self, one: Due, post: Post) -> Message:
        here, value = (one.group, one.who), post.value
        if one.what == "team_up":
            return Message(
                *here, value["do"], value["query"], tuple(value["names"]) if value["do"] == "team_up" else ()
            )
        if one.what == "reply":
            return Message(*here, "accept" if value == 0 else "decline")
        if one.what == "vote":
            return Message(*here, "vote", choice=value)
        if one.what == "work":
            kind: Any = "open" if post.act == "alone" else "result"
            return Message(*here, kind, "" if kind == "open" else value, task=one.task)
        if one.what == "conclusion":
            return Message(*here, "conclusion", "" if one.group == 0 else value)
        kind, to = value["do"], (value["to"],)
        if kind == "pause":
            return Message(*here, "pause", value["text"], tasks=self._open(one.group))
        if kind == "proposal":
            return Message(*here, "proposal", value["text"], options=tuple(value.get("options", ())))
        return Message(*here, kind, value["text"], () if kind == "discussion" and to == (one.who,) else to)

    def _apply(self, one: Due, message: Message, post: Post | None = None) -> bool:
        """One step; whether it stands. What it means for who reads what is kept."""
        self.state, effects = step(self.state, message)
        self.log.append(message)
        if any(e.kind == "refused" for e in effects):
            self.room.obs.count("refused")
            return False
        for effect in effects:
            self._follow(effect, post)
        if post is not None and one.what in ("speak", "work", "conclusion") and post.act != "alone":
            group = self.state.groups[one.group]
            at = one.group if one.what != "conclusion" else self.state.tasks[group.task].group if one.group else 0
            self.said[at] = (*self.said[at], post.id)
            if one.what == "speak":  # others read it as words
                value = post.value
                post.value, post.text = None, f"{value['do']} ({value['to']}): {value['text']}".strip()
            if one.what == "conclusion" and one.group == 0:
                self.answer = post
        return True

    def _follow(self, effect: Effect, post: Post | None) -> None:
        if effect.kind == "opened":
            self.said[effect.group] = ()
        elif effect.kind == "assigned" and post is not None:
            self.given[effect.task] = (post.id,)
        elif effect.kind == "assigned":  # by the engine, in the words of whoever gave the work to the group
            above = self.state.groups[effect.group].task
            self.given[effect.task] = self.given.get(above, ())
        elif effect.kind == "searched":
            names = self._search(effect.group, effect.text, self.protocol.k)
            listed = "\n".join(f"- {n}: {' '.join(self.registry.card(n).text.split())}" for n in names)
            self.found[effect.group] = WORDS["found"].format(listed=listed) if names else WORDS["found_nobody"]

    def record(self) -> dict[str, Any]:
        """What the vote event holds: the first state and all messages, from which everything follows."""
        groups = [
            {"leader": g.leader, "members": list(g.members), "depth": g.depth, "declined": list(g.declined)}
            for g in self.state.groups
        ]
        return {
            "groups": groups,
            "start": msgspec.to_builtins(self.first),
            "messages": msgspec.to_builtins(self.log),
            "digest": digest(self.state),
            "refused": dict(self.state.refused),
        }


def _card(name: str, about: str | Mapping[str, Any]) -> Card:
    return Card(name, about) if isinstance(about, str) else card_of({**about, "name": name})


def _embed(texts: list[str]) -> Any:
    from crossplay.models.embedders import embedder

    return embedder().embed(texts)


def _object(fields: dict[str, Any], **optional: Any) -> ActionSpec:
    """The form of an object with these fields."""
    schema = {
        "type": "object",
        "properties": {**fields, **optional},
        "required": list(fields),
        "additionalProperties": False,
    }
    return ActionSpec("data", schema=schema)
