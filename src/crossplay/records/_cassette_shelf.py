"""Rows of a cassette that is only read, brought into memory an episode at a time.

Strict replay looks up every call once, and all calls of an episode within a short time: one query
per episode, each seal checked once, instead of one query per call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from crossplay.records._cassette_rows import Address, Call, Row, Stored, check_row, stored_of

__all__ = ["Shelf", "episode_rows"]

ROOM = 200_000
"""Rows kept in memory; beyond that the episodes that were brought in first are let go."""

Fetch = Callable[[Address], Mapping[bytes, Stored]]
"""fetch((root, env id, block, replicate)) -> the rows of that episode by key."""


class Shelf:
    """Rows by key, fetched by episode."""

    def __init__(self, fetch: Fetch, room: int = ROOM) -> None:
        self._fetch, self._room = fetch, room
        self._episodes: dict[Address, Mapping[bytes, Stored]] = {}
        self._held = 0
        self._lock = threading.Lock()

    def find(self, call: Call) -> Row | None:
        """The row of a call, or None; raises `Damaged` when a row of its episode is not as written."""
        episode = call.address[:4]
        rows = self._episodes.get(episode)
        if rows is None:
            rows = self._bring(episode)
        stored = rows.get(call.key)
        return None if stored is None else Row.of(call, stored)

    def _bring(self, episode: Address) -> Mapping[bytes, Stored]:
        with self._lock:
            rows = self._episodes.get(episode)
            if rows is not None:  # another thread was faster
                return rows
            rows = self._fetch(episode)
            self._held += len(rows)
            while self._held > self._room and self._episodes:
                first = next(iter(self._episodes))
                self._held -= len(self._episodes.pop(first))
            self._episodes[episode] = rows
            return rows


def episode_rows(found: list[tuple[Any, ...]]) -> dict[bytes, Stored]:
    """Stored rows by key, each checked against its seal."""
    for columns in found:
        check_row(columns)
    return {c[0]: stored_of(c) for c in found}
