"""What is stored per cell and per episode, and how an episode is named."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from crossplay.kernel.play import Outcome
from crossplay.kernel.seeds import Block, key, key64
from crossplay.kernel.types import CrossplayError

__all__ = ["Cell", "EpisodeRecord", "Place", "episode_id", "study_digest"]

Place = tuple[str, "int | str", int]
"""(cell, block, replicate): what a study plans and `RunFolder.done` answers."""


def study_digest(toml: str) -> str:
    """sha256 of a study as resolved, in hex."""
    return hashlib.sha256(toml.encode()).hexdigest()


def episode_id(
    study_digest: str, root: int, env_id: str, lineup: str, block: int | str, replicate: int, attempt: int = 0
) -> int:
    """The name of an episode: 64 bits of H(study digest, root, env id, lineup, block, replicate, attempt)."""
    return key64(key("episode", study_digest, root, env_id, lineup, block, replicate, attempt))


class Cell(msgspec.Struct, frozen=True):
    """One environment with one lineup. agents: seat -> what sits there; extra: anything JSON holds."""

    name: str
    env_id: str
    lineup: str
    agents: dict[str, str] = {}
    extra: dict[str, Any] = {}


class EpisodeRecord(msgspec.Struct):
    """One finished episode, as the manifest keeps it.

    id: u64 (`episode_id`). attempt: 0, 1, ... after void episodes. world, mind: digests of 32 bytes.
    wall_s: seconds, measured. extra: anything JSON holds (price, participant, paired, practice).
    events: rows of the trace when it is written; empty when it was read (`RunFolder.events`).
    source: which entry of `RunFolder.sources()` (code, machine, models) played it; set by the run.
    """

    id: int
    cell: str
    env_id: str
    lineup: str
    root: int
    block: int | str
    replicate: int
    attempt: int
    status: str
    score: dict[str, float]
    totals: Sequence[float]
    ticks: int
    world: bytes
    mind: bytes
    counts: dict[str, dict[str, int]]
    detail: str = ""
    wall_s: float = 0.0
    extra: dict[str, Any] = {}
    events: Iterable[Sequence[Any]] = ()
    agents: dict[str, str] = {}
    source: int = 0

    @classmethod
    def of(
        cls,
        outcome: Outcome,
        *,
        study: str,
        cell: str,
        env_id: str,
        lineup: str,
        at: Block,
        attempt: int = 0,
        agents: Mapping[str, str] | None = None,
        wall_s: float = 0.0,
        extra: Mapping[str, Any] | None = None,
    ) -> EpisodeRecord:
        """The record of an outcome. study: the digest of the study it belongs to."""
        return cls(
            episode_id(study, at.root, env_id, lineup, at.block, at.replicate, attempt),
            cell,
            env_id,
            lineup,
            at.root,
            at.block,
            at.replicate,
            attempt,
            outcome.status,
            outcome.score,
            outcome.totals,
            outcome.ticks,
            outcome.world,
            outcome.mind,
            outcome.counts,
            outcome.detail,
            wall_s,
            dict(extra or {}),
            outcome.events,
            dict(agents or {}),
        )

    @property
    def place(self) -> Place:
        """(cell, block, replicate)."""
        return self.cell, self.block, self.replicate

    def values(self) -> list[Any]:
        """The stored values of the manifest row, in the order of `manifest.SEALED` (seal and rows apart)."""
        for name in ("root", "block"):
            number = getattr(self, name)
            if isinstance(number, int) and not -(2**63) <= number < 2**63:
                raise CrossplayError(f"episode {self.id:016x}: {name} {number} does not fit 64 bits")
        return [
            f"{self.id:016x}",
            self.cell,
            self.env_id,
            self.lineup,
            self.root,
            self.block,
            self.replicate,
            self.attempt,
            self.status,
            self.detail,
            to_json(self.score),
            to_json(list(self.totals)),
            self.ticks,
            self.world.hex(),
            self.mind.hex(),
            to_json(self.counts),
            float(self.wall_s),
            to_json(self.extra),
            self.source,
        ]

    @classmethod
    def stored(cls, v: Sequence[Any]) -> EpisodeRecord:
        """The inverse of `values`. Raises ValueError where a value cannot be read."""
        try:
            if not all(isinstance(v[i], int) for i in (4, 6, 7, 12, 18)) or not isinstance(v[5], (int, str)):
                raise TypeError("a number is none")
            return cls(
                id=int(v[0], 16),
                cell=v[1],
                env_id=v[2],
                lineup=v[3],
                root=v[4],
                block=v[5],
                replicate=v[6],
                attempt=v[7],
                status=v[8],
                detail=v[9],
                score=numbers(_scores.decode(v[10])),
                totals=[math.nan if x is None else x for x in _totals.decode(v[11])],
                ticks=v[12],
                world=bytes.fromhex(v[13]),
                mind=bytes.fromhex(v[14]),
                counts=_counts.decode(v[15]),
                wall_s=float(v[16]),
                extra=_extra.decode(v[17]),
                source=v[18],
            )
        except (TypeError, msgspec.DecodeError, AttributeError, RecursionError) as error:
            raise ValueError(f"a manifest row cannot be read: {error}") from None


def to_json(value: Any) -> str:
    """Deterministic JSON; numbers that are not finite become null."""
    return _json.encode(value).decode()


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Floats of a JSON object; null is not a number."""
    return {k: math.nan if v is None else float(v) for k, v in values.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # numpy scalars
        return value.item()
    raise TypeError(f"cannot store {type(value).__name__} in the manifest")


_json = msgspec.json.Encoder(order="sorted", enc_hook=_plain)
_scores = msgspec.json.Decoder(dict[str, float | None])
_totals = msgspec.json.Decoder(list[float | None])
_counts = msgspec.json.Decoder(dict[str, dict[str, int]])
_extra = msgspec.json.Decoder(dict[str, Any])
