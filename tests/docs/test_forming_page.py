"""docs/forming.md says what the parts do: examples print what they say, and no message or move is left out."""

import contextlib
import io
import re
from typing import get_args

import pytest
from doc_pages import DOCS, fences, rows

from crossplay.teams.forming import group, threads

PAGE = DOCS / "forming.md"


@pytest.mark.parametrize("title", ["registry.py", "group.py", "threads.py"])
def test_the_examples_print_what_they_say(title):
    [block] = [b for b in fences(PAGE, "python") if b.title == title]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(block.text, {})
    assert out.getvalue().splitlines() == re.findall(r"print\(.*\)  # (.*)", block.text)


def named(heading):
    """The words in backticks of the first cells of a table."""
    return {w for line in rows(PAGE, heading) for w in re.findall(r"`(\w+)`", line[0])}


def test_every_message_and_move_is_listed():
    assert named("Groups") == set(get_args(group.Type))
    assert named("Threads") == set(get_args(threads.Type))


def test_the_phases_are_named():
    assert all(phase in PAGE.read_text() for phase in get_args(group.Phase))
