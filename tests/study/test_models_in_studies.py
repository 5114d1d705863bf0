"""Studies with language-model seats: third-party worlds, concurrency, cassettes, kills in mid-call."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from study_files import study

from crossplay.kernel import CrossplayError
from crossplay.models.loopback import Loopback
from crossplay.records import RunFolder
from crossplay.study.plan import make_plan
from crossplay.study.runner import run_study
from crossplay.study.stage import Stage
from crossplay.study.verify import verify

ZOO = """
[study]
name = "zoo"
blocks = 2
margin = 0.5
baseline = "random+random"
[environments.game]
name = "pettingzoo:classic/tictactoe_v3"
[agents]
random = "random"
first = "first-legal"
llm = { type = "llm", model = "double", temperature = 0.5 }
[models.double]
backend = "http"
url = "URL"
model = "double"
paid = false
[lineups]
"random+random" = ["random", "random"]
"first+random" = { seats = ["first", "random"], orders = "both" }
"llm+random" = { seats = ["llm", "random"], orders = "both" }
"llm+llm" = ["llm", "llm"]
"""


def test_an_environment_named_nowhere_here_is_played_by_random_script_and_model(tmp_path):
    with Loopback() as endpoint:
        stage = Stage(study(ZOO.replace("URL", endpoint.url)))
        stage.check()
        plan = make_plan(stage)
        assert plan.calls > 0 and plan.money == 0.0
        run_study(stage, tmp_path / "run")
        asked = len(endpoint.requests)
        assert asked > 10
    # The endpoint is gone: everything is read from the cassette.
    found = verify(tmp_path / "run", "agents")
    assert found.ok and found.reexecuted == found.episodes == 12


KITCHEN = """
[study]
name = "plan"
blocks = 2
margin = 1
[environments.kitchen]
name = "kitchen/cramped_room"
options = { horizon = 30 }
[agents]
llm = { type = "llm", model = "double", memory = 2, repairs = 2, skills = SKILLS }
[models.double]
backend = "scripted"
malformed_rate = 0.5
capabilities = { grammar = GRAMMAR }
price = { input = 1.0, output = 2.0 }
[lineups]
"llm+llm" = ["llm", "llm"]
"""


@pytest.mark.parametrize("skills", ["true", "false"])
@pytest.mark.parametrize("grammar", ["true", "false"])
def test_a_plan_is_an_upper_bound_of_what_is_spent(tmp_path, skills, grammar):
    stage = Stage(study(KITCHEN.replace("SKILLS", skills).replace("GRAMMAR", grammar)))
    stage.check()
    plan = make_plan(stage)
    assert not any("assumed" in w for w in plan.warnings), plan.warnings
    run_study(stage, tmp_path / "run")
    with RunFolder.open(tmp_path / "run") as run:
        seats = [c for r in run.records() for c in r.counts.values()]
    spent = {name: sum(c.get(name, 0) for c in seats) for name in ("calls", "tok_in", "tok_out")}
    assert 0 < spent["calls"] <= plan.calls
    assert 0 < spent["tok_in"] <= plan.tok_in
    assert 0 < spent["tok_out"] <= plan.tok_out
    assert plan.money == pytest.approx((plan.tok_in + 2 * plan.tok_out) / 1e6)


def test_a_model_has_no_seat_where_it_cannot_answer():
    text = ZOO.replace("pettingzoo:classic/tictactoe_v3", "gym:Pendulum-v1").replace("URL", "http://127.0.0.1:9/v1")
    text = text[: text.index("[lineups]")] + '[lineups]\nllm = ["llm"]\nrandom = ["random"]\n'
    text = text.replace('baseline = "random+random"', 'baseline = "random"').replace('type = "llm"', 'type = "vlm"')
    with pytest.raises(CrossplayError, match="agents.llm"):
        Stage(study(text)).check()


def test_an_endpoint_that_is_down_stops_the_study_and_loses_nothing(tmp_path):
    text = ZOO.replace("URL", "http://127.0.0.1:9/v1")
    with pytest.raises(CrossplayError) as error:
        run_study(Stage(study(text)), tmp_path / "run")
    assert error.value.exit_code == 3 and "\n" not in str(error.value)
    with Loopback() as endpoint:
        # The same study; only where the model is reached has changed, so the run is another one.
        with pytest.raises(CrossplayError, match="another study"):
            run_study(Stage(study(text.replace("http://127.0.0.1:9/v1", endpoint.url))), tmp_path / "run")


def test_a_run_that_reached_a_limit_goes_on_when_it_is_raised(tmp_path):
    with Loopback() as endpoint:
        text = ZOO.replace("URL", endpoint.url).replace("blocks = 2", "blocks = 3")
        limited = text + "[budget]\ncalls = 10\n"
        for _ in range(2):  # the same limit again sends nothing more
            with pytest.raises(CrossplayError, match="budget: calls = 10 would be passed"):
                run_study(Stage(study(limited)), tmp_path / "run")
            assert len(endpoint.requests) == 10
        run_study(Stage(study(text + "[budget]\ncalls = 1000\n")), tmp_path / "run")
        found = verify(tmp_path / "run", "agents")
        assert found.ok and found.episodes == 18
        with RunFolder.open(tmp_path / "run") as run:
            assert len(run.studies()) == 1
        (file,) = (tmp_path / "run" / "cassette").glob("*.sqlite")
        rows = sqlite3.connect(file).execute("SELECT count(*), sum(attempts) FROM calls").fetchone()
        assert rows == (len(endpoint.requests), len(endpoint.requests))  # nothing was sent twice
        with pytest.raises(CrossplayError, match="another study"):
            run_study(Stage(study(limited, margin=0.6)), tmp_path / "run")


def test_four_model_seats_of_a_tick_are_asked_at_once(tmp_path):
    text = """
[study]
name = "four"
blocks = 1
concurrency = 1
[environments.game]
name = "pitch/soccer-2v2"
options = { horizon = 3 }
[agents]
llm = { type = "llm", model = "double" }
[models.double]
backend = "http"
url = "URL"
model = "double"
paid = false
[lineups]
all = ["llm", "llm", "llm", "llm"]
[controls]
floor = false
ceiling = false
"""
    with Loopback(latency_s=0.2) as endpoint:
        run_study(Stage(study(text.replace("URL", endpoint.url))), tmp_path / "run")
        assert endpoint.most_flying == 4 and len(endpoint.requests) == 12


CLOCK = """
[study]
name = "clock"
blocks = 2
margin = 0.5
baseline = "slow+first"
[environments.game]
name = "pitch/soccer-1v1"
options = { horizon = 6 }
clock = "CLOCK"
[conduct]
timeout = ["repeat", "noop"]
[agents]
first = "first-legal"
quick = { type = "llm", model = "quick" }
slow = { type = "llm", model = "slow" }
[models.quick]
backend = "scripted"
[models.slow]
backend = "scripted"
latency_s = 1.0
[lineups]
"slow+first" = ["slow", "first"]
"quick+slow" = ["quick", "slow"]
"one mind" = { seats = ["slow", "slow"], shared_memory = true }
[controls]
floor = false
ceiling = false
"""


@pytest.mark.parametrize("clock", ["deadline:0.1", "tick:10"])
def test_a_run_with_a_clock_verifies_with_its_misses_as_recorded(tmp_path, clock):
    run_study(Stage(study(CLOCK.replace("CLOCK", clock))), tmp_path / "run")
    with RunFolder.open(tmp_path / "run") as run:
        seats = [c for r in run.records() for c in r.counts.values()]
    # All that the slow model was asked, in four of six seats, came too late.
    assert sum(c.get("timeout", 0) + c.get("held", 0) for c in seats) >= 4 * 2 * 6
    found = verify(tmp_path / "run", "agents")
    assert found.ok and found.reexecuted == found.episodes == 6, found.findings


def test_a_flipped_byte_in_the_cassette_is_found_and_the_episodes_are_named(tmp_path):
    with Loopback() as endpoint:
        run_study(Stage(study(ZOO.replace("URL", endpoint.url))), tmp_path / "run")
    (file,) = (tmp_path / "run" / "cassette").glob("*.sqlite")
    clean = file.read_bytes()
    rng = random.Random(2)
    for _ in range(12):
        data = bytearray(clean)
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        found = verify(tmp_path / "run", "seals")
        assert not found.ok, at
        assert any(f.episode for f in found.findings), at
    file.write_bytes(clean)
    assert verify(tmp_path / "run", "agents").ok


CHILD = """
import sys
from pathlib import Path
from crossplay.study.runner import run_study
from crossplay.study.spec import load_study
from crossplay.study.stage import Stage
run_study(Stage(load_study(sys.argv[1])), Path(sys.argv[2]))
"""


def test_kills_in_mid_call_never_send_an_answered_call_again(tmp_path):
    rng = random.Random(5)
    with Loopback(latency_s=0.01) as endpoint:
        file = tmp_path / "study.toml"
        file.write_text(ZOO.replace("URL", endpoint.url).replace("blocks = 2", "blocks = 6"))
        folder = tmp_path / "run"
        for kill in range(7):
            child = subprocess.Popen([sys.executable, "-c", CHILD, str(file), str(folder)], start_new_session=True)
            if kill == 6:
                assert child.wait(120) == 0
                break
            seen = len(endpoint.requests)
            while len(endpoint.requests) < seen + 4 and child.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.05)
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        with RunFolder.open(folder) as run:
            assert len(run.records()) == 6 * 6
        (cassette,) = (folder / "cassette").glob("*.sqlite")
        with sqlite3.connect(f"file:{cassette}?mode=ro&immutable=1", uri=True) as db:
            rows = db.execute("SELECT idempotency, attempts, doubtful FROM calls").fetchall()
        # Every key was sent as often as its attempts say; what was sent twice was in flight at a kill.
        for key, attempts, doubtful in rows:
            assert endpoint.keys[key] <= attempts
            assert (attempts > 1) == (doubtful > 0)
        assert sum(endpoint.keys.values()) == len(endpoint.requests)
        assert sum(d for *_, d in rows) <= 6 * 8  # kills x concurrency
    assert verify(folder, "agents").ok
    shutil.rmtree(folder)
