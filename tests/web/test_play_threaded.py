"""Agents that think for long: one question at a time, in a thread that nothing waits for."""

import asyncio
import threading

import pytest

from crossplay.agents import make_agent
from crossplay.kernel import Agent, Block, Lineup, load, loop, make_env, play
from crossplay.kernel.drivers import aio, mode
from crossplay.web.play.threaded import Threaded, threaded


class Hangs(Agent):
    """Answers when it is let go; counts how many think at a time."""

    def __init__(self):
        self.name, self.go = "hangs", threading.Event()
        self.now = self.most = self.asked = 0

    def act(self, obs):
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        self.go.wait(20)
        self.now -= 1
        return 0


def kitchen(clock, ticks):
    env = make_env("kitchen/cramped_room", {"horizon": ticks}, clock)
    return env


def test_an_agent_that_hangs_holds_one_thread_and_misses_its_ticks():
    agent = Hangs()
    before = threading.active_count()

    async def work():
        env = kitchen("tick:100", 30)
        episode = play(env, Lineup({"p0": Threaded(agent), "p1": make_agent("noop")}))
        outcome = await asyncio.wait_for(aio(episode), 20)
        assert outcome.counts["p0"]["held"] == 30
        assert threading.active_count() <= before + 1
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 5) == "free"
        agent.go.set()

    asyncio.run(asyncio.wait_for(work(), 30))
    assert (agent.most, agent.asked) == (1, 1), "nobody waits for the answers to later ticks, so they are not asked for"


def test_seats_of_one_agent_are_asked_one_after_the_other():
    agent = Hangs()
    agent.go.set()
    both = Threaded(agent)

    async def work():
        return await aio(play(kitchen("wait", 5), Lineup({"p0": both, "p1": both})))

    outcome = asyncio.run(asyncio.wait_for(work(), 20))
    assert outcome.counts["p0"]["decisions"] == 5
    assert (agent.most, agent.asked) == (1, 10)


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration("no"), KeyError("no")])
def test_an_agent_that_raises_is_a_fault_as_anywhere_else(error):
    class Raises(Agent):
        name = "raises"

        def act(self, obs):
            if obs.tick == 1:
                raise error
            return 0

    async def work():
        return await aio(play(kitchen("wait", 3), Lineup({"p0": Threaded(Raises()), "p1": make_agent("noop")})))

    outcome = asyncio.run(asyncio.wait_for(work(), 20))
    assert outcome.counts["p0"]["error"] == 1
    alone = loop(play(kitchen("wait", 3), Lineup({"p0": Raises(), "p1": make_agent("noop")})))
    assert outcome.world == alone.world


def test_an_agent_whose_answer_has_to_be_awaited_is_awaited():
    class Later(Agent):
        name = "later"

        def act(self, obs):
            async def answer():
                return 1

            return answer()

    async def work():
        return await aio(play(kitchen("wait", 2), Lineup({"p0": Threaded(Later()), "p1": make_agent("noop")}), Block()))

    assert "invalid" not in asyncio.run(asyncio.wait_for(work(), 20)).counts["p0"]


def test_factories_say_which_agents_are_quick(monkeypatch):
    chef = make_agent("chef")
    assert threaded(chef, "chef") is chef
    monkeypatch.delattr(load("agents", "chef"), "quick")
    slow = threaded(chef, "chef")
    assert isinstance(slow, Threaded)
    assert mode(slow) == "async"
    assert (slow.name, slow.kind, slow.manifest()) == (chef.name, chef.kind, chef.manifest())
    assert not getattr(load("agents", "openspiel-bot"), "quick", False)
