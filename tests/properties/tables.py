"""Invariants 6 to 9, as far as the study, its tables and the statistics keep them."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections import defaultdict
from contextlib import contextmanager

import msgspec
import numpy as np
import scipy.stats

from crossplay.cli.tables import print_result
from crossplay.measure import metrics
from crossplay.measure.stats import robust
from crossplay.measure.stats.results import Estimate
from crossplay.records import RunFolder
from crossplay.study import report
from crossplay.study import tables as results
from crossplay.study.spec import Controls, parse_study
from crossplay.study.templates import CEILING, FLOOR, SILENT, expand
from crossplay.study.verify import load_run
from properties.common import above
from properties.played import Speaks, finished, folder, play, tables

comparing = importlib.import_module("crossplay.measure.stats.compare")  # the package gives its function
ALONE = "deterministic, n = 1"


class Told:
    """A run that says something else of its agents."""

    def __init__(self, run, **agents):
        self._run, self._agents = run, agents

    def identity(self):
        found = self._run.identity()
        return {**found, "agents": {n: {**m, **self._agents.get(n, {})} for n, m in found["agents"].items()}}

    def __getattr__(self, name):
        return getattr(self._run, name)


@contextmanager
def _finished():
    run, study = load_run(finished())
    with run:
        yield run, study


def _result(**agents):
    with _finished() as (run, study):
        return results.result_of(Told(run, **agents), study)


def _row(result, lineup):
    return next(r for r in result.rows if r.lineup == lineup)


def _blocks(lineup):
    """By hand: block -> mean of payoff_row over seat orders and replicates of a lineup of the finished run."""
    found = defaultdict(list)
    with _finished() as (run, _):
        groups = {c.name: c.extra["group"] for c in run.cells()}
        for r in run.records():
            if groups[r.cell] == lineup:
                found[r.block].append(r.score["payoff_row"])
    return {b: sum(v) / len(v) for b, v in sorted(found.items())}


def _same(interval, reference):
    return np.allclose([interval.low, interval.high], [reference.low, reference.high], rtol=1e-9, atol=1e-12)


def _noise(n=12, seed=0):
    x = np.random.default_rng(seed).normal(size=n)
    return x - x.mean()


def _cell(name, values, **more):
    return comparing.Cell(name, list(values), list(range(len(values))), **more)


# -- 6: counted honestly -----------------------------------------------------------------------------------------


@above(6)
def every_fallback_is_in_the_table():
    """Links, invalid moves, errors and decisions of a lineup are those of its traces; too many are flagged."""
    seen = defaultdict(lambda: defaultdict(int))
    with _finished() as (run, study):
        groups = {c.name: c.extra["group"] for c in run.cells()}
        for r in run.records():
            for e in run.events(r.id):
                seen[groups[r.cell]][e.kind] += 1
        result = results.result_of(run, study)
    for row in result.rows:
        there, costs = seen[row.lineup], row.costs
        assert (costs.decisions, costs.fallbacks) == (there["act"], there["fault"]), row.lineup
        assert costs.invalid + costs.errors == costs.fallbacks and costs.errors * 3 == costs.fallbacks
    wrong = _row(result, "wrong+random").costs
    assert (wrong.decisions, wrong.fallbacks, wrong.invalid, wrong.errors) == (96, 24, 16, 8)
    assert wrong.fallback_share == 0.25
    assert [r.lineup for r in result.rows if r.costs.flagged] == ["wrong+random", "wrong+tft"]
    with _finished() as (run, _):
        assert sum(metrics.served(r.counts) for r in run.records()) == sum(s["fault"] for s in seen.values())


# -- 7: distinct episodes ----------------------------------------------------------------------------------------


@above(7)
def equal_episodes_are_marked_and_get_no_interval():
    summary = _row(_result(), "tft+tft").summary
    assert (summary.episodes, summary.distinct, summary.mean.n) == (8, 1, 1)
    assert summary.mean.interval is None and summary.mean.mark == ALONE and ALONE in summary.marks


@above(7)
def a_cell_says_how_many_digests_it_holds():
    """Counted by hand from the world digests of each lineup; where they are few, a warning says so."""
    worlds = defaultdict(list)
    with _finished() as (run, study):
        groups = {c.name: c.extra["group"] for c in run.cells()}
        for r in run.records():
            worlds[groups[r.cell]].append(r.world)
        result = results.result_of(run, study)
    for row in result.rows:
        found = worlds[row.lineup]
        assert (row.summary.distinct, row.summary.episodes) == (len(set(found)), len(found)), row.lineup
        assert metrics.distinct(found) == len(set(found))
    assert {row.summary.distinct for row in result.rows} > {1, 8}
    twice = comparing.summarise(_cell("twice", [1.0, 2.0, 1.0], digests=["x", "y", "x"]), reps=0)
    assert twice.distinct == 2 and "2 distinct episodes in 3 blocks" in " ".join(twice.warnings)


# -- 8: controls --------------------------------------------------------------------------------------------------


def _kitchen(**controls):
    return parse_study(
        {
            "study": {"margin": 1.0},
            "environments": ["kitchen/cramped_room"],
            "agents": {"talker": {"type": "llm:double", "talk": True}},
            "lineups": {"talker+talker": ["talker", "talker"]},
            "controls": controls,
        }
    )


@above(8)
def every_study_has_its_controls():
    """The random floor, the environment's expert as ceiling, and each lineup that talks without its words."""
    lineups = expand(_kitchen(), 2, True).lineups
    assert {s.role: (s.seats, s.mail) for s in lineups.values() if s.role} == {
        FLOOR: (["random", "random"], None),
        CEILING: (["chef", "chef"], None),
        SILENT: (["talker", "talker"], "off"),
    }
    for name, role in (("floor", FLOOR), ("ceiling", CEILING), ("zero_message", SILENT)):
        left = {s.role for s in expand(_kitchen(**{name: False}), 2, True).lineups.values()}
        assert left == {"", FLOOR, CEILING, SILENT} - {role}


@above(8)
def the_control_without_messages_delivers_none():
    """What is said in it is counted and heard by nobody; with messages the same agents hear each other."""
    data = tables({"speaks+speaks": ["speaks", "speaks"]}, agents={"speaks": {"type": "random", "talk": True}})
    with folder() as path:
        records = play(data, path, {"speaks": Speaks()})
        with RunFolder.open(path) as run:
            silent = {c.name for c in run.cells() if c.extra["role"] == SILENT}
    assert len(silent) == 1 and sum(r.cell in silent for r in records) == 4
    for r in records:
        seats = r.counts.values()
        assert all(c["said"] == 6 for c in seats)
        assert all(c.get("heard", 0) == (0 if r.cell in silent else 5) for c in seats)


@above(8)
def a_control_that_is_off_is_told():
    """In the notes of the result, and where they are printed."""
    words = {
        "floor": "the random floor is switched off",
        "ceiling": "the scripted ceiling is switched off",
        "zero_message": "the zero-message control is switched off",
    }
    with _finished() as (run, study):
        for off in ((), *((name,) for name in words), tuple(words)):
            study.controls = Controls(**dict.fromkeys(off, False))
            result = results.result_of(run, study)
            assert {name for name, text in words.items() if text in " ".join(result.notes)} == set(off)
            assert all(f"note: {note}" in _printed(result) for note in result.notes)


# -- 9: statistics ------------------------------------------------------------------------------------------------


def _printed(result):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print_result(result, finished())
    return " ".join(out.getvalue().split())


@above(9)
def an_interval_has_one_degree_less_than_blocks():
    """The interval of a mean, against SciPy's own t test, at several numbers of blocks."""
    for n in (2, 3, 7, 12):
        x = 3 + _noise(n, n)
        mean = comparing.summarise(_cell("x", x), reps=0).mean
        assert mean.interval.df == n - 1 and mean.n == n
        assert _same(mean.interval, scipy.stats.ttest_1samp(x, 0).confidence_interval(0.95))


@above(9)
def replicates_and_seat_orders_are_one_block():
    """They are averaged within the block, in cells and in comparisons: degrees of freedom count blocks."""
    result = _result()
    base = _blocks("random+random")
    for lineup in ("random+random", "tft+random", "wrong+random"):
        row, mine = _row(result, lineup), _blocks(lineup)
        x = np.array(list(mine.values()))
        assert (row.summary.blocks, row.summary.mean.n, row.summary.mean.interval.df) == (4, 4, 3)
        assert _same(row.summary.mean.interval, scipy.stats.ttest_1samp(x, 0).confidence_interval(0.95))
        if row.comparison is not None:
            test = scipy.stats.ttest_rel(x, np.array(list(base.values())))
            assert (row.comparison.blocks, row.comparison.interval.df) == (4, 3)
            assert _same(row.comparison.interval, test.confidence_interval(0.95))
    assert _row(result, "tft+random").summary.episodes == 16


@above(9)
def differences_are_paired_by_block():
    """Blocks that are hard for all do not widen a difference; against SciPy's paired t test, and in the table."""
    hard, a, b = 100 * _noise(seed=1), 1 + _noise(seed=2), _noise(seed=3)
    (found,) = comparing.compare([_cell("a", hard + a)], _cell("b", hard + b), 0.1, reps=0)
    test = scipy.stats.ttest_rel(hard + a, hard + b)
    assert _same(found.interval, test.confidence_interval(0.95)) and abs(found.p - test.pvalue) < 1e-9
    row = _row(_result(), "tft+random").comparison
    test = scipy.stats.ttest_rel(list(_blocks("tft+random").values()), list(_blocks("random+random").values()))
    assert _same(row.interval, test.confidence_interval(0.95))


def _holm(p):
    """Holm's adjusted p-values, by his definition (1979)."""
    order, adjusted, worst = sorted(range(len(p)), key=p.__getitem__), [0.0] * len(p), 0.0
    for step, i in enumerate(order):
        worst = max(worst, min(1.0, p[i] * (len(p) - step)))
        adjusted[i] = worst
    return adjusted


@above(9)
def verdicts_are_adjusted_by_holm():
    """Three differences of which each alone would be called better are not, together; a clear one is."""
    base = _cell("base", np.zeros(12))
    shift = 2.6 * np.sqrt(_noise().var(ddof=1) / 12)  # p of about 0.025 each
    cells = [_cell(f"c{i}", shift * (1 + i / 100) + _noise()) for i in range(3)]
    alone = [comparing.compare([c], base, 0.1, reps=0)[0] for c in cells]
    assert [c.verdict for c in alone] == ["better"] * 3
    family = comparing.compare(cells, base, 0.1, reps=0)
    assert [c.verdict for c in family] == ["underpowered"] * 3
    clear = comparing.compare([*cells, _cell("clear", 5 + _noise())], base, 0.1, reps=0)
    assert clear[3].verdict == "better" and clear[3].family == 4
    for found in (family, clear):
        assert np.allclose([c.p_adjusted for c in found], _holm([c.p for c in found]))
        for c in found:
            assert c.adjusted_interval.excludes(0.0) == (c.p_adjusted <= 0.05) == (c.verdict != "underpowered")


@above(9)
def the_family_is_all_comparisons_with_the_baseline():
    """In the table as well: every comparison names the same family, and its p is adjusted in it."""
    tested = [r.comparison for r in _result().rows if r.comparison is not None and r.comparison.p is not None]
    assert len(tested) == 3 and {c.family for c in tested} == {3}
    assert np.allclose([c.p_adjusted for c in tested], _holm([c.p for c in tested]))


@above(9)
def a_verdict_asks_for_the_margin():
    """Tied is what lies inside the margin; better or worse is what excludes 0; else it is underpowered."""
    x = _noise()
    cases = [
        (5 + x, 1.0, "better", False),
        (-5 + x, 1.0, "worse", False),
        (x / 100, 1.0, "tied", False),
        (x, 0.1, "underpowered", False),
        (x / 100, 0.001, "underpowered", False),
        (0.5 + x / 100, 1.0, "better", True),
    ]
    for values, margin, verdict, small in cases:
        (found,) = comparing.compare([_cell("c", values)], _cell("b", np.zeros(12)), margin, reps=0)
        assert found.verdict == verdict and ("within margin" in found.marks) == small, (margin, verdict)
        assert (found.episodes_needed is not None) == (verdict == "underpowered")


@above(9)
def few_training_seeds_are_this_checkpoint():
    """Below five independently trained copies a table speaks of the checkpoint; a policy alone is one."""
    for seeds in (None, 1, 4, 5, 9):
        marks = comparing.summarise(_cell("c", _noise(), training_seeds=seeds), reps=0).marks
        assert ("this checkpoint" in marks) == (seeds in (1, 4))
    for told, few in (({"kind": "policy"}, True), ({"kind": "policy", "training_seeds": 5}, False)):
        marked = {r.lineup for r in _result(tft=told).rows if "this checkpoint" in r.summary.marks}
        assert marked == ({"tft+random", "tft+tft", "wrong+tft"} if few else set())


def _estimates(value):
    """Every estimate inside a result."""
    if isinstance(value, Estimate):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _estimates(getattr(value, name))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _estimates(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _estimates(inner)


@above(9)
def no_mean_is_shown_alone():
    """Beside each mean stands its interval or the reason why it has none: in results, in print, in reports."""
    result = _result()
    found = list(_estimates(result))
    assert len(found) > 12 and {e.mark for e in found} >= {"", ALONE, "n = 1"}
    for e in found:
        assert e.interval is not None or e.mark
        shown = report.estimate_words(e, 1)
        assert ("[" in shown) if e.interval else e.mark in shown
    text = _printed(result)
    for row in result.rows:
        e, c = row.summary.mean, row.comparison
        i = e.interval
        n = result.digits
        assert f"{e.value:.{n}f} " + (f"[{i.low:.{n}f}, {i.high:.{n}f}]" if i else f"({e.mark})") in text
        if c is not None:
            i = c.adjusted_interval
            assert f"{c.difference:+.{n}f} " + (f"[{i.low:.{n}f}, {i.high:.{n}f}]" if i else "(n = 1)") in text
    never = comparing.summarise(_cell("c", [1.0, 1.0, 1.0], digests="xyz"), reps=0)
    assert never.mean.interval is None and never.mean.mark == "no variation"


@above(9)
def the_interquartile_mean_cuts_a_quarter_at_each_end():
    """Against SciPy's trimmed mean; a cell shows it from ten blocks on."""
    for n in (1, 3, 4, 7, 8, 10, 12, 13):
        x = np.exp(2 * np.random.default_rng(n).normal(size=n))
        assert np.isclose(robust.iqm(x), scipy.stats.trim_mean(x, 0.25))
        summary = comparing.summarise(_cell("c", x), reps=50)
        assert (summary.iqm is not None) == (n >= 10)
        if summary.iqm is not None:
            assert np.isclose(summary.iqm.value, scipy.stats.trim_mean(x, 0.25)) and summary.iqm.interval
