"""Chess engines that speak UCI (Stockfish and others) in seats of `openspiel:chess`.

    python -m crossplay_worker.uci [--engine PROGRAM] [--skill N | --elo N] [--movetime MS]

The engine is a program of its own, started here and ended with this process. Before each move it forgets
(`ucinewgame`), one thread searches a fixed number of positions, and the whole game travels with the question: so a
move depends on the game alone, whatever else the engine was asked. What breaks that (its own dice, its clock) stands
on the command line, and the worker then says that it is not deterministic.

Options (`config` in a study): nodes, depth, lines and temperature (choose among the best lines by our own dice), hash
(MB), options (of the engine, by name), patience (seconds until an engine that says nothing is given up).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .seeds import uniform
from .spiel_chess import Board
from .worker import Action, Obs, Refused, Worker, run

__all__ = ["Engine", "Lost", "UciWorker", "main"]

DEFAULTS: dict[str, Any] = {
    "nodes": 0, "depth": 0, "lines": 1, "temperature": 0.0, "hash": 16, "options": {}, "patience": 30.0,
}  # fmt: skip
NODES = 2000  # where neither nodes, depth nor a time is given
DICE = {"skill level": "--skill N", "uci_limitstrength": "--elo N", "uci_elo": "--elo N"}
OURS = {"hash": "hash", "multipv": "lines"}
START = 30.0  # seconds until a program that says nothing at its start is no engine
MATE = 100_000  # centipawns of a mate at once


class Lost(Exception):
    """The engine has ended, hangs, or says what is no UCI."""


class Engine:
    """A UCI engine as a process: lines out, lines in, nothing waits for ever. Raises `Lost`.

    `id` and `options` are what it said of itself. It belongs to this process's group, and is ended with it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.patience = START  # seconds until it is given up
        self.id = ""
        self.options: dict[str, str] = {}
        self._lines: list[bytes] = []
        self._rest = b""
        try:
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
            )
        except OSError as error:
            raise Lost("cannot start %s: %s" % (command[0], error.strerror or error)) from None
        self.pid = self._process.pid
        for line in self.ask("uci", "uciok"):
            words = line.split()
            if words[:2] == ["id", "name"]:
                self.id = " ".join(words[2:])
            elif words[:2] == ["option", "name"] and "type" in words:
                name = " ".join(words[2 : words.index("type")])
                self.options[name.lower()] = name

    def set(self, name: str, value: Any) -> None:
        """Set one of its options; one that it does not have is `BAD_VALUE`."""
        if name.lower() not in self.options:
            raise Refused(
                "BAD_VALUE", '%s has no option "%s"; it has %s' % (self.id, name, ", ".join(self.options.values()))
            )
        said = str(value).lower() if isinstance(value, bool) else str(value)
        if "\n" in said or "\r" in said:
            raise Refused("BAD_VALUE", "option %s: a line break" % name)
        self.tell("setoption name %s value %s" % (self.options[name.lower()], said))

    def tell(self, line: str) -> None:
        """One line to the engine."""
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line.encode() + b"\n")
        except (OSError, ValueError) as error:
            raise Lost("it has ended (%s)" % self._how()) from error

    def ask(self, line: str, until: str) -> list[str]:
        """Tell a line; the answer up to the line that begins with the word `until`."""
        self.tell(line)
        end = time.monotonic() + self.patience
        found = []
        while True:
            said = self._line(end)
            found.append(said)
            if said.split(" ", 1)[0] == until:
                return found

    def _line(self, end: float) -> str:
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while not self._lines:
            left = end - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise Lost("it said nothing for %g s" % self.patience)
            data = os.read(pipe, 1 << 16)
            if not data:
                raise Lost("it has ended (%s)" % self._how())
            *self._lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > 1 << 20:
                raise Lost("it sent a line of more than a megabyte")
        return self._lines.pop(0).decode("utf-8", "replace").strip()

    def _how(self) -> str:
        try:
            return "exit code %d" % self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "it still runs, but its pipe is closed"

    def close(self) -> None:
        """End it at once: it keeps nothing that is worth saving."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def lines_of(said: Sequence[str]) -> list[tuple[int, str]]:
    """(centipawns for the mover, first move) of the best lines, best first, from `info` lines.

    Of each line the last score that is no bound counts. Mate in n is 100,000 - n, being mated the negative.
    """
    found: dict[int, tuple[int, str]] = {}
    for line in said:
        words = line.split()
        if words[:1] != ["info"] or "score" not in words or "pv" not in words:
            continue
        if "lowerbound" in words or "upperbound" in words:
            continue
        try:
            rank = int(words[words.index("multipv") + 1]) if "multipv" in words else 1
            at = words.index("score")
            kind, number = words[at + 1], int(words[at + 2])
            move = words[words.index("pv") + 1]
        except (ValueError, IndexError):
            continue
        score = number if kind == "cp" else (MATE - number if number > 0 else -MATE - number)
        found[rank] = score, move
    return [found[rank] for rank in sorted(found)]


def softly(lines: Sequence[tuple[int, str]], temperature: float, u: float) -> str:
    """A move of these lines with probability proportional to exp(centipawns / temperature); u in [0, 1)."""
    best = max(score for score, _ in lines)
    weights = [math.exp((score - best) / temperature) for score, _ in lines]
    place = u * sum(weights)
    for weight, (_, move) in zip(weights, lines):
        place -= weight
        if place < 0:
            return move
    return lines[-1][1]


class UciWorker(Worker):
    """Fills seats of `openspiel:chess` with the moves of an engine.

    command: the engine. skill, elo: its own ways to play worse, by dice that nobody can repeat. movetime: ms.
    """

    name = "uci"
    version = "1"
    views = ("data",)
    kinds = ("names",)
    state = "none"
    deterministic = True

    def __init__(
        self, command: Sequence[str], skill: int | None = None, elo: int | None = None, movetime: int = 0
    ) -> None:
        self.command, self.movetime = list(command), movetime
        self.own: dict[str, Any] = {}
        if skill is not None:
            self.own["Skill Level"] = skill
        if elo is not None:
            self.own.update({"UCI_LimitStrength": True, "UCI_Elo": elo})
        self.deterministic = not self.own and not movetime
        self.config = dict(DEFAULTS)
        self.engine: Engine | None = None

    def about(self) -> dict[str, Any]:
        """The engine's name, the digest of its program, and what was said on the command line."""
        engine = Engine(self.command)
        found = {"engine": engine.id, "program": _digest(self.command[0]), "own_dice": dict(self.own)}
        engine.close()
        return {**found, "movetime": self.movetime}

    # -- the seat ----------------------------------------------------------------------------------------
    def bind(self, seats: Sequence[Any], config: Mapping[str, Any]) -> None:
        """Chess from the usual start alone; starts the engine with the options."""
        for seat in seats:
            if not seat.env.startswith("openspiel:chess@") or "?" in seat.env:
                raise Refused("BAD_SPACE", "a UCI engine plays openspiel:chess without options, not %s" % seat.env)
        self.config = read_config(config, self.movetime)
        self._stop()
        self._started()

    def _started(self) -> Engine:
        if self.engine is None:
            config = self.config
            try:
                self.engine = engine = Engine(self.command)
                wanted = {"Threads": 1, "Hash": config["hash"], "MultiPV": config["lines"], "Ponder": False}
                for name, value in wanted.items():
                    if name.lower() in engine.options:
                        engine.set(name, value)
                for name, value in {**config["options"], **self.own}.items():
                    engine.set(name, value)
                engine.ask("isready", "readyok")
                engine.patience = float(config["patience"])
            except Lost as error:
                self._stop()
                raise Refused("UPSTREAM", "%s: %s" % (self.command[0], error)) from None
        return self.engine

    def _stop(self) -> None:
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    # -- moves ---------------------------------------------------------------------------------------------
    def act(self, obs: Obs) -> Any:
        """The engine's move. One that has ended or hangs is `UPSTREAM`, and worth asking again: it is started anew."""
        if obs.view["game"] != "chess()":
            raise Refused("BAD_SPACE", "a UCI engine plays chess from the usual start, not %s" % obs.view["game"])
        board = Board(obs.view["history"])
        legal = board.named(obs.names())
        engine = self._started()
        before = _cpu(engine.pid)
        try:
            move = self._think(engine, board.moves, obs)
        except Lost as error:
            self._stop()
            raise Refused("UPSTREAM", "%s: %s" % (self.command[0], error), True) from None
        if move not in legal:
            raise Refused("UPSTREAM", "%s answered %s, which is no legal move here" % (engine.id, move))
        return Action(legal[move], usage=(0, 0, 0, max(0, _cpu(engine.pid) - before)))

    def _think(self, engine: Engine, moves: Sequence[str], obs: Obs) -> str:
        config = self.config
        engine.tell("ucinewgame")
        engine.ask("isready", "readyok")
        engine.tell("position startpos" + (" moves " + " ".join(moves) if moves else ""))
        limits = [("nodes", config["nodes"]), ("depth", config["depth"]), ("movetime", self.movetime)]
        said = engine.ask("go" + "".join(" %s %d" % pair for pair in limits if pair[1]), "bestmove")
        best = said[-1].split()  # bestmove e2e4 ponder e7e5: what it would think about meanwhile does not matter
        if config["temperature"] > 0:
            lines = lines_of(said)
            if lines:
                return softly(lines, config["temperature"], uniform(obs.key, obs.tick, 0))
        return best[1] if len(best) > 1 else "nothing"


def read_config(given: Mapping[str, Any], movetime: int) -> dict[str, Any]:
    """The options with their defaults; `BAD_VALUE` names what is wrong."""
    for name, value in given.items():
        if name in ("path", "engine", "skill", "elo", "movetime"):
            flag = "--engine PROGRAM" if name == "path" else "--%s" % name
            raise Refused("BAD_VALUE", "%s stands on the command line of the worker: %s" % (name, flag))
        if name not in DEFAULTS:
            raise Refused("BAD_VALUE", 'unknown option "%s"; known: %s' % (name, ", ".join(DEFAULTS)))
        wanted = (int, float) if isinstance(DEFAULTS[name], float) else type(DEFAULTS[name])
        if not isinstance(value, wanted) or isinstance(value, bool) or (name != "options" and value < 0):
            raise Refused(
                "BAD_VALUE",
                "%s = %r: expected %s" % (name, value, "a table" if name == "options" else "a number from 0"),
            )
    config = {**DEFAULTS, **given}
    for name in config["options"]:
        if name.lower() in DICE:
            raise Refused(
                "BAD_VALUE", "%s throws the engine's own dice: say %s on the command line" % (name, DICE[name.lower()])
            )
        if name.lower() in OURS:
            raise Refused("BAD_VALUE", "%s: use the option %s" % (name, OURS[name.lower()]))
        if name.lower() == "threads":
            raise Refused("BAD_VALUE", "several threads search in an order that nobody can repeat")
    if not (config["nodes"] or config["depth"] or movetime):
        config["nodes"] = NODES
    if config["temperature"] > 0 and config["lines"] < 2:
        raise Refused("BAD_VALUE", "temperature chooses among lines: set lines to 2 or more")
    return config


def _digest(program: str) -> str:
    path = shutil.which(program) or program
    found = hashlib.sha256()
    with Path(path).open("rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            found.update(part)
    return found.hexdigest()


def _cpu(pid: int) -> int:
    """Processor microseconds of a process so far (Linux; elsewhere 0)."""
    try:
        fields = Path("/proc/%d/stat" % pid).read_text().rpartition(")")[2].split()
        return int((int(fields[11]) + int(fields[12])) * 1_000_000 / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0


def find_engine(named: str) -> str:
    """The program: what was named, $CROSSPLAY_UCI, or `stockfish` where packages put it. Exits where there is none."""
    wanted = named or os.environ.get("CROSSPLAY_UCI", "") or "stockfish"
    found = shutil.which(wanted, path=os.environ.get("PATH", "") + os.pathsep + "/usr/games")
    if found is None:
        sys.exit("crossplay_worker.uci: no program %s; install one (Debian: apt-get install stockfish)" % wanted)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve seats with the engine that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m crossplay_worker.uci", description="A UCI chess engine in a seat.")
    parser.add_argument("--engine", default="", help="program; default: $CROSSPLAY_UCI, or stockfish")
    parser.add_argument("--skill", type=int, help="the engine's Skill Level: its own dice, not repeatable")
    parser.add_argument("--elo", type=int, help="the engine's UCI_Elo: its own dice, not repeatable")
    parser.add_argument("--movetime", type=int, default=0, help="milliseconds per move: not repeatable")
    given = parser.parse_args(arguments)
    try:
        worker = UciWorker([find_engine(given.engine)], given.skill, given.elo, given.movetime)
        run(worker)
    except Lost as error:
        sys.exit("crossplay_worker.uci: %s" % error)


if __name__ == "__main__":
    main()
