"""`relay`: one agent plays the first own turns of a seat, another one goes on.

It is the handoff of the engine (`Episode.seat`) as an agent, so that a lineup can hold it. Both play
under the seat's own stream and path. Each remembers for itself: no memo passes from one to the other.
What the successor is given instead is the mail: at its first turn its inbox holds everything that was
said in the seat's hearing so far, the predecessor's own words included (with the seat itself as their
source), in order. What the environment shows of the past it shows to both.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.agents.context import Context, options, plain
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.types import Action, CrossplayError, Fault, Held, Msg

__all__ = ["Relay", "relay"]

_FRESH: dict[str, Any] = {"turns": 0, "memos": [None, None], "mail": []}
"""turns: own turns so far; memos: of both; mail: what the successor will read."""


class Relay(Agent):
    """`first` for its first `at` own turns, then `then`."""

    def __init__(self, first: Agent, then: Agent, at: int = 1) -> None:
        """at: own turns of the first one, 0 or more."""
        self.both, self.at = (first, then), at
        self.name = f"{first.name}>{then.name}@{at}"
        self.kind = first.kind if first.kind == then.kind else "relay"
        self.views = tuple(dict.fromkeys((*first.views, *then.views)))
        self.deterministic = first.deterministic and then.deterministic
        self.replays = all(a.deterministic or a.replays for a in (first, then))
        self.overlap = first.overlap and then.overlap
        for verb in ("act", "begin", "end"):
            if any(inspect.iscoroutinefunction(getattr(agent, verb)) for agent in self.both):
                setattr(self, verb, getattr(self, f"_{verb}_async"))

    def manifest(self) -> dict[str, Any]:
        """Both agents, and the turn."""
        return {"kind": self.kind, "name": self.name, "at": self.at, "relay": [a.manifest() for a in self.both]}

    def check(self, env: Any, seat: str) -> None:
        """Both must be able to play the seat."""
        for agent in self.both:
            agent.check(env, seat)

    # -- verbs ------------------------------------------------------------------------------------------
    def act(self, obs: Observation) -> Any:
        """Ask whoever's turn it is."""
        which, inner = self._turn(obs)
        return self._settle(obs, which, inner, _ask(self.both[which], inner))

    async def _act_async(self, obs: Observation) -> Any:
        which, inner = self._turn(obs)
        return self._settle(obs, which, inner, await _got(_ask(self.both[which], inner)))

    def begin(self, obs: Observation) -> Any:
        """Both begin; the first memo of each is kept."""
        return self._begun([agent.begin(self._as(obs, i)) for i, agent in enumerate(self.both)])

    async def _begin_async(self, obs: Observation) -> Any:
        return self._begun([await _got(agent.begin(self._as(obs, i))) for i, agent in enumerate(self.both)])

    def end(self, obs: Observation) -> Any:
        """Both are told."""
        for i, agent in enumerate(self.both):
            agent.end(self._as(obs, i))

    async def _end_async(self, obs: Observation) -> None:
        for i, agent in enumerate(self.both):
            await _got(agent.end(self._as(obs, i)))  # type: ignore[func-returns-value]

    # -- parts ------------------------------------------------------------------------------------------
    def _as(self, obs: Observation, which: int) -> Observation:
        """The request as one of the two sees it: with its own memo."""
        other = obs.with_choice(obs.spec, obs.legal, (obs.memo or _FRESH)["memos"][which])
        other.agent = self.both[which]
        return other

    def _turn(self, obs: Observation) -> tuple[int, Observation]:
        memo = obs.memo or _FRESH
        which = int(memo["turns"] >= self.at)
        inner = self._as(obs, which)
        if which and memo["mail"]:
            inner.inbox = [Msg(*m) for m in memo["mail"]] + list(obs.inbox)
        if which and memo["turns"] == self.at:
            obs.count("handoffs")
        return which, inner

    def _settle(self, obs: Observation, which: int, inner: Observation, answer: Any) -> Any:
        """The answer, with the memo of both. An answer that is no action counts as a turn as well."""
        obs.view_used = inner.view_used or obs.view_used
        if isinstance(answer, (Fault, Held)):
            answer = Action(answer, answer.messages if isinstance(answer, Fault) else ())
        given = answer if isinstance(answer, Action) else Action(answer)
        memo = obs.memo or _FRESH
        memos = list(memo["memos"])
        if given.memo is not None:
            memos[which] = given.memo
        mail: list[list[Any]] = []
        if not which:
            said = given.messages if isinstance(given.messages, Sequence) else ()
            own = [[m.dst, m.body, m.channel, obs.seat, obs.tick] for m in said if isinstance(m, Msg)]
            mail = [*memo["mail"], *([m.dst, m.body, m.channel, m.src, m.tick] for m in obs.inbox), *own]
        after = {"turns": memo["turns"] + 1, "memos": memos, "mail": mail}
        return Action(given.value, given.messages, given.confidence, given.rationale, given.usage, after)

    @staticmethod
    def _begun(answers: Sequence[Any]) -> dict[str, Any]:
        return {**_FRESH, "memos": [a.memo if isinstance(a, Action) else a for a in answers]}


def _ask(agent: Agent, obs: Observation) -> Any:
    return agent.act_batch([obs])[0] if hasattr(agent, "act_batch") else agent.act(obs)


async def _got(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


_AGENT = {"holds": "agent", "description": "an agent of the study by name, a type, or a table with type and options"}


@options(
    first={**_AGENT, "default": None},
    then={**_AGENT, "default": None},
    at={"type": "integer", "minimum": 0, "default": 1, "description": "own turns that the first one plays"},
)
@plain()
def relay(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """Two agents in one seat, one after the other: {"type": "relay", "first": "talker:strong", "then": "talker:weak"}."""
    made = []
    for part in ("first", "then"):
        if not options.get(part):
            raise CrossplayError(f'relay: "{part}" is missing: an agent\'s type, e.g. {part} = "random"')
        made.append(context.agent(options[part]))
    return Relay(made[0], made[1], int(options["at"]))
