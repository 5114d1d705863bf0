"""Runs: equal digests whatever plays them, nothing lost when killed, verified at every level."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from study_files import KITCHEN, MATRIX, study

from crossplay.kernel import CrossplayError
from crossplay.records import RunFolder
from crossplay.study.runner import run_study
from crossplay.study.stage import Stage
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run, verify

SHORT = KITCHEN.replace("[environments.kitchen.options]", "[environments.kitchen.options]\nhorizon = 60")
SHORT = SHORT.replace("[agents]", '[agents]\npolicy = "policy:kitchen/cramped_room-2"')
SHORT += '"policy+policy" = ["policy", "policy"]\n"policy+script" = { seats = ["policy", "script"], orders = "both" }\n"policy+random" = ["policy", "random"]\n'

EPISODES = 40


def digests(folder):
    with RunFolder.open(folder) as run:
        return {(r.cell, r.block, r.replicate): (r.world, r.mind, r.status, tuple(r.totals)) for r in run.records()}


def play(text, folder, **how):
    stage = Stage(study(text))
    stage.check()
    run_study(stage, folder, **how)
    return digests(folder)


@pytest.fixture(scope="module")
def inline(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "inline"
    return folder, play(SHORT, folder)


def test_processes_give_the_same_digests(inline, tmp_path):
    assert play(SHORT, tmp_path / "two", runner="processes", jobs=2) == inline[1]


def test_ray_gives_the_same_digests(inline, tmp_path):
    pytest.importorskip("ray", reason="the Ray runner is an extra")
    assert play(SHORT, tmp_path / "ray", runner="ray", jobs=2) == inline[1]


@pytest.mark.parametrize("width", [1, 7, 64])
def test_the_batch_width_changes_nothing(inline, tmp_path, monkeypatch, width):
    monkeypatch.setattr("crossplay.study.runner.WIDTH", width)
    monkeypatch.setattr("crossplay.study.chunks.WIDTH", width)
    assert play(SHORT, tmp_path / "run") == inline[1]


@pytest.mark.parametrize("level", ["seals", "actions", "agents"])
def test_a_run_verifies(inline, level):
    found = verify(inline[0], level)
    assert found.ok and found.episodes == EPISODES
    assert found.reexecuted == (EPISODES if level == "agents" else 0)


def test_one_flipped_byte_in_a_trace_names_episodes(inline, tmp_path):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(inline[0], folder)
    (part,) = sorted((folder / "trace").glob("*.parquet"))
    data = bytearray(part.read_bytes())
    rng = random.Random(4)
    for _ in range(5):
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        part.write_bytes(data)
        found = verify(folder, "seals")
        assert not found.ok and any(f.episode for f in found.findings), at
        data[at] = inline_byte(inline[0], at)
    part.write_bytes(data)
    assert verify(folder, "seals").ok


def inline_byte(folder: Path, at: int) -> int:
    (part,) = sorted((folder / "trace").glob("*.parquet"))
    return part.read_bytes()[at]


def test_a_run_goes_on_where_it_stood_and_another_study_is_refused(inline, tmp_path):
    folder = tmp_path / "run"
    seen = []

    class Enough(Exception):
        pass

    def stop(record):
        seen.append(record)
        if len(seen) == 7:
            raise Enough

    with pytest.raises(Enough):
        run_study(Stage(study(SHORT)), folder, on_episode=stop)
    kept = len(digests(folder))
    assert 7 <= kept < EPISODES
    started = []
    run_study(Stage(study(SHORT)), folder, on_start=lambda done, total: started.append((done, total)))
    assert started == [(kept, EPISODES)] and digests(folder) == inline[1]
    from crossplay.kernel import CrossplayError

    with pytest.raises(CrossplayError, match="holds another study"):
        run_study(Stage(study(SHORT, root=5)), folder)


def test_tables_average_seat_orders_within_a_block(inline):
    run, spec = load_run(inline[0])
    with run:
        result = result_of(run, spec)
        both = next(r for r in result.rows if r.lineup == "script+errands")
        assert both.summary.blocks == 5 and both.summary.episodes == 10 and len(both.orders) == 2
        assert both.comparison is not None and both.comparison.baseline == "script+script"
        values = {(r.lineup, r.block): r.score["return"] for r in run.records()}
    means = [(values["script+errands", b] + values["errands+script", b]) / 2 for b in range(5)]
    assert both.summary.mean.value == pytest.approx(sum(means) / 5)
    json.dumps(result.to_dict())


def test_a_matrix_of_strategies_has_payoffs_and_marks_what_never_varies(tmp_path):
    play(MATRIX, tmp_path / "run")
    run, spec = load_run(tmp_path / "run")
    with run:
        result = result_of(run, spec)
    (payoff,) = result.payoffs
    assert set(payoff.agents) == {"tft", "defect", "random"}
    same = next(r for r in result.rows if r.lineup == "tft+tft")
    assert "deterministic, n = 1" in same.summary.marks and same.summary.mean.interval is None


KILLED = """
import sys, tomllib
from pathlib import Path
from crossplay.study import runner
from crossplay.study.runner import run_study
from crossplay.study.spec import load_study
from crossplay.study.stage import Stage
runner.WIDTH = 4
def said(record):
    print(f"{record.id:016x}", flush=True)
run_study(Stage(load_study(sys.argv[1])), Path(sys.argv[2]), on_episode=said)
"""


def test_twenty_kills_lose_nothing(tmp_path):
    """SIGKILL at random moments: every reported episode is there, and the end equals a calm run."""
    text = MATRIX.replace("blocks = 4", "blocks = 60")
    file = tmp_path / "study.toml"
    file.write_text(text)
    folder, reported = tmp_path / "run", set()
    rng = random.Random(7)
    kills = 0
    for _ in range(60):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(file), str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if kills < 20:
            first = process.stdout.readline()
            time.sleep(rng.random() * 0.02 * (kills % 5))
            os.killpg(process.pid, signal.SIGKILL)
            rest = process.stdout.read()
            process.wait()
            kills += process.returncode == -signal.SIGKILL
            reported |= {line for line in (first + rest).split() if len(line) == 16}
        else:
            reported |= set(process.communicate()[0].split())
            assert process.returncode == 0
            break
        if folder.exists() and (folder / "manifest.sqlite").exists():
            with RunFolder.open(folder) as run:
                there = {f"{r.id:016x}" for r in run.records()}
            assert reported <= there
            if len(there) == 9 * 120:
                import shutil

                shutil.rmtree(folder)  # it had finished before the kill: play it again
                reported.clear()
    assert kills == 20
    calm = play(text, tmp_path / "calm")
    assert digests(folder) == calm
    assert verify(folder, "actions").ok


def test_a_broken_environment_is_told_and_has_no_share_in_the_means(tmp_path, monkeypatch):
    from crossplay.envs.matrix import MatrixBatch

    honest, steps = MatrixBatch.step, itertools.count(1)

    def step(self, actions):
        if next(steps) % 50 == 0:
            raise RuntimeError("out of order")
        return honest(self, actions)

    monkeypatch.setattr(MatrixBatch, "step", step)
    play(MATRIX, tmp_path / "run")
    folder, spec = load_run(tmp_path / "run")
    with folder:
        found = result_of(folder, spec)
    row = next(r for r in found.rows if r.lineup == "random+random")
    broken = row.statuses["env-fault"]
    assert 0 < broken < sum(row.statuses.values()) and row.summary.episodes == sum(row.statuses.values()) - broken
    assert any(f"random+random: {broken} of 8 episodes ended with a fault of the environment" in n for n in found.notes)


@pytest.mark.parametrize("runner", ["inline", "processes", "ray"])
def test_no_workers_is_an_error(tmp_path, runner):
    with pytest.raises(CrossplayError, match="jobs = 0: at least 1"):
        play(SHORT, tmp_path / "run", runner=runner, jobs=0)


STOPPER = """
import os, pathlib, signal, time
from crossplay import Agent

class Stopper(Agent):
    name, views, kind = "stopper", ("data",), "script"

    def __init__(self, parent, once):
        self.parent, self.once = parent, pathlib.Path(once)

    def act(self, obs):
        if obs.ordinal[2] == 10 and obs.tick == 1 and not self.once.exists():
            self.once.touch()
            os.kill(os.getppid() if self.parent else os.getpid(), signal.SIGINT)
            time.sleep(1.0)
        return obs.pick(2)
"""


@pytest.mark.parametrize("processes", [False, True])
def test_an_interrupt_keeps_every_finished_episode(tmp_path, processes):
    (tmp_path / "stopping.py").write_text(STOPPER)
    (tmp_path / "study.toml").write_text(f"""
environments = ["matrix/chicken"]
[study]
name = "stopped"
blocks = 40
[agents]
s = {{ type = "python:stopping:Stopper", parent = {str(processes).lower()}, once = "{tmp_path / "once"}" }}
[lineups]
"s+s" = ["s", "s"]
[controls]
floor = false
""")
    how = ["--runner", "processes", "--jobs", "1"] if processes else []
    command = [
        sys.executable,
        "-c",
        "from crossplay.cli import main; main()",
        "run",
        "study.toml",
        "--out",
        "run",
        "--trust",
        *how,
    ]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert first.returncode == 130, first.stderr
    kept = digests(tmp_path / "run")
    # The ten blocks before, and the one that was played when the signal came.
    assert 11 <= len(kept) < 40 and f"stopped: {len(kept)} of 40 episodes are kept" in first.stderr
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120).returncode == 0
    after = digests(tmp_path / "run")
    assert len(after) == 40 and kept.items() <= after.items()
