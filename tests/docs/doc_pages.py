"""What the tests of the pages read: fenced blocks, tables, links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


class Fence(NamedTuple):
    """A fenced block of a page."""

    language: str
    title: str
    text: str
    line: int


def fences(page: Path, language: str = "") -> list[Fence]:
    """The fenced blocks of a page, in order."""
    found, open_ = [], None
    for n, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        mark = re.match(r"```(\w*)(.*)$", line)
        if mark and open_ is None:
            title = re.search(r'title="([^"]*)"', mark[2])
            open_ = (mark[1], title[1] if title else "", [], n)
        elif line.startswith("```"):
            found.append(Fence(open_[0], open_[1], "\n".join(open_[2]) + "\n", open_[3]))
            open_ = None
        elif open_ is not None:
            open_[2].append(line)
    assert open_ is None, f"{page}: a block is not closed"
    return [f for f in found if not language or f.language == language]


def rows(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading (without the table's head)."""
    text = page.read_text("utf-8")
    start = re.search(rf"^#+ {re.escape(heading)}\s*$", text, re.M)
    assert start, f"{page}: no heading {heading!r}"
    lines = text[start.end() :].split("\n#")[0].splitlines()
    table = [line for line in lines if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[2:]]


def pages() -> list[Path]:
    """The README and every page of the docs."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
