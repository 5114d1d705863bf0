"""`graph`: who debates with whom is learnt while the discussion runs.

After OPTAGENT (arXiv 2510.18032): pairs exchange arguments, a reflector scores each exchange, and the
scores decide which pairs meet next. Here the choice of edges is epsilon-greedy on
q[i, j] += eta * (score - q[i, j]).
"""

from __future__ import annotations

from typing import ClassVar

from crossplay.kernel import CrossplayError, permutation, uniform
from crossplay.teams.decide import majority_of
from crossplay.teams.protocols.common import JUDGEMENT, Settings, judged, together
from crossplay.teams.room import Ask, Room, Talk
from crossplay.teams.texts import BRIEFS
from crossplay.teams.topology import Topology, none

__all__ = ["Graph"]

Pair = tuple[int, int]


class Graph(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rounds of pairwise exchanges along edges that are learnt; then the rule.

    rounds: at most; meetings: pairs per round (0: half as many as there are members). eta: learning
    rate; epsilon: share of meetings drawn at random; start: value of a pair before it has met. A pair
    whose value falls below `cut` is disconnected; without pairs the discussion ends. reflector: the
    role that scores exchanges; its member does not debate.
    """

    name: ClassVar[str] = "graph"
    strategy: ClassVar[str] = "model"
    parts: ClassVar[tuple[str, ...]] = ("reflector",)
    aside: ClassVar[bool] = True
    least: ClassVar[int] = 3
    rounds: int = 4
    meetings: int = 0
    eta: float = 0.5
    epsilon: float = 0.1
    start: float = 0.5
    cut: float = 0.2
    rationale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 <= self.eta <= 1 and 0 <= self.epsilon <= 1 and self.rounds >= 0 and self.meetings >= 0):
            raise CrossplayError(f"graph: eta = {self.eta} and epsilon = {self.epsilon} must lie in 0..1")

    def run(self, room: Room) -> Talk:
        """Independent answers, meetings, the rule."""
        reflector = self.who(room, "reflector")
        debaters = self.others(room, "reflector")
        posts = yield together(room, debaters, wants=self.wants)
        first = majority_of(room, posts)
        q: dict[Pair, float] = {(a, b): self.start for a in debaters for b in debaters if a < b}
        met = 0
        for r in range(1, self.rounds + 1):
            pairs = self._choose(room, q, max(1, self.meetings or len(debaters) // 2), r)
            if not pairs:
                break
            room.round = r
            room.topology = room.topology.edit(
                cut=list(room.topology.edges), add=[e for a, b in pairs for e in ((a, b), (b, a), (a, a), (b, b))]
            )
            met += len(pairs)
            yield from self._meet(room, pairs)
            yield from self._reflect(room, reflector, pairs, q)
        learnt = [[room.names[a], room.names[b], v] for (a, b), v in sorted(q.items())]
        verdict = yield from self.voting.decide(room, room.ballots(debaters), first=first)
        verdict.data |= {"meetings": met, "values": learnt}
        return verdict

    def _choose(self, room: Room, q: dict[Pair, float], k: int, round: int) -> list[Pair]:
        """Disjoint pairs of a round: the best by value, each replaced by a random one with probability epsilon."""
        alive = [p for p, v in q.items() if v >= self.cut]
        key = room.key("edges")
        order = [alive[i] for i in permutation(key, len(alive), round)]
        best = sorted(order, key=lambda p: -q[p])  # stable: ties in the drawn order
        chosen: list[Pair] = []
        for slot in range(k):
            source = order if uniform(key, round, slot) < self.epsilon else best
            busy = {m for p in chosen for m in p}
            found = next((p for p in source if not busy & set(p)), None)
            if found is None:
                break
            chosen.append(found)
        return chosen

    def _meet(self, room: Room, pairs: list[Pair]) -> Talk:
        """Both see each other's last answer and answer again."""
        members = [m for pair in pairs for m in pair]
        yield [Ask(m, "improve", BRIEFS["improve"], sees=room.visible(m), wants=self.wants) for m in members]
        return None

    def _reflect(self, room: Room, reflector: int, pairs: list[Pair], q: dict[Pair, float]) -> Talk:
        """The reflector scores each exchange; the score moves the pair's value."""
        shown = [tuple(p.id for m in pair if (p := room.latest(m)) is not None) for pair in pairs]
        said = yield [Ask(reflector, "reflect", BRIEFS["reflect"], JUDGEMENT, ids) for ids in shown]
        for pair, post in zip(pairs, said, strict=True):
            score = judged(post)
            if score is not None:
                q[pair] += self.eta * (score - q[pair])
        return None

    def default_topology(self, n: int) -> Topology:
        """Nobody at first; edges come as pairs meet."""
        return none(n)

    def calls(self, n: int) -> int:
        """Round 0, and per meeting two answers and a score."""
        k = max(1, self.meetings or (n - 1) // 2)
        return n - 1 + 3 * k * self.rounds + self.voting.calls(n, n - 1)

    @property
    def opens(self) -> bool:
        """All but the reflector answer first."""
        return True
