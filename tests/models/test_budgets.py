"""Limits hold before sending, whatever is in flight, and count what an earlier process has spent."""

import asyncio

import pytest
from asked import handle, request
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import Usage
from crossplay.models import Budget, BudgetSpent, Door, ModelDown, ModelError, Reply, ScriptedBackend
from crossplay.models.prices import Price
from crossplay.records.cassette import Cassette

AT_ONCE = 64
PRICE = Price(input=3.0, output=9.0)


class Moody(ScriptedBackend):
    """Takes a drawn share of its bound, or fails, or is down; knows what it was really sent."""

    def __init__(self, fates):
        super().__init__("m", concurrency=AT_ONCE, price={"input": 3.0, "output": 9.0})
        self.fates, self.spent, self.money = fates, Usage(), 0.0

    async def generate(self, requests, keys=()):
        kind, share, pause = self.fates[self.calls % len(self.fates)]
        self.calls += 1
        self.spent.calls += 1
        await asyncio.sleep(pause)
        if kind == "down":
            self.spent.calls -= 1
            raise ModelDown("gone")
        if kind == "error":
            return [ModelError("no", "server")]
        tok_in, tok_out = (int(b * share) for b in requests[0].bound())
        self.spent.add(Usage(0, tok_in, tok_out))
        self.money += PRICE.cost(tok_in, tok_out)
        return [Reply(text="ok", usage=Usage(1, tok_in, tok_out))]


fates = st.lists(
    st.tuples(st.sampled_from(["ok", "ok", "ok", "error", "down"]), st.floats(0, 1), st.sampled_from([0, 0.0, 0.0005])),
    min_size=1,
    max_size=12,
)


@given(fates=fates, calls=st.integers(0, 90), tokens=st.integers(0, 30_000), money=st.floats(0, 0.2))
@settings(max_examples=40, deadline=None)
def test_no_limit_is_passed_with_64_calls_in_flight(fates, calls, tokens, money):
    backend = Moody(fates)
    budget = Budget(calls=calls, tokens=tokens, money=money)
    door = Door({"m": backend}, budget=budget)

    async def rush():
        model = door.model("m")
        asked = (model.generate([request(f"q{i}", max_tokens=40)], at=handle(tick=i)) for i in range(100))
        return await asyncio.gather(*asked, return_exceptions=True)

    done = asyncio.run(rush())
    assert {type(d) for d in done} <= {list, BudgetSpent, ModelError, ModelDown}
    assert backend.spent.calls <= calls
    assert backend.spent.tok_in + backend.spent.tok_out <= tokens
    assert backend.money <= money * (1 + 1e-9)
    assert budget.spent == backend.spent and budget._flying == 0 and budget._held.tokens == 0
    assert len(door.cassette) == sum(isinstance(d, (list, ModelError)) for d in done)  # no intent of what was not sent


def test_the_wall_is_checked_before_each_call():
    now = [0.0]
    door = Door({"m": ScriptedBackend("m")}, budget=Budget(wall_s=10, clock=lambda: now[0]))

    def ask(tick):
        return asyncio.run(door.model("m").generate([request()], at=handle(tick=tick)))

    ask(0)
    now[0] = 10.0
    with pytest.raises(BudgetSpent, match="10 s of wall_s"):
        ask(1)
    assert door.model("m").backend.calls == 1


def test_what_was_in_flight_at_a_kill_counts_at_its_upper_bound(tmp_path):
    """Nobody knows whether it was paid, so the limit must hold if it was."""
    asked = request("what?", max_tokens=100)
    door = Door({"m": ScriptedBackend("m", latency_s=60)}, Cassette(tmp_path))

    async def cut():
        task = asyncio.ensure_future(door.model("m").generate([asked], at=handle()))
        while not door.cassette.counts().get("intent"):
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(cut())  # the loop ends with the call in flight
    door.cassette.close()
    budget = Budget(calls=10, tokens=10_000)
    resumed = Door({"m": ScriptedBackend("m")}, Cassette(tmp_path), budget)
    asyncio.run(resumed.model("m").generate([asked], at=handle()))
    tok_in, tok_out = asked.bound()
    assert budget.spent.calls == 2
    assert budget.spent.tok_in + budget.spent.tok_out >= tok_in + tok_out + 100
    resumed.cassette.close()
    again = Budget(calls=2)
    with pytest.raises(BudgetSpent):
        door = Door({"m": ScriptedBackend("m")}, Cassette(tmp_path), again)
        asyncio.run(door.model("m").generate([request("more")], at=handle(tick=5)))


def test_cached_tokens_and_doubted_figures_are_counted_on_the_handle():
    class Odd(ScriptedBackend):
        async def generate(self, requests, keys=()):
            return [Reply(text="x", usage=Usage(1, 10, 1), cached=7, doubt="usage schema")]

    door, at = Door({"m": Odd("m")}), handle()
    asyncio.run(door.model("m").generate([request()], at=at))
    assert at.counts == {"tok_cached": 7, "usage_doubted": 1, "schema_doubted": 1}
    again = handle()
    asyncio.run(door.model("m").generate([request()], at=again))
    assert again.counts == at.counts  # a replay counts as the record did
