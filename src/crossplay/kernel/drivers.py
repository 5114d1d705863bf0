"""Drivers: how the requests of `play` get their answers. They do the I/O and own the clock.

loop: one episode, one seat after the other. batch: many episodes, requests grouped by agent.
aio: asyncio; all seats of a tick at once, one timer per tick. replay: from a recorded trace.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from crossplay.kernel.agent import Agent
from crossplay.kernel.events import Event
from crossplay.kernel.obs import Observation
from crossplay.kernel.play import Episode, Lineup, Outcome
from crossplay.kernel.types import Action, Failed, Fault, Held, Msg, Stop, unpack

__all__ = ["Recorded", "aio", "aio_many", "batch", "loop", "mode", "recorded"]

_clock = time.perf_counter_ns
_PLAIN = frozenset((int, Action, Fault, type(None), str, float))  # answers that nobody has to wait for


def mode(agent: Agent) -> str:
    """How an agent is asked: "batch" (act_batch), "plain" (def act) or "async" (async def act)."""
    if hasattr(agent, "act_batch"):
        return "batch"
    return "async" if inspect.iscoroutinefunction(agent.act) else "plain"


def _fault(error: BaseException) -> Fault:
    if isinstance(error, Failed):
        return error.fault
    return Fault("error", f"{type(error).__name__}: {error}"[:500])


def _slow(obs: Observation, began: int) -> None:
    """A plain `def` cannot be interrupted: its deadline is judged afterwards and only counted."""
    obs.wall_us = wall = (_clock() - began) // 1000
    if obs.deadline is not None and wall > obs.deadline * 1e6:
        obs.count("slow")


def _ask(obs: Observation) -> Any:
    """One plain request; an awaitable comes back as it is."""
    agent, op = obs.agent, obs.op
    began = _clock()
    try:
        answer = agent.act(obs) if op == "act" else agent.begin(obs) if op == "begin" else agent.end(obs)
    except Stop:
        raise
    except Exception as error:
        answer = _fault(error)
    if obs.deadline is None:
        obs.wall_us = (_clock() - began) // 1000
    else:
        _slow(obs, began)
    return answer


async def _finish(answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except Stop:
        raise
    except Exception as error:
        return _fault(error)


def _ask_group(agent: Agent, group: Sequence[Observation]) -> list[Any]:
    """One act_batch; when it raises, row by row, so that a fault never depends on the batch width.

    Safe because agents are immutable: a retry does not step a memo twice.
    """
    began = _clock()
    try:
        answers = list(agent.act_batch(list(group)))  # type: ignore[attr-defined]
        if len(answers) != len(group):
            raise ValueError(f"{len(answers)} answers to {len(group)} requests")
    except Stop:
        raise
    except Failed as error:
        return [error.fault] * len(group)
    except Exception as error:
        if len(group) == 1:
            return [_fault(error)]
        return [a for obs in group for a in _ask_group(agent, [obs])]
    wall = (_clock() - began) // 1000 // len(group)
    for obs in group:
        obs.wall_us = wall
        if obs.deadline is not None and wall > obs.deadline * 1e6:
            obs.count("slow")
    return answers


def _end(episode: Episode, outcome: Outcome) -> list[Observation]:
    """The end requests of the agents that want them."""
    asked = []
    for i, agent in enumerate(episode.agents):
        if type(agent).end is not Agent.end:
            obs = Observation(
                episode.scopes[i],
                "end",
                outcome.ticks,
                memo=episode.memos[i],
                last=episode.last[i],
                reward=episode.since[i],
            )
            obs.agent, obs.status = agent, outcome.status
            asked.append(obs)
    return asked


def loop(episode: Episode, on_tick: Callable[[Episode], None] | None = None) -> Outcome:
    """Play one episode, one seat after the other; async agents run on a private event loop.

    on_tick is called with the requests of each tick open: the place to snapshot or to hand over.
    """
    runner: asyncio.Runner | None = None
    requests = episode.requests
    try:
        asked = next(requests)
        while True:
            if on_tick is not None:
                on_tick(episode)
            answers = []
            for obs in asked:
                if obs.op == "act" and hasattr(obs.agent, "act_batch"):
                    answer = _ask_group(obs.agent, [obs])[0]
                else:
                    answer = _ask(obs)
                if type(answer) not in _PLAIN and inspect.isawaitable(answer):
                    runner = runner or asyncio.Runner()
                    began = _clock()
                    answer = runner.run(_finish(answer))
                    obs.wall_us = (_clock() - began) // 1000
                answers.append(answer)
            asked = requests.send(answers)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        for obs in _end(episode, outcome):
            answer = _ask(obs)
            if inspect.isawaitable(answer):
                runner = runner or asyncio.Runner()
                runner.run(_finish(answer))
        return outcome
    finally:
        if runner is not None:
            runner.close()


def batch(episodes: Iterable[Episode], width: int = 64) -> Iterator[tuple[Episode, Outcome]]:
    """Play many episodes, `width` at a time; requests to one agent object are asked together.

    Yields (episode, outcome) in order of completion. Async agents run on one private event loop.
    """
    source = iter(episodes)
    live: list[tuple[Episode, list[Observation]]] = []
    runner: asyncio.Runner | None = None

    def advance(episode: Episode, answers: list[Any] | None) -> tuple[Episode, Outcome] | None:
        nonlocal runner
        try:
            asked = next(episode.requests) if answers is None else episode.requests.send(answers)
        except StopIteration as stop:
            for obs in _end(episode, stop.value):
                answer = _ask(obs)
                if inspect.isawaitable(answer):
                    runner = runner or asyncio.Runner()
                    runner.run(_finish(answer))
            return episode, stop.value
        live.append((episode, asked))
        return None

    try:
        while True:
            while len(live) < width and (episode := next(source, None)) is not None:
                done = advance(episode, None)
                if done:
                    yield done
            if not live:
                return
            now, live = live, []
            groups: dict[int, list[Observation]] = {}
            answers: dict[int, Any] = {}
            for _, asked in now:
                for obs in asked:
                    if obs.op == "act" and hasattr(obs.agent, "act_batch"):
                        groups.setdefault(id(obs.agent), []).append(obs)
                    else:
                        answer = _ask(obs)
                        if type(answer) not in _PLAIN and inspect.isawaitable(answer):
                            runner = runner or asyncio.Runner()
                            answer = runner.run(_finish(answer))
                        answers[id(obs)] = answer
            for group in groups.values():
                for obs, answer in zip(group, _ask_group(group[0].agent, group), strict=True):
                    answers[id(obs)] = answer
            for episode, asked in now:
                done = advance(episode, [answers[id(o)] for o in asked])
                if done:
                    yield done
    finally:
        if runner is not None:
            runner.close()


class _Pace:
    """The clock of one episode: none, a deadline per tick, or ticks at a fixed rate."""

    def __init__(self, kind: str, value: float) -> None:
        self.kind, self.value = kind, value
        self.start: float | None = None

    def wait(self, loop: asyncio.AbstractEventLoop, tick: int) -> float | None:
        """Seconds that the requests of this tick have, or None."""
        if self.kind == "deadline":
            return self.value
        if self.kind == "tick":
            now = loop.time()
            if self.start is None:
                self.start = now - tick / self.value
            return max(0.0, self.start + (tick + 1) / self.value - now)
        return None


async def aio(episode: Episode, on_tick: Callable[[Episode], None] | None = None) -> Outcome:
    """Play one episode on asyncio: all seats of a tick at once, one timer per tick.

    Tasks of async agents start first and wait while plain agents are asked inline. A miss is a
    recorded fact (`Fault("timeout")`); replay has no clock. At `tick` pace, seats with `latest` are
    asked at the boundary, and a late answer counts as held.
    """
    running = asyncio.get_running_loop()
    pace = _Pace(*episode.clock)
    requests = episode.requests
    tasks: set[asyncio.Task[Any]] = set()
    try:
        asked = next(requests)
        while True:
            if on_tick is not None:
                on_tick(episode)
            answers = await _tick(episode, asked, pace, running, tasks)
            asked = requests.send(answers)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        for obs in _end(episode, outcome):
            answer = _ask(obs)
            if inspect.isawaitable(answer):
                await _finish(answer)
        return outcome
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


async def _tick(
    episode: Episode,
    asked: list[Observation],
    pace: _Pace,
    running: asyncio.AbstractEventLoop,
    tasks: set[asyncio.Task[Any]],
) -> list[Any]:
    answers: list[Any] = [None] * len(asked)
    acting = bool(asked) and asked[0].op == "act"
    limit = pace.wait(running, asked[0].tick) if acting else None
    waiting: dict[asyncio.Task[Any], tuple[int, int]] = {}
    inline: list[int] = []
    boundary: list[int] = []
    for j, obs in enumerate(asked):
        if acting and pace.kind == "tick" and hasattr(obs.agent, "latest"):
            boundary.append(j)
        elif (acting and mode(obs.agent) == "async") or (not acting and _async_op(obs)):
            call = obs.agent.act(obs) if acting else getattr(obs.agent, obs.op)(obs)
            task = _start(_finish(call), running)
            tasks.add(task)
            waiting[task] = (j, _clock())
        else:
            inline.append(j)
    if waiting and inline:
        await asyncio.sleep(0)  # let the calls go out before inline work blocks the loop
    groups: dict[int, list[int]] = {}
    for j in inline:
        obs = asked[j]
        if acting and hasattr(obs.agent, "act_batch"):
            groups.setdefault(id(obs.agent), []).append(j)
        else:
            answers[j] = _ask(obs)
            if inspect.isawaitable(answers[j]):
                answers[j] = await _finish(answers[j])
    for group in groups.values():
        for j, answer in zip(group, _ask_group(asked[group[0]].agent, [asked[j] for j in group]), strict=True):
            answers[j] = answer
    if waiting:
        if limit is not None and inline:
            limit = max(0.0, limit)
        done, late = await asyncio.wait(waiting, timeout=limit)
        for task, (j, began) in waiting.items():
            asked[j].wall_us = (_clock() - began) // 1000
            if task in done:
                answers[j] = task.result()
            else:
                task.cancel()
                task.add_done_callback(_Late(episode, asked[j]))
                answers[j] = Held() if pace.kind == "tick" else Fault("timeout", f"no answer in {limit:g} s")
            tasks.discard(task)
        for _ in range(32):  # let the cancelled calls note what they spent, also those of teams within teams
            if all(task.done() for task in late):
                break
            await asyncio.sleep(0)
    if acting and pace.kind == "tick":
        rest = pace.wait(running, asked[0].tick)
        if rest:
            await asyncio.sleep(rest)
        for j in boundary:
            latest = asked[j].agent.latest(asked[j])
            answers[j] = Held() if latest is None else latest
    return answers


class _Late:
    """Counts an answer that came although its task was cancelled."""

    def __init__(self, episode: Episode, obs: Observation) -> None:
        self.episode, self.seat, self.tick = episode, obs.seat, obs.tick

    def __call__(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is None and self.episode.outcome is None:
            self.episode.late(self.seat, self.tick)


def _async_op(obs: Observation) -> bool:
    return inspect.iscoroutinefunction(getattr(obs.agent, obs.op))


def _start(call: Any, running: asyncio.AbstractEventLoop) -> asyncio.Task[Any]:
    if sys.version_info >= (3, 12):
        return asyncio.Task(call, loop=running, eager_start=True)
    return running.create_task(call)


async def aio_many(
    episodes: Iterable[Episode], concurrency: int, done: Callable[[Episode, Outcome], Awaitable[None] | None]
) -> None:
    """Play many episodes on asyncio, `concurrency` at a time; `done` is called as each ends."""
    source = iter(episodes)

    async def worker() -> None:
        for episode in source:
            outcome = await aio(episode)
            result = done(episode, outcome)
            if inspect.isawaitable(result):
                await result

    async with asyncio.TaskGroup() as group:
        for _ in range(max(1, concurrency)):
            group.create_task(worker())


class Recorded(Agent):
    """Answers from the rows of a trace, faults and messages included: what `replay` seats."""

    deterministic = True
    kind = "recorded"

    def __init__(self, name: str, rows: Sequence[Event], names: bool) -> None:
        """rows: the act, fault and msg rows of one seat. names: whether values are name indices."""
        self.name = name
        self._acts: dict[int, Event] = {}
        self._faults: dict[int, Event] = {}
        self._said: dict[int, list[Msg]] = {}
        for e in rows:
            if e.kind == "act":
                self._acts[e.tick] = e
            elif e.kind == "fault" and e.origin != "begin":
                self._faults[e.tick] = e
            elif e.kind == "msg":
                dst, channel, body = unpack(e.payload or b"\xc0")
                self._said.setdefault(e.tick, []).append(Msg(dst, body, channel))

    def act(self, obs: Observation) -> Any:
        """What was answered at this tick, as the engine saw it."""
        said = self._said.get(obs.tick, ())
        fault = self._faults.get(obs.tick)
        if fault is not None:
            note = unpack(fault.note)
            return Fault(note["kind"], note["detail"], said)
        row = self._acts.get(obs.tick)
        if row is None:
            return Fault("error", f"the trace has no action of {obs.seat} at tick {obs.tick}")
        if row.origin == "held":
            return Action(Held(), messages=said)
        return Action(row.value if row.payload is None else unpack(row.payload), messages=said)


def recorded(events: Sequence[Event], seats: Sequence[str]) -> Lineup:
    """The lineup that plays a trace again. It needs to know nothing of who played."""
    return Lineup({s: Recorded("recorded", [e for e in events if e.seat == i], True) for i, s in enumerate(seats)})
