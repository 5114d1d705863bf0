"""Models and workers as the page reads them: files, endpoints without secrets, speed; jobs, their curves, stop and go on."""

import shutil
import sys
import time
from pathlib import Path

import msgspec
import pytest
from starlette.testclient import TestClient

import crossplay
from crossplay.jobs import frameworks
from crossplay.jobs.frameworks import installed
from crossplay.jobs.interpreters import interpreters
from crossplay.jobs.locks import Held
from crossplay.jobs.registry import Folder, Spec, State, create
from crossplay.kernel import CrossplayError
from crossplay.models import catalog
from crossplay.models.bench import Bench, Level, Range
from crossplay.models.loopback import Loopback
from crossplay.models.probe import Finding, Probe, record
from crossplay.models.types import Capabilities, Usage
from crossplay.web.app import make_app
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound
from crossplay.web.service import workers as of_workers
from crossplay.web.service.models import BenchAsked, Nothing, bench_model, models, probe_model
from crossplay.web.service.tasks import Kept, Log, task
from crossplay.web.service.workers import JobQuery, Resumed, resume_job, show_job, stop_job, workers

RUN = """
[study]
name = "s"
[models.far]
backend = "http"
url = "https://name:secret-word@api.example/v1?api_key=secret-word"
model = "big"
key_env = "BIG_KEY"
headers = { authorization = "secret-word" }
[models.near]
backend = "http"
url = "NEAR"
model = "small"
"""


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSPLAY_HOME", str(tmp_path / "home"))
    root = tmp_path / "runs"
    root.mkdir()
    found = Desk(root)
    yield found
    found.close()


def run_named(desk, name, near="http://127.0.0.1:9/v1"):
    folder = desk.root / name
    folder.mkdir()
    (folder / "manifest.sqlite").touch()
    (folder / "study.toml").write_text(RUN.replace("NEAR", near))


def over(desk, name, seconds=60.0):
    until = time.monotonic() + seconds
    while (now := task(desk, name, Log())).state == "running":
        assert time.monotonic() < until, now
        time.sleep(0.05)
    return now


# -- models ------------------------------------------------------------------------------------------
def test_local_models_have_size_sum_and_state(desk):
    [one] = models(desk).local
    known = catalog.CATALOG["smollm2-135m"]
    assert (one.name, one.state, one.size, one.sha256) == (known.name, "not here", known.size, known.sha256)
    catalog.models_folder().mkdir(parents=True)
    (catalog.models_folder() / known.file).write_bytes(b"GGUF")
    assert models(desk).local[0].state == "damaged"
    with pytest.raises(Conflict, match="crossplay models pull"):
        probe_model(desk, known.name, Nothing())
    (catalog.models_folder() / "added.json").write_text("{")
    assert "added.json" in models(desk).trouble[0]


def test_endpoints_come_without_secrets_and_are_asked_only_where_that_is_safe(desk):
    run_named(desk, "a")
    run_named(desk, "b")
    (desk.root / "b" / "study.toml").write_text("[models")  # damaged
    run_named(desk, "c")
    told = models(desk)
    assert "secret-word" not in msgspec.json.encode(told).decode()
    near, far = told.endpoints
    assert (far.url, far.model, far.key_env, far.asks) == ("https://api.example/v1", "big", "BIG_KEY", False)
    assert (near.url, near.asks, near.runs) == ("http://127.0.0.1:9/v1", True, ["a", "c"])
    with pytest.raises(Forbidden, match="--key-env BIG_KEY"):
        bench_model(desk, far.id, BenchAsked())
    for name in ("--help", "http://127.0.0.1:9/v1#small", "../x", "scripted"):
        with pytest.raises(NotFound):
            probe_model(desk, name, Nothing())


def test_prices_have_their_dates(desk):
    prices = models(desk).prices
    assert prices and all(p.date and p.source and p.input >= 0 for p in prices)


def test_an_endpoint_of_this_machine_is_probed_and_measured_and_both_stay(desk):
    with Loopback() as endpoint:
        run_named(desk, "a", endpoint.url)
        [near] = [e for e in models(desk).endpoints if e.asks]
        first = probe_model(desk, near.id, Nothing())
        with pytest.raises(Conflict):
            bench_model(desk, near.id, BenchAsked())
        over(desk, first.id)
        end = over(desk, bench_model(desk, near.id, BenchAsked(repeats=1, at_once=2)).id)
        assert end.state == "done", end.log
    told = models(Desk(desk.root))  # another server on the same folder
    [near] = [e for e in told.endpoints if e.asks]
    assert near.probe is not None and {f.name for f in near.probe.findings} >= {"seed", "usage"}
    assert [level.at_once for level in near.bench.whole.levels] == [1, 2] and near.going is None


def test_probes_and_benches_of_local_models_are_shown(desk):
    seen = [Finding("seed", "no", "unequal"), Finding("tools", "yes")]
    record(Probe("smollm2-135m", {}, "x", "2026-01-01", Capabilities(seed=True), seen, Usage()))
    bench = Bench("smollm2-135m", 1, levels=[Level(1, Range(1.0, 1.0, 1.0, 1), None)])
    file = desk.root / "models" / "bench" / "smollm2-135m.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(msgspec.json.encode(Kept(5.0, 0, bench)))
    [one] = models(desk).local
    assert (one.probe.broken, one.probe.when, one.bench.at) == (["seed"], "2026-01-01", 5.0)
    assert one.bench.whole.levels[0].tokens_s.median == 1.0
    file.write_bytes(b"{")
    assert models(desk).local[0].bench is None


# -- jobs --------------------------------------------------------------------------------------------
def job(desk, name="mine", **more):
    given = {"command": [sys.executable, "-m", "crossplay_worker.frameworks.sb3"], "env": "matrix/stag_hunt", **more}
    return create(desk.root / "jobs", Spec(id=name, name="sb3", **given))


def stands(folder, state, **more):
    folder.write(State(state=state, **more))
    return folder


def test_jobs_stand_with_state_heartbeat_and_curves(desk):
    folder = stands(job(desk), "running", pid=1, heard=time.time() - 30, step=20, metrics={"return": 2.0}, attempt=2)
    lines = [{"at": 1.0, "attempt": 1, "seq": i, "kind": "metrics", "step": 10 * i, "return": float(i), "odd": "nan"} for i in range(3)]  # fmt: skip
    lines += [{"kind": "log", "text": "hello"}, {"kind": "metrics", "step": "x", "return": 3.0}]
    (folder.path / "events.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, lines)) + b'\n{"cut')
    assert workers(desk).jobs[0].state == "lost"  # nobody holds its lock
    lock = Held(folder.path / "lock")
    try:
        [one] = workers(desk).jobs
        assert one.state == "running" and 29 < one.heard_s < 40 and (one.step, one.starts) == (20, 2)
        told = show_job(desk, "mine", JobQuery(lines=2))
        assert [(c.name, c.points) for c in told.curves] == [("return", [(0.0, 0.0), (10.0, 1.0), (20.0, 2.0)])]
        assert told.log[-1] == '{"cut' and len(told.log) == 2
        stop_job(desk, "mine")
        assert (folder.path / "stop").exists()
        with pytest.raises(Conflict, match="running"):
            resume_job(desk, "mine", Resumed())
    finally:
        lock.release()
    with pytest.raises(Conflict, match="nothing to stop"):
        stop_job(desk, "mine")


def test_long_curves_are_thinned_and_keep_their_end(desk):
    folder = job(desk)
    lines = [{"kind": "metrics", "step": i, "return": 1.0} for i in range(5000)]
    (folder.path / "events.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, lines)))
    [curve] = show_job(desk, "mine", JobQuery(log="stderr")).curves
    assert len(curve.points) <= of_workers.POINTS + 1 and curve.points[0][0] == 0 and curve.points[-1][0] == 4999


def test_a_damaged_job_hides_no_other(desk):
    job(desk, "good")
    (job(desk, "bad").path / "job.json").write_text("{")
    told = workers(desk)
    assert [j.id for j in told.jobs] == ["good"] and "bad" in told.trouble[0]
    with pytest.raises(CrossplayError):
        show_job(desk, "bad", JobQuery())
    for name in ("nobody", "..", "../runs", "good/..", ""):
        with pytest.raises(NotFound):
            show_job(desk, name, JobQuery())


def test_a_job_goes_on_from_here_only_with_what_is_installed(desk, monkeypatch):
    started = []
    monkeypatch.setattr(of_workers, "launch", lambda folder: started.append(folder.id))
    stands(job(desk), "cancelled", step=10)
    assert resume_job(desk, "mine", Resumed(steps=500)).steps == 500 and started == ["mine"]
    assert Folder(desk.root / "jobs" / "mine").spec().steps == 500
    stands(job(desk, "whole"), "done", step=100_000)
    with pytest.raises(Conflict, match="more than 100000"):
        resume_job(desk, "whole", Resumed())
    stands(job(desk, "own", command=[sys.executable, "mine.py"]), "failed")
    with pytest.raises(Forbidden, match="crossplay jobs resume own"):
        resume_job(desk, "own", Resumed())
    assert started == ["mine"]


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ["/bin/sh", "-m", "crossplay_worker.frameworks.sb3"]},
        {"command": [sys.executable, "-m", "crossplay_worker.frameworks.sb3", "-x"]},
        {"command": [sys.executable, "-m", "http.server"]},
        {"command": [sys.executable, "-c", "crossplay_worker.frameworks.sb3"]},
        {"variables": {"LD_PRELOAD": "/tmp/x.so"}},
        {"fill": {"type": "worker", "command": ["sh"]}},
        {"fill": "python:mine.py:make"},
        {"env": "gym:evil_module:Thing-v0"},
    ],
)
def test_what_a_job_names_beyond_that_is_told(changes):
    given = {"command": [sys.executable, "-m", "crossplay_worker.frameworks.sb3"], "env": "matrix/stag_hunt"}
    assert installed(Spec(id="x", name="x", **given, fill="random", variables=frameworks.kit())) == ""
    assert installed(Spec(id="x", name="x", **{**given, **changes}))


def test_interpreters_are_read_from_their_folder(tmp_path):
    for name, note in (("made", {"kit": "kit", "python": "3.11.7", "packages": ["sb3"]}), ("other", None), ("gone", {"kit": "kit"})):  # fmt: skip
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "pyvenv.cfg").touch()
        if name != "gone":
            (tmp_path / name / "bin" / "python").touch()
        if note:
            (tmp_path / name / "crossplay.json").write_bytes(msgspec.json.encode({"name": name, **note}))
    (tmp_path / "no environment").mkdir()
    found = {i.name: i for i in interpreters(tmp_path)}
    assert {n: i.state for n, i in found.items()} == {"made": "ready", "other": "not made by Crossplay", "gone": "its interpreter is gone"}  # fmt: skip
    assert (found["made"].python, found["made"].packages) == ("3.11.7", ["sb3"])
    assert interpreters(tmp_path / "nowhere") == []


def test_workers_of_runs_are_told_with_what_they_are_and_what_went_wrong(desk):
    worker = Path(__file__).parents[1] / "agents" / "workers" / "steady.py"
    study = {
        "study": {"name": "wk", "blocks": 2, "margin": 1.0},
        "environments": {"kitchen": {"name": "kitchen/cramped_room", "options": {"horizon": 10}}},
        "agents": {"steady": {"type": "worker", "command": ["python", str(worker), "none"]}, "chef": {"type": "chef"}},
        "lineups": {"one": ["steady", "chef"], "both": ["steady", "steady"], "chefs": ["chef", "chef"]},
        "controls": {"floor": False, "ceiling": False},
    }
    crossplay.run(study, desk.root / "one", trust=True)
    shutil.copytree(desk.root / "one", desk.root / "two")
    [seen] = workers(desk).seen
    assert (seen.agent, seen.worker, seen.runs) == ("steady", "steady", ["one", "two"])
    assert seen.episodes == 2 * 2 * 2, "of two runs, two lineups and two blocks, whatever seats it had"
    assert seen.decisions == 2 * 2 * (1 + 2) * 10 and seen.wall_s > 0
    assert (seen.voids, seen.retries, seen.late, seen.faults) == (0, 0, 0, 0)
    assert "steady.py" in seen.command and list(seen.files) == ["steady.py"] and seen.wire


def test_over_http(desk):
    stands(job(desk), "failed", why="it broke")
    run_named(desk, "a")
    with TestClient(make_app(desk), base_url="http://127.0.0.1:8765") as client:
        api = "/api/v1"
        assert client.get(f"{api}/models").json()["endpoints"][0]["model"]
        told = client.get(f"{api}/workers").json()
        assert told["jobs"][0]["why"] == "it broke" and "a: " in " ".join(told["trouble"])
        assert client.get(f"{api}/workers/jobs/mine", params={"log": "engine"}).status_code == 200
        assert client.get(f"{api}/workers/jobs/mine", params={"log": "../job.json"}).status_code == 422
        assert client.get(f"{api}/workers/jobs/mine", params={"lines": 10**9}).status_code == 422
        assert client.get(f"{api}/workers/jobs/..%2f..%2fx").status_code == 404
        assert client.post(f"{api}/workers/jobs/mine/stop", json={}).status_code == 409
        assert client.post(f"{api}/workers/jobs/mine/resume", json={"command": "sh"}).status_code == 422
        assert client.post(f"{api}/models/nobody/probe", json={}).status_code == 404
        assert client.post(f"{api}/models/nobody/bench", json={"repeats": 0}).status_code == 422
