"""Event rows keep every bit on their way through the canonical bytes, the buffer and Parquet."""

import io
import zlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_helpers import outcome, record

from crossplay.kernel import Block, CrossplayError, columns
from crossplay.kernel.events import COLUMNS, KINDS
from crossplay.kernel.packed import Packed
from crossplay.records.parts import Slice, checked, encode_part
from crossplay.records.table import Table, seal
from worlds import Rows, Troubled, Uniform, Walk

u2, u4 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
words = st.one_of(st.sampled_from(["", "own", "a", "é\x00\U0001f600"]), st.text(max_size=6))
reals = st.floats(width=64)
row = st.tuples(
    u4,
    u2,
    u2,
    st.sampled_from(KINDS),
    st.lists(u2, max_size=4).map(tuple),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.binary(max_size=9),
    st.none() | st.lists(reals, max_size=3).map(tuple),
    st.none() | st.integers(0, 2**64 - 1),
    words,
    words,
    words,
    u4,
    u4,
    u4,
    u4,
    st.binary(max_size=9),
    st.integers(0, 255),
)
episodes = st.lists(st.lists(row, max_size=12), min_size=1, max_size=4)


def same(ours, theirs):
    """Equality in which nan equals itself and -0.0 does not equal 0.0."""
    return repr([tuple(r) for r in ours]) == repr([tuple(r) for r in theirs])


@settings(max_examples=60, deadline=None)
@given(episodes)
def test_rows_survive_buffer_and_parquet_bit_by_bit(episodes):
    tables = [Table.of(rows) for rows in episodes]
    for table, rows in zip(tables, episodes, strict=True):
        data = table.encode()
        assert same(Table.inflate(zlib.compress(data, 1), seal(data)).events(), rows)
    ids = [2**64 - 1 - i for i in range(len(tables))]
    frame = pl.read_parquet(io.BytesIO(encode_part(ids, tables)))
    whole, first = Table.from_frame(frame), 0
    for i, table, rows in zip(ids, tables, episodes, strict=True):
        back = checked(frame["episode"].to_numpy(), whole, Slice(i, first, table.n, seal(table.encode())), first)
        assert same(back.events(), rows)
        first += table.n


@settings(max_examples=30, deadline=None)
@given(episodes)
def test_joining_and_cutting_are_inverse(episodes):
    tables = [Table.of(rows) for rows in episodes]
    whole, first = Table.join(tables), 0
    assert whole.encode() == Table.of([r for rows in episodes for r in rows]).encode()
    for table in tables:
        assert whole.cut(first, table.n).encode() == table.encode()
        first += table.n


@settings(max_examples=60, deadline=None)
@given(st.lists(row, min_size=1, max_size=6), st.data())
def test_any_other_value_in_any_column_gives_another_seal(rows, data):
    line = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.integers(0, len(COLUMNS) - 1))
    other = list(rows[line])
    other[column] = data.draw(row)[column]
    changed = [*rows[:line], tuple(other), *rows[line + 1 :]]
    if not same(rows, changed):
        assert Table.of(rows).encode() != Table.of(changed).encode()


def test_the_types_of_a_part_are_those_of_the_format():
    frame = Table.of(outcome().events).frame()
    assert dict(frame.schema) == {
        "tick": pl.UInt32,
        "seat": pl.UInt16,
        "ord": pl.UInt16,
        "kind": pl.Categorical,
        "path": pl.List(pl.UInt16),
        "value": pl.Int32,
        "payload": pl.Binary,
        "rewards": pl.List(pl.Float64),
        "fingerprint": pl.UInt64,
        "origin": pl.Categorical,
        "view": pl.Categorical,
        "agent": pl.Categorical,
        "calls": pl.UInt32,
        "tok_in": pl.UInt32,
        "tok_out": pl.UInt32,
        "wall_us": pl.UInt32,
        "note": pl.Binary,
        "flags": pl.UInt8,
    }


def test_the_canonical_bytes_of_format_1_do_not_change():
    """A change here makes every older run look damaged: raise the format version instead."""
    rows = [
        (0, 0, 0, "act", (), 3, None, None, None, "own", "data", "chef", 0, 0, 0, 7, b"", 1),
        (0, 0, 0, "model", (1, 2), None, b"\x01", None, None, "", "", "chef", 1, 20, 5, 900, b"\xc0", 2),
        (0, 65535, 0, "step", (), None, None, (1.0, -0.0), 2**64 - 1, "", "", "", 0, 0, 0, 0, b"", 1),
    ]
    assert seal(Table.of(rows).encode()) == "640f6ef9446d6506c7c7bd83966a5e32a9f64e50804654b53d2c32d9d0018310"


@pytest.mark.parametrize("lineup", [dict.fromkeys("abc", Rows()), {"a": Troubled(), "b": Rows(), "c": Uniform()}])
def test_columnar_episodes_are_stored_as_their_rows(lineup):
    outcomes = [o for _, o in columns(Walk(4), lineup, [Block(2, b) for b in range(6)])]
    assert len(outcomes) == 6
    for o in outcomes:
        assert Table.of(o.events).encode() == Table.of(list(o.events)).encode()
        assert Table.of(o.events).events() == list(o.events)


def test_the_rows_of_a_plain_columnar_episode_are_never_made(monkeypatch):
    outcomes = [o for _, o in columns(Walk(2), dict.fromkeys("abc", Rows()), [Block(2, 0)])]
    expected = list(outcomes[0].events)
    monkeypatch.setattr(Packed, "__iter__", None)
    assert Table.of(outcomes[0].events).events() == expected


def test_measurements_beyond_their_column_saturate_and_other_values_are_refused():
    r = list(outcome().events[1])
    r[15] = 2**40
    assert Table.of([tuple(r)]).events()[0].wall_us == 2**32 - 1
    r[2] = 2**16
    with pytest.raises(CrossplayError, match="'ord' is out of range: 65536"):
        Table.of([tuple(r)])
    r[2], r[9] = 0, None
    with pytest.raises(CrossplayError, match="column 'origin'"):
        Table.of([tuple(r)]).encode()


def test_pandas_reads_the_frame_polars_wrote():
    pytest.importorskip("pyarrow")
    import pandas as pd

    r = record()
    data = encode_part([r.id], [Table.of(r.events)])
    frame = pd.read_parquet(io.BytesIO(data))
    assert frame["episode"].unique().tolist() == [r.id] and len(frame) == len(r.events)
    assert frame["kind"].astype(str).tolist() == [e[3] for e in r.events]
    assert np.array_equal(frame["tick"], [e[0] for e in r.events])
