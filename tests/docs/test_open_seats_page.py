"""The page on open seats: its study and its front run, its tables name what there is."""

import shutil
import subprocess
import sys
import tomllib

import pytest
from doc_pages import DOCS, ROOT, fences, rows

import crossplay
from crossplay.serve.open import open_seat
from crossplay.serve.words_mcp import TOOLS
from crossplay.study.spec import load_study

PAGE = DOCS / "open-seats.md"


def test_every_option_is_listed_with_its_default():
    listed = {line[0].strip("`"): line[1].strip("`") for line in rows(PAGE, "Options")}
    assert {k: tomllib.loads(f"x = {v}")["x"] for k, v in listed.items()} == {
        k: p["default"] for k, p in open_seat.options.items()
    }


def test_every_tool_is_listed():
    named = [line[0].strip("`") for line in rows(PAGE, "What a client meets")]
    assert named[: named.index("resource")] == ["observe", "act", "legal_actions", "say", "state_of_play"]
    assert set(named[: named.index("resource")]) == set(TOOLS)


@pytest.mark.parametrize("where", ["page", "example"])
def test_the_study_plays_with_its_client(tmp_path, where):
    pytest.importorskip("mcp")
    text = fences(PAGE, "toml")[0].text if where == "page" else (ROOT / "examples" / "open-seat.toml").read_text()
    text = text.replace("blocks = 5", "blocks = 1").replace("python mcp_player.py", f"{sys.executable} mcp_player.py")
    (tmp_path / "open.toml").write_text(text)
    shutil.copy(ROOT / "examples" / "mcp_player.py", tmp_path)
    result = crossplay.run(load_study(tmp_path / "open.toml"), tmp_path / "run", trust=True)
    assert {row.summary.episodes for row in result.rows} == {1}
    assert "guest" in {row.lineup for row in result.rows}


def test_a_front_of_ones_own():
    (block,) = fences(PAGE, "python")
    done = subprocess.run([sys.executable, "-c", block.text], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("horizon {'payoff'"), done.stderr
