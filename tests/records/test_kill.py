"""SIGKILL, a full disk, a second writer, an unwritable folder: what was reported is there, and nothing else."""

import multiprocessing
import os
import random
import sqlite3
import time
from multiprocessing import forkserver
from pathlib import Path

import pytest
from run_helpers import STUDY, record

from crossplay.kernel import CrossplayError
from crossplay.records import RunError, RunFolder, check_seals
from crossplay.records.manifest import Manifest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs the process calls of POSIX")


@pytest.fixture(scope="module")
def start():
    """start(function of kill_child, *arguments) -> (process, pipe); processes begin with all imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "polars", "kill_child"])
    import kill_child

    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:  # the server does not take over sys.path before 3.13
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent)]))
        forkserver.ensure_running()

    def begin(name, *arguments):
        ours, theirs = context.Pipe()
        process = context.Process(target=getattr(kill_child, name), args=(*arguments, theirs))
        process.start()
        theirs.close()
        return process, ours

    return begin


def ids(pipe):
    """Every id that was told before the other end closed."""
    found = []
    try:
        while True:
            found.append(int.from_bytes(pipe.recv_bytes(), "little"))
    except (EOFError, ConnectionResetError):
        return found


def test_after_sigkill_every_reported_episode_is_there_and_nothing_partial(tmp_path, start):
    path, chance, reported = tmp_path / "run", random.Random(11), []
    RunFolder.create(path, STUDY).close()
    for kill in range(20):
        process, pipe = start("write_for_ever", path, kill * 1000, kill % 2 == 1)
        assert pipe.poll(60)  # it lives and has committed one
        time.sleep(chance.random() * 0.06)
        process.kill()
        process.join()
        reported += ids(pipe)
        if kill % 5 == 4:
            assert check_seals(path) == []
        with RunFolder.open(path) as run:
            stored = {r.id for r in run.records()}
            assert set(reported) <= stored and len(stored) - len(reported) <= 3 * (kill + 1)
    assert len(reported) == len(set(reported)) >= 40
    RunFolder.open(path, write=True).close()
    assert check_seals(path) == []
    with RunFolder.open(path) as run:
        rows = [e[:15] for e in record(0).events]
        assert all([tuple(e[:15]) for e in t.events()] == rows for _, t in run.tables())  # all but wall clock, notes
        parts = {row[0] for row in run._query("SELECT part FROM parts")}
        assert {f.name for f in (path / "trace").iterdir()} == parts and len(parts) >= 4


@pytest.mark.parametrize("limit", [120_000, 200_000])
def test_a_full_disk_keeps_what_was_reported_and_leaves_nothing_of_the_open_episode(tmp_path, start, limit):
    path = tmp_path / "run"
    RunFolder.create(path, STUDY).close()
    process, pipe = start("write_until_full", path, limit)
    line, stored = pipe.recv()
    process.join()
    assert line.startswith(f"3 {path}: the disk is full") and "\n" not in line
    assert check_seals(path) == []
    with RunFolder.open(path) as run:
        assert [r.id for r in run.records()] == stored and len(stored) > 2
        assert all(run.events(i) for i in stored)


def test_a_full_disk_at_the_end_leaves_the_rows_in_the_buffer(tmp_path, start):
    path = tmp_path / "run"
    RunFolder.create(path, STUDY).close()
    process, pipe = start("close_when_full", path)
    line = pipe.recv()
    process.join()
    assert line.startswith(f"3 {path}") and "the disk is full" in line and "\n" not in line
    assert check_seals(path) == [] and not list((path / "trace").iterdir())
    RunFolder.open(path, write=True).close()
    assert len(list((path / "trace").iterdir())) == 1 and check_seals(path) == []


def test_a_live_writer_is_named_and_a_dead_one_is_taken_over(tmp_path, start):
    path = tmp_path / "run"
    RunFolder.create(path, STUDY).close()
    process, pipe = start("hold", path)
    assert pipe.recv() == "run"
    with pytest.raises(RunError, match=f"another process is writing this run .process {process.pid} on ") as error:
        RunFolder.open(path, write=True)
    assert error.value.exit_code == 3
    with RunFolder.open(path) as reader:  # readers need no lock
        assert len(reader) == 0
    process.kill()
    process.join()
    with RunFolder.open(path, write=True) as run:
        run.put(record(0))


def test_a_forked_worker_cannot_write(tmp_path):
    with RunFolder.create(tmp_path / "run", STUDY) as run:
        run._pid += 1  # what a forked child sees
        with pytest.raises(RunError, match="only the process that opened"):
            run.put(record(0))
        run._pid -= 1


@pytest.mark.parametrize("write", ["create", "open"])
def test_an_unwritable_place_is_one_clear_line(tmp_path, write):
    (tmp_path / "file").write_text("")
    with pytest.raises(CrossplayError) as error:
        if write == "create":
            RunFolder.create(tmp_path / "file" / "run", STUDY)
        else:
            RunFolder.open(tmp_path / "file" / "run", write=True)
    assert error.value.exit_code == 3 and "\n" not in str(error.value) and "file/run" in str(error.value)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder nobody may write, root included")
def test_a_read_only_file_system_is_one_clear_line():
    with pytest.raises(RunError, match="cannot create the run") as error:
        RunFolder.create("/proc/self/run", STUDY)
    assert error.value.exit_code == 3


@pytest.mark.parametrize("tables", [False, True])
def test_a_creation_cut_short_can_be_repeated(tmp_path, tables):
    path = tmp_path / "run"
    (path / "trace").mkdir(parents=True)
    (path / "study.toml").write_text("half")
    if tables:
        Manifest(path, write=True, create=True).close()
    else:
        (path / "manifest.sqlite").write_bytes(b"")
    assert not RunFolder.begun(path)
    with RunFolder.create(path, STUDY) as run:
        run.put(record(0))
    assert check_seals(path) == []


@pytest.mark.parametrize("lost", ["sources", "manifest"])
def test_a_run_without_its_sources_is_damaged_and_never_written_over(tmp_path, lost):
    path = tmp_path / "run"
    with RunFolder.create(path, STUDY) as run:
        run.put(record(0))
    file = path / "manifest.sqlite"
    if lost == "manifest":
        file.write_bytes(b"")
    else:
        db = sqlite3.connect(file)
        with db:
            db.execute("DELETE FROM sources")
        db.close()
    before = file.read_bytes()
    assert RunFolder.begun(path)
    with pytest.raises(CrossplayError, match="holds a run already"):
        RunFolder.create(path, STUDY)
    assert file.read_bytes() == before
