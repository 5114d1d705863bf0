"""Generalised advantages equal the weighted mean of all n-step returns, taken from the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from crossplay.train.ppo import advantages


def by_definition(paid, values, last, over, gamma, lam):
    """(1 - lam) sum of lam^(n-1) G_n, the remaining weight on the longest return, minus the value."""
    T = len(paid)
    worth = [*values, last]
    out = []
    for t in range(T):
        returns, total, discount = [], 0.0, 1.0
        for n in range(t, T):
            total += discount * paid[n]
            discount *= gamma
            if over[n]:
                returns.append(total)
                break
            returns.append(total + discount * worth[n + 1])
        weights = [(1 - lam) * lam**i for i in range(len(returns))]
        weights[-1] = lam ** (len(returns) - 1)
        out.append(sum(w * g for w, g in zip(weights, returns, strict=True)) - values[t])
    return out


@given(
    seed=st.integers(0, 2**32 - 1),
    steps=st.integers(1, 12),
    gamma=st.floats(0, 1),
    lam=st.floats(0, 1),
    ends=st.floats(0, 1),
)
@settings(max_examples=150, deadline=None)
def test_equals_the_definition(seed, steps, gamma, lam, ends):
    rng = np.random.default_rng(seed)
    paid, values = rng.normal(size=(2, steps, 3))
    last, over = rng.normal(size=3), rng.random((steps, 3)) < ends
    got = advantages(paid, values, last, over, gamma, lam)
    for k in range(3):
        want = by_definition(paid[:, k], values[:, k], last[k], over[:, k], gamma, lam)
        np.testing.assert_allclose(got[:, k], want, rtol=1e-9, atol=1e-9)


def test_one_step_and_whole_return():
    paid, values, over = np.array([[1.0], [2.0], [4.0]]), np.zeros((3, 1)), np.array([[False], [False], [True]])
    np.testing.assert_allclose(advantages(paid, values, np.array([9.0]), over, 0.5, 0.0)[:, 0], [1, 2, 4])
    np.testing.assert_allclose(advantages(paid, values, np.array([9.0]), over, 0.5, 1.0)[:, 0], [3, 4, 4])
