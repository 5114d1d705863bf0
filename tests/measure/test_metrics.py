import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure import frontier, metrics
from crossplay.measure import stats as st

fast = settings(max_examples=60, deadline=None)


def test_counting_a_cell():
    assert metrics.distinct([b"a", b"b", b"a"]) == 2
    assert metrics.distinct(np.array([1, 1], dtype=np.uint64)) == 1
    assert metrics.endings(["horizon", "terminal", "horizon", "forfeit:p1"]) == {
        "horizon": 2,
        "forfeit:p1": 1,
        "terminal": 1,
    }
    counts = {"p0": {"link_noop": 2, "timeout": 2, "held": 7}, "p1": {"link_random": 1}}
    assert metrics.served(counts) == 3
    assert metrics.served(counts, ["p1"]) == 1


def test_served_share():
    blocks = [0, 0, 1, 2]
    e = metrics.served_share([1, 0, 3, 0], [10, 10, 10, 10], blocks)
    assert e.value == 0.1
    assert e.n == 3
    assert e.interval.low == 0.0
    never = metrics.served_share([0, 0, 0, 0], [10, 9, 8, 7], blocks)
    assert (never.value, never.interval.low, never.mark) == (0.0, 0.0, "no variation")
    assert never.interval.high == pytest.approx(1 - 0.05**0.5)
    assert metrics.over_limit([1, 0], [10, 9], 0.05)
    assert not metrics.over_limit([1, 0], [10, 10], 0.05)
    with pytest.raises(CrossplayError, match="not all 0"):
        metrics.ratio([1], [0], [0])


def test_ratio_of_equal_denominators_is_the_cluster_mean():
    r = generator(key("test", "ratio"))
    x, blocks = r.normal(5, 1, size=40), np.repeat(np.arange(10), 4)
    ours, mean = metrics.ratio(x, np.full(40, 2.0), blocks), st.cluster_mean(x, blocks)
    assert (ours.value, ours.se) == pytest.approx((mean.value / 2, mean.se / 2))
    assert ours.interval.df == 9


def test_ratio_covers():
    r, hits = generator(key("test", "ratio cover")), 0
    for _ in range(1000):
        decisions = r.integers(20, 60, size=25)
        e = metrics.ratio(r.binomial(decisions, 0.2), decisions, range(25))
        hits += not e.interval.excludes(0.2)
    assert 0.92 <= hits / 1000 <= 0.98


def test_outcome_consistency():
    blocks = [0, 0, 1, 1, 2, 2, 3]
    e = metrics.outcome_consistency([1, 1, 0, 0, 1, 0, 1], blocks)
    assert e.value == pytest.approx(2 / 3)
    assert e.n == 3
    r = generator(key("test", "coin"))
    coin, ids = r.integers(0, 2, size=6000), np.repeat(np.arange(3000), 2)
    assert metrics.outcome_consistency(coin, ids).value == pytest.approx(0.5, abs=0.04)
    assert not metrics.outcome_consistency(coin, ids, unbiased=True).interval.excludes(0.0)
    with pytest.raises(CrossplayError, match="replicates"):
        metrics.outcome_consistency([1, 0], [0, 1])


def test_resource_consistency():
    e = metrics.resource_consistency([1, 3, 5, 5, 0, 0, 9], [0, 0, 1, 1, 2, 2, 3])
    assert e.value == pytest.approx((math.exp(-math.sqrt(2) / 2) + 2) / 3)


def slow_distance(a, b):
    if not a or not b:
        return len(a) + len(b)
    if a[0] == b[0]:
        return slow_distance(a[1:], b[1:])
    return 1 + min(slow_distance(a[1:], b), slow_distance(a, b[1:]), slow_distance(a[1:], b[1:]))


@fast
@given(hs.text("abc", max_size=5), hs.text("abc", max_size=5))
def test_sequence_similarity_is_one_less_the_edit_distance(a, b):
    longest = max(len(a), len(b), 1)
    assert metrics.sequence_similarity([list(a), list(b)]) == pytest.approx(1 - slow_distance(a, b) / longest)


def test_action_similarity_is_scipys_jensen_shannon():
    from scipy.spatial.distance import jensenshannon

    a, b = list("aabc"), list("abbbd")
    p, q = np.array([2, 1, 1, 0]) / 4, np.array([1, 3, 0, 1]) / 5
    assert metrics.action_similarity([a, b]) == pytest.approx(1 - jensenshannon(p, q, base=2) ** 2)
    assert metrics.action_similarity([list("ab"), list("ba")]) == 1.0
    assert metrics.action_similarity([list("a"), list("b")]) == 0.0


# ---- cost against score --------------------------------------------------------------------------
points = hs.lists(hs.tuples(hs.integers(0, 6), hs.integers(0, 6)), min_size=1, max_size=9)


@fast
@given(points)
def test_frontier_against_plain_definitions(pts):
    cost, score = np.array(pts, dtype=float).T
    worse = [any((d <= c and t >= s) and (d, t) != (c, s) for d, t in pts) for c, s in pts]
    assert frontier.dominated(cost, score).tolist() == worse
    stairs, top = frontier.staircase(cost, score), frontier.hull(cost, score)
    assert set(stairs) == {i for i, w in enumerate(worse) if not w}
    assert set(top) <= set(stairs)
    assert (np.diff(cost[stairs]) >= 0).all()
    assert (np.diff(score[stairs]) >= 0).all()
    # The hull is concave and lies on or above every point within its span.
    for c, s in pts:
        if c >= cost[top[0]]:
            assert np.interp(c, cost[top], score[top]) >= s - 1e-9
    slopes = np.diff(score[top]) / np.diff(cost[top])
    assert (np.diff(slopes) < 0).all()
    # The dominated area on the integer grid is a count of unit squares.
    squares = sum(any(c <= x and s >= y + 1 for c, s in pts) for x in range(8) for y in range(8))
    assert frontier.hypervolume(cost, score, 8, 0) == squares


def test_frontier_probability():
    r = generator(key("test", "front"))
    shared = r.normal(size=30)
    scores = np.stack([shared, shared + 1, shared - 1, shared + 1])
    costs = np.stack([np.full(30, v) for v in (1.0, 2.0, 3.0, 2.0)])
    assert frontier.frontier_probability(costs, scores, 200).tolist() == [1, 1, 0, 1]
    scores[2] = scores[1] + r.normal(0, 1, size=30)
    share = frontier.frontier_probability(costs, scores, 500)
    assert 0 < share[2] < 1
    assert (share == frontier.frontier_probability(costs, scores, 500)).all()
    with pytest.raises(CrossplayError, match="lineups x blocks"):
        frontier.frontier_probability([1.0], [1.0])
