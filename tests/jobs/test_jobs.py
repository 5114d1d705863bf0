"""Jobs: supervised, restarted from the last checkpoint, stopped, lost and found, one GPU slot each."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from crossplay_worker import weights
from crossplay_worker.frames import Codec
from crossplay_worker.messages import Train
from crossplay_worker.train import QUEUE, Job

from crossplay.cli import main
from crossplay.jobs.frameworks import command, kit
from crossplay.jobs.locks import Held, claim, gpus, held
from crossplay.jobs.registry import Folder, Spec, create, find, jobs
from crossplay.jobs.running import PICKLED, Runner, launch
from crossplay.jobs.telling import Book, read
from crossplay.kernel import CrossplayError
from crossplay.wire.messages import Event

TINY = str(Path(__file__).parent / "tiny_trainer.py")


def job(root, *words, **more):
    given = {"steps": 60, "heartbeat_s": 0.2, "stop_s": 5.0, "variables": kit(), **more}
    return create(
        root, Spec(id="tiny", name="tiny", command=[sys.executable, TINY, *words], env="matrix/stag_hunt", **given)
    )


def logs(folder):
    return [e["text"] for e in read(folder.path) if e["kind"] == "log"]


def until(true, seconds=20.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# -- the good case -----------------------------------------------------------------------------------------


def test_a_job_runs_to_its_end(tmp_path):
    folder = job(tmp_path)
    told = []
    state = Runner(folder, lambda s, steps: told.append((s.step, steps))).run()
    assert (state.state, state.result) == ("done", {"at": 60, "dropped": 0})
    assert folder.state() == state and state.pid == 0 and not held(folder.path / "lock")
    assert state.checkpoint == "checkpoints/60.json" and state.checkpoint_step == 60 == state.step
    assert state.lost_events == 0 and state.deaths == [] and told and told[-1][1] == 60
    assert (folder.path / "stdout.log").read_text() == "standard output\n"
    assert (folder.path / "stderr.log").read_text() == "standard error\n"
    events = read(folder.path)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1)) and len(events) == state.events
    metrics = [e for e in events if e["kind"] == "metrics"]
    assert [e["step"] for e in metrics] == [10, 20, 30, 40, 50, 60] and metrics[1]["loss"] == pytest.approx(0.05)
    assert state.worker["about"]["python"]


def test_tensorboard_files_hold_the_metrics(tmp_path):
    from tensorboardX.proto.event_pb2 import Event as Proto

    folder = job(tmp_path)
    Runner(folder).run()
    (file,) = (folder.path / "tensorboard").iterdir()
    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):  # records of TensorFlow: length, its sum, content, its sum
        size = int.from_bytes(data[at : at + 8], "little")
        event = Proto.FromString(data[at + 12 : at + 12 + size])
        at += 16 + size
        found.update({(v.tag, event.step): v.simple_value for v in event.summary.value})
    assert found[("loss", 20)] == pytest.approx(0.05) and ("loss", 60) in found


# -- deaths ------------------------------------------------------------------------------------------------


def test_a_killed_worker_goes_on_from_its_last_checkpoint(tmp_path):
    folder = job(tmp_path, config={"how": "die"})
    state = Runner(folder).run()
    assert state.state == "done" and state.attempt == 2 and "SIGKILL" in state.deaths[0]
    assert [text.split(",")[0] for text in logs(folder)] == ["from 0", "from 30"]
    assert {e["attempt"] for e in read(folder.path)} == {1, 2} and state.lost_events == 0


def test_a_checkpoint_without_suffix_is_gone_on_from(tmp_path):
    folder = job(tmp_path, config={"how": "die", "form": "name"})
    state = Runner(folder).run()
    assert state.state == "done" and [text.split(",")[0] for text in logs(folder)] == ["from 0", "from 30"]
    assert state.checkpoint == "checkpoints/60.safetensors" and not any("checkpoint" in n for n in state.notes)


def test_no_job_resumes_from_a_pickled_checkpoint(tmp_path):
    assert PICKLED == weights.PICKLED
    state = Runner(job(tmp_path, config={"how": "pickle"})).run()
    assert state.state == "done" and state.checkpoint == "checkpoints/60.json"
    assert len([n for n in state.notes if "can run code when it is opened" in n]) == 2
    state = Runner(job(tmp_path, config={"how": "pickle", "kit": True})).run()
    assert state.state == "failed" and "2.PKL: no job resumes from files that can run code" in state.why


def test_a_worker_that_dies_too_often_fails(tmp_path):
    folder = job(tmp_path, config={"how": "die", "at": 5, "always": True}, restarts=2)
    state = Runner(folder).run()
    assert (
        state.state == "failed" and state.attempt == 3 and "went away 3 times" in state.why and "SIGKILL" in state.why
    )


def test_a_worker_that_fails_is_not_started_again(tmp_path):
    state = Runner(folder := job(tmp_path, config={"how": "fail"})).run()
    assert state.state == "failed" and state.attempt == 1 and "the loss is not a number" in state.why
    assert "RuntimeError" in (folder.path / "stderr.log").read_text()
    assert state.checkpoint_step == 30


def test_an_interpreter_without_the_framework_is_named(tmp_path):
    state = Runner(job(tmp_path, config={"how": "lack"})).run()
    assert state.state == "failed" and f"{sys.executable} lacks the module no_such_framework" in state.why


@pytest.mark.parametrize("heartbeat_s", [0.1, 1000.0])
def test_a_trainer_that_hangs_is_ended_though_its_heart_beats(tmp_path, heartbeat_s):
    folder = job(tmp_path, config={"how": "hang", "for": 30}, silence_s=2.0, heartbeat_s=heartbeat_s, restarts=0)
    state = Runner(folder).run()
    assert state.state == "failed" and "did nothing for 2 s (no step, metrics or checkpoint)" in state.why
    assert not alive(int((folder.path / "alive").read_text()))


def test_a_trainer_that_hung_goes_on_from_its_checkpoint(tmp_path):
    folder = job(tmp_path, config={"how": "hang", "for": 30}, silence_s=2.0, heartbeat_s=0.1)
    state = Runner(folder).run()
    assert state.state == "done" and state.attempt == 2 and "did nothing" in state.deaths[0]
    assert logs(folder)[-1].startswith("from 30")


def test_a_long_phase_that_says_so_is_no_hang(tmp_path):
    folder = job(tmp_path, config={"how": "think"}, silence_s=2.0, heartbeat_s=0.1)
    assert Runner(folder).run().state == "done"


def test_steps_are_progress_and_heartbeats_tell_it(tmp_path):
    folder = job(tmp_path, config={"slow": 0.3}, steps=9, silence_s=2.0, heartbeat_s=0.1)
    assert Runner(folder).run().state == "done"
    beats = [e for e in read(folder.path) if e["kind"] == "heartbeat"]
    assert beats and beats[-1]["cpu_s"] > 0 and beats[-1]["rss_kb"] > 0
    assert [b["progress"] for b in beats] == sorted(b["progress"] for b in beats) and beats[-1]["progress"] > 5


def test_while_the_engine_works_nobody_hangs(tmp_path, monkeypatch):
    import crossplay.jobs.envserver as server

    step = server.Environments._step
    slow = [3.0]
    monkeypatch.setattr(
        server.Environments, "_step", lambda self, m: time.sleep(slow.pop() if slow else 0) or step(self, m)
    )
    assert Runner(job(tmp_path, silence_s=2.0, restarts=0)).run().state == "done"


@pytest.mark.parametrize(
    ("words", "said"), [(["--plain"], "does not train"), (["--nothing"], "no module named patience")]
)
def test_what_is_no_trainer(tmp_path, words, said):
    state = Runner(job(tmp_path, *words)).run()
    assert state.state == "failed" and said in state.why and state.attempt == 1


def test_an_environment_that_does_not_exist_fails_the_job_with_its_nearest(tmp_path):
    folder = job(tmp_path)
    spec = folder.spec()
    spec.env = "matrix/stag_hnt"
    folder.write(spec)
    state = Runner(folder).run()
    assert state.state == "failed" and "stag_hunt" in state.why


# -- stopping and going on -----------------------------------------------------------------------------------


def running(folder):
    thread = threading.Thread(target=lambda: states.append(Runner(folder).run()))
    states = []
    thread.start()
    return thread, states


def test_a_job_is_stopped_and_resumed(tmp_path):
    folder = job(tmp_path, config={"slow": 0.02}, steps=100)
    thread, states = running(folder)
    until(lambda: folder.state().checkpoint_step >= 10)
    assert folder.state().state == "running"
    with pytest.raises(CrossplayError, match="already running"):
        Runner(folder).run()
    folder.stop()
    thread.join(20)
    assert states[0].state == folder.state().state == "cancelled" and states[0].step < 100
    state = Runner(folder).run()
    assert state.state == "done" and state.result["at"] == 100 and not (folder.path / "stop").exists()
    assert logs(folder)[-1].startswith(f"from {states[0].checkpoint_step},") and states[0].checkpoint_step > 0


def test_a_stop_before_the_engine_runs_is_not_lost(tmp_path):
    folder = job(tmp_path)
    folder.stop()
    state = Runner(folder).run()
    assert state.state == folder.state().state == "cancelled" and state.attempt == 0
    assert not (folder.path / "stop").exists()
    folder.stop()  # of an engine that is gone by now
    folder.again()
    assert Runner(folder).run().state == "done"


def test_an_interrupted_command_stops_its_job(tmp_path):
    words = ["train", "matrix/stag_hunt", "--worker", TINY, "--steps", "9999", "--slow", "0.01", "--out", "jobs"]
    command = subprocess.Popen([sys.executable, "-m", "crossplay", *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    folder = Folder(tmp_path / "jobs" / "matrix-stag_hunt-tiny_trainer-1")
    until(lambda: (folder.path / "job.json").exists() and folder.state().checkpoint_step >= 10)
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=20)
    assert command.returncode == 130 and "cancelled" in out and "jobs resume" in out, err
    assert folder.state().state == "cancelled" and folder.state().checkpoint


def test_a_trainer_that_does_not_stop_is_ended(tmp_path):
    folder = job(tmp_path, config={"slow": 0.02, "stubborn": True}, steps=10_000, stop_s=0.3)
    thread, states = running(folder)
    until(lambda: folder.state().step >= 10)
    folder.stop()
    thread.join(20)
    assert states[0].state == "cancelled" and "did not stop in 0.3 s" in states[0].why and states[0].attempt == 1


def test_a_killed_engine_leaves_no_orphan_and_a_job_that_can_be_found(tmp_path):
    folder = job(tmp_path, config={"slow": 0.02}, steps=200)
    pid = launch(folder)
    until(lambda: folder.state().checkpoint_step >= 10 and (folder.path / "alive").exists())
    worker = int((folder.path / "alive").read_text())
    assert alive(worker) and folder.state().state == "running"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    until(lambda: not alive(worker), 5.0)
    state = folder.state()
    assert state.state == "lost" and state.why == "its engine is gone"
    spec = folder.spec()
    spec.config = {}
    folder.write(spec)
    again = Runner(folder).run()
    assert again.state == "done" and logs(folder)[-1].startswith("from ") and not logs(folder)[-1].startswith("from 0,")


# -- what trainers tell -------------------------------------------------------------------------------------


def test_what_a_trainer_tells_is_looked_at(tmp_path):
    state = Runner(folder := job(tmp_path, config={"how": "lie"})).run()
    assert state.state == "done" and state.checkpoint == "checkpoints/60.json"
    assert len([n for n in state.notes if "no file of the job's folder" in n]) == 2
    assert state.lost_events == 5
    odd = [e for e in read(folder.path) if "cannot be kept" in e.get("text", "")]
    assert len(odd) == 1 and max(map(len, (folder.path / "events.jsonl").read_bytes().splitlines())) < 1 << 16
    (mixed,) = [e for e in read(folder.path) if e.get("good") == 1.0]
    assert mixed["bad"] == "nan" and "bad" not in state.metrics and state.metrics["good"] == 1.0
    assert "metrics: bad is not always a finite number; see events.jsonl" in state.notes


def test_metrics_that_are_no_numbers_are_kept_as_text(tmp_path):
    book = Book(tmp_path, 1)
    data = {"loss": float("nan"), "kl": float("-inf"), "note": "odd", "many": [1], "step": 5, "on": True}
    assert book.add(Event(seq=1, kind="metrics", data=data)) == {"step": 5}
    assert book.add(Event(seq=2, kind="metrics", data={f"{'x' * 70}{n}": 1.0 for n in range(2000)})) == {}
    book.close()
    first, second = read(tmp_path)
    assert {k: first[k] for k in data} == {
        "loss": "nan",
        "kl": "-inf",
        "note": "odd",
        "many": "[1]",
        "step": 5,
        "on": "True",
    }
    assert second["kind"] == "log" and "cannot be kept" in second["text"]


def test_the_last_metrics_are_no_old_ones(tmp_path):
    runner = Runner(folder := job(tmp_path))
    runner._open_book()
    for seq, loss in enumerate((0.5, float("nan"), 0.25, float("inf")), 1):
        runner._told(Event(seq=seq, kind="metrics", data={"step": seq, "loss": loss}))
        assert runner.state.metrics == {"step": seq, **({"loss": loss} if loss in (0.5, 0.25) else {})}
    runner._told(Event(seq=5, kind="metrics", data={f"{'x' * 70}{n}": 1.0 for n in range(2000)}))
    runner._close_book()
    runner._write()
    assert folder.state().metrics == {"step": 4} and len([n for n in runner.state.notes if "loss" in n]) == 1


@pytest.mark.parametrize(
    ("how", "result", "said"),
    [
        ("arrays", {"at": 60, "mean": [[0.0, 0.0], [0.0, 0.0]]}, []),
        ("large", None, ["the worker's result cannot be kept"]),
    ],
)
def test_whatever_a_trainer_answers_its_job_ends(tmp_path, how, result, said):
    state = Runner(folder := job(tmp_path, config={"how": how})).run()
    assert state.state == "done" and state.result == result and folder.state() == state
    assert [n.partition(":")[0] for n in state.notes if "TensorBoard" not in n] == said
    assert not held(folder.path / "lock")


def test_what_a_worker_says_of_itself_may_be_an_array(tmp_path):
    runner = Runner(job(tmp_path))
    assert runner._kept("it", {"a": np.arange(2), "b": {1: (2.5, None)}}) == {"a": [0, 1], "b": {"1": [2.5, None]}}
    assert runner._kept("it", {"a": object()}) is None and runner.state.notes == [
        "it cannot be kept: object is no JSON"
    ]


def test_a_state_that_cannot_be_written_frees_the_lock(tmp_path, monkeypatch):
    folder = job(tmp_path)
    monkeypatch.setattr(folder, "write", lambda state: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        Runner(folder).run()
    assert not held(folder.path / "lock")


def test_steps_that_are_none_harm_nothing(tmp_path):
    state = Runner(job(tmp_path, config={"how": "steps"})).run()
    assert state.state == "done" and state.step == 60 and state.checkpoint == "checkpoints/60.json"


def test_gaps_are_counted_and_a_torn_line_is_left_out(tmp_path):
    book = Book(tmp_path, 1)
    for seq in (1, 2, 5, 6, 9):
        book.add(Event(seq=seq, kind="log", data={"text": str(seq)}))
    book.close()
    assert (book.lost, book.count) == (4, 5)
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(b'{"seq": 10, "ki')
    assert [e["seq"] for e in read(tmp_path)] == [1, 2, 5, 6, 9] and len(read(tmp_path, 3)) == 2


def test_telling_never_waits_for_whoever_reads():
    ours, theirs = socket.socketpair()
    sent = []

    class Conn:
        codec = Codec()

        def send(self, message):
            sent.append(message)
            ours.sendall(self.codec.frame(message))

    work = Job(Conn(), Train(id=1, spec={"heartbeat_s": 1000}, folder="/nowhere"))
    for step in range(20_000):  # nobody reads
        work.metrics(step, loss=1.0, text=2.0)
        if step == 15_000:
            work._tell("checkpoint", {"path": "x", "step": step})
    assert work.dropped > 10_000 and len(work._events) <= QUEUE
    told = [e.kind for e in [*sent, *work._events]]
    assert told.count("checkpoint") == 1, "checkpoints are not dropped"
    theirs.close()
    work.close(1.0)
    ours.close()


# -- slots of GPUs ------------------------------------------------------------------------------------------


def test_slots_are_claimed_by_one_at_a_time(tmp_path):
    holding, most, lock = [0], [0], threading.Lock()

    def work():
        for _ in range(5):
            taken = claim(2, ("fake0", "fake1", "fake2"), tmp_path)
            with lock:
                holding[0] += len(taken)
                most[0] = max(most[0], holding[0])
            time.sleep(0.002)
            with lock:
                holding[0] -= len(taken)
            for _, slot in taken:
                slot.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in threads]
    [t.join(30) for t in threads]
    assert most[0] == 2 and holding[0] == 0
    with pytest.raises(CrossplayError, match="this machine has none"):
        claim(1, (), tmp_path)
    first = claim(1, ("fake0",), tmp_path)
    with pytest.raises(CrossplayError, match="no GPU slot"):
        claim(1, ("fake0",), tmp_path, lambda: False)
    first[0][1].release()


def test_a_slot_outlives_nobody(tmp_path):
    script = f"import time; from pathlib import Path; from crossplay.jobs.locks import Held; h = Held(Path({str(tmp_path)!r}) / 'fake0.lock'); print(1, flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    child.stdout.readline()
    assert held(tmp_path / "fake0.lock")
    with pytest.raises(BlockingIOError):
        Held(tmp_path / "fake0.lock")
    child.kill()
    child.wait()
    assert not held(tmp_path / "fake0.lock")
    Held(tmp_path / "fake0.lock").release()


def test_jobs_wait_for_the_one_fake_slot(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSPLAY_GPUS", "fake0")
    monkeypatch.setenv("CROSSPLAY_SLOTS", str(tmp_path / "slots"))
    assert gpus() == ("fake0",)
    folders = [job(tmp_path / "jobs", gpus=1, config={"slow": 0.005}) for _ in range(2)]
    threads = [running(f) for f in folders]
    until(lambda: any(f.state().state == "running" for f in folders))
    assert sorted(f.state().state for f in folders) in (["queued", "running"], ["done", "running"], ["done", "queued"])
    for thread, _ in threads:
        thread.join(30)
    spans = sorted((s[0].started, s[0].ended) for _, s in threads)
    assert spans[0][1] <= spans[1][0] + 0.3 and all(s[0].state == "done" for _, s in threads)
    assert all("slots 'fake0'" in logs(f)[0] for f in folders)
    waits = job(tmp_path / "jobs", gpus=1)
    slot = Held(tmp_path / "slots" / "fake0.lock")
    thread, states = running(waits)
    until(lambda: waits.state().pid)
    waits.stop()
    thread.join(20)
    slot.release()
    assert states[0].state == "cancelled" and states[0].attempt == 0
    state = Runner(job(tmp_path / "jobs", gpus=2)).run()
    assert state.state == "failed" and "2 GPU slots asked for; this machine has fake0" in state.why


def test_a_job_without_a_slot_sees_no_gpu(tmp_path):
    Runner(folder := job(tmp_path)).run()
    assert "slots ''" in logs(folder)[0]


# -- names --------------------------------------------------------------------------------------------------


def test_jobs_are_found_by_name(tmp_path):
    one, two = job(tmp_path), job(tmp_path)
    assert [f.id for f in jobs(tmp_path)] == [one.id, two.id] == ["tiny", "tiny.2"]
    assert find(tmp_path, "tiny.2").spec().created == two.spec().created
    with pytest.raises(CrossplayError, match='Did you mean "tiny"'):
        find(tmp_path, "tinny")
    with pytest.raises(CrossplayError, match="no job"):
        find(tmp_path, "../tiny")
    with pytest.raises(CrossplayError, match="job.json is missing"):
        Folder(tmp_path).spec()
    state = one.state()
    state.queued -= 100
    one.write(state)
    assert one.state().state == "lost" and two.state().state == "queued"
    one.again()  # of an old job, for an engine that is on its way
    assert one.state().state == "queued" and one.spec().created < one.state().queued


def test_workers_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert command("sb3") == [sys.executable, "-m", "crossplay_worker.frameworks.sb3"]
    there = tmp_path / ".venvs" / "sb3" / "bin" / "python"
    there.parent.mkdir(parents=True)
    there.symlink_to(sys.executable)
    assert command("sb3")[0] == str(there)
    (tmp_path / "mine.py").touch()
    assert command("mine.py", str(there)) == [str(there), str(tmp_path / "mine.py")]
    for name, python, said in (
        ("sb4", "", "sb3"),
        ("other.py", "", "no file"),
        ("sb3", "/nowhere/python", "no interpreter"),
    ):
        with pytest.raises(CrossplayError, match=said):
            command(name, python)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        assert ended.value.code == code, said
        return said.out if code == 0 else said.err

    out = run("train", "matrix/stag_hunt", "--worker", TINY, "--steps", "30", "--out", "jobs", "--option", "rounds=4", "--slow", "0.001")  # fmt: skip
    assert "matrix-stag_hunt-tiny_trainer-1: done" in out
    (listed,) = json.loads(run("jobs", "list", "--in", "jobs", "--json"))
    assert listed["state"]["state"] == "done" and listed["spec"]["options"] == {"rounds": 4}
    assert listed["spec"]["config"] == {"slow": 0.001}
    assert "is done; --steps" in run("jobs", "resume", listed["job"], "--in", "jobs", code=2)
    assert ": done" in run("jobs", "resume", listed["job"], "--steps", "60", "--in", "jobs")
    assert "60 of 60 decisions" in run("jobs", "show", listed["job"], "--in", "jobs")
    (line,) = run("jobs", "tail", listed["job"], "--lines", "1", "--in", "jobs").splitlines()
    assert json.loads(line)["step"] == 60
    back = json.loads(
        run("train", "matrix/stag_hunt", "--worker", TINY, "--steps", "20", "--out", "jobs", "--detach", "--json")
    )
    assert '"step":20' in run("jobs", "tail", back["job"], "--follow", "--in", "jobs").splitlines()[-1]
    assert "there is nothing to stop" in run("jobs", "stop", back["job"], "--in", "jobs")
    assert "belongs to --worker" in run("train", "spread", "--steps", "5", code=2)
    assert "agent_0" in run("train", "spread", "--worker", TINY, "--seat", "agent_9", code=2)
    assert "no seat" in run("train", "spread", "--worker", TINY, "--fill", "agent_9=random", code=2)
