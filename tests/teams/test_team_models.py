"""Teams of language models on a scripted double: requests, sharing, concurrency, budgets, faults, what a plan says."""

import asyncio

import pytest
from deliberate import NAMES, Quiz, Words, members, played, posts, team_of, vote

from crossplay.agents import Context, make_agent
from crossplay.agents.llm import Llm
from crossplay.agents.llm import Settings as Asking
from crossplay.kernel import Block, Observation, aio, entries, key, loop, pick, play, unpack
from crossplay.kernel.drivers import aio_many
from crossplay.kernel.obs import Scope
from crossplay.models import Budget, Door, ScriptedBackend
from crossplay.models.types import ModelError
from crossplay.teams import make_team
from crossplay.teams.team import make_protocol
from worlds import state


class Jitter(ScriptedBackend):
    """Takes a time drawn from the request, so that answers arrive in any order."""

    async def generate(self, requests, keys=()):
        await asyncio.sleep(pick(key("late", requests[0].messages[-1].text, requests[0].seed), 6) / 2000)
        return await super().generate(requests, keys)


def talkers(backend, n=3, door=None, **settings):
    """Members that ask one backend, with names of their own."""
    door = door or Door({backend.name: backend})
    model = door.model(backend.name)
    return [Llm(model, Asking(**settings), "abcdefgh"[i]) for i in range(n)]


def answers(text="B"):
    """An answer function of a double: fits whatever form is asked for."""

    def answer(request):
        schema = request.json_schema or {}
        props = schema.get("properties", {})
        if request.grammar:
            return text
        if "action" in props:
            fields = {"action": f'"{text}"', "reason": '"so it is"', "confidence": "7"}
            return "{" + ", ".join(f'"{k}": {fields[k]}' for k in props) + "}"
        if "score" in props:
            return '{"score": 8, "reason": "fine"}'
        if "to" in props:
            return f'{{"to": "{props["to"]["enum"][0]}", "instruction": "look"}}'
        if schema.get("type") == "array":
            items = schema["items"]
            return str([1] * schema["maxItems"]) if items.get("type") == "integer" else '["A"]'
        return "some words"

    return answer


def one(team, at=Block(1, 1), env=None):  # noqa: B008
    return loop(play(env or Quiz(), {"p0": team}, at))


# -- requests --------------------------------------------------------------------------------------


def test_five_clones_make_five_requests():
    """At temperature 1 nothing is shared: five calls, five seeds, also where all five ask the same."""
    seeds = []
    backend = ScriptedBackend("m", answer=lambda r: seeds.append(r.seed) or "B")
    [clone] = talkers(backend, 1, temperature=1.0)
    outcome = one(make_team([clone] * 5))
    assert backend.calls == 5 == len(set(seeds)) == outcome.counts["p0"]["calls"] and None not in seeds
    again = one(make_team([clone], {"name": "vote", "samples": 5}))
    assert backend.calls == 9 == len(set(seeds))  # the first sample is the first clone's answer, at the same place
    assert again.counts["p0"]["calls"] == 5


def test_who_sees_whom_stands_in_the_prompt():
    backend = ScriptedBackend("m", answer=lambda r: asked.append(r) or answers()(r))
    asked = []
    one(make_team(talkers(backend), {"name": "debate", "rounds": 1}, "chain"))
    said = [[line for line in r.messages[-1].text.splitlines() if line.startswith("- ")] for r in asked]
    assert said[:3] == [[], [], []]
    assert [[line.split(" ")[1] for line in s] for s in said[3:]] == [["you"], ["you", "a"], ["you", "b"]]
    assert all("answer bee" in line and "so it is" in line for s in said[3:] for line in s)
    heads = [r.messages[0].text for r in asked]
    assert len(set(heads)) == 1  # the same first part for all, so that it is computed once


def test_first_votes_cost_no_further_call():
    """A debate and the vote of its first answers ask the same questions at the same place: they are asked once."""
    backend = ScriptedBackend("m", answer=answers())
    mine = talkers(backend)
    debate = one(make_team(mine, {"name": "debate", "rounds": 2}))
    assert backend.calls == 9
    first = one(make_team(mine, {"name": "vote", "rationale": True}))
    assert backend.calls == 9 and first.counts["p0"]["calls"] == 3
    assert [p["value"] for p in posts(first)] == [p["value"] for p in posts(debate)[:3]]
    one(make_team(mine, {"name": "debate", "rounds": 3}))
    assert backend.calls == 12  # only the further round is new
    one(make_team(mine, {"name": "debate", "rounds": 3, "rule": "unanimity"}))
    assert backend.calls == 12  # another rule asks nothing new
    one(make_team(mine, {"name": "debate", "rounds": 2}), Block(1, 2))
    assert backend.calls == 21  # another question is another call


# -- order and concurrency -------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["debate", "graph", "select", "orchestrate", "tree"])
def test_a_team_of_models_does_not_depend_on_the_order_of_arrival(protocol):
    found = {}
    for width in (1, 8, 64):
        backend = Jitter("m", concurrency=64)
        team = make_team(talkers(backend, 4, temperature=1.0), protocol)
        todo = [play(Quiz(2), {"p0": team}, Block(1, b)) for b in range(6)]

        def done(episode, outcome, width=width):
            found[width, episode.at.block] = state(outcome)

        asyncio.run(aio_many(todo, width, done))
    assert all(found[1, b] == found[8, b] == found[64, b] for b in range(6))
    assert len({s[5] for s in found.values()}) == 6  # minds differ by block


@pytest.mark.parametrize(("topology", "most"), [("complete", 5), ({"name": "tree", "branch": 4}, 4), ("chain", 1)])
def test_calls_of_a_stage_fly_together(topology, most):
    backend = ScriptedBackend("m", answer=answers(), latency_s=0.002)
    table = {"name": "debate", "rounds": 2, "draft": True}
    one(make_team(talkers(backend, 5), table, topology))
    assert backend.most_flying == most and backend.calls == 11


class Faulty(ScriptedBackend):
    """An answer function may also give an error."""

    def _reply(self, request):
        said = self._answer(request)
        return said if isinstance(said, ModelError) else super()._reply(request)


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("say", "words", "calls"),
    [
        (lambda r: ModelError("the server is on fire", "server"), "on fire", 1),
        (lambda r: "", "no move in the answer", 2),
        (lambda r: "I would rather not say.", "no move in the answer", 2),
        (lambda r: '{"action": "Z"}', "no move in the answer", 2),
    ],
)
def test_a_models_fault_is_the_members(say, words, calls):
    bad, good = Faulty("bad", answer=say), ScriptedBackend("good", answer=answers())
    door = Door({"bad": bad, "good": good})
    team = make_team([*talkers(bad, 1, door), *talkers(good, 2, door)], {"name": "debate", "rounds": 1})
    outcome = one(team)
    assert played(outcome) == ("bee", "own") and bad.calls == 2 * calls and outcome.counts["p0"]["member_faults"] == 2
    assert [words in p.get("fault", "") for p in posts(outcome)] == [True, False, False] * 2
    counts = outcome.counts["p0"]
    assert counts["calls:bad"] == 2 * calls and counts["calls:good"] == 4 and counts["calls"] == 2 * calls + 4


def test_nobody_can_be_asked():
    backend = ScriptedBackend("m", error_rate=1.0)
    outcome = one(make_team(talkers(backend), "debate"))
    assert outcome.counts["p0"]["no_decision"] == 1 and played(outcome)[1] == "random" and backend.calls == 9
    assert "nobody answered" in vote(outcome)["why"]


def test_a_deadline_keeps_paid_calls():
    """Answers of round 0 are there, those of round 1 are cut: all six calls are in the counts, per model too."""

    class Timed(Quiz):
        clock = "deadline:0.4"

    class SlowLater(ScriptedBackend):
        async def generate(self, requests, keys=()):
            if "What your team" in requests[0].messages[-1].text:
                await asyncio.sleep(1.5)
            return await super().generate(requests, keys)

    backend = SlowLater("m", answer=answers())

    async def main():
        door = Door({"m": backend})
        inner = make_team(talkers(backend, 2, door), "vote", name="inner")
        team = make_team([*talkers(backend, 2, door), inner], {"name": "debate", "rounds": 1})
        outcome = await aio(play(Timed(), {"p0": team}, Block(1)))
        await door.drain()
        return outcome

    outcome = asyncio.run(main())
    counts = outcome.counts["p0"]
    assert counts["timeout"] == 1 and counts["calls"] == 8 == counts["calls:m"]
    assert sum(unpack(e.note).get("cut", False) for e in outcome.trace() if e.kind == "model") == 4
    assert len([e for e in outcome.trace() if e.kind == "post"]) == 5  # of round 0, the inner ones too


# -- what is counted -------------------------------------------------------------------------------


def test_calls_are_counted_per_model_and_once():
    """Nested teams and wrappers count every call once, whichever of them adds it up."""
    a, b = ScriptedBackend("a", answer=answers()), ScriptedBackend("b", answer=answers())
    door = Door({"a": a, "b": b})
    inner = make_team([*talkers(a, 2, door), *talkers(b, 1, door)], {"name": "debate", "rounds": 1}, name="inner")
    relay = make_agent({"type": "relay", "first": "inner", "then": "inner"}, Context(agents={"inner": inner}.get))
    for team in (make_team([inner, inner, *talkers(b, 1, door)]), relay):
        counts = one(team).counts["p0"]
        assert counts["calls:a"] + counts["calls:b"] == counts["calls"] == a.calls + b.calls
        assert counts["tok_in:a"] + counts["tok_in:b"] == counts["tok_in"]
        a.calls = b.calls = 0
        door = Door({"a": a, "b": b})


@pytest.mark.parametrize("protocol", entries("teams"))
@pytest.mark.parametrize("rule", ["plurality", "approval"])
@pytest.mark.parametrize("env", [Quiz, Words])
def test_a_plan_is_an_upper_bound(protocol, rule, env):
    """Calls and tokens of a decision never exceed what `size` said before."""
    backend = ScriptedBackend("m", answer=answers())
    team = make_team(talkers(backend, 4, repairs=0), {"name": protocol, "rule": rule, "rationale": True})
    world = env()
    world.start(Block(1))
    obs = Observation(Scope(world, world.id, Block(1), "p0"), "act", 0)
    calls, tok_in, tok_out = team.size(obs)
    counts = one(team, env=env()).counts["p0"]
    assert 0 < counts["calls"] <= calls and counts["tok_in"] <= tok_in and counts["tok_out"] <= tok_out


def test_a_vote_is_not_priced_as_a_discussion():
    backend = ScriptedBackend("m", answer=answers())
    world = Quiz()
    world.start(Block(1))
    obs = Observation(Scope(world, world.id, Block(1), "p0"), "act", 0)
    alone = talkers(backend, 1, repairs=0)[0].size(obs)
    assert make_team(talkers(backend, 4, repairs=0)).size(obs)[2] == 4 * alone[2] == 4
    assert not make_protocol("vote").asks_aside(3) and make_protocol({"name": "vote", "rule": "borda"}).asks_aside(3)


def test_mixed_members_of_models_and_scripts():
    backend = ScriptedBackend("m", answer=answers("D"))
    team = make_team([*talkers(backend, 2), *members(NAMES.index("bee")), team_of([1, 1], name="inner")], "debate")
    outcome = one(team)
    assert set(vote(outcome)["candidates"]) == {3, 1} and vote(outcome)["tied"] and backend.calls == 6


# -- budgets ---------------------------------------------------------------------------------------


def test_a_budget_ends_the_run_inside_a_wave(tmp_path):
    """Seven calls are allowed of 3 x 6: the run stops inside a wave, and goes on without paying for any again."""
    from crossplay.kernel.types import Stop
    from crossplay.records import RunFolder
    from crossplay.records.cassette import Cassette
    from crossplay.study.runner import run_study
    from crossplay.study.spec import parse_study
    from crossplay.study.stage import Stage

    data = {
        "study": {"name": "wave", "blocks": 3, "margin": 0.1, "concurrency": 1},
        "environments": {"q": {"name": "qa/choice"}},
        "agents": {
            "solver": {"type": "llm", "model": "m"},
            "debate": {"type": "team:debate", "members": ["solver", "solver", "solver"], "protocol": {"rounds": 1}},
        },
        "models": {"m": {"backend": "scripted"}},
        "lineups": {"debate": ["debate"]},
        "controls": {"floor": False, "ceiling": False, "equal_cost": False},
    }

    def sit(folder, budget=None):
        backend = ScriptedBackend("m", latency_s=0.001)
        stage = Stage(parse_study(data), folder)
        stage.use(Door({"m": backend}, Cassette(folder / "cassette"), budget))
        try:
            run_study(stage, folder)
        finally:
            stage.close()
        return backend.calls

    assert sit(tmp_path / "whole") == 18
    with pytest.raises(Stop):
        sit(tmp_path / "cut", Budget(calls=7))
    with RunFolder.open(tmp_path / "cut") as run:
        assert len(run.records()) == 1
    assert sit(tmp_path / "cut") == 11
    with RunFolder.open(tmp_path / "cut") as cut, RunFolder.open(tmp_path / "whole") as whole:
        a, b = ({r.block: (r.mind, r.counts, r.score) for r in run.records()} for run in (cut, whole))
        assert a == b and len(a) == 3
