"""The diversity-aware initial pool: many first answers, of which the most different are kept.

Source: "Demystifying multi-agent debate" (arXiv 2601.19921): more candidates than members are
sampled, and the members start from the most diverse of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from crossplay.kernel import CrossplayError, permutation
from crossplay.measure.answers import select_different, select_farthest
from crossplay.teams.decide import Candidates
from crossplay.teams.protocols.common import together
from crossplay.teams.room import Post, Room, Talk

__all__ = ["Pool"]


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
        chosen = [posts[i] for i in self._choose(room, posts, min(n, len(posts)))]
        if len(chosen) < n:
            room.obs.count("pool_short", n - len(chosen))
        adopted: list[Post] = [room.adopt(m, p) for m, p in enumerate(chosen)]
        return adopted

    def _choose(self, room: Room, posts: Sequence[Post], n: int) -> list[int]:
        key = room.key("pool")
        if self.by == "random":
            return permutation(key, len(posts))[:n]
        if self.by == "answer":
            return select_different(Candidates.of(posts).choice, n, key)
        return select_farthest(_vectors([p.text or str(p.value) for p in posts]), n, key)


def _vectors(texts: Sequence[str]) -> Any:
    from crossplay.models.embedders import embedder

    return embedder().embed(texts)
