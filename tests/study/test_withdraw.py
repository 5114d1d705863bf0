"""Participants who withdraw the consent: nothing of theirs is left in the run, which says that somebody withdrew, and verifies."""

from __future__ import annotations

import shutil

import msgspec
import numpy as np
import polars as pl
import pytest
from scipy import stats
from taking_part import answers_of, result, simulate, study

from crossplay.kernel import CrossplayError, unpack
from crossplay.records import RunFolder, check_seals, merge
from crossplay.records.cassette import Cassette
from crossplay.study.export import export_run
from crossplay.study.runner import open_run
from crossplay.study.sessions import Sessions
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage
from crossplay.study.verify import load_run, verify
from crossplay.study.withdraw import OLD, settle, withdraw

WORDS = 'Grüße from somebody; nobody else wrote "this", nor =1+1, nor \u202e, nor \0.'


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Six participants, of whom one left after three episodes; the second wrote something."""
    folder = tmp_path_factory.mktemp("withdraw") / "run"
    simulate(folder, leaves={5: 7})
    with Cassette(folder / "cassette") as cassette:
        kept = Sessions(cassette, 3)
        kept.note(2, "begun/play/x/1", {})
        kept._write(2, "p02", "questions/me+extra", {"words": WORDS}, None)
    with RunFolder.open(folder, write=True, same_source=True):
        pass
    assert verify(folder, "seals").ok
    return folder


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("of the experimenter")
    (tmp_path / "run" / "report.html").write_text("p02")
    return tmp_path / "run"


def bytes_of(folder):
    return b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())


def test_everything_of_a_participant_is_removed_and_counted(run, whole):
    before = result(run)
    done = withdraw(run, 2)
    assert (done.participant, done.episodes, done.files) == ("p02", 6, ("report.html",))
    assert verify(run, "agents").ok, verify(run, "agents").findings
    assert not list(run.parent.glob(".run*"))
    assert (run / "notes.txt").exists()
    assert not (run / "report.html").exists()
    after = result(run)
    a = after.attendance
    assert (a.took_part, a.complete, a.left, a.withdrawn, a.returned) == (5, 4, 1, 1, [])
    assert after.episodes == before.episodes - 6
    assert (
        "5 of 6 participants took part: 4 complete, 1 left before the end, 1 withdrew and had everything of theirs removed"
        in after.notes
    )
    with RunFolder.open(run) as now, RunFolder.open(whole) as then:
        gone = {r.id for r in then.records()} - {r.id for r in now.records()}
        blocks = {r.block for r in then.records() if r.id in gone}
        assert (len(gone), blocks) == (6, {2, 3})
        assert all(r.agents == then.record(r.id).agents for r in now.records())
    text = WORDS.encode()[:20]
    assert text in bytes_of(whole)
    assert text not in bytes_of(run)
    for q in after.asked:
        assert all("p02" not in r.texts for r in q.rows)
    with Cassette(run / "cassette", "strict") as cassette:
        left = [r for r in cassette.of_env("people") if r.call.address[2] == 2]
        assert [(r.call.address[4], unpack(r.reply)["episodes"]) for r in left] == [("withdrawn", 6)]


def test_the_tables_of_the_others_are_those_of_a_study_without_them(run):
    """The paired t over the participants who are left, by scipy and as a regression of differences by statsmodels."""
    smf = pytest.importorskip("statsmodels.formula.api")
    withdraw(run, 2)
    found = result(run)
    values = {}
    for s in found.scores:
        for block, value in zip(s.blocks, s.values, strict=True):
            values.setdefault(s.lineup, {}).setdefault(block // 2 + 1, {})[block] = value
    base = values["me+nice"]
    assert 2 not in base
    for row in found.rows:
        if row.lineup not in ("me+nasty", "me+random"):
            continue
        mine = values[row.lineup]
        apart = {
            n: np.mean([mine[n][b] - base[n][b] for b in mine[n] if b in base[n]])
            for n in mine
            if n in base and set(mine[n]) & set(base[n])
        }
        test = stats.ttest_1samp(list(apart.values()), 0)
        model = smf.ols("d ~ 1", {"d": list(apart.values())}).fit()
        assert row.comparison.units == len(apart)
        assert (
            row.comparison.p == pytest.approx(test.pvalue, rel=1e-9) == pytest.approx(model.pvalues.iloc[0], rel=1e-9)
        )
        low, high = model.conf_int().iloc[0]
        assert (row.comparison.interval.low, row.comparison.interval.high) == pytest.approx((low, high), rel=1e-9)


def test_their_place_is_free_again_and_their_number_is_not(run):
    withdraw(run, 2)
    stage = Stage(study(), run)
    folder = open_run(stage, run)
    kept = Sessions(stage.door.cassette, 3)
    held = kept.get(2).slot
    new = [kept.invite(6), kept.invite(6)]
    assert [s.number for s in new] == [7, 8]
    assert {s.slot for s in new} == {held, 5}, "p06 had got the place of p05, who left"
    with pytest.raises(CrossplayError, match="all 6 places are taken"):
        kept.invite(6)
    stage.close()
    folder.close()
    assert verify(run).ok


def test_what_a_copy_brings_back_is_named_and_removed_again(run, whole, tmp_path):
    withdraw(run, 2)
    merge(run, whole, tmp_path / "both")
    found = result(tmp_path / "both")
    assert found.attendance.returned == ["p02"]
    assert any(n.startswith("p02 withdrew, and this run holds something of theirs") for n in found.notes)
    assert "p02" not in {n for q in found.asked for r in q.rows for n in r.texts}
    again = withdraw(tmp_path / "both", 2)
    assert again.episodes == 6
    found = result(tmp_path / "both")
    assert (found.attendance.returned, found.attendance.withdrawn) == ([], 1)
    assert verify(tmp_path / "both").ok


def test_who_is_not_there_and_who_writes_is_said(run):
    with pytest.raises(CrossplayError, match="there is no participant 9; there is p01, p02"):
        withdraw(run, 9)
    with RunFolder.open(run, write=True, same_source=True), pytest.raises(CrossplayError, match="open for writing"):
        withdraw(run, 2)
    withdraw(run, 2)
    with pytest.raises(CrossplayError, match="p02 has withdrawn already"):
        withdraw(run, 2)
    assert check_seals(run) == []


def test_what_a_kill_left_half_written_goes_the_next_time(run):
    half = run.with_name(".run.without.abcd")
    half.mkdir()
    withdraw(run, 2)
    assert [p.name for p in run.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("moved", [False, True])
def test_a_kill_in_the_middle_leaves_one_whole_run(run, moved):
    """Between the two renamings the old run comes back; after them it goes."""
    old = run.with_name(f".run{OLD}")
    if moved:
        shutil.copytree(run, old)
    else:
        run.rename(old)
    settle(run)
    assert not old.exists()
    assert check_seals(run) == []


def test_answers_and_participants_are_exported(whole, tmp_path):
    export_run(whole, "csv", tmp_path / "csv")
    export_run(whole, "parquet", tmp_path / "parquet")
    people = pl.read_parquet(tmp_path / "parquet" / "participants.parquet")
    assert people["participant"].to_list() == [f"p0{n}" for n in range(1, 7)]
    assert people.row(4, named=True) | {"partners": ""} == {
        **{"participant": "p05", "status": "left", "order": 5, "partners": "", "episodes": 3, "of": 6},
        **{"begun_anew": 0, "resumed": 0},
    }
    given = pl.read_parquet(tmp_path / "parquet" / "answers.parquet")
    one = given.filter(participant="p01", lineup="me+nice")
    said = answers_of(1, "me+nice")
    assert dict(zip(one["question"], one["answer"], strict=True)) == {k: str(v) for k, v in said.items()}
    assert dict(zip(one["question"], one["score"], strict=True)) == {
        "fair": said["fair"],
        "tricked": 6 - said["tricked"],
    }
    assert set(one["place"]) <= {1, 2, 3}
    assert given.filter(participant="p05")["status"].unique().to_list() == ["left"]
    table = pl.read_csv(tmp_path / "csv" / "answers.csv")
    assert table.height == given.height
    mean = given.filter(lineup="me+nice", status="complete").group_by("participant").agg(pl.col("score").mean())
    trust = next(q for q in result(whole).asked if q.name == "trust")
    row = next(r for r in trust.rows if r.lineup == "me+nice")
    assert row.summary.mean.value == pytest.approx(
        np.mean(
            [
                *mean["score"],
                *given.filter(lineup="me+nice", status="left")
                .group_by("participant")
                .agg(pl.col("score").mean())["score"],
            ]
        )
    )


def test_two_roots_are_not_taken_for_the_same_people(whole, tmp_path):
    made = study()
    other = parse_study(
        {**msgspec.toml.decode(made.toml()), "study": {**msgspec.toml.decode(made.toml())["study"], "root": 4}}
    )
    stage = Stage(other, tmp_path / "b")
    open_run(stage, tmp_path / "b").close()
    stage.close()
    merge(whole, tmp_path / "b", tmp_path / "both")
    with pytest.raises(CrossplayError, match="participant 1 of one is another person"):
        load_run(tmp_path / "both")


def test_scales_are_of_one_kind():
    ask = {"ask": "?", "scale": "s"}
    with pytest.raises(CrossplayError, match="a, b make one scale.*different bounds"):
        study(questions=[{"name": "a", **ask}, {"name": "b", "labels": ["no", "yes"], **ask}])
    with pytest.raises(CrossplayError, match="a, b make one scale.*different times"):
        study(questions=[{"name": "a", **ask}, {"name": "b", "when": "end", **ask}])
    assert study(questions=[{"name": "a", **ask}, {"name": "b", **ask}])


def test_the_command_removes_when_it_is_told_twice(run, capsys):
    from crossplay.cli.studies import withdraw as command

    for words, says in ((("p02",), "--yes"), (("me",), "p01, p02")):
        with pytest.raises(CrossplayError, match=says):
            command(run, *words)
    assert command(run, "p02", yes=True, json=True) == 0
    assert msgspec.json.decode(capsys.readouterr().out)["episodes"] == 6
    with pytest.raises(CrossplayError, match="withdrawn already"):
        command(run, "2", yes=True)
