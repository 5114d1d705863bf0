"""`single`: a team of one model played by that model in one conversation.

OneFlow (arXiv 2601.12307) holds that a workflow whose roles share one base model can be simulated by a
single agent: each role's instruction is appended as the next user turn, all history is kept, and a
prefix cache then pays for new tokens only. `as_single` makes that agent of a team; the protocol runs
unchanged. `kv_cost` is the cost model of both forms, a pure function of recorded calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.agents.context import Context, options, plain
from crossplay.agents.facets import agent_facets, described
from crossplay.agents.llm import Llm, Vlm, _news, _past
from crossplay.agents.prompt import listed, static_text, talked
from crossplay.agents.tools import Toolbox
from crossplay.kernel import Agent, CrossplayError, Fault, Observation
from crossplay.teams.room import Ask, Room
from crossplay.teams.team import Team, WaitingTeam, _wait

if TYPE_CHECKING:
    from crossplay.models import Message, Model, Reply, Request

__all__ = ["Conversation", "KvCost", "Single", "as_single", "kv_cost", "prefixes", "single"]

TEXTS = {
    "turn": "You now speak as {name}.",
    "answer": "Give your answer to the task above.",
    "options": "Choose one of:",
}


class Conversation:
    """The turns of one decision. first: the part that never changes; rest: what follows, which only grows."""

    def __init__(self, first: Message | None = None, rest: Sequence[Message] = ()) -> None:
        self.first, self.rest = first, list(rest)

    def heard(self, sent: Sequence[Message], reply: Reply) -> None:
        """A request was answered: what was sent after the first message, and the answer, stand from now on."""
        from crossplay.models import Message

        said = Message("assistant", reply.text or "(nothing)", (), tuple(reply.tool_calls))
        self.rest = [*sent[1:], said]

    def stored(self) -> list[Any]:
        """Plain data for a memo."""
        found: list[Any] = msgspec.to_builtins([self.first, *self.rest], builtin_types=(bytes,))
        return found

    @classmethod
    def of(cls, stored: Sequence[Any]) -> Conversation:
        """The inverse of `stored`."""
        from crossplay.models import Message

        first, *rest = msgspec.convert(stored, list[Message])
        return cls(first, rest)


class _Line:
    """A model as one conversation hears it: every answer is remembered."""

    def __init__(self, model: Model, talk: Conversation) -> None:
        self._model, self._talk = model, talk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def generate(self, requests: Sequence[Request], at: Observation) -> list[Reply]:
        """As the model's; one request at a time."""
        [request] = requests
        [reply] = await self._model.generate([request], at=at)
        self._talk.heard(request.messages, reply)
        return [reply]


class _Voice(Llm):
    """A member that speaks in the conversation: what it is asked is the next user turn, and nothing else is said again."""

    def __init__(self, member: Llm, name: str, talk: Conversation, tools: Toolbox | None) -> None:
        line: Any = _Line(member.model, talk)
        super().__init__(line, member.settings, name, tools=tools, guards=member.guards)
        self.talk = talk

    def _prompt(self, obs: Observation, form: Any, memo: Any) -> list[Message]:
        from crossplay.models import Message

        pictures: Any = ()
        parts = [TEXTS["turn"].format(name=self.name), self.settings.instructions.strip()]
        if self.talk.first is None:
            self.talk.first = Message("system", self._static(obs))
            state, pictures = self._see(obs)
            if self.guards is not None:
                state = self._guarded(state, obs)
            parts = [_past(memo["past"]), _news(obs), state, talked(obs), *parts]
        if form.shown is not None:
            own = obs.spec == obs.seat_spec or not form.shown.fixed
            parts.append(
                form.shown.text() if own else f"{TEXTS['options']}\n{listed(form.shown.labels, form.shown.names)}"
            )
        parts += [obs.brief or TEXTS["answer"], form.how]
        user = Message("user", "\n\n".join(p for p in parts if p), pictures)
        return [self.talk.first, *self.talk.rest, user]

    def _static(self, obs: Observation) -> str:
        """What stands before the first turn: rules and actions of the seat, whatever is asked first."""
        spec = obs.seat_spec
        fixed = spec.kind == "names" and not self.settings.rotate and len(spec.names) <= 52
        return static_text(obs.with_choice(spec, None), "", fixed)


class _SeeingVoice(_Voice, Vlm):
    """The same for members that read images."""


class Single(WaitingTeam):
    """All roles of a team, played by its one model in one conversation; the protocol is the team's own.

    Asks of a wave come one after the other, each hears all that was said before: posts are not shown
    again. The conversation lasts one decision; inside another team it goes on while that one decides.
    """

    kind = "single"

    def __init__(self, of: Team, name: str = "") -> None:
        super().__init__(
            of.members,
            of.protocol,
            of.topology,
            of.names,
            name or f"{of.name} single",
            guards=of.guards,
            present=of.present,
        )
        self.of = of
        self._tools = _union([m.tools for m in of.players if isinstance(m, Llm)])

    def manifest(self) -> dict[str, Any]:
        """The team's, as one agent."""
        found = {**super().manifest(), "kind": self.kind, "of": self.of.name}
        found["facets"] = agent_facets({**found, "kind": "llm", "settings": {"memory": 1}}, self.views)
        return described(found, self)

    def size(self, obs: Observation) -> tuple[int, int, int]:
        """(calls, tokens in, tokens out) of a decision at most: each call repeats all turns before it."""
        sizes = [m.size(obs) for m in self.players if isinstance(m, Llm)]
        asks = self.protocol.calls(len(self.players))
        calls, tok_in, tok_out = (max(s[i] for s in sizes) for i in range(3))
        return asks * calls, asks * calls * (tok_in + asks * (tok_out + 2000)), asks * tok_out

    async def act(self, obs: Observation) -> Any:
        """One decision; one ask after the other."""
        kept = obs.memo if isinstance(obs.memo, dict) else {}
        goes_on = bool(obs.path) and kept.get("talk", [None])[0] == obs.tick
        room = Room(self, obs)
        talk = Conversation.of(kept["talk"][1]) if goes_on else Conversation()
        voices = [self._voice(i, talk) for i in self.slots]
        run = self.protocol.run(room)
        try:
            asks = next(run)
            while True:
                asks = run.send([await self._ask(room, voices, a) for a in asks])
        except StopIteration as stop:
            answer = room.close(stop.value)
            if obs.path and talk.first is not None and not isinstance(answer, Fault):
                answer.memo = {**(answer.memo or {}), "talk": [obs.tick, talk.stored()]}
            return answer
        finally:
            room.account()

    def _voice(self, i: int, talk: Conversation) -> _Voice:
        member = self.members[i]
        assert isinstance(member, Llm), "checked when it was made"
        return (_SeeingVoice if isinstance(member, Vlm) else _Voice)(member, self.names[i], talk, self._tools)

    async def _ask(self, room: Room, voices: Sequence[_Voice], ask: Ask) -> Any:
        handle = room.handle(ask)
        handle.inbox = list(room.obs.inbox)  # what members posted stands in the conversation
        handle.memo = room.memos.get(_MEMO)
        post = room.take(ask, handle, await _wait(voices[ask.member].act(handle)))
        if (memo := room.memos.pop(str(room.slots[ask.member]), None)) is not None:
            room.memos[_MEMO] = memo
        return post


_MEMO = "0"
"""Where the one memory of the conversation stands among the memos of members."""


def as_single(team: Team, name: str = "") -> Single:
    """The same team as one agent in one conversation (OneFlow).

    Possible where all members are `llm` agents, or all `vlm`, of one model; `CrossplayError` names the
    two that differ.
    """
    if team.silent:
        raise CrossplayError(f"{team.name}: one conversation hears everything, so a silent team has no such form")
    first, names = team.players[0], [team.names[i] for i in team.slots]
    for who, member in zip(names, team.players, strict=True):
        if type(member) not in (Llm, Vlm):
            raise CrossplayError(f"{team.name}: member {who} is a {member.kind}; one conversation needs llm members")
        if type(member) is not type(first):
            raise CrossplayError(f"{team.name}: members {names[0]} ({first.kind}) and {who} ({member.kind}) differ")
        ours, theirs = first.model.name, member.model.name  # type: ignore[attr-defined]
        if ours != theirs:
            raise CrossplayError(
                f'{team.name}: members {names[0]} and {who} have two models, "{ours}" and "{theirs}"; '
                "one conversation has one"
            )
    return Single(team, name)


def _union(boxes: Sequence[Toolbox | None]) -> Toolbox | None:
    """One toolbox with the tools of all members, each once."""
    found = [b for b in boxes if b is not None]
    if not found:
        return None
    tools = {t.name: t for b in reversed(found) for t in b.tools}
    sources = {s.title: s for b in reversed(found) for s in b.sources}
    return Toolbox(
        list(tools.values()),
        list(sources.values()),
        rounds=max(b.rounds for b in found),
        seconds=max(b.seconds for b in found),
        door=found[0].door,
        given=tuple(dict.fromkeys(g for b in found for g in b.given)),
    )


@options(of={"holds": "agent", "type": "string", "default": "", "description": "the team, an agent of the study; or after the type: single:TEAM"})  # fmt: skip
@plain("agent")
def single(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """A team's roles played by its one model in one conversation; rest: the team's name."""
    name = rest or options["of"]
    if not name:
        raise CrossplayError('single: name its team, e.g. type = "single:debate"')
    team = context.agent(name)
    if not isinstance(team, Team):
        raise CrossplayError(f'single: "{name}" is a {team.kind}, not a team')
    return as_single(team)


# -- the cost model --------------------------------------------------------------------------------
class KvCost(msgspec.Struct, frozen=True):
    """What recorded calls cost, in USD where prices are USD per token.

    separate: every prompt is read anew, C = sum(p_in |prompt| + p_out |out|). conversation: what stood in
    the conversation is read from the cache, C = sum(p_cache |prefix| + p_in |new| + p_out |out|).
    prompt, prefix, out: tokens in all; prompt = prefix + new.
    """

    separate: float
    conversation: float
    prompt: int
    prefix: int
    out: int


def prefixes(prompts: Sequence[int], outs: Sequence[int]) -> list[int]:
    """Tokens of each prompt of one append-only conversation that stood in it before: all of the last
    prompt and its answer, as far as this prompt is that long. prompts, outs: tokens, in the order asked.
    """
    found, before = [], 0
    for prompt, out in zip(prompts, outs, strict=True):
        found.append(min(prompt, before))
        before = prompt + out
    return found


def kv_cost(
    prompts: Sequence[int],
    outs: Sequence[int],
    prefix: Sequence[int],
    p_in: float,
    p_out: float,
    p_cache: float | None = None,
) -> KvCost:
    """The cost of calls with and without a prefix cache; prices per token, p_cache None: as p_in.

    Source: OneFlow (arXiv 2601.12307): C_team = sum_i (p_in |prompt_i| + p_out |out_i|),
    C_single = sum_i (p_cache |prefix_i| + p_in |delta_i| + p_out |out_i|).
    """
    if any(not 0 <= s <= p for s, p in zip(prefix, prompts, strict=True)) or len(outs) != len(prompts):
        raise CrossplayError("KV cost: a prefix is a part of its prompt, and every call has an answer")
    whole, old, said = sum(prompts), sum(prefix), sum(outs)
    cached = p_in if p_cache is None else p_cache
    return KvCost(p_in * whole + p_out * said, cached * old + p_in * (whole - old) + p_out * said, whole, old, said)
