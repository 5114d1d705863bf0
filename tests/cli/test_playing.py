"""`replay` and `play` as a person meets them: real keystrokes in a pseudo-terminal, files on disk."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from crossplay.cli import main
from crossplay.study.verify import load_run, verify

TICKS = 10
GAME = ["play", "kitchen/cramped_room", "--option", f"horizon={TICKS}", "--with", "chef"]
CLI = [sys.executable, "-c", "from crossplay.cli import main; main()"]


def call(*tokens: object) -> int:
    """The command line in this process; its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(t) for t in tokens])
    return int(ended.value.code or 0)


def played(keys: str, *tokens: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, with these keys on standard input."""
    return subprocess.run([*CLI, *map(str, tokens)], input=keys, capture_output=True, text=True, timeout=120)


class Terminal:
    """A process on a pseudo-terminal: what it shows, and a keyboard."""

    def __init__(self, *tokens: object) -> None:
        self.master, slave = pty.openpty()
        env = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "40"}
        self.process = subprocess.Popen([*CLI, *map(str, tokens)], stdin=slave, stdout=slave, stderr=slave, env=env)
        os.close(slave)
        self.shown = ""

    def until(self, text: str, times: int, limit: float = 90.0) -> None:
        """Read until a text was shown that often."""
        end = time.monotonic() + limit
        while self.shown.count(text) < times:
            left = end - time.monotonic()
            assert left > 0, f"{text!r} was shown {self.shown.count(text)} times, not {times}: {self.shown[-800:]}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    self.shown += os.read(self.master, 65536).decode("utf-8", "replace")
                except OSError:  # the other end is closed
                    assert self.shown.count(text) >= times, self.shown[-800:]

    def keys(self, line: str) -> None:
        """Type a line and press return."""
        os.write(self.master, f"{line}\n".encode())

    def end(self) -> int:
        """Read the rest; the exit code."""
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break
            if not data:
                break
            self.shown += data.decode("utf-8", "replace")
        os.close(self.master)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A short episode that a person played: names, numbers, a wrong word, a question."""
    folder = tmp_path_factory.mktemp("play") / "mine"
    keys = "north\n6\nnonsense\n?\n" + "stay\n" * TICKS
    done = played(keys, *GAME, "--seat", "p0", "--out", folder)
    assert done.returncode == 0, done.stderr
    assert "is none of the actions" in done.stdout and f"crossplay replay {folder}" in done.stdout
    return folder


def test_keystrokes_in_a_terminal_become_a_run_that_verifies(tmp_path):
    folder = tmp_path / "mine"
    terminal = Terminal(*GAME, "--seat", "p1", "--out", folder)
    typed = ["north", "3", "west", "stay", "interact", "1", "south", "east", "stay", "stay"]
    for n, line in enumerate(typed, 1):
        terminal.until("p1> ", n)
        terminal.keys(line)
    assert terminal.end() == 0, terminal.shown[-800:]
    assert "p0: chef, p1: human" in terminal.shown and f"ended: horizon after {TICKS} ticks" in terminal.shown
    folder_, study = load_run(folder)
    with folder_:
        (record,) = folder_.records()
        acts = [e.value for e in folder_.events(record.id) if e.kind == "act" and e.seat == 1]
        assert study.environments["kitchen/cramped_room"].options == {"horizon": TICKS}
    names = ["north", "south", "east", "west", "stay", "interact"]
    assert [names[a] for a in acts] == [names[int(t) - 1] if t.isdigit() else t for t in typed]
    found = verify(folder, "actions")
    assert found.ok and found.exact and found.replayed == 1


def test_a_person_is_replayed_and_never_asked_again(run):
    found = verify(run, "agents")
    assert found.ok and found.reexecuted == 0
    assert "human" in " ".join(found.recorded_only.values())


def test_a_wrong_word_asks_again_and_is_no_fault(run):
    folder, _ = load_run(run)
    with folder:
        (record,) = folder.records()
        assert record.counts["p0"] == {"decisions": TICKS}


def test_the_end_of_input_voids_nothing_and_the_run_goes_on(tmp_path):
    folder = tmp_path / "mine"
    done = played("stay\n", *GAME, "--out", folder)
    assert done.returncode == 3 and "terminal was closed" in done.stderr
    assert played("stay\n" * TICKS, *GAME, "--out", folder).returncode == 0
    assert verify(folder).ok


def test_playing_the_same_block_twice_is_told(run):
    done = played("", *GAME, "--seat", "p0", "--out", run)
    assert done.returncode == 0 and "holds this episode already" in done.stdout


def test_skills_instead_of_moves(tmp_path):
    done = played("1\n" * 40, *GAME, "--skills", "--out", tmp_path / "mine")
    assert done.returncode == 0, done.stderr
    folder, study = load_run(tmp_path / "mine")
    with folder:
        assert study.agents["human"].options == {"skills": True}
        assert folder.records()[0].ticks == TICKS
    assert verify(tmp_path / "mine").ok


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        (["--seat", "p7"], 'no seat "p7"'),
        (["--with", "chf"], 'Did you mean "chef"'),
        (["--with", "chef,chef"], "names 2 agents for 1 other seats"),
        (["--option", "horizon"], "NAME=VALUE"),
        (["--option", "horizn=3"], 'Did you mean "horizon"'),
        (["--clock", "tick:5"], "wait or deadline"),
    ],
)
def test_mistakes_are_one_clear_line(tokens, says, capsys, tmp_path):
    assert call("play", "kitchen/cramped_room", *tokens, "--out", tmp_path / "x") == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_replay_without_a_terminal_prints_some_ticks(run, capsys):
    assert call("replay", run) == 0
    text = capsys.readouterr().out
    ticks = [int(t) for t in re.findall(r"^tick (\d+):", text, re.MULTILINE)]
    assert ticks[0] == 0 and ticks[-1] == TICKS and len(ticks) <= 9
    assert "p0: north" in text and "XXPXX" in text and "end (the last tick)" in text


def test_replay_of_one_tick(run, capsys):
    assert call("replay", run, "human+chef:0", "--tick", 1) == 0
    assert re.findall(r"^tick (\d+):", capsys.readouterr().out, re.MULTILINE) == ["1"]
    assert call("replay", run, "--tick", TICKS + 1) == 2
    assert f"0 to {TICKS}" in capsys.readouterr().err


def test_replay_into_files(run, tmp_path, capsys):
    gif, png = tmp_path / "a.gif", tmp_path / "a.png"
    assert call("replay", run, "--gif", gif, "--png", png, "--speed", 20) == 0
    assert Image.open(gif).n_frames == TICKS + 1 and Image.open(gif).info["duration"] == 50
    assert Image.open(png).format == "PNG"
    assert capsys.readouterr().out.count("wrote") == 2


def test_replay_animates_in_a_terminal(run):
    terminal = Terminal("replay", run, "--speed", 200)
    assert terminal.end() == 0
    ticks = [int(t) for t in re.findall(r"tick (\d+):", terminal.shown)]
    assert sorted(set(ticks)) == list(range(TICKS + 1))
    assert "\x1b[" in terminal.shown  # drawn in place


def test_replay_of_nothing(run, capsys):
    assert call("replay", run, "ffff") == 2 and "Nearest:" in capsys.readouterr().err
    assert call("replay", run, "--speed", 0) == 2 and "--speed" in capsys.readouterr().err
