"""Events of a stream, against another parser, cut anywhere."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.models.sse import EventLines

ENDS = ["\n", "\r\n", "\r"]
LINES = [
    "data: a",
    "data:b",
    "data:  c",
    "data",
    "data:",
    "event: x",
    ": remark",
    "id: 1",
    "",
    "",
    "dataset: no",
    "data: é€",
]


def parsed(text, cuts=()):
    events, found, raw = EventLines(), [], text if isinstance(text, bytes) else text.encode()
    edges = sorted({min(c, len(raw)) for c in cuts} | {0, len(raw)})
    for a, b in pairwise(edges):
        found += events.feed(raw[a:b])
    return found


@given(
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)), max_size=12),
    st.lists(st.integers(0, 120), max_size=8),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_pieces_do_not_matter(lines, cuts, mark):
    text = ("\ufeff" if mark else "") + "".join(line + end for line, end in lines)
    assert parsed(text, cuts) == parsed(text) == parsed(text, range(200))


@given(st.lists(st.sampled_from(LINES), max_size=12), st.sampled_from(ENDS))
@settings(max_examples=200, deadline=None)
def test_agrees_with_another_parser(lines, end):
    httpx2 = pytest.importorskip("httpx2")
    text = "".join(line + end for line in lines) + end * 2  # the last event is finished: that parser gives others too
    asked, headers = httpx2.Request("GET", "http://h"), {"Content-Type": "text/event-stream"}
    response = httpx2.Response(200, headers=headers, content=text.encode(), request=asked)
    theirs = [e.data.encode() for e in httpx2.EventSource(response)]
    with_data = [d for d in theirs if d]  # that parser also gives events that have a type and no data
    assert [d for d in parsed(text) if d] == with_data


def test_an_unfinished_event_is_never_given():
    assert parsed("data: a\n\ndata: b\n") == [b"a"]
    assert parsed("data: a\ndata: b\n\n") == [b"a\nb"]
    assert parsed("event: x\n\n") == []
