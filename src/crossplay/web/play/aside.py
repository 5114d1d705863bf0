"""`Aside`: an agent that computes for long is asked in a thread, so that its thinking holds up no other room."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from crossplay.kernel import Agent, Observation, split_name
from crossplay.kernel.drivers import mode

__all__ = ["Aside", "beside"]

QUICK = frozenset(
    [
        "random",
        "noop",
        "first-legal",
        "chef",
        "striker",
        "scout",
        "strategy",
        "explorer",
        "scholar",
        "answerer",
        "believer",
        "node",
        "speaker",
        "talker",
        "maze-grader",
        "reasoner",
        "policy",
        "offered",
    ]
)
"""Types that answer within a millisecond or so; they are asked where the tick is, which costs less."""


class Aside(Agent):
    """The agent, asked in a thread. It plays the same moves under the same name; only a clock can tell the difference."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.name, self.views, self.kind = agent.name, agent.views, agent.kind
        self.deterministic, self.replays, self.needs = agent.deterministic, agent.replays, agent.needs

    def manifest(self) -> dict[str, Any]:
        """As the agent says."""
        return self.agent.manifest()

    def check(self, env: Any, seat: str) -> None:
        """As the agent says."""
        self.agent.check(env, seat)

    async def begin(self, obs: Observation) -> Any:
        """As the agent begins."""
        answer = await asyncio.to_thread(self.agent.begin, obs)
        return await answer if inspect.isawaitable(answer) else answer

    async def act(self, obs: Observation) -> Any:
        """The agent's answer."""
        if hasattr(self.agent, "act_batch"):
            return (await asyncio.to_thread(self.agent.act_batch, [obs]))[0]
        return await asyncio.to_thread(self.agent.act, obs)

    async def end(self, obs: Observation) -> None:  # type: ignore[override]
        """As the agent ends."""
        answer: Any = await asyncio.to_thread(self.agent.end, obs)
        if inspect.isawaitable(answer):
            await answer


def beside(agent: Agent, kind: str) -> Agent:
    """The agent as a room asks it. kind: its type."""
    if split_name(kind)[0] in QUICK or mode(agent) == "async":
        return agent
    return Aside(agent)
