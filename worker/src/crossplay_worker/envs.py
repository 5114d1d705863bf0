"""Environments of Crossplay for a trainer in any interpreter: `make("spread", rows=64)`.

`Rows` is the plain form: episodes side by side, stepped with arrays. On top of it: `Tracks`, the form
that learners want (one line per row and trained seat, each of which starts over when its episode ends), and
`gym.make`, `gym.make_vec`, `zoo.parallel`. Where the environments live is one of

* a process of `crossplay worker envs` that is started here (the default),
* the engine that runs this training job (`Job.make`),
* this interpreter, where crossplay is installed in it: `crossplay=crossplay.jobs.envserver.here()`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .arrays import Ring
from .frames import Codec, WireError, agree
from .messages import MAJOR, MINOR, Bye, EnvClose, EnvOpen, EnvReset, EnvStep, Error, Hello, Ok, State, Welcome
from .seeds import key, key64

__all__ = ["Rows", "Started", "Step", "Tracks", "make", "start", "train_root"]

KEPT = 1 << 16  # finished episodes that wait for whoever takes them


def train_root(seed: int) -> int:
    """The root of a training run's blocks: far from the roots that people give to studies, so no study meets its worlds.

    Environments made of a finite list of questions (`Rows.items` > 0) are the exception: every root shuffles the same
    list, so a study asks what was trained on. Keep items apart there by the environment's own options, or by their ids
    (blocks may be ids).
    """
    return key64(key("train", seed)) >> 1


def make(
    name: str,
    *,
    rows: int = 1,
    view: str = "array",
    root: int | None = None,
    options: Mapping[str, Any] | None = None,
    fill: Mapping[str, Any] | str | None = None,
    seat: str = "",
    crossplay: Any = None,
) -> Rows:
    """An environment, as `rows` episodes side by side.

    root: seed of all blocks; default: `train_root(0)`, which no study has (a study's own default is 0). fill: seat -> agent of Crossplay that plays it; a text fills all seats but `seat` (default:
    the first). crossplay: command of the engine ("crossplay", a path, a list), or a connection that `start` or a
    job gave. Raises `WireError` that says what is wrong and what is known.
    """
    root = train_root(0) if root is None else root
    owned = not hasattr(crossplay, "ask")
    line = start(crossplay) if owned else crossplay
    try:
        if isinstance(fill, str) or seat:
            fill = _filled(line, name, options, fill or {}, seat)
        answer = _ask(
            line,
            EnvOpen(
                id=0, name=name, options=dict(options or {}), rows=rows, view=view, root=root, fill=dict(fill or {})
            ),
        )
    except BaseException:
        if owned:
            line.close()
        raise
    return Rows(line, answer.data, root, owned)


def _filled(line: Any, name: str, options: Any, fill: Any, seat: str) -> dict[str, Any]:
    """Who fills which seat, so that one seat is left: `seat`, or the first."""
    found = _ask(line, EnvOpen(id=0, name=name, options=dict(options or {}), view="data")).data
    _ask(line, EnvClose(id=0, env=found["env"]))
    mine = seat or found["seats"][0]
    if mine not in found["seats"]:
        raise WireError("BAD_VALUE", "%s: no seat %r; it has %s" % (name, mine, ", ".join(found["seats"])))
    if isinstance(fill, str):
        fill = {s: fill for s in found["seats"] if s != mine}
    return dict(fill)


def _ask(line: Any, message: Any) -> Any:
    """The answer, with what the connection's own side calls an error as `WireError`."""
    try:
        return line.ask(message)
    except WireError:
        raise
    except Exception as error:
        if hasattr(error, "code") and hasattr(error, "message"):
            raise WireError(error.code, error.message) from None
        raise


class Rows:
    """Episodes of one environment side by side.

    name, id, seats, trained (the seats that are yours), specs (kind, names, low, high, shape of each seat's
    actions), shapes and dtypes (of its views), masked (seats with masks), horizon, items, rules, simultaneous,
    metrics, rows: as the environment says. The answers of `reset` and `step` are about all rows:
    obs {seat: [rows, ...]}, legal {seat: bool [rows, names]}, reward {seat: f8 [rows]}, ended (per row: "",
    "terminal" or "horizon"), acting (per row the seats to act; empty: all), score {row that ended: scores}.
    """

    def __init__(self, line: Any, about: Mapping[str, Any], root: int, owned: bool) -> None:
        self._line, self._owned = line, owned
        self.env: int = about["env"]
        self.id: str = about["id"]
        self.seats: list[str] = list(about["seats"])
        self.trained: list[str] = list(about["trained"])
        self.specs: dict[str, Any] = about["specs"]
        self.shapes = {s: tuple(v) for s, v in about["shapes"].items()}
        self.dtypes = {s: np.dtype(v) for s, v in about["dtypes"].items()}
        self.masked: list[str] = list(about["masked"])
        self.rows: int = about["rows"]
        self.horizon: int = about["horizon"]
        self.items: int = about["items"]
        self.rules: str = about["rules"]
        self.simultaneous: bool = about["simultaneous"]
        self.seat_ends: bool = about["seat_ends"]
        self.metrics: dict[str, str] = about["metrics"]
        self.root = root

    def reset(self, rows: Sequence[int], blocks: Sequence[Any]) -> Any:
        """Begin episodes in these rows, one block each: a whole number, or an item's id."""
        return _ask(self._line, EnvReset(id=0, env=self.env, row=[int(r) for r in rows], block=list(blocks)))

    def step(self, actions: Mapping[str, Any]) -> Any:
        """One tick of all rows that run: seat -> values of all rows (indices, names, arrays, texts)."""
        return _ask(self._line, EnvStep(id=0, env=self.env, actions=dict(actions)))

    def close(self) -> None:
        """Close the environment, and the process that was started for it."""
        if self._line is None:
            return
        line, self._line = self._line, None
        if self._owned:
            line.close()
        else:
            _ask(line, EnvClose(id=0, env=self.env))


class Step:
    """What K tracks met: obs [K, ...] (of fresh episodes where one ended), reward f8 [K], ended bool [K],
    cut bool [K] (ended by its horizon), final {track that ended: its last obs}, legal bool [K, names] or None.
    """

    __slots__ = ("cut", "ended", "final", "legal", "obs", "reward")

    def __init__(self, obs: Any, reward: Any, ended: Any, cut: Any, final: dict[int, Any], legal: Any) -> None:
        self.obs, self.reward, self.ended, self.cut, self.final, self.legal = obs, reward, ended, cut, final, legal


class Tracks:
    """K = rows x trained seats lines of experience; track = row * seats + seat. Rows start over by themselves.

    reward: "own" (each seat's) or "mean" (of the trained seats). first: the first block; each further episode has
    the next one. restart: in the "same" step in which an episode ends, or in the "next" one, whose actions for it are
    then ignored (`Step.obs` is the last observation first). Finished episodes wait in `finished` until `take_finished`:
    (return per seat, its mean over seats, ticks, score); of more than `KEPT` the oldest go, and `forgotten` counts them.
    """

    def __init__(self, rows: Rows, reward: str = "own", first: int = 0, restart: str = "same") -> None:
        if restart not in ("same", "next"):
            raise ValueError("restart is same or next, not %r" % (restart,))
        if reward not in ("own", "mean"):
            raise ValueError("reward is own or mean, not %r" % (reward,))
        if len(rows.trained) > 1 and not rows.simultaneous:
            raise ValueError("%s: seats act one after the other; fill all but one of them" % rows.id)
        specs = [rows.specs[s] for s in rows.trained]
        if any(s != specs[0] for s in specs) or len(set(rows.shapes.values())) > 1:
            raise ValueError(
                "%s: seats differ in actions or views; fill all but one, or train them one by one" % rows.id
            )
        if not rows.shapes:
            raise ValueError("%s: tracks are arrays; open it with the view array or image" % rows.id)
        self.rows, self.seats, self.share = rows, rows.trained, reward
        self.B, self.N = rows.rows, len(rows.trained)
        self.K = self.B * self.N
        self.spec = specs[0]
        self.shape = rows.shapes[rows.trained[0]]
        self.dtype = rows.dtypes[rows.trained[0]]
        self.block = first
        self.finished: deque[tuple[list[float], float, int, dict[str, float]]] = deque(maxlen=KEPT)
        self.forgotten = 0
        self.restart = restart
        self._over: list[int] = []  # rows that start over in the next step
        self._sums = np.zeros((self.B, self.N))
        self._ticks = np.zeros(self.B, np.int64)

    def reset(self) -> Step:
        """Fresh episodes in all rows."""
        self._sums[:], self._ticks[:], self._over = 0.0, 0, []
        state = self._fresh(list(range(self.B)))
        nothing = np.zeros(self.K, bool)
        return Step(self._obs(state), np.zeros(self.K), nothing, nothing.copy(), {}, self._legal(state))

    def _fresh(self, rows: list[int]) -> Any:
        blocks = list(range(self.block, self.block + len(rows)))
        self.block += len(rows)
        return self.rows.reset(rows, blocks)

    def step(self, actions: Any) -> Step:
        """Play values [K] (indices, or [K, ...] of a box)."""
        values = np.asarray(actions)
        values = values.reshape(self.B, self.N, *values.shape[1:])
        waiting, self._over = self._over, []
        reward = np.zeros((self.B, self.N))
        if len(waiting) < self.B:
            state = self.rows.step({s: values[:, i] for i, s in enumerate(self.seats)})
            reward = np.stack([state.reward[s] for s in self.seats], axis=1).astype(np.float64)
            self._sums += reward
            self._ticks += 1
        if waiting:
            reward[waiting] = 0.0
            self._sums[waiting], self._ticks[waiting] = 0.0, 0
            score = state.score if len(waiting) < self.B else {}
            state = self._fresh(waiting)
            state.score = score
        if self.share == "mean":
            reward = np.repeat(reward.mean(axis=1, keepdims=True), self.N, axis=1)
        return self._ends(state, reward)

    def _ends(self, state: Any, reward: np.ndarray) -> Step:
        """Note the episodes that ended, and begin the next ones (or leave that to the next step)."""
        obs, legal = self._obs(state), self._legal(state)
        over = [b for b, how in enumerate(state.ended) if how]
        ended, cut = np.zeros((self.B, self.N), bool), np.zeros((self.B, self.N), bool)
        final = {}
        if over:
            ended[over] = True
            cut[[b for b in over if state.ended[b] == "horizon"]] = True
            for b in over:
                for i in range(self.N):
                    final[b * self.N + i] = obs[b * self.N + i].copy()
                sums = self._sums[b].tolist()
                self.forgotten += len(self.finished) == KEPT
                self.finished.append((sums, sum(sums) / self.N, int(self._ticks[b]), dict(state.score.get(b, {}))))
            self._sums[over], self._ticks[over] = 0.0, 0
            if self.restart == "next":
                self._over = over
            else:
                state = self._fresh(over)
                obs, legal = self._obs(state), self._legal(state)
        return Step(obs, reward.reshape(-1), ended.reshape(-1), cut.reshape(-1), final, legal)

    def _obs(self, state: Any) -> np.ndarray:
        stacked = np.stack([state.obs[s] for s in self.seats], axis=1)
        return stacked.reshape(self.K, *stacked.shape[2:])

    def _legal(self, state: Any) -> np.ndarray | None:
        if not state.legal:
            return None
        names = len(self.spec["names"])
        whole = np.ones((self.B, names), bool)
        return np.stack([np.asarray(state.legal.get(s, whole)) for s in self.seats], axis=1).reshape(self.K, names)

    def take_finished(self) -> list[tuple[list[float], float, int, dict[str, float]]]:
        """The episodes that have ended since the last call."""
        found = list(self.finished)
        self.finished.clear()
        return found

    def close(self) -> None:
        """Close the environment."""
        self.rows.close()


class Started:
    """A process of `crossplay worker envs` and the connection to it. Thread-safe; one request at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        from .connection import Connection

        ours, theirs = socket.socketpair()
        memory = _memory()
        fds = (theirs.fileno(), memory)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        env = {**os.environ, "CROSSPLAY_FD": str(fds[0]), "CROSSPLAY_SHM": str(memory)}
        try:
            self.process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stderr=self._errors, env=env, pass_fds=fds
            )
        except OSError as error:
            ours.close()
            os.close(memory)
            raise WireError("UPSTREAM", "cannot start %s: %s" % (command[0], error)) from None
        finally:
            theirs.close()
        self._lock = threading.Lock()
        self._number = 0
        self.conn = Connection(ours)
        try:
            self._greet(memory)
        except OSError:
            raise WireError("UPSTREAM", self._gone()) from None

    def _greet(self, memory: int) -> None:
        """Hello and welcome."""
        self.conn.send(Hello(v=[MAJOR, MINOR], codecs=["msgpack"], name="crossplay-worker", roles=["envs"], shm=True))
        found = self.conn.next()
        if found is None:
            raise WireError("UPSTREAM", self._gone())
        welcome = found[1]
        if not isinstance(welcome, Welcome):
            raise WireError("VERSION", getattr(welcome, "message", "the engine did not welcome"))
        ring = Ring(memory, welcome.shm["slots"], welcome.shm["size"], False) if welcome.shm else None
        self.conn.codec = Codec(False, welcome.frame, agree(welcome.v)[1], ring)
        self.conn.reader.limit = welcome.frame

    def ask(self, message: Any) -> Any:
        """The answer; raises `WireError` where it is an error, or the process is gone."""
        with self._lock:
            self._number += 1
            message.id = self._number
            try:
                request(self.conn, message)
                found = self.conn.next()
            except OSError:
                found = None
            if found is None:
                raise WireError("UPSTREAM", self._gone())
            return answered(self.conn, message, found)

    def _gone(self) -> str:
        try:
            self.process.wait(2.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._errors.seek(0)
        said = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return "the engine is gone (exit code %s)%s" % (
            self.process.returncode,
            "; it said last: " + said[-1] if said else "",
        )

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None:
            try:
                self.ask(Bye(id=0))
            except WireError:
                pass
        self.conn.sock.close()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.conn.codec.ring is not None:
            self.conn.codec.ring.close()
            self.conn.codec.ring = None
        self._errors.close()


def request(conn: Any, message: Any) -> None:
    """Send a request; one that cannot be sent raises `WireError` here."""
    try:
        frame = conn.codec.frame(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError("BAD_VALUE", "cannot be sent: %s" % error) from None
    with conn._write:
        conn.sock.sendall(frame)


def answered(conn: Any, message: Any, found: Any) -> Any:
    """The answer to a request out of what was read; arrays of shared memory are copied out of it."""
    _, answer, read = found
    if isinstance(answer, Error):
        raise WireError(answer.code, answer.message, answer.retry)
    if not isinstance(answer, (Ok, State)) or answer.id != message.id:
        raise WireError("BAD_STATE", "%s is no answer to %s" % (type(answer).__name__, type(message).__name__))
    if isinstance(answer, State):
        for table in (answer.obs, answer.legal, answer.reward):
            for seat, value in table.items():
                if isinstance(value, np.ndarray):
                    table[seat] = value.copy()
        if read:
            conn.codec.ring.check(read)
    return answer


def _memory() -> int:
    """A descriptor of memory without a name, which the engine makes as large as it wants."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("crossplay", 0)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def start(crossplay: Any = None) -> Started:
    """Start an engine that serves environments; give it to several `make(..., crossplay=it)`, close it at the end.

    crossplay: its command, as a text or a list. Default: the environment variable CROSSPLAY, else `crossplay` of the
    search path.
    """
    command = crossplay or os.environ.get("CROSSPLAY") or "crossplay"
    words = shlex.split(command) if isinstance(command, str) else [str(w) for w in command]
    if shutil.which(words[0]) is None:
        raise WireError(
            "UPSTREAM", "there is no program %r; name it: make(..., crossplay='/path/to/crossplay')" % words[0]
        )
    return Started([*words, "worker", "envs"])
