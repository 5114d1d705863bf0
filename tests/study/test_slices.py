"""Slices of a run by facets: grouping, means by hand, names, and the command."""

import json

import numpy as np
import pytest
from scipy import stats
from study_files import study

from crossplay.cli import main
from crossplay.kernel import CrossplayError
from crossplay.records import RunFolder
from crossplay.study.runner import run_study
from crossplay.study.slices import NONE, facet_value, slice_by, slice_mean
from crossplay.study.stage import Stage
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run

TEAMS = """
environments = ["matrix/prisoners_dilemma"]
[study]
name = "teams"
blocks = 6
margin = 0.1
metric = "reward"
[controls]
equal_cost = false
[agents]
random = "random"
mixed = "strategy:random(0.3)"
flat = { type = "team:vote", members = ["mixed", "mixed", "random"] }
hub = { type = "team:vote", members = ["mixed", "mixed", "random"], topology = "star" }
line = { type = "team:vote", members = ["mixed", "random", "random"], topology = "chain", facets = { type = "competition" } }
[lineups]
"flat+random" = ["flat", "random"]
"hub+random" = ["hub", "random"]
"line+random" = ["line", "random"]
"hub+flat" = ["hub", "flat"]
"random+random" = ["random", "random"]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices") / "run"
    stage = Stage(study(TEAMS))
    stage.check()
    run_study(stage, folder)
    return folder


@pytest.fixture(scope="module")
def result(run):
    folder, found = load_run(run)
    with folder:
        return result_of(folder, found), folder.identity()["agents"]


def test_manifests_in_the_run_hold_facets(run):
    with RunFolder.open(run) as folder:
        agents = folder.identity()["agents"]
    assert agents["hub"]["facets"]["structure"] == "centralised"
    assert agents["random"]["facets"]["brain"] == "chance"


def test_rows_are_grouped_and_none_is_lost(result):
    found, manifests = result
    slices = slice_by(found.rows, manifests, "structure")
    mine = {s.value: set(s.lineups) for s in slices}
    assert mine["decentralised"] == {"flat+random"} and mine["hierarchical"] == {"line+random"}
    assert "hub+random" in mine["centralised"] and mine["centralised | decentralised"] == {"hub+flat"}
    assert "random+random" in mine[NONE]
    assert sorted(name for s in slices for name in s.lineups) == sorted(r.lineup for r in found.rows)
    assert [s.value for s in slice_by(found.rows, manifests, "type")] == [
        NONE,
        "competition",
        "cooperation",
    ]
    assert sum(s.episodes for s in slices) == found.episodes


def test_the_mean_of_a_slice_by_hand(result):
    found, manifests = result
    [both] = [s for s in slice_by(found.rows, manifests, "brain") if s.value == "chance | team"]
    assert len(both.lineups) == 3
    blocks = np.array([s.values for s in found.scores if s.lineup in both.lineups]).mean(axis=0)
    mean = slice_mean(both, found.scores, found.level)
    assert mean.value == pytest.approx(blocks.mean()) and mean.n == 6
    low, high = stats.t.interval(found.level, 5, blocks.mean(), stats.sem(blocks))
    assert (mean.interval.low, mean.interval.high) == (pytest.approx(low), pytest.approx(high))
    assert slice_mean(both, []) is None


def test_only_blocks_that_all_played_count(result):
    found, manifests = result
    [both] = [s for s in slice_by(found.rows, manifests, "brain") if s.value == "chance | team"]
    cut = [
        type(s)(s.env, s.lineup, s.blocks[:3], s.values[:3]) if s.lineup == "hub+random" else s for s in found.scores
    ]
    assert slice_mean(both, cut, found.level).n == 3


def test_unknown_facets_and_runs_from_before(result):
    found, manifests = result
    with pytest.raises(CrossplayError, match='unknown facet "struktur".*"structure"'):
        slice_by(found.rows, manifests, "struktur")
    old = {n: {k: v for k, v in m.items() if k != "facets"} for n, m in manifests.items()}
    assert {s.value for s in slice_by(found.rows, old, "brain")} >= {"chance", "chance | team"}
    assert facet_value([{"modules": ["memory", "action"]}, {}], "modules") == "memory, action"


def told(*words):
    with pytest.raises(SystemExit) as code:
        main(words)
    return code.value.code


def test_the_command(run, capsys):
    assert told("show", str(run), "--by", "structure", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["by"] == "structure" and {s["value"] for s in found["slices"]} >= {"centralised", "hierarchical"}
    assert all(s["mean"]["interval"] or s["mean"]["mark"] for s in found["slices"])
    assert told("show", str(run), "--by", "structure") == 0
    text = capsys.readouterr().out
    assert "by structure" in text and "hub+random" in text
    assert told("show", str(run), "--by", "strukture") == 2
