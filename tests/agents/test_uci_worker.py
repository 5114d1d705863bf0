"""UCI engines in seats of chess: moves are translated right, answers depend on the game alone, trouble is counted."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crossplay_worker.spiel_chess import Board
from crossplay_worker.uci import MATE, lines_of, read_config, softly
from crossplay_worker.worker import Refused

from crossplay.agents import Context, make_agent
from crossplay.kernel import Block, Conduct, CrossplayError, Lineup, aio_many, key, loop, make_env, pick, play, unpack

pyspiel = pytest.importorskip("pyspiel")

FAKE = Path(__file__).parent / "workers" / "fake_uci_engine.py"


@pytest.fixture
def engine(tmp_path: Path) -> Callable[..., str]:
    """A program that is the fake engine with these ways."""

    def make(*ways: str) -> str:
        program = tmp_path / ("engine_" + "_".join(w.partition("=")[0] for w in ways))
        program.write_text("#!/bin/sh\nexec " + shlex.join([sys.executable, str(FAKE), *ways]) + "\n")
        program.chmod(0o755)
        return str(program)

    return make


@pytest.fixture
def fish(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes worker agents with an engine, and ends their processes."""
    context = Context(trust=True, folder=tmp_path)

    def make(program: str, *words: str, **config: Any) -> Any:
        command = ["python", "-m", "crossplay_worker.uci", *(["--engine", program] if program else []), *words]
        return make_agent({"type": "worker", "command": command, "config": config}, context, "fish")

    yield make
    for close in context.closing:
        close()


def chess(agent: Any, block: int = 0, other: Any = None, conduct: Conduct = Conduct(), ticks: int = 0) -> Any:  # noqa: B008
    env = make_env("openspiel:chess")
    if ticks:
        env.horizon = ticks
        env.ended = lambda: "horizon" if len(env._state.history()) >= ticks else None  # type: ignore[method-assign]
    lineup = {"p0": other or make_agent("random"), "p1": agent}
    for seat, who in lineup.items():
        who.check(env, seat)
    return play(env, Lineup(lineup), Block(7, block), conduct)


# -- moves -----------------------------------------------------------------------------------------------
def test_moves_are_written_as_openspiel_writes_them() -> None:
    """Every legal move of random games, against OpenSpiel's own long algebraic notation."""
    seen: set[str] = set()
    for n in range(8):
        state = pyspiel.load_game("chess").new_initial_state()
        said: list[str] = []
        while not state.is_terminal() and len(said) < 160:
            legal, board = state.legal_actions(), state.board()
            theirs = {pyspiel.chess.action_to_move(a, board).to_lan(): str(a) for a in legal}
            mine = Board(state.history())
            assert mine.moves == said
            assert mine.named([str(a) for a in legal]) == theirs
            seen |= {m[4:] for m in theirs} | {m for m, a in theirs.items() if a in ("4672", "4673")}
            action = legal[pick(key("moves", n), len(legal), len(said))]
            said.append(mine.written(action))
            state.apply_action(action)
    assert {"q", "r", "b", "n"} < seen and seen & {"e1g1", "e1c1", "e8g8", "e8c8"}


def test_en_passant_and_castling_move_two_pieces() -> None:
    state = pyspiel.load_game("chess").new_initial_state()
    for move in ("e2e4", "a7a6", "e4e5", "d7d5", "e5d6", "a6a5", "g1f3", "a5a4", "f1e2", "a4a3", "e1g1"):
        state.apply_action(state.parse_move_to_action(move))
    board = Board(state.history())
    assert (3, 4) not in board.at and board.at[(3, 5)] == "p"
    assert board.at[(6, 0)] == "k" and board.at[(5, 0)] == "r" and (7, 0) not in board.at


# -- what engines say -------------------------------------------------------------------------------------
def test_scores_of_lines() -> None:
    said = [
        "info depth 1 multipv 1 score cp 10 pv a2a3",
        "info depth 2 multipv 1 score mate 3 nodes 7 pv b2b3 a7a6",
        "info depth 2 multipv 2 score mate -2 pv c2c3",
        "info depth 3 multipv 2 score cp 90 lowerbound pv d2d3",
        "info depth 3 currmove e2e4",
        "info score cp",
        "bestmove b2b3",
    ]
    assert lines_of(said) == [(MATE - 3, "b2b3"), (2 - MATE, "c2c3")]
    assert lines_of(["info score cp 4 pv h2h4"]) == [(4, "h2h4")]


def test_the_choice_among_lines_follows_the_boltzmann_weights() -> None:
    lines = [(100, "a"), (0, "b"), (-500, "c")]
    places = [(i + 0.5) / 10000 for i in range(10000)]
    share = sum(softly(lines, 100.0, u) == "a" for u in places) / 10000
    assert abs(share - 1 / (1 + 2.718281828**-1 + 2.718281828**-6)) < 1e-3
    assert {softly(lines, 1.0, u) for u in places} == {"a"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"node": 5}, 'unknown option "node"; known: nodes, depth'),
        ({"nodes": -1}, "expected a number from 0"),
        ({"nodes": True}, "expected a number from 0"),
        ({"path": "x"}, "stands on the command line of the worker: --engine"),
        ({"skill": 3}, "--skill"),
        ({"options": {"Skill Level": 3}}, "own dice: say --skill N"),
        ({"options": {"Threads": 4}}, "nobody can repeat"),
        ({"options": {"MultiPV": 4}}, "use the option lines"),
        ({"temperature": 50.0}, "set lines to 2 or more"),
        ({"options": []}, "expected a table"),
    ],
)
def test_wrong_options_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        read_config(config, 0)


def test_limits_have_a_default_only_where_none_is_given() -> None:
    assert read_config({}, 0)["nodes"] == 2000
    assert read_config({"depth": 4}, 0)["nodes"] == 0
    assert read_config({}, 100)["nodes"] == 0


# -- games -------------------------------------------------------------------------------------------------
def test_the_engine_plays_its_moves(engine: Any, fish: Any, tmp_path: Path) -> None:
    agent = fish(engine(f"log={tmp_path / 'said'}"), nodes=77, depth=3, options={"style": "wild"})
    outcome = loop(chess(agent, ticks=12))
    assert outcome.status == "horizon" and not outcome.counts["p1"].keys() & {"error", "invalid"}
    said = (tmp_path / "said").read_text().splitlines()
    assert "setoption name Threads value 1" in said and "setoption name Style value wild" in said
    assert said.count("ucinewgame") == 6 and said.count("go nodes 77 depth 3") == 6
    asked = [line for line in said if line.startswith("position")]
    assert asked[0] == "position startpos" and all(b.startswith(a) for a, b in itertools.pairwise(asked))
    about = agent.manifest()["worker"]["about"]
    assert about["engine"] == "Fake 1" and len(about["program"]) == 64


def test_games_at_once_are_those_played_alone(engine: Any, fish: Any) -> None:
    agent = fish(engine(), lines=4, temperature=80.0)
    alone = {b: loop(chess(agent, b, ticks=14)).world for b in range(4)}
    together: dict[int, bytes] = {}

    def done(episode: Any, outcome: Any) -> None:
        together[episode.at.block] = outcome.world

    asyncio.run(aio_many((chess(agent, b, ticks=14) for b in (3, 1, 0, 2)), 3, done))
    assert together == alone
    assert len(set(alone.values())) == 4


def test_an_engine_that_ends_is_started_again(engine: Any, fish: Any) -> None:
    steady, weak = fish(engine()), fish(engine("dies=3"))
    a, b = loop(chess(steady, ticks=12)), loop(chess(weak, ticks=12))
    assert a.world == b.world
    assert b.counts["p1"]["retries"] >= 2 and "retries" not in a.counts["p1"]


@pytest.mark.parametrize(
    ("ways", "config", "message"),
    [
        ("dies=1", {}, "UPSTREAM: .*it has ended .exit code 9"),
        ("hangs", {"patience": 0.2}, "UPSTREAM: .*it said nothing for 0.2 s"),
        ("says=illegal", {}, "UPSTREAM: Fake 1 answered a1h8, which is no legal move"),
        ("says=none", {}, "UPSTREAM: Fake 1 answered .none., which is no legal move"),
    ],
)
def test_trouble_of_the_engine_is_an_error_that_is_counted(
    engine: Any, fish: Any, ways: str, config: dict[str, Any], message: str
) -> None:
    outcome = loop(chess(fish(engine(ways), **config), ticks=2, conduct=Conduct(error=("random",))))
    assert outcome.counts["p1"]["error"] == 1 and outcome.ticks == 2
    faults = [unpack(row.note)["detail"] for row in outcome.trace() if row.kind == "fault"]
    assert len(faults) == 1 and re.search(message, faults[0]), faults


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see which processes run")
def test_the_engine_ends_with_its_worker(engine: Any, fish: Any, tmp_path: Path) -> None:
    """Also when the worker is killed while the engine thinks: the episode is void, and nothing is left running."""
    said = tmp_path / "said"
    agent = fish(engine("hangs", f"log={said}"))
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(loop(chess(agent, ticks=1))))
    thread.start()
    end = time.monotonic() + 20
    while not (said.exists() and "go nodes" in said.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    worker = agent.link._child.pid
    children = [int(p) for p in Path(f"/proc/{worker}/task/{worker}/children").read_text().split()]
    assert children and not any(_gone(p) for p in children)
    os.kill(worker, signal.SIGKILL)
    thread.join(20)
    assert found[0].status == "void"
    while not all(_gone(p) for p in children) and time.monotonic() < end:
        time.sleep(0.02)
    assert all(_gone(p) for p in children)


def test_only_chess_from_the_usual_start(engine: Any, fish: Any) -> None:
    agent = fish(engine())
    for name, options in (("connect_four", {}), ("chess", {"chess960": True})):
        with pytest.raises(CrossplayError, match="plays openspiel:chess without options"):
            agent.check(make_env(f"openspiel:{name}", options), "p0")


def test_what_is_not_there_says_so(engine: Any, fish: Any) -> None:
    with pytest.raises(CrossplayError, match="no program nowhere; install one"):
        fish("nowhere")
    with pytest.raises(CrossplayError, match='Fake 1 has no option "Contempt"; it has Threads'):
        fish(engine(), options={"Contempt": 1}).check(make_env("openspiel:chess"), "p0")
    with pytest.raises(CrossplayError, match="cannot start|it has ended"):
        fish("/bin/true")


def test_the_engines_own_dice_make_it_not_deterministic(engine: Any, fish: Any, tmp_path: Path) -> None:
    log = tmp_path / "said"
    assert fish(engine()).deterministic
    assert not fish(engine(), "--movetime", "5").deterministic
    weak = fish(engine(f"log={log}"), "--skill", "3")
    assert not weak.deterministic
    loop(chess(weak, ticks=1))
    assert "setoption name Skill Level value 3" in log.read_text().splitlines()


# -- Stockfish ---------------------------------------------------------------------------------------------
def _stockfish() -> str:
    import shutil

    return shutil.which("stockfish", path=os.environ.get("PATH", "") + os.pathsep + "/usr/games") or ""


@pytest.mark.full
@pytest.mark.skipif(not _stockfish(), reason="Stockfish is not installed (Debian: apt-get install stockfish)")
@pytest.mark.parametrize("other", ["random", "mcts"])
def test_stockfish_wins_whole_games_and_repeats_them(fish: Any, other: str) -> None:
    from crossplay.agents.openspiel_bots import openspiel_bot

    rival = (
        make_agent("random")
        if other == "random"
        else openspiel_bot(
            "mcts", {"simulations": 10, "rollouts": 1, "uct": 2.0, "solve": True, "memory_mb": 64}, Context()
        )
    )
    one, two = fish("", nodes=1000), fish("", nodes=1000)
    for block in range(2):
        first, again = loop(chess(one, block, rival)), loop(chess(two, block, rival))
        assert first.status == "terminal" and first.score["return_p1"] == 1.0
        assert (first.world, first.mind) == (again.world, again.mind)
        assert not first.counts["p1"].keys() & {"error", "invalid", "retries"}


@pytest.mark.full
@pytest.mark.skipif(not _stockfish(), reason="Stockfish is not installed (Debian: apt-get install stockfish)")
def test_more_positions_play_better(fish: Any) -> None:
    strong, weak = fish("", nodes=3000), fish("", nodes=30, lines=3, temperature=100.0)
    points = [loop(chess(strong, block, weak)).score["return_p1"] for block in range(3)]
    assert sum(points) >= 2.0
