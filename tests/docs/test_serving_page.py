"""The page about A2A and HTTP says what is: its options, requests, examples and limits."""

import importlib.util
import json
import subprocess
import sys

import pytest
from doc_pages import DOCS, ROOT, fences, rows

from crossplay.agents.a2a import OPTIONS
from crossplay.envs.adapters.agentgym import SCHEMA
from crossplay.wire.http.bodies import BODY, DEEPEST

PAGE = DOCS / "serving.md"
SERVE = str(ROOT / "tests" / "serve")


def test_options_are_those_of_the_code():
    table = rows(PAGE, "An A2A agent in a seat")
    assert {row[0].strip("`"): json.loads(row[1].strip("`")) for row in table} == {
        k: o["default"] for k, o in OPTIONS.items()
    }
    named = {word.strip(" `") for row in rows(PAGE, "Playing on such a server") for word in row[0].split(",")}
    assert named == set(SCHEMA["properties"])


def test_limits_are_those_of_the_code():
    text = PAGE.read_text()
    assert BODY == 4 << 20 and "bodies of more than 4 MB" in text and f"deeper than {DEEPEST}" in text


def test_requests_are_those_of_the_server():
    from crossplay.agents import make_agent
    from crossplay.kernel import make_env
    from crossplay.serve.http_env import EnvServer

    app = EnvServer(lambda: make_env("matrix/chicken"), "row", {"column": make_agent("random")}).app()
    routes = {r.resource.canonical for r in app.router.routes()} - {"/"}
    listed = {
        w.partition("?")[0].strip("`")
        for row in rows(PAGE, "Serving an environment")
        for w in row[0].split()
        if w.startswith("/")
    }
    assert routes == listed


def test_the_studies_of_the_page_are_read(tmp_path, monkeypatch):
    from crossplay.study.spec import load_study

    for block in fences(PAGE, "toml"):
        (tmp_path / block.title).write_text(block.text)
        assert load_study(tmp_path / block.title).lineups


def test_the_python_of_the_page_runs():
    pytest.importorskip("a2a")
    (block,) = fences(PAGE, "python")
    done = subprocess.run([sys.executable, "-c", block.text], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("True "), done.stderr


def test_the_example_fills_a_seat():
    pytest.importorskip("a2a")
    sys.path.insert(0, SERVE)
    try:
        from a2a_beside import Thread
        from a2a_remote import remote
    finally:
        sys.path.remove(SERVE)
    from crossplay.kernel import Block, loop, make_env, play

    spec = importlib.util.spec_from_file_location("a2a_agent_example", ROOT / "examples" / "a2a_agent.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    thread = Thread(lambda url: (example.application(f"{url}/"), None))
    agent, close = remote(thread.url)
    env = make_env("matrix/rock_paper_scissors", {"rounds": 6})
    outcome = loop(play(env, dict.fromkeys(env.seats, agent), Block(1)))
    close(), thread.close()
    acts = [e.value for e in outcome.trace() if e.kind == "act" and e.seat == 0]
    assert sorted(acts) == [0, 0, 1, 1, 2, 2] and not any("invalid" in c for c in outcome.counts.values())
