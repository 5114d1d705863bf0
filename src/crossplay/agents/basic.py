"""The floor of every comparison: random, no-op and first-legal agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossplay.agents.context import Context, options, plain, quick
from crossplay.kernel import Agent, CrossplayError, Observation

__all__ = ["FirstLegal", "Noop", "Random", "first_legal", "noop", "random"]


class Random(Agent):
    """A legal value drawn uniformly at the address (seat key, tick)."""

    name = "random"
    kind = "random"

    def act(self, obs: Observation) -> Any:
        """Uniform over legal names, over the box, or over the schema."""
        return obs.spec.draw(obs.key(), obs.tick, obs.legal)


class Noop(Agent):
    """Does nothing: the environment's declared no-op."""

    name = "noop"

    def act(self, obs: Observation) -> Any:
        """The no-op of the action specification."""
        return obs.spec.noop

    def check(self, env: Any, seat: str) -> None:
        """Refuse seats whose action specification has no no-op."""
        if env.spec(seat).noop is None:
            raise CrossplayError(f"{env.id}: seat {seat} has no action that does nothing, so noop cannot play it")


class FirstLegal(Agent):
    """The first legal name, in the order of the action specification."""

    name = "first-legal"
    needs = ("names",)

    def act(self, obs: Observation) -> Any:
        """The lowest legal index."""
        return 0 if obs.legal is None else next(i for i, ok in enumerate(obs.legal) if ok)


def _simple(make: type[Agent]) -> Any:
    @options()
    @plain()
    @quick
    def factory(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
        if rest:
            raise CrossplayError(f'agent "{make.name}" takes nothing after its name, got "{rest}"')
        return make()

    factory.__doc__ = make.__doc__
    return factory


random = _simple(Random)
noop = _simple(Noop)
first_legal = _simple(FirstLegal)
