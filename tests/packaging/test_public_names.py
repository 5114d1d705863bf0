"""The names that `import crossplay` offers, and that they cost nothing until they are used."""

from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import crossplay

HEAVY = ("numpy", "msgspec", "polars", "torch", "aiohttp", "scipy", "numba", "rich", "cyclopts", "asyncio")
STUDY = {
    "environments": {"matrix/stag_hunt": {"name": "matrix/stag_hunt", "options": {"rounds": 5}}},
    "study": {"name": "api", "blocks": 3, "margin": 0.5},
    "agents": {"a": "random", "b": "strategy:tit_for_tat"},
    "lineups": {"a+a": ["a", "a"], "a+b": ["a", "b"]},
}


def test_import_loads_nothing_heavy():
    code = f"import crossplay, sys; print([m for m in {HEAVY!r} if m in sys.modules], crossplay.__version__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split("]")[0] == "[", f"`import crossplay` loads {done.stdout}"


def test_every_name_is_found_and_documented():
    for name in crossplay.__all__:
        found = getattr(crossplay, name)
        assert name == "__version__" or (found.__doc__ and found.__name__ == name), name
    assert set(crossplay.__all__) <= set(dir(crossplay))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        crossplay.nonsense  # noqa: B018


def test_type_checkers_see_the_same_names():
    """The imports under TYPE_CHECKING are the table of lazy names."""
    tree = ast.parse(Path(crossplay.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {a.asname: n.module.removeprefix("crossplay.") for n in block.body for a in n.names}
    assert seen == crossplay._WHERE


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "api"
    seen = []
    result = crossplay.run(STUDY, folder, on_episode=seen.append)
    return folder, result, seen


def test_a_study_from_python(run_folder):
    folder, result, seen = run_folder
    assert result.episodes == result.planned == len(seen) == 6  # the random floor is a+a itself
    assert crossplay.result(folder).to_dict() == result.to_dict()
    assert crossplay.verify(folder, "agents").ok
    with crossplay.open_run(folder) as run:
        table = run.episodes()
        assert len(table) == 6
        assert len(run.frame()) > 6


def test_the_same_from_inside_an_event_loop(run_folder, tmp_path):
    """Notebooks run one."""

    async def cell():
        return crossplay.run(crossplay.parse_study(STUDY), tmp_path / "again")

    def of(r):
        return [(row.lineup, row.summary.mean.value, row.summary.distinct) for row in r.rows]

    assert of(asyncio.run(cell())) == of(run_folder[1])


def test_a_study_file_and_its_default_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.toml").write_text(crossplay.parse_study(STUDY).toml())
    assert crossplay.run("s.toml").name == "api"
    assert (tmp_path / "runs" / "api" / "manifest.sqlite").exists()
