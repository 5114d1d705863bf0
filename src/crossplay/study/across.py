"""Several runs side by side: the same environments, the blocks they share, and what differs between equal lineups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.measure.stats.compare import Cell, compare
from crossplay.measure.stats.results import Comparison
from crossplay.study.costs import Costs
from crossplay.study.plots import difference_words, estimate_words, verdict_words
from crossplay.study.tables import NO_MARGIN, Result, Scores

__all__ = ["MOST", "Across", "Change", "Line", "Played", "Table", "across"]

MOST = 8
"""Runs that can stand side by side."""


class Played(msgspec.Struct):
    """What is compared of a run. env_ids: name of an environment in its study -> its id. agents: name -> manifest.
    seats: lineup -> names of its agents.
    """

    result: Result
    root: int
    env_ids: dict[str, str]
    agents: dict[str, Any]
    seats: dict[str, list[str]]


class Line(msgspec.Struct):
    """A lineup of a run. mean: in words, with its interval."""

    run: str
    lineup: str
    role: str
    mean: str
    value: float
    low: float | None
    high: float | None
    blocks: int
    episodes: int
    costs: Costs


class Change(msgspec.Struct):
    """A lineup of one run against the one of the same name in an earlier run.

    paired: over the blocks that both met; otherwise over different ones. blocks: of the first of the two. said: the
    difference with its interval in words; word: its verdict. same: whether the agents in its seats are described
    alike in both.
    """

    lineup: str
    run: str
    against: str
    paired: bool
    blocks: int
    said: str
    word: str
    same: bool
    comparison: Comparison


class Table(msgspec.Struct):
    """One environment by its id, as two or more runs played it.

    common: blocks that all of them met; met: run -> its blocks. paired: whether equal blocks are equal worlds in
    all of them (one root seed). notes: what to know before reading.
    """

    env: str
    runs: list[str]
    common: int
    met: dict[str, int]
    paired: bool
    lines: list[Line]
    changes: list[Change]
    notes: list[str]


class Across(msgspec.Struct):
    """Runs side by side on one metric. alone: run -> environments that no other of them has."""

    runs: list[str]
    metric: str
    tables: list[Table]
    alone: dict[str, list[str]]


def across(runs: Mapping[str, Played]) -> Across:
    """The comparison of runs, in the order given. Raises CrossplayError where they cannot be compared, and says why."""
    if not 2 <= len(runs) <= MOST:
        raise CrossplayError(f"{len(runs)} runs: expected 2 to {MOST} different ones to compare")
    metrics = {name: p.result.metric for name, p in runs.items()}
    if len(set(metrics.values())) > 1:
        said = ", ".join(f"{name} by {m}" for name, m in metrics.items())
        raise CrossplayError(
            f"the runs are measured by different things ({said}); ask for a metric that all of them have"
        )
    if bare := [name for name, p in runs.items() if not p.result.rows]:
        verb = "has" if len(bare) == 1 else "have"
        raise CrossplayError(f"{', '.join(bare)} {verb} no score yet, so there is nothing to compare")
    who: dict[str, dict[str, str]] = {}  # environment id -> run -> what its study calls it
    for name, p in runs.items():
        for label, env_id in p.env_ids.items():
            if any(r.env == label for r in p.result.rows):
                who.setdefault(env_id, {})[name] = label
    shared = {env_id: of for env_id, of in who.items() if len(of) > 1}
    if not shared:
        said = "; ".join(f"{name}: {', '.join(sorted(p.env_ids.values())) or 'nothing'}" for name, p in runs.items())
        raise CrossplayError(f"the runs share no environment, so their scores cannot be compared ({said})")
    alone: dict[str, list[str]] = {}
    for env_id, of in who.items():
        if len(of) == 1:
            alone.setdefault(next(iter(of)), []).append(env_id)
    tables = [_table(env_id, of, runs) for env_id, of in shared.items()]
    return Across(list(runs), next(iter(metrics.values())), tables, alone)


def _table(env_id: str, of: Mapping[str, str], runs: Mapping[str, Played]) -> Table:
    met: dict[str, set[int | str]] = {}
    scores: dict[str, dict[str, Scores]] = {}
    lines = []
    for name, label in of.items():
        result = runs[name].result
        scores[name] = {s.lineup: s for s in result.scores if s.env == label}
        met[name] = {b for s in scores[name].values() for b in s.blocks}
        for r in result.rows:
            if r.env == label:
                m, i = r.summary.mean, r.summary.mean.interval
                words = estimate_words(m, result.digits)
                low, high = (i.low, i.high) if i else (None, None)
                s = r.summary
                lines.append(Line(name, r.lineup, r.role, words, m.value, low, high, s.blocks, s.episodes, r.costs))
    order = list(dict.fromkeys(line.lineup for line in lines))
    lines.sort(key=lambda line: order.index(line.lineup))
    roots = {name: runs[name].root for name in of}
    one_root = len(set(roots.values())) == 1
    notes = []
    if not one_root:
        said = ", ".join(f"{name} {root}" for name, root in roots.items())
        notes.append(f"the root seeds differ ({said}): where they do, blocks of one name are different worlds")
    margins = {runs[name].result.margin for name in of}
    if len(margins) > 1:
        notes.append("the runs name different margins, so nothing counts as tied")
    levels = {name: runs[name].result.level for name in of}
    if len(set(levels.values())) > 1:
        said = ", ".join(f"{name} {level:g}" for name, level in levels.items())
        notes.append(f"the levels of the intervals differ ({said}); a difference has that of the earlier run")
    changes = _changes(list(of), scores, runs, margins.pop() if len(margins) == 1 else NO_MARGIN)
    if len(changes) > 1:
        notes.append(f"{len(changes)} differences: each interval is widened for that many (Bonferroni)")
    common = set.intersection(*met.values()) if one_root else set()
    return Table(env_id, list(of), len(common), {n: len(b) for n, b in met.items()}, one_root, lines, changes, notes)


def _changes(
    names: Sequence[str],
    scores: Mapping[str, Mapping[str, Scores]],
    runs: Mapping[str, Played],
    margin: float,
) -> list[Change]:
    """Every lineup against the first run that has one of its name."""
    pairs = []
    for lineup in dict.fromkeys(lineup for name in names for lineup in scores[name]):
        first, *later = [name for name in names if lineup in scores[name]]
        pairs += [(lineup, name, first) for name in later]
    found = []
    for lineup, name, first in pairs:
        mine, base = scores[name][lineup], scores[first][lineup]
        (mine_units, mine_values), (base_units, base_values) = mine.units(), base.units()
        paired = runs[name].root == runs[first].root and bool(set(mine_units) & set(base_units))
        if not paired and min(len(mine_units), len(base_units)) < 2:
            continue
        result = runs[first].result
        (c,) = compare(
            [Cell(name, mine_values, mine_units)],
            Cell(first, base_values, base_units),
            margin,
            1 - (1 - result.level) / len(pairs),
            metric=result.metric,
            pairing="common" if paired else "unpaired",
            reps=0,
        )
        words = difference_words(c, result.digits)
        same = _seated(runs[name], lineup) == _seated(runs[first], lineup)
        found.append(Change(lineup, name, first, paired, c.blocks, words, verdict_words(c), same, c))
    return found


def _seated(played: Played, lineup: str) -> list[Any]:
    return [played.agents.get(name) for name in played.seats.get(lineup, ())]
