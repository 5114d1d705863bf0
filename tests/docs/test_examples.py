"""The examples of the README and the pages work as they stand: Python blocks run, studies play, commands exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest
from doc_pages import DOCS, ROOT, fences, pages

CLI = "from crossplay.cli import main; main()"
README = ROOT / "README.md"


def _python(code, folder, *arguments, path=""):
    variables = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _study(page, n=0):
    return [b for b in fences(page, "toml") if "[lineups]" in b.text][n].text


def test_the_python_example_of_the_readme(tmp_path):
    block, worker = sorted(fences(README, "python"), key=lambda b: "run(Mine())" in b.text)
    compile(worker.text, "README.md", "exec")
    assert "from crossplay_worker import" in worker.text  # played in tests/agents/test_workers.py
    assert len([line for line in block.text.splitlines() if line.strip()]) <= 15
    lines = _python(block.text, tmp_path).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("horizon {'payoff'") for line in lines)


def test_the_study_of_the_readme(tmp_path):
    text = _study(README)
    assert len([line for line in text.splitlines() if line.strip()]) <= 15
    (tmp_path / "first.toml").write_text(text)
    assert "upper bounds" in _python(CLI, tmp_path, "run", "first.toml", "--plan")
    shown = _python(CLI, tmp_path, "run", "first.toml", "--out", "runs/first")
    assert re.search(r"chef\+random .* worse", shown)
    assert "verified" in _python(CLI, tmp_path, "verify", "runs/first", "--level", "agents")


def test_the_quick_start_from_python(tmp_path):
    page = DOCS / "quickstart.md"
    (tmp_path / "first.toml").write_text(_study(page))
    (block,) = fences(page, "python")
    printed = _python(block.text, tmp_path)
    assert re.search(r"chef\+skilled [\d.]+ worse", printed)
    assert printed.splitlines()[-1].startswith("(60, ")


@pytest.mark.parametrize("n", range(2))
def test_the_kernel_page(tmp_path, n):
    printed = _python(fences(DOCS / "kernel.md", "python")[n].text, tmp_path)
    assert "return" in printed


def test_an_agent_of_ones_own(tmp_path):
    """The agents page: it needs --trust, and is found beside the study, not where one stands."""
    page, folder = DOCS / "agents.md", tmp_path / "beside"
    folder.mkdir()
    for block in fences(page):
        if block.title:
            (folder / block.title).write_text(block.text)
    run = ("run", "beside/grim.toml", "--out", "out")
    done = subprocess.run([sys.executable, "-c", CLI, *run], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--trust" in done.stderr
    assert "mine+tft" in _python(CLI, tmp_path, *run, "--trust")


def _commands():
    for page in pages():
        for block in fences(page, "sh"):
            for line in block.text.splitlines():
                words = shlex.split(line.split("#")[0])
                if words and words[0].endswith("crossplay"):
                    yield pytest.param(words[1:], id=f"{page.name}: {' '.join(words[1:4])}")


@pytest.mark.parametrize("words", list(_commands()))
def test_every_command_on_a_page_exists(words):
    """Parsed, not run: an option that is renamed is found here."""
    from crossplay.cli.app import app

    _, bound, rest = app.parse_known_args(words)[:3]
    assert bound is not None
    assert not rest, f"{rest} of {words}"


def test_make_targets_on_the_pages_exist():
    made = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in pages():
        for target in re.findall(r"`make ([a-z]+)|^make ([a-z]+)", page.read_text(), re.M):
            assert (target[0] or target[1]) in made, f"{page.name}: make {target}"
