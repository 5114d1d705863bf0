"""`serve-agent` and `serve-env`, started as commands are: a process, an address, Ctrl-C."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crossplay.cli.serving import serve_agent, serve_env
from crossplay.kernel import CrossplayError


@contextlib.contextmanager
def command(*words, **more):
    """(first line, address, what the process says at its end) of a command."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "crossplay", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **more},
    )  # fmt: skip
    said = []
    try:
        first = process.stdout.readline()
        second = process.stdout.readline()
        assert "http://" in second, process.stderr.read()
        yield first, second.partition("http://")[2].strip('",\n ').partition('"')[0], said
    finally:
        process.send_signal(signal.SIGINT)
        try:
            text, trouble = process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        said += [text, trouble]
    assert process.returncode == 0, said


def ask(authority, method, path, body=None, **headers):
    line = http.client.HTTPConnection(authority, timeout=10)
    raw = None if body is None else json.dumps(body)
    line.request(method, path, raw, {"Content-Type": "application/json", **headers} if raw else headers)
    answer = line.getresponse()
    status, text = answer.status, answer.read()
    line.close()
    return status, json.loads(text) if status == 200 else text


def test_serve_env_serves_records_and_ends_on_ctrl_c(tmp_path):
    folder = tmp_path / "run"
    words = ("serve-env", "kitchen/cramped_room", "--with", "p1=chef", "--option", "horizon=3", "--out", str(folder))
    with command(*words) as (first, authority, said):
        assert "kitchen/cramped_room@1?horizon=3, seat p0" in first
        number = ask(authority, "POST", "/create", {})[1]["id"]
        for _ in range(3):
            status, now = ask(authority, "POST", "/step", {"id": number, "action": "stay"})
        assert status == 200 and now["done"]
    assert "1 episodes are recorded" in said[0]
    assert (folder / "manifest.sqlite").exists()


def test_serve_agent_serves_an_agent_of_a_study_with_a_token(tmp_path):
    pytest.importorskip("a2a")
    study = tmp_path / "s.toml"
    study.write_text(
        '[study]\nmargin = 1.0\n[environments.m]\nname = "matrix/chicken"\n[agents.calm]\ntype = "strategy:always_swerve"\n[lineups.l]\nseats = ["calm", "calm"]\n'
    )
    with command("serve-agent", "calm", "--study", str(study), "--token-env", "T", T="0123456789abcdef") as (
        first,
        authority,
        _,
    ):
        assert first.startswith("calm answers at") and "(with the token)" in first
        assert ask(authority, "GET", "/.well-known/agent-card.json")[1]["name"] == "calm"
        assert ask(authority, "POST", "/", {})[0] == 401


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: serve_agent("chfe"), 'Did you mean "chef"'),
        (lambda: serve_agent("chef", study=Path("none.toml")), "none.toml"),
        (lambda: serve_agent("chef", env="matrix/chicken"), "chef"),
        (lambda: serve_agent("random", host="0.0.0.0"), "needs a token"),
        (lambda: serve_env("kitchen/cramped_room", seat="p7"), 'no seat "p7"'),
        (lambda: serve_env("kitchen/cramped_room", with_=["p9=chef"]), 'no other seat "p9"'),
        (lambda: serve_env("kitchen/cramped_room", host="0.0.0.0"), "needs a token"),
        (lambda: serve_env("kitchen/cramped_room", option=["horizon"]), "NAME=VALUE"),
    ],
)
def test_mistakes_are_told_in_one_line(call, says):
    with pytest.raises(CrossplayError) as error:
        call()
    assert says in str(error.value) and "\n" not in str(error.value)
