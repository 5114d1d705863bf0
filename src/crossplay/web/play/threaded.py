"""`Threaded`: an agent that computes for long is asked in a thread of its own, so that its thinking holds up no other room."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any

from crossplay.kernel import Agent, Observation, load, split_name
from crossplay.kernel.drivers import mode

__all__ = ["Threaded", "threaded"]

PATIENCE_S = 5.0
"""At the end of an episode."""


class Threaded(Agent):
    """The agent, asked in a thread. It plays the same moves under the same name; only a clock can tell the difference.

    One question at a time: while it still thinks about one that nobody waits for any more, the next one waits. So an
    agent that hangs holds one thread and its own seat, and neither the end of the server nor anything else waits for it.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.name, self.views, self.kind = agent.name, agent.views, agent.kind
        self.deterministic, self.replays, self.needs = agent.deterministic, agent.replays, agent.needs
        self._thinking: asyncio.Future[Any] | None = None

    def manifest(self) -> dict[str, Any]:
        """As the agent says."""
        return self.agent.manifest()

    def check(self, env: Any, seat: str) -> None:
        """As the agent says."""
        self.agent.check(env, seat)

    async def begin(self, obs: Observation) -> Any:
        """As the agent begins."""
        return await self._ask(self.agent.begin, obs) if type(self.agent).begin is not Agent.begin else None

    async def act(self, obs: Observation) -> Any:
        """The agent's answer."""
        if hasattr(self.agent, "act_batch"):
            return (await self._ask(self.agent.act_batch, [obs]))[0]
        return await self._ask(self.agent.act, obs)

    async def end(self, obs: Observation) -> None:  # type: ignore[override]
        """As the agent ends, where it is not thinking still: the episode is over, and does not wait for long."""
        if type(self.agent).end is not Agent.end:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ask(self.agent.end, obs), PATIENCE_S)

    async def _ask(self, call: Callable[[Any], Any], given: Any) -> Any:
        while self._thinking is not None:
            await asyncio.shield(self._thinking)
        mine = self._thinking = asyncio.get_running_loop().create_future()
        mine.add_done_callback(self._free)
        _start(call, given, mine)
        answer, error = await asyncio.shield(mine)
        if error is not None:
            raise error
        return await answer if inspect.isawaitable(answer) else answer

    def _free(self, done: asyncio.Future[Any]) -> None:
        self._thinking = None


def _start(call: Callable[[Any], Any], given: Any, done: asyncio.Future[Any]) -> None:
    """Settle `done` with (answer, error) of a call in a daemon thread: an executor would wait for a hung one at the end."""
    loop = done.get_loop()

    def settle(found: tuple[Any, BaseException | None]) -> None:
        if not done.done():
            done.set_result(found)

    def work() -> None:
        try:
            found: tuple[Any, BaseException | None] = (call(given), None)
        except BaseException as error:
            found = (None, error)
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=work, name="crossplay-thinking", daemon=True).start()


def threaded(agent: Agent, kind: str) -> Agent:
    """The agent as a room asks it. kind: its type, whose factory may say that it is quick (`crossplay.agents.context.quick`)."""
    if getattr(load("agents", split_name(kind)[0], "agent"), "quick", False) or mode(agent) == "async":
        return agent
    return Threaded(agent)
