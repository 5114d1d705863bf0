"""Typed columns of a trace: fixed bytes in memory, a canonical form for seals, a series for Parquet.

Every class holds one column of n values and can be made from a list, from its stored parts or from
a Polars series; all three give equal parts for equal values, which is what the seal relies on.
All numbers are little-endian.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Blobs", "Column", "Ints", "Lists", "Maybe", "Words", "form"]

Array = np.ndarray


class Column(Protocol):
    """What all columns can do."""

    def __len__(self) -> int: ...
    def parts(self) -> list[Any]:
        """The canonical form: bytes and lists of text."""
        ...

    def cut(self, start: int, stop: int) -> Column:
        """Rows start..stop-1."""
        ...

    def join(self, others: Sequence[Any]) -> Column:
        """All rows of this column, then those of the others."""
        ...

    def list(self) -> list[Any]:
        """Plain Python values."""
        ...

    def series(self, name: str) -> pl.Series:
        """The Polars series."""
        ...


class Ints:
    """Numbers of one type, none missing."""

    def __init__(self, values: Array) -> None:
        self.values = values

    @classmethod
    def of(cls, values: Sequence[Any], dtype: str) -> Ints:
        """From a list. Raises OverflowError outside the type's range."""
        if not any(values):  # most counters of most episodes
            return cls(np.zeros(len(values), dtype))
        return cls(np.array(values, dtype))

    @classmethod
    def stored(cls, parts: Sequence[Any], n: int, dtype: str) -> Ints:
        """From canonical parts; n: number of rows."""
        return cls(_numbers(parts[0], dtype, n))

    @classmethod
    def from_series(cls, s: pl.Series, dtype: str) -> Ints:
        """From a series without nulls."""
        values = s.to_numpy()
        if values.dtype != np.dtype(dtype):
            raise ValueError(f"column {s.name}: {values.dtype} where {dtype} is stored")
        return cls(values)

    def __len__(self) -> int:
        return len(self.values)

    def parts(self) -> list[Any]:
        """[bytes of the numbers]."""
        return [self.values.tobytes()]

    def cut(self, start: int, stop: int) -> Ints:
        """Rows start..stop-1."""
        return Ints(self.values[start:stop])

    def join(self, others: Sequence[Ints]) -> Ints:
        """All rows of this column, then those of the others."""
        return Ints(np.concatenate([self.values, *(o.values for o in others)]))

    def list(self) -> list[Any]:
        """Plain Python numbers."""
        return self.values.tolist()

    def series(self, name: str) -> pl.Series:
        """The Polars series."""
        import polars as pl

        return pl.Series(name, self.values)


class Words:
    """Text with few distinct values: the values in order of first appearance, and u16 codes."""

    def __init__(self, words: list[str], codes: Array) -> None:
        self.words, self.codes = words, codes

    @classmethod
    def of(cls, values: Sequence[str]) -> Words:
        """From a list; at most 65536 distinct values. Raises TypeError or ValueError for what is no text."""
        words = list(dict.fromkeys(values))
        "".join(words).encode()
        if len(words) < 2:
            return cls(words, np.zeros(len(values), "<u2"))
        index = {w: i for i, w in enumerate(words)}
        return cls(words, np.fromiter(map(index.__getitem__, values), "<u2", len(values)))

    @classmethod
    def stored(cls, parts: Sequence[Any], n: int) -> Words:
        """From canonical parts."""
        codes = _numbers(parts[1], "<u2", n)
        if n and int(codes.max()) >= len(parts[0]):
            raise ValueError("a code without a word")
        return cls(list(parts[0]), codes)

    @classmethod
    def from_series(cls, s: pl.Series) -> Words:
        """From a categorical or text series."""
        import polars as pl

        if s.dtype != pl.Categorical:
            return cls.of(s.to_list())
        return cls._fresh(s.to_physical().to_numpy(), lambda first: s.gather(first).cast(pl.String).to_list())

    @classmethod
    def _fresh(cls, codes: Array, words_at: Any) -> Words:
        """Codes counted anew in order of first appearance; words_at(rows) gives their words."""
        _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(order), "<u2")
        rank[order] = np.arange(len(order))
        return cls(words_at(first[order]), rank[inverse.ravel()])

    def __len__(self) -> int:
        return len(self.codes)

    def parts(self) -> list[Any]:
        """[words, bytes of the codes]."""
        return [self.words, self.codes.tobytes()]

    def cut(self, start: int, stop: int) -> Words:
        """Rows start..stop-1."""
        codes = self.codes[start:stop]
        return self._fresh(codes, lambda first: [self.words[c] for c in codes[first].tolist()])

    def join(self, others: Sequence[Words]) -> Words:
        """All rows of this column, then those of the others."""
        index: dict[str, int] = {}
        codes = []
        for column in (self, *others):
            table = np.array([index.setdefault(w, len(index)) for w in column.words], "<u2")
            codes.append(table[column.codes] if len(table) else column.codes)
        return Words(list(index), np.concatenate(codes))

    def list(self) -> list[Any]:
        """Plain text."""
        return list(map(self.words.__getitem__, self.codes.tolist()))

    def series(self, name: str) -> pl.Series:
        """The categorical Polars series."""
        import polars as pl

        return pl.Series(name, self.words, dtype=pl.Categorical).gather(self.codes.astype(np.uint32))


class Lists:
    """Lists of numbers: u32 lengths and the numbers one after the other."""

    def __init__(self, lengths: Array, flat: Array) -> None:
        self.lengths, self.flat = lengths, flat

    @classmethod
    def of(cls, values: Sequence[Sequence[Any]], dtype: str) -> Lists:
        """From a list of sequences."""
        if not any(values):
            return cls(np.zeros(len(values), "<u4"), np.zeros(0, dtype))
        flat: list[Any] = []
        for v in values:
            flat += v
        return cls(np.fromiter(map(len, values), "<u4", len(values)), np.array(flat, dtype))

    @classmethod
    def stored(cls, parts: Sequence[Any], n: int, dtype: str) -> Lists:
        """From canonical parts."""
        lengths = _numbers(parts[0], "<u4", n)
        return cls(lengths, _numbers(parts[1], dtype, int(lengths.sum(dtype=np.int64))))

    @classmethod
    def from_series(cls, s: pl.Series, dtype: str) -> Lists:
        """From a list series without nulls."""
        flat = s.explode().drop_nulls().to_numpy()  # an empty list explodes to one null
        lengths = s.list.len().to_numpy().astype("<u4")
        if not len(flat):
            flat = np.zeros(0, dtype)
        if flat.dtype != np.dtype(dtype) or int(lengths.sum(dtype=np.int64)) != len(flat):
            raise ValueError(f"column {s.name}: lists of {flat.dtype} where {dtype} is stored")
        return cls(lengths, flat)

    def __len__(self) -> int:
        return len(self.lengths)

    def parts(self) -> list[Any]:
        """[bytes of the lengths, bytes of the numbers]."""
        return [self.lengths.tobytes(), self.flat.tobytes()]

    def _ends(self) -> Array:
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])

    def cut(self, start: int, stop: int) -> Lists:
        """Rows start..stop-1."""
        before = int(self.lengths[:start].sum(dtype=np.int64))
        lengths = self.lengths[start:stop]
        return Lists(lengths, self.flat[before : before + int(lengths.sum(dtype=np.int64))])

    def join(self, others: Sequence[Lists]) -> Lists:
        """All rows of this column, then those of the others."""
        return Lists(
            np.concatenate([self.lengths, *(o.lengths for o in others)]),
            np.concatenate([self.flat, *(o.flat for o in others)]),
        )

    def list(self) -> list[Any]:
        """Tuples of plain numbers."""
        if not len(self.flat):
            return [()] * len(self.lengths)
        flat, ends = self.flat.tolist(), self._ends().tolist()
        return [tuple(flat[a:b]) for a, b in pairwise(ends)]

    def series(self, name: str) -> pl.Series:
        """The Polars list series; lists of one length are reshaped together."""
        import polars as pl

        inner = pl.Series(self.flat[:0]).dtype
        empty = pl.Series(name, [[]], dtype=pl.List(inner))
        groups = [empty]
        place = np.zeros(len(self.lengths), np.uint32)  # 0: the empty list
        ends, used = self._ends(), 1
        for length in np.unique(self.lengths[self.lengths > 0]).tolist():
            rows = np.flatnonzero(self.lengths == length)
            block = self.flat[ends[rows][:, None] + np.arange(length)]
            groups.append(pl.Series(name, block.ravel()).reshape((-1, length)).cast(pl.List(inner)))
            place[rows] = np.arange(used, used + len(rows))
            used += len(rows)
        return pl.concat(groups).gather(place).alias(name)


class Blobs:
    """Bytes of any length: u32 lengths and the bytes one after the other."""

    def __init__(self, lengths: Array, data: bytes) -> None:
        self.lengths, self.data = lengths, data

    @classmethod
    def of(cls, values: Sequence[bytes]) -> Blobs:
        """From a list of bytes."""
        if not any(values):
            return cls(np.zeros(len(values), "<u4"), b"")
        return cls(np.fromiter(map(len, values), "<u4", len(values)), b"".join(values))

    @classmethod
    def stored(cls, parts: Sequence[Any], n: int) -> Blobs:
        """From canonical parts."""
        lengths = _numbers(parts[0], "<u4", n)
        if len(parts[1]) != int(lengths.sum(dtype=np.int64)):
            raise ValueError("bytes of another length than stored")
        return cls(lengths, bytes(parts[1]))

    @classmethod
    def from_series(cls, s: pl.Series) -> Blobs:
        """From a binary series without nulls."""
        return cls.of(s.to_list())

    def __len__(self) -> int:
        return len(self.lengths)

    def parts(self) -> list[Any]:
        """[bytes of the lengths, the bytes]."""
        return [self.lengths.tobytes(), self.data]

    def cut(self, start: int, stop: int) -> Blobs:
        """Rows start..stop-1."""
        before = int(self.lengths[:start].sum(dtype=np.int64))
        lengths = self.lengths[start:stop]
        return Blobs(lengths, self.data[before : before + int(lengths.sum(dtype=np.int64))])

    def join(self, others: Sequence[Blobs]) -> Blobs:
        """All rows of this column, then those of the others."""
        return Blobs(
            np.concatenate([self.lengths, *(o.lengths for o in others)]),
            b"".join([self.data, *(o.data for o in others)]),
        )

    def list(self) -> list[Any]:
        """Plain bytes."""
        if not self.data:
            return [b""] * len(self.lengths)
        ends = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)]).tolist()
        return [self.data[a:b] for a, b in pairwise(ends)]

    def series(self, name: str) -> pl.Series:
        """The Polars binary series."""
        import polars as pl

        full = np.flatnonzero(self.lengths)
        ends = np.cumsum(self.lengths, dtype=np.int64)
        starts = (ends - self.lengths)[full].tolist()
        values = [self.data[a:b] for a, b in zip(starts, ends[full].tolist(), strict=True)]
        place = np.zeros(len(self.lengths), np.uint32)
        place[full] = np.arange(1, len(full) + 1)
        return pl.Series(name, [b"", *values], dtype=pl.Binary).gather(place)


class Maybe:
    """A column with gaps: a mask (True where there is a value) and the values alone."""

    def __init__(self, mask: Array, inner: Any) -> None:
        self.mask, self.inner = mask, inner

    @classmethod
    def of(cls, values: Sequence[Any], make: Any) -> Maybe:
        """From a list with None; make: how the values alone become a column."""
        there = [v for v in values if v is not None]
        if not there:
            return cls(np.zeros(len(values), bool), make(there))
        if len(there) == len(values):
            return cls(np.ones(len(values), bool), make(there))
        return cls(np.fromiter(values, object, len(values)) != None, make(there))  # noqa: E711 (elementwise)

    @classmethod
    def stored(cls, parts: Sequence[Any], n: int, make: Any) -> Maybe:
        """From canonical parts; make(parts, count): how the values alone are read."""
        bits = np.frombuffer(parts[0], np.uint8)
        if len(bits) != (n + 7) // 8:
            raise ValueError("a mask of another length than stored")
        mask = np.unpackbits(bits, count=n, bitorder="little").astype(bool)
        return cls(mask, make(parts[1:], int(mask.sum())))

    @classmethod
    def from_series(cls, s: pl.Series, make: Any) -> Maybe:
        """From a series with nulls."""
        return cls(s.is_not_null().to_numpy(), make(s.drop_nulls()))

    def __len__(self) -> int:
        return len(self.mask)

    def parts(self) -> list[Any]:
        """[bytes of the mask's bits, parts of the values]."""
        return [np.packbits(self.mask, bitorder="little").tobytes(), *self.inner.parts()]

    def cut(self, start: int, stop: int) -> Maybe:
        """Rows start..stop-1."""
        mask = self.mask[start:stop]
        before = int(self.mask[:start].sum())
        return Maybe(mask, self.inner.cut(before, before + int(mask.sum())))

    def join(self, others: Sequence[Maybe]) -> Maybe:
        """All rows of this column, then those of the others."""
        return Maybe(np.concatenate([self.mask, *(o.mask for o in others)]), self.inner.join([o.inner for o in others]))

    def list(self) -> list[Any]:
        """Values and None."""
        values = iter(self.inner.list())
        return [next(values) if there else None for there in self.mask.tolist()]

    def series(self, name: str) -> pl.Series:
        """The Polars series with nulls."""
        import polars as pl

        at = pl.Series(np.maximum(np.cumsum(self.mask) - 1, 0).astype(np.uint32))
        place = pl.select(pl.when(pl.Series(self.mask)).then(at)).to_series()
        values = self.inner.series(name)
        if not len(values):  # nothing to gather from
            return pl.Series(name, [None], dtype=values.dtype).gather(np.zeros(len(self.mask), np.uint32))
        return values.gather(place)


class form:
    """How a column of that form ("u4", "i4?", "dict", ...) is made from each source."""

    def __init__(self, text: str) -> None:
        self.null = text.endswith("?")
        self.kind = text.removesuffix("?")

    def of(self, values: Sequence[Any]) -> Any:
        """From a list."""
        return Maybe.of(values, self._of) if self.null else self._of(values)

    def stored(self, parts: Sequence[Any], n: int) -> Any:
        """From canonical parts of n rows."""
        return Maybe.stored(parts, n, self._stored) if self.null else self._stored(parts, n)

    def from_series(self, s: pl.Series) -> Any:
        """From a Polars series."""
        if not self.null and s.null_count():
            raise ValueError(f"column {s.name}: a value is missing")
        return Maybe.from_series(s, self._from_series) if self.null else self._from_series(s)

    def _of(self, values: Sequence[Any]) -> Any:
        if self.kind == "dict":
            return Words.of(values)
        if self.kind == "bytes":
            return Blobs.of(values)
        if self.kind == "list" or self.kind == "f8list":
            return Lists.of(values, self._item)
        return Ints.of(values, "<" + self.kind)

    def _stored(self, parts: Sequence[Any], n: int) -> Any:
        if self.kind == "dict":
            return Words.stored(parts, n)
        if self.kind == "bytes":
            return Blobs.stored(parts, n)
        if self.kind == "list" or self.kind == "f8list":
            return Lists.stored(parts, n, self._item)
        return Ints.stored(parts, n, "<" + self.kind)

    def _from_series(self, s: pl.Series) -> Any:
        if self.kind == "dict":
            return Words.from_series(s)
        if self.kind == "bytes":
            return Blobs.from_series(s)
        if self.kind == "list" or self.kind == "f8list":
            return Lists.from_series(s, self._item)
        return Ints.from_series(s, "<" + self.kind)

    @property
    def _item(self) -> str:
        return "<u2" if self.kind == "list" else "<f8"


def _numbers(data: bytes, dtype: str, n: int) -> Array:
    if len(data) != n * np.dtype(dtype).itemsize:
        raise ValueError("numbers of another length than stored")
    return np.frombuffer(data, dtype)
