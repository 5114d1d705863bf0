"""Runs side by side, and the plots of a result: what they say is what the tables say."""

import csv
import io
import xml.etree.ElementTree as ET

import msgspec
import numpy as np
import pytest
import reported
from scipy import stats

from crossplay.kernel import CrossplayError
from crossplay.measure.frontier import dominated
from crossplay.measure.stats.results import Comparison
from crossplay.study import svg
from crossplay.study.across import Played, across
from crossplay.study.page import to_csv
from crossplay.study.plots import PLOTS, plot_of, profiles_plot
from crossplay.study.tables import Scores, result_of
from crossplay.study.verify import load_run


def _played(folder, root=0):
    run, study = load_run(folder)
    with run:
        ids = {c.extra["env"]: c.env_id for c in run.cells()}
        seats = {k: s.seats for k, s in study.lineups.items()}
        return Played(result_of(run, study), root, ids, run.identity()["agents"], seats)


@pytest.fixture(scope="module")
def games(tmp_path_factory):
    """Two plays of one study on 6 and 9 blocks, the second with another root as well."""

    def play(blocks, root=0, rounds=8):
        tables = {
            "study": {"name": "g", "blocks": blocks, "margin": 0.5, "metric": "payoff_row", "root": root},
            "environments": {"game": {"name": "matrix/prisoners_dilemma", "options": {"rounds": rounds}}},
            "agents": {"tft": "strategy:tit_for_tat", "coin": "strategy:random"},
            "lineups": {"tft+coin": ["tft", "coin"], "coin+coin": ["coin", "coin"]},
            "controls": {"floor": False},
        }
        return _played(reported.play(tables, tmp_path_factory.mktemp("game")), root)

    return {"six": play(6), "nine": play(9), "other": play(6, root=4), "long": play(6, rounds=9)}


def test_the_same_blocks_give_the_same_scores(games):
    found = across({"six": games["six"], "nine": games["nine"]})
    (table,) = found.tables
    assert (table.common, table.met, table.paired) == (6, {"six": 6, "nine": 9}, True)
    assert [(c.lineup, c.run, c.against) for c in table.changes] == [
        ("tft+coin", "nine", "six"),
        ("coin+coin", "nine", "six"),
    ]
    for c in table.changes:
        assert c.paired and c.blocks == 6 and c.same and c.comparison.difference == 0.0
    assert {(line.run, line.lineup, line.blocks) for line in table.lines} == {
        (run, lineup, n) for run, n in (("six", 6), ("nine", 9)) for lineup in ("tft+coin", "coin+coin")
    }


def test_other_seeds_are_not_paired_and_intervals_are_those_of_welch_at_the_familys_level(games):
    found = across({"six": games["six"], "other": games["other"], "nine": games["nine"]})
    (table,) = found.tables
    assert table.common == 0 and not table.paired and "root seeds differ" in table.notes[0]
    changes = {(c.lineup, c.run): c for c in table.changes}
    assert len(changes) == 4 and changes["tft+coin", "nine"].paired
    change = changes["coin+coin", "other"]
    a, b = (next(s.values for s in games[n].result.scores if s.lineup == "coin+coin") for n in ("other", "six"))
    reference = stats.ttest_ind(a, b, equal_var=False).confidence_interval(1 - 0.05 / 4)
    i = change.comparison.adjusted_interval
    assert not change.paired and (i.low, i.high) == pytest.approx((reference.low, reference.high))


def test_nonsense_is_refused_with_the_reason(games):
    kitchen = _played(reported.kitchen())
    for runs, why in (
        ({"six": games["six"]}, "expected 2 to 8"),
        ({"six": games["six"], "kitchen": kitchen}, "measured by different things.*payoff_row.*return"),
        ({"six": games["six"], "long": games["long"]}, "share no environment.*rounds=8.*rounds=9"),
        ({str(i): games["six"] for i in range(9)}, "9 runs"),
    ):
        with pytest.raises(CrossplayError, match=why):
            across(runs)


def test_a_run_without_a_score_is_named_and_other_levels_are_told(games):
    bare = msgspec.structs.replace(games["nine"], result=msgspec.structs.replace(games["nine"].result, rows=[]))
    with pytest.raises(CrossplayError, match="bare has no score yet"):
        across({"six": games["six"], "bare": bare})
    nine = games["nine"]
    wide = msgspec.structs.replace(nine, result=msgspec.structs.replace(nine.result, level=0.8))
    (table,) = across({"six": games["six"], "wide": wide}).tables
    assert any("six 0.95, wide 0.8" in note for note in table.notes)
    assert not any("levels" in note for note in across({"six": games["six"], "nine": nine}).tables[0].notes)


def test_other_agents_under_one_name_are_told(games):
    other = msgspec.structs.replace(games["nine"], agents={"tft": {"kind": "script", "version": 2}})
    (table,) = across({"six": games["six"], "nine": other}).tables
    assert [c.same for c in table.changes] == [False, False]


# -- plots ---------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def kitchen():
    return _played(reported.kitchen()).result


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.parametrize("which", ["kitchen", "six"])
def test_every_plot_is_a_drawing_with_all_its_numbers(name, which, kitchen, games):
    result = kitchen if which == "kitchen" else games["six"].result
    env = result.rows[0].env
    plot = plot_of(result, name, env)
    if plot is None:
        assert (name, which) in {("cost", "six"), ("differences", "six")}
        return
    assert plot.said.startswith(env) and plot.rows and all(len(r) == len(plot.columns) for r in plot.rows)
    table = list(csv.reader(io.StringIO(to_csv(plot.columns, plot.rows))))
    assert len(table) == 1 + len(plot.rows)
    if plot.svg:
        for styled in (False, True):
            root = ET.fromstring(svg.standing_alone(plot.svg, styled=styled))
            assert root.tag == "{http://www.w3.org/2000/svg}svg"
            styles = [e for e in root.iter() if e.tag.endswith("style") or "style" in e.attrib]
            assert bool(styles) >= styled and (styled or not styles)
            assert "<script" not in ET.tostring(root, "unicode")


def test_profiles_are_the_share_of_blocks_above(games):
    result = games["nine"].result
    plot = profiles_plot(result, "game")
    scores = {s.lineup: np.array(s.values) for s in result.scores}
    for lineup, tau, share, low, high in plot.rows:
        assert share == np.mean(scores[lineup] > tau)
        assert low is None or 0 <= low <= share <= high <= 1
    assert {r[2] for r in plot.rows if r[1] < min(map(min, scores.values()))} == {1.0}
    assert plot.legend == tuple(r.lineup for r in sorted(result.rows, key=lambda r: -r.summary.mean.value))


def test_many_lineups_leave_curves_out_but_no_numbers_and_not_the_baseline(games):
    result = games["six"].result
    rows, scores = [], []
    for i in range(12):
        name = f"l{i:02}"
        summary = result.rows[0].summary
        mean = msgspec.structs.replace(summary.mean, value=float(i))
        rows.append(
            msgspec.structs.replace(result.rows[0], lineup=name, summary=msgspec.structs.replace(summary, mean=mean))
        )
        scores.append(Scores("game", name, [0, 1, 2], [i + 0.0, i + 0.5, i + 1.0]))
    many = msgspec.structs.replace(result, rows=rows, scores=scores, baseline="l00")
    plot = profiles_plot(many, "game")
    assert plot.legend == ("l11", "l10", "l09", "l08", "l07", "l06", "l05", "l00")
    assert {r[0] for r in plot.rows} == {r.lineup for r in rows} and "8 of 12" in plot.said


def test_the_frontier_is_what_nothing_dominates(kitchen):
    plot = plot_of(kitchen, "cost", kitchen.rows[0].env)
    bounds = {r.lineup for r in kitchen.rows if r.role in ("control: floor", "control: ceiling")}
    own = [r for r in plot.rows if r[0] not in bounds]
    assert [r[-1] == "yes" for r in own] == (~dominated([r[1] for r in own], [r[2] for r in own])).tolist()
    assert bounds and not any(r[-1] for r in plot.rows if r[0] in bounds)


def test_strips_of_many_blocks_draw_some_and_keep_all(games):
    result = games["six"].result
    n = 3000
    base = Scores("game", "coin+coin", list(range(n)), [0.0] * n)
    mine = Scores("game", "tft+coin", list(range(n)), np.linspace(-1, 2, n).tolist())
    c = Comparison("tft+coin", "coin+coin", "m", "better", 0.5, 0.1, None, None, 0.0, 0.0, 1, 1.0, n, n, n)
    rows = [msgspec.structs.replace(r, comparison=c if r.lineup == "tft+coin" else None) for r in result.rows]
    plot = plot_of(
        msgspec.structs.replace(result, rows=rows, scores=[base, mine], baseline="coin+coin"), "differences", "game"
    )
    assert plot.svg.count('class="point"') == 400 and len(plot.rows) == n and "400 grey points" in plot.said
