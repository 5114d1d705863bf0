"""`Skilled`: an agent that chooses among an environment's skills instead of its primitive actions.

The inner agent is asked only when no skill runs. It finds the skills' names in `obs.spec`, those
that can start now in `obs.legal`, what each does in `obs.rules`; the engine still plays, records
and checks primitive actions only. Skill choices are counted (`skills`, in the counts of the seat).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from crossplay.agents.facets import described
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.types import Action, ActionSpec, CrossplayError, Fault, Held, Invalid, Msg

__all__ = ["SkillObservation", "Skilled"]

_NOTHING: dict[str, Any] = {"skill": -1, "state": None, "inner": None, "chosen": -1, "mail": [], "reward": 0.0}
"""What the wrapper remembers: running skill (-1: none) and its state, the inner agent's memo, the
last choice, and the messages and rewards that came while a skill ran."""


class SkillObservation(Observation):
    """A request whose actions are skills; its rules say so."""

    __slots__ = ()

    @property
    def rules(self) -> str:
        """The environment's rules (in the words of its skills, if they have any), then the skills, one line each."""
        skills = self.skills
        lines = [f"- {name}: {skills.describe(i)}" for i, name in enumerate(skills.names)]  # type: ignore[union-attr]
        head = (
            "You do not choose single actions. You choose a skill; it is carried out for you over several "
            "steps, and you are asked again when it has ended. Skills:"
        )
        return "\n".join([getattr(skills, "rules", "") or super().rules, head, *lines])

    def view(self, name: str = "data") -> Any:
        """As the environment shows it; a language model that reads text gets the short text of the
        skills, where they have one (every word of a prompt is paid at every choice).
        """
        short = getattr(self.skills, "text", None)
        if name == "text" and short is not None and self.agent.kind == "llm":
            found = short(super().view("data"))
            self.view_used = "text of skills"
            return found
        return super().view(name)


@lru_cache(64)
def _spec(names: tuple[str, ...]) -> ActionSpec:
    return ActionSpec(kind="names", names=names, noop=names.index("wait") if "wait" in names else None)


class Skilled(Agent):
    """Wraps any agent that answers with names: script, policy, language model or person."""

    def __init__(self, agent: Agent) -> None:
        """agent: who chooses the skills. What can be asked in a batch, or awaited, stays so."""
        if agent.needs and "names" not in agent.needs:
            raise CrossplayError(f"skilled: {agent.name} does not answer with action names")
        self.agent = agent
        self.name = f"{agent.name}+skills"
        self.views, self.kind = agent.views, agent.kind
        self.deterministic, self.replays, self.overlap = agent.deterministic, agent.replays, agent.overlap
        if inspect.iscoroutinefunction(agent.act):
            self.act = self._act_async  # type: ignore[method-assign]
        if hasattr(agent, "act_batch"):
            self.act_batch = self._act_batch
        if hasattr(agent, "latest"):
            self.latest = self._latest
        if hasattr(agent, "size"):
            self.size = lambda obs: agent.size(self._choice(obs))
        for verb in ("begin", "end"):
            if inspect.iscoroutinefunction(getattr(agent, verb)):
                setattr(self, verb, getattr(self, f"_{verb}_async"))

    def manifest(self) -> dict[str, Any]:
        """The inner agent's, and that it chooses skills."""
        inner = self.agent.manifest()
        plain = {k: v for k, v in inner.items() if k != "facets"}  # skills change them
        found = {**plain, "name": self.name, "skilled": True}
        return described(found, self.agent) if "facets" in inner else found

    def check(self, env: Any, seat: str) -> None:
        """The environment must have skills."""
        if env.skills is None:
            raise CrossplayError(f"{self.name}: {env.id} has no skills")
        self.agent.check(env, seat)

    # -- verbs ------------------------------------------------------------------------------------------
    def act(self, obs: Observation) -> Any:
        """The next primitive action of the running skill; asks the inner agent when none runs."""
        running = self._go_on(obs)
        if running is not None:
            return running
        inner = self._choice(obs)
        return self._settle(obs, inner, self.agent.act(inner))

    async def _act_async(self, obs: Observation) -> Any:
        running = self._go_on(obs)
        if running is not None:
            return running
        inner = self._choice(obs)
        return self._settle(obs, inner, await self.agent.act(inner))  # type: ignore[misc]

    def _act_batch(self, requests: Sequence[Observation]) -> list[Any]:
        """Asks the inner agent for all seats that need a choice, in one batch."""
        answers = [self._go_on(obs) for obs in requests]
        free = [j for j, answer in enumerate(answers) if answer is None]
        asked = [self._choice(requests[j]) for j in free]
        if asked:
            for j, inner, answer in zip(free, asked, self.agent.act_batch(asked), strict=True):  # type: ignore[attr-defined]
                answers[j] = self._settle(requests[j], inner, answer)
        return answers

    def _latest(self, obs: Observation) -> Any:
        """At `tick` pace: the running skill goes on; else what the inner agent has said, or None."""
        running = self._go_on(obs)
        if running is not None:
            return running
        inner = self._choice(obs)
        answer = self.agent.latest(inner)  # type: ignore[attr-defined]
        return None if answer is None else self._settle(obs, inner, answer)

    def begin(self, obs: Observation) -> Any:
        """The inner agent's first memo, wrapped."""
        return self._begun(self.agent.begin(self._choice(obs)))

    async def _begin_async(self, obs: Observation) -> Any:
        return self._begun(await self.agent.begin(self._choice(obs)))

    def end(self, obs: Observation) -> Any:
        """Told to the inner agent."""
        return self.agent.end(self._choice(obs))

    async def _end_async(self, obs: Observation) -> None:
        await self.agent.end(self._choice(obs))  # type: ignore[misc, func-returns-value]

    # -- parts ------------------------------------------------------------------------------------------
    @staticmethod
    def _begun(answer: Any) -> Any:
        memo = answer.memo if isinstance(answer, Action) else answer
        return None if memo is None else {**_NOTHING, "inner": memo}

    @staticmethod
    def _go_on(obs: Observation) -> Action | None:
        """The running skill's next action, or None when the inner agent has to choose."""
        memo = obs.memo
        if memo is None or memo["skill"] < 0:
            return None
        value, state, done = obs.skills.step(obs.view("data"), memo["skill"], memo["state"])  # type: ignore[union-attr]
        mail = memo["mail"] + [[m.dst, m.body, m.channel, m.src, m.tick] for m in obs.inbox]
        after = {**memo, "skill": -1 if done else memo["skill"], "state": None if done else state}
        return Action(value, memo={**after, "mail": mail, "reward": memo["reward"] + obs.reward})

    def _choice(self, obs: Observation) -> SkillObservation:
        """The request as the inner agent sees it: skills to choose from, its own memo, all its mail."""
        skills = obs.skills
        if skills is None:
            raise CrossplayError(f"{obs.env_id} has no skills to choose from")
        memo = obs.memo or _NOTHING
        legal = list(skills.legal(obs.view("data"))) if obs.op == "act" else None
        other = obs.with_choice(_spec(tuple(skills.names)), legal, memo["inner"])
        other.__class__ = SkillObservation  # same slots, other rules
        other.agent = self.agent
        other.inbox = [Msg(*m) for m in memo["mail"]] + list(obs.inbox)
        other.reward = memo["reward"] + obs.reward
        origin = obs.last[1] if obs.last else "own"
        other.last = (memo["chosen"], origin) if memo["chosen"] >= 0 else None
        other.view_used = ""
        return other  # type: ignore[return-value]

    @staticmethod
    def _settle(obs: Observation, inner: Observation, answer: Any) -> Any:
        """The first primitive action of the chosen skill; a choice that may not be made is a fault."""
        obs.view_used = inner.view_used or obs.view_used
        if isinstance(answer, (Fault, Held)):
            return answer
        given = answer if isinstance(answer, Action) else Action(answer)
        kept = inner.memo if given.memo is None else given.memo
        if isinstance(given.value, (Fault, Held)):
            return answer
        try:
            skill = inner.spec.check(given.value, inner.legal)
        except Invalid as error:
            fault = Fault("invalid", f"skill: {error}", given.messages)
            return Action(fault, given.messages, usage=given.usage, memo={**_NOTHING, "inner": kept})
        obs.count("skills")
        value, state, done = obs.skills.step(obs.view("data"), skill, None)  # type: ignore[union-attr]
        obs.view_used = inner.view_used or obs.view_used
        memo = {
            **_NOTHING,
            "skill": -1 if done else skill,
            "state": None if done else state,
            "inner": kept,
            "chosen": skill,
        }
        return Action(value, given.messages, given.confidence, given.rationale, given.usage, memo)
