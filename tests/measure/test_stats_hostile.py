"""The statistics against scipy and statsmodels on whatever data: ties, constants, bounds, uneven replicates and clusters."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as hs

from crossplay.kernel import CrossplayError
from crossplay.measure import stats as st

fast = settings(max_examples=60, deadline=None)
scores = hs.sampled_from([0.0, 1.0, 0.5, -2.0, 1e-9, 1e9, 3.25])
replicated = hs.lists(hs.tuples(hs.integers(0, 5), scores), min_size=1, max_size=40)


def _means(rows):
    found = {}
    for block, value in rows:
        found.setdefault(block, []).append(value)
    return {b: math.fsum(v) / len(v) for b, v in found.items()}


@fast
@given(replicated)
def test_a_cell_is_scipys_t_test_of_its_block_means(rows):
    means = np.array(list(_means(rows).values()))
    mean = st.summarise(st.Cell("c", [v for _, v in rows], [b for b, _ in rows]), reps=0).mean
    assert mean.n == means.size and mean.value == pytest.approx(means.mean(), rel=1e-12, abs=1e-12)
    if means.size < 2 or np.ptp(means) <= 1e-12 * np.abs(means).max():
        assert mean.interval is None and mean.mark in ("n = 1", "no variation")
        return
    low, high = scipy.stats.ttest_1samp(means, 0).confidence_interval()
    assert (mean.interval.low, mean.interval.high) == pytest.approx((low, high), rel=1e-6, abs=1e-9)
    assert mean.interval.low < mean.value < mean.interval.high


@fast
@given(replicated, replicated)
def test_a_comparison_on_shared_blocks_is_scipys_paired_t_test(left, right):
    a, b = _means(left), _means(right)
    common = sorted(a.keys() & b.keys())
    if not common:
        return
    cells = [st.Cell(n, [v for _, v in rows], [k for k, _ in rows]) for n, rows in (("a", left), ("b", right))]
    (c,) = st.compare(cells[:1], cells[1], 0.5, pairing="common", reps=0)
    x, y = np.array([a[k] for k in common]), np.array([b[k] for k in common])
    assert (c.blocks, c.episodes) == (len(common), sum(k in b for k, _ in left))
    assert c.difference == pytest.approx((x - y).mean(), rel=1e-9, abs=1e-6)
    d = x - y
    if len(common) > 1 and np.ptp(d) > 1e-12 * max(np.abs(x).max(), np.abs(y).max()):
        test = scipy.stats.ttest_rel(x, y)
        assert c.p == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)
        low, high = test.confidence_interval()
        assert (c.interval.low, c.interval.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6)
    if c.verdict == "tied":
        assert -0.5 < c.adjusted_interval.low <= c.adjusted_interval.high < 0.5 and not c.adjusted_interval.excludes(0)
    if c.interval is None:
        assert c.verdict == "underpowered" and c.marks


@fast
@given(hs.lists(hs.tuples(hs.integers(0, 6), hs.floats(-5, 5).map(lambda v: round(v, 2))), min_size=2, max_size=40))
def test_uneven_clusters_are_statsmodels(rows):
    """Clusters of one row among larger ones: the sandwich with its correction, degrees of freedom from clusters."""
    sm = pytest.importorskip("statsmodels.api")
    groups, x = np.array([g for g, _ in rows]), np.array([v for _, v in rows])
    ours = st.cluster_mean(x, groups)
    if np.unique(groups).size < 2 or ours.interval is None:
        assert ours.interval is None and ours.mark
        return
    fit = sm.OLS(x, np.ones(x.size)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "df_correction": True, "use_correction": True}, use_t=True
    )
    assert ours.se == pytest.approx(fit.bse[0], rel=1e-6, abs=1e-9)
    low, high = fit.conf_int()[0]
    assert (ours.interval.low, ours.interval.high) == pytest.approx((low, high), rel=1e-6, abs=1e-8)


@fast
@given(hs.lists(hs.lists(hs.sampled_from([0.0, 1.0]), min_size=12, max_size=12), min_size=2, max_size=5))
def test_families_of_successes_keep_to_statsmodels_holm(columns):
    """Outcomes at the bounds 0 and 1, with ties and constants: adjusted p and verdict never disagree."""
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    cells = [st.Cell(f"c{i}", v, range(12)) for i, v in enumerate(columns)]
    found = st.compare(cells[1:], cells[0], 0.2, bounds=(0, 1), reps=0)
    tested = [c for c in found if c.p is not None]
    assert all(c.family == len(tested) for c in found)
    if tested:
        adjusted = multitest.multipletests([c.p for c in tested], method="holm")[1]
        assert [c.p_adjusted for c in tested] == pytest.approx(list(adjusted))
    for c in tested:
        assert (c.verdict in ("better", "worse")) == (c.p_adjusted <= 0.05)
        assert -1 - 1e-9 <= c.difference <= 1 + 1e-9


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_blocks(n):
    values = [0.25, 0.75][:n]
    mean = st.summarise(st.Cell("c", values, range(n))).mean
    assert (mean.interval is None) == (n == 1) and mean.n == n
    (c,) = st.compare([st.Cell("c", values, range(n))], st.Cell("b", [0.0] * n, range(n)), 0.1)
    assert c.verdict == "underpowered" and c.iqm is None


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_numbers_that_are_none_are_refused_in_words(wrong):
    with pytest.raises(Exception, match="c: 1 of 2 are not finite"):
        st.summarise(st.Cell("c", [wrong, 1.0], range(2)))


def test_numbers_that_have_no_square_are_refused_or_no_variation_and_get_no_interval_of_width_0():
    for size in (1e-140, 1.0, 1e140):
        mean = st.mean_t([size, 2 * size, 3 * size])
        assert mean.se == pytest.approx(size / math.sqrt(3))
    tiny = st.mean_t([1e-200, 2e-200, 3e-200])
    assert (tiny.interval, tiny.mark) == (None, "no variation")
    cell = st.Cell("huge", [1.7e308, 1.0, 1e308], [0, 1, 2])
    with pytest.raises(CrossplayError, match=r"huge: 1\.7e\+308 is too large for an interval"):
        st.compare([cell], cell, 0.5)
