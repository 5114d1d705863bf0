"""Profiles of agents whose behaviour was planted, and the exchanges behind the tests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from crossplay.kernel.seeds import generator, key
from crossplay.kernel.types import CrossplayError
from crossplay.measure import profiles as pf

K = key("test", "profiles")


def talk(rates, messages, world, runs=3):
    """Messages of agents with planted rates [A, K] of independent flags, spread over runs."""
    r = generator(key("test", "talk", world))
    agents = np.tile(np.repeat(np.arange(len(rates)), messages), runs)
    flags = r.uniform(size=(agents.size, len(rates[0]))) < np.asarray(rates)[agents]
    return flags, agents, np.repeat(np.arange(runs), messages * len(rates))


def test_profiles_count():
    flags = pf.one_hot([0, 2, 2, -1, 0], 4)
    p = pf.profiles(flags, ["b", "a", "a", "a", "b"])
    assert p.agents == ("a", "b")
    assert p.rates.tolist() == [[0, 0, pytest.approx(2 / 3), 0], [1, 0, 0, 0]]
    assert p.messages.tolist() == [3, 2]
    assert p.silent == (1, 3)


@settings(max_examples=40, deadline=None)
@given(hs.integers(0, 10**6))
def test_distances_equal_scipy(seed):
    from scipy.spatial.distance import cdist

    rates = generator(key("test", "rates", seed)).uniform(0.01, 1, (4, 5))
    assert pf.profile_distances(rates) == pytest.approx(cdist(rates, rates, "cosine"), abs=1e-12)
    js = cdist(rates, rates, "jensenshannon") ** 2 / np.log(2)
    assert pf.profile_distances(rates, "jensen-shannon") == pytest.approx(js, abs=1e-9)


def test_an_agent_without_flags():
    for distance in ("cosine", "jensen-shannon"):
        d = pf.profile_distances([[0, 0], [0, 0], [1, 0]], distance)
        assert d.tolist() == [[0, 0, 1], [0, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize("distance", ["cosine", "jensen-shannon"])
def test_planted_differences_are_found_and_absent_ones_are_not(distance):
    different = [[0.6, 0.1, 0.1], [0.1, 0.6, 0.1], [0.1, 0.1, 0.6]]
    found = pf.profiles_differ(*talk(different, 20, 0), key=K, distance=distance, exchanges=199)
    assert found.p == 1 / 200
    assert found.excess > 0.2
    assert found == pf.profiles_differ(*talk(different, 20, 0), key=K, distance=distance, exchanges=199)
    same = [[0.3, 0.2, 0.4]] * 3
    p = [
        pf.profiles_differ(*talk(same, 10, w), key=key("test", w), distance=distance, exchanges=49).p for w in range(60)
    ]
    assert np.mean(np.array(p) <= 0.1) < 0.25  # 6 of 60 expected
    assert abs(np.mean(p) - 0.5) < 0.13


def test_exchanges_stay_within_runs():
    """Agents differ only because they sit in different runs: an exchange within runs finds nothing."""
    p = []
    for world in range(50):
        r = generator(key("test", "within", world))
        runs = np.repeat([0, 1], 60)
        agents = np.where(r.uniform(size=120) < 0.8, runs, 1 - runs)
        flags = r.uniform(size=(120, 2)) < np.where(runs[:, None] == 0, [0.8, 0.1], [0.1, 0.8])
        within = pf.profiles_differ(flags, agents, runs, key=key("test", world), exchanges=39)
        across = pf.profiles_differ(flags, agents, np.zeros(120, int), key=key("test", world), exchanges=39)
        assert across.p == 1 / 40
        assert within.null > across.null + 0.1
        p.append(within.p)
    assert abs(np.mean(p) - 0.5) < 3 * (1 / 12 / 50) ** 0.5


def test_cosines():
    from scipy.spatial.distance import pdist

    x = generator(key("test", "cosine")).normal(size=(5, 3))
    assert pf.mean_cosine(x) == pytest.approx(1 - pdist(x, "cosine").mean())
    assert pf.mean_cosine(np.stack([x, 2 * x])) == pytest.approx(np.repeat(pf.mean_cosine(x), 2))
    assert pf.cosine([0, 0], [1, 0]) == 0
    with pytest.raises(CrossplayError, match="two vectors"):
        pf.mean_cosine(x[:1])


def test_cosine_test_has_a_floor_that_its_null_shows():
    """Vectors without negative entries have high cosines though nothing belongs together."""
    r = generator(key("test", "floor"))
    a, b = r.uniform(size=(2, 40, 5))
    none = pf.cosine_test(a, b, key=K)
    assert none.observed > 0.7
    assert none.p > 0.05
    some = pf.cosine_test(a, a + 0.2 * b, key=K)
    assert some.p == 1 / 1000
    assert some.low < some.null < some.high < some.observed


def test_errors():
    with pytest.raises(CrossplayError, match="acts"):
        pf.one_hot([4], 4)
    with pytest.raises(CrossplayError, match="flags"):
        pf.profiles([[2]], [0])
    with pytest.raises(CrossplayError, match="as many agents"):
        pf.profiles([[1]], [0, 1])
    with pytest.raises(CrossplayError, match="two agents"):
        pf.profiles_differ([[1], [0]], [0, 0], [0, 0], key=K)
    with pytest.raises(CrossplayError, match="runs"):
        pf.profiles_differ([[1], [0]], [0, 1], [0], key=K)
    with pytest.raises(CrossplayError, match="distance"):
        pf.profile_distances([[1.0]], "euclid")
    with pytest.raises(CrossplayError, match="cosine test"):
        pf.cosine_test([[1.0]], [[1.0]], key=K)
