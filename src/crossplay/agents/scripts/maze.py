"""`talker`: walks `maze` with a partner; its only skill is to ground what it says.

The seat that opens tells its cells as pairs. With chance `grounding` it also says in which order it
writes them; then both read every pair rightly. Otherwise each reads the other's (row, column) as
(column, row). Nothing else can go wrong: the opener leads along a shortest path over cells that it
has seen or been told to be open, the partner refuses moves into walls that it sees itself, and what
was refused is known to be a wall. A talker remembers nothing: the talk says it all, so that a seat
can change hands at any turn.

With the maps merged rightly every maze is solved. Read wrongly, it is solved exactly when start and
goal are connected over cells that are open and also taken to be open (enough turns granted).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.agents.context import options as takes
from crossplay.agents.context import plain, quick
from crossplay.envs.maze.grade import agreed_path, claims_end, read, said
from crossplay.envs.maze.grid import HIDDEN, OPEN, STEPS, WALL, Cell, distances, step
from crossplay.envs.maze.views import cell_words
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import uniform
from crossplay.kernel.types import Action, CrossplayError, Msg

__all__ = ["LEVELS", "Grader", "Talker", "grader", "talker"]

LEVELS = {"strong": 0.95, "weak": 0.2}
"""Named chances of grounding."""

_ORDER = "I write cells as (row, column), counted from 0 at the top left."
_PAIR = re.compile(r"\((\d+),(\d+)\)")
_WORDS = re.compile(r"(?:(\d+) (up|down))? ?(?:(\d+) (left|right))?")
_STOP = "stop"


class Talker(Agent):
    """Plays both protocols of `maze`, and its one-seat variants."""

    def __init__(self, grounding: float = LEVELS["strong"]) -> None:
        """grounding: chance in 0..1 of saying how cells are written, drawn once per seat and episode."""
        self.grounding = grounding
        self.name = f"talker({grounding:g})"

    def check(self, env: Any, seat: str) -> None:
        """Plays the walkers of `maze`."""
        if not env.name.startswith("maze/") or seat == "grader":
            raise CrossplayError(f"talker: plays the walkers of maze, not {seat} of {env.id}")

    def manifest(self) -> dict[str, Any]:
        """Kind, name and chance."""
        return {"kind": self.kind, "name": self.name, "grounding": self.grounding}

    def act(self, obs: Observation) -> Any:
        """The next thing to say or do."""
        data = obs.view("data")
        joint = "log" in data
        if len(data["seats"]) == 1 or data["seats"] == ["a", "grader"]:
            return self._alone(data, joint)
        me = data["seats"].index(data["seat"])
        spoke = data["log"] if joint else data["talk"]
        if not any(seat == me for seat, _ in spoke):
            opens = not any(seat != me for seat, _ in data["talk"])
            words = self._cells(data, opens and uniform(obs.key("grounding"), 0) < self.grounding)
            return Action(0, [Msg("*", words)]) if joint else words
        move = self._decide(data, me, *(_joint_state(data) if joint else _talk_state(data)))
        verb, what = move.split()
        if joint:
            return move if verb == "propose" else verb
        return _SENTENCES[f"{verb} stop" if what == _STOP else verb].format(move=what)

    # -- walking ---------------------------------------------------------------------------------------
    def _decide(
        self, data: Mapping[str, Any], me: int, at: Cell, pending: tuple[str, int] | None, walls: Sequence[Cell]
    ) -> str:
        """Answer a proposal by what one sees oneself; else propose the next step of one's own plan, or to stop."""
        own = np.asarray(data["maps"][0])
        if pending is not None and pending[1] != me:
            if pending[0] == _STOP:
                return "agree stop"
            cell = step(at, pending[0])
            inside = all(0 <= x < len(own) for x in cell)
            return f"{'agree' if inside and own[cell] != WALL else 'refuse'} {pending[0]}"
        known = believed(data, me)
        for cell in walls:
            known[cell] = WALL
        return f"propose {_next_step(known, at, data['goal']) or _STOP}"

    def _alone(self, data: Mapping[str, Any], joint: bool) -> str:
        """The next step, or in `talk` the whole way in one message."""
        known = merged(data["maps"])
        if joint:
            return _next_step(known, tuple(data["at"]), data["goal"]) or _STOP
        at: Cell = tuple(data["start"])
        way: list[str] = []
        while (move := _next_step(known, at, data["goal"])) is not None:
            way.append(move)
            at = step(at, move)
        return f"I move {', '.join(way)}. I have reached the goal."

    # -- talking ---------------------------------------------------------------------------------------
    def _cells(self, data: Mapping[str, Any], grounded: bool) -> str:
        """All cells of one's own map, in the form that the environment asks for."""
        own = np.asarray(data["maps"][0])
        lists = []
        for value, what in ((OPEN, "Open"), (WALL, "Walls")):
            cells = [(int(r), int(c)) for r, c in np.argwhere(own == value)]
            named = [cell_words(c, data["start"]) for c in cells] if data["words"] else [f"({r},{c})" for r, c in cells]
            lists.append(f"{what}: {', '.join(named)}.")
        return " ".join([_ORDER] * (grounded and not data["words"]) + lists)


_SENTENCES = {
    "propose": "Let us move {move}.",
    "agree": "Agreed: {move}.",
    "refuse": "No, there is a wall if we go {move}.",
    "propose stop": "I think that we have reached the goal.",
    "agree stop": "Agreed, we have reached the goal.",
}


class Grader(Agent):
    """Fills the seat `grader` of `maze/talk` with the built-in reader: what a model is compared with there."""

    name = "maze-grader"

    def check(self, env: Any, seat: str) -> None:
        """Only that seat."""
        if env.name != "maze/talk" or seat != "grader":
            raise CrossplayError(f"maze-grader: reads the talk in the seat grader of maze/talk, not {seat} of {env.id}")

    def act(self, obs: Observation) -> str:
        """The agreed moves."""
        d = obs.view("data")
        alone = len(d["seats"]) == 2
        return ", ".join(agreed_path(d["talk"], tuple(d["start"]), tuple(d["goal"]), d["size"], alone))


# -- what is known -----------------------------------------------------------------------------------
def believed(data: Mapping[str, Any], me: int) -> np.ndarray:
    """int8[n, n]: what one sees oneself, and elsewhere what was heard, as one reads it (-1: never heard of)."""
    known = np.asarray(data["maps"][0]).copy()
    n = len(known)
    order = any(said(str(text)).row_first for _, text in data["talk"])
    for seat, text in data["talk"]:
        if seat == me:
            continue
        for part in str(text).split(". "):
            value = {"Open": OPEN, "Wall": WALL}.get(part[:4])
            for cell in _named(part, data, order) if value is not None else ():
                if all(0 <= x < n for x in cell) and data["maps"][0][cell] == HIDDEN:
                    known[cell] = value
    return known


def _named(part: str, data: Mapping[str, Any], order: bool) -> list[Cell]:
    """The cells of a list as the listener reads them: without a stated order, (column, row)."""
    if not data["words"]:
        return [(int(p), int(q)) if order else (int(q), int(p)) for p, q in _PAIR.findall(part)]
    cells = []
    for name in part.partition(": ")[2].strip(". ").split(", "):
        m = _WORDS.fullmatch(name.replace("here", "0 up"))
        if m and m[0]:
            down = int(m[1] or 0) * (-1 if m[2] == "up" else 1)
            right = int(m[3] or 0) * (-1 if m[4] == "left" else 1)
            cells.append((data["start"][0] + down, data["start"][1] + right))
    return cells


def merged(maps: Sequence[np.ndarray]) -> np.ndarray:
    """One map from several that hide different cells."""
    return np.max(np.stack([np.asarray(m) for m in maps]), axis=0)


def _next_step(known: np.ndarray, at: Cell, goal: Sequence[int]) -> str | None:
    """The first step of a shortest path over cells known to be open; None at the goal, or without a path."""
    far = distances(known != OPEN, (int(goal[0]), int(goal[1])))
    if far[at] <= 0:
        return None
    n = len(known)
    for move in STEPS:
        cell = step(at, move)
        if all(0 <= x < n for x in cell) and far[cell] == far[at] - 1:
            return move
    return None


def _joint_state(data: Mapping[str, Any]) -> tuple[Cell, tuple[str, int] | None, list[Cell]]:
    """(where they stand, the standing proposal and its seat, cells known as walls by refusal)."""
    names = data["actions"]
    at: Cell = tuple(data["start"])
    walls: list[Cell] = []
    pending: str | None = None
    for _, action in data["log"]:
        name = names[action]
        if name.startswith("propose "):
            pending = name.removeprefix("propose ")
        elif name in ("agree", "refuse"):
            if pending in STEPS:
                cell = step(at, pending)
                at, walls = (cell, walls) if name == "agree" else (at, [*walls, cell])
            pending = None
    if data["pending"] is None:
        return at, None, walls
    action, seat = data["pending"]
    return at, (names[action].removeprefix("propose "), seat), walls


def _talk_state(data: Mapping[str, Any]) -> tuple[Cell, tuple[str, int] | None, list[Cell]]:
    """The same, read from free text. A proposal of several moves is answered by its first."""
    start: Cell = tuple(data["start"])
    found = read(data["talk"], start, tuple(data["goal"]), data["size"])
    at = start
    for move in found.path:
        at = step(at, move)
    last_seat, last = data["talk"][-1]
    pending: tuple[str, int] | None = None
    if said(str(last)).done and not claims_end(data["talk"]):
        pending = (_STOP, last_seat)
    elif found.pending is not None:
        pending = (found.pending[1][0], found.pending[0])
    return at, pending, [step(cell, move) for cell, move in found.refused]


# -- factories ---------------------------------------------------------------------------------------
@takes(
    grounding={
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": None,
        "description": "chance of saying how cells are written; talker:strong 0.95 (default), talker:weak 0.2",
    }
)
@plain(tuple(LEVELS))
@quick
def talker(rest: str, options: Mapping[str, Any], context: Any = None) -> Agent:
    """A walker of `maze` whose only skill is grounding: `talker:strong`, `talker:weak`."""
    if rest and rest not in LEVELS:
        raise CrossplayError(f'talker: unknown level "{rest}".{nearest(rest, LEVELS)}')
    given = options.get("grounding")
    agent = Talker(LEVELS[rest or "strong"] if given is None else float(given))
    if rest and given is None:
        agent.name = f"talker:{rest}"
    return agent


@takes()
@plain()
@quick
def grader(rest: str, options: Mapping[str, Any], context: Any = None) -> Agent:
    """The built-in reader in the seat `grader` of `maze/talk`."""
    return Grader()
