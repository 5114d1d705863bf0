"""Pictures as messages: whatever is sent in whatever order is what a reader of the documented form sees."""

import zlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossplay.kernel import Block, make_env
from crossplay.web.pictures import DEFLATED, HEADER, KEY, PICTURE, Encoder


class Reader:
    """Reads the messages of one screen from their documented form alone."""

    def __init__(self):
        self.shown = None

    def read(self, message):
        kind, flags, screen, tick, wide, high, x, y, box_wide, box_high = HEADER.unpack_from(message)
        assert kind == PICTURE
        pixels = message[HEADER.size :]
        if flags & DEFLATED:
            pixels = zlib.decompress(pixels, -15)
        if flags & KEY:
            self.shown = np.zeros((high, wide, 3), np.uint8)
        assert self.shown.shape == (high, wide, 3)
        box = np.frombuffer(pixels, np.uint8).reshape(box_high, box_wide, 3)
        self.shown[y : y + box_high, x : x + box_wide] ^= box
        return screen, tick, self.shown


PICTURES = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(
    lambda size: st.lists(hnp.arrays(np.uint8, (*size, 3), elements=st.integers(0, 255), fill=st.just(7)), max_size=4)
)


@settings(deadline=None, max_examples=60)
@given(st.lists(PICTURES, max_size=3), st.integers(0, 255), st.data())
def test_what_is_read_is_what_was_sent(films, screen, data):
    encoder, reader = Encoder(screen), Reader()
    for tick, picture in enumerate(p for film in films for p in film):
        if data.draw(st.booleans()):
            encoder.forget()
        got_screen, got_tick, shown = reader.read(encoder.encode(picture, tick))
        assert (got_screen, got_tick) == (screen, tick)
        np.testing.assert_array_equal(shown, picture)


def test_equal_pictures_are_a_header_and_a_forgetful_encoder_sends_all():
    picture = np.full((40, 30, 3), 9, np.uint8)
    encoder = Encoder()
    assert len(encoder.encode(picture, 0)) > HEADER.size
    assert len(encoder.encode(picture, 1)) == HEADER.size
    encoder.forget()
    np.testing.assert_array_equal(Reader().read(encoder.encode(picture, 2))[2], picture)


def test_an_array_that_is_drawn_into_again_is_seen_to_change():
    picture, encoder, reader = np.zeros((5, 5, 3), np.uint8), Encoder(), Reader()
    reader.read(encoder.encode(picture, 0))
    picture[2, 3] = 255
    np.testing.assert_array_equal(reader.read(encoder.encode(picture, 1))[2], picture)


def test_grey_and_too_large_pictures_are_sent_as_rgb_of_a_size_that_can_be_said():
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    np.testing.assert_array_equal(Reader().read(Encoder().encode(grey, 0))[2], np.stack([grey] * 3, axis=2))
    assert Reader().read(Encoder().encode(np.zeros((9, 70_000, 3), np.uint8), 0))[2].shape == (1, 3889, 3)


def test_a_kitchen_is_sent_in_few_bytes():
    env, encoder, reader = make_env("kitchen/cramped_room"), Encoder(), Reader()
    env.start(Block(0, 0, 0))
    sizes = []
    for tick in range(30):
        picture = env.picture()
        message = encoder.encode(picture, tick)
        sizes.append(len(message))
        np.testing.assert_array_equal(reader.read(message)[2], picture)
        env.step(dict.fromkeys(env.seats, tick % 6), [])
    assert max(sizes[1:]) < sizes[0] < picture.size / 10
