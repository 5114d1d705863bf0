"""From posts to an answer: rules, ballots in their forms, judges and verifiers, ties, no decision."""

import numpy as np
import pytest
import scipy.stats
from deliberate import Member, any_form, decide, fault, members, played, posts, team_of, vote

from crossplay.kernel import Action, Block, Fault
from crossplay.measure.ballots import Ballots
from crossplay.measure.rulebook import RULES, make_rule
from crossplay.teams import make_team


def voter(own, ballot):
    """Answers `own`, and votes with `ballot` (or a function of the request)."""

    def answer(obs):
        if obs.spec is obs.seat_spec:
            return own
        return ballot(obs) if callable(ballot) else ballot

    return answer


def ruled(rule, *votes, **more):
    return decide(team_of([voter(*v) for v in votes], {"name": "vote", "rule": rule, **more}))


# -- ties ------------------------------------------------------------------------------------------


def test_ties_are_drawn_from_the_seed_and_favour_nobody():
    """Two against two in 400 blocks: the same again under the same seed, neither the first nor the lowest favoured."""
    team = team_of([3, 1, 3, 1])
    won = [played(decide(team, Block(9, b)))[0] for b in range(240)]
    assert won[:40] == [played(decide(team, Block(9, b)))[0] for b in range(40)]
    assert all(vote(decide(team, Block(9, b)))["tied"] for b in range(5))
    assert scipy.stats.chisquare([won.count("dog"), won.count("bee")]).pvalue > 1e-3
    four = team_of([2, 0, 3, 1])
    shares = np.bincount([vote(decide(four, Block(9, b)))["candidates"].index(_index(four, b)) for b in range(240)])
    assert scipy.stats.chisquare(shares).pvalue > 1e-3
    other = [played(decide(team, Block(10, b)))[0] for b in range(240)]
    assert 70 < sum(a != b for a, b in zip(won, other, strict=True)) < 170


def _index(team, b):
    from deliberate import NAMES

    return NAMES.index(played(decide(team, Block(9, b)))[0])


def test_rules_that_meet_the_same_tie_break_it_alike():
    answers = [any_form(a) for a in (3, 1, 3, 1)]
    for b in range(20):
        by = {
            r: played(decide(team_of(answers, {"name": "vote", "rule": r}), Block(9, b)))
            for r in ("plurality", "confidence")
        }
        assert len(set(by.values())) == 1


# -- no decision -----------------------------------------------------------------------------------


def test_otherwise_decides_where_the_rule_does_not():
    fallen = ruled("unanimity", (1, None), (1, None), (2, None))
    assert played(fallen) == ("bee", "own") and vote(fallen)["otherwise"] and fallen.counts["p0"]["undecided"] == 1
    none = ruled("unanimity", (1, None), (1, None), (2, None), otherwise="")
    assert (
        fault(none)
        == "invalid: team: unanimity reached no decision"
        == f"invalid: {vote(none)['why']}".replace("invalid: ", "invalid: team: ")
    )
    assert (
        none.counts["p0"]["no_decision"] == 1 and played(none)[1] == "random" and none.counts["p0"]["link_random"] == 1
    )
    whole = ruled("unanimity", (1, None), (1, None), otherwise="")
    assert played(whole) == ("bee", "own") and not vote(whole)["otherwise"]


def test_absent_members_count_where_shares_are_of_all():
    rule = {"name": "supermajority", "share": 0.6, "of": "all"}
    absent = lambda obs: Fault("error", "away")  # noqa: E731
    assert vote(decide(team_of([1, 1, absent, absent], {"name": "vote", "rule": rule, "otherwise": ""})))["why"]
    valid = decide(team_of([1, 1, absent, absent], {"name": "vote", "rule": {**rule, "of": "valid"}}))
    assert played(valid) == ("bee", "own")


# -- confidence ------------------------------------------------------------------------------------


def test_confidence_weighs():
    sure = [lambda obs: Action(3, confidence=0.95), *[lambda obs: Action(1, confidence=0.55)] * 2]
    outcome = decide(team_of(sure, {"name": "vote", "rule": "confidence"}))
    assert played(outcome)[0] == "dog" and [p["confidence"] for p in posts(outcome)] == [0.95, 0.55, 0.55]
    mine = members(*sure)
    decide(make_team(mine, {"name": "vote", "rule": "confidence"}))
    assert all(a["wants"] == ("confidence",) for m in mine for a in m.asked)
    logodds = lambda p: float(np.log(p / (1 - p)))  # noqa: E731
    assert vote(outcome)["tally"] == pytest.approx([logodds(0.95), 2 * logodds(0.55)])


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan"), "high", True, [1]])
def test_a_confidence_that_is_none_is_dropped_and_counted(wrong):
    outcome = decide(team_of([lambda obs: Action(3, confidence=wrong), 1, 1], {"name": "vote", "rule": "confidence"}))
    counts = outcome.counts["p0"]
    assert counts["confidence_invalid"] == 1 and counts["confidence_missing"] == 3
    assert counts.get("member_faults", 0) == 0 and "confidence" not in posts(outcome)[0]


# -- ballots that are asked for --------------------------------------------------------------------


def test_approval_ballots():
    outcome = ruled("approval", (0, ["A", "B"]), (1, ["B", "C"]), (2, ["C", "B"]))
    assert played(outcome)[0] == "bee" and vote(outcome)["tally"] == [1.0, 3.0, 2.0]
    assert [p["act"] for p in posts(outcome)] == ["answer"] * 3 + ["vote"] * 3
    assert all("A) ape\nB) bee\nC) cat" in t["brief"] for t in _told("approval")) and vote(outcome)["valid"] == 3


def _told(rule):
    mine = members(*[voter(i, ["A"]) for i in range(3)])
    decide(make_team(mine, {"name": "vote", "rule": rule}))
    return [m.asked[1] for m in mine]


def test_points_are_shared_out():
    outcome = ruled("cumulative", (0, [10, 0, 0]), (1, [0, 9, 1]), (2, [0, 10, 10]))
    assert vote(outcome)["tally"] == pytest.approx([1.0, 1.4, 0.6]) and played(outcome)[0] == "bee"
    strict = ruled({"name": "cumulative", "total": 10}, (0, [10, 0, 0]), (1, [0, 5, 4]), (2, [0, 0, 10]))
    assert vote(strict)["rejected"] == 1 == strict.counts["p0"]["ballots_rejected"]
    one = ruled({"name": "cumulative", "total": 10}, (1, None), (1, None))
    assert played(one)[0] == "bee" and len(posts(one)) == 2  # one candidate needs no vote


@pytest.mark.parametrize("rule", ["borda", "irv", "condorcet"])
def test_rankings_are_counted_as_the_rule_counts_them(rule):
    votes = [["A", "B", "C"], ["A", "C"], ["B", "C", "A"], ["B", "A"], ["C", "B"]]
    outcome = ruled(rule, *[(min(i, 2), v) for i, v in enumerate(votes)])
    rows = [[" ABC".index(x) - 1 for x in v] + [-1] * (3 - len(v)) for v in votes]
    ballots = Ballots(rankings=np.array(rows), choices=np.array([0, 1, 2, 2, 2]))
    expected = make_rule(rule)(ballots, 3, key=b"k")
    assert vote(outcome)["candidates"][int(expected.winner)] == vote(outcome)["candidates"][1]
    assert np.allclose(vote(outcome)["tally"], np.nan_to_num(expected.tally, posinf=1e18, neginf=-1e18))


@pytest.mark.parametrize(
    ("rule", "ballot", "fate"),
    [
        ("approval", ["Z"], "fault"),
        ("approval", "A", "fault"),
        ("approval", [], "fault"),
        ("approval", None, "fault"),
        ("approval", ["A", "A"], "valid"),
        ("cumulative", [1, 2], "fault"),
        ("cumulative", [1, -2, 1], "fault"),
        ("cumulative", [0, 0, 0], "rejected"),
        ("cumulative", [0.5, 0.5, 0], "fault"),
        ("borda", ["A", "A"], "rejected"),
        ("borda", ["A", "B", "C", "D"], "fault"),
        ("borda", {"first": "A"}, "fault"),
    ],
)
def test_malformed_ballots_are_counted_and_never_mended(rule, ballot, fate):
    good = [5, 6, 7] if rule == "cumulative" else ["C"]
    outcome = ruled(rule, (0, ballot), (1, good), (2, good))
    counts = outcome.counts["p0"]
    assert counts.get("member_faults", 0) == (fate == "fault") and vote(outcome)["rejected"] == (fate == "rejected")
    assert vote(outcome)["valid"] == 2 + (fate == "valid") and counts.get("ballots_rejected", 0) == (fate == "rejected")
    assert played(outcome)[0] == "cat" if fate != "valid" else True


def test_nobody_votes_the_answers_decide():
    outcome = ruled("approval", (1, None), (1, None), (2, None))
    assert played(outcome)[0] == "bee" and vote(outcome)["otherwise"] and outcome.counts["p0"]["member_faults"] == 3
    assert vote(ruled("approval", (1, None), (1, None), (2, None), otherwise=""))["why"]


def test_a_judge_decides():
    outcome = ruled("judge", (0, None), (1, None), (1, "A"))
    assert played(outcome)[0] == "ape" and [p["act"] for p in posts(outcome)] == ["answer"] * 3 + ["judge"]
    named = ruled("judge", (0, "A"), (1, "B"), (1, "A"), roles={"judge": "b"})
    assert posts(named)[3]["member"] == "b" and played(named)[0] == "bee"
    silent = ruled("judge", (0, None), (1, None), (1, None))
    assert vote(silent)["otherwise"] and played(silent)[0] == "bee" and silent.counts["p0"]["undecided"] == 1
    assert len(posts(ruled("judge", (1, None), (1, None)))) == 2  # one candidate needs no judge


def test_a_verifier_scores_each_answer():
    def score(obs):
        return {"score": {"ape": 2, "cat": 9}[obs.brief.split("task: ")[1].split("\n")[0]], "reason": ""}

    outcome = ruled("best-of-n", (0, None), (2, score), (0, None), roles={"verifier": "b"})
    assert played(outcome)[0] == "cat" and vote(outcome)["tally"] == [0.2, 0.9] and len(posts(outcome)) == 5
    assert posts(outcome)[3]["sees"] == [0] and posts(outcome)[4]["sees"] == [1]
    blind = ruled("best-of-n", (0, None), (2, lambda obs: None), (0, None), roles={"verifier": "b"})
    assert vote(blind)["otherwise"] and played(blind)[0] == "ape" and vote(blind)["rejected"] == 3


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_decides_a_vote_and_a_debate(rule):
    for name in ("vote", "debate"):
        team = team_of([any_form(lambda obs: Action(obs.pick(4), confidence=0.7))] * 5, {"name": name, "rule": rule})
        for b in range(4):
            outcome = decide(team, Block(1, b))
            assert played(outcome)[1] == "own" and outcome.counts["p0"]["asks"] <= team.protocol.calls(5)


def test_there_may_be_more_candidates_than_letters():
    from deliberate import Words

    team = team_of(
        [voter(f"word {i}", lambda obs: [obs.spec.schema["items"]["enum"][-1]]) for i in range(1, 16)],
        {"name": "vote", "samples": 1, "rule": "approval"},
    )
    assert vote(decide(team, env=Words()))["tally"][-1] == 15.0
    many = Member("m", voter(lambda obs: 0, lambda obs: [obs.spec.schema["items"]["enum"][-1]]))
    many.answer = lambda obs: (
        f"word {obs.path[2]}" if obs.spec is obs.seat_spec else [obs.spec.schema["items"]["enum"][-1]]
    )
    outcome = decide(make_team([many], {"name": "vote", "samples": 60, "rule": "approval"}), env=Words())
    assert len(vote(outcome)["candidates"]) == 60 and vote(outcome)["tally"][-1] == 1.0
