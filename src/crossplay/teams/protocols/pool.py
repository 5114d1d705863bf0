"""The diversity-aware initial pool: many first answers, of which the most different are kept.

Source: "Demystifying multi-agent debate" (arXiv 2601.19921): more candidates than members are
sampled, and the members start from the most diverse of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from crossplay.kernel import CrossplayError, permutation
from crossplay.teams.protocols.common import together
from crossplay.teams.room import Post, Room, Talk

__all__ = ["Pool", "by_answer", "by_distance"]


class Pool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """candidates: answers that are sampled in round 0, spread over the members in turn; as many as
    there are members are kept. by: "answer" (greedily the most different answers), "embedding"
    (farthest first by the distance of their texts), or "random" (the control).
    """

    candidates: int = 10
    by: Literal["answer", "embedding", "random"] = "answer"

    def first(self, room: Room, wants: tuple[str, ...]) -> Talk:
        """Ask for the candidates, choose, and let each member start from one; gives the adopted posts."""
        n = room.n
        if self.candidates < n:
            raise CrossplayError(f"pool: candidates = {self.candidates} are fewer than the {n} members")
        members = [i % n for i in range(self.candidates)]
        posts = [p for p in (yield together(room, members, "candidate", brief="", wants=wants)) if p.ok]
        order = permutation(room.key("pool"), len(posts))
        if self.by == "random":
            chosen = [posts[i] for i in order[:n]]
        elif self.by == "answer":
            chosen = [posts[i] for i in by_answer([posts[i].key for i in order], n, order)]
        else:
            chosen = [posts[i] for i in by_distance(_vectors([p.text or str(p.value) for p in posts]), n, order)]
        adopted: list[Post] = [room.adopt(m, p) for m, p in enumerate(chosen)]
        return adopted  # type: ignore[return-value]


def by_answer(keys: Sequence[bytes], n: int, order: Sequence[int]) -> list[int]:
    """Positions in the original list: one per distinct answer first, then a second of each, and so on.

    keys stand in the (random) order given, so that ties between answers are broken by the seed.
    """
    times: dict[bytes, int] = {}
    ranked = []
    for place, key in enumerate(keys):
        ranked.append((times.get(key, 0), place))
        times[key] = times.get(key, 0) + 1
    return [order[place] for _, place in sorted(ranked)[:n]]


def by_distance(vectors: Any, n: int, order: Sequence[int]) -> list[int]:
    """Farthest first: begin with the first of the order, then add whatever is farthest (cosine) from the chosen."""
    chosen = [order[0]] if order else []
    while len(chosen) < min(n, len(order)):
        left = [i for i in order if i not in chosen]
        chosen.append(max(left, key=lambda i: min(1.0 - float(vectors[i] @ vectors[j]) for j in chosen)))
    return chosen


def _vectors(texts: Sequence[str]) -> Any:
    from crossplay.models.embedders import embedder

    return embedder().embed(texts)
