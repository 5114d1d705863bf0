"""`Packed`: the events of a columnar episode, kept as the records of its world chain.

The rows of names, rewards and fingerprints are made only when somebody reads them; what is rare
(faults, notes, mail, the seats at the start) is kept as rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from crossplay.kernel.book import Row
from crossplay.kernel.chain import record_dtype
from crossplay.kernel.events import FLAG_WORLD, WORLD

__all__ = ["Packed"]


class Packed:
    """Rows in trace order, lazily: iterate, or take `len`.

    records: the bytes of T packed records of N seats each. agents, views: per seat, what the plain
    act rows say. extras: rows that stand beside the plain ones; an act row there replaces the plain
    one of its tick and seat. The first `head` of them come before everything (seats, begin requests).
    """

    __slots__ = ("agents", "extras", "head", "records", "seats", "views")

    def __init__(
        self, records: bytes, seats: int, agents: Sequence[str], views: Sequence[str], extras: Sequence[Row], head: int
    ) -> None:
        self.records, self.seats, self.agents, self.views = records, seats, tuple(agents), tuple(views)
        self.extras, self.head = list(extras), head

    def array(self) -> np.ndarray:
        """The records as a structured array [T]: tick, act (seat, value) [N], rewards [N], fp."""
        return np.frombuffer(self.records, record_dtype(self.seats, self.seats))

    def __len__(self) -> int:
        replaced = sum(e[3] == "act" for e in self.extras)
        return len(self.array()) * (self.seats + 1) + len(self.extras) - replaced

    def __iter__(self) -> Iterator[Row]:
        """All rows, ordered by (tick, seat); within a seat in the order they were made."""
        extra: dict[tuple[int, int], list[Row]] = {}
        yield from self.extras[: self.head]
        for e in self.extras[self.head :]:
            extra.setdefault((e[0], e[1]), []).append(e)
        table = self.array()
        values, rewards = table["act"]["value"].tolist(), table["rewards"].tolist()
        prints = table["fp"].tolist()
        seats, agents, views = range(self.seats), self.agents, self.views
        for tick in range(len(table)):
            for i in seats:
                special = extra.pop((tick, i), ())
                if not any(e[3] == "act" for e in special):
                    yield (
                        tick,
                        i,
                        0,
                        "act",
                        (),
                        values[tick][i],
                        None,
                        None,
                        None,
                        "own",
                        views[i],
                        agents[i],
                        0,
                        0,
                        0,
                        0,
                        b"",
                        FLAG_WORLD,
                    )
                yield from special
            mail = extra.pop((tick, WORLD), [])
            end = [e for e in mail if e[3] == "end"]
            mail = [e for e in mail if e[3] != "end"]
            yield from mail
            yield (
                tick,
                WORLD,
                len(mail),
                "step",
                (),
                None,
                None,
                tuple(rewards[tick]),
                prints[tick],
                "",
                "",
                "",
                0,
                0,
                0,
                0,
                b"",
                FLAG_WORLD,
            )
            yield from end
        for key in sorted(extra):
            yield from extra[key]

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]
