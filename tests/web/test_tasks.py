"""Commands that are started from the page: their state, log and result; stopped; at most one about a thing."""

import os
import time

import msgspec
import pytest

from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound, TooMany
from crossplay.web.service import tasks as service
from crossplay.web.service.tasks import Kept, Log, running, start, stop_task, task, tasks


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    yield found
    found.close()


def over(desk, name, seconds=60.0):
    until = time.monotonic() + seconds
    while (now := task(desk, name, Log())).state == "running":
        assert time.monotonic() < until, now
        time.sleep(0.05)
    return now


@pytest.fixture
def slow(tmp_path):
    """Arguments of a command that takes longer than any test: a random study of many episodes."""
    file = tmp_path / "long.toml"
    file.write_text(
        '[study]\nname = "long"\nblocks = 100000\nmargin = 1.0\n[environments.spread]\nname = "spread"\n'
        '[agents.random]\ntype = "random"\n[lineups]\nall = { seats = ["random", "random", "random"] }\n'
    )
    return ["run", str(file), "--out", str(tmp_path / "long"), "--json"]


def test_a_command_runs_beside_the_server_and_gives_its_result(desk):
    made = start(desk, "models list", "all", ["models", "list", "--json"])
    assert made.state == "running" and made.command == "crossplay models list --json"
    end = over(desk, made.id)
    assert (end.state, end.code) == ("done", 0)
    assert "smollm2-135m" in {e["model"]["name"] for e in end.result}
    assert tasks(desk).tasks[0].id == made.id


def test_a_result_may_outlive_its_task(desk, tmp_path):
    file = tmp_path / "kept" / "list.json"
    made = start(desk, "models list", "all", ["models", "list", "--json"], keep=file)
    end = over(desk, made.id)
    kept = msgspec.json.decode(file.read_bytes(), type=Kept)
    assert (kept.code, kept.result) == (0, end.result)


def test_what_fails_says_why(desk):
    end = over(desk, start(desk, "models probe", "x", ["models", "probe", "no-such-model", "--json"]).id)
    assert end.state == "failed" and end.code and "no-such-model" in end.log[-1]
    assert end.result is None


@pytest.mark.parametrize("args", [["serve"], ["run", "x.toml", "--trust"], []])
def test_what_starts_only_from_the_command_line_is_refused(desk, args):
    with pytest.raises(Forbidden, match="command line"):
        start(desk, "run", "x", args)


def test_one_at_a_time_about_a_thing_and_few_in_all(desk, slow, monkeypatch):
    monkeypatch.setattr(service, "AT_ONCE", 2)
    one = start(desk, "run", "long", slow, about="the study long")
    with pytest.raises(Conflict, match="the study long"):
        start(desk, "run", "long", slow, about="the study long")
    assert running(desk, "the study long").id == one.id
    start(desk, "models list", "", ["models", "list"])
    with pytest.raises(TooMany):
        start(desk, "models list", "", ["models", "list"])


def test_it_is_stopped_and_what_it_finished_stays(desk, slow, tmp_path):
    made = start(desk, "run", "long", slow, tmp_path / "long")
    until = time.monotonic() + 60
    while not (now := task(desk, made.id, Log())).runs:
        assert now.state == "running" and time.monotonic() < until, now
        time.sleep(0.05)
    stop_task(desk, made.id)
    end = over(desk, made.id)
    assert end.state == "stopped" and end.runs == ["long"]
    with pytest.raises(Conflict, match="over"):
        stop_task(desk, made.id)


def test_tasks_end_with_the_server_and_leave_no_files(tmp_path, slow):
    desk = Desk(tmp_path)
    made = start(desk, "run", "long", slow)
    state = desk.parts["tasks"]
    pid = state.found[made.id].child.pid
    desk.close()
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
    assert not state.folder.exists()


def test_ended_tasks_are_forgotten_in_the_end(desk, monkeypatch):
    monkeypatch.setattr(service, "REMEMBERED", 1)
    ids = []
    for _ in range(3):
        ids.append(start(desk, "models list", "", ["models", "list"]).id)
        over(desk, ids[-1])
    start(desk, "models list", "", ["models", "list"])
    with pytest.raises(NotFound):
        task(desk, ids[0], Log())
