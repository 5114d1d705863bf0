"""What is wrong with an action, by what a seat knows: affordance, communication, reasoning. Pure functions of data.

Two faults of the published code are not repeated here. Its check of an ask compared the block with the
names of bins, so that no ask was ever wrong; here an ask is wrong when the asker can already tell where the
block belongs, when the block is in place, or when nothing new was said since the same ask. Its list of
blocks began with a sentinel, so that every block was taken for its neighbour; here block i is number i.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crossplay.envs.einstein.board import COMMON, DESTINATIONS, OWN, closure, reaches

__all__ = ["VERIFIERS", "affordance", "can_share", "certain", "communication", "possible", "reasoning", "verify"]

Data = Mapping[str, Any]
Act = tuple[Any, ...]
"""("move", block, bin), ("share", block, block), ("ask", block) or ("pass",)."""


def certain(data: Data) -> dict[int, int]:
    """Block -> destination, for every block whose destination follows from what the seat knows: the grounded
    block, blocks in place, relations known or heard, and bins that the board has refused.
    """
    placed = {b: place for b, place in enumerate(data["at"]) if place in DESTINATIONS}
    known = closure({0: int(data["ground"]), **placed}, data["relations"])
    for block in range(data["blocks"]):
        if block not in known and len(left := _not_refused(data, block)) == 1:
            known = closure({**known, block: left[0]}, data["relations"])
    return known


def possible(data: Data, block: int) -> list[int]:
    """The destinations that a block may still have."""
    known = certain(data)
    return [known[block]] if block in known else _not_refused(data, block)


def _not_refused(data: Data, block: int) -> list[int]:
    """Destinations under which neither the block nor one tied to it lies where the board has refused it. Blocks that
    are not tied to each other say nothing about each other, so one round over them is enough.
    """
    refused = {(b, d) for b, d in data["refused"]}
    return [d for d in DESTINATIONS if not refused & set(closure({block: d}, data["relations"]).items())]


def affordance(data: Data, act: Act) -> list[str]:
    """Whether the hands can do it: source and target in reach, the block not there already."""
    if act[0] != "move":
        return []
    _, block, target = act
    reach, source = reaches(data["player"]), data["at"][block]
    wrong = []
    if source not in reach:
        wrong.append(f"affordance: block {block} is out of reach")
    if source in DESTINATIONS:
        wrong.append(f"affordance: block {block} is in place")
    if target not in reach:
        wrong.append("affordance: that bin is out of reach")
    if target == source:
        wrong.append(f"affordance: block {block} is there already")
    return wrong


def communication(data: Data, act: Act) -> list[str]:
    """Whether it is worth saying: a share of a known relation that was not shared yet; an ask for what is not known."""
    if act[0] == "share":
        pair = sorted(act[1:3])
        if not any([r[0], r[1]] == pair for r in data["relations"]):
            return ["communication: that relation is not known"]
        if pair in data["shared"]:
            return ["communication: that relation was shared already"]
        if not can_share(data, pair):
            return ["communication: nobody asked about these blocks"]
    if act[0] == "ask":
        block = act[1]
        if data["at"][block] in DESTINATIONS:
            return [f"communication: block {block} is in place"]
        if block in certain(data):
            return [f"communication: where block {block} belongs follows from what is known"]
        if block in data["asked"]:
            return [f"communication: block {block} was asked about, and nothing new was said since"]
    return []


def can_share(data: Data, pair: list[int]) -> bool:
    """Whether the mode allows it: where only asks are allowed, a pending ask about one of the blocks may be answered."""
    return data["mode"] in ("provide", "provide_seek") or (data["mode"] == "seek" and data["pending"] in pair)


def reasoning(data: Data, act: Act) -> list[str]:
    """Whether it follows from what is known: a move home, a handover to whom it belongs; a pass when nothing follows."""
    known = certain(data)
    reach = reaches(data["player"])
    if act[0] == "pass":
        for block, source in enumerate(data["at"]):
            goal = known.get(block)
            if goal is None or source not in reach or source in DESTINATIONS:
                continue
            if goal in reach or source == OWN[data["player"]]:
                return [f"reasoning: block {block} can be moved rightly"]
    if act[0] != "move":
        return []
    _, block, target = act
    left = possible(data, block)
    if target in DESTINATIONS and left != [target]:
        return ["reasoning: it does not follow that the block belongs there"]
    if target == COMMON and any(d in reach for d in left):
        return ["reasoning: it does not follow that the block belongs to the other row"]
    if target in OWN:
        return ["reasoning: no block belongs into an own bin"]
    return []


VERIFIERS: dict[str, Callable[[Data, Act], list[str]]] = {
    "affordance": affordance,
    "communication": communication,
    "reasoning": reasoning,
}


def verify(data: Data, act: Act) -> list[str]:
    """All errors, one line each, the name of the verifier first. One that the hands cannot do is not judged further."""
    return affordance(data, act) or [*communication(data, act), *reasoning(data, act)]
