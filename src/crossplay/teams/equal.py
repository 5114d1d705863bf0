"""The equal-cost control: the best single member, asked as often as the team's spend allows.

Every team result stands beside it (self-consistency at equal tokens, and at equal cost). Who is the
best member is read from episodes on a dev split; how many samples fit is read from what the team
really spent. Both are known only when those episodes have been played, so the control plays last.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import msgspec

from crossplay.agents.context import Context, options, plain
from crossplay.kernel import Agent, CrossplayError, Observation
from crossplay.kernel.types import Stop
from crossplay.teams.protocols.vote import Vote
from crossplay.teams.team import Team, make_team

__all__ = ["Equal", "Fit", "equal"]


class Fit(msgspec.Struct, frozen=True):
    """What was measured: the member to ask, how often, and from which figures that follows.

    team, single: spend per decision, of the team and of one sample, in `unit` ("tokens", "USD", "CPU s"
    or "answers" where nothing else is spent). dev: member -> mean score on the dev split.
    """

    member: str
    samples: int
    unit: str
    team: float
    single: float
    dev: dict[str, float] = {}


class Equal(Agent):
    """Self-consistency of the best single member at the team's own spend; resolved at its first decision."""

    kind = "team"
    after = True  # plays when the episodes it is measured on have been played

    def __init__(self, of: Team, by: str, context: Context, name: str = "equal") -> None:
        self.of, self.by, self.name = of, by, name
        self.views, self.deterministic, self.replays = of.views, of.deterministic, of.replays
        self._context = context
        self._made: Team | None = None
        self._fit = Fit("", 0, "", 0.0, 0.0)

    def manifest(self) -> dict[str, Any]:
        """Of which team, and at equal what; models of its members."""
        whole = self.of.manifest()
        return {
            "kind": self.kind,
            "name": self.name,
            "equal": self.by,
            "of": self.of.name,
            "members": whole["members"],
            "models": whole["models"],
            "protocol": {"name": "vote"},
        }

    def check(self, env: Any, seat: str) -> None:
        """What the team can play, its members can."""
        self.of.check(env, seat)

    def size(self, obs: Observation) -> tuple[int, int, int]:
        """At most what the team takes."""
        return self.of.size(obs)

    def team(self) -> Team:
        """The control as it is played."""
        if self._made is None:
            if self._context.fit is None:
                raise CrossplayError(f"{self.name}: an equal-cost control plays in a study, after its team")
            try:
                fit: Fit = self._context.fit(self.of.name, self.by)
            except Stop:
                raise
            except CrossplayError as error:  # not a fault of an answer: nothing may be served for it
                raise Stop(f"{self.name}: {error}") from error
            member = self.of.members[self.of.names.index(fit.member)]
            self._made = make_team([member], Vote(samples=fit.samples), name=self.name)
            self._fit = fit
        return self._made

    async def begin(self, obs: Observation) -> Any:
        """As its member begins."""
        begun = self.team().begin(obs)
        return await begun if inspect.isawaitable(begun) else begun

    async def act(self, obs: Observation) -> Any:
        """One decision."""
        answer = self.team().act(obs)
        obs.count(f"samples:{self._fit.member}", self._fit.samples)
        obs.note("note", {"equal": self.by, **msgspec.structs.asdict(self._fit)})
        return await answer if inspect.isawaitable(answer) else answer


@options(
    of={"holds": "agent", "type": "string", "description": "the team, an agent of the study"},
    by={"type": "string", "enum": ["tokens", "cost"], "default": "tokens", "description": "what is equal"},
)
@plain("agent")
def equal(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """The control of a team; rest: its name, where it is not an option."""
    name = rest or options["of"]
    if not name:
        raise CrossplayError('equal: name its team, e.g. of = "debate"')
    team = context.agent(name)
    if not isinstance(team, Team):
        raise CrossplayError(f'equal: "{name}" is a {team.kind}, not a team')
    return Equal(team, options["by"], context)
