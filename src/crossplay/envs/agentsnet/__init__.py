"""AgentsNet: people in a network who may talk to their neighbours only solve one task together.

After Groetschla et al. 2025, "AgentsNet: Coordination and Collaborative Reasoning in Multi-Agent
LLMs" (arXiv 2507.08616). Here live the graphs (`graphs`), the scores and their floors (`scores`),
the seat names (`people`), the environment (`world`) and the family object. Here may not live:
agents, and anything that needs more than numpy and msgspec to import.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.envs.agentsnet.world import TASKS, Network, schema
from crossplay.kernel.env import Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["TASKS", "Network", "family"]


class _Family:
    """`agentsnet/TASK`: the five tasks."""

    summary = "people in a network who hear only their neighbours agree, elect, colour, pair up or cover it"
    expert = "node"  # the type of its scripted agent, the ceiling that studies show

    def names(self) -> Sequence[str]:
        """The five tasks."""
        return tuple(TASKS)

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A network with that task."""
        return Network(_known(rest), options)

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """There is no array form: what is said cannot be scored as columns."""

    def schema(self, rest: str) -> dict[str, Any]:
        """Options of a task."""
        return schema(_known(rest))


def _known(task: str) -> str:
    if task not in TASKS:
        raise CrossplayError(f'agentsnet: unknown task "{task}".{nearest(task, TASKS)}')
    return task


family = _Family()
