"""Values: specifications, canonical forms, the binary form, conduct."""

import json
import math

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import ActionSpec, Channel, Conduct, CrossplayError, Invalid, Msg, Usage, key, pack, unpack
from crossplay.kernel.env import env_id
from crossplay.kernel.types import storable

fast = settings(derandomize=True, deadline=None, max_examples=120, database=None)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def boxes(draw):
    shape = draw(st.lists(st.integers(1, 3), max_size=2).map(tuple))
    if draw(st.booleans()):
        a, b = sorted(draw(st.tuples(numbers, numbers)))
        return ActionSpec(
            "box", low=a if draw(st.booleans()) else -math.inf, high=b if draw(st.booleans()) else math.inf, shape=shape
        )
    n = math.prod(shape)
    pairs = draw(st.lists(st.tuples(numbers, numbers).map(sorted), min_size=n, max_size=n))
    return ActionSpec("box", low=tuple(a for a, _ in pairs), high=tuple(b for _, b in pairs), shape=shape)


def bounded(kind, values):
    def schema(low, high, keep):
        low, high = sorted((low, high))
        return {"type": kind} | ({"minimum": low} if keep & 1 else {}) | ({"maximum": high} if keep & 2 else {})

    return st.builds(schema, values, values, st.integers(0, 3))


schemas = st.recursive(
    st.sampled_from([{"type": "boolean"}, {"type": "string"}, {"type": "null"}, {"enum": ["a", 3, None]}])
    | bounded("integer", st.integers(-10_000, 10_000))
    | bounded("number", numbers),
    lambda inner: (
        st.builds(
            lambda s, n: {"type": "array", "items": s, "minItems": n, "maxItems": n + 2}, inner, st.integers(0, 3)
        )
        | st.builds(
            lambda props, more: {
                "type": "object",
                "properties": props,
                "required": sorted(props),
                "additionalProperties": more,
            },
            st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3),
            st.booleans(),
        )
    ),
    max_leaves=5,
)
specs = st.one_of(
    st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6, unique=True).map(
        lambda n: ActionSpec("names", names=tuple(n))
    ),
    boxes(),
    st.integers(0, 40).map(lambda n: ActionSpec("text", max_len=n)),
    schemas.map(lambda s: ActionSpec("data", schema=s)),
)


def shown(spec, value):
    """As JSON shows it."""
    return spec.names[value] if spec.kind == "names" else value.tolist() if isinstance(value, np.ndarray) else value


@fast
@given(specs, st.integers(0, 10**6))
def test_drawn_values_are_legal_canonical_and_survive_json(spec, tick):
    value = spec.draw(key("t"), tick)
    canonical = spec.check(value)
    assert pack(spec.check(canonical)) == pack(canonical)
    assert pack(spec.draw(key("t"), tick)) == pack(value)
    back = spec.check(json.loads(json.dumps(shown(spec, canonical))))
    assert pack(back) == pack(canonical)


@fast
@given(specs, st.integers(0, 50))
def test_the_schema_accepts_what_is_drawn(spec, tick):
    """Against an independent validator of JSON Schema."""
    value = shown(spec, spec.check(spec.draw(key("s"), tick)))
    schema = spec.json_schema()
    if not (spec.kind == "box" and not isinstance(spec.low, float)):
        jsonschema.validate(value, schema)
    if spec.kind == "data":
        assert ActionSpec("data", schema=schema).check(value) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-50, 50) | st.floats(-50, 50) | st.text("abc", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=6,
)


@fast
@given(schemas, json_values)
def test_the_schema_check_agrees_with_an_independent_one(schema, value):
    """Where they may differ by design: 1.0 is no integer here, and a truth value is no number."""
    try:
        ActionSpec("data", schema=schema).check(value)
        mine = True
    except Invalid:
        mine = False
    theirs = jsonschema.Draft202012Validator(schema).is_valid(value)
    whole = "integer" in json.dumps(schema) and ".0" in json.dumps(value)
    assert mine == theirs or (whole and theirs)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        {"a": [float("inf")]},
        "\ud800",
        {"\udfff": 1},
        2**64,
        -(2**63) - 1,
        {1: 2},
        b"x",
        {1, 2},
        np.zeros(2),
        object(),
    ],
)
def test_what_a_trace_cannot_hold_is_no_data(value):
    with pytest.raises(Invalid):
        ActionSpec("data").check({"value": value})
    with pytest.raises(Invalid):
        ActionSpec("data").check(value)


def test_endless_data_is_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(Invalid, match="deep"):
        ActionSpec("data").check(loop)


@fast
@given(json_values)
def test_data_is_a_copy_as_a_trace_gives_it_back(value):
    canonical = ActionSpec("data").check(value)
    assert pack(unpack(pack(canonical))) == pack(canonical)
    assert repr(canonical) == repr(unpack(pack(canonical)))
    if isinstance(value, (list, dict)):
        assert canonical is not value


@pytest.mark.parametrize(
    "value", [float("nan"), [math.inf], ["x"], None, [[0.0]], [0.0, 0.0], "0", [2.0], [-2.0], {}, [None]]
)
def test_boxes_refuse(value):
    with pytest.raises(Invalid):
        ActionSpec("box", low=-1.0, high=1.0, shape=(1,)).check(value)


@pytest.mark.parametrize(
    "value", [float("nan"), 1.0, True, None, "no", -1, 3, [0], np.float32(1), np.array([1]), 2**70]
)
def test_names_refuse(value):
    with pytest.raises(Invalid):
        ActionSpec("names", names=("a", "b", "c")).check(value)


def test_masks_hold_for_names_and_indices():
    spec, legal = ActionSpec("names", names=("a", "b", "c")), [True, False, True]
    assert [spec.check(v, legal) for v in (0, "c", np.int64(2))] == [0, 2, 2]
    for value in (1, "b"):
        with pytest.raises(Invalid, match="not legal"):
            spec.check(value, legal)
    assert {spec.draw(key("m"), t, legal) for t in range(50)} == {0, 2}
    with pytest.raises(Invalid, match="no action"):
        spec.draw(key("m"), 0, [False] * 3)


def test_draws_over_names_are_uniform_over_the_legal_ones():
    spec, counts = ActionSpec("names", names=tuple("abcde")), np.zeros(5)
    for t in range(3000):
        counts[spec.draw(key("u"), t, [True, False, True, True, False])] += 1
    assert counts[1] == counts[4] == 0 and ((counts[[0, 2, 3]] - 1000) ** 2 / 1000).sum() < 18.4


storables = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@fast
@given(storables)
def test_pack_and_unpack(value):
    assert unpack(pack(value)) == value
    assert pack(unpack(pack(value))) == pack(value)
    assert storable(value) is value


@fast
@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 9), min_size=2, max_size=5))
def test_packing_does_not_depend_on_the_order_of_keys(value):
    assert pack(dict(reversed(value.items()))) == pack(value)


@pytest.mark.parametrize("dtype", ["u1", "i4", "i8", "f4", "f8", "?", "c8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 1)])
def test_arrays_go_through(dtype, shape):
    array = (np.arange(math.prod(shape)) % 3).astype(dtype).reshape(shape)
    back = unpack(pack({"deep": [array]}))["deep"][0]
    assert back.dtype == array.dtype and back.shape == shape and (back == array).all()
    if array.ndim > 1:
        assert pack(np.asfortranarray(array)) == pack(array)


def test_what_cannot_be_stored_is_named():
    found = storable({"x": [object(), "a\ud800", 2**70], 1: {2, 3}})
    pack(found)
    assert found["x"] == ["<object>", "a?", "<int>"]
    with pytest.raises(TypeError, match="cannot store object"):
        pack(object())


def test_usage_adds_up():
    total = Usage(1, 2, 3, 4)
    total.add(Usage(10, 20, 30, 40))
    assert total == Usage(11, 22, 33, 44)


def test_channels_refuse_what_makes_no_sense():
    for wrong in ({"delay": -1}, {"noise": 1.5}, {"capacity": -1}):
        with pytest.raises(CrossplayError):
            Channel(**wrong)
    assert Conduct().mail == Channel() and Msg("*", 1).channel == "main"


def test_ids_hold_everything_off_its_default():
    ids = {
        env_id("a", 1, {}),
        env_id("a", 2, {}),
        env_id("a", 1, {"n": 3}),
        env_id("a", 1, {"n": "3"}),
        env_id("a", 1, {"n": 3, "m": [1.5, None]}),
        env_id("a", 1, {}, "deadline:2"),
    }
    assert len(ids) == 6
    assert env_id("a", 1, {"m": 1, "b": 2}) == env_id("a", 1, {"b": 2, "m": 1}) == "a@1?b=2&m=1"
