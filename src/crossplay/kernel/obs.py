"""`Observation`: the handle of one request. It dies with its tick."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crossplay.kernel.seeds import Block, key, pick, seat_key
from crossplay.kernel.types import ActionSpec, CrossplayError, Msg, Stale, Usage, pack

if TYPE_CHECKING:
    from crossplay.kernel.env import Env, Skills

__all__ = ["Note", "Observation"]

Note = tuple[tuple[int, ...], str, Any, Usage | None]
"""(path, kind, data, usage) of one thing that happened inside a seat."""


class Scope:
    """What all handles of one seat of one episode share."""

    __slots__ = ("__weakref__", "_key", "at", "env", "env_id", "seat", "spec")

    def __init__(self, env: Env, env_id: str, at: Block, seat: str) -> None:
        self.env, self.env_id, self.at, self.seat = env, env_id, at, seat
        self.spec = env.spec(seat)
        self._key = b""

    @property
    def key(self) -> bytes:
        """The seat's key; made when first asked for."""
        if not self._key:
            self._key = seat_key(self.at, self.seat)
        return self._key


class _Life:
    """Whether a tick is still on, shared by the handles of one request; owns notes and counts."""

    __slots__ = ("alive", "counts", "identical", "notes")

    def __init__(self) -> None:
        self.alive = True
        self.notes: list[Note] = []
        self.counts: dict[str, int] = {}
        self.identical: dict[tuple[Any, ...], int] = {}


DEAD = _Life()
"""The life of every handle that never needed one of its own, after its tick."""
DEAD.alive = False


class Observation:
    """One request to one seat: what it may know, what it may do, what happened to it.

    op: "begin", "act" or "end". legal: mask over names or None. inbox: messages delivered since
    the last request. last: (value executed, origin) of the previous tick or None. reward: received
    since the last request. deadline: seconds, or None. history: at "begin" after a handoff, the
    rows of the trace so far that this seat may know; else (). brief: what a team wants of this
    member now, "" outside teams. wants: what the asker would like beside the value: "rationale",
    "confidence".
    """

    __slots__ = (
        "_life",
        "_scope",
        "agent",
        "brief",
        "deadline",
        "history",
        "inbox",
        "last",
        "legal",
        "memo",
        "op",
        "path",
        "reward",
        "spec",
        "status",
        "tick",
        "view_used",
        "wall_us",
        "wants",
    )

    def __init__(
        self,
        scope: Scope,
        op: str,
        tick: int,
        legal: Sequence[bool] | None = None,
        inbox: Sequence[Msg] = (),
        last: tuple[Any, str] | None = None,
        reward: float = 0.0,
        memo: Any = None,
        deadline: float | None = None,
        path: tuple[int, ...] = (),
        life: _Life | None = None,
    ) -> None:
        self._scope = scope
        self._life = life
        self.agent: Any = None  # who is asked; set by the engine
        self.op = op
        self.tick = tick
        self.spec: ActionSpec = scope.spec
        self.legal = legal
        self.inbox = inbox
        self.last = last
        self.reward = reward
        self.memo = memo
        self.deadline = deadline
        self.path = path
        self.history: Sequence[Any] = ()
        self.status: Any = None  # at "end": the outcome's status
        self.view_used = ""
        self.wall_us = 0  # set by the driver
        self.brief = ""
        self.wants: tuple[str, ...] = ()

    # -- what the seat may know --------------------------------------------------------------------
    @property
    def scope(self) -> Scope:
        """What all requests of this seat in this play of the episode share: one object, also for members of teams."""
        return self._scope

    @property
    def seat(self) -> str:
        """The seat's name."""
        return self._scope.seat

    @property
    def seat_spec(self) -> ActionSpec:
        """The seat's own form of answer, whatever is asked for here (`spec`)."""
        return self._scope.spec

    @property
    def env_id(self) -> str:
        """The environment's id."""
        return self._scope.env_id

    @property
    def rules(self) -> str:
        """The rules in plain words."""
        return self._scope.env.rules

    @property
    def views(self) -> tuple[str, ...]:
        """The views the environment offers."""
        return self._scope.env.views

    @property
    def skills(self) -> Skills | None:
        """The environment's multi-tick skills, if it has any."""
        return self._scope.env.skills

    @property
    def audience(self) -> tuple[str, ...]:
        """Who may hear this seat."""
        self._check()
        return self._scope.env.audience(self._scope.seat)

    def view(self, name: str = "data") -> Any:
        """One rendering of what the seat may know now; raises `Stale` after the tick."""
        self._check()
        self.view_used = name
        return self._scope.env.view(self._scope.seat, name)

    def _check(self) -> None:
        if self._life is not None and not self._life.alive:
            raise Stale(f"seat {self.seat}: tick {self.tick} is over; a handle dies with its tick")

    def names(self) -> tuple[str, ...]:
        """The action names that are legal now (specs of kind "names")."""
        if self.legal is None:
            return self.spec.names
        return tuple(n for n, ok in zip(self.spec.names, self.legal, strict=True) if ok)

    # -- chance ---------------------------------------------------------------------------------------
    def key(self, *purpose: Any) -> bytes:
        """The random stream of this seat, path and purpose; the same at every tick."""
        if not self.path and not purpose:
            return self._scope.key
        return key(self._scope.key, self.path, *purpose)  # nested: child(1).key() is not key(1)

    def pick(self, n: int, slot: int = 0) -> int:
        """A random integer in [0, n) of this seat, path, tick and slot."""
        return pick(self.key(), n, self.tick, slot)

    @property
    def ordinal(self) -> tuple[Any, ...]:
        """The structural address of a call: (root, env id, block, replicate, seat, tick, path)."""
        at = self._scope.at
        return (at.root, self._scope.env_id, at.block, at.replicate, self._scope.seat, self.tick, self.path)

    def identical(self, request: bytes) -> int:
        """How often this very request was made before at this address (the cassette's k)."""
        life = self._own()
        slot = (self.path, request)
        n = life.identical.get(slot, 0)
        life.identical[slot] = n + 1
        return n

    # -- inside a seat --------------------------------------------------------------------------------
    def child(self, *path: int) -> Observation:
        """The same request one level deeper: event path, random stream and call ordinal at once."""
        if not all(isinstance(step, int) for step in path):
            raise TypeError(f"child: a path is made of whole numbers, got {path!r}")
        return self._derive(self.path + path)

    def _derive(self, path: tuple[int, ...]) -> Observation:
        other = type(self).__new__(type(self))
        for name in Observation.__slots__:
            setattr(other, name, getattr(self, name))
        other._life = self._own()
        other.path = path
        return other

    def with_choice(self, spec: ActionSpec, legal: Sequence[bool] | None, memo: Any = None) -> Observation:
        """The same request with other actions to choose from (skill wrappers, members of teams)."""
        other = self._derive(self.path)
        other.spec, other.legal, other.memo = spec, legal, memo
        return other

    def for_member(
        self,
        path: tuple[int, ...],
        *,
        spec: ActionSpec | None = None,
        legal: Sequence[bool] | None = None,
        inbox: Sequence[Msg] = (),
        memo: Any = None,
        brief: str = "",
        wants: tuple[str, ...] = (),
    ) -> Observation:
        """The same request as a team passes it to a member: deeper, with the mail and wishes of the team.

        spec: another form of answer than the seat's; None keeps the seat's, with its mask.
        """
        other = self._derive(self.path + path)
        if spec is not None:
            other.spec, other.legal = spec, legal
        other.inbox, other.memo, other.brief, other.wants = inbox, memo, brief, wants
        return other

    def canonical(self, value: Any) -> Any:
        """What votes compare of an answer (`Env.canonical`)."""
        return self._scope.env.canonical(value)

    def verify(self, value: Any) -> list[str]:
        """What is wrong with a canonical value, by what the seat may know now (`Env.verify`); [] when nothing is."""
        self._check()
        env = self._scope.env
        return env.verify(env.data(self._scope.seat), value)

    def note(self, kind: str, data: Any, usage: Usage | None = None) -> None:
        """Record what happened inside the seat. Belongs to the handle: it outlives a cancelled answer.

        kind: "model", "tool", "post" (of a team member), "vote" or "note". data: MessagePack data. Notes
        enter the mind chain in structural order (tick, seat, path, ord).
        """
        self._check()
        if not isinstance(kind, str) or not (usage is None or isinstance(usage, Usage)):
            raise TypeError(f"note: kind {kind!r} must be text and usage a Usage or None, got {type(usage).__name__}")
        self._own().notes.append((self.path, kind, data, usage))

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter of this seat (repairs, parse failures, ...), shown beside the score."""
        self._check()
        counts = self._own().counts
        counts[name] = counts.get(name, 0) + n

    def _own(self) -> _Life:
        if self._life is None:
            self._life = _Life()
        return self._life

    # -- engine -----------------------------------------------------------------------------------------
    def close(self) -> None:
        """The tick is over: views raise `Stale` from now on."""
        self._own().alive = False

    @property
    def notes(self) -> list[Note]:
        """The notes so far, in order of arrival (the engine sorts by path)."""
        return self._life.notes if self._life is not None else []

    @property
    def counts(self) -> dict[str, int]:
        """The counters so far."""
        return self._life.counts if self._life is not None else {}


def request_digest(data: Any) -> bytes:
    """16 bytes that identify a canonical request."""
    try:
        return hashlib.blake2b(pack(data), digest_size=16).digest()
    except TypeError as error:
        raise CrossplayError(f"a request must be plain data: {error}") from None
