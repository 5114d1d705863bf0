"""A fake UCI engine, for tests: it plays chess as OpenSpiel knows it, and misbehaves as it is told.

Its legal moves and their spelling are OpenSpiel's own, so that what the worker makes of them is checked by another.
"""

import hashlib
import os
import sys
import time
from pathlib import Path

import pyspiel

WAYS = {w.partition("=")[0]: w.partition("=")[2] for w in sys.argv[1:]}
GAME = pyspiel.load_game("chess")


def legal(state):
    board = state.board()
    return sorted(pyspiel.chess.action_to_move(a, board).to_lan() for a in state.legal_actions())


def main():
    state, lines, asked = GAME.new_initial_state(), 1, 0
    for line in sys.stdin:
        words = line.split()
        if "log" in WAYS:
            with Path(WAYS["log"]).open("a") as log:
                log.write(line)
        if words[0] == "uci":
            print("id name Fake 1\nid author nobody\n")
            for name, kind in (
                ("Threads", "spin"),
                ("Hash", "spin"),
                ("MultiPV", "spin"),
                ("Skill Level", "spin"),
                ("Style", "string"),
            ):
                print("option name", name, "type", kind, "default 1")
            print("uciok")
        elif words[0] == "isready":
            print("readyok")
        elif words[0] == "setoption" and words[2] == "MultiPV":
            lines = int(words[-1])
        elif words[0] == "position":
            state = GAME.new_initial_state()
            for move in words[3:]:
                state.apply_action(state.parse_move_to_action(move))
        elif words[0] == "go":
            asked += 1
            if asked == int(WAYS.get("dies", -1)):
                os._exit(9)
            if "hangs" in WAYS:
                time.sleep(60)
            found = legal(state)
            first = hashlib.blake2b(" ".join(map(str, state.history())).encode(), digest_size=4).digest()[0] % len(
                found
            )
            found = found[first:] + found[:first]
            print("info string thinking\ninfo depth 1 score cp 999 upperbound multipv 1 pv a1a1")
            for rank, move in enumerate(found[:lines], 1):
                print(f"info depth 1 seldepth 1 multipv {rank} score cp {100 - 100 * rank} nodes 5 pv {move} e7e5")
            best = {"illegal": "a1h8", "none": "(none)"}.get(WAYS.get("says", ""), found[0])
            print("bestmove", best, "ponder e7e5")
        elif words[0] == "quit":
            return
        sys.stdout.flush()


main()
