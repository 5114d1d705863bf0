"""The two protocols of `maze`: `Joint` (named actions, words by mail) and `Talk` (nothing but text)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.envs.maze.grade import agreed_path, claims_end, moves_in
from crossplay.envs.maze.grid import HIDDEN, MOVES, Cell, Maze, distances, draw_maze, step, valid_walk
from crossplay.envs.maze.views import grid_image, rules, view_image, view_text
from crossplay.kernel.env import Ended, Env
from crossplay.kernel.types import ActionSpec, Msg, pack, unpack

__all__ = ["PAIR_ACTIONS", "SOLO_ACTIONS", "Joint", "MazeEnv", "Talk"]

STOP = len(MOVES)  # the proposal to stop, after those of the moves
PAIR_ACTIONS = ("talk", *(f"propose {m}" for m in (*MOVES, "stop")), "agree", "refuse")
SOLO_ACTIONS = (*MOVES, "stop")
_AGREE, _REFUSE = PAIR_ACTIONS.index("agree"), PAIR_ACTIONS.index("refuse")


class MazeEnv(Env):
    """What both protocols share: the maze, who sees what, the score of a walk."""

    protocol = ""
    views = ("data", "text", "image")
    metrics = {
        "success": "1 where the walk is valid and ends on the goal",
        "weighted": "1 - d(last valid cell, goal) / d(start, goal), d in steps; below 0 where it led away",
        "moves": "moves of the walk, valid or not",
        "broken": "1 where a move of the walk led into a wall",
        "shortest": "steps of the shortest path",
        "turns": "turns taken",
    }

    def __init__(self, full: Mapping[str, Any], off: Mapping[str, Any]) -> None:
        """full: every option with its value; off: those off their default."""
        self.name = f"maze/{self.protocol}"
        self.options = dict(off)
        self.o = dict(full)
        self.solo: str = full["solo"]
        self.walkers = ("a",) if self.solo else ("a", "b")
        self.graded = full.get("grader") == "seat"
        self.seats = (*self.walkers, "grader") if self.graded else self.walkers
        self.horizon = full["turns"] + self.graded
        self.rules = rules(self.protocol, self.solo, full["words"], full["turns"], self.graded)
        self.s: dict[str, Any] = {}

    # -- the game --------------------------------------------------------------------------------------
    def reset(self, key: bytes, task: Any = None) -> None:
        """A fresh maze, drawn from the key."""
        o = self.o
        maze = draw_maze(key, o["size"], o["density"], o["shortest"], o["longest"])
        self.s = {"maze": list(maze), "tick": 0, "over": False, "talk": [], **self.opened()}

    def opened(self) -> dict[str, Any]:
        """What the protocol adds to the state."""
        return {}

    @property
    def maze(self) -> Maze:
        """The maze of this episode."""
        walls, start, goal, length, hidden = self.s["maze"]
        return Maze(walls, tuple(start), tuple(goal), length, hidden)

    def to_act(self) -> tuple[str, ...]:
        """The walkers in turn, the first seat first; then the grader, where there is one."""
        if self.graded and (self.s["over"] or self.s["tick"] >= self.o["turns"]):
            return ("grader",)
        return (self.walkers[self.s["tick"] % len(self.walkers)],)

    def ended(self) -> Ended:
        """Terminal when all agree to stop (and the grader has read it); horizon at the last turn."""
        if self.graded:
            done, cut = self.s.get("graded") is not None, self.s["tick"] >= self.horizon  # type: ignore[operator]
            return ("horizon" if cut else "terminal") if done else None
        if self.s["over"]:
            return "terminal"
        return "horizon" if self.s["tick"] >= self.o["turns"] else None

    def path(self) -> Sequence[str]:
        """The moves that were agreed on."""
        raise NotImplementedError

    def score(self) -> Mapping[str, float]:
        """The walk, judged on the whole maze."""
        maze, path = self.maze, self.path()
        walk = valid_walk(maze.walls, maze.start, path)
        left = int(distances(maze.walls, maze.goal)[walk.at])
        return {
            "success": float(left == 0 and not walk.broken),
            "weighted": 1.0 - left / maze.length,
            "moves": float(len(path)),
            "broken": float(walk.broken),
            "shortest": float(maze.length),
            "turns": float(min(self.s["tick"], self.o["turns"])),
        }

    def pay(self) -> list[float]:
        """1 for every walker when the episode ends in success; nothing before, so that rewards show no walls."""
        won = self.ended() is not None and self.score()["success"] > 0
        return [float(won and s != "grader") for s in self.seats]

    # -- what a seat may know ----------------------------------------------------------------------------
    def data(self, seat: str) -> dict[str, Any]:
        """The seat's maps (-1 hidden, 0 open, 1 wall; int8[n, n] each), start and goal as (row, column), the talk."""
        maze, o = self.maze, self.o
        return {
            "seat": seat,
            "seats": list(self.seats),
            "size": o["size"],
            "maps": self._maps(seat, maze),
            "start": list(maze.start),
            "goal": list(maze.goal),
            "words": o["words"],
            "talk": [list(t) for t in self.s["talk"]],
            "turn": self.s["tick"],
            "turns": o["turns"],
            "over": self.ended() is not None,
        }

    def _maps(self, seat: str, maze: Maze) -> list[np.ndarray]:
        if seat == "grader":
            return []
        if self.solo == "full":
            return [maze.walls.astype(np.int8)]
        which = (0, 1) if self.solo else (self.seats.index(seat),)
        return [np.where(maze.hidden[i], HIDDEN, maze.walls).astype(np.int8) for i in which]

    def view_text(self, data: Mapping[str, Any]) -> str:
        """The maps, then the talk, then where it stands."""
        return view_text(data)

    def view_image(self, data: Mapping[str, Any]) -> np.ndarray:
        """The maps side by side, 16 pixels a cell (a grey square for the grader)."""
        if not data["maps"]:
            return grid_image(np.full((data["size"],) * 2, HIDDEN), data["start"], data["goal"], None)
        return view_image(data)

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        return "the talk, the actions so far and the turn" if view == "image" else ""

    def picture(self) -> np.ndarray:
        """The whole maze and the last valid cell of the walk."""
        maze = self.maze
        at = valid_walk(maze.walls, maze.start, self.path()).at
        return grid_image(maze.walls.astype(np.int8), maze.start, maze.goal, at)

    def text(self) -> str:
        """The agreed walk so far."""
        return f"turn {self.s['tick']}: agreed {', '.join(self.path()) or 'nothing'}"

    # -- engine --------------------------------------------------------------------------------------------
    def snapshot(self) -> bytes:
        """The whole state."""
        return pack(self.s)

    def restore(self, snapshot: bytes) -> None:
        """Back to a snapshot."""
        self.s = unpack(snapshot)


class Joint(MazeEnv):
    """A move is proposed by one and agreed to by the other; words go by mail and are kept as they arrived."""

    protocol = "joint"
    mailed = True

    def __init__(self, full: Mapping[str, Any], off: Mapping[str, Any]) -> None:
        super().__init__(full, off)
        self.mailed = not self.solo
        names = SOLO_ACTIONS if self.solo else PAIR_ACTIONS
        self._spec = ActionSpec(kind="names", names=names, noop=None if self.solo else 0)

    def opened(self) -> dict[str, Any]:
        """log: [seat, action] in order; path: indices of agreed moves; pending: [move, seat] or None; at: where they stand."""
        return {"log": [], "path": [], "pending": None, "at": []}

    def reset(self, key: bytes, task: Any = None) -> None:
        """A fresh maze; both stand at the start."""
        super().reset(key, task)
        self.s["at"] = list(self.maze.start)

    def spec(self, seat: str) -> ActionSpec:
        """`PAIR_ACTIONS`, or `SOLO_ACTIONS` for one seat."""
        return self._spec

    def legal(self, seat: str) -> list[bool]:
        """Moves inside the grid; agree and refuse where the other's proposal stands. Walls are not looked at."""
        n, at = self.o["size"], self.s["at"]
        inside = [all(0 <= x < n for x in step(at, m)) for m in MOVES]
        if self.solo:
            return [*inside, True]
        pending = self.s["pending"]
        answer = pending is not None and self.seats[pending[1]] != seat
        return [True, *inside, True, answer, answer]

    def audience(self, seat: str) -> tuple[str, ...]:
        """The other walker."""
        return tuple(s for s in self.walkers if s != seat)

    def step(self, actions: Mapping[str, Any], mail: Sequence[Msg]) -> list[float]:
        """One turn: what was delivered is kept, a proposal stands until it is answered or replaced."""
        s = self.s
        s["talk"] += [[self.seats.index(m.src), m.body if isinstance(m.body, str) else str(m.body)] for m in mail]
        ((seat, action),) = actions.items()
        me = self.seats.index(seat)
        s["log"].append([me, action])
        if self.solo:
            self._carry_out(action)
        elif 0 < action <= STOP + 1:
            s["pending"] = [action - 1, me]
        elif action in (_AGREE, _REFUSE):
            move, s["pending"] = s["pending"][0], None
            if action == _AGREE:
                self._carry_out(move)
        s["tick"] += 1
        return self.pay()

    def _carry_out(self, move: int) -> None:
        if move == STOP:
            self.s["over"] = True
        else:
            self.s["path"].append(move)
            self.s["at"] = list(step(self.s["at"], MOVES[move]))

    def path(self) -> list[str]:
        """The agreed moves."""
        return [MOVES[m] for m in self.s["path"]]

    def data(self, seat: str) -> dict[str, Any]:
        """As `MazeEnv.data`, with the actions so far and where the agreed moves lead (walls unlooked at)."""
        s = self.s
        pending = None
        if s["pending"] is not None:
            move, by = s["pending"]
            pending = [move + 1, by]  # as an action
        more = {"log": [list(e) for e in s["log"]], "path": list(s["path"]), "at": list(s["at"]), "pending": pending}
        return {**super().data(seat), **more, "actions": list(self._spec.names)}


class Talk(MazeEnv):
    """Nothing but text: the value of an action is what is said. The path is read from the talk afterwards."""

    protocol = "talk"
    _text = ActionSpec(kind="text", max_len=2000, noop="")

    def spec(self, seat: str) -> ActionSpec:
        """Text of up to 2000 characters."""
        return self._text

    def step(self, actions: Mapping[str, Any], mail: Sequence[Msg]) -> list[float]:
        """One message, or the grader's list of moves."""
        s = self.s
        ((seat, text),) = actions.items()
        if seat == "grader":
            s["graded"] = list(moves_in(text))
        else:
            s["talk"].append([self.seats.index(seat), text])
            s["over"] = claims_end(s["talk"], bool(self.solo))
        s["tick"] += 1
        return self.pay()

    def path(self) -> Sequence[str]:
        """What the grader wrote down; until then, and without one, what `grade.read` finds."""
        if self.s.get("graded") is not None:
            return list(self.s["graded"])
        start: Cell = self.maze.start
        return agreed_path(self.s["talk"], start, self.maze.goal, self.o["size"], bool(self.solo))
