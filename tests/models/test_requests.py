"""Canonical requests: equal ones hash equally, different ones do not, nothing secret is inside."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError, pack
from crossplay.models import Message, Picture, Request

texts = st.text(max_size=20)
pictures = st.builds(
    lambda h, w, c: Picture(h, w, bytes([c]) * (h * w * 3)), st.integers(1, 3), st.integers(1, 3), st.integers(0, 255)
)
messages = st.lists(
    st.builds(
        Message, st.sampled_from(["system", "user", "assistant"]), texts, st.lists(pictures, max_size=1).map(tuple)
    ),
    min_size=1,
    max_size=3,
).map(tuple)
numbers = st.integers(-(2**63), 2**63)
schemas = st.none() | st.dictionaries(texts, numbers | texts, max_size=3)
requests = st.builds(
    Request,
    messages=messages,
    temperature=st.sampled_from([0, 0.0, -0.0, 0.5, 1, 1.0]),
    max_tokens=st.integers(1, 9),
    seed=st.none() | st.integers(0, 9),
    stop=st.lists(texts, max_size=2).map(tuple),
    json_schema=schemas,
    template=st.sampled_from(["", "t1"]),
)
ME = {"backend": "http", "model": "m"}


@given(a=requests, b=requests)
@settings(max_examples=150)
def test_equal_bytes_exactly_for_equal_requests(a, b):
    assert (pack(a.canonical(ME)) == pack(b.canonical(ME))) == (a == b)


@given(a=requests)
def test_model_identity_is_part_of_it(a):
    assert pack(a.canonical(ME)) != pack(a.canonical({**ME, "model": "other"}))


@given(schema=st.dictionaries(texts, numbers, min_size=2, max_size=5))
def test_order_of_keys_does_not_matter(schema):
    other = dict(reversed(list(schema.items())))
    one = Request(messages=(Message("user", "x"),), json_schema=schema)
    two = Request(messages=(Message("user", "x"),), json_schema=other)
    assert pack(one.canonical(ME)) == pack(two.canonical(ME))


@given(a=requests)
def test_redaction_reaches_every_message_before_the_hash(a):
    canonical = a.canonical(ME, lambda text: "<gone>")
    assert all(m["text"] == "<gone>" for m in canonical["messages"])


@given(a=requests)
def test_a_token_is_a_byte_at_least(a):
    tokens_in, tokens_out = a.bound()
    assert tokens_in >= sum(len(m.text.encode()) for m in a.messages)
    assert tokens_out == a.max_tokens


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"messages": ()}, "empty"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_p": 0}, "top_p"),
        ({"grammar": "root ::= x", "json_schema": {}}, "not both"),
    ],
)
def test_impossible_requests_are_refused(change, says):
    with pytest.raises(CrossplayError, match=says):
        Request(**{"messages": (Message("user", "x"),), **change})


@given(h=st.integers(1, 6), w=st.integers(1, 6), seed=st.integers(0, 99))
@settings(deadline=None)
def test_png_is_what_an_image_library_reads(h, w, seed):
    from PIL import Image

    array = np.random.Generator(np.random.Philox(seed)).integers(0, 256, (h, w, 3), dtype=np.uint8)
    picture = Picture.of(array)
    with Image.open(io.BytesIO(picture.png())) as image:
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), array)
    assert zlib.crc32(picture.png()) == zlib.crc32(Picture.of(array.copy()).png())


def test_picture_of_something_else():
    with pytest.raises(CrossplayError, match="uint8"):
        Picture.of(np.zeros((2, 2, 3)))
    with pytest.raises(CrossplayError, match="are not"):
        Picture(2, 2, b"123")
