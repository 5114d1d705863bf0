"""`Team`: an agent made of member agents, a topology, a protocol and a decision rule.

It sits in any seat of any environment. Members are any agents, teams included; their answers never
leave the seat except through the team's own.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol

from crossplay.agents.context import Context, options, plain
from crossplay.agents.facets import described
from crossplay.agents.guards import Guards, make_guards
from crossplay.kernel import Action, ActionSpec, Agent, CrossplayError, Fault, Observation, entries, load, nearest
from crossplay.kernel.drivers import mode
from crossplay.kernel.types import Stop
from crossplay.models.options import read_options
from crossplay.teams.facets import VOCABULARY, team_facets
from crossplay.teams.room import Ask, Room, Talk
from crossplay.teams.texts import BRIEFS
from crossplay.teams.topology import Topology, make_topology

__all__ = ["Team", "TeamProtocol", "WaitingTeam", "make_protocol", "make_team", "team"]


class TeamProtocol(Protocol):
    """Who is asked what, and when; a frozen value.

    name: its entry point in the group `crossplay.teams`. topology: the default one for n members.
    """

    name: ClassVar[str]

    def run(self, room: Room) -> Talk:
        """Yield the asks of a wave, receive their posts; return the verdict."""
        ...

    @property
    def wants(self) -> tuple[str, ...]:
        """What is asked for beside an answer."""
        ...

    def calls(self, n: int) -> int:
        """The most asks of one decision with n members: what a plan multiplies with."""
        ...

    def asks_aside(self, n: int) -> bool:
        """Whether some asks are in other forms than the seat's: plans, critiques, ballots."""
        ...

    def check(self, names: Sequence[str]) -> None:
        """Raise CrossplayError where members of these names cannot play it."""
        ...

    def default_topology(self, n: int) -> Topology:
        """Who sees whom where the team does not say."""
        ...

    def manifest(self) -> dict[str, Any]:
        """Name and settings."""
        ...


_LONGEST = max(BRIEFS.values(), key=len)


class Team(Agent):
    """A team whose members all answer at once; `WaitingTeam` is the one with models or people in it.

    members: in order; names: unique, in the same order. silent: nobody is shown anybody's posts, the
    zero-message control. guards: asked before a member reads and after it spoke. present: names of the
    members that take part (none named: all). The others are as if they had never been there, but for the
    places: whoever is present keeps the path, and with it the random stream and the paid answers, that it
    has in the whole team.
    """

    kind = "team"
    vocabulary = VOCABULARY

    def __init__(
        self,
        members: Sequence[Agent],
        protocol: TeamProtocol,
        topology: Topology | None = None,
        names: Sequence[str] = (),
        name: str = "team",
        silent: bool = False,
        guards: Guards | None = None,
        present: Sequence[str] = (),
    ) -> None:
        if not members:
            raise CrossplayError(f"{name}: a team needs members")
        self.members = tuple(members)
        self.names = _unique(names or [m.name for m in members])
        if len(self.names) != len(members):
            raise CrossplayError(f"{name}: {len(self.names)} names for {len(members)} members")
        self.present = tuple(present)
        for one in self.present:
            if one not in self.names:
                raise CrossplayError(f'{name}: present names "{one}".{nearest(one, self.names)}')
        self.slots = tuple(i for i, n in enumerate(self.names) if not present or n in self.present)
        self.players = tuple(self.members[i] for i in self.slots)
        self.protocol = protocol
        self.topology = topology or protocol.default_topology(len(self.players))
        if self.topology.n == len(members) != len(self.players):
            self.topology = self.topology.only(self.slots)
        if self.topology.n != len(self.players):
            raise CrossplayError(f"{name}: a topology of {self.topology.n} for {len(self.players)} members")
        protocol.check(self.names)
        self.name = name
        self.silent = silent
        self.guards = guards
        self.deterministic = all(m.deterministic for m in self.players)
        self.replays = all(m.deterministic or m.replays for m in self.players)
        self.views = tuple(dict.fromkeys(v for m in self.players for v in m.views))

    def manifest(self) -> dict[str, Any]:
        """Members, protocol, topology; models of all members; facets."""
        found = {
            "kind": self.kind,
            "name": self.name,
            "members": {n: described(m.manifest(), m) for n, m in zip(self.names, self.members, strict=True)},
            "models": list(dict.fromkeys(x for m in self.players for x in m.manifest().get("models", ()))),
            "protocol": self.protocol.manifest(),
            "topology": self.topology.to_dict(),
            **({"silent": True} if self.silent else {}),
            **({"present": list(self.present)} if self.present else {}),
            **({"guards": self.guards.manifest()} if self.guards else {}),
        }
        kinds = [m.kind for m in self.players]
        return described({**found, "facets": team_facets(found, kinds, self.protocol, self.topology, self.views)}, self)

    def check(self, env: Any, seat: str) -> None:
        """Every member must be able to play the seat."""
        kind = env.spec(seat).kind
        for slot, member in zip(self.slots, self.players, strict=True):
            name = self.names[slot]
            if member.needs and kind not in member.needs:
                raise CrossplayError(f"{self.name}: member {name} answers {', '.join(member.needs)}, not {kind}")
            if not set(member.views) & set(env.views):
                raise CrossplayError(
                    f"{self.name}: member {name} reads {', '.join(member.views)}, which {env.id} lacks"
                )
            member.check(env, seat)

    def size(self, obs: Observation) -> tuple[int, int, int]:
        """(calls, tokens in, tokens out) of a decision at most, as far as the members know theirs."""
        asked = [m for m in self.players if hasattr(m, "size")]
        if not asked:
            return 0, 0, 0
        asks = self.protocol.calls(len(self.players))
        # Every ask is taken for the dearest: in the seat's form or, where the protocol has such, in words.
        handles = [obs.for_member((0, 0, 0), brief=_LONGEST, wants=self.protocol.wants)]
        if self.protocol.asks_aside(len(self.players)):
            handles.append(obs.for_member((0, 0, 0), brief=_LONGEST, spec=ActionSpec("text")))
        sizes = [m.size(h) for m in asked for h in handles]
        calls, tokens_in, tokens_out = (max(s[i] for s in sizes) for i in range(3))
        # What the others posted is shown again: at most every earlier answer of the discussion.
        return asks * calls, asks * (tokens_in + calls * asks * (tokens_out + 32)), asks * tokens_out

    def begin(self, obs: Observation) -> Any:
        """The first memos of the members that want to begin; who fails to is counted and plays without."""
        return self._begun(obs, [(s, h, _call(m.begin, h)) for s, m, h in self._inner(obs, "begin")])

    def end(self, obs: Observation) -> None:
        """Told to the members that want to hear it."""
        for _, member, handle in self._inner(obs, "end"):
            _call(member.end, handle)

    def _inner(self, obs: Observation, verb: str) -> list[tuple[int, Agent, Observation]]:
        """(place, member, handle) of those who have such a verb of their own."""
        memos = Room(self, obs).memos
        wanted = [i for i in self.slots if getattr(type(self.members[i]), verb) is not getattr(Agent, verb)]
        return [(i, self.members[i], obs.for_member((0, i), memo=memos.get(str(i)))) for i in wanted]

    def _begun(self, obs: Observation, answers: Sequence[tuple[int, Observation, Any]]) -> Any:
        memos = {}
        for slot, handle, answer in answers:
            memo = answer.memo if isinstance(answer, Action) else answer
            if isinstance(memo, Fault):
                handle.count("member_begin_fault")
                handle.note("note", {"begin": self.names[slot], "fault": f"{memo.kind}: {memo.detail}"[:300]})
            elif memo is not None:
                memos[str(slot)] = memo
        return {"members": memos, "of": list(self.names)} if memos else None

    def act(self, obs: Observation) -> Any:
        """One decision."""
        room = Room(self, obs)
        talk = self.protocol.run(room)
        try:
            asks = next(talk)
            while True:
                handles = [room.handle(a) for a in asks]
                answers = [_ask(self.players[a.member], h) for a, h in zip(asks, handles, strict=True)]
                asks = talk.send([room.take(*x) for x in zip(asks, handles, answers, strict=True)])
        except StopIteration as stop:
            return room.close(stop.value)


class WaitingTeam(Team):
    """A team some of whose members wait for something: asks of a wave go out together."""

    async def begin(self, obs: Observation) -> Any:
        """As a team begins; one member after the other."""
        return self._begun(obs, [(s, h, await _got(_call(m.begin, h))) for s, m, h in self._inner(obs, "begin")])

    async def end(self, obs: Observation) -> None:  # type: ignore[override]
        """As a team ends."""
        for _, member, handle in self._inner(obs, "end"):
            await _got(_call(member.end, handle))

    async def act(self, obs: Observation) -> Any:
        """One decision; posts are taken in schedule order."""
        room = Room(self, obs)
        talk = self.protocol.run(room)
        try:
            asks = next(talk)
            while True:
                handles = [room.handle(a) for a in asks]
                answers = await _together(self.players, asks, handles)
                asks = talk.send([room.take(*x) for x in zip(asks, handles, answers, strict=True)])
        except StopIteration as stop:
            return room.close(stop.value)
        finally:
            room.account()  # paid calls count per model, also when the clock cut the decision off


def _fault(error: Exception) -> Fault:
    return Fault("error", f"{type(error).__name__}: {error}"[:500])


def _call(verb: Any, handle: Observation) -> Any:
    """What a member answers; an awaitable comes back as it is."""
    try:
        return verb(handle)
    except Stop:
        raise
    except Exception as error:
        return _fault(error)


def _ask(member: Agent, handle: Observation) -> Any:
    """One answer of a member, or an awaitable of it."""
    if hasattr(member, "act_batch"):
        return _call(lambda h: member.act_batch([h])[0], handle)
    return _call(member.act, handle)


async def _wait(call: Any) -> Any:
    try:
        return await call
    except Stop:
        raise
    except Exception as error:
        return _fault(error)


async def _got(answer: Any) -> Any:
    return await _wait(answer) if inspect.isawaitable(answer) else answer


async def _together(members: Sequence[Agent], asks: Sequence[Ask], handles: Sequence[Observation]) -> list[Any]:
    """The answers of a wave, in the order asked. A `Stop` ends the run when all of them are there."""
    answers = [_ask(members[a.member], h) for a, h in zip(asks, handles, strict=True)]
    waiting = [i for i, a in enumerate(answers) if inspect.isawaitable(a)]
    if len(waiting) == 1:
        answers[waiting[0]] = await _wait(answers[waiting[0]])
    elif waiting:
        # The others' calls are paid, so they are waited for and their notes kept.
        found = await asyncio.gather(*(_wait(answers[i]) for i in waiting), return_exceptions=True)
        for i, answer in zip(waiting, found, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            answers[i] = answer
    return answers


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    """The names; clones are numbered: solver, solver#2, solver#3."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = k = seen.get(name, 0) + 1
        found.append(name if k == 1 else f"{name}#{k}")
    return tuple(found)


# -- making teams ----------------------------------------------------------------------------------
def make_protocol(given: str | Mapping[str, Any], where: str = "protocol") -> TeamProtocol:
    """The protocol of a name or a table such as {"name": "debate", "rounds": 3}; errors name the nearest."""
    table = {"name": given} if isinstance(given, str) else dict(given)
    name = table.pop("name", None)
    if not isinstance(name, str):
        raise CrossplayError(f'{where}: "name" is missing, e.g. protocol = {{ name = "debate", rounds = 2 }}')
    factory = load("teams", name, "protocol")
    made: TeamProtocol = read_options(factory, table, f"{where} {name}")
    return made


def make_team(
    members: Sequence[Agent],
    protocol: TeamProtocol | str | Mapping[str, Any] = "vote",
    topology: Topology | str | Mapping[str, Any] | None = None,
    *,
    names: Sequence[str] = (),
    name: str = "team",
    silent: bool = False,
    guards: Guards | None = None,
    present: Sequence[str] = (),
) -> Team:
    """A team of these members: `make_team([a, b, c], {"name": "debate", "rounds": 2}, "ring")`.

    present: the members that take part. Topologies by name are made for as many as these are; given
    edges, layers and hubs are cut down to them.
    """
    if isinstance(protocol, (str, Mapping)):
        protocol = make_protocol(protocol)
    if topology is not None and not isinstance(topology, Topology):
        by_place = isinstance(topology, Mapping) and {"edges", "stages", "sizes", "hub"} & set(topology)
        topology = make_topology(topology, len(set(present)) if present and not by_place else len(members))
    waits = any(mode(m) == "async" for m in members)
    return (WaitingTeam if waits else Team)(members, protocol, topology, names, name, silent, guards, present)


_TABLE: dict[str, Any] = {"description": "a name, or a table with its settings"}


@options(
    members={"holds": "agent", "type": "array", "default": [], "description": "agents of the study by name (clones may be named twice), or types"},
    size={"type": "integer", "minimum": 1, "default": 1, "description": "every member that many times"},
    protocol={"holds": "protocol", **_TABLE, "default": "vote"},
    topology={"holds": "topology", **_TABLE, "default": None},
    silent={"type": "boolean", "default": False, "description": "show nobody's posts to anybody: the zero-message control"},
    guards={"holds": "guards", "type": "array", "default": [], "description": "hooks before and after every message between members"},
    names={"holds": "words", "type": "array", "items": {"type": "string"}, "default": [], "description": "of the members, where not those of the agents"},
    present={"holds": "words", "type": "array", "items": {"type": "string"}, "default": [], "description": "names of the members that take part (none: all)"},
)  # fmt: skip
@plain(partial(entries, "teams"))
def team(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """A team; rest: the protocol, where it needs no settings ("team:debate")."""
    chosen = options["members"]
    if not chosen:
        raise CrossplayError('team: name its members, e.g. members = ["solver", "solver", "critic"]')
    members = [context.agent(m) for m in chosen for _ in range(options["size"])]
    guards = make_guards(options["guards"], context)
    protocol = options["protocol"]
    if rest:
        protocol = {**protocol, "name": rest} if isinstance(protocol, Mapping) else rest
    return make_team(
        members,
        protocol,
        options["topology"],
        names=options["names"],
        silent=options["silent"],
        guards=guards,
        present=options["present"],
    )
