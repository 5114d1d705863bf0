"""Every formula against an independent implementation: scipy, statsmodels, and recorded rliable values."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as sps

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure import stats as st

RLIABLE = json.loads((Path(__file__).parent / "data" / "rliable-1.2.0.json").read_text())


def rng(name):
    return generator(key("test", name))


@pytest.mark.parametrize("n", [2, 3, 10, 57])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_paired_t_is_scipys(n, level):
    r = rng("paired")
    a, b = r.normal(size=n), r.normal(size=n) * 2 + 0.3
    ours = st.paired_t(a, b, level)
    theirs = sps.ttest_rel(a, b)
    low, high = theirs.confidence_interval(level)
    assert ours.interval.low == pytest.approx(low, rel=1e-10)
    assert ours.interval.high == pytest.approx(high, rel=1e-10)
    assert ours.interval.df == n - 1
    (c,) = st.compare([st.Cell("a", a, range(n))], st.Cell("b", b, range(n)), margin=1.0)
    assert c.p == pytest.approx(theirs.pvalue, rel=1e-9)


def test_welch_is_scipys():
    r = rng("welch")
    a, b = r.normal(size=9), r.normal(size=25) * 3
    ours, theirs = st.welch(a, b), sps.ttest_ind(a, b, equal_var=False)
    assert (ours.interval.low, ours.interval.high) == pytest.approx(tuple(theirs.confidence_interval(0.95)), rel=1e-10)
    assert ours.interval.df == pytest.approx(theirs.df)
    cells = [st.Cell(name, x, range(len(x))) for name, x in (("a", a), ("b", b))]
    (c,) = st.compare(cells[:1], cells[1], 1.0, pairing="unpaired")
    assert c.p == pytest.approx(theirs.pvalue)
    assert c.adjusted_interval == ours.interval


@pytest.mark.parametrize("correction", [False, True])
def test_cluster_errors_are_statsmodels(correction):
    sm = pytest.importorskip("statsmodels.api")
    r = rng("cluster")
    clusters = np.repeat(np.arange(17), r.integers(1, 9, size=17))
    x = r.normal(size=clusters.size) + r.normal(size=17)[clusters]
    fit = sm.OLS(x, np.ones(x.size)).fit(
        cov_type="cluster",
        cov_kwds={"groups": clusters, "use_correction": correction, "df_correction": correction},
        use_t=True,
    )
    ours = st.cluster_mean(x, clusters, correction=correction)
    assert ours.value == pytest.approx(fit.params[0])
    assert ours.se == pytest.approx(fit.bse[0], rel=1e-10)
    if correction:
        low, high = fit.conf_int()[0]
        assert (ours.interval.low, ours.interval.high) == pytest.approx((low, high), rel=1e-9)


def test_cluster_mean_of_single_rows_is_the_t_interval():
    x = rng("single").normal(size=12)
    a, b = st.cluster_mean(x, range(12)), st.mean_t(x)
    assert (a.interval.low, a.interval.high, a.interval.df) == pytest.approx((b.interval.low, b.interval.high, 11))


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (93, 100)])
def test_wilson_is_statsmodels(k, n):
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(k, n, 0.1, method="wilson")
    ours = st.wilson(k, n, 0.9).interval
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-12)


def test_macro_mean_of_two_groups_is_half_a_welch_sum():
    r = rng("macro")
    a, b = r.normal(size=8), r.normal(size=15) * 2
    ours, welch = st.macro_mean([a, b]), st.welch(a, -b)
    assert ours.value == pytest.approx(welch.value / 2)
    assert ours.se == pytest.approx(welch.se / 2)
    assert ours.interval.df == pytest.approx(welch.interval.df)


@pytest.mark.parametrize("n", [1, 3, 4, 7, 8, 30])
def test_iqm_is_scipys_trimmed_mean(n):
    x = rng("iqm").normal(size=(5, n))
    assert st.iqm(x, axis=-1) == pytest.approx(sps.trim_mean(x, 0.25, axis=-1))
    assert st.iqm(x.T, axis=0) == pytest.approx(sps.trim_mean(x, 0.25, axis=-1))
    assert st.iqm(x) == pytest.approx(sps.trim_mean(x.reshape(-1), 0.25))


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_is_scipys_up_to_resampling(method):
    x = rng("boot").gamma(2.0, size=40)
    ours = st.bootstrap(x, st.iqm, method=method, reps=8000).interval
    theirs = sps.bootstrap(
        (x,),
        lambda v, axis: sps.trim_mean(v, 0.25, axis=axis),
        method="BCa" if method == "bca" else method,
        n_resamples=8000,
        rng=np.random.default_rng(5),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(ours.low - theirs.low) < 0.05 * width
    assert abs(ours.high - theirs.high) < 0.05 * width


def test_sign_flip_counts_what_scipy_counts():
    r = rng("flip")
    for n in (2, 5, 9):
        d = np.round(r.normal(0.4, 1, size=n), 1)
        theirs = sps.permutation_test(
            (d,), lambda x, axis: x.sum(axis=axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
        )
        assert st.sign_flip(d) == pytest.approx(theirs.pvalue)


def test_sign_flip_by_cluster_flips_cluster_sums():
    d = rng("flip2").normal(0.2, 1, size=24)
    clusters = np.repeat(np.arange(8), 3)
    assert st.sign_flip(d, clusters) == pytest.approx(st.sign_flip(d.reshape(8, 3).sum(1)))


def test_sampled_sign_flip_agrees_with_counting(monkeypatch):
    from crossplay.measure.stats import significance

    d = rng("flip3").normal(0.4, 1, size=14)
    exact = st.sign_flip(d)
    monkeypatch.setattr(significance, "EXACT_CLUSTERS", 5)
    sampled = st.sign_flip(d, reps=20_000)
    assert abs(sampled - exact) < 4 * math.sqrt(exact * (1 - exact) / 20_000)
    assert sampled == st.sign_flip(d, reps=20_000)
    assert sampled != exact


def test_mcnemar_is_statsmodels():
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    for b, c in [(0, 0), (1, 0), (3, 9), (10, 10), (0, 12), (40, 61)]:
        assert st.mcnemar_counts(b, c) == pytest.approx(tables.mcnemar([[5, b], [c, 7]], exact=True).pvalue)
    a = np.array([1, 1, 0, 1, 0, 1], bool)
    b = np.array([0, 0, 1, 1, 0, 0], bool)
    assert st.mcnemar(a, b) == st.mcnemar_counts(3, 1)
    # For 0/1 outcomes the sign flip is the same test.
    assert st.sign_flip(a.astype(float) - b) == pytest.approx(st.mcnemar(a, b))


@pytest.mark.parametrize(("ours", "theirs"), [(st.holm, "holm"), (st.benjamini_hochberg, "fdr_bh")])
def test_multiplicity_is_statsmodels(ours, theirs):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    r = rng("many")
    for m in (1, 2, 5, 40):
        p = np.round(r.uniform(size=m) ** 3, 3)  # rounding makes ties
        assert ours(p) == pytest.approx(multitest.multipletests(p, method=theirs)[1])
    p = np.array([0.01, np.nan, 0.02])
    assert ours(p)[[0, 2]] == pytest.approx(multitest.multipletests(p[[0, 2]], method=theirs)[1])
    assert np.isnan(ours(p)[1])


@pytest.mark.parametrize("effect", [0.09, 0.35, 1.2, 4.0])
def test_power_is_statsmodels(effect):
    TTestPower = pytest.importorskip("statsmodels.stats.power").TTestPower()
    for n in (3, 10, 45):
        assert st.power_t(effect, 1.0, n) == pytest.approx(TTestPower.power(effect, n, 0.05), abs=1e-8)
        mde = st.minimum_detectable(2.0, n)
        assert TTestPower.power(mde / 2.0, n, 0.05) == pytest.approx(0.8, abs=1e-8)
    n = st.blocks_for_difference(effect, 1.0)
    assert TTestPower.power(effect, n, 0.05) >= 0.8
    assert n == 2 or TTestPower.power(effect, n - 1, 0.05) < 0.8


def test_the_published_example_of_a_sample_size():
    # delta = 0.03, omega^2 = 1/9: 969 questions by the formula, 971 by the t distribution.
    assert st.blocks_for_difference(0.03, 1 / 3, method="normal") == 969
    assert st.blocks_for_difference(0.03, 1 / 3) in (971, 972)
    z = sps.norm.ppf(0.975) + sps.norm.ppf(0.8)
    assert z * z / 9 / 0.03**2 == pytest.approx(969, abs=0.5)


def test_power_far_out_stays_a_probability():
    for n in (2, 50, 5000, 99_999, 100_001, 10**7):
        for effect in (1e-4, 0.05, 3.0, 100.0):
            assert 0.05 - 1e-9 <= st.power_t(effect, 1.0, n) <= 1.0
    assert st.power_t(0.003, 1.0, 100_000) == pytest.approx(st.power_t(0.003, 1.0, 100_001), abs=1e-3)


def test_replicates_formula_and_components():
    parts = st.Components(1 / 9, 0.2, 0.1, 0)
    assert st.difference_variance(parts, 1, 1) == pytest.approx(1 / 9 + 0.3)
    assert st.difference_variance(parts, 4, 2) == pytest.approx(1 / 9 + 0.05 + 0.05)
    r = rng("parts")
    blocks, k = 3000, 3
    base = r.normal(size=blocks)
    a = (base + r.normal(0, 0.5, size=blocks))[:, None] + r.normal(0, 0.7, size=(blocks, k))
    b = base[:, None] + r.normal(0, 0.3, size=(blocks, k))
    ids = np.repeat(np.arange(blocks), k)
    found = st.components(a.reshape(-1), ids, b.reshape(-1), ids)
    assert found.omega2 == pytest.approx(0.25, rel=0.08)
    assert found.sigma_a2 == pytest.approx(0.49, rel=0.05)
    assert found.sigma_b2 == pytest.approx(0.09, rel=0.05)
    d = a.mean(1) - b.mean(1)
    assert st.difference_variance(found, k, k) == pytest.approx(d.var(ddof=1))
    with pytest.raises(CrossplayError, match="replicates"):
        st.components(base, range(blocks), base, range(blocks))


def test_power_of_a_tie_by_simulation():
    r, n, reps = rng("tie"), 12, 20_000
    x = r.normal(0.1, 1.0, size=(reps, n))
    half = sps.t.ppf(0.975, n - 1) * x.std(axis=1, ddof=1) / math.sqrt(n)
    hit = np.mean(np.abs(x.mean(axis=1)) + half < 0.9)
    assert st.power_tie(0.9, 1.0, n, 0.95, 0.1) == pytest.approx(hit, abs=4 * math.sqrt(hit * (1 - hit) / reps))
    need = st.blocks_for_tie(0.9, 1.0)
    assert st.power_tie(0.9, 1.0, need) >= 0.8 > st.power_tie(0.9, 1.0, need - 1)


# ---- rliable, recorded -------------------------------------------------------------------------
A, B = np.array(RLIABLE["a"]), np.array(RLIABLE["b"])


def test_rliable_points():
    assert [st.iqm(A), st.iqm(B)] == pytest.approx(RLIABLE["iqm"], abs=1e-12)
    gaps = [st.optimality_gap(x, RLIABLE["gamma"]) for x in (A, B)]
    assert gaps == pytest.approx(RLIABLE["optimality_gap"], abs=1e-12)
    assert st.improvement(A, B, reps=10).value == pytest.approx(RLIABLE["improvement"], abs=1e-12)
    u = [sps.mannwhitneyu(A[:, t], B[:, t]).statistic / 100 for t in range(6)]
    assert np.mean(u) == pytest.approx(RLIABLE["improvement"])
    for name, x in (("a", A), ("b", B)):
        assert st.profile(x, RLIABLE["tau"], reps=10).share == pytest.approx(np.array(RLIABLE["profile"][name]))


@pytest.mark.parametrize(("name", "x"), [("a", A), ("b", B), ("a5", A[:5])])
def test_rliable_iqm_intervals(name, x):
    low, high = RLIABLE["iqm_interval"][name]
    ours = st.iqm_estimate(x, reps=20_000).interval
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.02 * (high - low) + 1e-4)
    assert bool(ours.warning) == (len(x) < 10)


def test_rliable_bands():
    low, high = RLIABLE["improvement_interval"]
    ours = st.improvement(A, B, reps=20_000).interval
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=0.03 * (high - low))
    for name, x in (("a", A), ("b", B)):
        low, high = np.array(RLIABLE["profile_band"][name])
        p = st.profile(x, RLIABLE["tau"], reps=20_000)
        assert p.low == pytest.approx(low, abs=1 / 60 + 1e-12)  # the band moves in steps of one score in 60
        assert p.high == pytest.approx(high, abs=1 / 60 + 1e-12)
