"""`matrix`: repeated two-player games from a payoff table (prisoner's dilemma, stag hunt, ...).

The standard prisoner's dilemma pays T = 5, R = 3, P = 1, S = 0 (Axelrod and Hamilton 1981, "The
evolution of cooperation", Science 211). Any other table can be given as the option `payoff`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.envs._options import option_schema, settle
from crossplay.kernel.batch import BatchEnv
from crossplay.kernel.env import Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import uniform
from crossplay.kernel.types import ActionSpec, CrossplayError

__all__ = ["GAMES", "MatrixBatch", "family"]

Table = list[list[tuple[float, float]]]

GAMES: dict[str, tuple[tuple[str, ...], Table, str]] = {
    "prisoners_dilemma": (
        ("cooperate", "defect"),
        [[(3, 3), (0, 5)], [(5, 0), (1, 1)]],
        "Defecting pays more whatever the other does, yet both do better when both cooperate.",
    ),
    "stag_hunt": (
        ("stag", "hare"),
        [[(4, 4), (0, 3)], [(3, 0), (3, 3)]],
        "The stag takes both hunters; the hare can be had alone.",
    ),
    "chicken": (
        ("swerve", "straight"),
        [[(3, 3), (1, 5)], [(5, 1), (0, 0)]],
        "Whoever goes straight wins, unless both do.",
    ),
    "coordination": (
        ("left", "right"),
        [[(1, 1), (0, 0)], [(0, 0), (1, 1)]],
        "It pays to do the same; nothing says which.",
    ),
    "battle_of_the_sexes": (
        ("opera", "football"),
        [[(3, 2), (0, 0)], [(0, 0), (2, 3)]],
        "Both want to meet, but each prefers another place.",
    ),
    "matching_pennies": (
        ("heads", "tails"),
        [[(1, -1), (-1, 1)], [(-1, 1), (1, -1)]],
        "The row seat wins when both show the same, the column seat when they differ.",
    ),
    "rock_paper_scissors": (
        ("rock", "paper", "scissors"),
        [[(0, 0), (-1, 1), (1, -1)], [(1, -1), (0, 0), (-1, 1)], [(-1, 1), (1, -1), (0, 0)]],
        "Paper beats rock, scissors beat paper, rock beats scissors.",
    ),
}

_SCHEMA = option_schema(
    {
        "rounds": {
            "type": "integer",
            "minimum": 1,
            "maximum": 10000,
            "default": 20,
            "description": "The most rounds that are played.",
        },
        "continuation": {
            "type": "number",
            "minimum": 0.0,
            "maximum": 1.0,
            "default": 1.0,
            "description": "Chance that a further round follows, drawn after each round.",
        },
        "payoff": {
            "type": "array",
            "default": None,
            "description": "Table: one list per row action, of one pair [row's payoff, column's payoff] per column action.",
            "items": {
                "type": "array",
                "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            },
        },
        "actions": {
            "holds": "words",
            "type": "array",
            "default": None,
            "description": "Names of the actions, equal for both seats.",
            "items": {"type": "string"},
        },
    }
)
_SHOWN = 10  # rounds in the text view


class MatrixBatch(BatchEnv):
    """B repeated games. Array view: float32[2(n+1)+1]: one-hot own and other's last action (the
    last place of each: none yet), and the share of rounds played.
    """

    name = "matrix"
    seats = ("row", "column")
    views = ("data", "array", "text", "image")

    def __init__(self, game: str = "prisoners_dilemma", width: int = 1, **options: Any) -> None:
        """game: a name of `GAMES`, or "custom" with the option `payoff`. See `family.schema`."""
        full, off = settle(f"matrix/{game}", _SCHEMA, options)
        names, table, story = _table(game, full["payoff"], full["actions"])
        if off.get("payoff"):
            off["payoff"] = [[[float(v) for v in pair] for pair in line] for line in table]  # 1 and 1.0 are one game
        self.name = f"matrix/{game}"
        self.horizon = full["rounds"]
        self.continuation = float(full["continuation"])
        self.payoff = np.array(table, np.float64)  # [row action, column action, seat]
        self.action_spec = ActionSpec(kind="names", names=names)
        self.metrics = {
            "payoff": "payoff per round, mean of both seats",
            "payoff_row": "payoff per round of the row seat",
            "payoff_column": "payoff per round of the column seat",
            f"share_{names[0]}": f'share of all moves that are "{names[0]}", 0 to 1',
            "rounds": "rounds played",
        }
        self.seat_metrics = {"own_payoff": {"row": "payoff_row", "column": "payoff_column"}}
        self.rules = _rules(names, self.payoff, story, self.horizon, self.continuation)
        super().__init__(width, **off)

    def layout(self) -> Sequence[tuple[str, str, tuple[int, ...]]]:
        """Moves [rounds, 2] (index + 1; 0: not played), summed payoffs, rounds played, end code."""
        return (("total", "f8", (2,)), ("tick", "i4", ()), ("ended", "i4", ()), ("moves", "u1", (self.horizon, 2)))

    def start(self, rows: np.ndarray) -> None:
        """Nothing has been played."""

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions int[B, 2] -> (payoffs float64[B, 2], ended uint8[B])."""
        f = self.f
        rewards = self.payoff[actions[:, 0], actions[:, 1]]
        at = np.minimum(f.tick, self.horizon - 1)  # a row that has ended may be stepped again
        f.moves[np.arange(self.B), at] = actions + 1
        f.total += rewards
        f.tick += 1
        ended = np.where(f.tick >= self.horizon, 2, 0)
        if self.continuation < 1.0:
            stops = uniform(self.keys, f.tick, 0) >= self.continuation
            ended = np.where((ended == 0) & stops, 1, ended)
        f.ended[:] = ended
        return rewards, ended.astype(np.uint8)

    def ended(self, row: int) -> int:
        """0 runs, 1 the draw ended it, 2 all rounds are played."""
        return int(self.f.ended[row])

    def score(self, row: int) -> Mapping[str, float]:
        """Payoffs per round and the share of the first action."""
        played = int(self.f.tick[row])
        row_pay, column_pay = (float(v) / max(played, 1) for v in self.f.total[row])
        first = float((self.f.moves[row, :played] == 1).mean()) if played else 0.0
        names = self.action_spec.names
        return {
            "payoff": (row_pay + column_pay) / 2,
            "payoff_row": row_pay,
            "payoff_column": column_pay,
            f"share_{names[0]}": first,
            "rounds": float(played),
        }

    # -- what a seat may know -----------------------------------------------------------------------
    def data(self, row: int, seat: int) -> dict[str, Any]:
        """The table from the seat's side, all moves of both, own payoff so far, and the time."""
        played = min(int(self.f.tick[row]), self.horizon)
        moves = self.f.moves[row, :played].astype(np.int64) - 1
        mine, theirs = (
            (self.payoff[:, :, 0], self.payoff[:, :, 1])
            if seat == 0
            else (self.payoff[:, :, 1].T, self.payoff[:, :, 0].T)
        )
        return {
            "actions": self.action_spec.names,
            "payoff": mine.copy(),  # [own action, other's action]
            "payoff_other": theirs.copy(),
            "mine": moves[:, seat].copy(),
            "theirs": moves[:, 1 - seat].copy(),
            "total": float(self.f.total[row, seat]),
            "total_other": float(self.f.total[row, 1 - seat]),
            "round": played,
            "rounds": self.horizon,
            "continuation": self.continuation,
        }

    def array_shape(self, seat: str) -> tuple[int, ...]:
        """2(n + 1) + 1 numbers."""
        return (2 * len(self.action_spec.names) + 3,)

    def obs_array(self, seat: int, rows: np.ndarray | None = None) -> np.ndarray:
        """float32[B or len(rows), 2(n+1)+1]: last moves one-hot, share of rounds played."""
        at = np.arange(self.B) if rows is None else rows
        tick = np.minimum(self.f.tick[at], self.horizon)
        last = self.f.moves[at, np.maximum(tick - 1, 0)].astype(np.int64) - 1  # -1 before the first
        return _encode(last[:, seat], last[:, 1 - seat], tick / self.horizon, len(self.action_spec.names))

    def view_array(self, data: Mapping[str, Any]) -> np.ndarray:
        """As `obs_array`."""
        last = [np.array([data[k][-1] if len(data[k]) else -1]) for k in ("mine", "theirs")]
        return _encode(*last, np.array([data["round"] / data["rounds"]]), len(data["actions"]))[0]

    def view_text(self, data: Mapping[str, Any]) -> str:
        """The table in words, the score and the last rounds."""
        names, mine, other = data["actions"], data["payoff"], data["payoff_other"]
        lines = [
            f"Round {data['round'] + 1} of at most {data['rounds']}."
            if data["round"] < data["rounds"]
            else "The game is over."
        ]
        if data["continuation"] < 1:
            lines.append(f"After each round the game goes on with chance {data['continuation']:g}.")
        lines.append("Payoffs (you, other):")
        for i, name in enumerate(names):
            cells = (f"other plays {names[j]}: {mine[i][j]:g}, {other[i][j]:g}" for j in range(len(names)))
            lines.append(f"- you play {name}; " + "; ".join(cells))
        lines.append(f"So far you have {data['total']:g}, the other {data['total_other']:g}.")
        count = len(data["mine"])
        if count:
            lines.append(f"Moves so far: you {_tally(names, data['mine'])}; the other {_tally(names, data['theirs'])}.")
        lines += [
            f"Round {t + 1}: you {names[data['mine'][t]]}, other {names[data['theirs'][t]]}."
            for t in range(max(0, count - _SHOWN), count)
        ]
        return "\n".join(lines)

    def view_image(self, data: Mapping[str, Any]) -> np.ndarray:
        """uint8[2 * 16, rounds * 8, 3]: own moves above, the other's below, one colour per action."""
        image = np.full((2, data["rounds"], 3), 255, np.uint8)
        for line, moves in enumerate((data["mine"], data["theirs"])):
            image[line, : len(moves)] = _COLOURS[np.asarray(moves, np.int64) % len(_COLOURS)]
        return image.repeat(16, axis=0).repeat(8, axis=1)

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        return {
            "array": "moves before the last round, payoffs and totals",
            "text": f"the order of moves more than {_SHOWN} rounds ago",
            "image": "payoffs, totals and the names of actions",
        }.get(view, "")

    def picture(self, row: int) -> np.ndarray:
        """All moves: the row seat above, the column seat below."""
        return self.view_image(self.data(row, 0))

    def text(self, row: int) -> str:
        """The last round and the totals."""
        played = int(self.f.tick[row])
        names = self.action_spec.names
        last = [names[int(m) - 1] for m in self.f.moves[row, min(played, self.horizon) - 1]] if played else ["-", "-"]
        return f"round {played}: row {last[0]}, column {last[1]}; totals {self.f.total[row, 0]:g}, {self.f.total[row, 1]:g}"


_COLOURS = np.array(
    [(70, 130, 200), (220, 90, 60), (90, 170, 90), (180, 120, 200), (230, 180, 60), (110, 110, 110)], np.uint8
)


def _table(game: str, payoff: Any, actions: Any) -> tuple[tuple[str, ...], Table, str]:
    """Action names, table and story of a game, with the options laid over it."""
    if game not in GAMES and game != "custom":
        raise CrossplayError(f'matrix: unknown game "{game}".{nearest(game, [*GAMES, "custom"])}')
    if game == "custom" and payoff is None:
        raise CrossplayError(
            "matrix/custom: the option payoff is missing: a table of pairs, e.g. [[[1,1],[0,0]],[[0,0],[1,1]]]"
        )
    names, table, story = GAMES.get(game, ((), [], ""))
    if payoff is not None:
        n = len(payoff)
        if n < 2 or n > 250 or any(len(line) != n for line in payoff):
            raise CrossplayError(
                f"matrix/{game}: payoff must be square with 2 to 250 actions, got rows of {[len(p) for p in payoff]}"
            )
        table, story = payoff, ""
        names = names if len(names) == n else tuple(f"action_{i}" for i in range(n))
    if actions is not None:
        if len(actions) != len(table) or len(set(actions)) != len(actions):
            raise CrossplayError(f"matrix/{game}: actions = {actions!r} must be {len(table)} different names")
        names = tuple(actions)
    return names, table, story


def _rules(names: Sequence[str], payoff: np.ndarray, story: str, rounds: int, continuation: float) -> str:
    lines = ["Two players choose at the same time, again and again; both see all earlier moves."]
    lines += [story] if story else []
    lines.append("Payoffs (row, column):")
    for i, mine in enumerate(names):
        cells = (f"column {theirs}: {payoff[i, j, 0]:g}, {payoff[i, j, 1]:g}" for j, theirs in enumerate(names))
        lines.append(f"- row {mine}; " + "; ".join(cells))
    lines.append(f"At most {rounds} rounds are played.")
    if continuation < 1:
        lines.append(f"After each round the game goes on with chance {continuation:g}.")
    return "\n".join(lines)


def _encode(mine: np.ndarray, theirs: np.ndarray, progress: np.ndarray, n: int) -> np.ndarray:
    """One-hot lines of two moves (-1 goes to the last place of its block) and a share."""
    out = np.zeros((len(mine), 2 * n + 3), np.float32)
    at = np.arange(len(mine))
    out[at, np.where(mine < 0, n, mine)] = 1
    out[at, n + 1 + np.where(theirs < 0, n, theirs)] = 1
    out[:, -1] = progress
    return out


def _tally(names: Sequence[str], moves: Sequence[int]) -> str:
    counts = np.bincount(np.asarray(moves, np.int64), minlength=len(names))
    return ", ".join(f"{name} {count}" for name, count in zip(names, counts, strict=True))


class _Family:
    summary = "Repeated two-player games from a payoff table: prisoner's dilemma, stag hunt, chicken, your own."

    def names(self) -> Sequence[str]:
        """The named games, and "custom"."""
        return (*GAMES, "custom")

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh game."""
        return self.batch(rest, 1, options).single()

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> MatrixBatch:
        """`width` games."""
        return MatrixBatch(rest or "prisoners_dilemma", width, **options)

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the options."""
        return _SCHEMA


family = _Family()
