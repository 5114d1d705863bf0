"""`orchestrate`: one member leads; it assigns work to the others, reads what they found, and answers.

Re-planning after OrchMAS (arXiv 2603.03005): each turn the orchestrator emits one structured action,
(worker, instruction) or "answer". A trained orchestrator is any agent that answers that form.
"""

from __future__ import annotations

from typing import Any, ClassVar

from crossplay.kernel import ActionSpec, CrossplayError
from crossplay.teams.protocols.common import TEXT, Settings, verdict_of
from crossplay.teams.room import Ask, Room, Talk
from crossplay.teams.texts import BRIEFS
from crossplay.teams.topology import Topology, star

__all__ = ["Orchestrate"]


class Orchestrate(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first member (role orchestrator) leads the others (its workers; itself where it is alone).

    replan: decide turn by turn, at most `turns` times; otherwise all assignments are made at once,
    carried out together, and the orchestrator concludes. Workers see only their instruction and the task.
    """

    name: ClassVar[str] = "orchestrate"
    strategy: ClassVar[str] = "model"
    parts: ClassVar[tuple[str, ...]] = ("orchestrator",)
    aside: ClassVar[bool] = True
    turns: int = 4
    replan: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.turns < 1:
            raise CrossplayError(f"orchestrate: turns = {self.turns} must be 1 or more")

    def run(self, room: Room) -> Talk:
        """Assign, work, conclude."""
        workers = self.others(room, "orchestrator")
        seen = yield from (self._by_turns if self.replan else self._at_once)(room, workers)
        room.round += 1
        lead = self.who(room, "orchestrator")
        [answer] = yield [Ask(lead, "answer", BRIEFS["conclude"] if seen else "", sees=seen, wants=self.wants)]
        return verdict_of(answer, "the orchestrator gave no answer")

    def _by_turns(self, room: Room, workers: list[int]) -> Talk:
        """One assignment a turn; the orchestrator sees all that came back."""
        names = [room.names[w] for w in workers]
        form = ActionSpec("data", schema=_order([*names, "answer"]))
        seen: tuple[int, ...] = ()
        for turn in range(1, self.turns + 1):
            room.round = turn - 1
            brief = BRIEFS["orchestrate"].format(workers=", ".join(names), turn=turn, turns=self.turns)
            [order] = yield [Ask(self.who(room, "orchestrator"), "orchestrate", brief, form, seen)]
            if not order.ok or order.value["to"] == "answer":
                break
            worker = workers[names.index(order.value["to"])]
            [found] = yield [_work(worker, order.value["instruction"], order.id)]
            seen = (*seen, order.id, *((found.id,) if found.ok else ()))
        return seen

    def _at_once(self, room: Room, workers: list[int]) -> Talk:
        """All assignments in one plan; workers act together."""
        names = [room.names[w] for w in workers]
        schema = {"type": "array", "items": _order(names), "minItems": 1, "maxItems": self.turns}
        brief = BRIEFS["assign"].format(workers=", ".join(names), turns=self.turns)
        [plan] = yield [Ask(self.who(room, "orchestrator"), "plan", brief, ActionSpec("data", schema=schema))]
        room.round = 1
        if not plan.ok:
            return ()
        found = yield [_work(workers[names.index(o["to"])], o["instruction"], plan.id) for o in plan.value]
        return (plan.id, *(p.id for p in found if p.ok))

    def default_topology(self, n: int) -> Topology:
        """A star around the orchestrator."""
        return star(n)

    def calls(self, n: int) -> int:
        """Two asks a turn and the conclusion."""
        return 2 * self.turns + 1 if self.replan else self.turns + 2


def _work(worker: int, instruction: str, order: int) -> Ask:
    """What a worker is asked; order: the id of the post with its instruction."""
    return Ask(worker, "work", BRIEFS["work"].format(instruction=instruction), TEXT, told=(order,))


def _order(to: list[str]) -> dict[str, Any]:
    """The form of an assignment."""
    return {
        "type": "object",
        "properties": {
            "to": {"type": "string", "enum": to},
            "instruction": {"type": "string", "maxLength": 1000},
        },
        "required": ["to", "instruction"],
        "additionalProperties": False,
    }
