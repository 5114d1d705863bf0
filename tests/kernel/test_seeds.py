"""Seeds: values fixed forever, one address one number, nobody's stream touches another's."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

import properties
from crossplay.kernel import Block, draw, env_key, generator, item_of, key, permutation, pick, seat_key, uniform

fast = settings(derandomize=True, deadline=None, max_examples=100, database=None)
counters = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize("check", properties.of(1), ids=lambda p: p.__name__)
def test_invariant_1(check):
    check()


def test_splitmix64_is_the_published_one():
    """Draws over (0,), (1,), ... of key 0 chain the finaliser of SplitMix64, seeded as published."""

    def finaliser(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15
    # The reference generator started at 0 gives this first number (Vigna's splitmix64.c).
    assert draw(0, 0) == finaliser(golden) == 0xE220A8397B1DCDAF
    for h, c in [(0, 1), (12345, 7), (2**64 - 1, 2**40)]:
        assert draw(h, c) == finaliser(((h ^ (c * golden)) + golden) % 2**64)


@fast
@given(k=st.integers(0, 2**64 - 1), cs=st.lists(counters, max_size=4), width=st.integers(1, 5))
def test_scalar_and_array_draws_have_equal_bits(k, cs, width):
    keys = (np.arange(width, dtype=np.uint64) * np.uint64(977)) ^ np.uint64(k)
    got = draw(keys, *cs)
    assert got.dtype == np.uint64 and got.shape == (width,)
    assert got.tolist() == [draw(int(x), *cs) for x in keys]
    assert pick(keys, 17, *cs).tolist() == [pick(int(x), 17, *cs) for x in keys]
    assert uniform(keys, *cs).tolist() == [uniform(int(x), *cs) for x in keys]


@fast
@given(k=st.integers(0, 2**64 - 1), tick=st.lists(counters, min_size=1, max_size=4), slot=counters)
def test_counters_may_be_arrays(k, tick, slot):
    keys = np.full(len(tick), k, np.uint64)
    assert draw(keys, np.array(tick), slot).tolist() == [draw(k, t, slot) for t in tick]
    table = draw(keys[:, None], np.array(tick)[:, None], np.arange(3)[None, :])
    assert table.tolist() == [[draw(k, t, j) for j in range(3)] for t in tick]


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (3, 1)])
def test_shapes_broadcast_at_every_width(width, shape):
    counter = np.arange(int(np.prod(shape))).reshape(shape)
    got = draw(np.arange(width, dtype=np.uint64), 5, counter)
    assert got.shape == np.broadcast_shapes((width,), shape)


def test_bytes_are_their_first_64_bits():
    k = key("a")
    assert draw(k, 3) == draw(int.from_bytes(k[:8], "little"), 3)


@pytest.mark.parametrize("n", [2, 3, 7, 10, 64])
@pytest.mark.parametrize("way", ["tick", "slot", "key", "block"])
def test_draws_are_uniform_along_every_address(n, way):
    """Chi-squared at fixed seeds, over 20,000 neighbouring addresses; p = 1e-4."""
    i = np.arange(20_000)
    keys = np.full(len(i), 99, np.uint64)
    if way == "block":
        keys = np.array([int.from_bytes(env_key(Block(1, int(b)), "e")[:8], "little") for b in i[:4000]], np.uint64)
        i = i[:4000]
    x = {
        "tick": lambda: pick(keys, n, i, 0),
        "slot": lambda: pick(keys, n, 0, i),
        "key": lambda: pick(i.astype(np.uint64), n, 4),
        "block": lambda: pick(keys, n, 0, 0),
    }[way]()
    counts = np.bincount(x, minlength=n)
    assert ((counts - len(i) / n) ** 2 / (len(i) / n)).sum() < chi2.ppf(1 - 1e-4, n - 1)


def test_neighbouring_addresses_are_not_correlated():
    i = np.arange(20_000)
    keys = np.full(len(i), 5, np.uint64)
    u = {
        name: uniform(keys, *c)
        for name, c in {"t": (i, 0), "t1": (i + 1, 0), "s1": (i, 1), "swap": (0, i), "k": (i, 0, 0)}.items()
    }
    for a, b in itertools.combinations(u, 2):
        if {a, b} != {"t", "t1"}:
            assert abs(np.corrcoef(u[a], u[b])[0, 1]) < 4 / np.sqrt(len(i)), (a, b)
    assert abs(np.corrcoef(u["t"][:-1], u["t"][1:])[0, 1]) < 4 / np.sqrt(len(i))


def test_pick_and_uniform_reach_their_ends_and_no_further():
    class Ones(int):
        pass

    top = np.array([2**64 - 1, 0], np.uint64)
    assert ((top >> np.uint64(11)).astype(float) * 2.0**-53).max() < 1.0
    seen = pick(np.arange(4000, dtype=np.uint64), 5, 1)
    assert set(seen.tolist()) == set(range(5))
    u = uniform(np.arange(4000, dtype=np.uint64), 1)
    assert u.min() >= 0 and u.max() < 1 and u.min() < 0.01 and u.max() > 0.99
    assert pick(np.arange(4000, dtype=np.uint64), 1, 1).max() == 0


def test_permutations_are_uniform():
    counts = {}
    for t in range(12_000):
        order = tuple(permutation(77, 4, t))
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((c - 500) ** 2 / 500 for c in counts.values()) < chi2.ppf(1 - 1e-4, 23)


names = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=6)
    | st.binary(max_size=6)
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@fast
@given(st.lists(names, max_size=4), st.lists(names, max_size=4))
def test_structured_names_never_collide(a, b):
    """Keys are equal exactly when the names are: types, nesting and the ends of strings all count."""

    def form(x):
        if isinstance(x, list):
            return ("list", *map(form, x))
        if isinstance(x, dict):
            return ("dict", *sorted((k, form(v)) for k, v in x.items()))
        return (type(x).__name__, repr(x))

    assert (key(*a) == key(*b)) == (form(a) == form(b))


def test_concatenated_names_do_not_collide():
    family = [
        ("a", "b"),
        ("ab",),
        ("a", "b", ""),
        (["a", "b"],),
        ("a", ["b"]),
        (1,),
        ("1",),
        (1.0,),
        (True,),
        (b"1",),
        (None,),
        (),
    ]
    assert len({key(*f) for f in family}) == len(family)


def test_generators_are_for_agents_and_differ_by_key():
    a, again, b = (generator(key(n)).integers(0, 2**62, 4).tolist() for n in ("a", "a", "b"))
    assert a == again != b


def test_blocks_may_be_numbers_or_questions():
    ks = {env_key(Block(1, b), "e") for b in (1, "1", "q1", 2)} | {
        seat_key(Block(1, b), "s") for b in (1, "1", "q1", 2)
    }
    assert len(ks) == 8


def test_every_item_is_asked_once_before_any_comes_again():
    asked = [item_of(Block(5, b), "qa@1", 12) for b in range(36)]
    assert [sorted(asked[i : i + 12]) for i in (0, 12, 24)] == [list(range(12))] * 3
    assert asked != [item_of(Block(6, b), "qa@1", 12) for b in range(36)]
    assert item_of(Block(5, "q7"), "qa@1", 12) == "q7"
