"""The conformance kit: `check(name)` tries what every environment must keep, and reports by name.

`case` holds the environment under test and its plays; `chance`, `views`, `moves`, `arrays` and
`engine` hold the checks, one small function each. Anybody's environment can be checked: give the
registered name, or a function that makes it. No rules of any game live here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from crossplay.envs.check import arrays, chance, engine, moves, views
from crossplay.envs.check.case import Case, Failed, Skipped
from crossplay.kernel.batch import BatchEnv
from crossplay.kernel.env import Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["CHECKS", "Finding", "Report", "check"]

CHECKS: dict[str, Callable[[Case], str]] = {
    "identity": moves.identity,
    "determinism": chance.determinism,
    "resets": chance.resets,
    "interleaving": chance.interleaving,
    "streams": chance.streams,
    "snapshots": chance.snapshots,
    "fingerprint": chance.fingerprint,
    "data": views.data,
    "equal-views": views.equal_views,
    "view-shapes": views.shapes,
    "omits": views.omitted,
    "spaces": moves.spaces,
    "illegal-actions": moves.illegal,
    "masks": moves.masks,
    "turns": moves.turns,
    "rewards": moves.rewards,
    "scores": moves.scores,
    "ends": moves.ends,
    "horizon-option": moves.horizon,
    "mail": chance.mail,
    "skills": views.skills,
    "spectators": views.spectators,
    "batch-form": arrays.form,
    "batch-widths": arrays.widths,
    "batch-single": arrays.single_face,
    "batch-arrays": arrays.array_views,
    "batch-reset": arrays.start_again,
    "played": engine.played,
    "processes": engine.processes,
}
"""Every check, by name: a function from a `Case` to what was seen; it raises `Failed` or `Skipped`."""

_PAIRED = {
    "events": "events (chance is addressed: common to all lineups also after their first different action)",
    "start": "start (chance is drawn in sequence: common to all lineups only up to their first different action)",
}


class Finding(msgspec.Struct, frozen=True):
    """What one check found. skipped: why it does not apply ("" when it was tried)."""

    name: str
    passed: bool
    detail: str = ""
    skipped: str = ""


class Report(msgspec.Struct, frozen=True):
    """All findings on one environment; true when nothing failed. omits: view -> what it leaves out."""

    env: str
    paired: str
    findings: tuple[Finding, ...]
    omits: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether no check failed (skipped ones do not count)."""
        return all(f.passed for f in self.findings)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings that failed."""
        return tuple(f for f in self.findings if not f.passed)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for --json."""
        return {**msgspec.to_builtins(self), "passed": self.passed}

    def text(self) -> str:
        """A table for the terminal, what the views leave out, and what to do next."""
        wide = max(len(f.name) for f in self.findings)
        lines = [f"{self.env}   pairing: {_PAIRED[self.paired]}", ""]
        for f in self.findings:
            mark = "skip" if f.skipped else "ok  " if f.passed else "FAIL"
            lines.append(f"{mark}  {f.name:<{wide}}  {f.skipped or f.detail}".rstrip())
        lines.append("")
        for view, left in self.omits.items():
            lines += textwrap.wrap(f"{view} leaves out: {left or 'nothing'}", 110, subsequent_indent="  ")
        skipped, failed = sum(bool(f.skipped) for f in self.findings), len(self.failures)
        counted = f"{len(self.findings) - skipped - failed} passed, {failed} failed, {skipped} skipped."
        first = self.failures[0].name if failed else ""
        hint = f' Next: repair "{first}" and run it alone with only = ["{first}"].' if failed else ""
        return "\n".join([*lines, "", counted + hint])


def check(
    subject: str | Callable[[], Env],
    batch: Callable[[int], BatchEnv | None] | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    blocks: int = 3,
    ticks: int = 60,
    only: Sequence[str] | None = None,
    chance: bool | None = None,
    processes: bool = True,
) -> Report:
    """The conformance of an environment.

    subject: a registered name ("kitchen/cramped_room"), or a function that makes a new instance;
    batch: a function from a width to a `BatchEnv`, where there is one (found by itself for a name).
    blocks, ticks: how many episodes are played, and how far. only: names of `CHECKS`.
    chance: True when different keys must give different episodes. processes: also play in other
    processes (seconds). A check that raises anything else has failed.
    """
    for name in only or ():
        if name not in CHECKS:
            raise CrossplayError(f'unknown check "{name}".{nearest(name, CHECKS)}')
    case = Case(subject, batch, options or {}, blocks, ticks, chance, processes)
    findings = tuple(_tried(name, run, case) for name, run in CHECKS.items() if only is None or name in only)
    return Report(case.id, case.env.paired, findings, {v: str(case.env.omits(v)) for v in case.env.views})


def _tried(name: str, run: Callable[[Case], str], case: Case) -> Finding:
    try:
        return Finding(name, True, run(case))
    except Skipped as reason:
        return Finding(name, True, skipped=str(reason))
    except Failed as reason:
        return Finding(name, False, str(reason))
    except Exception as error:  # whatever a foreign environment does
        return Finding(name, False, f"{type(error).__name__}: {error}")
