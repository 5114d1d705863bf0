"""`BatchEnv`: an array environment written once, and `Single`, its face for one row.

Rules for kernels (each found by measurement): the state is one C array uint64[B, W]; `step` is a
pure function of (state, actions, keys); temporaries are C-ordered with B first; no BLAS in `step`
(its results depend on B). `crossplay env check` compares B = 1, 3 and 512 bit by bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.kernel.env import Ended, Env, env_id
from crossplay.kernel.seeds import draw, key64
from crossplay.kernel.types import ActionSpec, CrossplayError, Msg

__all__ = ["ENDED", "BatchEnv", "Single"]

ENDED: tuple[Ended, ...] = (None, "terminal", "horizon")
"""Codes of the `ended` array: 0 runs, 1 terminal, 2 horizon."""

Field = tuple[str, str, tuple[int, ...]]


class BatchEnv:
    """B copies of one simultaneous game, all rows stepped at once. All actions are names.

    A subclass sets `name`, `version`, `seats`, `horizon`, `views`, `metrics`, `rules`,
    `action_spec`, `fields` (name, dtype, shape) in `layout()`, and implements start, step, data
    and score. Every field is an attribute of `self.f`: an array view [B, *shape] on `S`.
    A row that has ended may be stepped again with any action; its content does not matter then.
    """

    name: str = "batch"
    version: int = 1
    seats: tuple[str, ...] = ()
    horizon: int | None = None
    views: tuple[str, ...] = ("data", "text")
    action_spec: ActionSpec
    skills: Any = None
    rules: str = ""
    metrics: Mapping[str, str] = {}
    seat_metrics: Mapping[str, Mapping[str, str]] = {}

    def __init__(self, width: int = 1, **options: Any) -> None:
        """width: number of rows B. options: only those off their default enter the id."""
        self.B = width
        self.options: dict[str, Any] = options
        fields = self.layout()
        offset, places = 0, []
        for field_name, dtype, shape in fields:
            dt = np.dtype(dtype)
            offset += -offset % dt.itemsize
            places.append((field_name, dt, shape, offset))
            offset += dt.itemsize * int(np.prod(shape, dtype=np.int64))
        self.W = max(1, -(-offset // 8))
        self.S = np.zeros((width, self.W), np.uint64)
        self.keys = np.zeros(width, np.uint64)
        self.f = _Fields()
        for field_name, dt, shape, at in places:
            inner = np.empty(shape, dt).strides
            setattr(self.f, field_name, np.ndarray((width, *shape), dt, self.S, at, (self.W * 8, *inner)))
        # Odd constants: any single changed word is certain to change the fingerprint.
        self._odd = draw(np.arange(self.W, dtype=np.uint64)) | np.uint64(1)

    @property
    def id(self) -> str:
        """name@version?options: the id of the single face too."""
        return env_id(self.name, self.version, self.options)

    # -- to implement ------------------------------------------------------------------------------
    def layout(self) -> Sequence[Field]:
        """The fields of a row: (name, numpy dtype, shape)."""
        raise NotImplementedError

    def start(self, rows: np.ndarray) -> None:
        """Write the start state of `rows` (int64[k]); their S is zero, their keys are set."""
        raise NotImplementedError

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions int[B, N] (canonical) -> (rewards float64[B, N], ended uint8[B])."""
        raise NotImplementedError

    def data(self, row: int, seat: int) -> Any:
        """The complete information set of a seat (index) in a row."""
        raise NotImplementedError

    def score(self, row: int) -> Mapping[str, float]:
        """Task metrics of a row so far."""
        return {}

    def ended(self, row: int) -> int:
        """The ended code of a row, from the state alone."""
        raise NotImplementedError

    # -- with defaults -------------------------------------------------------------------------------
    def legal(self) -> np.ndarray | None:
        """bool[B, N, n] or None where all names are always legal."""
        return None

    def view_text(self, data: Any) -> str:
        """The text view. A pure function of data."""
        return Env.view_text(self, data)  # type: ignore[arg-type]

    def view_array(self, data: Any) -> np.ndarray:
        """The array view. A pure function of data; equals the row of obs_array bit by bit."""
        raise NotImplementedError

    def view_image(self, data: Any) -> np.ndarray:
        """The image view. A pure function of data."""
        raise NotImplementedError

    def obs_array(self, seat: int, rows: np.ndarray | None = None) -> np.ndarray:
        """The array views of one seat: [B or len(rows), *shape], without a loop over rows."""
        raise NotImplementedError

    def array_shape(self, seat: str) -> tuple[int, ...] | None:
        """Shape of the array view."""
        return None

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        return ""

    def audience(self, row: int, seat: int) -> tuple[str, ...]:
        """Who may hear a seat: all others by default (a BatchEnv cannot score mail)."""
        return tuple(s for i, s in enumerate(self.seats) if i != seat)

    def picture(self, row: int) -> np.ndarray | None:
        """The whole world of a row for spectators."""
        return None

    def text(self, row: int) -> str:
        """The whole world of a row as text."""
        return ""

    # -- provided ------------------------------------------------------------------------------------
    def reset(self, rows: Sequence[int] | np.ndarray, keys: Sequence[bytes]) -> None:
        """Start episodes in `rows`, addressed by `keys` (16 bytes each)."""
        at = np.asarray(rows, np.int64)
        self.S[at] = 0
        self.keys[at] = [key64(k) for k in keys]
        self.start(at)

    def fingerprint(self) -> np.ndarray:
        """uint64[B]: a multilinear function of the state words modulo 2**64."""
        return (self.S * self._odd).sum(axis=1, dtype=np.uint64)

    def snapshot(self, row: int) -> bytes:
        """State and key of a row."""
        return self.keys[row].tobytes() + self.S[row].tobytes()

    def restore(self, row: int, snapshot: bytes) -> None:
        """Write a row's snapshot back."""
        words = np.frombuffer(snapshot, np.uint64)
        if len(words) != self.W + 1:
            raise CrossplayError(f"{self.id}: the snapshot has {len(words)} words, expected {self.W + 1}")
        self.keys[row], self.S[row] = words[0], words[1:]

    def single(self) -> Env:
        """The face of row 0 as an `Env` (for playing, make a batch of width 1)."""
        return Single(self, 0)


class _Fields:
    """Array views on the state, by field name."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no state field {name!r}")


class Single(Env):
    """An `Env` over one row of a `BatchEnv`: everybody plays the very same rules."""

    def __init__(self, batch: BatchEnv, row: int = 0) -> None:
        """batch: the kernel; row: which of its rows this face shows (step needs B = 1)."""
        self.batch, self.row = batch, row
        self.name, self.version, self.options = batch.name, batch.version, batch.options
        self.seats, self.horizon, self.views = batch.seats, batch.horizon, batch.views
        self.skills, self.rules, self.metrics = batch.skills, batch.rules, batch.metrics
        self.seat_metrics = batch.seat_metrics
        self.view_text, self.view_array, self.view_image = batch.view_text, batch.view_array, batch.view_image  # type: ignore[method-assign]
        self.array_shape, self.omits = batch.array_shape, batch.omits  # type: ignore[method-assign]
        self._spec = batch.action_spec
        self._index = {s: i for i, s in enumerate(batch.seats)}
        self._actions = np.zeros((batch.B, len(batch.seats)), np.int64)
        self._ended: Ended = None

    def reset(self, key: bytes, task: Any = None) -> None:
        """Start the row's episode."""
        self.batch.reset([self.row], [key])
        self._ended = None

    def to_act(self) -> tuple[str, ...]:
        """All seats, always."""
        return self.seats

    def ended(self) -> Ended:
        """How the row ended, or None."""
        return self._ended

    def spec(self, seat: str) -> ActionSpec:
        """One specification for all seats."""
        return self._spec

    def legal(self, seat: str) -> Sequence[bool] | None:
        """The row's mask."""
        mask = self.batch.legal()
        return None if mask is None else mask[self.row, self._index[seat]].tolist()

    def step(self, actions: Mapping[str, Any], mail: Sequence[Msg]) -> Sequence[float]:
        """One step of the batch (of which this must be the only row)."""
        if self.batch.B != 1:
            raise CrossplayError(f"{self.id}: a row of a batch of {self.batch.B} cannot step alone")
        line = self._actions[0]
        for i, seat in enumerate(self.seats):
            line[i] = actions[seat]
        rewards, ended = self.batch.step(self._actions)
        self._ended = ENDED[int(ended[0])]
        return rewards[0].tolist()

    def score(self) -> Mapping[str, float]:
        """Task metrics of the row."""
        return self.batch.score(self.row)

    def data(self, seat: str) -> Any:
        """Information set of a seat in the row."""
        return self.batch.data(self.row, self._index[seat])

    def view(self, seat: str, name: str) -> Any:
        """As `Env.view`; the array view comes from the kernel without going through data."""
        if name == "array" and name in self.views:
            return self.batch.obs_array(self._index[seat], np.array([self.row]))[0]
        return super().view(seat, name)

    def audience(self, seat: str) -> tuple[str, ...]:
        """Who may hear the seat."""
        return self.batch.audience(self.row, self._index[seat])

    def picture(self) -> np.ndarray | None:
        """The row for spectators."""
        return self.batch.picture(self.row)

    def text(self) -> str:
        """The row as text."""
        return self.batch.text(self.row)

    def snapshot(self) -> bytes:
        """State and key of the row."""
        return self.batch.snapshot(self.row)

    def restore(self, snapshot: bytes) -> None:
        """Write the row back."""
        self.batch.restore(self.row, snapshot)
        self._ended = ENDED[self.batch.ended(self.row)]

    def fingerprint(self) -> int:
        """The row's fingerprint."""
        return int((self.batch.S[self.row] * self.batch._odd).sum(dtype=np.uint64))
