"""`Table`: the event rows of an episode as columns, their canonical bytes, and the seal over them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from crossplay.kernel.events import COLUMNS, FLAG_WORLD, WORLD, Event
from crossplay.kernel.packed import Packed
from crossplay.kernel.types import CrossplayError
from crossplay.records.columns import Ints, Lists, Maybe, Words, form

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Table", "seal"]

FORMAT = 1  # of the canonical bytes
_FORMS = {name: form(text) for name, text in COLUMNS}
_SATURATE = {"calls", "tok_in", "tok_out", "wall_us"}  # measurements, which may exceed their column
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


def seal(data: bytes) -> str:
    """sha256 over canonical bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


class Table:
    """n event rows, in the order of the trace, as one typed column per name in COLUMNS."""

    def __init__(self, columns: Mapping[str, Any], n: int) -> None:
        self.columns, self.n = columns, n

    @classmethod
    def of(cls, events: Packed | Iterable[Sequence[Any]]) -> Table:
        """From rows in the order of `Event`'s fields, or from the records of a columnar episode.

        Measurements beyond u32 (calls, tokens, microseconds) are stored as 2**32 - 1. Raises
        CrossplayError when another value does not fit its column.
        """
        if isinstance(events, Packed):
            table = _from_packed(events)
            if table is not None:
                return table
        rows = events if isinstance(events, list) else list(events)
        if not rows:
            return cls({name: f.of(()) for name, f in _FORMS.items()}, 0)
        lists = zip(*rows, strict=True)
        return cls({name: _column(name, values) for name, values in zip(_FORMS, lists, strict=True)}, len(rows))

    @classmethod
    def decode(cls, data: bytes) -> Table:
        """From canonical bytes. Raises ValueError when they are not."""
        try:
            version, n, columns = _decode(data)
            if version != FORMAT:
                raise ValueError(f"rows of format {version}, this version reads {FORMAT}")
            table = cls({k: f.stored(p, n) for (k, f), p in zip(_FORMS.items(), columns, strict=True)}, n)
        except (msgspec.DecodeError, TypeError, IndexError) as error:
            raise ValueError(f"rows cannot be decoded: {error}") from None
        return table

    @classmethod
    def inflate(cls, blob: bytes, sealed: str) -> Table:
        """From the compressed form, checked against its seal (ValueError where it differs)."""
        try:
            data = zlib.decompress(blob)
        except zlib.error as error:
            raise ValueError(f"rows cannot be decompressed: {error}") from None
        if seal(data) != sealed:
            raise ValueError("rows do not match their seal")
        return cls.decode(data)

    @classmethod
    def from_frame(cls, frame: pl.DataFrame) -> Table:
        """From the columns of a Parquet part. Raises ValueError when a column has another form."""
        try:
            return cls({name: f.from_series(frame[name]) for name, f in _FORMS.items()}, frame.height)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"a column has another form: {error}") from None

    def encode(self) -> bytes:
        """The canonical bytes: a pure function of the rows, independent of how they are stored."""
        return _encode((FORMAT, self.n, [c.parts() for c in self.columns.values()]))

    def cut(self, first: int, rows: int) -> Table:
        """`rows` rows from `first` on."""
        return Table({k: c.cut(first, first + rows) for k, c in self.columns.items()}, max(0, rows))

    @staticmethod
    def join(tables: Sequence[Table]) -> Table:
        """One table after the other (at least one)."""
        first, rest = tables[0], tables[1:]
        return Table(
            {k: c.join([t.columns[k] for t in rest]) for k, c in first.columns.items()}, sum(t.n for t in tables)
        )

    def frame(self) -> pl.DataFrame:
        """The rows as a Polars frame, without the episode column."""
        import polars as pl

        return pl.DataFrame([c.series(name) for name, c in self.columns.items()])

    def events(self) -> list[Event]:
        """The rows by name."""
        return list(map(Event._make, zip(*(c.list() for c in self.columns.values()), strict=True)))


def _column(name: str, values: Sequence[Any]) -> Any:
    try:
        return _FORMS[name].of(values)
    except OverflowError:
        if name in _SATURATE:
            return _FORMS[name].of([min(v, 2**32 - 1) for v in values])
        raise CrossplayError(f"trace: a value of column {name!r} is out of range: {max(values, key=_size)!r}") from None
    except (TypeError, ValueError) as error:
        raise CrossplayError(f"trace: column {name!r} cannot be stored: {error}") from None


def _size(value: Any) -> float:
    return abs(value) if isinstance(value, (int, float)) else max(map(abs, value), default=0) if value else 0


def _from_packed(events: Packed) -> Table | None:
    """The rows of a columnar episode without making them, where nothing stands between them."""
    records, n = events.array(), events.seats
    t = len(records)
    tail = events.extras[events.head :]
    if not t or any(e[0] < t for e in tail):
        return None
    tail.sort(key=lambda e: (e[0], e[1]))  # stable, as Packed iterates
    head = Table.of(events.extras[: events.head])
    return Table.join([head, _plain(records, n, events), Table.of(tail)])


def _plain(records: np.ndarray, n: int, events: Packed) -> Table:
    t = len(records)
    rows, width = t * (n + 1), n + 1
    act = np.tile(np.arange(width) < n, t)
    one = np.full(t, n, "<u4")

    def words(row: Sequence[str]) -> Words:
        base = Words.of(row)
        return Words(base.words, np.tile(base.codes, t))

    def zeros(dtype: str) -> Ints:
        return Ints(np.zeros(rows, dtype))

    columns: dict[str, Any] = {
        "tick": Ints(np.repeat(records["tick"].astype("<u4"), width)),
        "seat": Ints(np.tile(np.array([*range(n), WORLD], "<u2"), t)),
        "ord": zeros("<u2"),
        "kind": words(["act"] * n + ["step"]),
        "path": Lists(np.zeros(rows, "<u4"), np.zeros(0, "<u2")),
        "value": Maybe(act, Ints(np.ascontiguousarray(records["act"]["value"]).ravel())),
        "payload": _FORMS["payload"].of([None] * rows),
        "rewards": Maybe(~act, Lists(one, np.ascontiguousarray(records["rewards"]).ravel())),
        "fingerprint": Maybe(~act, Ints(np.ascontiguousarray(records["fp"]))),
        "origin": words(["own"] * n + [""]),
        "view": words([*events.views, ""]),
        "agent": words([*events.agents, ""]),
        "calls": zeros("<u4"),
        "tok_in": zeros("<u4"),
        "tok_out": zeros("<u4"),
        "wall_us": zeros("<u4"),
        "note": _FORMS["note"].of([b""] * rows),
        "flags": Ints(np.full(rows, FLAG_WORLD, "u1")),
    }
    return Table({name: columns[name] for name in _FORMS}, rows)
