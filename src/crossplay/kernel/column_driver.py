"""`columns`: the driver of `play_batch`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crossplay.kernel.agent import Agent
from crossplay.kernel.batch import BatchEnv
from crossplay.kernel.book import Lineup, Outcome
from crossplay.kernel.conduct import Conduct
from crossplay.kernel.drivers import _ask, _ask_group, _finish
from crossplay.kernel.play_batch import play_batch
from crossplay.kernel.seeds import Block
from crossplay.kernel.types import Stop

__all__ = ["columns"]


def columns(
    env: BatchEnv,
    lineup: Lineup | Mapping[str, Agent],
    ats: Sequence[Block],
    conduct: Conduct = Conduct(),  # noqa: B008 (frozen)
) -> Iterator[tuple[Block, Outcome]]:
    """The driver of `play_batch`: yields (block, outcome) as episodes end.

    Requests to one agent object are asked together; async agents run on one private event loop.
    """
    requests = play_batch(env, lineup, ats, conduct)
    runner: asyncio.Runner | None = None

    async def wait(pending: list[Any]) -> list[Any]:
        return list(await asyncio.gather(*(_finish(p) for p in pending)))

    try:
        asked = next(requests)
        while True:
            yield from asked.finished
            arrays: list[Any] = []
            for c in asked.columns:
                try:
                    arrays.append(c.agent.act_array(c.obs, c.legal, c.keys, c.tick, c.memo))
                except Stop:
                    raise
                except Exception as error:
                    arrays.append(error)
            handles: list[Any] = [None] * len(asked.handles)
            groups: dict[int, list[int]] = {}
            for j, obs in enumerate(asked.handles):
                if obs.op == "act" and hasattr(obs.agent, "act_batch"):
                    groups.setdefault(id(obs.agent), []).append(j)
                else:
                    handles[j] = _ask(obs)
            for group in groups.values():
                found = _ask_group(asked.handles[group[0]].agent, [asked.handles[j] for j in group])
                for j, answer in zip(group, found, strict=True):
                    handles[j] = answer
            pending = [j for j, a in enumerate(handles) if inspect.isawaitable(a)]
            if pending:
                runner = runner or asyncio.Runner()
                for j, answer in zip(pending, runner.run(wait([handles[j] for j in pending])), strict=True):
                    handles[j] = answer
            asked = requests.send((arrays, handles))
    except StopIteration as stop:
        yield from stop.value
    finally:
        requests.close()
        if runner is not None:
            runner.close()
