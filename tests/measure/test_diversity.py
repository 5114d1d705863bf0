"""K* against closed forms, a singular-value computation and planted agents."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure import diversity as dv

quick = settings(max_examples=50, deadline=None)
K = key("test", "diversity")


def equicorrelated(n, rho):
    """n unit vectors with all cosines rho."""
    return np.linalg.cholesky((1 - rho) * np.eye(n) + rho + 1e-14 * np.eye(n))


def closed_form(n, rho):
    """2 ** entropy of the spectrum (1 + (n - 1) rho) once and 1 - rho (n - 1) times, over n."""
    shares = np.array([1 + (n - 1) * rho] + [1 - rho] * (n - 1)) / n
    return 2.0 ** -sum(s * np.log2(s) for s in shares if s > 0)


def slow(rows):
    """K* by singular values and natural logarithms."""
    s = np.linalg.svd(rows, compute_uv=False) ** 2
    s = s[s > 1e-12 * s.sum()] / s.sum() if s.sum() > 0 else np.ones(1)
    return float(np.exp(-(s * np.log(s)).sum()))


@pytest.mark.parametrize(
    ("rho", "expected"),
    [
        (0.95, {2: 1.12, 4: 1.22, 8: 1.30, 16: 1.37, 64: 1.49}),
        (0.8, {2: 1.38, 4: 1.80, 8: 2.24, 16: 2.69, 64: 3.71}),
        (0.5, {2: 1.75, 4: 2.93, 8: 4.65, 16: 7.10, 64: 15.4}),
        (0.0, {2: 2, 4: 4, 8: 8, 16: 16, 64: 64}),
    ],
)
def test_noisy_clones_never_level_off(rho, expected):
    for n, value in expected.items():
        x = equicorrelated(n, rho)
        k = float(dv.effective_channels(x))
        assert k == pytest.approx(closed_form(n, rho))
        assert k == pytest.approx(value, rel=0.01)
        assert dv.kish(x) == pytest.approx(n / (1 + (n - 1) * rho))


def test_extremes():
    same = np.tile([0.6, 0.8], (5, 1))
    assert dv.effective_channels(same) == pytest.approx(1)
    assert dv.kish(same) == pytest.approx(1)
    assert dv.effective_channels(np.zeros((3, 2))) == 1
    assert dv.effective_channels(np.empty((0, 2))) == 1
    assert dv.kish([[1.0, 0.0], [-1.0, 0.0]]) == np.inf
    assert np.isnan(dv.kish(same, np.zeros(5, bool)))


@quick
@given(hs.integers(0, 10**6), hs.integers(1, 6), hs.integers(1, 6))
def test_equals_the_singular_values_in_any_shape(seed, n, d):
    r = generator(key("test", "k", seed))
    x = r.normal(size=(3, n, d))
    found = dv.effective_channels(x)
    assert found == pytest.approx([slow(m) for m in x])
    assert (found >= 1 - 1e-9).all() and (found <= min(n, d) + 1e-9).all()
    turned = x @ np.linalg.qr(r.normal(size=(d, d)))[0]
    assert dv.effective_channels(turned) == pytest.approx(found)
    assert dv.effective_channels(3 * x[:, ::-1]) == pytest.approx(found)


@quick
@given(hs.integers(0, 10**6))
def test_an_absent_text_is_as_if_it_were_not_there(seed):
    r = generator(key("test", "present", seed))
    x, there = r.normal(size=(4, 5, 3)), r.uniform(size=(4, 5)) < 0.7
    there[:, 0] = True
    x[~there] = np.nan
    d = dv.kstar_per_question(x, there)
    unit = [m[t] / np.linalg.norm(m[t], axis=1, keepdims=True) for m, t in zip(x, there, strict=True)]
    assert d.kstar == pytest.approx([slow(m) for m in unit])
    assert d.kish == pytest.approx([len(m) ** 2 / (m @ m.T).sum() for m in unit])
    assert d.n.tolist() == there.sum(1).tolist()
    assert d.share == pytest.approx(d.kstar / d.n)
    assert d.mean.value == pytest.approx(d.kstar.mean())
    gone = dv.contributions(x, there)
    assert np.isnan(gone[~there]).all()
    for q, i in itertools.product(range(4), range(5)):
        if there[q, i]:
            left = there[q].copy()
            left[i] = False
            rest = x[q][left] / np.linalg.norm(x[q][left], axis=1, keepdims=True)
            assert gone[q, i] == pytest.approx(d.kstar[q] - (slow(rest) if len(rest) else 1))


def test_round_means_use_questions_that_all_answered():
    r = generator(key("test", "rounds"))
    x, there = r.normal(size=(2, 6, 3, 8)), np.ones((2, 6, 3), bool)
    there[0, 2, 1] = False
    d = dv.kstar_round_mean(x, there)
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    assert d.kstar == pytest.approx([slow(unit[0][[0, 1, 3, 4, 5]].mean(0)), slow(unit[1].mean(0))])
    assert d.mean is None
    assert d.n.tolist() == [3, 3]
    there[1, :, 0] = False
    with pytest.raises(CrossplayError, match="round 1"):
        dv.kstar_round_mean(x, there)


def test_cumulative_is_over_all_texts_so_far():
    x = generator(key("test", "cumulative")).normal(size=(3, 4, 2, 5))
    unit = (x / np.linalg.norm(x, axis=-1, keepdims=True)).reshape(3, 8, 5)
    d = dv.kstar_cumulative(x)
    assert d.kstar == pytest.approx([slow(np.concatenate(unit[: r + 1])) for r in range(3)])
    assert d.n.tolist() == [8, 16, 24]


def test_modes_are_never_mixed():
    x = generator(key("test", "modes")).normal(size=(2, 5, 3, 4))
    a, b, c = dv.kstar_per_question(x[0]), dv.kstar_round_mean(x), dv.kstar_cumulative(x)
    assert (a.mode, b.mode, c.mode) == ("per_question_agent", "round_agent_avg", "round_cum_text")
    for pair in itertools.combinations((a, b, c), 2):
        with pytest.raises(CrossplayError, match="one table per mode"):
            dv.diversity_table(dict(zip(("x", "y"), pair, strict=True)))
    rows = dv.diversity_table({"first": a, "again": a})
    assert rows[0] == {**rows[1], "name": "first"}
    assert rows[0]["kstar"] == pytest.approx(a.kstar.mean())
    assert dv.diversity_table({"b": b})[0]["kstar"] == b.kstar.tolist()


def planted(topic, style, noise=0.3, questions=60, agents=4, d=24, rounds=None):
    """Texts = topic of the question + style of the agent + noise."""
    r = generator(key("test", "planted", topic, style))
    shape = (questions, agents, d) if rounds is None else (rounds, questions, agents, d)
    about, manner = r.normal(size=(questions, 1, d)), r.normal(size=(agents, d))
    return topic * about + style * manner + noise * r.normal(size=shape)


def test_the_shuffled_baseline_of_questions_finds_shared_topics():
    shared = planted(topic=1.0, style=0.3)
    d, base = dv.kstar_per_question(shared), dv.shuffled_per_question(shared, K)
    assert d.kstar.mean() < base.low - 0.5
    # Without a shared topic the observed value is one more draw: its ranks are uniform over worlds.
    ranks = []
    for world in range(60):
        r = generator(key("test", "no topic", world))
        none = r.normal(size=(4, 12)) + 0.3 * r.normal(size=(20, 4, 12))
        base = dv.shuffled_per_question(none, key("test", world), draws=39)
        ranks.append((base.kstar < dv.kstar_per_question(none).kstar.mean()).mean())
    assert abs(np.mean(ranks) - 0.5) < 3 * (1 / 12 / 60) ** 0.5
    assert abs(np.std(ranks) - 12**-0.5) < 0.06
    assert base.kstar.tolist() == dv.shuffled_per_question(none, key("test", world), draws=39).kstar.tolist()
    assert base.kstar.tolist() != dv.shuffled_per_question(none, key("other"), draws=39).kstar.tolist()


def test_the_shuffled_baseline_of_agents_finds_styles():
    styled = planted(topic=0.5, style=1.0, rounds=2)
    d, base = dv.kstar_round_mean(styled), dv.shuffled_round_mean(styled, K)
    assert (d.kstar > base.high + 0.5).all()
    alike = planted(topic=0.5, style=0.0, rounds=2, noise=1.0)
    d, base = dv.kstar_round_mean(alike), dv.shuffled_round_mean(alike, K, draws=200)
    assert (d.kstar <= base.high * 1.05).all() and (d.kstar >= base.low * 0.95).all()
    assert base.kstar.shape == (200, 2)
    assert not (base.kstar[:, 0] == base.kstar[:, 1]).any()
    with pytest.raises(CrossplayError, match="draws"):
        dv.shuffled_round_mean(alike, K, draws=0)


def test_shuffling_moves_absent_texts_along():
    x, there = planted(topic=1.0, style=1.0), np.ones((60, 4), bool)
    there[:20, 0] = False
    x[~there] = np.nan
    assert np.isfinite(dv.shuffled_per_question(x, K, present=there).kstar).all()


def test_by_correctness():
    x = np.eye(4)[None]
    split = dv.kstar_by_correctness(x, [[True, True, True, False]])
    assert (split.right[0], split.wrong[0], split.effective[0]) == (pytest.approx(3), 1, pytest.approx(2.5))
    assert (split.n_right[0], split.n_wrong[0]) == (3, 1)
    part = dv.kstar_by_correctness(x, [[True, True, True, False]], [[True, False, True, True]])
    assert part.right[0] == pytest.approx(2)


def test_weighted_rows():
    x = np.eye(3)
    assert dv.kstar_weighted(x, [1, 1, 1]) == pytest.approx(3)
    expected = slow(np.diag(np.array([1.0, 0.5, 0.3]) * 3 / 1.8))
    assert dv.kstar_weighted(x, [1, -1, 0]) == pytest.approx(expected)
    with pytest.raises(CrossplayError, match="unknown"):
        dv.kstar_weighted(x, [1, 2, 0])


def test_errors():
    with pytest.raises(CrossplayError, match="dimensions"):
        dv.kstar_per_question(np.eye(3))
    with pytest.raises(CrossplayError, match="finite"):
        dv.kstar_per_question(np.full((1, 2, 2), np.nan))
    with pytest.raises(CrossplayError, match="present"):
        dv.kstar_per_question(np.ones((1, 2, 2)), np.ones((2, 2), bool))
    with pytest.raises(CrossplayError, match="every question"):
        dv.kstar_per_question(np.ones((1, 2, 2)), np.zeros((1, 2), bool))
    with pytest.raises(CrossplayError, match="expected \\[questions"):
        dv.kstar_per_question(np.ones((1, 2, 2, 2)))
