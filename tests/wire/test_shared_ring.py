"""Shared memory: what is read is what was sent, or an error."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.wire.arrays import Ring, Stale, decoder_hook

SLOTS, SIZE = 3, 1000


@pytest.fixture
def pair():
    """The engine's face of a ring, and a worker's."""
    owner = Ring.create(SLOTS, SIZE)
    reader = Ring(os.dup(owner.fd), SLOTS, SIZE, False)
    yield owner, reader
    reader.close()
    owner.close()


def get(reader, ext):
    return reader.get(ext.data)


def test_arrays_are_read_in_place_and_cannot_be_written(pair):
    owner, reader = pair
    sent = np.arange(12, dtype="<f4").reshape(3, 4)
    found = get(reader, owner.put(sent))
    assert np.array_equal(found, sent) and found.dtype == sent.dtype
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0] = 1
    owner.map[owner.taken[0] * owner.stride + 16] = 255  # in place: another byte there is seen here
    assert not np.array_equal(found, sent)
    del found


def test_the_worker_cannot_write_the_memory(pair):
    _, reader = pair
    with pytest.raises(TypeError):
        reader.map[0] = 1


def test_a_slot_that_was_written_again_is_an_error_before_and_after(pair):
    owner, reader = pair
    first = owner.put(np.zeros(4))
    found = get(reader, first)
    read = list(reader.read)
    reader.check(read)
    owner.release(owner.take())
    while not owner.taken or owner.taken[-1] != read[0][0]:
        owner.put(np.ones(4))
    with pytest.raises(Stale, match="holds generation"):
        reader.check(read)
    with pytest.raises(Stale):
        get(reader, first)
    del found


def test_what_does_not_fit_goes_inline(pair):
    owner, _ = pair
    assert owner.put(np.zeros(SIZE + 1, np.uint8)) is None
    assert owner.put(np.array(["text"])) is None
    assert owner.put(np.zeros(SIZE, np.uint8)) is not None
    assert [owner.put(np.zeros(1)) is None for _ in range(SLOTS)] == [False] * (SLOTS - 1) + [True]
    owner.release(owner.take())
    assert owner.put(np.zeros(1)) is not None


def test_zero_d_and_empty_arrays(pair):
    owner, reader = pair
    for array in (np.array(7.5), np.zeros((0, 3), "<i2")):
        found = get(reader, owner.put(array))
        assert found.shape == array.shape and found.dtype == array.dtype and np.array_equal(found, array)
        del found


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["put", "read", "check", "free"]), st.integers(0, 9)), max_size=60))
def test_whatever_the_order_no_reader_sees_another_array(steps):
    """A model: every reference is remembered with its array; a read gives that array or `Stale`."""
    owner = Ring.create(SLOTS, SIZE)
    reader = Ring(os.dup(owner.fd), SLOTS, SIZE, False)
    sent, held, n = [], [], 0
    try:
        for verb, which in steps:
            if verb == "put":
                n += 1
                array = np.full(5, n)
                ext = owner.put(array)
                assert (ext is None) == (len(held) == SLOTS)
                if ext is not None:
                    held.append(owner.take())
                    sent.append((ext, n))
            elif verb == "free" and held:
                owner.release(held.pop(which % len(held)))
            elif sent:
                ext, value = sent[which % len(sent)]
                try:
                    found = get(reader, ext)
                    assert (found == value).all()
                    reader.check(reader.read[-1:])
                    del found
                except Stale:
                    assert any(later is not ext and v > value for later, v in sent)
    finally:
        reader.close()
        owner.close()


def test_references_without_a_ring_are_refused():
    hook = decoder_hook(None)
    with pytest.raises(ValueError, match="unknown extension"):
        hook(2, memoryview(b"\x94\x00\x01\xa3<f4\x91\x01"))
    with pytest.raises(ValueError, match="unknown extension"):
        hook(77, memoryview(b""))
