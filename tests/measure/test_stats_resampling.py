"""Counted bootstraps of interquartile means: SciPy's own numbers, whatever is drawn together, and no false certainty."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as hs

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure import stats as st
from crossplay.measure.stats import resampling
from crossplay.measure.stats.resampling import Resamples
from crossplay.measure.stats.robust import iqm

fast = settings(max_examples=40, deadline=None)
columns = hs.tuples(hs.integers(1, 70), hs.integers(0, 10_000), hs.sampled_from([0, 2, 7])).map(
    lambda t: (
        generator(key("test", *t)).integers(t[2], size=t[0]) * 1.5
        if t[2]
        else generator(key("test", *t)).normal(size=t[0])
    )
)


def theirs(samples, statistic, k, reps):
    """SciPy's bootstrap of the same draws."""
    return scipy.stats.bootstrap(
        samples, statistic, paired=len(samples) > 1, n_resamples=reps, method="percentile", rng=generator(k)
    )


@fast
@given(columns, hs.integers(0, 5))
def test_every_resample_is_scipys(x, seed):
    k = key("test", seed)
    if x.size < 2:
        assert (Resamples(30, k).of([x])[0] == x[0]).all()
        return
    (ours,) = Resamples(30, k).of([x])
    assert ours == pytest.approx(theirs((x,), iqm, k, 30).bootstrap_distribution, abs=1e-12)
    trimmed = theirs((x,), lambda v, axis: scipy.stats.trim_mean(v, 0.25, axis=axis), k, 30)
    assert ours == pytest.approx(trimmed.bootstrap_distribution, abs=1e-12)


@pytest.mark.parametrize("n", [10, 57, 400])
def test_intervals_are_scipys_for_the_same_draws(n):
    r = generator(key("test", "pair", n))
    a, b = r.lognormal(size=n), r.normal(size=n)
    k = key("test", "k")
    single, pair = st.bootstrap(a, reps=500, k=k), st.bootstrap_difference(a, b, reps=500, k=k)
    for ours, other in (
        (single, theirs((np.sort(a),), iqm, k, 500)),
        (pair, theirs((a, b), lambda u, v, axis: iqm(u, axis=axis) - iqm(v, axis=axis), k, 500)),
    ):
        low, high = other.confidence_interval
        assert (ours.interval.low, ours.interval.high) == pytest.approx((low, high), abs=1e-12)
        assert ours.se == pytest.approx(other.standard_error)


def test_what_is_drawn_together_or_in_pieces_makes_no_difference(monkeypatch):
    r = generator(key("test", "together"))
    x, y, z = r.normal(size=33), r.integers(3, size=33) * 1.0, r.normal(size=12)
    alone = [Resamples(100, b"k" * 16).of([c])[0] for c in (x, y, z)]
    kept = Resamples(100, b"k" * 16)
    for found, expected in zip(kept.of([x, z, y, x]), [alone[0], alone[2], alone[1], alone[0]], strict=True):
        assert (found == expected).all()
    monkeypatch.setattr(resampling, "_BATCH", 70)
    for c, expected in zip((x, y, z), alone, strict=True):
        assert Resamples(100, b"k" * 16).of([c])[0] == pytest.approx(expected, abs=1e-12)
    assert kept.of([y])[0] is kept.of([y.copy()])[0]


def test_what_lies_far_out_does_not_touch_the_digits_of_the_middle():
    x = np.concatenate((generator(key("test", "far")).normal(size=40), [1e17, -1e17]))
    (ours,) = Resamples(200, key("test", "far")).of([x])
    expected = theirs((x,), iqm, key("test", "far"), 200).bootstrap_distribution
    middle = np.abs(expected) < 10
    assert middle.sum() > 150 and ours[middle] == pytest.approx(expected[middle], abs=1e-12)


def test_families_that_share_resamples_say_the_same():
    r = generator(key("test", "share"))
    base = r.normal(size=30)
    cells = [st.Cell(f"c{i}", base + r.normal(0.3, 1, size=30), list(range(30))) for i in range(3)]
    cells.append(st.Cell("few", cells[0].values[:12], list(range(12))))
    against = st.Cell("base", base, list(range(30)))
    alone = st.compare(cells, against, 0.5, pairing="common", reps=200)
    shared = Resamples(200, key("stats", "pair", b"", "score"))
    assert st.compare(cells, against, 0.5, pairing="common", resamples=shared) == alone
    assert [st.compare([c], against, 0.5, pairing="common", resamples=shared)[0].iqm for c in cells] == [
        c.iqm for c in alone
    ]
    summary = st.summarise(against, resamples=shared)
    (sample,) = shared.of([base])
    assert (summary.iqm.interval.low, summary.iqm.interval.high) == pytest.approx(
        tuple(np.quantile(sample, [0.025, 0.975]))
    )
    with pytest.raises(CrossplayError, match="interquartile means"):
        st.bootstrap(base, np.mean, resamples=shared)


def test_resamples_that_all_agree_are_not_certainty():
    """Nineteen of twenty blocks won: the middle half of every resample is 1, and 1.000 [1.000, 1.000] would claim too much."""
    x = np.array([1.0] * 19 + [0.0])
    for e in (
        st.bootstrap(x, reps=300),
        st.bootstrap_difference(x, np.zeros(20), reps=300),
        st.iqm_estimate(np.stack([x, x], axis=1), reps=300),
    ):
        assert (e.value, e.interval, e.mark) == (1.0, None, "no variation")
    summary = st.summarise(st.Cell("c", x, range(20)), reps=300)
    assert summary.mean.interval is not None and summary.iqm.mark == "no variation"


def test_a_profile_is_the_plain_count_and_its_band_that_of_drawn_runs():
    """Against resamples drawn run by run: the same curve, and a band of the same distribution."""
    r = generator(key("test", "band"))
    x, tau = r.integers(6, size=(40, 3)) * 0.5, np.array([1.0, -1.0, 0.25, 2.5, 1.75])
    p = st.profile(x, tau, reps=20_000)
    assert p.share == pytest.approx([(x > t).mean() for t in tau])
    rows = r.integers(40, size=(20_000, 40, 3))
    plain = (x[rows, np.arange(3)][..., None] > tau).mean(axis=(1, 2))
    low, high = np.quantile(plain, [0.025, 0.975], axis=0)
    assert p.low == pytest.approx(low, abs=1 / 100) and p.high == pytest.approx(high, abs=1 / 100)
    assert p.low[1] == p.high[1] == 1.0 and p.high[3] == 0.0
