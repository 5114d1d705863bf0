"""OPTAGENT: the enumeration itself, the reflector's knowledge, and what a trial says."""

from __future__ import annotations

import itertools
import types

import pytest

from crossplay.gallery.optagent import exact
from crossplay.gallery.optagent.claim import ENTRY, check, judge
from crossplay.gallery.optagent.study import LEVELS, Settings, control, discussions, study
from crossplay.measure.stats.results import Interval
from crossplay.study.spec import parse_study

SMALL = {"eta": 0.5, "epsilon": 0.1, "cut": 0.2, "root": 0}


@pytest.mark.parametrize("competence", [0.3, 0.6, 0.9])
def test_without_rounds_the_law_is_the_vote(competence):
    law = exact.learnt(exact.started(3, competence), 0, 0.5, 0.9, 0.5, 0.1, 0.2)
    assert exact.majority(law)[0] == pytest.approx(competence**2 * (3 - 2 * competence))


@pytest.mark.parametrize("minority", [False, True])
@pytest.mark.parametrize("eta,epsilon,cut", [(0.5, 0.1, 0.2), (1.0, 0.0, 0.5), (0.0, 1.0, 0.0)])
def test_chances_add_up_and_the_share_is_conserved(minority, eta, epsilon, cut):
    first = exact.started(3, 0.6, minority)
    law = exact.learnt(first, 3, 0.4, 0.9, eta, epsilon, cut)
    assert sum(law.values()) == pytest.approx(1)
    assert exact.majority(law)[1] == pytest.approx(exact.majority(first)[1])
    debated = exact.debated(first, 3, 0.4)
    assert exact.majority(debated)[1] == pytest.approx(exact.majority(first)[1])


def test_one_random_meeting_by_hand():
    """One of three right, one meeting: a pair with it is 2 of 3; both right needs W talked round and R not."""
    o = 0.5
    law = exact.learnt(exact.started(3, 0.6, True), 1, o, 0.9, 0.0, 1.0, 0.0)
    assert exact.majority(law)[0] == pytest.approx(2 / 3 * o * (1 - o))


def test_a_reflector_of_one_channel_judges_alike_and_of_many_apart():
    def repeats(**more):
        found = discussions("graph", 4, 1, 2, 0.6, 0.0, 0.6, n=150, **SMALL, **more)
        both = [m for m in found.meetings if m[0][1][0] == m[0][1][1] and m[1][1][0] == m[1][1][1]]
        return sum((m[0][2] == 1.0) == (m[0][1][0] == (m[1][2] == 1.0)) for m in both) / len(both)

    assert repeats() < 0.9  # judgements of one round come from clues of their own


def test_stubborn_debaters_leave_the_vote_as_it_was():
    found = discussions("graph", 3, 3, 1, 0.6, 0.0, 0.9, n=60, **SMALL)
    assert (found.first == found.last).all()
    assert (found.right == (found.first.mean(1) > 0.5)).all()


def test_a_broken_graph_is_found():
    wrong = {f.name for f in check(Settings(n=300, n_many=60, competence=0.6, eta=0.0)) if not f.holds}
    assert {"tells", "small: beats both", "small: minority"} <= wrong


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
def test_studies_are_studies(level):
    for made in (control, study):
        plan = parse_study(made(["qwen2.5-coder-0.5b"], level, 4))
        assert ENTRY.trial.single in plan.lineups


def row(lineup, difference, low, high, tokens=100):
    interval = Interval(low, high, 0.95, "t", 30)
    comparison = types.SimpleNamespace(difference=difference, interval=interval, blocks=30)
    costs = types.SimpleNamespace(tok_in=tokens, tok_out=0)
    return types.SimpleNamespace(
        lineup=lineup, comparison=comparison, costs=costs, summary=types.SimpleNamespace(blocks=30)
    )


def test_the_judge_turns_signs_and_says_what_is_underpowered():
    rows = [
        row("learnt", 0.0, 0.0, 0.0, 50),
        row("debate", -0.3, -0.4, -0.2, 100),
        row("vote", -0.05, -0.2, 0.1),
        row("random meetings", 0.1, 0.05, 0.15),
        row("constant", -0.2, -0.3, -0.1),
    ]
    found = {f.name: f for f in judge(types.SimpleNamespace(rows=rows), None)}
    assert found["over debate"].holds and found["over debate"].value == pytest.approx(0.3)
    assert not found["over vote"].holds and "underpowered" in found["over vote"].says
    assert not found["over random meetings"].holds and found["over random meetings"].high == pytest.approx(-0.05)
    assert found["tokens"].holds and found["tokens"].value == 0.5


def test_the_greedy_choice_is_the_best_pair_or_a_drawn_one():
    for q in itertools.product((0.1, 0.5, 0.75), repeat=3):
        law = dict(exact._chosen(q, 0.1, 0.2))
        assert sum(law.values()) == pytest.approx(1.0 if law else 0.0)
        assert all(q[i] >= 0.2 for i in law)
