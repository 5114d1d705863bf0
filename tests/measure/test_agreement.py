"""Agreement and divergence against scikit-learn, krippendorff and scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure.agreement import cohen_kappa, jensen_shannon, krippendorff_alpha

quick = settings(max_examples=60, deadline=None)


@quick
@given(hs.lists(hs.tuples(hs.integers(0, 3), hs.integers(0, 3)), min_size=2, max_size=30))
@pytest.mark.filterwarnings("ignore")
def test_kappa_equals_sklearn(rows):
    from sklearn.metrics import cohen_kappa_score

    a, b = np.array(rows).T
    for ours, theirs in (("none", None), ("linear", "linear"), ("quadratic", "quadratic")):
        expected = cohen_kappa_score(a, b, weights=theirs)
        found = cohen_kappa(a, b, weights=ours, reps=0)
        assert found.value == (None if np.isnan(expected) else pytest.approx(expected))
        assert found.n == len(rows)
    assert cohen_kappa(a, a, reps=0).value == (1.0 if len(set(a)) > 1 else None)


def test_kappa_leaves_out_and_counts_what_is_missing():
    full = cohen_kappa([0, 1, 1, 0], [0, 1, 0, 0])
    gaps = cohen_kappa([0, 1, 1, 0, -1, 2], [0, 1, 0, 0, 1, -1])
    assert gaps.value == full.value
    assert (gaps.n, gaps.left_out) == (4, 2)
    assert cohen_kappa([np.nan, 1.0], [1.0, np.nan]).value is None


ratings = hs.integers(2, 4).flatmap(
    lambda coders: hs.lists(
        hs.lists(hs.one_of(hs.none(), hs.integers(0, 4)), min_size=coders, max_size=coders), min_size=2, max_size=12
    )
)


@quick
@given(ratings)
def test_alpha_equals_krippendorff(units):
    import krippendorff

    data = np.array([[np.nan if x is None else 2.0 * x for x in u] for u in units]).T
    for metric in ("nominal", "ordinal", "interval"):
        ours = krippendorff_alpha(data, metric, reps=0)
        paired = (~np.isnan(data)).sum(0) >= 2
        used = data[:, paired]
        if len(np.unique(used[~np.isnan(used)])) < 2:
            assert ours.value is None
            continue
        assert ours.value == pytest.approx(krippendorff.alpha(reliability_data=data, level_of_measurement=metric))
        assert ours.n == paired.sum()
        assert ours.left_out == (~paired).sum()
    whole = np.where(np.isnan(data), -1, data).astype(int)
    assert krippendorff_alpha(whole, reps=0) == krippendorff_alpha(data, reps=0)


def test_intervals_cover_and_shrink():
    """Two coders who agree 80 % of the time beyond chance, by construction (kappa = alpha = 0.8)."""
    r = generator(key("test", "agreement"))
    hits = {"kappa": 0, "alpha": 0}
    for i in range(200):
        truth = r.integers(0, 3, 120)
        second = np.where(r.uniform(size=120) < 0.8, truth, r.integers(0, 3, 120))
        k = key("test", i)
        kappa = cohen_kappa(truth, second, reps=300, k=k)
        alpha = krippendorff_alpha(np.stack([truth, second]), reps=300, k=k)
        hits["kappa"] += not kappa.interval.excludes(0.8)
        hits["alpha"] += not alpha.interval.excludes(0.8)
    assert 0.88 <= hits["kappa"] / 200 <= 0.99
    assert 0.88 <= hits["alpha"] / 200 <= 0.99
    assert cohen_kappa(truth, second, k=k) == cohen_kappa(truth, second, k=k)
    assert cohen_kappa(truth, second).undefined == 0


@quick
@given(hs.integers(0, 10**6), hs.integers(1, 6))
def test_jensen_shannon_equals_scipy(seed, k):
    from scipy.spatial.distance import jensenshannon

    r = generator(key("test", "js", seed))
    p, q = r.integers(0, 4, (2, 5, k)).astype(float)
    p[:, 0] += 1
    q[:, -1] += 1
    ours = jensen_shannon(p, q)
    assert ours == pytest.approx([jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)], abs=1e-12)
    assert (ours >= 0).all() and (ours <= 1 + 1e-12).all()
    assert jensen_shannon(q, p) == pytest.approx(ours)
    assert jensen_shannon(p, 3 * p) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(p, q, base=np.e) == pytest.approx(ours * np.log(2))


def test_errors():
    assert np.isnan(jensen_shannon([0, 0], [1, 0]))
    assert jensen_shannon([1, 0], [0, 1]) == 1
    for bad in (lambda: jensen_shannon([-1, 2], [1, 1]), lambda: cohen_kappa([1, 2], [1])):
        with pytest.raises(CrossplayError):
            bad()
    with pytest.raises(CrossplayError, match="metric"):
        krippendorff_alpha([[1, 2]], "ratio")
    with pytest.raises(CrossplayError, match="weights"):
        cohen_kappa([1], [1], weights="cubic")
    with pytest.raises(CrossplayError, match="numbers"):
        cohen_kappa(["a"], ["b"])
