"""What a run says over the API: the same numbers as the tables, plots as files, ledgers of teams, runs side by side."""

import csv
import io
import shutil
import threading
import xml.etree.ElementTree as ET

import msgspec
import pytest
import small

import crossplay
from crossplay.kernel import CrossplayError
from crossplay.study import tables
from crossplay.study.inside import team_ledger
from crossplay.study.plots import PLOTS
from crossplay.web.desk import Desk, NotFound
from crossplay.web.service import study as service
from crossplay.web.service.runs import show_run
from crossplay.web.service.study import (
    CompareQuery,
    PlotQuery,
    ResultQuery,
    compare_runs,
    plot_csv,
    plot_svg,
    show_plot,
    show_result,
    show_teams,
)
from study import reported


def make(root):
    """A study of questions with its answer, a tournament, and a team."""
    small.kitchen(root / "kitchen")
    small.dilemma(root / "dilemma")
    small.team(root / "team")


folder, desk, client = small.fixtures(make)


def test_the_result_is_the_one_of_the_package(desk, folder):
    view = show_result(desk, "kitchen", ResultQuery(scores=True))
    assert msgspec.to_builtins(view.result) == crossplay.result(folder / "kitchen").to_dict()
    assert show_result(desk, "kitchen", ResultQuery()).result.scores == []
    for r in view.result.rows:
        key = f"{r.env}/{r.lineup}"
        assert view.words[key] and view.means[key]
        assert (key in view.differences) == (r.comparison is not None)


def test_answers_come_first_and_in_sentences(desk):
    view = show_result(desk, "kitchen", ResultQuery())
    first, *rest = view.said
    assert (first.kind, first.ask) == ("question", "Do words <help>?")
    assert first.sentence == view.result.answers[0].sentence
    assert [s.kind for s in rest[-2:]].count("best") >= 1
    compared = [s for s in rest if s.kind == "comparison"]
    assert [s.candidate for s in compared] == [r.lineup for r in view.result.rows if r.comparison]
    for s in compared:
        assert s.verdict in ("better", "worse", "tied", "underpowered") and s.word
        assert not s.sentence.startswith(("Yes", "No")) and s.candidate in s.sentence


def test_another_metric_may_be_asked_for_and_then_nothing_is_tied(desk):
    view = show_result(desk, "kitchen", ResultQuery(metric="soups"))
    assert view.result.metric == "soups" and view.metrics["soups"]
    assert all(r.comparison.verdict != "tied" for r in view.result.rows if r.comparison)
    assert "margin" not in show_plot(desk, "kitchen", "differences", PlotQuery(metric="soups")).said
    with pytest.raises(CrossplayError, match='no metric "soup".*soups'):
        show_result(desk, "kitchen", ResultQuery(metric="soup"))


@pytest.mark.parametrize("plot", PLOTS)
def test_plots_as_pictures_and_numbers(client, plot):
    about = client.get(f"/api/v1/runs/kitchen/plots/{plot}").json()
    assert about["said"] and about["env"] == "kitchen"
    table = client.get(f"/api/v1/runs/kitchen/plots/{plot}.csv")
    picture = client.get(f"/api/v1/runs/kitchen/plots/{plot}.svg")
    assert table.headers["content-type"].startswith("text/csv") and "attachment" in table.headers["content-disposition"]
    rows = list(csv.reader(io.StringIO(table.text)))
    assert len(rows) > 1 and len({len(r) for r in rows}) == 1
    assert picture.status_code == 200 and picture.headers["content-type"] == "image/svg+xml"
    assert ET.fromstring(picture.text).get("width") == "900"
    inline = client.get(f"/api/v1/runs/kitchen/plots/{plot}.svg?inline=true").text
    assert inline == about["svg"] and "style" not in inline and ET.fromstring(inline).get("width") == "100%"


def test_a_plot_that_does_not_exist_says_why(client, desk):
    assert show_plot(desk, "dilemma", "cost", PlotQuery()).said.startswith("No lineup called a model")
    for path, status in (
        ("/runs/dilemma/plots/cost.svg", 404),
        ("/runs/dilemma/plots/cost.csv", 404),
        ("/runs/dilemma/plots/pie.svg", 422),
        ("/runs/dilemma/plots/scores.svg?env=nothing", 400),
        ("/runs/dilemma/plots/scores.svg?metric=nothing", 400),
        ("/runs/nothing/plots/scores.svg", 404),
        ("/runs/nothing/result", 404),
        ("/runs/nothing/teams", 404),
        ("/compare", 422),
        ("/compare?runs=kitchen", 400),
        ("/compare?runs=kitchen&runs=kitchen", 400),
        ("/compare?runs=kitchen&runs=dilemma", 400),
        ("/compare?runs=kitchen&runs=nothing", 404),
    ):
        answer = client.get("/api/v1" + path)
        assert (answer.status_code, bool(answer.json()["error"])) == (status, True), path


def test_a_result_is_made_once_for_all_who_ask_at_once(desk, monkeypatch):
    made = []
    real = tables.result_of
    monkeypatch.setattr(service, "result_of", lambda run, study: made.append(1) or real(run, study))
    threads = [threading.Thread(target=show_plot, args=(desk, "kitchen", p, PlotQuery())) for p in PLOTS]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert made == [1]


def test_a_run_that_has_changed_is_read_again(tmp_path):
    import sqlite3

    run = shutil.copytree(reported.kitchen(), tmp_path / "run")
    desk = Desk(tmp_path)
    before = show_result(desk, "run", ResultQuery()).result.episodes
    with sqlite3.connect(run / "manifest.sqlite") as db:
        db.execute("DELETE FROM episodes WHERE seq > 12")
    db.close()
    assert (before, show_result(desk, "run", ResultQuery()).result.episodes) == (20, 12)
    desk.close()


def test_a_run_without_a_score_is_no_error(tmp_path):
    import sqlite3

    run = shutil.copytree(reported.kitchen(), tmp_path / "run")
    with sqlite3.connect(run / "manifest.sqlite") as db:
        db.execute("DELETE FROM episodes")
    db.close()
    desk = Desk(tmp_path)
    assert show_result(desk, "run", ResultQuery()).said == []
    assert all(show_plot(desk, "run", p, PlotQuery()).svg == "" for p in PLOTS)
    with pytest.raises(NotFound, match="No episode has a score"):
        plot_svg(desk, "run", "scores", PlotQuery())
    with pytest.raises(NotFound):
        plot_csv(desk, "run", "scores", PlotQuery())
    assert show_teams(desk, "run").teams == []
    desk.close()


def test_ledgers_of_teams_are_those_of_the_package(desk, folder):
    found = show_teams(desk, "team").teams
    assert [t.ledger for t in found] == team_ledger(folder / "team")
    assert any(t.ledger.lineup == "debate" and len(t.ledger.members) == 3 and t.said for t in found)
    assert show_run(desk, "team").teams and not show_run(desk, "kitchen").teams


def test_runs_stand_side_by_side(tmp_path, desk):
    for name in ("a", "b"):
        shutil.copytree(reported.dilemma(), tmp_path / name)
    two = Desk(tmp_path)
    found = compare_runs(two, CompareQuery(["a", "b"]))
    (table,) = found.tables
    assert found.runs == ["a", "b"] and table.common == 3
    assert all(c.same and c.comparison.difference == 0 for c in table.changes) and len(table.changes) == 10
    by_column = compare_runs(two, CompareQuery(["a", "b"], metric="payoff_column"))
    assert by_column.metric == "payoff_column"
    two.close()


def test_answers_of_participants_show_at_once_also_between_two_episodes(tmp_path):
    """The manifest does not change when somebody fills in a questionnaire: the result is none the less another."""
    folder = small.people(tmp_path / "partners")
    desk = Desk(tmp_path)
    assert show_run(desk, "partners").people and show_run(desk, "partners").row.state == "open"
    assert show_result(desk, "partners", ResultQuery()).result.attendance.took_part == 0
    small.answered(folder, 1, {"questions/me+chef": {"fair": 4}})
    first = show_result(desk, "partners", ResultQuery()).result
    small.answered(folder, 2, {"questions": {"again": "me+policy"}})
    second = show_result(desk, "partners", ResultQuery()).result
    assert (first.attendance.took_part, second.attendance.took_part) == (1, 2)
    assert first.asked != second.asked and second.asked[0].ask == "My partner did a fair share."
    desk.close()
