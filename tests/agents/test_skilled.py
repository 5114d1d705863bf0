"""`Skilled`: any agent chooses skills; the engine sees primitive actions only."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from crossplay.agents import Skilled
from crossplay.envs.kitchen import family
from crossplay.kernel import (
    Action,
    Agent,
    Block,
    CrossplayError,
    Fault,
    Msg,
    Observation,
    Outcome,
    aio,
    batch,
    loop,
    make_env,
    pack,
    play,
)

WORK = ("serve", "take_soup", "pot_onion")


def choose(obs: Observation) -> str:
    """Useful work first; a dish, now and then, once a pot cooks; full hands are freed now and then."""
    names = obs.names()
    for skill in WORK:
        if skill in names:
            return skill
    cooking = any(p["tick"] >= 0 for p in obs.view("data")["pots"])
    if "get_onion" in names:
        return "get_dish" if cooking and obs.pick(2) else "get_onion"
    return "put_down" if "put_down" in names and obs.pick(3) == 0 else "wait"


class Planner(Agent):
    """Counts its own decisions in its memo, and talks now and then."""

    name = "planner"

    def begin(self, obs: Observation) -> Any:
        return {"asked": 0, "heard": 0, "earned": 0.0}

    def answer(self, obs: Observation) -> Action:
        m = obs.memo
        memo = {"asked": m["asked"] + 1, "heard": m["heard"] + len(obs.inbox), "earned": m["earned"] + obs.reward}
        said = [Msg("*", "soup!")] if m["asked"] % 3 == 0 else []
        return Action(choose(obs), said, memo=memo)

    def act(self, obs: Observation) -> Any:
        return self.answer(obs)


class AsyncPlanner(Planner):
    async def begin(self, obs: Observation) -> Any:
        return Planner.begin(self, obs)

    async def act(self, obs: Observation) -> Any:
        await asyncio.sleep(0)
        return self.answer(obs)


class BatchPlanner(Planner):
    def __init__(self) -> None:
        self.widths: list[int] = []

    def act_batch(self, requests: list[Observation]) -> list[Any]:
        self.widths.append(len(requests))
        return [self.answer(obs) for obs in requests]


def game(agent: Agent, block: int = 0) -> Any:
    return play(family.make("cramped_room", {}), {"p0": agent, "p1": agent}, Block(2, block))


def asked(outcome: Outcome, seat: str) -> int:
    return outcome.counts[seat]["skills"]


def test_skills_bring_soups_and_are_counted() -> None:
    outcome = loop(game(Skilled(Planner())))
    assert outcome.score["return"] >= 60
    assert all(20 < asked(outcome, s) < 250 for s in ("p0", "p1"))
    acts = [e for e in outcome.events if e.kind == "act"] if hasattr(outcome.events[0], "kind") else outcome.events
    values = [e[5] for e in acts if e[3] == "act"]
    assert len(values) == 800 and set(values) <= set(range(6)), "the engine plays primitives"


def test_plain_async_and_batched_inner_agents_play_the_same() -> None:
    plain = loop(game(Skilled(Planner())))
    slow = asyncio.run(aio(game(Skilled(AsyncPlanner()))))
    wide = BatchPlanner()
    agent = Skilled(wide)
    many = {e.at.block: o for e, o in batch([game(agent, b) for b in range(4)])}
    assert plain.world == slow.world == many[0].world == loop(game(Skilled(AsyncPlanner()))).world
    assert plain.counts == slow.counts == many[0].counts
    assert plain.mind == slow.mind
    assert 1 < max(wide.widths) <= 8


class Watch(Agent):
    """Keeps what it was shown."""

    name = "watch"

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def act(self, obs: Observation) -> Any:
        self.seen.append((obs.tick, obs.spec.names, obs.names(), obs.rules, obs.last, obs.memo, obs.reward, obs.inbox))
        return Action(choose(obs), memo={"n": (obs.memo or {"n": 0})["n"] + 1})


def test_the_inner_agent_sees_skills_its_own_memo_and_everything_that_came_meanwhile() -> None:
    watch = Watch()
    env = family.make("cramped_room", {})
    outcome = loop(play(env, {"p0": Skilled(watch), "p1": Skilled(Planner())}, Block(2, 0)))
    assert len(watch.seen) == asked(outcome, "p0")
    ticks = [s[0] for s in watch.seen]
    assert ticks[0] == 0 and max(b - a for a, b in itertools.pairwise(ticks)) > 3
    names = env.skills.names
    for n, (_, spec, legal, rules, last, memo, _, _) in enumerate(watch.seen):
        assert spec == names and set(legal) <= set(names) and "wait" in legal
        assert (
            rules.startswith(env.skills.rules)
            and "interact uses" not in rules
            and all(f"- {name}: " in rules for name in names)
        )
        assert memo == (None if n == 0 else {"n": n})
        assert last is None if n == 0 else 0 <= last[0] < len(names)
    told = sum(len(s[7]) for s in watch.seen)
    said = sum(e[3] == "mail" for e in outcome.events)
    assert 0 <= said - told <= 3, "no message is lost while a skill runs, only those after the last choice"
    paid = sum(s[6] for s in watch.seen)
    assert 0 <= outcome.score["return"] - paid <= 40 and paid > 0


class Wrong(Agent):
    name = "wrong"

    def act(self, obs: Observation) -> Any:
        n = obs.memo or 0
        return Action(("fly", "serve", "wait")[n % 3], [Msg("*", f"word {n}")], memo=n + 1)


def test_a_choice_that_may_not_be_made_is_an_invalid_move_and_keeps_words_and_memo() -> None:
    env = family.make("cramped_room", {"horizon": 12})
    outcome = loop(play(env, {"p0": Skilled(Wrong()), "p1": Skilled(Planner())}, Block(0, 0)))
    assert outcome.status == "horizon"
    assert outcome.counts["p0"]["skills"] == 2  # two faults, then four steps of waiting, twice
    faults = [e for e in outcome.events if e[3] == "fault" and e[1] == 0]
    assert len(faults) == 4
    assert sum(e[3] == "msg" and e[1] == 0 for e in outcome.events) == 6


class Failing(Agent):
    name = "failing"

    def act(self, obs: Observation) -> Any:
        return Fault("timeout", "nobody there")


def test_faults_of_the_inner_agent_pass_through() -> None:
    env = family.make("cramped_room", {"horizon": 5})
    outcome = loop(play(env, {"p0": Skilled(Failing()), "p1": Skilled(Planner())}, Block(0, 0)))
    assert sum(e[3] == "fault" for e in outcome.events) == 5
    assert "skills" not in outcome.counts["p0"]


def test_a_snapshot_in_the_middle_of_a_skill_goes_on_as_if_nothing_happened() -> None:
    saved: list[bytes] = []

    def keep(episode: Any) -> None:
        if episode.tick == 57:
            saved.append(episode.snapshot())

    whole = loop(game(Skilled(Planner())), keep)
    env = family.make("cramped_room", {})
    agent = Skilled(Planner())
    rest = loop(play(env, {"p0": agent, "p1": agent}, Block(2, 0), resume=saved[0]))
    assert rest.world == whole.world and rest.counts == whole.counts


class Person(Agent):
    name = "person"
    kind = "human"

    def act(self, obs: Observation) -> Any:
        return "wait"

    def latest(self, obs: Observation) -> Any:
        return "get_onion" if "get_onion" in obs.names() and obs.tick >= 2 else None


def test_at_tick_pace_nothing_said_is_held() -> None:
    env = make_env("kitchen/cramped_room", {"horizon": 8}, clock="tick:500")
    outcome = asyncio.run(aio(play(env, {"p0": Skilled(Person()), "p1": Skilled(Planner())}, Block(0, 0))))
    origins = [e[9] for e in outcome.events if e[3] == "act" and e[1] == 0]
    assert origins[:3] == ["held", "held", "own"]
    assert outcome.counts["p0"]["skills"] >= 1


def test_what_cannot_be_wrapped_is_refused() -> None:
    class Numbers(Agent):
        needs = ("box",)

    with pytest.raises(CrossplayError, match="action names"):
        Skilled(Numbers())
    env = family.make("cramped_room", {})
    env.skills = None
    with pytest.raises(CrossplayError, match="no skills"):
        Skilled(Planner()).check(env, "p0")
    assert Skilled(Planner()).manifest()["skilled"] is True
    assert pack(Skilled(Planner()).manifest())
