"""`Env`: a world with seats, and what a subclass may leave to the defaults."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
import numpy as np

from crossplay.kernel.seeds import Block, env_key, item_of
from crossplay.kernel.types import ActionSpec, CrossplayError, Msg

__all__ = ["VIEWS", "Ended", "Env", "Skills", "env_id"]

Ended = Literal["terminal", "horizon"] | None
VIEWS = ("data", "array", "text", "image")


def env_id(name: str, version: int, options: Mapping[str, Any], clock: str = "wait") -> str:
    """The identity of a game: `name@version?option=value&...#clock`, options sorted, JSON values.

    Whatever makes it another game (options off their default, clock, turn order) stands in it.
    """
    parts = "&".join(f"{k}={msgspec.json.encode(options[k]).decode()}" for k in sorted(options))
    return f"{name}@{version}" + (f"?{parts}" if parts else "") + (f"#{clock}" if clock != "wait" else "")


class Skills(Protocol):
    """Named, multi-tick skills of an environment, as pure functions of `data(seat)`.

    Wrap an agent with `crossplay.agents.Skilled` and it chooses among these names instead of the
    environment's primitive actions; the engine still plays primitives only. Optional: `rules`, the
    rules without the primitive actions, and `text(data)`, a short text for the choice of a skill.
    """

    names: tuple[str, ...]

    def describe(self, skill: int) -> str:
        """One sentence for people and language models."""
        ...

    def legal(self, data: Any) -> Sequence[bool]:
        """Which skills can be started now; at least one is True."""
        ...

    def step(self, data: Any, skill: int, state: Any) -> tuple[int, Any, bool]:
        """(primitive action, state for the next tick, whether the skill ends with this action).

        state is None on the first tick of a skill, and MessagePack data.
        """
        ...


class Env:
    """One instance of a world; owned by the engine, never by an agent.

    A subclass sets `name`, `version`, `options` (only those off their default), `seats`,
    `horizon` and implements reset, to_act, ended, spec, data, step, snapshot and restore.

    Chance is addressed: `draw(self.key, tick, slot)` from `crossplay.kernel.seeds`.
    Views are pure functions of `data(seat)`: equal data gives equal views.
    """

    name: str = "env"
    version: int = 1
    options: Mapping[str, Any] = {}
    clock: str = "wait"  # "wait" | "deadline:SECONDS" | "tick:HZ"; part of the id, read by drivers
    seats: tuple[str, ...] = ()
    horizon: int | None = None  # ticks after which the episode is cut
    views: tuple[str, ...] = ("data", "text")
    paired: Literal["events", "start"] = "events"  # "start": third-party chance is sequential
    seat_ends: bool = False  # seats may end before the episode does (`out` is asked every tick)
    mailed: bool = False  # `step` reads its mail (a BatchEnv never does)
    idle: Literal["hold", "noop"] = "noop"  # what a late seat does at `tick` pace
    exact: bool = True  # equal input gives equal bits on one machine
    items: int | None = None  # a finite list of questions: how many; `reset` then gets the index as its task
    skills: Skills | None = None
    rules: str = ""  # the rules in plain words, for people and language models
    metrics: Mapping[str, str] = {}  # name of a score -> one line that says what it is, with unit
    seat_metrics: Mapping[str, Mapping[str, str]] = {}  # a seat's own metric: name -> seat -> name of its score

    @property
    def id(self) -> str:
        """name@version?options#clock: two games that differ never share an id."""
        cached = self.__dict__.get("_id")
        if cached is None:
            cached = self.__dict__["_id"] = env_id(self.name, self.version, self.options, self.clock)
        return cached

    # -- the game --------------------------------------------------------------------------------
    def reset(self, key: bytes, task: Any = None) -> None:
        """Start the episode addressed by key (16 bytes).

        task: where `items` says how many questions there are, the index of this one (the engine
        asks each once before any comes again), or the block itself where that is text, an item's id;
        None there: any item, drawn from the key.
        """
        raise NotImplementedError

    def start(self, at: Block, task: Any = None) -> None:
        """Reset to a block: its key, and its item where there is a list of them."""
        if task is None and self.items is not None:
            task = item_of(at, self.id, self.items)
        self.reset(env_key(at, self.id), task)

    def to_act(self) -> tuple[str, ...]:
        """Whose turn it is, in seat order; one seat: turn-based, several: simultaneous."""
        raise NotImplementedError

    def ended(self) -> Ended:
        """None while it runs; "terminal" (the rules ended it) or "horizon" (it was cut)."""
        raise NotImplementedError

    def out(self, seat: str) -> Ended:
        """The same for one seat (seats may end before the episode does)."""
        return self.ended()

    def spec(self, seat: str) -> ActionSpec:
        """The static action specification of a seat."""
        raise NotImplementedError

    def legal(self, seat: str) -> Sequence[bool] | None:
        """The mask over action names now; None: all are legal."""
        return None

    def step(self, actions: Mapping[str, Any], mail: Sequence[Msg]) -> Sequence[float]:
        """Apply canonical values of all seats in to_act(); rewards in the order of `seats`.

        mail: the messages delivered at this tick, exactly as in the world chain.
        """
        raise NotImplementedError

    def score(self) -> Mapping[str, float]:
        """Task metrics so far, apart from rewards. At least one entry; the first is primary."""
        return {}

    def forfeit_score(self, seat: str) -> Mapping[str, float]:
        """The score of an episode that `seat` forfeits (default: the score so far)."""
        return self.score()

    def canonical(self, value: Any) -> Any:
        """What votes compare of an answer, e.g. the number in a free text. A pure function."""
        return value

    def verify(self, data: Any, value: Any) -> list[str]:
        """What is wrong with a canonical value, given `data(seat)`: one line each, "kind: what"; [] when nothing is.

        A pure function that uses no more than the seat may know (possible now, worth saying, entailed by what
        is known), so that an answer can be looked at before it is played. Default: nothing is ever wrong.
        """
        return []

    def audience(self, seat: str) -> tuple[str, ...]:
        """Who may hear this seat; the engine carries the mail."""
        return ()

    # -- what a seat may know --------------------------------------------------------------------
    def data(self, seat: str) -> Any:
        """The complete information set of the seat: MessagePack data (arrays allowed)."""
        raise NotImplementedError

    def view_text(self, data: Any) -> str:
        """The text view. A pure function of data."""
        return _plain_text(data)

    def view_array(self, data: Any) -> np.ndarray:
        """The array view. A pure function of data."""
        raise NotImplementedError

    def view_image(self, data: Any) -> np.ndarray:
        """The image view: uint8[height, width, 3]. A pure function of data."""
        raise NotImplementedError

    def array_shape(self, seat: str) -> tuple[int, ...] | None:
        """Shape of the array view of a seat, if it has one."""
        return None

    def omits(self, view: str) -> str:
        """What a view leaves out of data, in one line ("" when it is complete)."""
        return ""

    def view(self, seat: str, name: str) -> Any:
        """One rendering of what the seat may know: name is one of `views`."""
        if name not in self.views:
            raise CrossplayError(f"{self.id}: no view {name!r}; it has {', '.join(self.views)}")
        data = self.data(seat)
        return data if name == "data" else getattr(self, f"view_{name}")(data)

    def picture(self) -> np.ndarray | None:
        """The whole world for spectators: uint8[height, width, 3], or None."""
        return None

    def text(self) -> str:
        """The whole world for spectators, as text."""
        return ""

    # -- engine ----------------------------------------------------------------------------------
    def snapshot(self) -> bytes:
        """Everything that `restore` needs, key included."""
        raise NotImplementedError

    def restore(self, snapshot: bytes) -> None:
        """Return to a snapshot of an environment of the same id."""
        raise NotImplementedError

    def fingerprint(self) -> int:
        """64 bits that change when the state changes. Override with something cheaper."""
        return int.from_bytes(hashlib.blake2b(self.snapshot(), digest_size=8).digest(), "little")

    def close(self) -> None:
        """Free what the instance holds."""


def _plain_text(data: Any, indent: str = "") -> str:
    """Readable `key: value` lines of nested data."""
    if isinstance(data, Mapping):
        lines = []
        for k, v in sorted(data.items(), key=lambda item: str(item[0])):  # packing sorts keys: equal data, equal text
            nested = isinstance(v, Mapping) or (
                isinstance(v, (list, tuple)) and v and isinstance(v[0], (Mapping, list))
            )
            lines.append(
                f"{indent}{k}:\n{_plain_text(v, indent + '  ')}" if nested else f"{indent}{k}: {_plain_text(v)}"
            )
        return "\n".join(lines)
    if isinstance(data, (list, tuple)):
        if data and isinstance(data[0], (Mapping, list, tuple)):
            return "\n".join(f"{indent}- {_plain_text(v, indent + '  ').lstrip()}" for v in data)
        return ", ".join(_plain_text(v) for v in data)
    if isinstance(data, np.ndarray):
        return np.array2string(data, threshold=10_000, separator=" ")
    if isinstance(data, bool) or data is None:
        return {True: "yes", False: "no", None: "none"}[data]
    return f"{data:g}" if isinstance(data, float) else str(data)
