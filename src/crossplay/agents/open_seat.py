"""`OpenSeat`: a seat that is filled from outside, through a mailbox that any front can serve.

The party (a person at a page, a client of MCP or A2A, another program) sees what the seat may know and
answers. What it sends is checked by the seat's action specification before it counts; silence is a timeout
of the clock, a party that has gone a void, and nobody ever answers in its place but the conduct.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from crossplay.agents.open_mailbox import Mailbox, Place
from crossplay.agents.open_turn import Turn, game_of, turn_of
from crossplay.kernel import Action, Agent, Block, CrossplayError, Fault, Observation, Stale, nearest

__all__ = ["VIEWS", "OpenSeat"]

VIEWS = ("data", "text", "image")
"""The views that can be handed out."""


class OpenSeat(Agent):
    """An agent whose answers come from an outside party through `mailbox`.

    kind: "remote", or "human" where a person sits there. shown: the views the party is given, of those that an
    environment has. One party plays one seat at a time; episodes queue for it.
    """

    deterministic = False

    def __init__(
        self,
        name: str = "open",
        mailbox: Mailbox | None = None,
        *,
        kind: str = "remote",
        views: Sequence[str] = ("text", "data"),
        front: dict[str, Any] | None = None,
    ) -> None:
        """front: what a run keeps of how the party is served."""
        if kind not in ("remote", "human"):
            raise CrossplayError(f'open: kind = "{kind}".{nearest(kind, ("remote", "human"))}')
        for view in views:
            if view not in VIEWS:
                raise CrossplayError(f'open: no view "{view}" can be handed out.{nearest(view, VIEWS)}')
        if not views:
            raise CrossplayError(f"open: views is empty; name some of {', '.join(VIEWS)}")
        self.name, self.kind = name, kind
        self.views = tuple(dict.fromkeys(views))
        self.mailbox = mailbox or Mailbox(name)
        self.front = dict(front or {})
        self.talks = False  # whether any seat that it was checked for can be heard
        self.specs: list[Any] = []  # the forms of answer of those seats; None where skills may take their place

    def manifest(self) -> dict[str, Any]:
        """Kind, views, how it is served, and its limits."""
        box = self.mailbox
        limits = {"grace_s": box.grace, "wait_s": box.wait_s, "turn_s": box.turn_s}
        limits |= {"refusals": box.refusals, "at_once": box.at_once}
        shown = {"view": next(v for v in VIEWS if v in self.views), "views": list(self.views)}
        return {"kind": self.kind, "name": self.name, **shown, "front": self.front, **limits}

    def check(self, env: Any, seat: str) -> None:
        """Learn what seats it may be asked for: fronts describe their answers."""
        spec = env.spec(seat) if env.skills is None else None
        if spec not in self.specs:
            self.specs.append(spec)
        with contextlib.suppress(Exception):  # of an environment that wants to be started otherwise nothing is learnt
            env.start(Block())
            self.talks = self.talks or bool(env.audience(seat))

    def line_up(self, obs: Observation) -> None:
        """Queue for the party, where more has to be awaited before `begin`."""
        self.mailbox.line_up(obs._scope.env)

    async def begin(self, obs: Observation) -> None:
        """Wait until the party is free for the episode and there: no clock runs yet."""
        await self._place(obs)

    async def act(self, obs: Observation) -> Action | Fault:
        """One answer of the party."""
        box = self.mailbox
        place = await self._place(obs)
        if obs.tick > place.tick:  # members of teams are asked more than once a tick
            place.tick, place.total = obs.tick, place.total + obs.reward
        views = tuple(v for v in self.views if v in obs.views)

        def make(number: int, at: Place) -> Turn:
            return turn_of(obs, number, at.episode, at.total, views)

        turn = box.publish(place, make)
        try:
            return await box.settled(turn)
        finally:
            box.withdraw(turn)
            with contextlib.suppress(Stale):  # asked for too long by a driver that had gone on
                self._account(obs, turn, place)

    def _account(self, obs: Observation, turn: Turn, place: Place) -> None:
        """Note who plays, and count what was refused or came too late."""
        if turn.refused:
            obs.count("refused", turn.refused)
        if place.late:
            obs.count("late", place.late)
            place.late = 0
        if self.mailbox.party and self.mailbox.party != place.party:
            place.party = dict(self.mailbox.party)
            obs.note("note", {"party": place.party})

    def end(self, obs: Observation) -> None:
        """The party is told how the episode ended, and is free for the next."""
        self.mailbox.leave_place(obs._scope.env, obs.seat, str(obs.status or ""), float(obs.reward))

    async def _place(self, obs: Observation) -> Place:
        self.mailbox.name = self.name  # what a study calls it
        # The environment instance is the one thing that all requests of an episode share and no other has.
        return await self.mailbox.enter(obs._scope.env, obs.seat, game_of(obs.env_id), obs.rules)
