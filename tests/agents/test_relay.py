"""relay: whose turn it is, what each remembers, what the successor is given to read."""

from __future__ import annotations

import asyncio

import pytest

from crossplay.agents import make_agent
from crossplay.agents.context import Context
from crossplay.agents.relay import Relay, relay
from crossplay.envs.maze import family
from crossplay.kernel import Action, Agent, Block, CrossplayError, Fault, Msg, aio, loop, play


class Speaker(Agent):
    """Says its name and turn, keeps what it read in its memo."""

    def __init__(self, name: str, read: list) -> None:
        self.name, self.read = name, read

    def begin(self, obs):
        return [f"{self.name} began"]

    def act(self, obs):
        self.read.append((obs.seat, self.name, list(obs.memo), [(m.src, m.body) for m in obs.inbox]))
        return Action("talk", [Msg("*", f"{self.name}{obs.tick}")], memo=[*obs.memo, obs.tick])


class Waiter(Speaker):
    async def act(self, obs):
        return Speaker.act(self, obs)


@pytest.mark.parametrize("kinds", [(Speaker, Speaker), (Waiter, Speaker), (Speaker, Waiter)])
def test_the_successor_reads_what_was_said_and_remembers_its_own(kinds) -> None:
    read: list = []
    both = Relay(kinds[0]("one", read), kinds[1]("two", read), at=2)
    env = family.make("joint", {"turns": 8})
    o = asyncio.run(aio(play(env, {"a": both, "b": Speaker("b", [])}, Block(0, 0))))
    assert o.status == "horizon" and o.counts["a"]["handoffs"] == 1
    assert read == [
        ("a", "one", ["one began"], []),
        ("a", "one", ["one began", 0], [("b", "b1")]),
        ("a", "two", ["two began"], [("a", "one0"), ("b", "b1"), ("a", "one2"), ("b", "b3")]),
        ("a", "two", ["two began", 4], [("b", "b5")]),
    ]


class Absent(Agent):
    def act(self, obs):
        return Fault("error", "gone")


def test_a_turn_without_an_answer_is_a_turn() -> None:
    read: list = []
    env = family.make("joint", {"turns": 6})
    o = loop(play(env, {"a": Relay(Absent(), Speaker("two", read), 2), "b": Speaker("b", [])}, Block(0, 0)))
    assert [r[1] for r in read] == ["two"] and o.counts["a"]["error"] == 2


def test_made_from_a_table() -> None:
    made = relay("", {"first": "random", "then": {"type": "first-legal"}, "at": 3}, Context())
    assert made.name == "random>first-legal@3" and made.at == 3
    with pytest.raises(CrossplayError, match='"then" is missing'):
        relay("", {"first": "random", "then": None, "at": 1}, Context())
    env = family.make("joint", {})
    with pytest.raises(CrossplayError, match="strategy: plays matrix"):
        Relay(make_agent("random"), make_agent("strategy:grim"), 1).check(env, "a")
