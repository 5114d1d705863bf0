"""Answers of a team's members: spread, changes, coverage, selection, shares of talk."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure import answers as an

quick = settings(max_examples=60, deadline=None)
K = key("test", "answers")


def test_spread():
    gini, consensus = an.answer_spread([[0, 0, 1, 2], [1, 1, 1, -1], [-1, -1, -1, 7]], 3)
    assert consensus[:2] == pytest.approx([(4 + 1 + 1) / 16, 1])
    assert gini[:2] == pytest.approx([10 / 16, 0])
    assert np.isnan(gini[2]) and np.isnan(consensus[2])


@quick
@given(hs.lists(hs.integers(0, 50), min_size=1, max_size=8))
def test_inequality_is_the_mean_difference(x):
    n, total = len(x), sum(x)
    found = an.inequality(x)
    if not total:
        assert np.isnan(found)
        return
    plain = sum(abs(a - b) for a in x for b in x) / (2 * n * total)
    assert found == pytest.approx(plain)
    assert an.inequality([3 * a for a in reversed(x)]) == pytest.approx(plain)
    assert an.inequality([x, [1] * n]) == pytest.approx([plain, 0])
    assert an.inequality([total] + [0] * (n - 1)) == pytest.approx((n - 1) / n)


def test_inequality_refuses_negative_amounts():
    with pytest.raises(CrossplayError, match="amounts"):
        an.inequality([1, -1])


@quick
@given(hs.integers(0, 10**6))
def test_changes_equal_counting(seed):
    r = generator(key("test", "changes", seed))
    c, truth = r.integers(-1, 3, (5, 4, 3)), r.integers(0, 3, 5)
    found = an.answer_changes(c, truth)
    for t in range(3):
        table = dict.fromkeys(itertools.product((True, False), repeat=2), 0)
        missing = 0
        for e, v in itertools.product(range(5), range(3)):
            if min(c[e, t, v], c[e, t + 1, v]) < 0:
                missing += 1
            else:
                table[bool(c[e, t, v] == truth[e]), bool(c[e, t + 1, v] == truth[e])] += 1
        assert found.right_right[t] == table[True, True]
        assert found.right_wrong[t] == table[True, False]
        assert found.wrong_right[t] == table[False, True]
        assert found.wrong_wrong[t] == table[False, False]
        assert found.unchecked[t] == missing
        assert found.net[t] == table[False, True] - table[True, False]
    with pytest.raises(CrossplayError, match="answer changes"):
        an.answer_changes(c, truth[:2])


def test_coverage_measured_and_expected():
    e = an.coverage([[0, 1], [2, 2], [-1, 1]], [1, 0, 1])
    assert e.value == pytest.approx(2 / 3)
    assert e.n == 3
    assert an.covered([0, 1, 2], 2)
    # Three right of six in expectation: the figures of a pool of 5 and of 10 candidates.
    expected = an.coverage_expected([[0.1, 0.2, 0.3]], [[5], [10]])
    assert expected == pytest.approx(np.array([[0.410, 0.672, 0.832], [0.651, 0.893, 0.972]]), abs=6e-4)
    assert an.coverage_expected([0, 1, 0.5], [3, 3, 0]).tolist() == [0, 1, 0]
    assert an.coverage_expected(1e-12, 10) == pytest.approx(1e-11)
    r = generator(key("test", "pool"))
    right = r.uniform(size=(4000, 5)) < 0.2
    measured = an.coverage(np.where(right, 0, 1), np.zeros(4000, int))
    assert not measured.interval.excludes(float(an.coverage_expected(0.2, 5)))
    with pytest.raises(CrossplayError, match="p in"):
        an.coverage_expected(1.1, 2)


@quick
@given(hs.integers(0, 8), hs.integers(0, 8), hs.integers(0, 8))
def test_coverage_of_draws_is_the_hypergeometric(right, more, k):
    n = right + more
    if k > n:
        with pytest.raises(CrossplayError, match="k <= n"):
            an.coverage_of_draws(right, n, k)
        return
    expected = 1 - math.comb(n - right, k) / math.comb(n, k)
    assert an.coverage_of_draws(right, n, k) == pytest.approx(expected, abs=1e-12)


@quick
@given(hs.lists(hs.integers(-1, 4), max_size=10), hs.integers(0, 10), hs.integers(0, 9))
def test_selecting_different_answers(c, n, seed):
    if n > len(c):
        with pytest.raises(CrossplayError, match="selection"):
            an.select_different(np.array(c, int), n, K)
        return
    chosen = an.select_different(np.array(c, int), n, key("test", seed))
    assert len(set(chosen)) == len(chosen) == n
    given_ = [x for x in c if x >= 0]
    got = [c[i] for i in chosen if c[i] >= 0]
    assert len(set(got)) == min(n, len(set(given_)))
    assert len(got) == min(n, len(given_))


def test_selecting_the_farthest():
    corners = np.array([[1, 0], [0.999, 0.01], [0, 1], [0.01, 0.999], [-1, 0], [-0.999, 0.01]])
    for seed in range(20):
        chosen = an.select_farthest(corners, 3, key("test", seed))
        assert {i // 2 for i in chosen} == {0, 1, 2}
    assert len({tuple(an.select_farthest(corners, 3, key("test", s))) for s in range(20)}) > 3
    assert an.select_farthest(corners, 0, K) == []
    assert sorted(an.select_farthest(np.ones((4, 2)), 4, K)) == [0, 1, 2, 3]


def test_correlations():
    from scipy.stats import pearsonr

    r = generator(key("test", "r"))
    x, y = r.normal(size=(2, 30))
    y[3] = np.nan
    found = an.correlations(x, {"y": y, "flat": np.ones(30)})
    keep = np.isfinite(y)
    assert found == {"y": pytest.approx(pearsonr(x[keep], y[keep]).statistic), "flat": None}
    assert an.correlations(x[:2], {"y": x[:2]}) == {"y": None}
    with pytest.raises(CrossplayError, match="y has shape"):
        an.correlations(x, {"y": [1]})
