"""Calls on their way: each is sent once, within the budget, and goes on when the agent that asked has left."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from weakref import WeakKeyDictionary

from crossplay.kernel.obs import Observation
from crossplay.kernel.types import Usage
from crossplay.models._calls import NOTED, Asked, Done
from crossplay.models.budget import Budget, Ticket
from crossplay.models.types import ModelDown
from crossplay.records.cassette import Cassette, Commit, Row

__all__ = ["Flights"]

Opened = tuple[Ticket | None, Commit[Row]]
"""What is held of the budget for a call, and its intent on the way to the disk."""


class Gate:
    """How many calls are at one model at once; who comes first goes first."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, width: int) -> None:
        self._free = width
        self._waiting: deque[asyncio.Future[None]] = deque()

    def enter(self) -> bool:
        """Take a place, if one is free."""
        if self._free < 1:
            return False
        self._free -= 1
        return True

    async def turn(self) -> None:
        """Take a place when one is free."""
        if self.enter():
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # the place was given in the same moment: it goes to the next
                self.leave()
            raise

    def leave(self) -> None:
        """Give the place to the next who waits."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


class Flight:
    """A call on its way, and who waits for it. A waiter may leave; the call goes on."""

    __slots__ = ("_waiters", "loop", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[Row]] = []

    def waiter(self) -> asyncio.Future[Row]:
        """What the row of the call is given to, or its error."""
        waiter: asyncio.Future[Row] = self.loop.create_future()
        self._waiters.append(waiter)
        return waiter

    def land(self, row: Row | None, error: BaseException | None) -> None:
        """The call is over; without a row and an error it was cut off."""
        for waiter in self._waiters:
            if waiter.done():  # whoever waited was cancelled
                continue
            if row is not None:
                waiter.set_result(row)
            elif error is not None:
                waiter.set_exception(error)
            else:
                waiter.cancel()


class Flights:
    """The calls that are on their way."""

    def __init__(self, cassette: Cassette, budget: Budget | None) -> None:
        self._cassette, self._budget = cassette, budget
        self._gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Gate]] = WeakKeyDictionary()
        self._flying: dict[bytes, Flight] = {}
        self._asking: dict[bytes, asyncio.Task[Row]] = {}  # by request: the sendings that others share

    async def drain(self) -> None:
        """Wait for all calls of this event loop."""
        here = asyncio.get_running_loop()
        await asyncio.gather(*(f.waiter() for f in self._flying.values() if f.loop is here), return_exceptions=True)

    async def row(self, asked: Asked, at: Observation) -> Row:
        """The settled row of a call, which is made unless it is on its way."""
        call = asked.call
        loop = asyncio.get_running_loop()
        flight = self._flying.get(call.key)
        if flight is None or flight.loop is not loop:
            flight = self._take_off(asked, loop)
        waiter = flight.waiter()
        try:
            # A cancelled agent leaves its call in flight: it is paid, so its answer is kept.
            return await waiter
        except asyncio.CancelledError:
            at.note(NOTED[asked.kind], {asked.kind: call.model, "call": call.key.hex(), "cut": True}, Usage(calls=1))
            raise

    def _take_off(self, asked: Asked, loop: asyncio.AbstractEventLoop) -> Flight:
        """Begin a call. Its task starts when the intent is committed, so that nothing has to wait for that;
        or now, where the call has to wait for its turn or for another's answer.
        """
        key, gate = asked.call.key, self._gate(asked.gate, loop)
        flight = Flight(loop)

        if asked.same or not (gate is None or gate.enter()):
            self._flying[key] = flight
            flight.task = loop.create_task(self._fly(asked, flight, gate, None))
            return flight
        before = self._flying.get(key)  # of an event loop that has ended
        self._flying[key] = flight
        try:
            opened = self._open(asked)
        except BaseException:
            if before is None:
                del self._flying[key]
            else:
                self._flying[key] = before
            if gate is not None:
                gate.leave()
            raise
        if opened[1].ready:
            flight.task = loop.create_task(self._fly(asked, flight, gate, opened))
        else:
            opened[1].then(partial(self._start, asked, flight, gate, opened))
        return flight

    def _start(self, asked: Asked, flight: Flight, gate: Gate | None, opened: Opened) -> None:
        flight.task = flight.loop.create_task(self._fly(asked, flight, gate, opened))

    async def _fly(self, asked: Asked, flight: Flight, gate: Gate | None, opened: Opened | None) -> None:
        """Make a call; its row, or its error, goes to those who still wait for it."""
        kept: Commit[Row] | None = None
        failed: Exception | None = None
        try:
            if opened is not None:
                kept = await self._sent(asked, gate, opened)
            elif asked.same:
                kept = Commit(None, (), await self._share(asked, gate))
            else:
                kept = await self._queued(asked, gate)
        except Exception as error:
            failed = error
        finally:
            if kept is None:
                self._land(asked, flight, None, failed)
        if kept is None:
            return
        if kept.ready:
            self._land(asked, flight, kept, None)
        else:
            kept.then(partial(self._land, asked, flight, kept, None))

    def _land(self, asked: Asked, flight: Flight, kept: Commit[Row] | None, failed: BaseException | None) -> None:
        """A call is over: its answer is committed, or it failed, or was cut off."""
        if self._flying.get(asked.call.key) is flight:
            del self._flying[asked.call.key]
        row: Row | None = None
        if kept is not None:
            try:
                row = kept.get()
            except Exception as error:
                failed = error
        flight.land(row, failed)

    async def _share(self, asked: Asked, gate: Gate | None) -> Row:
        """The row of a request; one that was answered before, or is being answered now, is not sent again."""
        call = asked.call
        first = self._asking.get(call.digest)
        if first is None or first.get_loop() is not asyncio.get_running_loop():
            row = self._cassette.same(call.digest)
            if row is None:
                first = asyncio.ensure_future(self._alone(asked, gate))
                self._asking[call.digest] = first
                first.add_done_callback(lambda _: self._asking.pop(call.digest, None))
                return await first
        else:
            row = await asyncio.shield(first)
        if row.reply is None or row.status != "answered":
            return await self._alone(asked, gate)
        return self._cassette.share(call, asked.bare(row.reply))

    async def _alone(self, asked: Asked, gate: Gate | None) -> Row:
        """The row of a call, sent when its turn comes."""
        return await (await self._queued(asked, gate))

    async def _queued(self, asked: Asked, gate: Gate | None) -> Commit[Row]:
        """As _sent, when its turn comes."""
        if gate is not None:
            await gate.turn()
        try:
            opened = self._open(asked)
        except BaseException:
            if gate is not None:
                gate.leave()
            raise
        return await self._sent(asked, gate, opened)

    def _open(self, asked: Asked) -> Opened:
        """Hold what a call may cost, and log it."""
        budget = self._budget if asked.bound is not None else None
        price = asked.price() if budget is not None and budget.money is not None else None
        ticket = budget.reserve(asked.bound or (0, 0), price) if budget is not None else None
        try:
            return ticket, self._cassette.intend(asked.call, asked.harmless)
        except BaseException:
            if budget is not None and ticket is not None:
                budget.release(ticket)
            raise

    async def _sent(self, asked: Asked, gate: Gate | None, opened: Opened) -> Commit[Row]:
        """Make a call whose intent is logged; the commit of what came of it. Leaves its place at the gate."""
        ticket, intent = opened
        done: Done | None = None
        row: Row | None = None
        try:
            row = intent.get() if intent.ready else await intent
            done = await asked.send(row.idempotency)
            keep = self._cassette.fail if done.failed else self._cassette.answer
            return keep(row, done.reply, done.usage, done.attempts, done.doubtful)
        except ModelDown as error:
            if row is not None:
                await self._cassette.withdraw(row, error.doubtful)
            raise
        finally:
            if gate is not None:
                gate.leave()
            if ticket is not None and self._budget is not None:
                self._settle(self._budget, ticket, asked, done or Done(b""))

    @staticmethod
    def _settle(budget: Budget, ticket: Ticket, asked: Asked, done: Done) -> None:
        """Count what a call was against the budget."""
        price = asked.price() if budget.money is not None else None
        budget.settle(ticket, done.usage, price, done.cached)
        if lost := done.doubtful:
            tok_in, tok_out = asked.bound or (0, 0)
            budget.charge(Usage(0 if done.failed else lost, lost * tok_in, lost * tok_out), price)

    def _gate(self, gate: tuple[str, int] | None, loop: asyncio.AbstractEventLoop) -> Gate | None:
        if gate is None:
            return None
        name, width = gate
        gates = self._gates.get(loop)
        if gates is None:
            gates = self._gates[loop] = {}
        if name not in gates:
            gates[name] = Gate(width)
        return gates[name]
