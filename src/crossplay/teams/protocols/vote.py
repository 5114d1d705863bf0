"""`vote`: independent answers and a decision rule; with one member and n samples, self-consistency."""

from __future__ import annotations

from typing import ClassVar

from crossplay.kernel import CrossplayError
from crossplay.teams.protocols.common import Settings, together
from crossplay.teams.room import Room, Talk
from crossplay.teams.topology import Topology, none

__all__ = ["Vote"]


class Vote(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every member answers `samples` times without hearing the others; the rule decides.

    Source of the one-member form: Wang et al. 2022, "Self-consistency improves chain of thought
    reasoning in language models" (arXiv 2203.11171).
    """

    name: ClassVar[str] = "vote"
    strategy: ClassVar[str] = "rule"
    samples: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1:
            raise CrossplayError(f"vote: samples = {self.samples} must be 1 or more")

    def run(self, room: Room) -> Talk:
        """One wave, one vote."""
        members = [m for m in range(room.n) for _ in range(self.samples)]
        posts = yield together(room, members, wants=self.wants)
        return (yield from self.voting.decide(room, posts))

    def default_topology(self, n: int) -> Topology:
        """Nobody sees anybody."""
        return none(n)

    def calls(self, n: int) -> int:
        """One ask per member and sample, and the votes that the rule wants."""
        return n * self.samples + self.voting.calls(n, n * self.samples)

    @property
    def opens(self) -> bool:
        """It is nothing else."""
        return True
