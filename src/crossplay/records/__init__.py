"""Floor 1, the records: run folder, manifest, trace, cassette store, seals.

What is written here survives a SIGKILL the moment it is reported, is found when a byte of it
changes, and is read by Polars, DuckDB and pandas as it is. Nothing here knows models, agents or
studies: it stores outcomes and bytes. Nothing a run names is ever executed from here.
"""

from crossplay.records.check import Damage, check_seals
from crossplay.records.entry import Cell, EpisodeRecord, episode_id, study_digest
from crossplay.records.errors import Damaged, RunError
from crossplay.records.merge import Merged, merge
from crossplay.records.run import RunFolder

__all__ = [
    "Cell",
    "Damage",
    "Damaged",
    "EpisodeRecord",
    "Merged",
    "RunError",
    "RunFolder",
    "check_seals",
    "episode_id",
    "merge",
    "study_digest",
]
