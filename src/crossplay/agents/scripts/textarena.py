"""`offered`: a random player of text games that write their moves in brackets, as TextArena's do.

It takes one of the moves that the newest message with any offers it: a floor that knows how to write, where letters
drawn at random would only be invalid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crossplay.agents.context import Context, options, plain, quick
from crossplay.kernel import Agent, CrossplayError, Observation

__all__ = ["Offered", "offered"]

_MOVE = re.compile(r"\[([^\[\]\n]{1,60})\]")


class Offered(Agent):
    """A move in brackets, each of those offered as likely, drawn at the address (seat key, tick).

    Where a seat was offered nothing in brackets it answers `[]`, which is invalid in most games.
    """

    name = "offered"
    kind = "random"
    needs = ("text",)

    def act(self, obs: Observation) -> str:
        """One of the moves of the newest message that names any."""
        data = obs.view("data")
        mine = int(obs.seat[1:])
        for source, _, _, text in reversed(data["messages"]):
            found = sorted(set(_MOVE.findall(text))) if source != mine else []
            if found:
                return f"[{found[obs.pick(len(found))]}]"
        return "[]"

    def check(self, env: Any, seat: str) -> None:
        """Plays games of TextArena."""
        if not env.name.startswith("textarena:"):
            raise CrossplayError(f"offered: plays games of TextArena, not {env.id}")


@options()
@plain()
@quick
def offered(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """The random player of moves in brackets."""
    if rest:
        raise CrossplayError(f'agent "offered" takes nothing after its name, got "{rest}"')
    return Offered()
