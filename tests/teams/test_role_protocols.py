"""Protocols with roles: primitives, checking, orchestrators, trees, routes, learnt graphs."""

import pytest
from deliberate import (
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

from crossplay.kernel import Block, Fault
from crossplay.teams import make_team
from crossplay.teams.forming.registry import bm25
from crossplay.teams.protocols.tree import Tree, leaves


def order(outcome):
    """(round, who, act) of all posts."""
    return [(p["round"], p["member"], p["act"]) for p in posts(outcome)]


# -- primitives ------------------------------------------------------------------------------------


def test_review_is_draft_critique_revision():
    mine = members(any_form(lambda obs: 1 if "review" in obs.brief else 0), any_form(0))
    outcome = decide(make_team(mine, {"name": "review", "rounds": 2}))
    acts = ["answer", "critique", "revise", "critique", "revise"]
    assert order(outcome) == list(zip([0, 1, 1, 2, 2], "ababa", acts, strict=True))
    assert [p["sees"] for p in posts(outcome)] == [[], [0], [0, 1], [2], [2, 3]] and played(outcome)[0] == "bee"


def test_select_takes_one_of_all():
    def selector(obs):
        return obs.inbox[2].body["value"] if obs.inbox else 0

    table = {"name": "select", "roles": {"selector": "b"}}
    outcome = decide(team_of([1, selector, 3, 1], table))
    assert order(outcome) == [*[(0, m, "answer") for m in "abcd"], (1, "b", "answer")] and played(outcome)[0] == "dog"
    assert played(decide(team_of([1, selector, 3, 1], {**table, "by": "rule"})))[0] == "bee"


def test_plan_is_carried_out():
    mine = members(any_form(1), any_form(lambda obs: 2 if "plan" in obs.brief.lower() else 0))
    outcome = decide(make_team(mine, "plan"))
    assert order(outcome) == [(0, "a", "plan"), (1, "b", "execute")] and played(outcome)[0] == "cat"
    assert mine[0].asked[0]["kind"] == "text" and mine[1].asked[0]["posts"][0][1] == "plan"


def test_primitives_chain():
    table = {"name": "compose", "steps": ["plan", "select", "review"], "roles": {"selector": "c"}}
    outcome = decide(team_of([any_form(1), any_form(2), any_form(lambda obs: 3)], table))
    acts = [
        (0, "plan"),
        (1, "execute"),
        *[(2, "answer")] * 3,
        (3, "answer"),
        (4, "answer"),
        (5, "critique"),
        (5, "revise"),
    ]
    assert [(p["round"], p["act"]) for p in posts(outcome)] == acts
    assert posts(outcome)[2]["sees"] == [1] and posts(outcome)[6]["sees"] == [5] and vote(outcome)["rounds"] == 6
    broken = decide(team_of([any_form(1), any_form(2), lambda obs: None], table))
    assert "step 2 (select) gave no answer" in fault(broken)


# -- checking --------------------------------------------------------------------------------------


def scores(*given):
    """A verifier that gives these scores, one after the other; None: it fails."""
    left = list(given)

    def answer(obs):
        score = left.pop(0)
        return Fault("error", "blind") if score is None else {"score": score, "reason": f"score {score}"}

    return answer


def test_verify_asks_until_it_is_accepted():
    mine = members(lambda obs: obs.path[0], scores(2, 9))
    outcome = decide(make_team(mine, "verify"))
    assert order(outcome) == [(0, "a", "answer"), (0, "b", "verify"), (1, "a", "answer"), (1, "b", "verify")]
    assert played(outcome)[0] == "bee" and vote(outcome)["scores"] == [0.2, 0.9]
    assert [x[1] for x in mine[0].asked[1]["posts"]] == ["answer", "verify"]
    hidden = members(lambda obs: obs.path[0], scores(2, 9))
    decide(make_team(hidden, {"name": "verify", "show": False}))
    assert hidden[0].asked[1]["posts"] == [] and hidden[0].asked[1]["brief"] == ""


def test_verify_takes_the_best_where_none_is_accepted():
    outcome = decide(team_of([lambda obs: obs.path[0], scores(None, 4, 1)], "verify"))
    assert played(outcome)[0] == "bee" and vote(outcome)["scores"] == [None, 0.4, 0.1]
    assert outcome.counts["p0"]["not_accepted"] == 1 and outcome.counts["p0"]["member_faults"] == 1
    tied = decide(team_of([lambda obs: obs.path[0], scores(0, 0, 0)], {"name": "verify", "accept": 0.5}))
    assert played(tied)[0] == "ape"  # the first of equals
    blind = decide(team_of([lambda obs: obs.path[0], scores(None, None, None)], {"name": "verify", "accept": 0}))
    assert blind.counts["p0"]["not_accepted"] == 1 and len(posts(blind)) == 6  # a failed judgement accepts nothing


def test_refine_repairs():
    names = ("designer", "generator", "verifier", "suggester", "router", "corrector", "structurer")
    roles = dict(zip(names, "abcdefg", strict=True))
    answers = [
        any_form(0),
        any_form(0),
        scores(3, 8),
        any_form(0),
        lambda obs: "design",
        any_form(1),
        lambda obs: obs.inbox[-1].body["value"] + 1,
    ]
    outcome = decide(team_of(answers, {"name": "refine", "roles": roles}))
    acts = ["design", "generate", "verify", "suggest", "back", "design", "correct", "verify", "structure"]
    assert [p["act"] for p in posts(outcome)] == acts and played(outcome)[0] == "cat"
    one = decide(team_of([lambda obs: {"score": 9, "reason": ""} if obs.spec.kind == "data" else sides(obs)], "refine"))
    assert [p["act"] for p in posts(one)] == ["design", "generate", "verify", "structure"]


# -- orchestrate -----------------------------------------------------------------------------------


def lead(*orders):
    left = list(orders)

    def answer(obs):
        return left.pop(0) if obs.spec is not obs.seat_spec else min(len(obs.inbox), 3)

    return answer


def test_the_orchestrator_plans_turn_by_turn():
    first, done = {"to": "c", "instruction": "look left"}, {"to": "answer", "instruction": ""}
    mine = members(lead(first, done), any_form(0), any_form(0))
    outcome = decide(make_team(mine, "orchestrate"))
    assert order(outcome) == [(0, "a", "orchestrate"), (0, "c", "work"), (1, "a", "orchestrate"), (2, "a", "answer")]
    assert mine[2].asked[0]["brief"] == "look left" and mine[2].asked[0]["posts"] == [] and mine[1].asked == []
    assert posts(outcome)[1]["told"] == [0] and posts(outcome)[3]["sees"] == [0, 1] and played(outcome)[0] == "cat"
    worker = decide(team_of([lead(*[{"to": "b", "instruction": "x"}] * 4), lambda obs: None], "orchestrate"))
    assert len(posts(worker)) == 9 and worker.counts["p0"]["member_faults"] == 4  # it leads on without them


def test_the_orchestrator_plans_at_once():
    plan = [{"to": "b", "instruction": "one"}, {"to": "c", "instruction": "two"}, {"to": "b", "instruction": "three"}]
    mine = members(lead(plan), any_form(0), any_form(0))
    outcome = decide(make_team(mine, {"name": "orchestrate", "replan": False}))
    assert order(outcome) == [
        (0, "a", "plan"),
        (1, "b", "work"),
        (1, "c", "work"),
        (1, "b", "work"),
        (2, "a", "answer"),
    ]
    assert [t["brief"] for t in mine[1].asked] == ["one", "three"] and posts(outcome)[4]["sees"] == [0, 1, 2, 3]
    bad = decide(team_of([lead([{"to": "zoe", "instruction": ""}]), 0, 0], {"name": "orchestrate", "replan": False}))
    assert [p["act"] for p in posts(bad)] == ["plan", "answer"] and "fault" in posts(bad)[0]


# -- tree: two faults of Static-DRA ----------------------------------------------------------------


def splitter(obs):
    """Names as many parts as it may, each new, whatever it splits."""
    if obs.spec.kind == "data":
        width = obs.spec.schema["maxItems"]
        return [f"part {'.'.join(map(str, obs.path[-3:]))}.{i}" for i in range(width)]
    return sides(obs)


@pytest.mark.parametrize(
    ("depth", "breadth", "decay", "most"),
    [
        (2, 5, "minus2", 15),
        (2, 5, "halve", 10),
        (2, 5, "none", 25),
        (3, 4, "halve", 8),
        (1, 5, "minus2", 5),
        (3, 5, "minus2", 15),
    ],
)
def test_the_breadth_decays_as_it_says(depth, breadth, decay, most):
    table = {"name": "tree", "depth": depth, "breadth": breadth, "decay": decay, "most": 200}
    outcome = decide(team_of([splitter] * 3, table))
    assert (
        leaves(depth, breadth, decay)
        == most
        == vote(outcome)["leaves"]
        == sum(p["act"] == "part" for p in posts(outcome))
    )
    assert len(posts(outcome)) == Tree(**{k: v for k, v in table.items() if k != "name"}).calls(3)


def test_siblings_see_the_topics_that_are_taken():
    """Every part of a level is asked to be split knowing all parts of that level; repetitions are dropped."""

    def repeats(obs):
        if obs.spec.kind != "data":
            return sides(obs)
        return ["north", "south", "North "] if obs.path[0] == 0 else ["south", f"hill {obs.path[2]}"]

    mine = members(repeats, any_form(0), any_form(0))
    outcome = decide(make_team(mine, {"name": "tree", "depth": 2, "breadth": 4}))
    second = [t["brief"] for t in mine[0].asked if t["path"][0] == 1]
    assert len(second) == 2 and all("north; south" in b for b in second)
    assert outcome.counts["p0"]["parts_repeated"] == 3
    assert vote(outcome)["topics"] == ["north", "south", "hill 0", "hill 1"] and vote(outcome)["leaves"] == 2
    parts = [p for p in posts(outcome) if p["act"] == "part"]
    assert [t["brief"][-6:] for t in mine[1].asked] == ["hill 0", "hill 1"] and [p["told"] for p in parts] == [[1], [2]]
    assert posts(outcome)[-1]["sees"] == [1, 2, *[p["id"] for p in parts]]


@pytest.mark.parametrize("most", [2, 6, 7, 12, 20, 21, 22, 60])
def test_a_tree_stays_within_its_limit(most):
    outcome = decide(
        team_of([splitter] * 3, {"name": "tree", "depth": 2, "breadth": 5, "decay": "minus2", "most": most})
    )
    assert len(posts(outcome)) <= most and ("pruned" in outcome.counts["p0"]) == (most < 22)
    assert len(posts(outcome)) == (22 if most >= 22 else 7 if most >= 7 else 1)


# -- route -----------------------------------------------------------------------------------------


def test_routes():
    mine = members(lambda obs: "c" if obs.spec is not obs.seat_spec else 0, 1, 2)
    outcome = decide(make_team(mine, {"name": "route", "about": {"b": "birds", "c": "cats"}}))
    assert order(outcome) == [(0, "a", "route"), (1, "c", "answer")] and played(outcome)[0] == "cat"
    assert "- b: birds" in mine[0].asked[0]["brief"] and vote(outcome)["routed"] == ["c"]
    assert "router chose nobody" in fault(decide(team_of([99, 1], "route")))
    lost = decide(
        team_of([0, 1, lambda obs: Fault("error", "gone")], {"name": "route", "by": "words", "about": {"c": "turn"}})
    )
    assert "gone" in fault(lost)


def test_words_route_by_what_the_task_is_about():
    table = {
        "name": "route",
        "by": "words",
        "about": {"a": "the moon and tides", "b": "a turn of the game", "c": "turn"},
    }
    outcome = decide(team_of([0, 1, 2], table))
    assert vote(outcome)["routed"] == ["c"]  # the text view says: turn: 0
    top = decide(team_of([0, 1, 1], {**table, "top": 3}))
    assert len(posts(top)) == 3 and played(top)[0] == "bee"
    lost = [decide(team_of([0, 1, 2], {"name": "route", "by": "words"}), Block(4, b)) for b in range(40)]
    assert all(o.counts["p0"]["route_unmatched"] == 1 for o in lost)
    assert {vote(o)["routed"][0] for o in lost} == {"a", "b", "c"}  # no bias to the first


def test_bm25_against_its_formula():
    """A term of one of two documents of equal length: idf ln(1 + 1.5/1.5), tf weight 2.5/2.5."""
    assert bm25("cat", ["cat dog", "bee ape"]) == pytest.approx([0.6931471805599453, 0.0])
    assert bm25("cat cat", ["cat dog", "bee ape"]) == bm25("cat", ["cat dog", "bee ape"])
    twice = bm25("cat", ["cat cat cat bee", "bee ape"])
    assert twice[0] == pytest.approx(0.6931471805599453 * 3 * 2.5 / (3 + 1.5 * (0.25 + 0.75 * 4 / 3)))
    assert bm25("", ["a"]) == [0.0] and bm25("x", []) == []


# -- graph -----------------------------------------------------------------------------------------


def test_the_graph_learns_who_should_meet():
    """An oracle scores the exchanges of b and c high and all others low: they meet again, the others are cut."""

    def oracle(obs):
        if obs.spec.kind != "data":
            return 0
        who = {m.src for m in obs.inbox}
        return {"score": 10 if who == {"b", "c"} else 0, "reason": ""}

    table = {"name": "graph", "rounds": 12, "meetings": 1, "epsilon": 0.0}
    outcome = decide(team_of([oracle, 1, 1, 2, 2], table))
    values = {(a, b): q for a, b, q in vote(outcome)["values"]}
    assert max(values, key=values.get) == ("b", "c") and values["b", "c"] > 0.9
    met = [p["member"] for p in posts(outcome) if p["act"] == "improve"]
    assert met[-6:] == ["b", "c"] * 3 and vote(outcome)["meetings"] == 12
    assert all(0 <= q <= 1 for q in values.values())
    assert len(vote(outcome)["answers"]) == 4  # the reflector does not vote


def test_who_meets_again_hears_each_other_again():
    table = {"name": "graph", "rounds": 3, "meetings": 1, "epsilon": 0.0, "cut": 0.0}
    outcome = decide(team_of([lambda obs: {"score": 9, "reason": ""} if obs.spec.kind == "data" else 0, 1, 2], table))
    shown = [p["sees"] for p in posts(outcome) if p["act"] == "improve"]
    assert len(shown) == 6 and all(len(s) == 2 for s in shown)


def test_a_graph_without_pairs_ends():
    outcome = decide(
        team_of(
            [lambda obs: {"score": 0, "reason": ""} if obs.spec.kind == "data" else 0, 1, 2],
            {"name": "graph", "eta": 1.0},
        )
    )
    assert vote(outcome)["meetings"] == 1 and vote(outcome)["values"] == [["b", "c", 0.0]]
    blind = decide(team_of([lambda obs: None, 1, 2], {"name": "graph", "rounds": 2}))
    assert vote(blind)["values"] == [["b", "c", 0.5]]  # no score, no change
