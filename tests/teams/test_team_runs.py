"""Teams as agents: drivers and orders of arrival, faults of members, memory, nesting, company in the seats."""

import asyncio

import pytest
from deliberate import NAMES, Late, Member, Quiz, Words, any_form, decide, members, played, posts, sides, team_of, vote

from crossplay.agents import Context, make_agent
from crossplay.kernel import (
    Action,
    ActionSpec,
    Agent,
    Block,
    CrossplayError,
    Env,
    Fault,
    Msg,
    Usage,
    aio,
    batch,
    entries,
    loop,
    make_env,
    play,
    unpack,
)
from crossplay.kernel.drivers import aio_many, mode
from crossplay.kernel.types import Held, Stop
from crossplay.teams import make_team
from crossplay.teams.team import WaitingTeam
from worlds import state

BLOCKS = [Block(4, b) for b in range(4)]


def chatty(obs):
    """An answer with all that may come with one, drawn from the path."""
    if obs.spec is not obs.seat_spec:
        return sides(obs)
    if obs.pick(9, 1) == 0:
        return Fault("error", "tired")
    return Action(obs.pick(4), confidence=obs.pick(10, 2) / 10, rationale=f"because {obs.path}", usage=Usage(1, 10, 2))


def episodes(kind, protocol):
    for at in BLOCKS:
        yield at, play(Quiz(3), {"p0": make_team(members(*[chatty] * 4, kind=kind, memo=True), protocol)}, at)


@pytest.mark.parametrize("protocol", entries("teams"))
def test_posts_are_taken_in_schedule_order_whatever_arrives_first(protocol):
    """Members that wait for random times, on every driver and at every concurrency: the same posts, events and mind."""
    whole = [state(loop(e)) for _, e in episodes(Member, protocol)]
    assert whole == [state(asyncio.run(aio(e))) for _, e in episodes(Member, protocol)]
    assert whole == [state(loop(e)) for _, e in episodes(Late, protocol)]
    found = {}
    for width in (1, 8, 64):
        todo = list(episodes(Late, protocol))
        place = {id(e): at for at, e in todo}

        def done(episode, outcome, width=width, place=place):
            found[width, place[id(episode)]] = state(outcome)

        asyncio.run(aio_many([e for _, e in todo], width, done))
    assert all(found[width, at] == s for width in (1, 8, 64) for at, s in zip(BLOCKS, whole, strict=True))
    todo = [e for _, e in episodes(Late, protocol)]
    ended = {id(e): state(o) for e, o in batch(iter(todo), len(todo))}
    assert whole == [ended[id(e)] for e in todo]


def test_asks_of_a_wave_fly_together():
    flying, most = [0], [0]

    class Flies(Agent):
        def __init__(self, name):
            self.name = name

        async def act(self, obs):
            flying[0] += 1
            most[0] = max(most[0], flying[0])
            await asyncio.sleep(0.002)
            flying[0] -= 1
            return 1

    for topology, width in (("complete", 5), ("chain", 1), ({"name": "tree", "branch": 4}, 4)):
        most[0] = 0
        topology_alone = {"name": "debate", "rounds": 1, "draft": True, "paradigm": "collective"}
        decide(make_team([Flies(f"m{i}") for i in range(5)], topology_alone, topology))
        assert most[0] == width


# -- faults ----------------------------------------------------------------------------------------

WRONG = {
    "raises": lambda obs: 1 / 0,
    "nothing": lambda obs: None,
    "out of range": lambda obs: 99,
    "unknown name": lambda obs: "emu",
    "fault": lambda obs: Fault("timeout", "too late"),
    "a fault in an action": lambda obs: Action(Fault("error", "gone")),
    "held": lambda obs: Held(),
    "bad usage": lambda obs: Action(1, usage="much"),
    "bad message": lambda obs: Action(1, messages=["hello"]),
    "one message": lambda obs: Action(1, messages="hello"),
    "an object": lambda obs: object(),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("kind", [Member, Late])
def test_a_members_fault_stays_its_own(what, kind):
    broken = kind("x", WRONG[what])
    outcome = decide(make_team([broken, *members(2, 2)], {"name": "debate", "rounds": 1}))
    assert played(outcome) == ("cat", "own") and outcome.counts["p0"]["member_faults"] == 2
    assert outcome.counts["p0"].get("invalid", 0) == 0 and outcome.counts["p0"]["asks"] == 6
    wrong = [p for p in posts(outcome) if p["member"] == "x"]
    assert all(p["fault"] and p["value"] is None for p in wrong) and len(wrong) == 2
    assert vote(outcome)["answers"] == [-1, 0, 0]
    assert all(i not in p["sees"] for p in posts(outcome) for i in (0, 3))  # nobody is shown it


def test_answers_in_which_nothing_can_be_read_are_nobodys_candidate():
    outcome = decide(team_of(["...", "...", "ape"]), env=Words())
    assert vote(outcome)["answers"] == [-1, -1, 0] and outcome.counts["p0"]["member_faults"] == 2
    assert [p["fault"] for p in posts(outcome)[:2]] == ["invalid: no answer can be read in it"] * 2
    assert [p["text"] for p in posts(outcome)[:2]] == ["...", "..."]


def test_odd_reasons_are_stored_as_words():
    outcome = decide(team_of([lambda obs: Action(1, rationale=["a", 3]), lambda obs: Action(1, rationale="x\ud800")]))
    assert [p["text"] for p in posts(outcome)] == ["['a', 3]", "x?"]


def test_an_unhashable_batch_member_and_a_masked_seat():
    class Batch(Agent):
        name = "batch"

        def act_batch(self, requests):
            return [3 for _ in requests]

    class Empty(Batch):
        def act_batch(self, requests):
            return []

    class Masked(Quiz):
        def legal(self, seat):
            return [True, True, True, False]

    assert played(decide(make_team([Batch(), Batch(), Empty()])))[0] == "dog"
    masked = decide(make_team([Batch(), *members(1)]), env=Masked())
    assert played(masked)[0] == "bee" and "not legal" in posts(masked)[0]["fault"]


def test_a_stop_ends_the_run():
    def stops(obs):
        raise Stop("the budget is spent")

    for kind in (Member, Late):
        with pytest.raises(Stop, match="budget"):
            decide(make_team(members(1, stops, 2, kind=kind)))


def test_a_deadline_keeps_what_was_posted_and_paid():
    class Slow(Agent):
        name = "slow"

        async def act(self, obs):
            obs.note("model", {"model": "m", "call": "x"}, Usage(1, 7, 3))
            await asyncio.sleep(0.001 if obs.path[0] == 0 else 30)
            return 1

    class Timed(Quiz):
        clock = "deadline:0.3"

    outcome = asyncio.run(aio(play(Timed(), {"p0": make_team([Slow(), Slow()], "debate")}, Block(1))))
    counts = outcome.counts["p0"]
    assert counts["timeout"] == 1 and counts["calls"] == 4 == counts["calls:m"] and counts["tok_in"] == 28
    assert len(posts(outcome)) == 2 and counts["asks"] == 2


# -- memory ----------------------------------------------------------------------------------------


class Counts(Agent):
    """Answers with how often it was asked, modulo 4; begins at its number."""

    def __init__(self, name, start=0):
        self.name, self.start = name, start

    def begin(self, obs):
        return {"n": self.start}

    def act(self, obs):
        n = (obs.memo or {"n": 100})["n"]
        return Action(n % 4, memo={"n": n + 1}, rationale=f"{n}")


def test_members_remember_apart_over_the_turns():
    one = Counts("one")
    outcome = loop(play(Quiz(4), {"p0": make_team([one, one, Counts("two", 2)], "debate")}, Block(2)))
    by_member = {}
    for p in posts(outcome):
        by_member.setdefault(p["member"], []).append(int(p["text"]))
    assert by_member == {"one": [*range(12)], "one#2": [*range(12)], "two": [*range(2, 14)]}


def test_a_team_goes_on_from_a_snapshot():
    def make():
        return make_team(
            [Counts("a"), *members(*[chatty] * 2, memo=True), team_of([chatty] * 2, name="inner")], "debate"
        )

    shots = []
    whole = loop(play(Quiz(6), {"p0": make()}, Block(5)), lambda e: shots.append(e.snapshot()) if e._open else None)
    for shot in shots[1:]:
        assert state(loop(play(Quiz(6), {"p0": make()}, Block(5), resume=shot))) == state(whole)


def test_a_team_without_a_decision_still_remembers():
    team = make_team([Counts("a"), Counts("b", 1)], {"name": "vote", "rule": "unanimity", "otherwise": ""})
    outcome = loop(play(Quiz(3), {"p0": team}, Block(2)))
    assert [p["text"] for p in posts(outcome) if p["member"] == "a"] == ["0", "1", "2"]
    assert outcome.counts["p0"]["no_decision"] == 3


def test_a_team_takes_over_a_seat():
    first = make_team([Counts("a"), Counts("b")])
    for then, expected in (
        (make_team([Counts("a"), Counts("b")]), "2"),
        (make_team([Counts("x"), Counts("y")]), "100"),
    ):
        episode = play(Quiz(4), {"p0": first}, Block(2))
        outcome = loop(episode, lambda e, t=then: e.seat("p0", t) if e.tick == 1 else None)
        texts = [p["text"] for p in posts(outcome) if p["member"] == then.names[0]]
        assert texts[-2] == expected and outcome.counts["p0"]["handoffs"] == 1


def test_beginning_and_ending_reach_the_members():
    class Told(Counts):
        ended = 0

        def end(self, obs):
            type(self).ended += obs.memo["n"]

    class Awaits(Told):
        async def begin(self, obs):
            return {"n": 3}

        async def act(self, obs):
            return Counts.act(self, obs)

        async def end(self, obs):
            Told.end(self, obs)

    class Fails(Counts):
        def begin(self, obs):
            raise ValueError("cannot")

    Told.ended = 0
    outcome = loop(play(Quiz(2), {"p0": make_team([Told("t", 5), Fails("f")])}, Block(1)))
    assert Told.ended == 7 and outcome.counts["p0"]["member_begin_fault"] == 1
    assert any("cannot" in str(unpack(e.note)) for e in outcome.trace() if e.kind == "note")
    assert asyncio.run(aio(play(Quiz(2), {"p0": make_team([Awaits("w")])}, Block(1)))).counts["p0"]["asks"] == 2
    assert Awaits.ended == 7 + 5


# -- teams in teams --------------------------------------------------------------------------------


def test_a_team_is_a_member():
    """Its members stand below its own path, keep their memos, hear the outer brief, posts and their own."""
    inner = members(*[any_form(lambda obs: Action(1, rationale=f"inner {obs.path}"))] * 2, memo=True)
    outer = members(any_form(lambda obs: Action(2, rationale="outer")), memo=True)
    team = make_team([make_team(inner, "debate", name="inner"), *outer], {"name": "debate", "rounds": 1}, name="outer")
    outcome = loop(play(Quiz(2), {"p0": team}, Block(3)))
    paths = {e.path for e in outcome.trace() if e.kind == "post"}
    assert {p[:3] for p in paths if len(p) == 6} == {(0, 0, 0), (1, 0, 0)}
    assert {p[3:5] for p in paths if len(p) == 6} == {(r, m) for r in range(3) for m in range(2)}
    told = inner[0].asked
    assert len(told) == 12 and told[0]["posts"] == []
    in_round_1 = told[3]
    assert in_round_1["path"] == (1, 0, 0, 0, 0, 0) and "team mates" in in_round_1["brief"]
    assert [src for src, *_ in in_round_1["posts"]] == ["inner", outer[0].name]
    shown = [p for p in (unpack(e.note) for e in outcome.trace() if e.kind == "post") if p["member"] == "inner"]
    assert all(p["text"].startswith("inner") for p in shown) and shown[0]["confidence"] == 1.0
    assert outcome.counts["p0"]["asks"] == 2 * (2 * 6 + 2)  # the inner team is asked through its members
    memo = [e for e in outcome.trace() if e.kind == "post"]
    assert len(memo) == 2 * (2 * 6 + 4)


def test_a_team_inside_answers_in_whatever_form_is_wanted():
    inner = team_of([any_form(0), any_form(0)], name="inner")
    outcome = decide(make_team([inner, *members(any_form(1))], "verify"), env=Quiz())
    assert outcome.counts["p0"].get("member_faults", 0) == 0 and played(outcome)[1] == "own"
    asked = make_team([*members(any_form(1)), team_of([any_form(0)] * 3, "relay", name="critics")], "review")
    assert [p["act"] for p in posts(decide(asked)) if p["member"] == "critics"] == ["critique"]


def test_an_undecided_team_is_a_fault_of_its_own_team():
    inner = team_of([0, 1], {"name": "vote", "rule": "unanimity", "otherwise": ""}, name="inner")
    outcome = decide(make_team([inner, *members(2)], "vote"))
    assert played(outcome)[0] == "cat" and outcome.counts["p0"]["no_decision"] == 1
    assert [p["fault"] for p in posts_at(outcome, 3) if "fault" in p] == [
        "invalid: inner: unanimity reached no decision"
    ]


def posts_at(outcome, depth):
    return [unpack(e.note) for e in outcome.trace() if e.kind == "post" and len(e.path) == depth]


# -- company ---------------------------------------------------------------------------------------


def test_mixed_teams_of_policies_and_scripts():
    """Two chefs outvote chance beside a third chef; every tick is a debate, and the other seat is nobody's team."""
    chef, world = make_agent("chef"), {"horizon": 120}
    team = make_team([chef, make_agent("random"), chef], "debate")
    outcome = loop(play(make_env("kitchen/cramped_room", world), {"p0": team, "p1": chef}, Block(1)))
    assert outcome.score["soups"] >= 2 and outcome.counts["p1"]["decisions"] == 120 == outcome.ticks
    assert outcome.counts["p0"]["asks"] == 9 * 120 and "asks" not in outcome.counts["p1"]


def test_teams_face_each_other():
    env = make_env("matrix/prisoners_dilemma", {"rounds": 8})
    tft = lambda: make_agent("strategy:tit_for_tat")  # noqa: E731
    team = make_team([tft(), tft(), make_agent("random")])
    outcome = loop(play(env, {"row": team, "column": team}, Block(1)))
    assert (
        outcome.score
        == loop(
            play(make_env("matrix/prisoners_dilemma", {"rounds": 8}), {"row": tft(), "column": tft()}, Block(1))
        ).score
    )
    assert outcome.counts["row"]["asks"] == 24 == outcome.counts["column"]["asks"]


class Hall(Env):
    """Two seats that hear each other; for what teams say to others."""

    name, seats, horizon, mailed = "test/hall", ("p0", "p1"), 3, True
    reset = Quiz.reset
    to_act, ended, data, score, snapshot, restore = (
        Quiz.to_act,
        Quiz.ended,
        Quiz.data,
        Quiz.score,
        Quiz.snapshot,
        Quiz.restore,
    )

    def spec(self, seat):
        return ActionSpec("names", names=NAMES)

    def audience(self, seat):
        return tuple(s for s in self.seats if s != seat)

    def step(self, actions, mail):
        self.tick += 1
        return [0.0, 0.0]


def test_who_agrees_with_the_team_speaks_for_it():
    says = [lambda obs, i=i, v=v: Action(v, [Msg("*", f"{obs.path[1]} says {v}")]) for i, v in enumerate((1, 2, 1))]
    listener = Member("l", lambda obs: 0)
    heard = []
    listener.answer = lambda obs: heard.extend(m.body for m in obs.inbox) or 0
    outcome = loop(play(Hall(), {"p0": team_of(says), "p1": listener}, Block(1)))
    assert heard == ["2 says 1"] * 2 and outcome.counts["p0"]["said"] == 3
    assert [p["text"] for p in posts(outcome)][:3] == ["0 says 1", "1 says 2", "2 says 1"]


# -- making ----------------------------------------------------------------------------------------


def test_clones_are_numbered_and_have_their_own_chance():
    clone = Member("clone", lambda obs: obs.pick(4))
    team = make_team([clone] * 5)
    assert team.names == ("clone", "clone#2", "clone#3", "clone#4", "clone#5")
    answers = [tuple(p["value"] for p in posts(decide(team, Block(1, b)))) for b in range(30)]
    assert len(set(answers)) == 30 and all(len(set(column)) == 4 for column in zip(*answers, strict=True))


def test_a_team_waits_where_a_member_does():
    assert mode(make_team(members(1, 2))) == "plain"
    team = make_team([*members(1), *members(2, kind=Late)])
    assert mode(team) == "async" and isinstance(team, WaitingTeam)
    assert mode(make_team([team, *members(1)])) == "async"
    assert not make_team([make_agent("human")]).deterministic


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "name its members"),
        ({"members": ["random"], "protocl": "vote"}, "protocol"),
        ({"members": ["random"], "protocol": "debat"}, "debate"),
        ({"members": ["randm"]}, "random"),
        ({"members": ["random"], "topology": "rign"}, "ring"),
        ({"members": ["random"], "names": ["a", "b"]}, "names"),
    ],
)
def test_errors_of_a_team_in_a_file(given, words):
    with pytest.raises(CrossplayError, match=words):
        make_agent({"type": "team", **given}, Context())


def test_the_manifest_says_what_a_team_is():
    team = make_agent({"type": "team:debate", "members": ["random", "noop"], "size": 2, "topology": "ring"}, Context())
    found = team.manifest()
    assert list(found["members"]) == ["random", "random#2", "noop", "noop#2"] and found["protocol"]["rounds"] == 2
    assert found["topology"]["name"] == "ring" and found["models"] == []
    with pytest.raises(CrossplayError, match="skills|reads|view"):
        make_team([make_agent({"type": "random", "skills": True})]).check(Quiz(), "p0")
