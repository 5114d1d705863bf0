"""`reasoner`: plays `einstein` from the closure of what it knows, with no search.

In this order: answer a question that can only be answered now; hand over what belongs to the other row;
bring home what belongs to the own one; share; ask; try a bin that is still possible (`guess`); pass.
It is a pure function of `data`; `noise` plays a uniform action of all allowed ones instead, now and then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossplay.agents.context import options as takes
from crossplay.agents.context import plain, quick
from crossplay.envs.einstein.board import COMMON, DESTINATIONS, OWN, reaches
from crossplay.envs.einstein.verify import can_share, certain, communication, possible
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.seeds import uniform
from crossplay.kernel.types import CrossplayError

__all__ = ["Reasoner", "reasoner"]

Data = Mapping[str, Any]


class Reasoner(Agent):
    """The direct planner."""

    def __init__(self, guess: bool = False, noise: float = 0.0) -> None:
        """guess: try bins that are still possible when nothing follows. noise: chance in 0..1 of a random action."""
        self.guess, self.noise = guess, noise
        self.name = "reasoner" + "+guess" * guess + (f"~{noise:g}" if noise else "")

    def check(self, env: Any, seat: str) -> None:
        """Plays `einstein`."""
        if env.name != "einstein":
            raise CrossplayError(f"reasoner: plays einstein, not {env.id}")

    def manifest(self) -> dict[str, Any]:
        """Kind, name and options."""
        return {"kind": self.kind, "name": self.name, "guess": self.guess, "noise": self.noise}

    def act(self, obs: Observation) -> Any:
        """The next action, or a random one."""
        if self.noise and uniform(obs.key("noise"), obs.tick) < self.noise:
            return obs.spec.draw(obs.key("action"), obs.tick, obs.legal)
        return plan(obs.view("data"), self.guess)


def plan(data: Data, guess: bool) -> str:
    """The name of the next action."""
    from crossplay.envs.einstein.board import BINS

    if data["pending"] is not None and (answer := _share(data, data["pending"])):
        return answer
    move = _move(data)
    if move is not None:
        return f"move {move[0]} to {BINS[move[1]]}"
    if (told := _share(data)) or (told := _ask(data)):
        return told
    if guess and (tried := _guess(data)) is not None:
        return f"move {tried[0]} to {BINS[tried[1]]}"
    return "pass"


def _mine(data: Data) -> list[int]:
    """Blocks within reach that are not in place, those of the own bin first."""
    own = OWN[data["player"]]
    blocks = [b for b, place in enumerate(data["at"]) if place in (own, COMMON)]
    return sorted(blocks, key=lambda b: data["at"][b] != own)


def _move(data: Data) -> tuple[int, int] | None:
    """A move that follows: a handover first, so that nobody waits for it; then a block brought home."""
    reach, known = reaches(data["player"]), certain(data)
    for block in _mine(data):
        if data["at"][block] != COMMON and not any(d in reach for d in possible(data, block)):
            return block, COMMON
    for block in _mine(data):
        if known.get(block) in reach:
            return block, known[block]
    return None


def _share(data: Data, about: int | None = None) -> str | None:
    """A relation that was not shared yet and ties a block that is not in place; about: the block asked about."""
    known, open_ = certain(data), [b for b, place in enumerate(data["at"]) if place not in DESTINATIONS]
    best: tuple[int, str] | None = None
    for a, b, _ in data["relations"]:
        if [a, b] in data["shared"] or not can_share(data, [a, b]) or not (a in open_ or b in open_):
            continue
        if about is not None and about not in (a, b):
            continue
        # What hangs on a known block is of use at once.
        rank = -int(a in known) - int(b in known)
        if best is None or rank < best[0]:
            best = rank, f"share {a}-{b}"
    return best[1] if best else None


def _ask(data: Data) -> str | None:
    """About a block within reach whose place does not follow; else about one that is tied to such a block."""
    if data["mode"] not in ("seek", "provide_seek"):
        return None
    known = certain(data)
    wanted = [b for b in _mine(data) if b not in known]
    tied = [x for a, b, _ in data["relations"] for x in (a, b) if (a in wanted or b in wanted) and x not in known]
    for block in [*wanted, *tied]:
        if not communication(data, ("ask", block)):
            return f"ask {block}"
    return None


def _guess(data: Data) -> tuple[int, int] | None:
    """A bin in reach that is still possible, for the block with the fewest possible ones."""
    reach = reaches(data["player"])
    best: tuple[int, int, int] | None = None
    for block in _mine(data):
        left = possible(data, block)
        for target in left:
            if target in reach and (best is None or len(left) < best[0]):
                best = len(left), block, target
    return (best[1], best[2]) if best else None


@takes(
    guess={"type": "boolean", "default": False, "description": "try bins that are still possible when nothing follows"},
    noise={"type": "number", "minimum": 0, "maximum": 1, "default": 0.0, "description": "chance of a random action"},
)
@plain(("guess",))
@quick
def reasoner(rest: str, options: Mapping[str, Any], context: Any = None) -> Agent:
    """The direct planner of `einstein`; rest "guess" is the option."""
    if rest not in ("", "guess"):
        raise CrossplayError(f'reasoner: unknown "{rest}". Known: guess.')
    return Reasoner(rest == "guess" or bool(options.get("guess")), float(options.get("noise") or 0.0))
