"""`crossplay seat mcp`: the study it makes, and a play over HTTP. Stdio is tested beside the server."""

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from cyclopts import App

from crossplay.cli.seats import _tokens, seat_mcp
from crossplay.kernel import CrossplayError
from crossplay.serve.sitting import open_seats, seat_study
from crossplay.study.stage import Stage
from crossplay.study.verify import verify

PLAYER = Path(__file__).parents[2] / "examples" / "mcp_player.py"

BOTH = ["kitchen/cramped_room", "--seat", "p0", "--seat", "p1"]


def test_the_first_seat_is_open_and_the_expert_fills_the_others():
    study = seat_study("kitchen/cramped_room", episodes=3)
    assert {n: a.type for n, a in study.agents.items()} == {"guest": "open", "chef": "chef"}
    assert [s.seats for s in study.lineups.values()] == [["guest", "chef"]] and study.blocks == [0, 1, 2]


def test_others_are_named_by_seat_or_for_all():
    study = seat_study("pitch/soccer-2v2", ["left1", "right0"], ["random", "left0=striker"])
    assert [s.seats for s in study.lineups.values()] == [["striker", "guest-left1", "guest-right0", "random"]]


def test_with_a_margin_floor_and_ceiling_play_the_same_blocks(tmp_path):
    stage = Stage(seat_study("kitchen/cramped_room", margin=5, episodes=2), tmp_path)
    assert {c.role for c in stage.cells} == {"", "control: floor", "control: ceiling"}
    assert {c.blocks for c in stage.cells} == {(0, 1)}
    plain = Stage(seat_study("kitchen/cramped_room", episodes=2), tmp_path)
    assert [c.role for c in plain.cells] == [""]


def test_open_seats_are_found_behind_skills(tmp_path):
    stage = Stage(seat_study("kitchen/cramped_room", skills=True), tmp_path)
    assert list(open_seats(stage)) == ["guest"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["kitchen/cramped_room", "--seat", "p9"], 'no seat "p9"'),
        (["kitchen/cramped_room", "--with", "p9=chef"], 'no other seat "p9"'),
        (["kitchen/cramped_room", "--with", "p0=chef"], "no other seat"),
        (["kitchen/cramped_room", "--with", "chef", "--with", "random"], "names 2 agents"),
        (["kitchen/cramped_room", "--with", "cheff"], 'Did you mean "chef"'),
        (["kitchen/cramped_room", "--seat", "p0", "--seat", "p1"], "with --http"),
        (["kitchen/cramped_room", "--episodes", "0"], "1 or more"),
        (["kitchen/cramped_room", "--http", "0.0.0.0:0"], "needs a token"),
        (["kitchen/cramped_room", "--http", "0", "--token-env", "CROSSPLAY_NOT_SET"], "is not set"),
        ([*BOTH, "--http", "0", "--token-env", "TOKEN_A"], "say SEAT=VARIABLE for each"),
        ([*BOTH, "--http", "0", "--token-env", "p0=TOKEN_A", "--token-env", "p1=TOKEN_A"], "p1 has the token of"),
        ([*BOTH, "--http", "0", "--token-env", "p9=TOKEN_A"], 'the seat "p9" is not open'),
        ([*BOTH, "--http", "0.0.0.0:0", "--token-env", "p0=TOKEN_A"], "--http, seat p1: 0.0.0.0 can be reached"),
        (["kitchen/cramped_room", "--option", "horizon"], "expected NAME=VALUE"),
    ],
)
def test_mistakes_are_named(words, why, tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN_A", "a-token-of-enough-characters")
    app = App()
    app.command(seat_mcp, name="mcp")
    with pytest.raises(CrossplayError, match=re.escape(why)):
        app(["mcp", *words, "--out", str(tmp_path / "run")], result_action="return_value")


def test_each_seat_has_a_token_of_its_own(tmp_path, monkeypatch):
    stage = Stage(seat_study("kitchen/cramped_room", ["p0", "p1"]), tmp_path)
    monkeypatch.setenv("TOKEN_A", "a-token-of-enough-characters")
    monkeypatch.setenv("TOKEN_B", "another-token-of-that-many")
    found = _tokens(stage, open_seats(stage), ["p1=TOKEN_B", "p0=TOKEN_A"], "0.0.0.0")
    assert found == {"guest-p0": "a-token-of-enough-characters", "guest-p1": "another-token-of-that-many"}
    assert set(_tokens(stage, open_seats(stage), (), "127.0.0.1").values()) == {""}
    stage = Stage(seat_study("kitchen/cramped_room"), tmp_path)
    assert _tokens(stage, open_seats(stage), ["TOKEN_A"], "127.0.0.1") == {"guest": "a-token-of-enough-characters"}


def test_a_play_over_http_is_shown_and_verified(tmp_path, capsys):
    pytest.importorskip("mcp")
    folder, codes = tmp_path / "run", []
    command = ["mcp", "kitchen/cramped_room", "--http", "0", "--skills", "--out", str(folder), "--option", "horizon=20"]
    app = App()
    app.command(seat_mcp, name="mcp")
    thread = threading.Thread(target=lambda: codes.append(app(command, result_action="return_value")))
    thread.start()
    said = ""
    while thread.is_alive() and not (url := re.search(r"guest is open at (\S+)", said)):
        said += capsys.readouterr().err
        time.sleep(0.02)
    player = [sys.executable, str(PLAYER), "--url", url[1], "--rule", "random", "--seed", "4"]
    played = subprocess.run(player, capture_output=True, text=True, timeout=60)
    thread.join(30)
    said += capsys.readouterr().out
    assert codes == [0] and re.fullmatch(r"\d+ moves", played.stdout.strip())
    assert int(played.stdout.split()[0]) < 20  # skills, not single moves
    assert "guest+chef" in said and verify(folder, "actions").ok
