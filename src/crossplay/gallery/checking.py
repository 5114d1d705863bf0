"""Tier 0: the check of a mechanism, and whether it can fail."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from crossplay.gallery.entry import Entry, Finding

__all__ = ["Checked", "check_entry", "unbroken"]


class Checked(msgspec.Struct):
    """The findings of an entry. off: name of a mechanism -> its findings when it is switched off."""

    entry: str
    findings: list[Finding]
    off: dict[str, list[Finding]]
    faults: list[str]
    seconds: float
    kind: str = "mechanism"

    @property
    def ok(self) -> bool:
        """Whether every finding holds, and those that a switched-off mechanism must break do break."""
        return all(f.holds for f in self.findings) and not self.faults


def check_entry(entry: Entry, switched: bool = True) -> Checked:
    """Run the check; switched: again with each mechanism off, by the entry's public settings alone."""
    began = time.perf_counter()
    findings = entry.check(entry.settings())
    off: dict[str, list[Finding]] = {}
    faults = [f"the name {n} stands twice" for n in _twice([f.name for f in findings])]
    if not any(f.null for f in findings):
        faults.append("no finding is a null, where the effect must vanish")
    if switched:
        for mechanism in entry.mechanisms:
            found = off[mechanism.name] = entry.check(entry.configured(mechanism.off))
            faults += unbroken(mechanism.name, mechanism.breaks, findings, found)
    return Checked(entry.name, findings, off, faults, time.perf_counter() - began)


def unbroken(name: str, breaks: Sequence[str], on: Sequence[Finding], off: Sequence[Finding]) -> list[str]:
    """Which findings should fail with a mechanism off, and do not."""
    there = {f.name for f in on}
    held = {f.name for f in off if f.holds}
    found = [f'"{name}" off: there is no finding "{b}"' for b in breaks if b not in there]
    return found + [f'"{name}" off: "{b}" still holds, so the check cannot fail' for b in breaks if b in held]


def _twice(found: Sequence[str]) -> list[str]:
    return sorted({n for n in found if found.count(n) > 1})
