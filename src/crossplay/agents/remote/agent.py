"""`Remote`: the agent whose decisions are made by a worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.agents.remote.link import Link
from crossplay.kernel import Action, Agent, CrossplayError, Failed, Fault, Msg, Observation, Usage
from crossplay.kernel.seeds import key64
from crossplay.wire.channel import Channel, Gone
from crossplay.wire.frames import WireError
from crossplay.wire.messages import Act, Acts, End, Load, Reset, Save, Seat

__all__ = ["Remote", "RemoteColumns"]

FEW = 16  # rows up to which a list of numbers is cheaper than an array
RETRIES = 2  # of an answer that says that asking again may help


class _Row:
    """One decision that waits to be sent."""

    __slots__ = ("ep", "future", "obs", "seat", "view")

    def __init__(self, obs: Observation, seat: Seat, ep: int, view: Any, future: asyncio.Future[Any]) -> None:
        self.obs, self.seat, self.ep, self.view, self.future = obs, seat, ep, view, future


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
        self._begun: dict[Any, tuple[int, Channel]] = {}  # address of a seat's episode -> its number, and where
        self._number = self._late = 0
        self._queues: dict[int, list[_Row]] = {}
        self._slots: dict[tuple[int, ...], int] = {}  # of columns, by the shape of a row

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
            if not self.link.unbound:
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
        await self._guarded(self._begin, obs, obs.memo)
        return None

    async def _channel(self) -> Channel:
        """The open connection; where the worker has to be started, the event loop goes on meanwhile."""
        return self.link.channel if self.link.alive else await asyncio.to_thread(lambda: self.link.channel)

    async def _begin(self, obs: Observation, saved: Any = None) -> int:
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
        self._begun[_address(obs)] = number, channel
        return number

    async def _seat(self, channel: Channel, obs: Observation) -> Seat:
        seat = self.link.slot(obs._scope.env, obs.env_id, obs.seat, obs.spec, obs.agent.name)
        if self.link.unbound:
            await channel.aask(self.link.bind(channel), self.timeout)
        return seat

    def end(self, obs: Observation) -> None:
        """The worker may forget the episode. Nobody waits for its answer."""
        if self.hello.state != "own":
            return
        mine = _address(obs)[:-1]
        for address in [a for a in self._begun if a[:-1] == mine]:
            number, channel = self._begun.pop(address)
            if not channel.gone:
                with contextlib.suppress(Gone):
                    channel.tell(End(id=channel.number(), ep=[number], status=[str(obs.status or "")]))

    # -- decisions ----------------------------------------------------------------------------------------
    async def act(self, obs: Observation) -> Action | Fault:
        """One decision; shares its frame with all others that are due now."""
        return await self._guarded(self._act, obs)

    async def _guarded(self, work: Any, *of: Any) -> Any:
        """The worker's troubles as the engine knows them."""
        channel = await self._channel()
        try:
            answer = await work(*of)
            self.link.timeouts = 0
            return answer
        except Gone:
            raise Failed(Fault("void", f"worker {self.name} {self.link.fallen(channel)}")) from None
        except TimeoutError as error:
            self.link.hang(channel)
            return Fault("timeout", str(error))
        except WireError as error:
            return Fault("error", str(error))

    async def _act(self, obs: Observation) -> Action | Fault:
        channel = await self._channel()
        seat = await self._seat(channel, obs)
        if self.hello.state == "own":
            ep, where = self._begun.get(_address(obs), (0, channel))
            if where is not channel:
                raise Failed(Fault("void", f"worker {self.name} {self.link.reasons[-1]}"))
            ep = ep or await self._begin(obs)
        else:
            ep = key64(obs.key())
        view = obs.view(seat.view)
        for attempt in range(RETRIES + 1):
            future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            self._queue(_Row(obs, seat, ep, view, future))
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

    def _queue(self, row: _Row) -> None:
        loop = asyncio.get_running_loop()
        queue = self._queues.setdefault(id(loop), [])
        queue.append(row)
        if len(queue) == 1:
            loop.call_soon(self._flush, loop)

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        rows = self._queues.pop(id(loop), [])
        groups: dict[Any, list[_Row]] = {}
        for row in rows:
            shape = getattr(row.view, "shape", None) if row.seat.view in ("array", "image") else None
            groups.setdefault((shape, row.seat.spec["kind"]), []).append(row)
        width = max(1, self.hello.batch)
        for group in groups.values():
            for i in range(0, len(group), width):
                task = loop.create_task(self._send(group[i : i + width]))
                task.add_done_callback(_quiet)

    async def _send(self, rows: list[_Row]) -> None:
        try:
            channel = await self._channel()
            message = act_message(channel.number(), rows)
            limits = [row.obs.deadline for row in rows if row.obs.deadline is not None]
            limit = min([self.timeout, *limits])
            message.deadline_ms = int(limit * 1000) if limits else 0
            answer = await channel.aask(message, limit)
            found = read_acts(answer, len(rows))
        except BaseException as error:
            for row in rows:
                if not row.future.done():
                    row.future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for row, (action, counts) in zip(rows, found, strict=True):
            for name, n in counts.items():
                row.obs.count(name, n)
            if row.future.done():
                continue
            if isinstance(action, WireError):
                row.future.set_exception(action)
            else:
                row.future.set_result(action)


class RemoteColumns(Remote):
    """The same for workers that remember nothing and read arrays: whole columns travel as they are."""

    def act_array(
        self, obs: np.ndarray, legal: np.ndarray | None, keys: np.ndarray, tick: np.ndarray, memo: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Decisions of k seats (see `kernel.Agent`); raises `Failed` when the worker is gone, or late."""
        link = self.link
        for last in (False, True):
            channel = link.channel
            try:
                if link.unbound:
                    channel.ask(link.bind(channel), self.timeout)
                slot, width = self._slots.get(obs.shape[1:], -1), self.hello.batch
                answer = (
                    self._part(channel, slot, obs, legal, keys, tick, memo)
                    if len(keys) <= width
                    else self._parts(channel, slot, obs, legal, keys, tick, memo)
                )
                link.timeouts = 0
                return answer
            except Gone:
                how = link.fallen(channel)
                if last:  # it remembers nothing, so another process may answer the same once
                    raise Failed(Fault("void", f"worker {self.name} {how}")) from None
            except TimeoutError as error:
                link.hang(channel)
                raise Failed(Fault("timeout", str(error))) from None
        raise AssertionError

    def _parts(
        self, channel: Channel, slot: int, obs: Any, legal: Any, keys: Any, tick: Any, memo: Any
    ) -> tuple[Any, Any]:
        """More rows than the worker takes at once, in several frames."""
        width = max(1, self.hello.batch)
        parts = []
        for i in range(0, len(keys), width):
            some = slice(i, i + width)
            masks, memos = None if legal is None else legal[some], None if memo is None else memo[some]
            parts.append(self._part(channel, slot, obs[some], masks, keys[some], tick[some], memos))
        kept = [m for _, m in parts if m is not None]
        return np.concatenate([v for v, _ in parts]), np.concatenate(kept) if kept else None

    def _part(
        self, channel: Channel, slot: int, obs: Any, legal: Any, keys: Any, tick: Any, memo: Any
    ) -> tuple[Any, Any]:
        """The answers to so many rows as travel in one frame."""
        rows = len(keys)
        if rows <= FEW:
            keys, tick = keys.tolist(), tick.tolist()
        message = Act(id=channel.number(), ep=keys, slot=slot, tick=tick, obs=obs, legal=legal, memo=memo)
        answer = channel.ask(message, self.timeout)
        if type(answer) is not Acts or answer.faults or len(answer.values) != rows:
            read_acts(answer, rows)  # raises where the whole answer is none
            raise WireError("INTERNAL", f"rows {sorted(answer.faults)}: {list(answer.faults.values())[:1]}")
        return np.array(answer.values, np.int64), None if answer.memo is None else np.array(answer.memo)

    def seated(self, env: Any, seats: Sequence[str]) -> None:
        """Which seats the columns that follow are of; raises `CrossplayError` where they differ in what may be done."""
        found = [self.link.slot(env, env.id, seat, env.spec(seat), self.name) for seat in seats]
        if len({(str(s.spec), tuple(s.shape)) for s in found}) > 1:
            raise CrossplayError(f"worker {self.name}: its seats in {env.id} differ in shapes or actions")
        self._slots[tuple(found[0].shape)] = found[0].slot


def act_message(number: int, rows: Sequence[_Row]) -> Act:
    """One act of these rows, as columns."""
    first = rows[0]
    arrays = first.seat.view in ("array", "image")
    message = Act(
        id=number,
        ep=[r.ep for r in rows],
        slot=[r.seat.slot for r in rows],
        tick=[r.obs.tick for r in rows],
        obs=np.stack([r.view for r in rows]) if arrays else [r.view for r in rows],
    )
    masks = [r.obs.legal for r in rows]
    if any(m is not None for m in masks):
        sizes = {None if m is None else len(m) for m in masks}
        message.legal = np.array(masks, bool) if len(sizes) == 1 else [None if m is None else list(m) for m in masks]
    rewards = [r.obs.reward for r in rows]
    if any(rewards):
        message.reward = np.array(rewards, np.float64)
    if any(r.obs.memo is not None for r in rows):
        message.memo = [r.obs.memo for r in rows]
    for i, row in enumerate(rows):
        obs = row.obs
        if obs.last is not None and obs.last[1] != "own":
            message.last[i] = list(obs.last)
        if obs.inbox:
            message.inbox[i] = [[m.dst, m.body, m.channel, m.src, m.tick] for m in obs.inbox]
        if obs.brief or obs.wants:
            message.brief[i] = {"text": obs.brief, "wants": list(obs.wants)}
    return message


def read_acts(message: Any, rows: int) -> list[tuple[Action | Fault | WireError, Mapping[str, int]]]:
    """(answer, counters) of each row; a `WireError` where asking again may help. Raises `WireError` where the whole
    answer is none.
    """
    if not isinstance(message, Acts):
        raise WireError("BAD_VALUE", f"an act is answered with acts, not {type(message).__name__.lower()}")
    values = (
        message.values.tolist()
        if isinstance(message.values, np.ndarray) and message.values.ndim == 1
        else message.values
    )
    try:
        if len(values) != rows:
            raise WireError("BAD_VALUE", f"{len(values)} answers to {rows} rows")
        found: list[tuple[Action | Fault | WireError, Mapping[str, int]]] = []
        for i in range(rows):
            says = [Msg(str(m[0]), m[1], str(m[2]) if len(m) > 2 else "main") for m in message.says.get(i, ())]
            counts = {str(k)[:40]: _number(n) for k, n in message.counts.get(i, {}).items()}
            if i in message.faults:
                code, text, *again = message.faults[i]
                fault: Any = WireError(code, text, True) if again == [True] else Fault("error", f"{code}: {text}", says)
                found.append((fault, counts))
                continue
            action = Action(values[i], says, message.confidence.get(i), message.why.get(i))
            if message.memo is not None:
                action.memo = message.memo[i]
            if i in message.usage:
                action.usage = Usage(*(_number(n) for n in message.usage[i][:4]))
            found.append((action, counts))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise WireError("BAD_VALUE", f"acts: {error}") from None
    return found


def _number(value: Any) -> int:
    """A count as it may be summed and stored; raises `ValueError`."""
    if not isinstance(value, (int, float)) or not 0 <= value <= _MOST:
        raise ValueError(f"{value!r} is no count")
    return int(value)


_MOST = 1 << 53


def _address(obs: Observation) -> tuple[Any, ...]:
    """The seat of an episode, and the path within it (members of teams)."""
    root, env_id, block, replicate, seat, _, path = obs.ordinal
    return root, env_id, block, replicate, seat, path


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
