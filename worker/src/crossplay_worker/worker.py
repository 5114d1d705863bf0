"""`Worker`: subclass it, implement `act`, call `run`."""

from __future__ import annotations

import os
import platform
import select
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .arrays import Ring, Stale
from .frames import FRAME, BadFrame, Codec, Reader, WireError, agree
from .messages import (
    MAJOR,
    MINOR,
    Act,
    Acts,
    Bind,
    Bye,
    Cancel,
    End,
    Error,
    Feedback,
    Hello,
    Load,
    Ok,
    Ping,
    Reset,
    Save,
    Seat,
    Welcome,
)
from .seeds import generator, key64, pick

__all__ = ["Action", "Batch", "Connection", "Episode", "Obs", "Refused", "Worker", "connect", "run"]

VERSION_EXIT, BROKEN_EXIT = 3, 4


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


def _own(worker: Worker, name: str) -> bool:
    return getattr(type(worker), name) is not getattr(Worker, name)


def connect(address: str = "") -> socket.socket:
    """The connection to the engine: the inherited descriptor, `tcp://HOST:PORT` or `unix:PATH`.

    address: default: the environment variables CROSSPLAY_FD, then CROSSPLAY_ADDRESS.
    """
    if not address and "CROSSPLAY_FD" in os.environ:
        return socket.socket(fileno=int(os.environ["CROSSPLAY_FD"]))
    address = address or os.environ.get("CROSSPLAY_ADDRESS", "")
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(address[5:])
        return sock
    if address.startswith("tcp://"):
        host, _, port = address[6:].rpartition(":")
        sock = socket.create_connection((host.strip("[]"), int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    sys.exit(
        'crossplay-worker: no engine. A worker is started by Crossplay (type = "worker" in a study, or '
        '"crossplay worker check COMMAND"), or connects to CROSSPLAY_ADDRESS=tcp://HOST:PORT with CROSSPLAY_TOKEN.'
    )


class Connection:
    """Frames in and out, with the requests that wait to be handled."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.codec = Codec()
        self.reader = Reader(FRAME)
        self.queue: deque[tuple[float, Any, list[tuple[int, int]]]] = deque()
        self.cancelled: set[int] = set()
        self.working = 0  # id of the training that runs
        self._write = threading.Lock()

    def send(self, message: Any) -> None:
        """One frame out; an answer that is too large or cannot be sent becomes an error."""
        with self._write:
            try:
                frame = self.codec.frame(message)
            except (WireError, TypeError, ValueError, OverflowError) as error:
                number = getattr(message, "id", 0)
                if not number or isinstance(message, Error):
                    raise
                text = "the answer cannot be sent: " + (getattr(error, "message", "") or str(error))
                frame = self.codec.frame(Error(id=number, code="INTERNAL", message=text[:500]))
            self.sock.sendall(frame)

    def take(self, wait: bool) -> bool:
        """Read what has come (or wait for something); False when the engine is gone."""
        try:
            data = self.sock.recv(self.reader.wants, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self._sort(data)
        return True

    def _sort(self, data: bytes) -> None:
        for body in self.reader.feed(data):
            ring = self.codec.ring
            try:
                message = self.codec.message(body)
            except BadFrame as error:
                if not error.id:
                    raise
                if ring is not None:
                    ring.read = []
                self.send(Error(id=error.id, code=error.code, message=error.message))
                continue
            read, refs = ([], ring.read) if ring is not None else ([], [])
            if refs and ring is not None:
                read, ring.read = ring.read, []
            if isinstance(message, Cancel):
                if message.id == self.working or any(getattr(m, "id", 0) == message.id for _, m, _ in self.queue):
                    self.cancelled.add(message.id)
            else:
                self.queue.append((time.monotonic(), message, read))

    def next(self) -> Any:
        """The next message to handle, with when it came (0: just now) and the shared memory it refers to; None: gone."""
        while not self.queue:
            try:
                data = self.sock.recv(self.reader.wants)
            except OSError:
                return None
            if not data:
                return None
            body = self.reader.whole(data)
            if body is None:
                self._sort(data)
                continue
            ring = self.codec.ring  # the common case: one whole frame
            try:
                message = self.codec.message(body)
            except BadFrame as error:
                if not error.id:
                    raise
                if ring is not None:
                    ring.read = []
                self.send(Error(id=error.id, code=error.code, message=error.message))
                continue
            if type(message) is Cancel:
                continue  # nothing is open that it could be about
            if ring is None or not ring.read:
                return 0.0, message, _NOTHING
            read, ring.read = ring.read, []
            return 0.0, message, read
        return self.queue.popleft()


_NOTHING: list[tuple[int, int]] = []


def hello_of(worker: Worker) -> Hello:
    """What a worker says of itself."""
    batch = 4096 if _own(worker, "act_batch") else 256
    return Hello(
        v=[MAJOR, MINOR], codecs=list(worker.codecs), name=worker.name, version=worker.version,
        token=os.environ.get("CROSSPLAY_TOKEN", ""), roles=list(worker.roles), views=list(worker.views),
        kinds=list(worker.kinds), batch=batch, state=worker.state, saves=_own(worker, "save"),
        feedback=worker.feedback, deterministic=worker.deterministic, shm="CROSSPLAY_SHM" in os.environ,
        needs=dict(worker.needs), about={"python": platform.python_version(), **worker.about()},
    )  # fmt: skip


def greet(conn: Connection, hello: Hello) -> Welcome:
    """Hello and welcome; exits with code 3 when the engine speaks another version, 4 when it refuses."""
    conn.send(hello)
    found = conn.next()
    if found is None:
        sys.exit("crossplay-worker: the engine closed the connection")
    message = found[1]
    if isinstance(message, Error):
        print("crossplay-worker: the engine refused:", message.code, message.message, file=sys.stderr)
        sys.exit(VERSION_EXIT if message.code == "VERSION" else BROKEN_EXIT)
    if not isinstance(message, Welcome):
        sys.exit("crossplay-worker: the engine did not welcome")
    try:
        version = agree(message.v)
    except WireError as error:
        print("crossplay-worker:", error, file=sys.stderr)
        sys.exit(VERSION_EXIT)
    ring = None
    if message.shm:
        ring = Ring(int(os.environ["CROSSPLAY_SHM"]), message.shm["slots"], message.shm["size"], False)
    conn.codec = Codec(message.codec == "json", message.frame, version[1], ring)
    conn.reader.limit = message.frame
    return message


def _watch(sock: socket.socket) -> None:
    """End the process when the engine is gone, also while it computes."""
    poll = select.poll()
    poll.register(sock.fileno(), getattr(select, "POLLRDHUP", 0) | select.POLLHUP)
    poll.poll()
    time.sleep(1.0)
    os._exit(0)


class _Service:
    """The state of one worker on one connection."""

    def __init__(self, worker: Worker, conn: Connection) -> None:
        self.worker, self.conn = worker, conn
        self.seats: dict[int, Seat] = {}
        self.episodes: dict[int, Episode] = {}
        self.batched = _own(worker, "act_batch")

    def serve(self) -> None:
        """Handle requests until the engine says bye or is gone."""
        while True:
            found = self.conn.next()
            if found is None:
                return
            came, message, read = found
            if type(message) is Act and not self.conn.queue and not self.conn.cancelled:
                self.conn.send(self.handle(message, came, read))
                continue
            number = getattr(message, "id", 0)
            if (number and self.conn.queue) or number in self.conn.cancelled:
                self.conn.take(False)
            if number in self.conn.cancelled:
                self.conn.cancelled.discard(number)
                self.conn.send(Error(id=number, code="CANCELLED", message="given up before it began"))
                continue
            answer = self.handle(message, came, read)
            if answer is not None:
                self.conn.send(answer)
            if isinstance(message, Bye):
                return

    def handle(self, message: Any, came: float, read: list[tuple[int, int]]) -> Any:
        """The answer to a message (None: it has none). No exception of the worker's code gets out."""
        try:
            if type(message) is Act:
                if message.deadline_ms and came and (time.monotonic() - came) * 1000 > message.deadline_ms:
                    raise Refused("DEADLINE", "it waited longer than it may")
                answer = self.act(message)
                if read and self.conn.codec.ring is not None:
                    self.conn.codec.ring.check(read)  # what was read in place is still what was sent
                return answer
            verb = _VERBS.get(type(message))
            if verb is None:
                raise Refused("UNSUPPORTED", type(message).__name__.lower() + " is not for workers")
            return verb(self, message)
        except WireError as error:
            return self._error(message, error.code, error.message, error.retry)
        except Stale as error:
            return self._error(message, "BAD_FRAME", str(error), True)
        except Exception as error:
            said = type(error).__name__ + ": " + str(error)
            return self._error(message, "INTERNAL", said[:500], False, traceback.format_exc()[-4000:])

    def _error(self, to: Any, code: str, message: str, retry: bool, detail: Any = None) -> Any:
        number = getattr(to, "id", 0)
        if not number:
            print("crossplay-worker:", code, message, file=sys.stderr)
            return None
        return Error(id=number, code=code, message=message, retry=retry, detail=detail)

    def seat(self, slot: int) -> Seat:
        seat = self.seats.get(slot)
        if seat is None:
            raise Refused("BAD_STATE", "slot %d is not bound" % slot)
        return seat

    def bind(self, message: Bind) -> Any:
        seats = {**self.seats, **{s.slot: s for s in message.seats}}
        self.worker.bind(list(seats.values()), message.config)
        self.seats = seats
        return Ok(id=message.id)

    def reset(self, message: Reset) -> Any:
        if not len(message.ep) == len(message.slot) == len(message.key):
            raise Refused("BAD_VALUE", "reset: columns of unequal length")
        for ep, slot, key in zip(message.ep, message.slot, message.key):
            episode = Episode(ep, self.seat(slot), key)
            self.worker.begin(episode)
            self.episodes[ep] = episode
        return Ok(id=message.id)

    def columns(self, message: Act, one: bool) -> int:
        """The number of rows; refuses what is no column, and columns of unequal length. Lists where the worker reads
        arrays (JSON has nothing else) become arrays.
        """
        count = -1
        for name in _COLUMNS:
            column = getattr(message, name)
            if (name == "slot" and one) or (column is None and name in _OPTIONAL):
                continue
            if type(column) is not list and (type(column) is not np.ndarray or not column.ndim):
                raise Refused("BAD_VALUE", "act: " + name + " is no column")
            if count < 0:
                count = len(column)
            elif len(column) != count:
                raise Refused("BAD_VALUE", "act: %d of ep, %d of %s" % (count, len(column), name))
        if type(message.legal) is list:
            masks = [None if m is None else np.asarray(m, bool) for m in message.legal]
            whole = count and all(m is not None and m.shape == masks[0].shape for m in masks)
            message.legal = np.array(masks) if whole else masks
        if type(message.obs) is list and count:
            seat = self.seats.get(message.slot if one else message.slot[0])
            if seat is not None and seat.view in ("array", "image"):
                try:
                    message.obs = np.asarray(message.obs, seat.dtype or None)
                except (TypeError, ValueError) as error:
                    raise Refused("BAD_VALUE", "act: obs: " + str(error)) from None
        return count

    def rows(self, message: Act) -> list[Obs]:
        count = len(message.ep)
        slots = [message.slot] * count if isinstance(message.slot, int) else _list(message.slot)
        found = []
        free = self.worker.state != "own"
        for row, (ep, slot, tick, view) in enumerate(zip(_list(message.ep), slots, _list(message.tick), message.obs)):
            episode = Episode(ep, self.seat(slot), b"") if free else self.episodes.get(ep)
            if episode is None:
                raise Refused("BAD_STATE", "act outside an episode: %d was not begun, or is over" % ep)
            obs = Obs(episode, tick, view)
            if message.legal is not None:
                obs.legal = message.legal[row]
            if message.reward is not None:
                obs.reward = float(message.reward[row])
            if message.memo is not None:
                obs.memo = message.memo[row]
            found.append(obs)
        for name in ("last", "inbox", "brief"):
            for row, value in getattr(message, name).items():
                if not 0 <= row < count:
                    raise Refused("BAD_VALUE", "act: %s of row %d of %d" % (name, row, count))
                setattr(found[row], name, value)
        return found

    def act(self, message: Act) -> Any:
        one = isinstance(message.slot, int)
        count = self.columns(message, one)
        if one:
            self.seat(message.slot)
        acts = Acts(id=message.id, values=[])
        if self.batched:
            batch = Batch(message, self.rows)
            if self.worker.state == "own" or not one:
                batch.rows  # noqa: B018  (all seats and episodes exist)
            answers = self.worker.act_batch(batch)
            values = answers[0] if isinstance(answers, tuple) else answers
            if len(values) != count:
                raise Refused("INTERNAL", "act_batch: %d answers to %d rows" % (len(values), count))
            if isinstance(answers, tuple):  # (values, memo)
                acts.values, acts.memo = answers
                return acts
            if isinstance(answers, np.ndarray):
                acts.values = answers if answers.ndim > 1 or count > 16 else answers.tolist()
                return acts
        else:
            answers = [self._one(obs) for obs in self.rows(message)]
        memo = None
        for row, answer in enumerate(answers):
            if isinstance(answer, WireError):
                acts.faults[row] = [answer.code, answer.message, answer.retry]
                answer = None
            elif isinstance(answer, Action):
                memo = self._more(acts, row, answer, memo, count)
                answer = answer.value
            acts.values.append(answer.item() if isinstance(answer, np.generic) else answer)
        acts.memo = memo
        return acts

    def _one(self, obs: Obs) -> Any:
        """One row; where the worker's code fails, it is the fault of this row alone."""
        try:
            return self.worker.act(obs)
        except WireError as error:
            return error
        except Exception as error:
            traceback.print_exc()
            return Refused("INTERNAL", (type(error).__name__ + ": " + str(error))[:500])

    def _more(self, acts: Acts, row: int, answer: Action, memo: Any, count: int) -> Any:
        if answer.says:
            acts.says[row] = [["*", s, "main"] if isinstance(s, str) else list(s) for s in answer.says]
        if answer.confidence is not None:
            acts.confidence[row] = float(answer.confidence)
        if answer.why is not None:
            acts.why[row] = answer.why
        if answer.usage is not None:
            acts.usage[row] = list(answer.usage)
        if answer.counts:
            acts.counts[row] = answer.counts
        if answer.memo is not None:
            memo = memo or [None] * count
            memo[row] = answer.memo
        return memo

    def told(self, message: Feedback) -> None:
        ended = message.ended or [""] * len(message.ep)
        for ep, reward, end in zip(_list(message.ep), _list(message.reward), ended):
            if ep in self.episodes:
                self.worker.feedback_of(self.episodes[ep], float(reward), end)

    def end(self, message: End) -> Any:
        status = message.status or [""] * len(message.ep)
        for ep, how in zip(message.ep, status):
            episode = self.episodes.pop(ep, None)
            if episode is not None:
                self.worker.end(episode, how)
        return Ok(id=message.id)

    def save(self, message: Save) -> Any:
        episode = self.episodes.get(message.ep)
        if episode is None:
            raise Refused("BAD_STATE", "save: episode %d was not begun, or is over" % message.ep)
        return Ok(id=message.id, data=self.worker.save(episode))

    def load(self, message: Load) -> Any:
        episode = Episode(message.ep, self.seat(message.slot), message.key)
        self.worker.load(episode, message.data)
        self.episodes[message.ep] = episode
        return Ok(id=message.id)

    def alive(self, message: Any) -> Any:
        return Ok(id=message.id)


_VERBS: dict[type, Any] = {
    Bind: _Service.bind,
    Reset: _Service.reset,
    Feedback: _Service.told,
    End: _Service.end,
    Save: _Service.save,
    Load: _Service.load,
    Ping: _Service.alive,
    Bye: _Service.alive,
}


_COLUMNS = ("ep", "slot", "tick", "obs", "legal", "reward", "memo")
_OPTIONAL = frozenset(("legal", "reward", "memo"))


def _list(column: Any) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


def run(worker: Worker, address: str = "") -> None:
    """Serve the engine until it says bye or is gone. stdout and stderr stay free for the worker's own use.

    Exit code 3: the engine speaks another version; 4: it refused, or sent what is no frame.
    """
    conn = Connection(connect(address))
    greet(conn, hello_of(worker))
    threading.Thread(target=_watch, args=(conn.sock,), daemon=True).start()
    service = _Service(worker, conn)
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
