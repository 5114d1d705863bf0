"""Decision rules against references written here in plain Python, one ballot at a time."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure import rules
from crossplay.measure.ballots import Ballots
from crossplay.measure.rulebook import RULES, make_rule

quick = settings(max_examples=80, deadline=None)
K = key("test", "rules")


def test_every_rule_is_named_and_says_what_it_asks_for():
    forms = {"choice", "confidence", "score", "approval", "points", "ranking", "verdict"}
    for name, kind in RULES.items():
        rule = make_rule(name)
        assert type(rule) is kind
        assert rule.name == name
        assert set(rule.asks) <= forms
        assert kind.__doc__
        with pytest.raises(CrossplayError, match="asks for"):
            rule(Ballots(), 3, key=K, turn=1)
    stopping = {name for name in RULES if make_rule(name).stops}
    assert stopping == {"majority", "supermajority", "unanimity", "hybrid"}
    assert make_rule({"name": "plurality", "ties": "undecided"}).stops
    assert make_rule({"name": "condorcet", "fallback": "undecided"}).stops


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("superm", 'Did you mean "supermajority"'),
        ({"name": "supermajority", "shares": 0.6}, 'unknown parameter "shares". Did you mean "share"'),
        ({"name": "supermajority", "share": 1.5}, 'rule "supermajority": Expected `float` <= 1'),
        ({"name": "supermajority", "share": "x"}, "share"),
        ({"name": "irv", "top": 2}, "It has none"),
        ({"share": 1.0}, "expected a name"),
        ({"name": "condorcet", "fallback": "bordo"}, "bordo"),
    ],
)
def test_errors_name_the_word(spec, says):
    with pytest.raises(CrossplayError) as error:
        make_rule(spec)
    assert says in str(error.value)


def test_thresholds():
    two_of_four = [[0, 0, 1, 2]]
    assert rules.majority(two_of_four, 3, key=K).winner.tolist() == [-1]
    assert rules.majority(two_of_four, 3, key=K, at_least=True).winner.tolist() == [0]
    halves = rules.majority([[0, 0, 1, 1]], 2, key=K, at_least=True)
    assert halves.tied.tolist() == [True]
    assert halves.winner[0] in (0, 1)
    assert rules.supermajority([[0, 0, 1]], 2, key=K).winner.tolist() == [0]
    assert rules.supermajority([[0] * 33 + [1] * 17], 2, key=K, share=0.66).winner.tolist() == [0]
    assert rules.supermajority([[0] * 65 + [1] * 35], 2, key=K, share=0.66).winner.tolist() == [-1]
    assert rules.unanimity([[1, 1, -1], [1, 1, 0]], 2, key=K).winner.tolist() == [1, -1]
    assert rules.unanimity([[1, 1, -1], [1, 1, 1]], 2, key=K, of="all").winner.tolist() == [-1, 1]
    # Of five voters, two of which are only padding of the batch.
    three = rules.unanimity([[1, 1, 1, -1, -1]], 2, key=K, of="all", voters=[3])
    assert three.winner.tolist() == [1]
    with pytest.raises(CrossplayError, match="more valid ballots"):
        rules.majority([[0, 0, 0]], 2, key=K, of="all", voters=[2])
    with pytest.raises(CrossplayError, match="share"):
        rules.supermajority([[0]], 1, key=K, share=0.0)


def test_hybrid_consensus_relaxes_with_the_turn_and_never_for_few():
    c = [[0, 0, 0, 1]]
    assert rules.hybrid_consensus(c, 2, key=K, turn=4).winner.tolist() == [-1]
    assert rules.hybrid_consensus(c, 2, key=K, turn=5).winner.tolist() == [0]
    assert rules.hybrid_consensus([[0, 0, 1]], 2, key=K, turn=9, share=0.6).winner.tolist() == [-1]
    assert rules.hybrid_consensus([[0, 0, 1, -1]], 2, key=K, turn=9, share=0.6, voters=[3]).winner.tolist() == [-1]
    both = rules.hybrid_consensus(c * 2, 2, key=K, turn=[4, 5])
    assert both.winner.tolist() == [-1, 0]
    with pytest.raises(CrossplayError, match="needs the turn"):
        make_rule("hybrid")(Ballots(choices=c), 2, key=K)


def test_malformed_ballots_are_counted_and_absent_ones_are_not():
    d = rules.plurality([[0, 0, 7, -2, -1, 1]], 3, key=K)
    assert (d.valid[0], d.rejected[0]) == (3, 2)
    d = rules.plurality([[0.0, math.nan, 1.5, math.inf, -1.0]], 3, key=K)
    assert (d.winner[0], d.valid[0], d.rejected[0]) == (0, 1, 3)
    d = rules.approval([[[1, 0, 1], [2, 0, 0], [-1, -1, -1], [-1, 1, 0], [0, 0, 0]]], 3, key=K)
    assert (d.valid[0], d.rejected[0]) == (2, 2)
    nan = math.nan
    d = rules.cumulative([[[1, 2, 2], [nan] * 3, [nan, 5, 0], [-1, 6, 0], [0, 0, 4], [5, 0, 0]]], 3, key=K, total=5)
    assert (d.valid[0], d.rejected[0]) == (2, 3)
    assert d.tally[0] == pytest.approx([1.2, 0.4, 0.4])
    d = rules.cumulative([[[0, 0], [1, 3], [math.inf, 0]]], 2, key=K)
    assert (d.valid[0], d.rejected[0], d.winner[0]) == (1, 2, 1)
    d = rules.confidence_weighted([[0, 0, 1, 1, -1]], [[0.6, nan, 1.2, 0.9, nan]], 2, key=K)
    assert (d.valid[0], d.rejected[0], d.winner[0]) == (2, 2, 1)
    d = rules.best_of_n([[0, 1, 2, -1]], [[0.2, nan, 0.1, 9.0]], 3, key=K)
    assert (d.valid[0], d.rejected[0], d.winner[0]) == (2, 1, 0)
    for nothing in (rules.plurality([[-1, -1], [9, 9]], 2, key=K), rules.approval(np.zeros((2, 3, 2), bool), 2, key=K)):
        assert nothing.winner.tolist() == [-1, -1]
        assert not nothing.tied.any()
    assert rules.plurality(np.empty((2, 0), int), 2, key=K).winner.tolist() == [-1, -1]


def test_shapes_and_kinds_are_checked():
    with pytest.raises(CrossplayError, match="n_options"):
        rules.plurality([0], 0, key=K)
    with pytest.raises(CrossplayError, match="expected numbers"):
        rules.plurality(["a", "b"], 2, key=K)
    with pytest.raises(CrossplayError, match="columns"):
        rules.approval(np.zeros((3, 2), bool), 3, key=K)
    with pytest.raises(CrossplayError, match="differ"):
        rules.confidence_weighted([0, 1], [0.5], 2, key=K)
    with pytest.raises(CrossplayError, match="one ballot"):
        rules.judge([[0, 1]], 2, key=K)
    with pytest.raises(CrossplayError, match="does not fit"):
        rules.plurality([[0, 1]], 2, key=K, index=[1, 2])
    one = rules.plurality([0, 0, 1], 2, key=K)
    assert (one.winner.shape, one.tally.shape, one.valid.shape) == ((), (2,), ())


def test_a_judge_is_passed_through():
    d = rules.judge([[2], [-1], [5]], 3, key=K)
    assert d.winner.tolist() == [2, -1, -1]
    assert d.rejected.tolist() == [0, 0, 1]


def test_confidence_weights_are_log_odds():
    d = rules.confidence_weighted([[0, 0, 1]], [[0.6, 0.6, 0.9]], 2, key=K)
    assert d.tally[0] == pytest.approx([2 * math.log(1.5), math.log(9)])
    assert d.winner[0] == 1
    sure = rules.confidence_weighted([[0, 1, 1]], [[1.0, 0.9, 0.9]], 2, key=K, clip=0.05)
    assert sure.tally[0] == pytest.approx([math.log(19), 2 * math.log(9)])
    chance = rules.confidence_weighted([[0]], [[0.25]], 4, key=K, prior="uniform")
    assert chance.tally[0] == pytest.approx([0, 0, 0, 0])
    assert chance.winner[0] == 0  # only options with a ballot can win


def test_uniform_prior_is_the_most_probable_answer():
    """Exact posterior over M options, wrong answers equally likely, by enumeration of Bayes' rule."""
    r = generator(key("test", "bayes"))
    choices, sure = r.integers(0, 4, (50, 5)), r.uniform(0.1, 0.9, (50, 5))
    d = rules.confidence_weighted(choices, sure, 4, key=K, prior="uniform")
    for c, p, winner in zip(choices, sure, d.winner, strict=True):
        like = [math.prod(q if x == m else (1 - q) / 3 for x, q in zip(c, p, strict=True)) for m in range(4)]
        chosen = sorted(set(c), key=lambda m: -like[m])
        assert like[winner] == pytest.approx(like[chosen[0]])


def test_best_of_n_takes_the_best_or_the_sum():
    c, s = [[0, 1, 1]], [[0.9, 0.6, 0.6]]
    assert rules.best_of_n(c, s, 3, key=K).winner[0] == 0
    d = rules.best_of_n(c, s, 3, key=K, combine="sum")
    assert d.winner[0] == 1
    assert d.tally[0].tolist() == [0.9, 1.2, -math.inf]
    assert rules.best_of_n([[0, 1]], [[-3.0, -3.0]], 2, key=K).tied[0]
    assert not rules.best_of_n([[1, 1]], [[-3.0, -3.0]], 2, key=K).tied[0]


ballots = hs.integers(1, 5).flatmap(
    lambda m: hs.tuples(hs.just(m), hs.lists(hs.integers(-2, m), min_size=1, max_size=9))
)


@quick
@given(ballots)
def test_plurality_equals_counting(case):
    m, votes = case
    d = rules.plurality(votes, m, key=K)
    counts = Counter(v for v in votes if 0 <= v < m)
    assert d.tally.tolist() == [counts[o] for o in range(m)]
    assert d.valid == sum(counts.values())
    assert d.rejected == sum(v != -1 for v in votes) - d.valid
    best = [o for o in counts if counts[o] == max(counts.values())]
    assert (d.winner in best) if best else (d.winner == -1)
    assert d.tied == (len(best) > 1)
    held = rules.plurality(votes, m, key=K, ties="undecided")
    assert held.winner == (best[0] if len(best) == 1 else -1)
    for share in (0.5, 0.66, 1.0):
        n = sum(counts.values())
        enough = [o for o in counts if counts[o] / n >= share]
        s = rules.supermajority(votes, m, key=K, share=share)
        assert (s.winner in enough) if enough else (s.winner == -1)


def test_sums_that_differ_by_rounding_are_equal():
    assert 0.1 + 0.2 != 0.3
    d = rules.best_of_n([[0, 0, 1]], [[0.1, 0.2, 0.3]], 2, key=K, combine="sum")
    assert d.tied[0]
    d = rules.best_of_n([[0, 0, 1]], [[0.1, 0.2, 0.3001]], 2, key=K, combine="sum")
    assert (d.tied[0], d.winner[0]) == (False, 1)


def test_ties_are_drawn_evenly_and_by_address():
    n = 6000
    tie = np.tile([0, 1, 2], (n, 1))
    d = rules.plurality(tie, 3, key=K)
    assert d.tied.all()
    shares = np.bincount(d.winner) / n
    assert np.abs(shares - 1 / 3).max() < 0.03  # five standard deviations
    assert (rules.plurality(tie, 3, key=K).winner == d.winner).all()
    assert (rules.plurality(tie, 3, key=key("other")).winner != d.winner).any()
    assert (rules.plurality(tie[:7], 3, key=K, index=np.arange(n - 7, n)).winner == d.winner[-7:]).all()
    # The order of voters cannot move a draw, and the draw of an option does not depend on its rivals.
    assert (rules.plurality(tie[:, ::-1], 3, key=K).winner == d.winner).all()
    pair = rules.plurality(np.tile([0, 1], (n, 1)), 3, key=K).winner
    assert (pair[d.winner < 2] == d.winner[d.winner < 2]).all()


def test_a_million_voters():
    r = generator(key("test", "million"))
    c = r.integers(-1, 5, 1_000_000)
    d = rules.plurality(c, 5, key=K)
    assert d.tally.tolist() == np.bincount(c[c >= 0], minlength=5).tolist()
    sure = r.uniform(size=c.size)
    w = rules.confidence_weighted(c, sure, 5, key=K)
    assert w.valid == d.valid == (c >= 0).sum()
    p = r.dirichlet([1, 1, 1], c.size)
    q = rules.cumulative(p, 3, key=K)
    assert q.tally.sum() == pytest.approx(1_000_000)
    assert rules.approval(p > 0.5, 3, key=K).tally.tolist() == (p > 0.5).sum(0).tolist()


def test_a_million_elections():
    r = generator(key("test", "elections"))
    c = r.integers(0, 3, (1_000_000, 3))
    d = rules.plurality(c, 3, key=K)
    assert d.tied.mean() == pytest.approx(6 / 27, abs=0.003)
    few = r.integers(0, 1_000_000, 50)
    for i in few:
        assert rules.plurality(c[i], 3, key=K, index=i).winner == d.winner[i]
