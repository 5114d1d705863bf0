"""Frames and messages: any split of bytes gives the same frames, any garbage a coded error, all messages come back."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossplay.wire import messages
from crossplay.wire.arrays import INLINE, SHARED, Ring, inline
from crossplay.wire.frames import FRAME, BadFrame, Codec, Reader, WireError, agree
from crossplay.wire.generate import class_name, outputs, protocol

ROOT = Path(__file__).parents[2]
DTYPES = ["?", "i1", "u1", "<i2", ">i2", "<u4", ">i8", "<u8", "<f2", ">f4", "<f4", "<f8", ">f8"]


def length(n):
    return struct.pack("<I", n)


# -- reading -----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.lists(st.integers(1, 120), min_size=1, max_size=60)
)
def test_any_split_of_the_bytes_gives_the_same_frames(bodies, sizes):
    data = b"".join(length(len(b)) + b for b in bodies)
    reader, found, at, i = Reader(), [], 0, 0
    while at < len(data):
        part = data[at : at + sizes[i % len(sizes)]]
        whole = reader.whole(part)  # what is one whole frame may be taken the short way
        found += [bytes(whole)] if whole is not None else [bytes(b) for b in reader.feed(part)]
        at, i = at + len(part), i + 1
    assert found == bodies
    assert not reader.partial


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 1000))
def test_a_length_over_the_limit_is_refused_before_anything_is_kept(need, limit):
    reader = Reader(limit)
    if 0 < need <= limit:
        assert reader.feed(length(need)) == [] and reader.partial
        assert reader.wants >= need
    else:
        with pytest.raises(BadFrame, match="a frame of"):
            reader.feed(length(need))


def test_bodies_do_not_change_when_more_is_read():
    reader = Reader()
    bodies = reader.feed(length(3) + b"abc" + length(4000) + b"de")
    kept = [bytes(b) for b in bodies]
    reader.feed(b"f" * 4000)
    assert [bytes(b) for b in bodies] == kept == [b"abc"]


# -- garbage -----------------------------------------------------------------------------------------------

scraps = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=12,
)
names = st.sampled_from([f["name"] for m in protocol()["message"] for f in m["field"]])
maps = st.fixed_dictionaries(
    {"t": st.sampled_from([m["name"] for m in protocol()["message"]]) | scraps},
    optional={"id": st.integers(0, 99) | scraps},
).flatmap(lambda base: st.dictionaries(names, scraps, max_size=5).map(lambda more: {**more, **base}))


def ring():
    return Ring.create(2, 4096)


def read(codec, body):
    """A message, or the one kind of error there may be."""
    try:
        return codec.message(body)
    except BadFrame as error:
        assert error.code in ("BAD_FRAME", "BAD_VALUE", "UNSUPPORTED") and error.message
        return error


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=400))
@example(b"\x82\xa1t\xa3act\xa3obs\xdd\xff\xff\xff\xff")
@example(b"\x81\xa1t\x91" * 40)
@example(b"{" + b"[" * 3000)
@example(b'{"t":"ping","id":' + b"9" * 4000 + b"}")
def test_any_bytes_are_a_message_or_a_bad_frame(body):
    read(Codec(), body)


@settings(deadline=None)
@given(maps)
def test_any_map_is_a_message_or_a_bad_frame_with_the_id(fields):
    found = read(Codec(), msgspec.msgpack.encode(fields))
    if isinstance(found, BadFrame) and isinstance(fields.get("id"), int) and not isinstance(fields["id"], bool):
        assert found.id == fields["id"]


@settings(deadline=None)
@given(maps)
def test_the_same_for_json(fields):
    try:
        body = msgspec.json.encode(fields)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return
    read(Codec(), body)


extensions = st.tuples(
    st.sampled_from(
        [
            "<f4",
            ">i8",
            "|b1",
            "|O8",
            "O",
            "V4",
            "M8",
            "<U3",
            "S2",
            "f4,f4",
            "(2,3)f4",
            "",
            "?",
            "f",
            "g",
            "}",
            "<f4" * 20,
            "1000000000f4",
        ]
    )
    | st.text(max_size=6),
    st.lists(st.integers(-3, 2**40) | st.sampled_from([2**62, 2**63, 2**64 - 1]), max_size=5),
    st.binary(max_size=64),
)


@settings(deadline=None)
@given(extensions)
@example(("<f4", [-1], b"\0" * 8))
@example(("f4,(", [1], b"\0" * 4))
@example((",", [1], b"\0" * 4))
@example(("<f4", [0] * 200, b""))
@example(("<f4", [1] * 70, b"\0" * 4))
def test_any_inline_array_is_one_or_a_bad_frame(parts):
    body = msgspec.msgpack.encode(
        {
            "t": "act",
            "id": 3,
            "ep": [1],
            "slot": [0],
            "tick": [0],
            "obs": msgspec.msgpack.Ext(INLINE, msgspec.msgpack.encode(parts)),
        }
    )
    found = read(Codec(), body)
    if not isinstance(found, BadFrame):
        assert found.obs.dtype.kind in "biuf" and list(found.obs.shape) == parts[1]


@settings(deadline=None)
@given(st.tuples(st.integers(-2, 9), st.integers(-1, 3), extensions))
def test_any_reference_to_shared_memory_is_an_array_or_a_bad_frame(parts):
    slot, generation, (dtype, shape, _) = parts
    shared = ring()
    try:
        reference = msgspec.msgpack.Ext(SHARED, msgspec.msgpack.encode((slot, generation, dtype, shape)))
        found = read(Codec(ring=shared), msgspec.msgpack.encode({"t": "acts", "id": 3, "values": reference}))
        if not isinstance(found, BadFrame):
            assert found.values.nbytes <= shared.size and not found.values.flags.writeable
            del found
    finally:
        shared.close()


def test_no_garbage_takes_memory():
    claims = [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\x91" * 100_000,
    ]
    tracemalloc.start()
    try:
        for claim in claims:
            read(Codec(), b"\x83\xa1t\xa3act\xa2id\x01\xa3obs" + claim)
        reader = Reader(1 << 10)
        for _ in range(100):
            with pytest.raises(BadFrame):
                reader.feed(length(1 << 31) + bytes(1000))
            reader = Reader(1 << 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


# -- round trips -------------------------------------------------------------------------------------------

arrays = st.sampled_from(DTYPES).flatmap(
    lambda d: hnp.arrays(np.dtype(d), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
)


def again(message, codec=None):
    codec = codec or Codec()
    frame = codec.frame(message)
    [body] = Reader().feed(frame)
    return codec.message(body)


def equal(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@settings(deadline=None)
@given(arrays)
def test_arrays_of_all_types_and_shapes_come_back(array):
    found = again(messages.Acts(id=1, values=array)).values
    assert equal(found, array)


@settings(deadline=None)
@given(arrays)
def test_arrays_that_lie_otherwise_in_memory_come_back(array):
    for view in (array.T, array[..., ::-1] if array.ndim else array, np.asfortranarray(array)):
        assert equal(again(messages.Acts(id=1, values=view)).values, view)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_arrays_come_back(dtype):
    big = np.arange(20_000).astype(dtype).reshape(100, 200)
    for view in (big, big.T, big[::2, 1:]):
        assert equal(again(messages.Acts(id=1, values=view)).values, view)


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_come_back_through_shared_memory(dtype):
    shared = ring()
    try:
        codec = Codec(ring=shared, shared=1)
        array = np.arange(24).astype(dtype).reshape(2, 3, 4)
        for view in (array, array.transpose(2, 0, 1), array[:, ::-1]):
            found = again(messages.Act(id=1, ep=[1], slot=0, tick=[0], obs=view), codec).obs
            assert equal(found, view)
            assert shared.taken
            shared.release(shared.take())
            del found
    finally:
        shared.close()


@pytest.mark.parametrize("value", [np.array(["a"]), np.array([object()]), np.array([1j]), np.array(["2020"], "M8[D]")])
def test_what_is_no_array_of_numbers_is_not_sent(value):
    with pytest.raises(TypeError, match="numbers or booleans"):
        inline(value)


SAMPLES = {
    "int": [0, 7, 2**40], "float": [0.0, -1.5], "str": ["", "däs"], "bool": [True, False], "bytes": [b"", bytes(range(16))],
    "data": [None, 3, "x", [1, {"a": 2.5}]], "array": [[1, 2], [[1.5], [2.5]]], "list[int]": [[], [1, 2**60]],
    "list[float]": [[1.5]], "list[str]": [[], ["a", "ü"]], "list[bytes]": [[bytes(16)]], "list[data]": [[], ["a", 1]],
    "map[str,data]": [{}, {"a": [1]}], "map[int,data]": [{}, {0: [1], 7: "x"}],
}  # fmt: skip
SEAT = messages.Seat(
    slot=1, seat="a", agent="b", env="c@1", view="array", spec={"kind": "names"}, shape=[3], dtype="<f4"
)


@pytest.mark.parametrize("json", [False, True])
@pytest.mark.parametrize("name", [m["name"] for m in protocol()["message"]])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_every_message_comes_back(name, json, data):
    spec = next(m for m in protocol()["message"] if m["name"] == name)
    cls = getattr(messages, class_name(name))
    samples = {**SAMPLES, "list[Seat]": [[], [SEAT, SEAT]]}
    fields = {f["name"]: data.draw(st.sampled_from(samples[f["type"]])) for f in spec["field"]}
    message = cls(**fields)
    assert again(message, Codec(json=json)) == message
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message))["t"] == name


def test_defaults_of_messages_are_those_of_the_protocol():
    for spec in [*protocol()["message"], *protocol()["struct"]]:
        cls = getattr(messages, class_name(spec["name"]))
        needed = {f["name"] for f in spec["field"] if "default" not in f}
        assert {f.name for f in msgspec.structs.fields(cls) if f.required} == needed
        for field in spec["field"]:
            if "default" in field:
                found = next(f for f in msgspec.structs.fields(cls) if f.name == field["name"])
                default = found.default_factory() if found.default_factory is not msgspec.NODEFAULT else found.default
                assert default == (None if field["default"] == "null" else field["default"])


def test_a_message_over_the_limit_is_not_sent():
    with pytest.raises(BadFrame, match="fewer rows"):
        Codec(limit=1000).frame(messages.Acts(id=1, values=np.zeros(1000)))


def test_json_frames_hold_lists_for_arrays():
    body = Codec(json=True).frame(messages.Acts(id=1, values=np.array([[1, 2]]), memo=[np.float32(0.5)]))[4:]
    assert msgspec.json.decode(body) == {"t": "acts", "id": 1, "values": [[1, 2]], "memo": [0.5]}


# -- versions, and what is made from the protocol -------------------------------------------------------------


def test_equal_majors_and_the_lower_minor():
    assert agree([messages.MAJOR, 0]) == [messages.MAJOR, 0]
    assert agree([messages.MAJOR, 99]) == [messages.MAJOR, messages.MINOR]
    for other in ([messages.MAJOR + 1, 0], [0, 1], [1], [1, 2, 3], "1.1", None, [1, "1"], [1, -1], {}):
        with pytest.raises(WireError, match="VERSION"):
            agree(other)


@pytest.mark.parametrize("name", sorted(messages.SINCE))
def test_newer_messages_are_unsupported_on_an_older_connection(name):
    spec = next(m for m in protocol()["message"] if m["name"] == name)
    fields = {f["name"]: {**SAMPLES, "list[Seat]": [[]]}[f["type"]][0] for f in spec["field"]}
    if "id" in fields:
        fields["id"] = 5
    body = Codec().frame(getattr(messages, class_name(name))(**fields))[4:]
    with pytest.raises(BadFrame) as found:
        Codec(minor=0).message(body)
    assert found.value.code == "UNSUPPORTED" and found.value.id == (5 if name in messages.REQUESTS else 0)


def test_what_is_made_from_the_protocol_is_up_to_date():
    stale = [str(path.relative_to(ROOT)) for path, text in outputs(ROOT).items() if path.read_text() != text]
    assert stale == [], "run python -m crossplay.wire.generate"


def test_the_protocol_is_whole():
    spec = protocol()
    known = {m["name"] for m in spec["message"]}
    assert len(known) == len(spec["message"])
    for message in [*spec["message"], *spec["struct"]]:
        fields = [f["name"] for f in message["field"]]
        assert len(set(fields)) == len(fields) and message["doc"]
        for field in message["field"]:
            assert field["type"] in spec["types"] and field["doc"], (message["name"], field["name"])
        if message.get("answer"):
            assert fields[0] == "id" or message["name"] == "hello"
    assert set(spec["codes"]) == messages.CODES
    assert FRAME == 16 << 20
