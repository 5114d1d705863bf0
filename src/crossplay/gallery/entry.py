"""What an entry of the gallery is: a system, what is checked of it, and how its claim is tried.

Three tiers, never mixed. Tier 0 checks that the mechanism is implemented right, with scripted or
synthetic agents, against an independent reference; it is called `mechanism` and says nothing about
language models. Tier 1 tries the claim with small local models, tier 2 with any endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from crossplay import CrossplayError

__all__ = ["Claim", "Entry", "Figure", "Finding", "Level", "Mechanism", "Trial"]

Mark = Literal["A", "S", "P"]


class Figure(msgspec.Struct, frozen=True):
    """A figure that the publication prints. mark: A abstract, S its published source, P a public page."""

    text: str
    mark: Mark


class Finding(msgspec.Struct, frozen=True):
    """One statement that was checked.

    name: short, unique in the entry. says: the statement in words. value: what was measured, with its
    interval where it has one; no number (nan) is read back from JSON as None. bound: what it had to be. reference: what it was compared with. null:
    whether this is the case where the effect must vanish. n: units behind the value.
    """

    name: str
    says: str
    holds: bool
    value: float | None
    bound: str
    reference: str
    low: float | None = None
    high: float | None = None
    null: bool = False
    n: int = 0

    def __post_init__(self) -> None:
        """Plain numbers, whatever library computed them: findings are printed as JSON."""
        for name, kind in (("holds", bool), ("value", float), ("low", float), ("high", float), ("n", int)):
            given = getattr(self, name)
            if given is not None:
                msgspec.structs.force_setattr(self, name, kind(given))


class Mechanism(msgspec.Struct, frozen=True):
    """A part that matters: with these public settings it is off, and these findings then fail."""

    name: str
    off: dict[str, Any]
    breaks: tuple[str, ...]


class Claim(msgspec.Struct, frozen=True):
    """What the publication claims, in our words, and which tiers speak of it here."""

    text: str
    tiers: tuple[int, ...] = ()


class Level(msgspec.Struct, frozen=True):
    """How hard the task is made; hardest first. about: what is easier than at the level before."""

    name: str
    about: str
    options: dict[str, Any] = {}


class Trial(msgspec.Struct, frozen=True):
    """How the claim is tried with real models (tiers 1 and 2).

    levels: tried in order until the single-agent control is measurable. control(models, level, n):
    the study (plain data) of the control; single: its lineup, floor and ceiling are found by role.
    study(models, level, n): the study of the claim. judge(result, folder): the findings. models: what
    it was made for (local names). contrast: the two lineups whose paired difference is the claim.
    n: blocks. effect: what the smallest interesting effect is, in points of the metric.
    """

    levels: tuple[Level, ...]
    control: Callable[[Sequence[str], Level, int], dict[str, Any]]
    single: str
    study: Callable[[Sequence[str], Level, int], dict[str, Any]]
    judge: Callable[[Any, Any], list[Finding]]
    models: tuple[str, ...]
    n: int = 100
    n_control: int = 60
    effect: float = 0.1


class Entry(msgspec.Struct, frozen=True):
    """One published system.

    settings: the Struct of its public settings, whose defaults are the experiment. check(settings) ->
    findings (tier 0). mechanisms: what must break them. source: title, arXiv number and licence.
    """

    name: str
    title: str
    source: str
    about: str
    claims: tuple[Claim, ...]
    figures: tuple[Figure, ...]
    settings: type[msgspec.Struct]
    check: Callable[[Any], list[Finding]]
    mechanisms: tuple[Mechanism, ...]
    trial: Trial | None = None
    missing: str = ""  # what of the system is not here, and why

    def __post_init__(self) -> None:
        known = {f.name for f in msgspec.structs.fields(self.settings)}
        for mechanism in self.mechanisms:
            unknown = mechanism.off.keys() - known
            if unknown or not mechanism.off or not mechanism.breaks:
                raise CrossplayError(
                    f"{self.name}: mechanism {mechanism.name}: {unknown or 'no settings or no findings'}"
                )

    def configured(self, changes: Mapping[str, Any]) -> Any:
        """The settings with some changed."""
        return msgspec.convert({**msgspec.to_builtins(self.settings()), **changes}, self.settings)
