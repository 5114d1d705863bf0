"""The example workers, in three languages: they pass the check, and play one rule action by action."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from broken.little import starter as forked

import crossplay
from crossplay.agents import make_agent
from crossplay.agents.context import Context
from crossplay.cli.workers import seats_of, starter, worker_check
from crossplay.kernel import Block, CrossplayError, columns, loop, make_batch, make_env, play
from crossplay.wire.check import CHECKS, check_worker

EXAMPLES = Path(__file__).parents[2] / "worker/examples"
LANGUAGES = ["python", "c", "javascript"]


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    """Language -> command; those whose compiler or runtime is not here are left out."""
    found = {"python": (sys.executable, str(EXAMPLES / "python_worker.py"))}
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler:
        binary = tmp_path_factory.mktemp("c") / "worker_c"
        flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"]
        subprocess.run([compiler, *flags, "-o", str(binary), str(EXAMPLES / "worker.c")], check=True)
        found["c"] = (str(binary),)
    if shutil.which("node"):
        found["javascript"] = ("node", str(EXAMPLES / "worker.js"))
    return found


@pytest.fixture
def command(request, commands):
    if request.param not in commands:
        pytest.skip(f"no {request.param} here")
    return commands[request.param]


@pytest.fixture
def made(commands):
    context = Context(trust=True)

    def make(language):
        if language not in commands:
            pytest.skip(f"no {language} here")
        return make_agent({"type": "worker", "command": list(commands[language])}, context, language)

    yield make
    for close in context.closing:
        close()


def bad(findings):
    return {f.name: f.text for f in findings if f.status == "failed"}


def kit(fd, given):
    """The Python example with the kit, for a forked process."""
    os.environ["CROSSPLAY_FD"] = str(fd)
    os.environ.update({name: ",".join(map(str, numbers)) for name, numbers in given.items()})
    sys.path.insert(0, str(EXAMPLES))

    class Here:
        def run(self):
            import python_worker
            from crossplay_worker import run

            run(python_worker.AnyLegal())

    return Here()


def test_a_worker_of_the_kit_passes():
    found = check_worker(forked(kit), deadline=5.0)
    assert bad(found) == {}
    assert {f.name for f in found if f.status == "skipped"} == {"reset", "feedback", "memo", "save-load"}


def test_the_worker_in_c_passes(commands):
    if "c" not in commands:
        pytest.skip("no C compiler here")
    found = check_worker(starter(commands["c"]), deadline=5.0)
    assert bad(found) == {}
    assert next(f for f in found if f.name == "stale-slots").status == "ok"


@pytest.mark.parametrize("command", ["javascript"], indirect=True)
def test_the_worker_in_javascript_reads_and_answers_rightly(command):
    only = ["batch", "ids", "partial-frames", "wrong-types", "stale-slots", "other-major"]
    assert bad(check_worker(starter(command), only=only)) == {}


@pytest.mark.full
@pytest.mark.parametrize("command", LANGUAGES, indirect=True)
@pytest.mark.parametrize("env", ["", "kitchen/cramped_room", "openspiel/tic_tac_toe", "agentsnet/coloring"])
def test_examples_pass_with_real_seats(command, env):
    try:
        seats = seats_of(env) if env else None
    except CrossplayError as error:
        pytest.skip(str(error))
    assert bad(check_worker(starter(command), seats, deadline=5.0)) == {}


@pytest.mark.full
def test_the_worker_in_c_under_sanitizers(tmp_path):
    compiler = shutil.which("gcc") or pytest.skip("no gcc here")
    binary = tmp_path / "worker_c"
    flags = ["-std=c11", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    built = subprocess.run([compiler, *flags, "-o", str(binary), str(EXAMPLES / "worker.c")], capture_output=True)
    if built.returncode:
        pytest.skip("no sanitizers here")
    found = check_worker(starter((str(binary),)), deadline=5.0)
    assert set(bad(found)) <= {"memory"}  # what sanitizers keep is no leak of the worker


@pytest.mark.parametrize("language", LANGUAGES)
def test_equal_rules_are_equal_plays_in_every_language(made, language):
    worker, here = made(language), make_agent("random")
    for name in ("kitchen/cramped_room", "matrix/prisoners_dilemma"):
        options = {"horizon": 25} if name.startswith("kitchen") else {}
        for block in range(2):
            env = make_env(name, options)
            there = loop(play(env, dict.fromkeys(env.seats, worker), Block(3, block)))
            assert there.world == loop(play(env, dict.fromkeys(env.seats, here), Block(3, block))).world
            assert not [e for e in there.events if e[3] == "fault"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_equal_rules_are_equal_in_columns_and_under_masks(made, language):
    worker, here = made(language), make_agent("random")
    batch = make_batch("kitchen/cramped_room", 4, {"horizon": 20})
    ats = [Block(4, b) for b in range(6)]
    there, mine = (
        {at: outcome.world for at, outcome in columns(batch, dict.fromkeys(batch.seats, a), ats)}
        for a in (worker, here)
    )
    assert there == mine and len(set(there.values())) == len(ats)
    try:
        env = make_env("openspiel/tic_tac_toe")
    except CrossplayError:
        pytest.skip("no environment with masks here")
    for block in range(3):
        assert (
            loop(play(env, dict.fromkeys(env.seats, worker), Block(4, block))).world
            == loop(play(env, dict.fromkeys(env.seats, here), Block(4, block))).world
        )


def test_three_languages_in_one_study(commands, tmp_path):
    agents = {name: {"type": "worker", "command": list(words)} for name, words in commands.items()}
    study = {
        "study": {"name": "languages", "blocks": 3, "root": 11, "margin": 0.1, "baseline": "here"},
        "environments": ["matrix/prisoners_dilemma"],
        "agents": {**agents, "here": {"type": "random"}},
        "lineups": {name: [name, "here"] for name in [*agents, "here"]},
    }
    crossplay.run(study, tmp_path / "run", trust=True)
    worlds: dict = {}
    with crossplay.open_run(tmp_path / "run") as run:
        for record in run.records():
            assert record.status == "horizon" and not any(c.get("error") for c in record.counts.values())
            if set(record.agents.values()) <= {*agents, "here"}:
                worlds.setdefault(record.block, []).append(record.world)
    assert {len(set(found)) for found in worlds.values()} == {1}  # whoever drew, the same actions
    assert len(worlds) == 3 and all(len(found) > len(agents) for found in worlds.values())


def test_the_command_prints_and_says_what_failed(commands, tmp_path, capsys):
    good = " ".join(commands.get("c", commands["python"]))
    assert worker_check(good, only=("act", "batch")) == 0
    assert "2 passed, 0 failed" in capsys.readouterr().out
    assert worker_check(good, env="matrix/prisoners_dilemma", only=("values",), json=True) == 0
    assert json.loads(capsys.readouterr().out)["findings"][0]["name"] == "values"
    script = tmp_path / "silent.py"
    script.write_text("print('no engine knows me')\n")
    assert worker_check(f"python {script}", only=("hello",)) == 1
    told = capsys.readouterr().out
    assert "FAILED" in told and "no engine knows me" in told
    with pytest.raises(CrossplayError, match='unknown check "helo"'):
        worker_check(good, only=("helo",))
    with pytest.raises(CrossplayError, match="no seat"):
        worker_check(good, env="matrix/prisoners_dilemma", seat=("p7",))


def test_every_check_has_a_name_and_a_sentence():
    for name, (run, needs) in CHECKS.items():
        assert run.__doc__ and run.__doc__.strip().endswith("."), name
        assert list(CHECKS).index(name) > max([list(CHECKS).index(n) for n in needs], default=-1)


def test_a_worker_is_checked_with_its_config(tmp_path, capsys):
    script = tmp_path / "choosy.py"
    script.write_text(
        "from crossplay_worker import Refused, Worker, run\n\n\n"
        "class Choosy(Worker):\n    name = 'choosy'\n\n"
        "    def bind(self, seats, config):\n        if config != {'file': 'best.zip'}:\n            raise Refused('BAD_VALUE', 'no file')\n\n"
        "    def act(self, obs):\n        return 0\n\n\nrun(Choosy())\n"
    )
    assert worker_check(f"python {script}", only=("bind",)) == 1
    assert "no file" in capsys.readouterr().out
    assert worker_check(f"python {script}", only=("rebind",), config='{"file": "best.zip"}') == 0
    with pytest.raises(CrossplayError, match="--config"):
        worker_check(f"python {script}", config="file=best.zip")
    with pytest.raises(CrossplayError, match="no program"):
        worker_check("there-is-no-such-program")
