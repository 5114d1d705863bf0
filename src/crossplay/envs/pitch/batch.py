"""`PitchBatch`: soccer, basketball, American football and collect for any number of rows."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from crossplay.envs._options import option_schema, settle
from crossplay.envs.pitch import draw as drawing
from crossplay.envs.pitch import looks, rules, words
from crossplay.envs.pitch.games import ACTIONS, parse_game
from crossplay.envs.pitch.skills import PitchSkills
from crossplay.kernel.batch import BatchEnv
from crossplay.kernel.types import ActionSpec, CrossplayError

__all__ = ["SCHEMA", "PitchBatch", "Recorded"]

SCHEMA = option_schema(
    {
        "observe": {
            "type": "string",
            "enum": ["own", "full", "team"],
            "default": "own",
            "description": "What a seat knows: its own view, the whole field, or all that its team sees together.",
        },
        "view_size": {
            "type": "integer",
            "minimum": 3,
            "maximum": 39,
            "default": 3,
            "description": "Side of the square that an agent sees in front of it; odd.",
        },
        "reference": {
            "type": "boolean",
            "default": False,
            "description": "Play with all oddities of the original game (see the page on pitch).",
        },
        "horizon": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100000,
            "default": None,
            "description": "Ticks per episode.",
        },
        "goals_to_win": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": 2,
            "description": "Goals that end the episode.",
        },
        "steal_cooldown": {
            "type": "integer",
            "minimum": 0,
            "maximum": 10000,
            "default": 10,
            "description": "Ticks after a steal before either agent may steal again.",
        },
        "shaping": {
            "type": "boolean",
            "default": True,
            "description": "Add the small guiding rewards (not in collect).",
        },
    }
)
_NO_ORDERS = np.zeros((0, 1), np.int64)


class Recorded(NamedTuple):
    """Chance of one episode as somebody else drew it, to play the very same episode.

    agents: int[N, 3] start (x, y, facing); balls: int[balls, 2]; orders: int[T, N] who acts first,
    second, ... in each tick; passes: int[T, N] which of its team-mates (0 is the lowest index) a
    passer chose, -1 if it did not pass; spots: int[T, 2] where the ball reappeared, (0, 0) if it did not.
    """

    agents: np.ndarray
    balls: np.ndarray
    orders: np.ndarray
    passes: np.ndarray
    spots: np.ndarray


class PitchBatch(BatchEnv):
    """B fields of one game. Options: see `SCHEMA`.

    Array view, by `observe`: "own" uint8[v * v * 12 + 30 + W + H], all zeros and ones: the planes of
    the view cell by cell, then facing, carrying, cooldown, goals, time left, column and row;
    "full" and "team" float32[30 + 8 balls + 15 (N - 1)], see `looks.features`.
    Both are given as if every team attacked to the right (the right team's field is rotated by half a turn).
    """

    version = 1
    views = ("data", "array", "text", "image")
    action_spec = ActionSpec(kind="names", names=ACTIONS, noop=0)

    def __init__(self, game: str, width: int = 1, **options: Any) -> None:
        """game: "soccer-2v2" and so on; width: number of rows B."""
        self.game = g = parse_game(game)
        self.name = f"pitch/{game}"
        full, off = settle(self.name, SCHEMA, options)
        if full["view_size"] % 2 == 0:
            raise CrossplayError(f"{self.name}: option view_size = {full['view_size']}: it must be odd.")
        self.seats = g.seats
        self.observe: str = full["observe"]
        self.view_size: int = full["view_size"]
        self.reference: bool = full["reference"]
        self.horizon = full["horizon"] or g.horizon
        if off.get("horizon") == g.horizon:
            del off["horizon"]
        self.goals_to_win: int = full["goals_to_win"]
        self.steal_cooldown: int = full["steal_cooldown"]
        self.shaping = full["shaping"] and not g.collect
        super().__init__(width, **off)
        self._constants()
        n = len(g.seats)
        self.rules = words.rules(self)
        self.skills = PitchSkills(g, self.view_size)
        self.metrics = words.metrics(self)
        self.seat_metrics = words.seat_metrics(self)
        self._sparse = np.zeros((width, n))
        self._shaping = np.zeros((width, n))
        self._ended = np.zeros(width, np.uint8)
        self._orders, self._passes, self._spots = _NO_ORDERS, _NO_ORDERS, _NO_ORDERS
        self._recorded: list[Recorded] | None = None
        k, teams = g.balls, len(g.teams)
        self._fields = struct.Struct(f"=i{teams}i{n}h{3 * n}b{2 * k}bbBBbB5b")  # as in layout()
        self._raw, self._read = b"", ()
        self._all = np.arange(width)

    def _constants(self) -> None:
        g, n = self.game, len(self.game.seats)
        self.conf = np.array(
            [
                g.kind,
                g.width,
                g.height,
                n,
                g.balls,
                self.horizon,
                self.goals_to_win,
                self.steal_cooldown,
                self.shaping,
                self.reference,
                self.view_size,
            ],
            np.int64,
        )
        self.ground = g.ground()
        self.cells = np.argwhere(self.ground == 0).astype(np.int64)
        self.number = np.full(self.ground.shape, -1, np.int64)
        self.number[self.cells[:, 0], self.cells[:, 1]] = np.arange(len(self.cells))
        self.side = np.array(g.side, np.int64)
        self.target = np.array(g.target, np.int64)
        self.goal_rows = np.array(
            [min((y for _, y in g.goals[0]), default=0), max((y for _, y in g.goals[0]), default=0)]
            if g.goals
            else [0, 0],
            np.int64,
        )
        self.colours = looks.team_colours(g, self.reference)
        self.hues = np.array([*(self.colours[s] for s in g.side), g.ball_colour], np.int64)
        self.turn = tuple(int(s == 1 and not g.collect) for s in g.side)
        self._tables: dict[int, np.ndarray] = {}
        self._images: np.ndarray | None = None
        self._bits = self.view_size**2 * len(looks.PLANES)
        self._known: tuple[np.ndarray, np.ndarray] | None = None

    def layout(self) -> Sequence[tuple[str, str, tuple[int, ...]]]:
        """Positions, facings, cooldowns, the ball and its carrier, goals, flags, events of the last tick."""
        g = self.game
        n, k = len(g.seats), g.balls
        return [
            ("t", "i4", ()),
            ("goals", "i4", (len(g.teams),)),
            ("cool", "i2", (n,)),
            ("x", "i1", (n,)),
            ("y", "i1", (n,)),
            ("face", "i1", (n,)),
            ("bx", "i1", (k,)),
            ("by", "i1", (k,)),
            ("carrier", "i1", ()),
            ("won", "u1", ()),
            ("over", "u1", ()),
            ("stale", "i1", ()),
            ("gone", "u1", ()),
            ("event", "i1", (5,)),
        ]

    # -- the game ------------------------------------------------------------------------------------
    def start(self, rows: np.ndarray) -> None:
        """Draw the start cells and facings, or take the recorded ones."""
        f = self.f
        if self._recorded is not None:
            for b in rows:
                one = self._recorded[b]
                f.x[b], f.y[b], f.face[b] = np.asarray(one.agents).T
                f.bx[b], f.by[b] = np.asarray(one.balls).T
            return
        with np.errstate(over="ignore"):
            rules.start(self.conf, self.cells, self.keys, rows, f.x, f.y, f.face, f.bx, f.by)

    def replay(self, recorded: Sequence[Recorded] | None) -> None:
        """Take all chance from records, one per row, from the next reset on (None: draw it again)."""
        if recorded is not None and len(recorded) != self.B:
            raise CrossplayError(f"{self.id}: {len(recorded)} records for {self.B} rows")
        self._recorded = None if recorded is None else list(recorded)
        if recorded is None:
            self._orders, self._passes, self._spots = _NO_ORDERS, _NO_ORDERS, _NO_ORDERS

    def _recorded_tick(self) -> None:
        n = len(self.seats)
        self._orders = np.tile(np.arange(n), (self.B, 1))
        self._passes = np.full((self.B, n), -1)
        self._spots = np.zeros((self.B, 2), np.int64)
        for b, one in enumerate(self._recorded or ()):
            t = int(self.f.t[b])
            if t < len(one.orders):
                self._orders[b], self._passes[b], self._spots[b] = one.orders[t], one.passes[t], one.spots[t]

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One tick. Rewards are `sparse` plus `shaped` of this tick."""
        f = self.f
        if self._recorded is not None:
            self._recorded_tick()
        sparse, shaping, ended = self._sparse, self._shaping, np.empty(self.B, np.uint8)
        with np.errstate(over="ignore"):
            rules.step(
                self.conf, self.ground, self.cells, self.number, self.side, self.target, self.keys, actions,
                f.t, f.x, f.y, f.face, f.cool, f.carrier, f.bx, f.by, f.goals, f.won, f.over, f.stale, f.gone, f.event,
                self._orders, self._passes, self._spots, sparse, shaping, ended,
            )  # fmt: skip
        return (sparse + shaping if self.shaping else sparse.copy()), ended

    def sparse(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """float64[k, N]: the rewards of the last tick for goals (in collect, balls) alone."""
        return self._sparse[rows].copy()

    def shaped(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """float64[k, N]: the guiding part of the rewards of the last tick."""
        return self._shaping[rows].copy()

    def ended(self, row: int) -> int:
        """0 runs, 1 a team has won or no ball is left, 2 the ticks are over."""
        return int(self.f.over[row])

    def score(self, row: int) -> Mapping[str, float]:
        """See `metrics`."""
        return words.score(self.game, self.f.goals[row].tolist(), int(self.f.t[row]))

    # -- what seats know -----------------------------------------------------------------------------
    def data(self, row: int, seat: int) -> dict[str, Any]:
        """The complete information set under `observe`. Positions are [column, row], facings 0 to 3."""
        n = len(self.seats)
        raw = self.S[row].tobytes()
        if raw != self._raw:  # all seats of a tick read the same row
            self._raw, self._read = raw, self._parse(raw)
        t, goals, cool, x, y, face, balls, holder, event = self._read
        out: dict[str, Any] = {
            "game": self.game.name,
            "observe": self.observe,
            "seat": self.seats[seat],
            "tick": t,
            "goals": list(goals),
        }
        if self.observe == "own":
            stale = int(self.f.stale[row])
            out["colour"] = self.colours[self.game.side[seat]]
            out["at"] = [x[seat], y[seat]]
            out["facing"] = face[seat]
            out["carrying"] = (stale or holder) == seat + 1
            out["cooldown"] = cool[seat]
            out["image"] = self.images(seat, np.array([row]))[0]
            return out
        sees, finds = [True] * n, [True] * len(balls)
        if self.observe == "team":
            out["view"] = self.view_size
            s, k = self._sight(seat, np.array([row]))
            sees, finds = s[0].tolist(), k[0].tolist()
        out["agents"] = [[x[j], y[j], face[j], int(j + 1 == holder), cool[j]] if sees[j] else None for j in range(n)]
        out["balls"] = [list(ball) for ball, known in zip(balls, finds, strict=True) if known and ball[0]]
        if self.observe == "full":
            out["events"] = {name: self.seats[i - 1] for name, i in zip(rules.EVENTS, event, strict=True) if i}
        return out

    def _parse(self, raw: bytes) -> tuple[Any, ...]:
        """The fields of a row as plain numbers, in the order of `layout`."""
        n, k, teams = len(self.seats), self.game.balls, len(self.game.teams)
        v = self._fields.unpack_from(raw)
        at = [1 + teams + n * i for i in range(5)]
        goals = v[1 : 1 + teams]
        cool, x, y, face = (v[at[i] : at[i + 1]] for i in range(4))
        rest = v[at[4] :]
        return v[0], goals, cool, x, y, face, tuple(zip(rest[:k], rest[k : 2 * k], strict=True)), rest[2 * k], rest[-5:]

    def images(self, seat: int, rows: np.ndarray | None = None) -> np.ndarray:
        """uint8[k, v, v, 3]: the own views of a seat, coded as in the original (whatever `observe` is)."""
        f, v = self.f, self.view_size
        rows = self._all if rows is None else rows
        if self._images is None:
            self._images = np.ascontiguousarray(looks.static_images(self.game, v).reshape(-1, v * v * 3))
        out = np.empty((len(rows), v * v * 3), np.uint8)
        looks.images(
            self._images,
            self.conf,
            self.hues,
            seat,
            rows,
            f.x,
            f.y,
            f.face,
            f.carrier,
            f.bx,
            f.by,
            f.stale,
            f.gone,
            out,
        )
        return out.reshape(len(rows), v, v, 3)

    def _table(self, side: int) -> np.ndarray:
        table = self._tables.get(side)
        if table is None:
            turn = int(side == 1 and not self.game.collect)
            table = self._tables[side] = looks.static_planes(self.game, self.view_size, self.colours[side], side, turn)
        return table

    def _planes(self, seat: int, rows: np.ndarray) -> np.ndarray:
        f, side = self.f, self.game.side[seat]
        table = self._table(side)
        out = np.empty((len(rows), table.shape[1]), np.uint8)
        looks.planes(
            table, self.conf, self.hues, seat, rows, f.x, f.y, f.face, f.carrier, f.bx, f.by, f.stale, f.gone, out
        )
        holds = (np.where(f.stale > 0, f.stale, f.carrier) == seat + 1).astype(np.uint8)
        looks.plane_extras(self.conf, seat, side, rows, f.cool, holds, f.goals, f.t, self._bits, out)
        return out

    def _sight(self, seat: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What a seat knows: uint8[k, N] agents and uint8[k, balls] balls."""
        k, n, balls = len(rows), len(self.seats), self.game.balls
        if self.observe == "full":
            if self._known is None or len(self._known[0]) < k:
                self._known = np.ones((k, n), np.uint8), np.ones((k, balls), np.uint8)
            return self._known
        sees, finds, f = np.empty((k, n), np.uint8), np.empty((k, balls), np.uint8), self.f
        looks.sight(self.conf, self.side, seat, self.view_size, rows, f.x, f.y, f.face, f.bx, f.by, sees, finds)
        return sees, finds

    def obs_array(self, seat: int, rows: np.ndarray | None = None) -> np.ndarray:
        """The array views of one seat."""
        rows = self._all if rows is None else np.asarray(rows, np.int64)
        if self.observe == "own":
            return self._planes(seat, rows)
        f = self.f
        sees, finds = self._sight(seat, rows)
        return self._features(seat, rows, f.x, f.y, f.face, f.cool, f.carrier, f.bx, f.by, f.goals, f.t, sees, finds)

    def _features(self, seat: int, rows: np.ndarray, *state: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), looks.feature_count(self.game)), np.float32)
        looks.features(self.conf, self.ground, self.goal_rows, self.side, self.turn[seat], seat, rows, *state, out)
        return out

    def array_shape(self, seat: str) -> tuple[int, ...]:
        """Length of the array view."""
        g = self.game
        if self.observe == "own":
            return (self.view_size**2 * len(looks.PLANES) + looks.EXTRAS + g.width + g.height,)
        return (looks.feature_count(g),)

    def view_array(self, data: Mapping[str, Any]) -> np.ndarray:
        """The array view of data; equals the row of `obs_array`."""
        g, seat, one = self.game, self.seats.index(data["seat"]), np.zeros(1, np.int64)
        t, goals = np.array([data["tick"]]), np.array([data["goals"]])
        if self.observe == "own":
            side, (x, y) = g.side[seat], data["at"]
            out = self._table(side)[None, (x * g.height + y) * 4 + data["facing"]].copy()
            out[0, : self._bits] = looks.planes_of(
                np.asarray(data["image"]), self.colours[side], side, data["facing"]
            ).reshape(-1)
            cool, holds = np.full((1, len(self.seats)), data["cooldown"]), np.array([data["carrying"]], np.uint8)
            looks.plane_extras(self.conf, seat, side, one, cool, holds, goals, t, self._bits, out)
            return out[0]
        agents = np.array([a or [0] * 5 for a in data["agents"]], np.int64)[None]
        balls = np.zeros((1, g.balls, 2), np.int64)
        for k, ball in enumerate(data["balls"]):
            balls[0, k] = ball
        holder = np.array([next((j + 1 for j, a in enumerate(data["agents"]) if a and a[3]), 0)])
        sees = np.array([[a is not None for a in data["agents"]]], np.uint8)
        state = (agents[..., 0], agents[..., 1], agents[..., 2], agents[..., 4], holder, balls[..., 0], balls[..., 1])
        return self._features(seat, one, *state, goals, t, sees, (balls[..., 0] > 0).astype(np.uint8))[0]

    def view_text(self, data: Mapping[str, Any]) -> str:
        """What the seat knows, in words relative to it."""
        return words.text(self, data)

    def view_image(self, data: Mapping[str, Any]) -> np.ndarray:
        """For "own" the view, the agent at the bottom facing up; else the field, dark where unknown."""
        return drawing.seat_picture(self, data)

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        if view == "image":
            return "score, time, cooldowns" + (", position and facing" if self.observe == "own" else "")
        if view == "array":
            if self.observe == "own":
                return "exact ticks and cooldown, goals beyond 8, colours of opposing teams"
            return "the events of the last tick" if self.observe == "full" else ""
        return ""

    def picture(self, row: int) -> np.ndarray:
        """The field for spectators."""
        return drawing.field_picture(self.game, *self._scene(row))

    def _scene(self, row: int) -> tuple[list[tuple[int, int, int, int, bool]], list[tuple[int, int]]]:
        f = self.f
        agents = [
            (int(f.x[row, j]), int(f.y[row, j]), int(f.face[row, j]), s, int(f.carrier[row]) == j + 1)
            for j, s in enumerate(self.game.side)
        ]
        balls = [(int(a), int(b)) for a, b in zip(f.bx[row], f.by[row], strict=True) if a]
        return agents, balls

    def text(self, row: int) -> str:
        """The field as characters: see `words.field_text`."""
        return words.field_text(self.game, *self._scene(row), self.f.goals[row].tolist(), int(self.f.t[row]))
