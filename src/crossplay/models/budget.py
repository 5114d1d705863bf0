"""Budgets: what may be spent, checked before each call is sent."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from crossplay.kernel.types import CrossplayError, Usage
from crossplay.models.prices import Price
from crossplay.models.types import BudgetSpent

__all__ = ["Budget", "Ticket"]


class Ticket(msgspec.Struct, eq=False, gc=False):
    """What one call in flight may cost at most."""

    tokens: int
    money: float


class Budget:
    """Hard limits: calls, tokens (in and out), money (USD), wall_s (seconds since it was made).

    A call reserves its upper bound before it is sent and settles for what it was; so the sum can
    never go over, at the price that a run may stop a little early. None is no limit. What a backend
    sends again by itself, and may have to pay twice, is charged at its upper bound when the call settles.
    """

    def __init__(
        self,
        calls: int | None = None,
        tokens: int | None = None,
        money: float | None = None,
        wall_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, limit in (("calls", calls), ("tokens", tokens), ("money", money), ("wall_s", wall_s)):
            if limit is not None and limit < 0:
                raise CrossplayError(f"budget: {name} = {limit} must not be negative")
        self.calls, self.tokens, self.money, self.wall_s = calls, tokens, money, wall_s
        self._clock, self._start = clock, clock()
        self.spent = Usage()
        self.spent_money = 0.0
        self._held = Ticket(0, 0.0)  # the sum of what is in flight
        self._flying = 0

    def charge(self, usage: Usage, price: Price | None = None, cached: int = 0) -> None:
        """Count what was already spent (earlier in this call's life, or before a restart)."""
        self.spent.add(usage)
        if price is not None:
            self.spent_money += price.cost(usage.tok_in, usage.tok_out, cached)

    def reserve(self, bound: tuple[int, int], price: Price | None = None) -> Ticket:
        """Hold the upper bound (tokens in, tokens out) of a call, or raise `BudgetSpent`."""
        ticket, held = Ticket(bound[0] + bound[1], price.cost(*bound) if price else 0.0), self._held
        if self.calls is not None:
            self._check("calls", self.calls, self.spent.calls + self._flying, 1)
        if self.tokens is not None:
            self._check("tokens", self.tokens, self.spent.tok_in + self.spent.tok_out + held.tokens, ticket.tokens)
        if self.money is not None:
            self._check("money", self.money, self.spent_money + held.money, ticket.money)
        if self.wall_s is not None and (wall := self._clock() - self._start) >= self.wall_s:
            raise BudgetSpent(f"budget: {wall:.0f} s of wall_s = {self.wall_s:g} s are over; the call was not sent")
        held.tokens += ticket.tokens
        held.money += ticket.money
        self._flying += 1
        return ticket

    @staticmethod
    def _check(name: str, limit: float, now: float, more: float) -> None:
        if now + more > limit:
            raise BudgetSpent(
                f"budget: {name} = {limit:g} would be passed ({now:.6g} spent or in flight, "
                f"the next call may take {more:.6g}); the call was not sent. Raise the limit and resume"
            )

    def settle(self, ticket: Ticket, usage: Usage, price: Price | None = None, cached: int = 0) -> None:
        """Replace the reservation by what the call was (nothing, where it was not made)."""
        self._flying -= 1
        self._held.tokens -= ticket.tokens
        self._held.money = self._held.money - ticket.money if self._flying else 0.0  # no rounding is carried along
        self.charge(usage, price, cached)

    def release(self, ticket: Ticket) -> None:
        """The call was not made."""
        self.settle(ticket, Usage())
