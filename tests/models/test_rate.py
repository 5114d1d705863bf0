"""How many calls are in flight and how fast they go, on a clock of the test's own and on a server."""

import asyncio
import threading

import pytest
from asked import handle, request
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.models import Door, HttpBackend
from crossplay.models.loopback import Loopback, Said
from crossplay.models.rate import GROW_AFTER, Limiter, Rate, Throttle


def test_a_refusal_halves_once_and_successes_grow():
    async def run():
        limiter = Limiter(8)
        entered = [await limiter.enter() for _ in range(8)]
        for number in entered:  # all eight were in flight together: one halving
            limiter.refused(number)
            limiter.leave()
        assert (limiter.limit, limiter.halved, limiter.flying) == (4, 1, 0)
        for _ in range(5):
            limiter.refused(await limiter.enter())
            limiter.leave()
        assert limiter.limit == 1  # never below
        for step in range(GROW_AFTER * 20):
            limiter.good()
            assert limiter.limit == min(8, 1 + (step + 1) // GROW_AFTER)
        assert limiter.limit == 8  # never over the ceiling

    asyncio.run(run())


def test_places_are_given_in_the_order_of_asking_and_none_is_lost():
    order = []

    async def call(limiter, i, cut):
        await limiter.enter()
        order.append(i)
        assert limiter.flying <= limiter.limit
        await asyncio.sleep(0)
        limiter.leave()

    async def run():
        limiter = Limiter(3)
        tasks = [asyncio.ensure_future(call(limiter, i, False)) for i in range(30)]
        await asyncio.sleep(0)
        for i in (5, 9, 10):
            tasks[i].cancel()  # while it waits: its place goes to nobody, the others still go
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(d, asyncio.CancelledError) for d in done) == 3
        assert limiter.flying == 0

    asyncio.run(run())
    assert order == [i for i in range(30) if i not in (5, 9, 10)]


@given(st.lists(st.sampled_from(["enter", "leave", "cancel", "refused", "good"]), max_size=60), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_no_more_fly_than_were_allowed_and_all_go_in_the_end(moves, ceiling):
    async def run():
        limiter = Limiter(ceiling)
        waiting, inside = [], []

        async def settle():
            for _ in range(3):
                await asyncio.sleep(0)
            for task in [t for t in waiting if t.done()]:
                waiting.remove(task)
                if not task.cancelled():
                    inside.append(task.result())

        for move in moves:
            if move == "enter":
                waiting.append(asyncio.ensure_future(limiter.enter()))
            elif move == "leave" and inside:
                inside.pop()
                limiter.leave()
            elif move == "cancel" and waiting:
                waiting[-1].cancel()
            elif move == "refused" and inside:
                limiter.refused(inside[-1])
            elif move == "good":
                limiter.good()
            await settle()
            assert 1 <= limiter.limit <= ceiling
            assert len(inside) == limiter.flying <= ceiling
        for _ in range(200):
            if not waiting and not inside:
                break
            if inside:
                inside.pop()
                limiter.leave()
            await settle()
        assert not waiting
        assert limiter.flying == 0

    asyncio.run(run())


def test_a_hold_keeps_new_calls_back_and_ends():
    now, slept = [100.0], []

    async def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    async def run():
        limiter = Limiter(16, clock=lambda: now[0], sleep=sleep)
        limiter.refused(await limiter.enter(), 7.0)
        limiter.leave()
        await limiter.enter()
        assert slept == [7.0]
        limiter.refused(limiter.halved, 1e9)  # an absurd wish is not obeyed for ever
        await limiter.enter()
        assert slept == [7.0, 60.0]

    asyncio.run(run())


def test_places_pass_between_event_loops():
    limiter = Limiter(1)
    order = []

    def worker(name):
        async def run():
            for _ in range(20):
                await limiter.enter()
                order.append(name)
                assert limiter.flying == 1
                await asyncio.sleep(0.001)
                limiter.leave()

        asyncio.run(run())

    threads = [threading.Thread(target=worker, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(timeout=30)
    assert sorted(order) == sorted([0, 1, 2] * 20)
    assert limiter.flying == 0


def test_calls_go_out_in_the_order_they_came_and_unused_tokens_return():
    now, order = [0.0], []

    async def sleep(seconds):
        order.append(round(now[0] + seconds, 6))

    async def run():
        rate = Rate(rpm=None, tpm=600, clock=lambda: now[0], sleep=sleep)
        for _ in range(4):
            await rate.take(300)
        assert order == [30.0, 60.0]
        rate.give_back(600)
        await rate.take(300)
        assert order == [30.0, 60.0, 30.0]

    asyncio.run(run())


def test_who_stops_waiting_gives_back_what_it_took():
    async def run():
        rate = Rate(rpm=None, tpm=600, clock=lambda: 0.0)
        await rate.take(600)
        waiting = asyncio.ensure_future(rate.take(300))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert rate._level[1] == pytest.approx(0.0)

    asyncio.run(run())


def test_one_throttle_for_all_who_ask_one_model_at_the_lowest_limits():
    a = HttpBackend("a", url="http://h/v1", model="x", concurrency=8, rpm=60)
    b = HttpBackend("b", url="http://h/v1/", model="x", concurrency=5, tpm=100)
    c = HttpBackend("c", url="http://h/v1", model="y")
    assert a.throttle is b.throttle
    assert c.throttle is not a.throttle
    assert (a.throttle.limiter.limit, a.throttle.rate._limits) == (5, [60, 100])
    assert Throttle.shared(("http://h/v1", "x", ""), 90, None, 9) is a.throttle
    assert (a.throttle.limiter.ceiling, a.throttle.rate._limits) == (5, [60, 100])


def test_an_endpoint_that_takes_four_at_a_time_is_asked_fewer_at_a_time():
    """32 calls against a server that refuses the fifth in flight: all are answered, and it is asked less."""
    with Loopback(latency_s=0.02) as server:
        refuse = Said(status=429, headers={"Retry-After": "0"})
        server.script = lambda n, body: refuse if server.flying >= 4 else None
        door = Door(
            {
                "m": {
                    "backend": "http",
                    "url": server.url,
                    "model": "hash",
                    "paid": False,
                    "base_s": 0.01,
                    "attempts": 30,
                    "concurrency": 32,
                }
            }
        )
        at = handle()

        async def run():
            try:
                return await door.model("m").generate([request(f"{i}") for i in range(32)], at=at)
            finally:
                await door.model("m").backend.aclose()

        replies = asyncio.run(run())
        limiter = door.model("m").backend.throttle.limiter
    assert len(replies) == 32
    assert at.counts["retry"] == sum(r.attempts - 1 for r in replies) > 0
    assert limiter.halved >= 2
    assert limiter.limit < 32
    assert limiter.flying == 0
