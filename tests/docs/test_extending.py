"""The package that docs/extending.md shows is built, installed and used, file by file as it stands there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from doc_pages import DOCS, fences


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """(folder of the sources, environment variables under which it is installed)."""
    source, site = tmp_path_factory.mktemp("pig"), tmp_path_factory.mktemp("site")
    for block in fences(DOCS / "extending.md"):
        if block.title:
            (source / block.title).write_text(block.text)
    build = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--target", site, source], check=True)
    return source, os.environ | {"PYTHONPATH": str(site)}


def _run(package, *command):
    source, variables = package
    done = subprocess.run([sys.executable, *command], cwd=source, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


CLI = ("-c", "from crossplay.cli import main; main()")


def test_one_file_of_under_150_lines():
    (file,) = (b for b in fences(DOCS / "extending.md") if b.title == "crossplay_pig.py")
    assert file.text.count("\n") < 150


def test_its_conformance_test_passes(package):
    assert "1 passed" in _run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pig.py")


def test_it_is_listed_and_shown(package):
    assert "pig" in _run(package, *CLI, "env", "list")
    assert "goal" in _run(package, *CLI, "env", "show", "pig")
    assert "hold" in _run(package, *CLI, "agent", "list")
    assert "0 failed" in _run(package, *CLI, "env", "check", "pig")


def test_its_study_runs_and_verifies(package):
    shown = _run(package, *CLI, "run", "pig.toml", "--out", "run")
    assert "careful+bold" in shown
    assert "verified" in _run(package, *CLI, "verify", "run", "--level", "agents")


def test_its_mistakes_are_named(package):
    code = "import crossplay; crossplay.make_env('pig', {'gaol': 3})"
    done = subprocess.run([sys.executable, "-c", code], env=package[1], capture_output=True, text=True)
    assert "unknown key 'gaol'" in done.stderr.splitlines()[-1]
