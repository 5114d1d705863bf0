"""`verified`: ask again until the environment's verifier accepts (reject and resample).

The inner agent is asked up to k times, each time under its own path, so that every candidate has its own
chance and its own place in the records. The first one without an error is played, else the first of those
with the fewest. All candidates see the same memo; that of the played one is kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Mapping
from typing import Any

from crossplay.agents.context import Context, options, plain
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.seeds import uniform
from crossplay.kernel.types import Action, CrossplayError, Fault, Held, Invalid

__all__ = ["Verified", "verified"]

_UNPLAYABLE = 1_000  # stands for the errors of an answer that is no legal action


class Verified(Agent):
    """Wraps any agent; the verifier is `Env.verify`, a pure function of what the seat knows."""

    def __init__(self, agent: Agent, k: int = 8, noise: float = 0.0, kinds: tuple[str, ...] = ()) -> None:
        """k: candidates at most. noise: chance that a verdict is turned round (1/2: a coin). kinds: errors that count, by
        the word before the colon; () counts all.
        """
        self.agent, self.k, self.noise, self.kinds = agent, k, noise, tuple(kinds)
        self.name = f"{agent.name}+verified"
        self.kind, self.views, self.needs = agent.kind, agent.views, agent.needs
        self.deterministic, self.replays, self.overlap = agent.deterministic, agent.replays, agent.overlap
        for verb in ("act", "begin", "end"):
            if inspect.iscoroutinefunction(getattr(agent, verb)):
                setattr(self, verb, getattr(self, f"_{verb}_async"))

    def manifest(self) -> dict[str, Any]:
        """The inner agent's, and how it is verified."""
        extra = {"k": self.k, "noise": self.noise, "kinds": list(self.kinds)}
        return {**self.agent.manifest(), "name": self.name, "verified": extra}

    def check(self, env: Any, seat: str) -> None:
        """The environment must have a verifier of its own."""
        from crossplay.kernel.env import Env

        if type(env).verify is Env.verify:
            raise CrossplayError(f"{self.name}: {env.id} has no verifier, so nothing would ever be asked again")
        self.agent.check(env, seat)

    # -- verbs ------------------------------------------------------------------------------------------
    def act(self, obs: Observation) -> Any:
        """The first candidate that is accepted."""
        search = self._search(obs)
        try:
            child = next(search)
            while True:
                child = search.send(self._ask(child))
        except StopIteration as found:
            return found.value

    async def _act_async(self, obs: Observation) -> Any:
        search = self._search(obs)
        try:
            child = next(search)
            while True:
                child = search.send(await self._ask(child))
        except StopIteration as found:
            return found.value

    def begin(self, obs: Observation) -> Any:
        """The inner agent's."""
        return self.agent.begin(self._inner(obs))

    async def _begin_async(self, obs: Observation) -> Any:
        return await self.agent.begin(self._inner(obs))

    def end(self, obs: Observation) -> Any:
        """The inner agent's."""
        return self.agent.end(self._inner(obs))

    async def _end_async(self, obs: Observation) -> None:
        await self.agent.end(self._inner(obs))  # type: ignore[misc, func-returns-value]

    # -- parts ------------------------------------------------------------------------------------------
    def _ask(self, obs: Observation) -> Any:
        return self.agent.act_batch([obs])[0] if hasattr(self.agent, "act_batch") else self.agent.act(obs)

    def _inner(self, obs: Observation, *path: int) -> Observation:
        other = obs.child(*path)
        other.agent = self.agent
        return other

    def _search(self, obs: Observation) -> Generator[Observation, Any, Any]:
        """Yields the request of each candidate, is sent the answer; returns what is played."""
        best: Any = None
        least = _UNPLAYABLE + 1
        for j in range(self.k):
            child = self._inner(obs, j)
            answer = yield child
            obs.view_used = child.view_used or obs.view_used
            value = answer.value if isinstance(answer, Action) else answer
            if isinstance(value, Held) or (isinstance(value, Fault) and value.kind != "invalid"):
                return answer if best is None else best  # nobody is there to be asked again
            weight, errors = self._judge(obs, child, value)
            obs.note("note", {"candidate": j, "errors": errors})
            if weight < least:
                best, least = answer, weight
            if not errors:
                break
            obs.count("rejected")
        if least:
            obs.count("unverified")
        elif j:
            obs.count("corrected")
        return best

    def _judge(self, obs: Observation, child: Observation, value: Any) -> tuple[int, list[str]]:
        """(how bad, errors) of a candidate; a noisy verdict is turned round. What cannot be played is the worst of all."""
        try:
            if isinstance(value, Fault):
                raise Invalid(value.detail)
            canonical = obs.spec.check(value, obs.legal)
        except Invalid as error:
            return _UNPLAYABLE, [f"spec: {error}"]
        errors = [e for e in obs.verify(canonical) if not self.kinds or e.partition(":")[0] in self.kinds]
        if self.noise and uniform(child.key("verdict"), obs.tick) < self.noise:
            errors = [] if errors else ["verdict: turned round"]
        return len(errors), errors


@options(
    agent={"holds": "agent", "default": None, "description": "who is asked: an agent of the study by name, a type, or a table"},
    k={"type": "integer", "minimum": 1, "maximum": 100, "default": 8, "description": "candidates at most"},
    noise={"type": "number", "minimum": 0, "maximum": 1, "default": 0.0, "description": "chance that a verdict is turned round; 0.5 is a coin"},
    kinds={"holds": "words", "type": "array", "items": {"type": "string"}, "default": [], "description": "errors that count, e.g. affordance; none named: all"},
)  # fmt: skip
@plain("agent")
def verified(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """Reject and resample with the environment's verifier; rest or `agent`: who is asked ("verified:reasoner")."""
    inner = rest or options.get("agent")
    if not inner:
        raise CrossplayError('verified: say who is asked: type = "verified:random", or agent = "random"')
    return Verified(context.agent(inner), int(options["k"]), float(options["noise"]), tuple(options["kinds"]))
