"""The page on engines and games of others: its studies play, its examples are plans that work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from doc_pages import DOCS, ROOT, fences

import crossplay

CLI = "from crossplay.cli import main; main()"


@pytest.mark.parametrize("n", range(3))
def test_the_tables_of_the_page_are_parts_of_studies(n: int) -> None:
    block = fences(DOCS / "games.md", "toml")[n]
    assert set(tomllib.loads(block.text)) == {"environments", "agents"}


def test_the_board_games_study_plays(tmp_path: Any) -> None:
    pytest.importorskip("pyspiel")
    study = tomllib.loads((ROOT / "examples" / "board-games.toml").read_text())
    study["study"]["blocks"] = 1
    study["agents"]["mcts"]["simulations"] = 5
    study["agents"]["search"]["nodes"] = 200
    result = crossplay.run(study, tmp_path / "out")
    assert {row.lineup for row in result.rows} >= {"mcts x random", "search x mcts"}
    done = subprocess.run(
        [sys.executable, "-c", CLI, "verify", str(tmp_path / "out"), "--level", "agents"],
        capture_output=True,
        text=True,
    )
    assert "played again by their agents" in done.stdout, done.stdout + done.stderr


def test_the_chess_study_is_a_plan(tmp_path: Any) -> None:
    pytest.importorskip("pyspiel")
    if not shutil.which("stockfish", path=os.environ["PATH"] + os.pathsep + "/usr/games"):
        pytest.skip("Stockfish is not installed (Debian: apt-get install stockfish)")
    words = ["run", str(ROOT / "examples" / "chess-engine.toml"), "--plan", "--trust"]
    done = subprocess.run([sys.executable, "-c", CLI, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "fish+mcts" in done.stdout, done.stdout + done.stderr


@pytest.mark.full
def test_text_games_in_a_study_are_the_same_in_other_processes(tmp_path: Any) -> None:
    pytest.importorskip("textarena")
    study = {
        "study": {"name": "words", "blocks": 3},
        "environments": {"poker": {"name": "textarena:KuhnPoker-v0", "options": {"errors": 3}}},
        "agents": {"noise": "random"},
        "lineups": {"noise": ["noise", "noise"]},
        "controls": {"floor": False},
    }
    worlds = []
    for runner in ("inline", "processes"):
        crossplay.run(study, tmp_path / runner, runner=runner, jobs=2)
        with crossplay.open_run(tmp_path / runner) as run:
            worlds.append({record.block: record.world for record in run.records()})
    assert worlds[0] == worlds[1] and len(worlds[0]) == len(set(worlds[0].values())) == 3
