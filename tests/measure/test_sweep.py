"""Sweeps over rules on recorded ballots."""

import numpy as np
import pytest

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure.ballots import Ballots
from crossplay.measure.rulebook import make_rule
from crossplay.measure.sweep import sweep

K = key("test", "sweep")

# Three discussions of three members over three turns.
CHOICES = np.array(
    [
        [[0, 1, 2], [0, 0, 2], [0, 0, 0]],  # agree at the end
        [[1, 1, 1], [1, 1, 0], [1, 0, 0]],  # agree at once, drift away
        [[0, 1, 2], [2, 1, 0], [0, 1, 2]],  # never agree
    ]
)


def by_name(rows):
    return {r.rule: r for r in rows}


def test_at_the_end():
    rows = by_name(sweep(Ballots(choices=CHOICES), ["unanimity", "majority"], 3, key=K, truth=[0, 1, 2]))
    u = rows["unanimity"]
    assert (u.accuracy.value, u.decided, u.correct_if_decided) == (pytest.approx(1 / 3), pytest.approx(1 / 3), 1.0)
    assert (u.calls, u.spare_calls, u.further_calls, u.mark) == (27, 0, 6, "open elections")
    m = rows["majority"]
    assert (m.accuracy.value, m.decided, m.correct_if_decided, m.further_calls) == (
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
        0.5,
        3,
    )
    assert u.accuracy.n == 3


def test_stopping_at_the_first_decision():
    rows = by_name(sweep(Ballots(choices=CHOICES), ["unanimity", "majority"], 3, key=K, truth=[0, 1, 2], when="first"))
    u = rows["unanimity"]
    assert u.accuracy.value == pytest.approx(2 / 3)
    assert u.turn == 2.0  # turns 3 and 1
    assert (u.calls, u.spare_calls, u.further_calls) == (9 + 3 + 9, 6, 3)
    m = rows["majority"]
    assert m.turn == 1.5
    assert (m.calls, m.spare_calls, m.further_calls) == (6 + 3 + 9, 9, 3)
    late = sweep(Ballots(choices=CHOICES), ["majority"], 3, key=K, when="first", start=3)[0]
    assert (late.turn, late.accuracy, late.correct_if_decided) == (3.0, None, None)


def test_hybrid_reads_the_turn():
    choices = np.tile([0, 0, 0, 1], (1, 6, 1))
    row = sweep(Ballots(choices=choices), ["hybrid"], 2, key=K, when="first")[0]
    assert (row.turn, row.calls, row.spare_calls) == (5.0, 20, 4)
    row = sweep(Ballots(choices=choices), ["hybrid"], 2, key=K, when="first", voters=[4], calls=np.full((1, 6), 9))[0]
    assert (row.calls, row.spare_calls) == (45, 9)


def test_stopping_equals_a_discussion_that_stops():
    """Against a loop that runs each discussion by itself and looks after every turn."""
    r = generator(key("test", "stopping"))
    choices = r.integers(-2, 3, (40, 4, 5))
    truth = r.integers(0, 3, 40)
    for spec in ("majority", {"name": "plurality", "ties": "undecided"}, "unanimity"):
        rule, hits, calls, open_, rejected = make_rule(spec), 0, 0, 0, 0
        for i in range(40):
            for t in range(4):
                d = rule(Ballots(choices=choices[i, t]), 3, key=K, index=i, turn=t + 1)
                calls += 5
                rejected += int(d.rejected)
                if d.winner >= 0:
                    hits += d.winner == truth[i]
                    break
            open_ += d.winner < 0
        row = sweep(Ballots(choices=choices), [spec], 3, key=K, truth=truth, when="first")[0]
        assert row.accuracy.value == pytest.approx(hits / 40)
        assert (row.calls, row.further_calls, row.rejected) == (calls, 5 * open_, rejected)
        assert row.calls + row.spare_calls == 40 * 4 * 5


def test_a_form_that_was_not_recorded_costs_calls():
    row = sweep(Ballots(choices=CHOICES), ["borda"], 3, key=K, truth=[0, 0, 0])[0]
    assert (row.mark, row.accuracy, row.further_calls) == ("not recorded: ranking", None, 9)
    row = sweep(Ballots(choices=CHOICES), ["judge"], 3, key=K, truth=[0, 0, 0])[0]
    assert (row.mark, row.further_calls) == ("not recorded: verdict", 3)
    verdicts = np.full((3, 3, 1), -1)
    verdicts[:, 2] = 0
    judged = sweep(Ballots(choices=CHOICES, verdicts=verdicts), ["judge"], 3, key=K, truth=[0, 0, 1])[0]
    assert judged.accuracy.value == pytest.approx(2 / 3)


def test_blocks_are_questions():
    row = sweep(Ballots(choices=CHOICES), ["majority"], 3, key=K, truth=[0, 1, 2], blocks=["q1", "q1", "q2"])[0]
    assert row.accuracy.n == 2
    assert row.accuracy.value == pytest.approx((0.5 + 0) / 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"when": "often"}, "when"),
        ({"start": 4}, "start"),
        ({"truth": [0]}, "truth"),
        ({"ballots": Ballots()}, "no ballots"),
        ({"ballots": Ballots(choices=CHOICES, verdicts=np.zeros((3, 2, 1)))}, "disagree"),
        ({"ballots": Ballots(choices=[[0, 1]])}, "expected \\[elections"),
        ({"ballots": Ballots(choices=CHOICES, approvals=np.zeros((3, 3, 2, 3)))}, "disagree"),
        ({"rules": ["majorty"]}, 'Did you mean "majority"'),
    ],
)
def test_errors(change, says):
    given = {"ballots": Ballots(choices=CHOICES), "rules": ["majority"], **change}
    with pytest.raises(CrossplayError, match=says):
        sweep(given.pop("ballots"), given.pop("rules"), 3, key=K, **given)
