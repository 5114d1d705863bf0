"""A debate of five members over three rounds, killed in the middle and resumed: nothing is lost, little is paid twice."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

import crossplay
from crossplay.models.loopback import Loopback

STUDY = """
environments = ["qa/choice"]

[study]
name = "killed"
blocks = BLOCKS
margin = 0.1
concurrency = 64

[models.m]
backend = "http"
url = "URL"
model = "hash"
paid = false
concurrency = 64
capabilities = { seed = true }

[agents.solver]
type = "llm:m"
temperature = 1.0

[agents.debate]
type = "team"
members = ["solver"]
size = 5
protocol = { name = "debate", rounds = 2 }

[lineups]
debate = ["debate"]
CONTROLS
"""
ALONE = "[controls]\nequal_cost = false\n"


def played(file, folder, endpoint, kills, rng):
    """The folder of a run that was killed so often, at a random moment each."""
    command = [sys.executable, "-m", "crossplay", "run", str(file), "--out", str(folder)]
    for left in range(kills, -1, -1):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        if not left:
            assert child.wait(300) == 0
            return folder
        seen, wanted = len(endpoint.requests), 1 + rng.randrange(60)
        while len(endpoint.requests) < seen + wanted and child.poll() is None:
            time.sleep(0.002)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    raise AssertionError


def told(folder):
    """What the tables say, but for the clock and the counter of what may have been paid twice."""
    result = crossplay.result(folder).to_dict()
    for row in result["rows"]:
        row["costs"].pop("wall_s")
        for counts in row["costs"]["by_agent"].values():
            for name in ("maybe_paid_twice", "retry"):
                counts.pop(name, None)
    result["notes"] = [n for n in result["notes"] if "calls were sent in all" not in n]
    return result


def compare(tmp_path, blocks, kills, controls, seed):
    rng = random.Random(seed)
    with Loopback(latency_s=0.005) as endpoint:
        text = STUDY.replace("URL", endpoint.url).replace("BLOCKS", str(blocks)).replace("CONTROLS", controls)
        file = tmp_path / "study.toml"
        file.write_text(text)
        calm = played(file, tmp_path / "calm", endpoint, 0, rng)
        asked = len(endpoint.requests)
        endpoint.requests.clear()
        endpoint.keys.clear()
        killed = played(file, tmp_path / "killed", endpoint, kills, rng)
        (cassette,) = (killed / "cassette").glob("*.sqlite")
        with sqlite3.connect(f"file:{cassette}?mode=ro&immutable=1", uri=True) as db:
            rows = db.execute("SELECT idempotency, attempts, doubtful FROM calls").fetchall()
        assert len(rows) == asked
        for key, attempts, doubtful in rows:
            assert endpoint.keys[key] <= attempts  # one key for all sendings of a call
            assert (attempts > 1) == (doubtful > 0)
        twice = sum(endpoint.keys[key] > 1 for key, *_ in rows)
        assert twice <= sum(d for *_, d in rows) <= kills * 64  # in flight at a kill, and counted
        assert len(endpoint.requests) == asked + sum(endpoint.keys[key] - 1 for key, *_ in rows if endpoint.keys[key])
    assert told(killed) == told(calm)
    assert crossplay.verify(killed, "agents").ok
    shutil.rmtree(tmp_path)
    return asked


def test_a_killed_debate_ends_as_an_undisturbed_one(tmp_path):
    assert compare(tmp_path, 6, 3, "[controls]\ndev = 2\n", seed=1) > 6 * 15


@pytest.mark.full
@pytest.mark.parametrize("seed", [2, 3])
def test_two_hundred_questions_five_members_three_rounds(tmp_path, seed):
    assert compare(tmp_path, 200, 6, ALONE, seed) >= 200 * 15
