"""The experiment: one rule that fills a seat, in process or anywhere else, on the same blocks, and misbehaves when told to.

The seat is the first of rock, paper, scissors; a random player has the other. How the rule is asked stands in `ways.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from crossplay import Agent, Block, Fault, Observation
from crossplay.gallery.agent_protocols.player import Party
from crossplay.kernel import pick, seat_key

__all__ = ["ENV", "OTHER", "SEAT", "Blocks", "Manner", "Rule", "Served", "Settings", "party", "plan_of"]

ENV, SEAT, OTHER = "matrix/rock_paper_scissors", "row", "column"
Manner = Literal["", "die", "hang", "wrong", "none"]
"""What a party does in a block: nothing special, one of three ways to misbehave, or to use no chance at all."""
Blocks = tuple[tuple[int, Manner], ...]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Every part of it is public: of environments, agents and servers, and how often a void block is played."""

    blocks: int = 3  # that are played through each protocol
    rounds: int = 10  # decisions of a block
    at: int = 4  # the tick at which a party misbehaves
    chance: Literal["seat", "own"] = "seat"  # the rule's draws: the seat's addressed ones, or those of its party
    deadline: float = 1.5  # seconds of the environment's clock where a party is silent; 0: the world waits
    patience: float = 2.0  # seconds after which a silent party speaks, if nobody goes on without it
    plays: int = 2  # how often a block is played until it is not void
    refusals: int = 2  # wrong answers to one turn until it is lost (MCP)
    speaks: int = 0  # major version of the worker; 0: that of its kit
    root: int = 11


# -- the rule, in a process of Crossplay's ---------------------------------------------------------------
class Rule(Agent):
    """The same rule as an agent. injects: where a party is to be silent, it is a timeout at once (the reference)."""

    name, views, needs, deterministic = "rule", ("text",), ("names",), True

    def __init__(self, party: Party, injects: bool = False) -> None:
        self.party, self.injects = party, injects

    def act(self, obs: Observation) -> Any:
        """A name, or a timeout where one is injected."""
        at = self.party.block(obs.key())
        if self.injects and at["manner"] == "hang" and at["at"] == obs.tick:
            return Fault("timeout", "silent by plan")
        return self.party.answer(obs.key(), obs.tick, str(obs.view("text")), obs.names())


class Served(Agent):
    """The rule by the plans in a file, the newest first, which is read again when it has changed."""

    name, views, needs, deterministic = Rule.name, Rule.views, Rule.needs, True

    def __init__(self, plans: str) -> None:
        self.file = Path(plans)
        self._read: tuple[int, list[Rule]] = (0, [])

    def act(self, obs: Observation) -> Any:
        """The answer by the newest plan that holds the block."""
        return next(rule for rule in self._rules() if rule.party.knows(obs.key())).act(obs)

    def _rules(self) -> list[Rule]:
        changed, rules = self.file.stat().st_mtime_ns, self._read[1]
        if changed != self._read[0]:
            rules = [Rule(party(plan, "a2a")) for plan in json.loads(self.file.read_text())]
            self._read = changed, rules
        return rules


def party(plan: Mapping[str, Any], name: str) -> Party:
    """A party with the kernel's own draws."""
    return Party(plan, pick, lambda root, block, seat: seat_key(Block(root, block), seat), name)


def plan_of(s: Settings, blocks: Blocks, folder: str = "") -> dict[str, Any]:
    """What a party is told. blocks: (block, manner) in the order of play; one that will be played again stands twice."""
    listed = [
        {"block": b, "chance": "none" if m == "none" else s.chance, "manner": "" if m == "none" else m, "at": s.at}
        for b, m in blocks
    ]
    return {
        "root": s.root,
        "seat": SEAT,
        "patience": s.patience,
        "speaks": s.speaks,
        "folder": folder,
        "blocks": listed,
    }
