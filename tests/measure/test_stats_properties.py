"""What must hold for any numbers: order, mirror, scale, multiplicity, and the cases without an interval."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs
from hypothesis.extra.numpy import arrays

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure import stats as st

score = hs.floats(-1e3, 1e3, allow_subnormal=False).map(lambda v: round(v, 3))
scores = hs.lists(score, min_size=2, max_size=25).map(np.array)
pairs = hs.integers(2, 25).flatmap(
    lambda n: hs.tuples(arrays(float, n, elements=score), arrays(float, n, elements=score))
)
p_values = hs.lists(hs.one_of(hs.floats(0, 1), hs.floats(0, 0.02), hs.just(math.nan)), min_size=1, max_size=12)
fast = settings(max_examples=60, deadline=None)


def cell(name, values, blocks=None, **kw):
    return st.Cell(name, values, range(len(values)) if blocks is None else blocks, **kw)


def one(a, b, margin=1.0, **kw):
    return st.compare([a], b, margin, **kw)[0]


@fast
@given(scores, hs.sampled_from([0.5, 0.9, 0.99]))
def test_an_interval_holds_its_estimate_and_grows_with_the_level(x, level):
    e = st.mean_t(x, level)
    if e.interval is None:
        assert e.mark == "no variation"
        return
    assert e.interval.low <= e.value <= e.interval.high
    wide = st.mean_t(x, 0.999).interval
    assert wide.low <= e.interval.low
    assert wide.high >= e.interval.high


@fast
@given(pairs, hs.randoms(use_true_random=False))
def test_the_order_of_episodes_does_not_matter(pair, random):
    a, b = pair
    order = list(range(len(a)))
    random.shuffle(order)
    blocks = [f"b{i}" for i in range(len(a))]
    first = one(cell("a", a, blocks), cell("b", b, blocks), reps=50)
    again = one(cell("a", a[order], [blocks[i] for i in order]), cell("b", b, blocks), reps=50)
    assert first == again


@fast
@given(pairs)
def test_swapping_the_sides_mirrors_everything(pair):
    a, b = (cell(n, v) for n, v in zip("ab", pair, strict=True))
    there, back = one(a, b, reps=50), one(b, a, reps=50)
    assert back.difference == -there.difference
    assert back.p == there.p
    mirror = {"better": "worse", "worse": "better"}
    assert back.verdict == mirror.get(there.verdict, there.verdict)
    if there.interval:
        assert back.adjusted_interval.low == pytest.approx(-there.adjusted_interval.high)
    if there.iqm and there.iqm.interval:
        assert back.iqm.interval.low == pytest.approx(-there.iqm.interval.high)


@fast
@given(pairs, hs.sampled_from([0.01, 3.0, 1000.0]), hs.sampled_from([0.0, -7.0]))
def test_units_of_measure_do_not_matter(pair, factor, shift):
    a, b = pair
    raw = one(cell("a", a), cell("b", b), 1.0, reps=0)
    scaled = one(cell("a", a * factor + shift), cell("b", b * factor + shift), factor, reps=0)
    assert scaled.difference == pytest.approx(raw.difference * factor, abs=1e-9 * factor)
    assert (scaled.p is None) == (raw.p is None)
    if raw.interval:
        assert scaled.p == pytest.approx(raw.p, rel=1e-6, abs=1e-12)
        size = factor * (raw.interval.high - raw.interval.low)
        assert scaled.interval.high - scaled.interval.low == pytest.approx(size, rel=1e-6)


@fast
@given(p_values)
def test_holm_is_monotone_and_between_raw_and_bonferroni(p):
    p = np.array(p)
    q, fdr = st.holm(p), st.benjamini_hochberg(p)
    ok = ~np.isnan(p)
    assert (np.isnan(q) == ~ok).all()
    assert (q[ok] >= p[ok]).all()
    assert (q[ok] <= np.minimum(1, p[ok] * ok.sum()) + 1e-15).all()
    assert (fdr[ok] <= q[ok] + 1e-15).all()
    assert (np.diff(q[ok][np.argsort(p[ok])]) >= 0).all()


@fast
@given(p_values, hs.sampled_from([0.9, 0.95]))
def test_step_down_levels_decide_as_holm_does(p, level):
    p = np.array(p)
    levels, alpha = st.step_down_levels(p, level), 1 - level
    ok = ~np.isnan(p)
    if not ok.any():
        assert np.isnan(levels).all()
        return
    assert ((levels[ok] >= level - 1e-12) & (levels[ok] <= 1 - alpha / ok.sum() + 1e-12)).all()
    # Rejected at the level of one's own step exactly where the adjusted p says so.
    clear = ok & (np.abs(st.holm(p) - alpha) > 1e-9)
    assert ((p <= 1 - levels) == (st.holm(p) <= alpha))[clear].all()
    retained = levels[clear & (st.holm(p) > alpha)]
    assert np.unique(np.round(retained, 12)).size <= 1


@fast
@given(hs.integers(0, 10_000), hs.integers(2, 12), hs.integers(1, 6))
def test_the_adjusted_interval_and_the_adjusted_p_never_disagree(seed, n, m):
    r = generator(key("test", seed))
    base = cell("base", r.normal(size=n))
    cells = [cell(f"c{i}", base.values + r.normal(r.normal(), 0.6, size=n)) for i in range(m)]
    for c in st.compare(cells, base, 0.3, reps=0):
        assert c.adjusted_interval.excludes(0.0) == (c.p_adjusted <= 0.05)
        assert (c.verdict in ("better", "worse")) == (c.p_adjusted <= 0.05)
        assert c.family == m
        assert c.adjusted_interval.low <= c.interval.low <= c.difference <= c.interval.high <= c.adjusted_interval.high
        if c.verdict == "underpowered":
            assert c.blocks_needed > n
            assert c.episodes_needed == c.blocks_needed


@fast
@given(hs.lists(hs.sampled_from([-1.0, 0.0, 1.0]), min_size=2, max_size=14))
def test_sign_flip_against_a_plain_count(d):
    d = np.array(d)
    signs = ((np.arange(2**d.size)[:, None] >> np.arange(d.size)) & 1) * 2 - 1
    assert st.sign_flip(d) == np.mean(np.abs(signs @ d) >= abs(d.sum()))


@fast
@given(hs.floats(0.05, 2), hs.floats(0.1, 3), hs.sampled_from([0.9, 0.95, 0.99]))
def test_planned_blocks_are_the_fewest_that_suffice(effect, sd, level):
    n = st.blocks_for_difference(effect, sd, level)
    assert st.power_t(effect, sd, n, level) >= 0.8
    assert n == 2 or st.power_t(effect, sd, n - 1, level) < 0.8
    assert st.minimum_detectable(sd, n, level) <= effect * (1 + 1e-9)
    assert st.blocks_to_settle(effect, sd, level) >= n


# ---- blocks and replicates -----------------------------------------------------------------------
def test_replicates_are_averaged_before_anything_else():
    means = st.block_means([1.0, 3.0, 10.0], ["x", "x", "y"])
    assert means.blocks == ("x", "y")
    assert means.means.tolist() == [2.0, 10.0]
    assert means.counts.tolist() == [2, 1]
    # Playing every block three times does not make three times the evidence.
    a, b = np.array([0.1, 0.5, 0.9, 0.4]), np.array([0.0, 0.2, 0.7, 0.6])
    once = one(cell("a", a), cell("b", b), 0.1, reps=0)
    thrice = one(cell("a", np.tile(a, 3), list(range(4)) * 3), cell("b", b), 0.1, reps=0)
    assert (thrice.interval.low, thrice.interval.high) == pytest.approx((once.interval.low, once.interval.high))
    assert thrice.units == 4
    assert thrice.episodes == 12
    assert thrice.episodes_needed == 3 * once.episodes_needed


def test_the_number_and_the_text_are_two_blocks():
    assert st.block_means([1, 2, 3], [1, "1", 2]).blocks == (1, 2, "1")
    assert st.block_means([1, 2], np.array([2, 1])).blocks == (1, 2)


def test_unpaired_cells_are_refused_with_the_way_out():
    a, b = cell("taker", [1, 2, 3], [0, 1, 2]), cell("talker", [1, 2, 4], [1, 2, 3])
    with pytest.raises(CrossplayError, match=r"taker and talker are not paired.*only in taker \(e.g. 0\).*common"):
        one(a, b)
    c = one(a, b, pairing="common")
    assert (c.difference, c.blocks) == (1.0, 2)
    assert any("left out" in w for w in c.warnings)
    assert any("unpaired" in w for w in one(a, b, pairing="unpaired").warnings)
    with pytest.raises(CrossplayError, match="share no block"):
        one(a, cell("x", [1, 2], [8, 9]), pairing="common")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: st.mean_t([]), "no values"),
        (lambda: st.mean_t([1, math.nan, 2]), "1 of 3 are not finite, the first at position 1"),
        (lambda: st.mean_t([[1.0]]), "one dimension"),
        (lambda: st.mean_t(["a"]), "expected numbers"),
        (lambda: st.mean_t([1, 2], 95), "level = 95"),
        (lambda: one(cell("a", [1, 2]), cell("b", [1, 2]), 0.0), "margin = 0.0"),
        (lambda: one(cell("a", [1, 2]), cell("b", [1, 2]), bounds=(0, 1)), "outside the bounds"),
        (lambda: one(cell("a", [1, 2]), cell("b", [1, 2]), pairing="no"), 'pairing = "no"'),
        (lambda: st.block_means([1, 2], [1]), "2 values but 1 block ids"),
        (lambda: st.wilson(3, 2), "3 successes of 2"),
        (lambda: st.holm([2.0]), r"numbers in \[0, 1\]"),
        (lambda: st.mcnemar([1, 0.5], [0, 0]), "0 or 1"),
        (lambda: st.iqm_estimate([[math.inf, 1.0]]), "not finite"),
        (lambda: st.improvement(np.ones((2, 3)), np.ones((2, 4))), "3 tasks"),
        (lambda: st.blocks_for_tie(0.1, 1.0, effect=0.2), "no tie"),
        (lambda: st.blocks_for_difference(0.0, 1.0), "effect = 0"),
        (lambda: st.minimum_detectable(1.0, 1), "at least 2"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(CrossplayError, match=message):
        call()


# ---- cases without an ordinary interval ----------------------------------------------------------
def test_one_block_has_no_interval():
    s = st.summarise(cell("a", [0.5, 0.7], ["q", "q"]))
    assert s.mean.interval is None
    assert s.marks == ("n = 1",)
    c = one(cell("a", [0.5]), cell("b", [0.4]))
    assert (c.verdict, c.interval, c.p, c.blocks_needed) == ("underpowered", None, None, None)
    assert "n = 1" in st.describe(c)


def test_a_deterministic_cell_is_one_episode():
    a = cell("a", np.full(30, 0.7), digests=["d"] * 30)
    s = st.summarise(a)
    assert (s.mean.interval, s.mean.n, s.marks, s.distinct) == (None, 1, ("deterministic, n = 1",), 1)
    c = one(a, cell("b", np.full(30, 0.2), digests=["e"] * 30))
    assert (c.verdict, c.interval, c.p) == ("underpowered", None, None)
    assert "deterministic, n = 1" in c.marks
    assert "deterministic, n = 1" in st.describe(c)
    # A comparison that cannot be tested does not make the others pay for it.
    r = generator(key("test", "family"))
    moving = cell("m", r.normal(1, 0.2, size=30), digests=range(30))
    base = cell("b", np.full(30, 0.2), digests=["e"] * 30)
    both = st.compare([a, moving], base, 0.1)
    assert [x.family for x in both] == [1, 1]
    assert both[1].verdict == "better"
    assert "b: deterministic, n = 1" in both[1].marks


def test_few_distinct_episodes_are_told():
    s = st.summarise(cell("a", np.arange(12.0) % 4, digests=np.arange(12) % 4))
    assert s.distinct == 4
    assert "a: 4 distinct episodes in 12 blocks" in s.warnings
    assert s.iqm is not None


def test_no_variation_is_not_certainty():
    ones, zeros = cell("one", np.ones(20)), cell("zero", np.zeros(20))
    won = one(ones, zeros, 0.1)
    assert won.verdict == "better"
    assert won.p == 2.0**-19  # that of the exact sign-flip test
    assert one(cell("one", np.ones(7)), cell("zero", np.zeros(7)), 0.1).p == st.sign_flip(np.ones(7))
    assert won.interval.high == 1.0
    assert 0 < won.interval.low < 1
    same = one(zeros, zeros, 0.1, bounds=(0, 1))
    assert same.verdict == "underpowered"
    more = cell("zero", np.zeros(same.blocks_needed))
    assert one(more, more, 0.1, bounds=(0, 1)).verdict == "tied"
    less = cell("zero", np.zeros(same.blocks_needed - 1))
    assert one(less, less, 0.1, bounds=(0, 1)).verdict == "underpowered"
    # Where nothing varies in the whole family and no bounds are named, nothing can be said.
    blind = one(zeros, zeros, 0.1)
    assert (blind.verdict, blind.interval, blind.marks) == ("underpowered", None, ("no variation",))
    assert st.summarise(zeros).mean.interval is None
    assert st.summarise(zeros, bounds=(0, 1)).mean.interval.high == pytest.approx(1 - 0.05 ** (1 / 19))


def test_the_constant_interval_keeps_its_promise():
    # The worst two-point worlds: chance of n equal answers whose interval misses the mean is <= 5 %.
    for n in (2, 3, 6, 20):
        for share in np.linspace(0.001, 0.999, 333):
            missed = 0.0
            for value, chance in ((0.0, 1 - share), (1.0, share)):
                missed += chance**n * st.constant_interval(value, n, (0.0, 1.0)).excludes(share)
            assert missed <= 0.05


def test_rounding_is_not_variation():
    a = np.array([0.1 + 0.2, 0.3, 0.7 - 0.4])
    assert st.mean_t(a).mark == "no variation"
    assert st.paired_t(a + 1e3, np.full(3, 1e3 + 0.3)).mark == "no variation"


def test_clusters_are_the_units():
    r = generator(key("test", "people"))
    people = np.repeat(["ann", "bob", "cy", "di", "ed", "flo"], 5)
    a = cell("a", r.normal(0.4, 1, size=30), clusters=people)
    b = cell("b", r.normal(0.0, 1, size=30), clusters=people)
    c = one(a, b, reps=0)
    d = a.values - b.values
    assert (c.units, c.blocks, c.interval.df) == (6, 30, 5)
    expected = st.cluster_mean(d, people)
    assert (c.interval.low, c.interval.high) == pytest.approx((expected.interval.low, expected.interval.high))
    assert c.warnings[0].startswith("6 clusters, fewer than 10")
    with pytest.raises(CrossplayError, match="two clusters"):
        st.summarise(cell("a", [1, 2], ["x", "x"], clusters=["ann", "bob"]))
    with pytest.raises(CrossplayError, match="different clusters"):
        one(a, cell("b", b.values, clusters=people[::-1].copy()))


def test_marks_and_warnings():
    few = cell("a", [0.1, 0.9, 0.5], training_seeds=3)
    s = st.summarise(few)
    assert "this checkpoint" in s.marks
    assert any(w.startswith("3 blocks, fewer than 10") for w in s.warnings)
    assert s.iqm is None
    assert "this checkpoint" not in st.summarise(cell("a", [0.1, 0.9, 0.5], training_seeds=5)).marks
    r = generator(key("test", "tiny"))
    base = r.normal(size=40)
    c = one(cell("a", base + 0.05 + r.normal(0, 0.01, size=40)), cell("b", base), 0.5)
    assert c.verdict == "better"
    assert "within margin" in c.marks
    assert "within margin" in st.describe(c)
    assert c.iqm is not None


def test_lower_may_be_better():
    r = generator(key("test", "cost"))
    base = r.normal(size=20)
    dear = cell("dear", base + 1 + r.normal(0, 0.1, size=20))
    assert one(dear, cell("b", base)).verdict == "better"
    assert one(dear, cell("b", base), higher_is_better=False).verdict == "worse"


def test_bootstraps_are_addressed():
    x = generator(key("test", "address")).normal(size=(12, 3))
    first = st.iqm_estimate(x, reps=300)
    assert first == st.iqm_estimate(x[::-1], reps=300)
    assert first != st.iqm_estimate(x, reps=300, k=key("other"))
    column = x[:, 0]
    assert st.bootstrap(column, reps=300) == st.bootstrap(column[::-1], reps=300)
    np.random.seed(0)  # noqa: NPY002
    assert first == st.iqm_estimate(x, reps=300)
    assert st.improvement(x, x + 0.5, reps=100) == st.improvement(x, x + 0.5, reps=100)


def test_a_band_holds_its_profile_and_falls():
    x = generator(key("test", "profile")).normal(size=(11, 4))
    p = st.profile(x, np.linspace(-3, 3, 13), reps=300)
    assert (p.low <= p.share).all()
    assert (p.share <= p.high).all()
    assert (np.diff(p.share) <= 0).all()
    assert st.improvement(x, x, reps=50).value == 0.5


def test_results_travel():
    import msgspec

    r = generator(key("test", "pack"))
    c = one(cell("a", r.normal(size=12)), cell("b", r.normal(size=12)))
    assert msgspec.json.decode(msgspec.json.encode(c), type=st.Comparison) == c


def test_shown():
    e = st.mean_t([0.40, 0.44, 0.42])
    assert st.shown(e, 2) == "0.42 [0.37, 0.47]"
    assert st.shown(st.mean_t([0.4])) == "0.400 (n = 1)"


def test_tied_means_inside_the_margin_on_both_sides():
    r = generator(key("test", "edge"))
    base = r.normal(size=30)
    a = cell("a", base + r.normal(0, 0.3, size=30))
    reach = max(abs(v) for v in (lambda i: (i.low, i.high))(one(a, cell("b", base)).adjusted_interval))
    assert one(a, cell("b", base), reach * 1.001).verdict == "tied"
    assert one(a, cell("b", base), reach * 0.999).verdict == "underpowered"
    assert one(cell("b", base), a, reach * 1.001).verdict == "tied"
    assert one(cell("b", base), a, reach * 0.999).verdict == "underpowered"
