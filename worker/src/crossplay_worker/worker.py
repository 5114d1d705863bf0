"""`Worker`: subclass it, implement `act`, call `run`."""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .connection import BROKEN_EXIT, Connection, connect, greet, watch
from .frames import BadFrame, WireError
from .messages import MAJOR, MINOR, Act, Error, Hello, Seat
from .seeds import generator, key64, pick

__all__ = ["Action", "Batch", "Connection", "Episode", "Obs", "Refused", "Worker", "connect", "run"]


class Refused(WireError):
    """Raise it in a worker to answer with an error: `Refused("BAD_SPACE", "wants pictures")`.

    In `act` it is the fault of one row; code UPSTREAM with retry=True says that asking again may help.
    """


class Action:
    """An answer with more than its value.

    says: texts, or (dst, text) pairs. memo: comes back as `obs.memo` (workers of state "memo").
    usage: (calls, tokens in, tokens out, cpu microseconds). counts: name -> number, shown beside the score.
    """

    __slots__ = ("confidence", "counts", "memo", "says", "usage", "value", "why")

    def __init__(
        self,
        value: Any,
        says: Sequence[Any] = (),
        confidence: float | None = None,
        why: str | None = None,
        memo: Any = None,
        usage: Sequence[int] | None = None,
        counts: dict[str, int] | None = None,
    ) -> None:
        self.value, self.says, self.confidence, self.why = value, says, confidence, why
        self.memo, self.usage, self.counts = memo, usage, counts


class Episode:
    """One seat of one episode: `seat`, `key` (16 bytes, or b"" for workers that keep nothing), `data` (yours)."""

    __slots__ = ("data", "ep", "key", "seat")

    def __init__(self, ep: int, seat: Seat, key: bytes) -> None:
        self.ep, self.seat, self.key = ep, seat, key
        self.data: Any = None

    def generator(self) -> np.random.Generator:
        """A numpy generator of this seat and episode."""
        return generator(self.key or self.ep.to_bytes(8, "little") + bytes(8))


class Obs:
    """One decision: what the seat may know (`view`), and what it may do (`legal`, `seat.spec`).

    last: [value, origin] where something else than the worker's own answer was played. inbox: messages
    [dst, body, channel, src, tick]. brief: what a team wants of this member, or None.
    """

    __slots__ = ("brief", "episode", "inbox", "last", "legal", "memo", "reward", "tick", "view")

    def __init__(self, episode: Episode, tick: int, view: Any) -> None:
        self.episode, self.tick, self.view = episode, tick, view
        self.legal: Any = None
        self.reward = 0.0
        self.last: Any = None
        self.inbox: Sequence[Any] = ()
        self.memo: Any = None
        self.brief: Any = None

    @property
    def seat(self) -> Seat:
        """The seat."""
        return self.episode.seat

    @property
    def key(self) -> int:
        """The stream of chance of this seat and episode, as 64 bits."""
        return key64(self.episode.key) if self.episode.key else self.episode.ep

    def pick(self, n: int, slot: int = 0) -> int:
        """A random whole number in [0, n), the same whenever this decision is asked again."""
        return pick(self.key, n, self.tick, slot)

    def names(self) -> list[str]:
        """The action names that are legal now."""
        names = self.seat.spec.get("names", [])
        return list(names) if self.legal is None else [n for n, ok in zip(names, self.legal) if ok]


class Batch:
    """Many decisions at once, as columns: `views` (array [rows, ...] or list), `legal` (bool array, list or None),
    `ticks`, `keys` (u64), `rewards`, `memo`, and `rows`, the same one by one.
    """

    __slots__ = ("_make", "_message", "_rows", "legal", "memo", "views")

    def __init__(self, message: Act, make: Callable[[Act], list[Obs]]) -> None:
        self.views, self.legal, self.memo = message.obs, message.legal, message.memo
        self._message, self._make = message, make
        self._rows: list[Obs] | None = None

    @property
    def rows(self) -> list[Obs]:
        """One by one; made when first asked for."""
        if self._rows is None:
            self._rows = self._make(self._message)
        return self._rows

    @property
    def ticks(self) -> np.ndarray:
        """The tick of each row."""
        return np.asarray(self._message.tick, np.int64)

    @property
    def keys(self) -> np.ndarray:
        """The streams of chance, as 64 bits each."""
        return np.array([o.key for o in self.rows], np.uint64)

    @property
    def rewards(self) -> np.ndarray:
        """Received since the last request."""
        return np.array([o.reward for o in self.rows], np.float64)

    def __len__(self) -> int:
        return len(self._message.ep)


class Worker:
    """An agent in a process of its own.

    Declare what it is; implement `act`, or `act_batch` for many rows at once. state: "none" (nothing is
    remembered), "memo" (what is remembered travels as `Action.memo`) or "own" (kept in `obs.episode.data`).
    """

    name = "worker"
    version = ""
    views: Sequence[str] = ("array",)
    kinds: Sequence[str] = ()
    roles: Sequence[str] = ("agent",)
    state = "none"
    deterministic = False
    feedback = False
    codecs: Sequence[str] = ("msgpack",)
    needs: dict[str, Any] = {}

    def about(self) -> dict[str, Any]:
        """What goes into the manifest: packages and their versions, digests of weights."""
        return {}

    def bind(self, seats: list[Seat], config: dict[str, Any]) -> None:
        """The seats it is to fill, with their specs and shapes; raise `Refused("BAD_SPACE", why)` where it cannot."""

    def begin(self, episode: Episode) -> None:
        """An episode begins (workers of state "own")."""

    def act(self, obs: Obs) -> Any:
        """The answer to one decision: a value, or an `Action`."""
        raise NotImplementedError

    def act_batch(self, batch: Batch) -> Any:
        """The answers to all rows: array or list; by default `act`, row by row."""
        raise NotImplementedError

    def feedback_of(self, episode: Episode, reward: float, ended: str) -> None:
        """What the last action led to (workers with feedback = True)."""

    def end(self, episode: Episode, status: str) -> None:
        """An episode is over."""

    def save(self, episode: Episode) -> Any:
        """What is remembered of an episode, as MessagePack data."""
        raise Refused("UNSUPPORTED", "this worker does not save")

    def load(self, episode: Episode, data: Any) -> None:
        """Continue an episode from what was saved."""
        raise Refused("UNSUPPORTED", "this worker does not load")

    def train(self, job: Any) -> Any:
        """Train (workers with the role "trainer"); see `crossplay_worker.train`."""
        raise Refused("UNSUPPORTED", "this worker does not train")


def overrides(worker: Worker, name: str) -> bool:
    return getattr(type(worker), name) is not getattr(Worker, name)


def hello_of(worker: Worker) -> Hello:
    """What a worker says of itself."""
    batch = 4096 if overrides(worker, "act_batch") else 256
    return Hello(
        v=[MAJOR, MINOR], codecs=list(worker.codecs), name=worker.name, version=worker.version,
        token=os.environ.get("CROSSPLAY_TOKEN", ""), roles=list(worker.roles), views=list(worker.views),
        kinds=list(worker.kinds), batch=batch, state=worker.state, saves=overrides(worker, "save"),
        feedback=worker.feedback, deterministic=worker.deterministic, shm="CROSSPLAY_SHM" in os.environ,
        pipes="CROSSPLAY_PIPES" in os.environ, needs=dict(worker.needs),
        about={"python": platform.python_version(), **worker.about()},
    )  # fmt: skip


def run(worker: Worker, address: str = "") -> None:
    """Serve the engine until it says bye or is gone. stdout and stderr stay free for the worker's own use.

    Exit code 3: the engine speaks another version; 4: it refused, or sent what is no frame.
    """
    from .service import Service

    conn = Connection(connect(address))
    greet(conn, hello_of(worker))
    threading.Thread(target=watch, args=(conn.sock,), daemon=True).start()
    service = Service(worker, conn)
    try:
        if "trainer" in worker.roles:
            from .train import serve_training

            serve_training(service)
        else:
            service.serve()
    except BadFrame as error:
        try:
            conn.send(Error(id=0, code=error.code, message=error.message))
        except OSError:
            pass
        print("crossplay-worker:", error, file=sys.stderr)
        sys.exit(BROKEN_EXIT)
    except (BrokenPipeError, ConnectionResetError):
        pass
