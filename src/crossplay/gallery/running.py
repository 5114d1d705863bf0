"""Tiers 1 and 2: a claim tried with real models. Control, floor and ceiling come first.

A control within 10 points of floor or ceiling says nothing about the claim: then the verdict is
`not measurable with this model`, and the next, easier level is tried.
"""

from __future__ import annotations

import datetime
import math
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

import crossplay
from crossplay import CrossplayError
from crossplay.gallery.entry import Entry, Finding, Level

__all__ = ["UNMEASURABLE", "Step", "Tried", "run_trial"]

UNMEASURABLE = "not measurable with this model"
NEAR = 0.10
"""A control that is nearer than this to floor or ceiling leaves no room for an effect."""


class Step(msgspec.Struct):
    """One level. single, floor, ceiling: (value, low, high) of the control. mde: smallest effect that n
    blocks find with power .8, from the control's spread (two independent answers). spoiled: lineups with more
    served decisions than the study allows (`fault_limit`), with their share: what is said of those measures their
    form as much as their answers.
    """

    level: str
    about: str
    single: tuple[float, float, float]
    floor: tuple[float, float, float]
    ceiling: tuple[float, float, float]
    measurable: bool
    mde: float | None = None
    verdict: str = ""
    findings: list[Finding] = []
    spoiled: dict[str, float] = {}


class Tried(msgspec.Struct):
    """A trial: what was tried, with which models, where and when, and what came out."""

    entry: str
    tier: int
    models: list[str]
    identities: dict[str, Any]
    n: int
    date: str
    command: str
    cpu: str
    steps: list[Step]
    verdict: str
    version: str = crossplay.__version__


def run_trial(
    entry: Entry,
    out: Path,
    *,
    models: Sequence[str] = (),
    tier: int = 1,
    n: int | None = None,
    answers: Path | None = None,
    say: Callable[[str], None] = print,
) -> Tried:
    """Try the claim; out: a folder for its runs, verdict.json in it.

    models: names or addresses; default: those the trial was made for. n: blocks, fixed before
    anything is seen. answers: an exported cassette: nothing is sent, so it must hold all calls.
    """
    trial = entry.trial
    if trial is None:
        raise CrossplayError(f"{entry.name}: it has no trial with models; its check is: crossplay gallery check")
    chosen = list(models or trial.models)
    n = n or trial.n
    calls = None
    if answers is not None:
        from crossplay.study.calls import Calls

        calls = Calls("strict", answers)
    steps: list[Step] = []
    identities: dict[str, Any] = {}
    for level in trial.levels:
        plan = trial.control(chosen, level, trial.n_control)
        result = crossplay.run(plan, out / f"{level.name}-control", calls=calls)
        identities |= _identities(out / f"{level.name}-control")
        step = _control(result, trial.single, level)
        steps.append(step)
        say(_line(step))
        if not step.measurable:
            step.verdict = UNMEASURABLE
            say(f"  {UNMEASURABLE}: the control is within {NEAR:.0%} of floor or ceiling")
            continue
        step.mde = _mde(step.single[0], n)
        say(f"  {n} blocks find a difference of {step.mde:.3f} with power .8 (asked: {trial.effect:g})")
        result = crossplay.run(trial.study(chosen, level, n), out / level.name, calls=calls)
        identities |= _identities(out / level.name)
        step.findings = trial.judge(result, out / level.name)
        held = sum(f.holds for f in step.findings)
        step.spoiled = {r.lineup: r.costs.fallback_share for r in result.rows if r.costs.flagged}
        step.verdict = f"{held} of {len(step.findings)} statements hold"
        if step.spoiled:
            worst = max(step.spoiled, key=lambda lineup: step.spoiled[lineup])
            step.verdict += f"; in {len(step.spoiled)} lineup{'s' * (len(step.spoiled) > 1)} too many answers could not be used, in {worst} {step.spoiled[worst]:.0%}"
        for f in step.findings:
            say(f"  {'holds' if f.holds else 'does not hold'}: {f.says} ({_shown(f)}; {f.bound})")
        for lineup, share in step.spoiled.items():
            say(f"  {lineup}: {share:.0%} of the decisions were not its own (no usable answer)")
        break
    command = f"crossplay gallery run {entry.name} --tier {tier}" + "".join(f" --model {m}" for m in models)
    tried = Tried(
        entry.name,
        tier,
        chosen,
        identities,
        n,
        datetime.datetime.now(datetime.UTC).date().isoformat(),
        command,
        f"{platform.machine()} {platform.system()}",
        steps,
        steps[-1].verdict,
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "verdict.json").write_bytes(msgspec.json.format(msgspec.json.encode(tried), indent=1))
    return tried


def _control(result: Any, single: str, level: Level) -> Step:
    rows = {r.lineup: r for r in result.rows}
    by_role = {r.role: r for r in result.rows}
    if single not in rows:
        raise CrossplayError(f'the control study has no lineup "{single}" (it has {", ".join(rows)})')
    found = {"single": rows[single], "floor": by_role.get("control: floor"), "ceiling": by_role.get("control: ceiling")}
    for what, row in found.items():
        if row is None:
            raise CrossplayError(f"the control study has no {what}")
    value = {what: _triple(row.summary.mean) for what, row in found.items()}
    s, low, high = value["single"][0], value["floor"][0], value["ceiling"][0]
    return Step(
        level.name, level.about, value["single"], value["floor"], value["ceiling"], low + NEAR < s < high - NEAR
    )


def _triple(estimate: Any) -> tuple[float, float, float]:
    i = estimate.interval
    return (estimate.value, i.low, i.high) if i else (estimate.value,) * 3


def _mde(p: float, n: int) -> float:
    """For two answers that are right with chance p each, independent: sd of a block's difference sqrt(2 p (1 - p))."""
    from crossplay.measure.stats.power import minimum_detectable

    return minimum_detectable(math.sqrt(2 * p * (1 - p)), n)


def _identities(folder: Path) -> dict[str, Any]:
    with crossplay.open_run(folder) as run:
        found: dict[str, Any] = run.identity().get("models", {})
    return found


def _line(step: Step) -> str:
    parts = [f"{what} {v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for what, v in _parts(step)]
    return f"level {step.level}: " + ", ".join(parts)


def _parts(step: Step) -> list[tuple[str, tuple[float, float, float]]]:
    return [("single agent", step.single), ("floor", step.floor), ("ceiling", step.ceiling)]


def _shown(f: Finding) -> str:
    return ("none" if f.value is None else f"{f.value:.3f}") + (
        "" if f.low is None else f" [{f.low:.3f}, {f.high:.3f}]"
    )
