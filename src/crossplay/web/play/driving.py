"""`Driven`: one episode of a room on the engine's driver, and who sits where in it, from which tick on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from crossplay.kernel import Agent, Env, Episode, Lineup, Outcome, aio, play
from crossplay.study.stage import Stage
from crossplay.web.play.record import SEATED, Play, Shelved
from crossplay.web.play.seats import Seat

__all__ = ["Driven"]

CLEARING_S = 5.0
"""That an episode which is cut off has to let go of what it holds."""


class Driven:
    """One episode. agent: gives the agent of a name. on_tick: called when the requests of a tick are open.

    episode: as the engine plays it. resumed: how often it was gone on with from a snapshot after it was cut off.
    """

    def __init__(
        self,
        stage: Stage,
        this: Play,
        seats: Mapping[str, Seat],
        agent: Callable[[str], Agent],
        on_tick: Callable[[Episode], None],
    ) -> None:
        self.stage, self.this, self.seats, self._agent, self._on_tick = stage, this, seats, agent, on_tick
        self.episode: Episode | None = None
        self.resumed = 0
        self._wanted: dict[str, Agent] = {}  # who sits there, or will from the next tick on
        self._again: bytes | None = None  # a snapshot of this very tick, to be asked anew
        self._task: asyncio.Task[Outcome] | None = None

    # -- playing -------------------------------------------------------------------------------------------
    async def play(self, env: Env, shelved: Shelved | None) -> Outcome:
        """Until it is over. Whoever the lineup names sits first, or whoever sat when it was cut off; then who is due."""
        lineup, conduct = self.stage.lineup(self.this.cell), self.stage.conduct(self.this.cell)
        sit, resume = self._lineup(), None
        if shelved is not None:
            sit, resume, self.resumed = self._sat(shelved, sit), shelved.snapshot, shelved.resumed + 1
        self._wanted = dict(sit)
        while True:
            seated = Lineup(sit, lineup.shared_memory, lineup.name)
            episode = play(env, seated, self.this.at, conduct, resume=resume)
            self._wanted = {name: self._due(seat) for name, seat in self.seats.items()}
            for name, agent in self._wanted.items():
                if agent is not sit[name]:
                    episode.seat(name, agent)
            self.episode = episode
            self._task = asyncio.get_running_loop().create_task(aio(episode, self._on_tick))
            try:
                await asyncio.wait({self._task})
            except asyncio.CancelledError:
                self._task.cancel()
                await asyncio.wait({self._task}, timeout=CLEARING_S)
                raise
            if not self._task.cancelled():
                return self._task.result()
            if self._again is None:
                raise asyncio.CancelledError
            resume, self._again = self._again, None
            sit = dict(zip(self.seats, episode.agents, strict=True))
            episode.requests.close()

    def _lineup(self) -> dict[str, Agent]:
        """As the study says."""
        found: dict[str, Agent] = {}
        for (name, seat), agent in zip(self.seats.items(), self.this.cell.seats, strict=True):
            person = self.stage.study.agents[agent].type in SEATED
            found[name] = seat.player if person else self._agent(agent)
        return found

    def _sat(self, shelved: Shelved, lineup: dict[str, Agent]) -> dict[str, Agent]:
        """As it was when the snapshot was made."""
        people = {n: s.player for n, s in self.seats.items()}
        if not shelved.sat:  # of an older format
            return {n: people[n] if n in shelved.taken else a for n, a in lineup.items()}
        return {n: self._agent(shelved.sat[n]) if shelved.sat[n] else people[n] for n in self.seats}

    def _due(self, seat: Seat) -> Agent:
        """Who is to play: the person, or the agent of the seat while nobody has come to take it."""
        if seat.person or seat.comes or (seat.taken and self._wanted[seat.name] is seat.player):
            return seat.player
        return self._agent(seat.agent)

    # -- who sits where ------------------------------------------------------------------------------------
    def sits(self, seat: Seat) -> bool:
        """Whether a person is the engine's agent in this seat now."""
        return self.episode is not None and self.episode.agents[self.episode.index[seat.name]] is seat.player

    def hand(self, seat: Seat) -> None:
        """Let whoever is due (after a change) play from the next tick on."""
        if self.episode is None:
            return
        self._wanted[seat.name] = agent = self._due(seat)
        self.episode.seat(seat.name, agent)

    def waits_for(self, seat: Seat) -> bool:
        """Whether the clock waits for the person of a seat at this very tick, for as long as it takes."""
        waits = self.episode is not None and bool(self.episode.open) and seat.pace == "wait"
        return waits and seat.turn is not None and not seat.has_answered and self.sits(seat)

    def ask_again(self) -> Callable[[], None]:
        """What lets this tick be asked anew, of whoever is due then. Raises `CrossplayError` where the episode cannot be kept."""
        assert self.episode is not None
        snapshot = self.episode.snapshot()

        def again() -> None:
            if self._task is not None:
                self._again = snapshot
                self._task.cancel()

        return again

    # -- keeping -------------------------------------------------------------------------------------------
    def shelved(self, number: int) -> Shelved | None:
        """The episode as it stands at this tick, to go on from; None where no tick is open."""
        episode = self.episode
        if episode is None or not episode.open:
            return None
        sat = {n: "" if self.sits(s) else episode.agents[episode.index[n]].name for n, s in self.seats.items()}
        cell, at, attempt = self.this.cell.key, self.this.at, self.this.attempt
        return Shelved(
            cell, at.root, at.block, at.replicate, attempt, number, episode.tick, episode.snapshot(),
            sat=sat, resumed=self.resumed,
        )  # fmt: skip

    def handed(self, outcome: Outcome) -> dict[str, list[list[Any]]]:
        """Seat -> [tick, who plays from then on] of each handover, as the trace has them; seats that were not handed over are left out."""
        found: dict[str, list[list[Any]]] = {}
        if any("handoffs" in counts for counts in outcome.counts.values()):
            names = list(self.seats)
            for e in outcome.trace():
                if e.kind == "seat" and e.origin == "handoff":
                    found.setdefault(names[e.seat], []).append([e.tick, e.agent])
        return found
