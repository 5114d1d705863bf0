"""`Remote`: the agent whose decisions are made by a worker."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.agents.remote.link import Link
from crossplay.agents.remote.rows import Row, act_message, plain_values, read_acts
from crossplay.kernel import Action, Agent, CrossplayError, Failed, Fault, Observation
from crossplay.kernel.seeds import key64
from crossplay.wire.channel import Channel, Gone
from crossplay.wire.frames import BadFrame, WireError
from crossplay.wire.messages import Act, End, Feedback, Load, Reset, Save, Seat

__all__ = ["Remote", "RemoteColumns"]

FEW = 16  # rows up to which a list of numbers is cheaper than an array
RETRIES = 2  # of an answer that says that asking again may help
INFLIGHT = 64  # frames that may be open at once


class Remote(Agent):
    """Asks a worker. Decisions that are due at the same moment, of any episodes, travel in one frame.

    A worker that goes away makes the episodes it was in void (they are played again in the same block);
    it is started anew for the next ones. timeout: seconds an answer may take. snapshots: what the worker
    remembers is saved after every decision, so that an episode can be continued or branched.
    """

    kind = "remote"

    def __init__(self, link: Link, timeout: float = 60.0, snapshots: bool = False) -> None:
        self.name = link.name
        self.link, self.timeout, self.snapshots = link, timeout, snapshots
        link.channel  # noqa: B018  (starts it: what it can play is known from its hello)
        hello = link.hello
        assert hello is not None
        self.hello = hello
        self.views = tuple(hello.views)
        self.needs = tuple(hello.kinds)
        self.deterministic = hello.deterministic
        # A seat in one play of an episode -> path (members of teams) -> number of what was begun, and where.
        self._begun: weakref.WeakKeyDictionary[Any, dict[Any, tuple[int, Channel]]] = weakref.WeakKeyDictionary()
        self._dropped: list[tuple[int, Channel]] = []  # begun, and gone without an end (a cancelled run)
        self._number = self._late = 0
        self._queues: dict[int, list[Row]] = {}
        self._open: dict[int, asyncio.Semaphore] = {}  # frames that may be open at once, by event loop

    def manifest(self) -> dict[str, Any]:
        """Command, the worker's own words about itself, digests of the files the command names."""
        hello = self.hello
        return {
            "kind": self.kind, "name": self.name, "command": list(self.link.start.command), "listen": self.link.start.listen,
            "worker": {"name": hello.name, "version": hello.version, "wire": hello.v, "state": hello.state, "about": hello.about},
            "config": self.link.config, "files": _digests([*self.link.start.command[1:], *self.link.config.values()], self.link.start.folder),
        }  # fmt: skip

    def check(self, env: Any, seat: str) -> None:
        """Bind the seat, so that a worker that cannot play it says so before anything is spent."""
        self.link.slot(env, env.id, seat, env.spec(seat), self.name)
        for last in (False, False, True):
            channel = self.link.channel
            if not self.link.unbound(channel):
                return
            try:
                channel.ask(self.link.bind(channel), self.timeout)
            except WireError as error:
                raise CrossplayError(f"worker {self.name}: {error}") from None
            except Gone:
                how = self.link.fallen(channel)
                if last:
                    raise CrossplayError(f"worker {self.name}: asked for {env.id} seat {seat}, it {how}") from None
            except TimeoutError as error:
                raise CrossplayError(f"worker {self.name}: {error} to bind") from None

    # -- episodes ----------------------------------------------------------------------------------------
    async def begin(self, obs: Observation) -> Any:
        """Tell a worker that keeps its own state; give back what it had saved where the episode goes on."""
        if self.hello.state != "own":
            return None
        return await self._guarded(self._begin_only, obs)

    async def _begin_only(self, obs: Observation) -> None:
        await self._begin(obs, obs.memo)

    async def _channel(self) -> Channel:
        """The open connection; where the worker has to be started, the event loop goes on meanwhile."""
        return self.link.channel if self.link.alive else await asyncio.to_thread(lambda: self.link.channel)

    async def _begin(self, obs: Observation, saved: Any = None) -> tuple[int, Channel]:
        channel = await self._channel()
        seat = await self._seat(channel, obs)
        self._number += 1
        number = self._number
        if saved is not None and self.hello.saves:
            await channel.aask(
                Load(id=channel.number(), ep=number, slot=seat.slot, key=obs.key(), data=saved), self.timeout
            )
        elif saved is not None or obs.history:
            raise CrossplayError(
                f"worker {self.name} keeps its own memory and cannot save it, so it cannot take over or continue an episode"
            )
        else:
            await channel.aask(Reset(id=channel.number(), ep=[number], slot=[seat.slot], key=[obs.key()]), self.timeout)
        if obs.scope not in self._begun:
            begun = self._begun[obs.scope] = {}
            # Collected at any moment, perhaps while a frame is sent: told with the next episode that begins.
            weakref.finalize(obs.scope, _drop, begun, self._dropped).atexit = False
        self._begun[obs.scope][obs.path] = number, channel
        while self._dropped:
            _forget(*self._dropped.pop())
        return number, channel

    async def _seat(self, channel: Channel, obs: Observation) -> Seat:
        seat = self.link.slot(obs.scope.env, obs.env_id, obs.seat, obs.spec, obs.agent.name)
        if self.link.unbound(channel):
            await channel.aask(self.link.bind(channel), self.timeout)
        return seat

    def end(self, obs: Observation) -> None:
        """The worker may forget the episode. Nobody waits for its answer."""
        begun = self._begun.get(obs.scope, {})
        while begun:
            _, (number, channel) = begun.popitem()
            if self.hello.feedback and not channel.gone:
                with contextlib.suppress(Gone):
                    channel.tell(Feedback(ep=[number], reward=[obs.reward], ended=[str(obs.status or "")]))
            _forget(number, channel, str(obs.status or ""))

    # -- decisions ----------------------------------------------------------------------------------------
    async def act(self, obs: Observation) -> Action | Fault:
        """One decision; shares its frame with all others that are due now."""
        answer: Action | Fault = await self._guarded(self._act, obs)
        return answer

    async def _guarded(self, work: Any, obs: Observation) -> Any:
        """The worker's troubles as the engine knows them."""
        channel = await self._channel()
        try:
            return await work(obs)
        except Gone:
            how = await asyncio.to_thread(self.link.fallen, channel)
            raise Failed(Fault("void", f"worker {self.name} {how}")) from None
        except TimeoutError as error:
            return Fault("timeout", str(error))
        except WireError as error:
            return Fault("error", str(error))

    async def _act(self, obs: Observation) -> Action | Fault:
        channel = await self._channel()
        seat = await self._seat(channel, obs)
        if self.hello.state == "own":
            begun = self._begun.get(obs.scope, {}).get(obs.path)
            ep, where = begun if begun is not None else await self._begin(obs)
            if where is not channel:
                raise Failed(Fault("void", f"worker {self.name} {self.link.reasons[-1]}"))
        else:
            ep = key64(obs.key())
        view = obs.view(seat.view)
        for attempt in range(RETRIES + 1):
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._queue(Row(obs, seat, ep, view, channel, future))
            try:
                answer = await future
            except WireError as error:
                if not error.retry or attempt == RETRIES:
                    raise
                obs.count("retries")
                continue
            late = self.link.late + channel.late
            if late > self._late:
                obs.count("late", late - self._late)
                self._late = late
            if self.snapshots and self.hello.saves and isinstance(answer, Action):
                answer.memo = (await channel.aask(Save(id=channel.number(), ep=ep), self.timeout)).data
            return answer
        raise AssertionError

    def _queue(self, row: Row) -> None:
        loop = asyncio.get_running_loop()
        queue = self._queues.setdefault(id(loop), [])
        queue.append(row)
        if len(queue) == 1:
            self._open.setdefault(id(loop), asyncio.Semaphore(INFLIGHT))
            loop.call_soon(self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        rows = self._queues.pop(id(loop), [])
        groups: dict[Any, list[Row]] = {}
        for row in rows:
            shape = getattr(row.view, "shape", None) if row.seat.view in ("array", "image") else None
            groups.setdefault((id(row.channel), shape, row.seat.spec["kind"]), []).append(row)
        width = max(1, self.hello.batch)
        for group in groups.values():
            for i in range(0, len(group), width):
                loop.create_task(self._send(group[i : i + width])).add_done_callback(_quiet)

    async def _send(self, rows: list[Row]) -> None:
        """One frame there and back. What is too large for one goes in two; trouble is each row's own."""
        channel, sent = rows[0].channel, time.monotonic()
        try:
            async with self._open[id(asyncio.get_running_loop())]:
                found = read_acts(await self._frame(channel, rows), len(rows))
            self.link.timeouts = 0
        except BadFrame as error:
            if len(rows) > 1:
                half = len(rows) // 2
                await self._send(rows[:half])
                await self._send(rows[half:])
                return
            found = [WireError(error.code, error.message)]
        except BaseException as error:
            if isinstance(error, TimeoutError):
                self.link.hang(channel, sent)
            for row in rows:
                if not row.future.done():
                    row.future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for row, answer in zip(rows, found, strict=True):
            if row.future.done():
                continue
            if isinstance(answer, WireError):
                row.future.set_exception(answer)
            else:
                row.future.set_result(answer)

    async def _frame(self, channel: Channel, rows: list[Row]) -> Any:
        message = act_message(channel.number(), rows)
        limits = [row.obs.deadline for row in rows if row.obs.deadline is not None]
        limit = min([self.timeout, *limits])
        message.deadline_ms = int(limit * 1000) if limits else 0
        if self.hello.feedback:
            told = [row for row in rows if row.obs.tick > 0]
            if told:
                channel.tell(Feedback(ep=[r.ep for r in told], reward=[r.obs.reward for r in told]))
        return await channel.aask(message, limit)


class RemoteColumns(Remote):
    """The same for workers that remember nothing and read arrays: whole columns travel as they are."""

    def seated(self, env: Any, seat: str) -> Seated:
        """The same in one seat of an environment, asked for columns."""
        return Seated(self, self.link.slot(env, env.id, seat, env.spec(seat), self.name).slot)

    def act_array(self, *columns: Any) -> Any:
        """Columns are asked of `seated(env, seat)`: they do not say which seat they are of."""
        raise CrossplayError(f"worker {self.name}: columns are asked of seated(env, seat)")


class Seated:
    """A worker in one seat: `act_array`, and what the engine writes of an agent."""

    def __init__(self, agent: RemoteColumns, slot: int) -> None:
        self.agent, self.slot, self.name = agent, slot, agent.name
        self.link, self.timeout, self.width = agent.link, agent.timeout, max(1, agent.hello.batch)

    def act_array(
        self, obs: np.ndarray, legal: np.ndarray | None, keys: np.ndarray, tick: np.ndarray, memo: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Decisions of k rows (see `kernel.Agent`); raises `Failed` when the worker is gone, or late."""
        link, width = self.link, self.width
        for last in (False, True):
            channel = link.channel
            try:
                if link.unbound(channel):
                    channel.ask(link.bind(channel), self.timeout)
                if len(keys) <= width:
                    return self._part(channel, obs, legal, keys, tick), None
                parts = [
                    self._part(channel, obs[at], None if legal is None else legal[at], keys[at], tick[at])
                    for at in (slice(i, i + width) for i in range(0, len(keys), width))
                ]
                return np.concatenate(parts), None
            except Gone:
                how = link.fallen(channel)
                if last:  # it remembers nothing, so another process may answer the same once
                    raise Failed(Fault("void", f"worker {self.name} {how}")) from None
            except TimeoutError as error:
                link.hang(channel, time.monotonic() - self.timeout)
                raise Failed(Fault("timeout", str(error))) from None
        raise AssertionError

    def _part(self, channel: Channel, obs: Any, legal: Any, keys: Any, tick: Any) -> np.ndarray:
        """The answers to so many rows as travel in one frame: whole numbers, or what single rows would have given."""
        rows = len(keys)
        if rows <= FEW:
            keys, tick = keys.tolist(), tick.tolist()
        message = Act(id=channel.number(), ep=keys, slot=self.slot, tick=tick, obs=obs, legal=legal)
        try:
            answer = channel.ask(message, self.timeout)
        except BadFrame:
            if rows == 1:
                raise
            cut = rows // 2
            halves = (slice(0, cut), slice(cut, rows))
            return np.concatenate(
                [self._part(channel, obs[h], None if legal is None else legal[h], np.asarray(keys)[h], np.asarray(tick)[h]) for h in halves]
            )  # fmt: skip
        self.link.timeouts = 0
        values = plain_values(answer, rows)
        if values is not None:
            return values
        odd = np.empty(rows, object)
        for i, one in enumerate(read_acts(answer, rows)):
            odd[i] = Fault("error", str(one)) if isinstance(one, WireError) else one
        return odd


def _drop(begun: dict[Any, tuple[int, Channel]], into: list[tuple[int, Channel]]) -> None:
    into += begun.values()


def _forget(number: int, channel: Channel, status: str = "") -> None:
    """Tell a worker that an episode is over."""
    if not channel.gone:
        with contextlib.suppress(Gone, WireError):
            channel.tell(End(id=channel.number(), ep=[number], status=[status]))


def _digests(words: Sequence[Any], folder: Path) -> dict[str, str]:
    """File -> the first 16 digits of its sha256, of what a command and a configuration name."""
    import hashlib

    found = {}
    for word in words:
        if isinstance(word, str) and 0 < len(word) < 1024 and (folder / word).is_file():
            with (folder / word).open("rb") as file:
                found[word] = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    return found


def _quiet(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
