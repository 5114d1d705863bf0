"""Discovery and teaming as library parts: cards of agents, groups that form and talk, threads.

Pure, without I/O and without the rest of the platform: states are immutable values, `step(state, message)`
gives the next one, and the messages alone give a run back.

registry: who is there and who fits. group: forming, discussion, votes, work and conclusion, nested.
threads: who may read what, and who waits.
"""

from __future__ import annotations

from crossplay.teams.forming.machine import digest, replay
from crossplay.teams.forming.registry import Card, Found, Registry, recall

__all__ = ["Card", "Found", "Registry", "digest", "recall", "replay"]
