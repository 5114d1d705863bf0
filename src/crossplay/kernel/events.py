"""Events: the rows of a trace, and the columns they are stored in.

One row per event, in the order (tick, seat index, path, ord), never in order of arrival.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "COLUMNS",
    "FLAG_MIND",
    "FLAG_PARTIAL",
    "FLAG_PRACTICE",
    "FLAG_WORLD",
    "KINDS",
    "WORLD",
    "Event",
    "columns",
    "rows",
]

WORLD = 65535  # the seat index of the world itself
FLAG_WORLD, FLAG_MIND, FLAG_PARTIAL, FLAG_PRACTICE = 1, 2, 4, 8

KINDS = ("seat", "act", "msg", "mail", "fault", "step", "note", "model", "tool", "post", "vote", "late", "end")
"""seat: who sits (start, handoff); act: the move executed; msg: what was said; mail: what was
delivered; fault: an answer that was missing or wrong, and the link served; step: rewards and
fingerprint; note, model, tool, post, vote: inside a seat; late: an answer after its tick; end: how a seat
or the episode ended."""


class Event(NamedTuple):
    """One row. value: index of a name; payload: MessagePack of anything else; note: MessagePack."""

    tick: int
    seat: int
    ord: int
    kind: str
    path: tuple[int, ...] = ()
    value: int | None = None
    payload: bytes | None = None
    rewards: Sequence[float] | None = None
    fingerprint: int | None = None
    origin: str = ""
    view: str = ""
    agent: str = ""
    calls: int = 0
    tok_in: int = 0
    tok_out: int = 0
    wall_us: int = 0
    note: bytes = b""
    flags: int = 0


COLUMNS: tuple[tuple[str, str], ...] = (
    ("tick", "u4"),
    ("seat", "u2"),
    ("ord", "u2"),
    ("kind", "dict"),
    ("path", "list"),
    ("value", "i4?"),
    ("payload", "bytes?"),
    ("rewards", "f8list?"),
    ("fingerprint", "u8?"),
    ("origin", "dict"),
    ("view", "dict"),
    ("agent", "dict"),
    ("calls", "u4"),
    ("tok_in", "u4"),
    ("tok_out", "u4"),
    ("wall_us", "u4"),
    ("note", "bytes"),
    ("flags", "u1"),
)
"""(name, form) of each column of a stored trace; "?" marks columns that may be null."""


def columns(events: Sequence[Event]) -> dict[str, list[Any]]:
    """Rows as columns of plain lists."""
    if not events:
        return {name: [] for name in Event._fields}
    return dict(zip(Event._fields, (list(c) for c in zip(*events, strict=True)), strict=True))


def rows(table: dict[str, Sequence[Any]]) -> list[Event]:
    """Columns as rows."""
    names = Event._fields
    cols = [c.tolist() if isinstance(c, np.ndarray) else c for c in (table[n] for n in names)]
    return [Event(*line) for line in zip(*cols, strict=True)]
