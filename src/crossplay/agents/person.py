"""`person`: a seat that a person takes at the page (`crossplay serve`).

This agent says what sits there; who asks the person is the page, which puts an agent of its own into the seat.
Where there is no page, nobody answers, and the run says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossplay.agents.context import Context, options, plain
from crossplay.kernel import Action, Agent, CrossplayError, Fault, Observation, Stop

__all__ = ["Person", "person"]


class Person(Agent):
    """Holds the seat of a person in studies, plans and verifications."""

    kind = "human"
    views = ("image", "text", "data")
    deterministic = False

    def __init__(self, name: str = "person") -> None:
        self.name = name

    def manifest(self) -> dict[str, Any]:
        """What a run keeps: that it was a person, at the page. Nothing about who."""
        return {"kind": self.kind, "name": self.name, "views": list(self.views), "front": {"type": "page"}}

    def check(self, env: Any, seat: str) -> None:
        """Refuse environments that show a person nothing."""
        if "text" not in env.views and "image" not in env.views:
            raise CrossplayError(f"{env.id}: neither a picture nor a text view, so a person cannot play it")

    async def act(self, obs: Observation) -> Action | Fault:
        """Nobody is here."""
        raise Stop(f"{self.name}, seat {obs.seat}: a person plays this at the page; start it with: crossplay serve")


@options()
@plain("words")
def person(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """A person at the page; rest: the name that the run shows."""
    return Person(f"person:{rest}" if rest else "person")
