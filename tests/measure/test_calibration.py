"""Calibration against scikit-learn and a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure.calibration import calibration, reliability


def test_by_hand():
    c = calibration([0.9, 0.8, 0.3, 0.2], [1, 1, 0, 1], range(4))
    assert c.brier.value == pytest.approx((0.01 + 0.04 + 0.09 + 0.64) / 4)
    assert c.auroc == pytest.approx(2 / 3)
    assert c.ece == pytest.approx((0.1 + 0.2 + 0.3 + 0.8) / 4)
    assert calibration([0.5, 0.5], [1, 1], range(2)).auroc is None


def test_calibrated_confidence_is_found_calibrated():
    r = generator(key("test", "calibrated"))
    p = r.uniform(size=20_000)
    fair = calibration(p, r.uniform(size=p.size) < p, range(p.size))
    assert fair.ece < 0.02
    assert fair.brier.value == pytest.approx(1 / 6, abs=0.01)
    sure = calibration(np.minimum(1, p + 0.3), r.uniform(size=p.size) < p, range(p.size))
    assert sure.ece > 0.2
    assert sure.brier.value > fair.brier.value


@settings(max_examples=60, deadline=None)
@given(hs.lists(hs.tuples(hs.integers(0, 100), hs.integers(0, 1)), min_size=1, max_size=30), hs.integers(1, 12))
def test_equals_sklearn_and_a_loop(rows, bins):
    from sklearn.metrics import brier_score_loss, roc_auc_score

    c, y = np.array([a / 100 for a, _ in rows]), np.array([b for _, b in rows])
    ours = calibration(c, y, range(len(rows)), bins=bins)
    assert ours.brier.value == pytest.approx(brier_score_loss(y, c, pos_label=1))
    assert ours.auroc == (pytest.approx(roc_auc_score(y, c)) if len(set(y)) > 1 else None)
    table = reliability(c, y, bins)
    ece, worst = 0.0, 0.0
    for b in range(bins):
        last = b == bins - 1
        here = (c >= b / bins) & ((c <= 1) if last else (c < (b + 1) / bins))
        assert table.count[b] == here.sum()
        if not here.any():
            assert np.isnan(table.confidence[b])
            continue
        assert table.confidence[b] == pytest.approx(c[here].mean())
        assert table.success[b] == pytest.approx(y[here].mean())
        gap = abs(c[here].mean() - y[here].mean())
        ece, worst = ece + here.mean() * gap, max(worst, gap)
    assert table.ece == pytest.approx(ece)
    assert ours.ece == table.ece
    assert table.mce == pytest.approx(worst)


def test_the_block_is_the_unit():
    once = calibration([0.9, 0.4], [1, 0], ["a", "b"])
    thrice = calibration([0.9] * 3 + [0.4] * 3, [1] * 3 + [0] * 3, ["a"] * 3 + ["b"] * 3)
    assert thrice.brier == once.brier
    assert thrice.n == 6


@pytest.mark.parametrize("bad", [([1.2], [1]), ([0.5], [2]), ([0.5, 0.5], [1]), ([float("nan")], [1])])
def test_errors(bad):
    with pytest.raises(CrossplayError):
        reliability(*bad)
    with pytest.raises(CrossplayError, match="bins"):
        reliability([0.5], [1], bins=0)
