"""Exports hold what the run holds: every episode, every event, every comparison."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import reported

from crossplay.kernel import CrossplayError, unpack
from crossplay.study.export import export_run
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run, verify

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", params=["kitchen", "dilemma"])
def run(request):
    folder, study = load_run(getattr(reported, request.param)())
    with folder:
        yield folder, study


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_episodes(run, tmp_path):
    folder, _ = run
    episodes, comparisons, events = export_run(folder.path, "csv", tmp_path)
    assert [p.name for p in (episodes, comparisons, events)] == ["episodes.csv", "comparisons.csv", "events.csv"]
    rows = {int(r["episode"], 16): r for r in read(episodes)}
    records = folder.records()
    assert rows.keys() == {r.id for r in records}
    cells = {c.name: c for c in folder.cells()}
    for r in records:
        row, cell = rows[r.id], cells[r.cell]
        assert (row["lineup"], int(row["block"]), row["status"]) == (r.lineup, r.block, r.status)
        assert (row["env"], row["group"]) == (cell.extra["env"], cell.extra["group"])
        assert {k: float(row[f"score.{k}"]) for k in r.score} == r.score
        assert {s: row[f"seat.{s}"] for s in cell.agents} == cell.agents
        assert json.loads(row["counts"]) == r.counts


def test_seats_stand_in_the_order_of_the_environment(tmp_path):
    """The run keeps seats by name; `column` comes before `row` there, and must not here."""
    rows = read(export_run(reported.dilemma(), "csv", tmp_path)[0])
    for row in rows:
        assert row["lineup"] == f"{row['seat.row']}+{row['seat.column']}"
        assert float(row["total.row"]) == pytest.approx(8 * float(row["score.payoff_row"]))
        assert float(row["total.column"]) == pytest.approx(8 * float(row["score.payoff_column"]))


def test_csv_events(run, tmp_path):
    folder, _ = run
    found: dict[int, list[dict[str, str]]] = {}
    for row in read(export_run(folder.path, "csv", tmp_path)[2]):
        found.setdefault(int(row["episode"], 16), []).append(row)
    for r in folder.records()[::3]:
        events = folder.events(r.id)
        assert len(events) == len(found[r.id])
        for e, row in zip(events, found[r.id], strict=True):
            assert (e.tick, e.kind, e.origin, e.agent) == (int(row["tick"]), row["kind"], row["origin"], row["agent"])
            assert row["value"] == ("" if e.value is None else str(e.value))
            assert (json.loads(row["rewards"]) if row["rewards"] else None) == (e.rewards and list(e.rewards))
            if e.note:
                assert json.loads(row["note"]).keys() == unpack(e.note).keys()


def test_comparisons(run, tmp_path):
    folder, study = run
    rows = read(export_run(folder.path, "csv", tmp_path)[1])
    result = result_of(folder, study)
    want = [r.comparison for r in result.rows if r.comparison] + [a.comparison for a in result.answers]
    assert [(r["candidate"], r["baseline"], r["verdict"]) for r in rows] == [
        (c.candidate, c.baseline, c.verdict) for c in want
    ]
    for row, c in zip(rows, want, strict=True):
        assert float(row["difference"]) == pytest.approx(c.difference)
        assert row["adjusted_low"] == "" if c.adjusted_interval is None else float(row["adjusted_low"])


def test_parquet_is_the_run(run, tmp_path, monkeypatch):
    folder, _ = run
    monkeypatch.setattr("crossplay.study.export.TOGETHER", 5)  # several batches, joined
    episodes, _, events = export_run(folder.path, "parquet", tmp_path)
    assert pl.read_parquet(episodes).height == len(folder)
    want, found = folder.frame(), pl.read_parquet(events)
    key = ["episode", "tick", "seat", "kind", "ord", "value"]
    assert found.schema == want.schema
    assert found.sort(key).equals(want.sort(key))


def test_default_place_leaves_the_run_sound():
    paths = export_run(reported.kitchen())
    assert all(p.parent == reported.kitchen() / "export" / "csv" for p in paths)
    assert verify(reported.kitchen(), "seals").ok


def test_clear_errors(tmp_path, monkeypatch):
    with pytest.raises(CrossplayError, match='Did you mean "csv"'):
        export_run(reported.kitchen(), "cvs")
    monkeypatch.setitem(sys.modules, "inspect_ai", None)
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(CrossplayError, match=r"crossplay\[inspect\]"):
        export_run(reported.kitchen(), "inspect", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CrossplayError, match="file"):
        export_run(reported.kitchen(), "csv", tmp_path / "file" / "x")


@pytest.fixture(scope="module")
def inspect_python():
    """An interpreter of its own with Inspect, made once (Inspect brings many packages along)."""
    python = ROOT / ".venvs" / "inspect" / "bin" / "python"
    have = "import inspect_ai, crossplay, pandas, pyarrow"
    if not python.exists() or subprocess.run([python, "-c", have], capture_output=True).returncode:
        subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
        packages = ["inspect-ai>=0.3.100", "pandas", "pyarrow", "-e", str(ROOT)]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


READ = """
import json, sys
from inspect_ai.analysis import evals_df, samples_df
from inspect_ai.log import list_eval_logs, read_eval_log
out = []
for info in list_eval_logs(sys.argv[1]):
    log = read_eval_log(info.name)
    out.append({
        "cell": log.eval.metadata["cell"], "status": log.status, "model": log.eval.model,
        "headline": [log.results.scores[0].name, log.results.scores[0].metrics["mean"].value],
        "samples": [{
            "uuid": s.uuid, "id": s.id, "epoch": s.epoch, "scores": {k: v.value for k, v in s.scores.items()},
            "acts": [[e.data["tick"], e.data["seat"], e.data["action"], e.data["origin"]]
                     for e in s.events if e.event == "info" and e.data["kind"] == "act"],
            "messages": len(s.messages), "tokens": sum(u.input_tokens for u in s.role_usage.values()),
        } for s in log.samples],
    })
frame = samples_df(sys.argv[1], quiet=True)
ids = sorted(map(str, frame["sample_id"]))
json.dump({"logs": out, "rows": len(frame), "ids": ids, "evals": len(evals_df(sys.argv[1], quiet=True))}, sys.stdout)
"""


@pytest.mark.full
def test_inspect_reads_its_logs_back(inspect_python, run, tmp_path):
    folder, study = run
    export = "import sys; from pathlib import Path; from crossplay.study.export import export_run; "
    export += "print(len(export_run(Path(sys.argv[1]), 'inspect', Path(sys.argv[2]))))"
    made = subprocess.run(
        [inspect_python, "-c", export, folder.path, tmp_path], capture_output=True, text=True, check=True
    )
    cells = {c.name: c for c in folder.cells()}
    assert int(made.stdout) == len(cells) == len(list(tmp_path.glob("*.eval")))
    done = subprocess.run([inspect_python, "-c", READ, tmp_path], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    records = {f"{r.id:016x}": r for r in folder.records()}
    assert found["evals"] == len(cells) and found["rows"] == len(records)
    assert found["ids"] == sorted(found["ids"]) and set(found["ids"]) == set(records)
    seen = set()
    for log in found["logs"]:
        assert log["status"] == "success" and log["model"] == f"crossplay/{cells[log['cell']].lineup}"
        mine = [r for r in records.values() if r.cell == log["cell"]]
        mean = sum(r.score[study.metric] for r in mine) / len(mine)
        assert log["headline"] == [study.metric, pytest.approx(mean)]
        for sample in log["samples"]:
            r = records[sample["uuid"]]
            seen.add(sample["uuid"])
            assert (r.cell, r.block, r.replicate + 1) == (log["cell"], sample["id"], sample["epoch"])
            assert sample["scores"] == pytest.approx(r.score)
            assert sample["messages"] == r.ticks + 1
            assert sample["tokens"] == sum(c.get("tok_in", 0) for c in r.counts.values())
            acts = [e for e in folder.events(r.id) if e.kind == "act"]
            assert [(a[0], a[3]) for a in sample["acts"]] == [(e.tick, e.origin) for e in acts]
            assert all(isinstance(a[2], str) for a in sample["acts"])
    assert seen == set(records)
