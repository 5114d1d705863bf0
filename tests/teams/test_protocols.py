"""Every protocol with scripted members: who is asked what and when, what comes of it, and its bounds."""

import pytest
from deliberate import (
    Member,
    Quiz,
    Words,
    any_form,
    decide,
    fault,
    members,
    played,
    posts,
    sides,
    team_of,
    vote,
)

from crossplay.kernel import Action, Block, CrossplayError, Fault, entries, loop, play
from crossplay.teams import make_team
from crossplay.teams.team import make_protocol


def order(outcome):
    """(round, who, act) of all posts."""
    return [(p["round"], p["member"], p["act"]) for p in posts(outcome)]


# -- all of them -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", entries("teams"))
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_decision_takes_no_more_asks_than_its_plan_says(name, n):
    team = make_protocol(name)
    if n < team.least:
        with pytest.raises(CrossplayError, match=f"needs {team.least} members"):
            team_of([0] * n, name)
        return
    for block in range(6):
        outcome = decide(team_of([any_form(lambda obs: obs.pick(4))] * n, name), Block(3, block))
        assert 0 < outcome.counts["p0"]["asks"] <= team.calls(n)
        assert outcome.counts["p0"].get("member_faults", 0) == 0
        assert {p["id"] for p in posts(outcome)} == set(range(len(posts(outcome))))


@pytest.mark.parametrize("name", entries("teams"))
def test_nobody_answers_no_decision(name):
    """Whatever the protocol: silence ends in a fault with a reason, and never in an answer."""
    for broken in (lambda obs: Fault("error", "no line"), lambda obs: 1 / 0, lambda obs: None, lambda obs: 99):
        outcome = decide(team_of([broken] * 4, name))
        assert outcome.counts["p0"]["no_decision"] == 1 and outcome.counts["p0"]["invalid"] == 1
        assert outcome.counts["p0"]["member_faults"] == len(posts(outcome)) <= make_protocol(name).calls(4)
        assert fault(outcome).startswith("invalid: team: ") and vote(outcome)["why"] in fault(outcome)
        assert played(outcome)[1] == "random"  # the link of the conduct, recorded as such


@pytest.mark.parametrize("name", entries("teams"))
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rule": "pluralty"}, "plurality"),
        ({"rule": {"name": "supermajority", "shar": 0.7}}, "share"),
        ({"otherwise": "approval"}, "asks for approval"),
        ({"roles": {"criticc": "a"}}, "unknown role"),
        ({"roles": {"judge": "z"}}, 'unknown member "z"'),
        ({"ruel": "plurality"}, "rule"),
    ],
)
def test_wrong_settings_are_said_when_the_team_is_made(name, given, words):
    with pytest.raises(CrossplayError, match=words):
        team_of([0] * 3, {"name": name, **given})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "debat"}, "debate"),
        ({"name": "vote", "samples": 0}, "samples = 0"),
        ({"name": "debate", "rounds": -1}, "rounds = -1"),
        ({"name": "debate", "paradigm": "chorus"}, "paradigm"),
        ({"name": "debate", "stop": True}, 'stop = true .*"plurality" always does'),
        ({"name": "relay", "laps": 0}, "laps = 0"),
        ({"name": "pipeline", "stages": [{"do": "x", "sees": "first"}]}, "stages"),
        ({"name": "pipeline", "stages": [{"do": "x", "gate": {"matches": "("}}]}, "matches"),
        ({"name": "pipeline", "stages": [{"do": "x", "gate": {"retries": -1}}]}, "retries"),
        ({"name": "pipeline", "stages": [{"do": "x", "member": "zz"}]}, 'unknown member "zz"'),
        ({"name": "pipeline", "stages": [{"do": "x", "gate": {"by": "zz"}}]}, 'unknown member "zz"'),
        ({"name": "compose", "steps": []}, "steps"),
        ({"name": "compose", "steps": ["revue"]}, "steps"),
        ({"name": "verify", "accept": 7}, "accept = 7"),
        ({"name": "refine", "rounds": -1}, "rounds = -1"),
        ({"name": "orchestrate", "turns": 0}, "turns = 0"),
        ({"name": "tree", "breadth": 0}, "breadth = 0"),
        ({"name": "route", "top": 2}, "top = 2"),
        ({"name": "route", "about": {"zz": "maths"}}, 'unknown member "zz"'),
        ({"name": "graph", "eta": 2}, "eta = 2"),
    ],
)
def test_wrong_settings_of_one_protocol(given, words):
    with pytest.raises(CrossplayError, match=words):
        team_of([0] * 3, given)


# -- vote, debate ----------------------------------------------------------------------------------


def test_a_vote_is_one_wave_of_strangers():
    outcome = decide(team_of([1, 1, 2], {"name": "vote", "samples": 2}))
    assert order(outcome) == [(0, m, "answer") for m in "aabbcc"] and all(p["sees"] == [] for p in posts(outcome))
    assert played(outcome) == ("bee", "own") and vote(outcome)["answers"] == [0, 0, 0, 0, 1, 1]
    paths = sorted(e.path for e in outcome.trace() if e.kind == "post")
    assert paths == [(0, m, k) for m in range(3) for k in range(2)]


def follow(obs):
    """The answer that most posts shown hold, the own one where nothing is shown."""
    shown = [m.body["value"] for m in obs.inbox if m.channel == "team" and m.body["act"] in ("answer", "improve")]
    return max(set(shown), key=lambda v: (shown.count(v), -v)) if shown else obs.path[1] % 2


def test_a_collective_debate():
    outcome = decide(team_of([follow] * 5, {"name": "debate", "rounds": 2}))
    assert order(outcome) == [(0, m, "answer") for m in "abcde"] + [(r, m, "improve") for r in (1, 2) for m in "abcde"]
    assert [p["sees"] for p in posts(outcome)][5:10] == [[0, 1, 2, 3, 4]] * 5
    assert played(outcome)[0] == "ape" and vote(outcome)["rounds"] == 3 and vote(outcome)["tally"] == [5.0]
    assert vote(outcome)["first"] == {"value": 0, "share": 0.6}


def sees(paradigm, n=3, **more):
    outcome = decide(team_of([follow] * n, {"name": "debate", "rounds": 1, "paradigm": paradigm, **more}))
    return [
        (p["member"], [posts(outcome)[i]["member"] + str(posts(outcome)[i]["round"]) for i in p["sees"]])
        for p in posts(outcome)[n:]
    ]


def test_the_paradigms_are_masks_and_orders():
    assert sees("collective") == [(m, ["a0", "b0", "c0"]) for m in "abc"]
    assert sees("memory") == [("a", ["a0", "b0", "c0"]), ("b", ["b0", "c0", "a1"]), ("c", ["c0", "a1", "b1"])]
    assert sees("report") == [("a", ["a0", "b0", "c0"]), ("b", ["b0", "a1"]), ("c", ["c0", "a1"])]
    assert sees("relay") == [("a", ["c0"]), ("b", ["a1"]), ("c", ["b1"])]
    # The first is asked, the others exchange twice; in the next round it hears their last word alone.
    assert sees("debate", inner=2) == [
        ("a", ["a0", "b0", "c0"]),
        ("b", ["b0", "c0", "a1"]),
        ("c", ["b0", "c0", "a1"]),
        ("b", ["a1", "b1", "c1"]),
        ("c", ["a1", "b1", "c1"]),
    ]


def test_a_draft_is_the_first_members_alone():
    outcome = decide(team_of([follow] * 3, {"name": "debate", "rounds": 1, "paradigm": "debate", "draft": True}))
    assert order(outcome)[0] == (0, "a", "answer") and all(p["round"] for p in posts(outcome)[1:])
    assert posts(outcome)[1]["sees"] == [0]


@pytest.mark.parametrize(("answers", "rounds"), [([follow] * 3, 2), ([1, 1, 1], 1), ([0, 1, follow], 4)])
def test_a_debate_stops_when_its_rule_decides(answers, rounds):
    table = {"name": "debate", "rounds": 3, "stop": True, "rule": "unanimity"}
    outcome = decide(team_of(answers, table))
    assert vote(outcome)["rounds"] == rounds and len(posts(outcome)) == 3 * rounds
    whole = decide(team_of(answers, {**table, "stop": False}))
    assert posts(whole)[: 3 * rounds] == posts(outcome)


def test_hybrid_consensus_counts_turns_from_the_first_answers():
    """Four of five agree: not enough before the fifth turn, enough from then on."""
    table = {"name": "debate", "rounds": 9, "stop": True, "rule": {"name": "hybrid", "until": 5, "share": 0.75}}
    outcome = decide(team_of([1, 1, 1, 1, 2], table))
    assert vote(outcome)["rounds"] == 5 and not vote(outcome)["otherwise"]


def test_who_fails_in_a_round_keeps_its_last_answer():
    fails = Member("a", lambda obs: 3 if obs.path[0] == 0 else Fault("error", "gone"))
    outcome = decide(team_of([fails, 1, 3], {"name": "debate", "rounds": 2}))
    assert vote(outcome)["answers"] == [0, 1, 0] and played(outcome)[0] == "dog"
    assert outcome.counts["p0"]["member_faults"] == 2
    assert [p["fault"] for p in posts(outcome) if "fault" in p] == ["error: gone"] * 2
    never = decide(
        team_of(
            [lambda obs: None, 1, 3],
            {
                "name": "debate",
                "rounds": 1,
                "rule": {"name": "supermajority", "share": 0.5, "of": "all"},
                "otherwise": "",
            },
        )
    )
    assert vote(never)["answers"] == [-1, 0, 1] and vote(never)["why"]  # a third is no half of all


# -- pool ------------------------------------------------------------------------------------------


def pooled(block, by, candidates=10, n=3, answers=None):
    draw = any_form(lambda obs: (0, 0, 0, 1, 2, 3)[obs.pick(6)])
    table = {"name": "debate", "rounds": 0, "pool": {"candidates": candidates, "by": by}}
    return decide(team_of(answers or [draw] * n, table), Block(5, block))


@pytest.mark.parametrize("by", ["answer", "random", "embedding"])
def test_members_start_from_the_pool(by):
    outcome = pooled(1, by)
    found = posts(outcome)
    assert [p["act"] for p in found] == ["candidate"] * 10 + ["answer"] * 3
    assert [p["member"] for p in found[:10]] == [*"abcabcabca"] and outcome.counts["p0"]["asks"] == 10
    for p in found[10:]:
        assert p["value"] == found[p["adopted"]]["value"] and p["sees"] == [p["adopted"]]
    assert len({p["adopted"] for p in found[10:]}) == 3


def test_the_most_different_answers_cover_more():
    """As many distinct answers as can be had; chance covers fewer. Chance of the right one: 1 - (1 - p)^candidates."""
    distinct = dict.fromkeys(("answer", "random"), 0)
    covered = right = 0
    for block in range(60):
        for by in distinct:
            found = posts(pooled(block, by))
            kept, there = {p["value"] for p in found[10:]}, {p["value"] for p in found[:10]}
            assert by != "answer" or len(kept) == min(3, len(there))
            distinct[by] += len(kept)
        covered += 3 in {p["value"] for p in posts(pooled(block, "answer", n=4))[10:]}
        right += 1
    assert distinct["answer"] > distinct["random"] + 20
    expected = 1 - (5 / 6) ** 10
    assert abs(covered / right - expected) < 4 * (expected * (1 - expected) / right) ** 0.5


def test_a_pool_with_too_few_answers_says_so():
    outcome = pooled(1, "answer", answers=[1, lambda obs: None, lambda obs: None], candidates=3)
    assert outcome.counts["p0"]["pool_short"] == 2 and vote(outcome)["answers"] == [0]
    assert fault(pooled(1, "answer", candidates=2)).startswith("error")


# -- chains ----------------------------------------------------------------------------------------


def test_a_relay_hands_over():
    outcome = decide(team_of([0, 1, 2], {"name": "relay", "laps": 2}))
    assert order(outcome) == [(r, m, "answer") for r in (0, 1) for m in "abc"]
    assert [p["sees"] for p in posts(outcome)] == [[], [0], [1], [0, 2], [1, 3], [2, 4]]
    assert played(outcome)[0] == "cat" and vote(outcome)["by"] == "c"


def test_a_relay_goes_on_without_who_fails():
    mine = members(0, lambda obs: Fault("error", "ill"), lambda obs: obs.inbox[-1].body["value"] + 1)
    outcome = decide(make_team(mine, "relay"))
    assert posts(outcome)[2]["sees"] == [0] and played(outcome)[0] == "bee" and vote(outcome)["by"] == "c"
    last = decide(team_of([2, 1, lambda obs: 1 / 0], "relay"))
    assert played(last)[0] == "bee" and vote(last)["by"] == "b" and last.counts["p0"]["member_faults"] == 1


STAGES = [
    {"do": "Collect facts.", "gate": {"words": 3, "matches": "fact", "retries": 2}},
    {"do": "Check them.", "member": "c", "gate": {"by": "a"}, "sees": "all"},
    {"do": "Answer."},
]


def writer(*texts):
    """Writes these texts one after the other."""
    left = list(texts)

    def answer(obs):
        return sides(obs, text=left.pop(0) if len(left) > 1 else left[0]) if obs.spec is not obs.seat_spec else 2

    return answer


def test_a_pipeline_passes_its_gates():
    judge = {"n": 0}

    def a(obs):
        if obs.spec.kind == "names":
            judge["n"] += 1
            return Action("accept" if judge["n"] > 1 else "reject", rationale="too short")
        return ["facts", "one fact is here", "x"][min(obs.path[2], 1)]

    mine = members(a, 0, any_form(3))
    outcome = decide(make_team(mine, {"name": "pipeline", "stages": STAGES}))
    assert order(outcome) == [
        *[(0, "a", "stage")] * 2,
        (1, "c", "stage"),
        (1, "a", "gate"),
        (1, "c", "stage"),
        (1, "a", "gate"),
        (2, "c", "answer"),
    ]
    assert outcome.counts["p0"]["gate_retries"] == 2 and played(outcome)[0] == "dog"
    told = mine[2].asked
    assert [len(t["posts"]) for t in told] == [1, 3, 1] and "not accepted" in told[1]["brief"]  # answer and reason
    assert told[0]["brief"] == "Check them."


def test_a_pipeline_ends_at_a_gate_that_nothing_passes():
    outcome = decide(team_of([writer("short")] * 3, {"name": "pipeline", "stages": STAGES}))
    assert outcome.counts["p0"]["gates_failed"] == 1 and outcome.counts["p0"]["gate_retries"] == 2
    assert "stage 1 did not pass its gate" in fault(outcome) and len(posts(outcome)) == 3


# -- every form of seat ----------------------------------------------------------------------------


def test_free_text_is_compared_by_what_it_means():
    outcome = decide(team_of(["Two ", "two", "one"], "debate"), env=Words())
    assert vote(outcome)["candidates"] == ["Two ", "one"] and vote(outcome)["tally"] == [2.0, 1.0]
    asked = decide(team_of([any_form("Two"), any_form("two")], "refine"), env=Words())
    assert asked.counts["p0"].get("member_faults", 0) == 0


def test_a_team_of_one_is_its_member():
    for name in entries("teams"):
        if make_protocol(name).least == 1:
            outcome = loop(play(Quiz(), {"p0": team_of([any_form(3)], name)}, Block(1)))
            assert outcome.status == "terminal" and outcome.counts["p0"].get("no_decision", 0) == 0
