"""The page on tools, guards and facets: its study plays, its tables name what there is."""

import os
import subprocess
import sys

from doc_pages import DOCS, fences

from crossplay.agents.facets import VOCABULARY
from crossplay.agents.guards import GUARDS
from crossplay.agents.tools import AT_ONCE, BUILT_IN, LONGEST
from crossplay.teams.facets import VOCABULARY as OF_TEAMS

PAGE = DOCS / "tools.md"
TEXT = PAGE.read_text("utf-8")


def test_the_study_plays_and_calls_tools(tmp_path):
    [block] = [b for b in fences(PAGE, "toml") if b.title]
    (tmp_path / block.title).write_text(block.text)
    code = "from crossplay.cli import main; main()"
    for words in (
        ("run", "tools.toml", "--out", "out"),
        ("verify", "out", "--level", "agents"),
        ("show", "out", "--by", "core"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, env=os.environ
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "counts+tft" in done.stdout and "by core" in done.stdout


def test_the_tables_name_everything():
    for name in (*BUILT_IN, *GUARDS, *OF_TEAMS):
        assert f"| `{name}` |" in TEXT, name
    lines = {line.split("|")[1].strip(" `"): line for line in TEXT.splitlines() if line.startswith("| `")}
    for name, facet in {**OF_TEAMS, **VOCABULARY}.items():
        if name != "actors":
            assert ", ".join(facet.words) in lines[name], name
    assert f"{LONGEST:,} bytes" in TEXT and f"beyond {AT_ONCE} at a time" in TEXT
