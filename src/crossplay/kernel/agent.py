"""`Agent`: an immutable decision-maker that fills a seat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from crossplay.kernel.obs import Observation
    from crossplay.kernel.types import Action, Fault

__all__ = ["Agent"]


class Agent:
    """Weights, a prompt, a model handle: nothing that changes while it plays.

    What an agent remembers within a seat of an episode goes through the engine: it reads
    `obs.memo` and returns `Action(memo=...)`. That is what makes batches, retries, handoffs and
    snapshots of it safe.

    Optional methods, found once per agent, the most efficient first:
      act_array(obs, legal, keys, tick, memo) -> (values int64[k], memo)   columns, see `play_batch`;
                                    where there is `seated(env, seat)`, what it gives is asked instead
      act_batch(list[Observation]) -> list[Action | Fault | value]
      act(obs)                      plain or `async def`
    begin(obs) may return the first memo; end(obs) is told that the episode is over.
    `latest(obs) -> Action | None` serves seats at `tick` pace (people); None means: nothing yet.
    """

    name: str = "agent"
    views: tuple[str, ...] = ("data",)  # what it can read, best first
    deterministic: bool = True  # equal observations, keys and memos give equal answers
    replays: bool = False  # what it asks outside is in the cassette: it can be asked again after the run
    overlap: bool = False  # may be asked again while an answer is outstanding
    kind: str = "script"  # script, policy, llm, vlm, human, team, remote, random, ...
    needs: tuple[str, ...] = ()  # action kinds it can answer; () is all
    facets: Mapping[str, Any] = {}  # what is declared of its structure; the rest is computed (agents.facets)

    def act(self, obs: Observation) -> Action | Fault | Any:
        """The answer for one request."""
        raise NotImplementedError

    def begin(self, obs: Observation) -> Any:
        """Called before the first request of a seat; may return the first memo.

        Called again when an episode is resumed: `obs.memo` is then what was remembered, and work
        that has been done once (a paid call) should not be done again.
        """
        return None

    def end(self, obs: Observation) -> None:
        """Called when the episode is over."""

    def manifest(self) -> dict[str, Any]:
        """What identifies this agent in a run: kind, options, digests of weights and prompts."""
        return {"kind": self.kind, "name": self.name}

    def check(self, env: Any, seat: str) -> None:
        """Raise `CrossplayError` when this agent cannot play that seat (asked at plan time)."""

    # act_array signature, for reference:
    #   obs: float or int array [k, *shape] (k = rows times seats of this agent), legal: bool[k, n] | None,
    #   keys: uint64[k] (first 64 bits of each seat key), tick: int64[k], memo: array [k, m] | None


def array_capable(agent: Agent) -> bool:
    """Whether the agent answers columns."""
    return hasattr(agent, "act_array")


ColumnAnswer = "tuple[np.ndarray, np.ndarray | None]"
