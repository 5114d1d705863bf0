"""What tables read of a run: many rows at a time, what is damaged in one line, what has no score said and left out."""

import shutil
import sqlite3

import msgspec
import pytest

from crossplay.records.errors import Damaged
from crossplay.study import values
from crossplay.study.evidence import replays
from crossplay.study.svg import number
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run
from study import reported


@pytest.fixture
def dilemma(tmp_path):
    """A copy of a small run that may be changed: three strategies against each other, 3 blocks."""
    return shutil.copytree(reported.dilemma(), tmp_path / "run")


def change(folder, sql, *given):
    db = sqlite3.connect(folder / "manifest.sqlite")
    done = db.execute(sql, given).rowcount
    db.commit()
    db.close()
    return done


def result(folder, **head):
    run, study = load_run(folder)
    with run:
        return result_of(run, msgspec.structs.replace(study, **head))


def test_a_few_rows_at_a_time_say_the_same(monkeypatch):
    for folder in (reported.kitchen(), reported.dilemma()):
        whole = result(folder)
        monkeypatch.setattr(values, "TOGETHER", 3)
        assert result(folder) == whole
        monkeypatch.undo()


def test_lineups_that_share_no_block_yet_are_said_and_not_compared(dilemma):
    """As when a run is looked at while it is played: the rest of the tables is there."""
    before = result(dilemma, baseline="coin+bad")
    assert change(dilemma, "DELETE FROM episodes WHERE lineup = 'coin+bad' AND block > 0") == 2
    assert change(dilemma, "DELETE FROM episodes WHERE lineup = 'coin+tft' AND block = 0") == 1
    after = result(dilemma, baseline="coin+bad")
    rows = {r.lineup: r for r in after.rows}
    assert rows["coin+tft"].comparison is None and rows["coin+tft"].summary.blocks == 2
    assert rows["coin+coin"].comparison is not None and [r.lineup for r in before.rows] == list(rows)
    assert "game: coin+tft and coin+bad share no block so far; they are not compared" in after.notes


def test_a_question_about_lineups_that_share_no_block_is_left_open():
    kitchen = reported.kitchen()
    run, study = load_run(kitchen)
    with run:
        cut = {"chef+talker": [0, 1], "chef+nasty": [2, 3]}
        names = {c.name: c.extra["group"] for c in run.cells()}

        class Part:
            def __getattr__(self, name):
                return getattr(run, name)

            def stored(self, columns, after=0, most=-1):
                rows = run.stored(columns, after, most)
                return [r for r in rows if r[2] in cut.get(names[r[1]], range(4))]

        found = result_of(Part(), study)
    assert found.answers == []
    assert "kitchen: chef+talker and chef+nasty share no block so far; they are not compared" in found.notes


def test_a_score_that_is_no_number_is_said_and_left_out(dilemma):
    """Sums of rewards may pass the largest float; what is stored then is null."""
    text = "SELECT totals FROM episodes WHERE lineup = 'coin+coin' AND block = 1"
    assert change(dilemma, f"UPDATE episodes SET totals = '[null, 3.0]' WHERE totals = ({text}) AND block = 1")
    found = result(dilemma, metric="reward")
    row = next(r for r in found.rows if r.lineup == "coin+coin")
    assert (row.summary.episodes, sum(row.statuses.values())) == (2, 3)
    assert [n for n in found.notes if "coin+coin" in n] == [
        "game, coin+coin: 1 of 3 episodes have a score that is no finite number; they have no share in the means"
    ]


def test_a_first_seat_without_a_score_is_no_zero_in_the_matrix(tmp_path):
    """In the order tft+bad the lineup's value is that of its first agent, bad in the second seat; the matrix shows tft."""
    folder = reported.play(
        {
            "study": {"blocks": 2, "margin": 0.5, "baseline": "tft+tft", "metric": "own_payoff"},
            "environments": {"game": {"name": "matrix/prisoners_dilemma", "options": {"rounds": 4}}},
            "agents": {"tft": "strategy:tit_for_tat", "bad": "strategy:always_defect"},
            "lineups": {"bad+tft": {"seats": ["bad", "tft"], "orders": "both"}, "tft+tft": ["tft", "tft"]},
        },
        tmp_path / "run",
    )
    at, whole = ("tft", "bad"), result(folder).payoffs[0]
    assert change(
        folder, "UPDATE episodes SET score = ? WHERE lineup = 'tft+bad' AND block = 1", '{"payoff_column": 8.0}'
    )
    part = result(folder).payoffs[0]
    mine, before = (p.cells[p.agents.index(at[0])][p.agents.index(at[1])] for p in (part, whole))
    assert (mine.episodes, before.episodes) == (1, 2) and mine.mean.value == before.mean.value > 0


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("score", "{"),
        ("score", '{"payoff_row": "much"}'),
        ("score", b"\xff"),
        ("world", "no digest"),
        ("counts", '{"row": 3}'),
        ("cell", "nowhere"),
        ("wall_s", "long"),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(dilemma, column, value):
    assert change(dilemma, f"UPDATE episodes SET {column} = ? WHERE seq = 2", value) == 1
    with pytest.raises(Damaged, match=r"manifest\.sqlite is damaged: .*episode"):
        result(dilemma)


def test_the_report_shows_the_typical_episode_of_every_metric():
    """Also where the metric is a seat's own, or the sum of its rewards: neither stands among the scores of an episode."""
    run, study = load_run(reported.kitchen())
    with run:
        for metric, head in (("soups", "soups"), ("reward", "reward")):
            mine = msgspec.structs.replace(study, metric=metric)
            shown = replays(run, mine, result_of(run, mine))
            assert shown.count("the episode with the median score") >= 2 and f"({head} " in shown
            for cell in ("chef+chef",):
                values_ = sorted(v for _, _, v in values.scored(run, mine, metric, {f"kitchen | {cell}"}))
                assert len(values_) == 4 and f"({head} {number(values_[1])})" in shown
