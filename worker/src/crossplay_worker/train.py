"""Training jobs, as the worker sees them: a `Job` is handed to `Worker.train`.

    def train(self, job):
        tracks = job.tracks(rows=16)
        ...
        job.metrics(step, loss=0.3)
        job.checkpoint("checkpoints/1000", step=1000)
        job.stop_if_cancelled()

What is told goes through a queue and a thread of its own, so that training never waits for whoever reads it.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any

from .envs import Rows, Tracks, answered, make, request, train_root
from .frames import WireError
from .messages import Bye, Cancel, Error, Event, Ok, Ping, State, Train
from .weights import PICKLED

__all__ = ["Cancelled", "Job", "serve_training"]

QUEUE = 256  # events that may wait; then the oldest that is no checkpoint is dropped, and its number is a gap


class Cancelled(Exception):
    """The job was asked to stop; raise it (or let it pass) after the last checkpoint."""


class Job:
    """One training: what is wanted, where things go, how far it is.

    spec: all that was asked for. env, options, seat, fill: what to train on. steps: decisions of the trained
    seats in all. seed. config: settings of the trainer. folder: checkpoints and logs go here. resume: the
    checkpoint to go on from, or None. dropped: events that were not sent because too many waited. progress: grows
    with every step of an environment, metrics and checkpoint, and goes out with each heartbeat.
    """

    def __init__(self, conn: Any, message: Train) -> None:
        spec = message.spec
        self.spec: dict[str, Any] = spec
        self.env: str = spec.get("env", "")
        self.options: dict[str, Any] = spec.get("options", {})
        self.seat: str = spec.get("seat", "")
        self.fill: Any = spec.get("fill") or None
        self.steps: int = int(spec.get("steps", 0))
        self.seed: int = int(spec.get("seed", 1))
        self.config: dict[str, Any] = spec.get("config", {})
        self.folder = Path(message.folder)
        self.resume = self.folder / message.resume if message.resume else None
        self.dropped = self.progress = 0
        self._conn, self._id = conn, message.id
        self._number = self._seq = 0
        self._cancelled = False
        self._asking = threading.Lock()
        self._events: deque[Event] = deque()
        self._change = threading.Condition()
        self._closing = False
        beat = float(spec.get("heartbeat_s", 5.0))
        self._sender = threading.Thread(target=self._send, args=(beat,), daemon=True)
        self._sender.start()

    # -- environments ------------------------------------------------------------------------------------
    def ask(self, message: Any) -> Any:
        """The engine's answer to an env verb; raises `WireError`."""
        with self._asking:
            self._number += 1
            message.id = self._number
            request(self._conn, message)
            while True:
                found = self._conn.next()
                if found is None:
                    raise WireError("UPSTREAM", "the engine is gone")
                if isinstance(found[1], (Ok, State, Error)):
                    if found[1].id == message.id:
                        self.progress += 1
                        return answered(self._conn, message, found)
                else:
                    self._other(found[1])

    def make(self, name: str = "", **given: Any) -> Rows:
        """An environment of the engine that runs this job; by default the one that was asked for (see `envs.make`)."""
        mine = {"options": self.options, "fill": self.fill, "seat": self.seat, "root": train_root(self.seed)}
        return make(name or self.env, **{**(mine if not name else {}), "crossplay": self, **given})

    def tracks(self, rows: int = 1, reward: str = "own", first: int = 0, restart: str = "same") -> Tracks:
        """What the job trains on, as tracks."""
        return Tracks(self.make(rows=rows), reward, first, restart)

    # -- telling -----------------------------------------------------------------------------------------
    def metrics(self, step: int, **values: float) -> None:
        """Numbers of this moment; step: decisions so far."""
        self._tell("metrics", {"step": int(step), **{k: float(v) for k, v in values.items()}})

    def checkpoint(self, path: Any, step: int, **about: Any) -> None:
        """A checkpoint was written; path: a file in the job's folder, or that of NAME.safetensors without the suffix.

        A crash resumes from it. Raises `WireError` BAD_VALUE for a kind of file that can run code when it is opened.
        """
        at = Path(path)
        if at.suffix.lower() in PICKLED:
            raise WireError("BAD_VALUE", "%s: no job resumes from files that can run code when they are opened; write "
                "safetensors and JSON (crossplay_worker.weights.save)" % at.name)  # fmt: skip
        name = at.relative_to(self.folder).as_posix() if at.is_absolute() else at.as_posix()
        self._tell("checkpoint", {"path": name, "step": int(step), **about})

    def log(self, text: str) -> None:
        """A line for people."""
        self._tell("log", {"text": str(text)[:2000]})

    def moved(self) -> None:
        """Training goes on. Say so in long phases without steps, metrics and checkpoints: the engine ends a trainer
        whose progress stands still for `silence_s` (five minutes).
        """
        self.progress += 1

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        with self._change:
            self._seq += 1
            self.progress += kind != "log"
            if len(self._events) >= QUEUE:
                old = next((e for e in self._events if e.kind != "checkpoint"), None)
                if old is not None:
                    self._events.remove(old)
                    self.dropped += 1
            self._events.append(Event(seq=self._seq, kind=kind, data=data))
            self._change.notify()

    def _send(self, beat: float) -> None:
        last = time.monotonic()
        while True:
            with self._change:
                if not self._events and not self._closing:
                    self._change.wait(max(0.0, last + beat - time.monotonic()))
                if self._closing and not self._events:
                    return
                event = self._events.popleft() if self._events else None
                if event is None and time.monotonic() - last >= beat:
                    self._seq += 1
                    used = resource.getrusage(resource.RUSAGE_SELF)
                    data = {"cpu_s": used.ru_utime + used.ru_stime, "rss_kb": used.ru_maxrss, "dropped": self.dropped, "progress": self.progress}  # fmt: skip
                    event = Event(seq=self._seq, kind="heartbeat", data=data)
            if event is not None:
                last = time.monotonic()
                try:
                    self._conn.send(event)
                except OSError:
                    return

    def close(self, patience: float = 5.0) -> None:
        """Send what waits."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._sender.join(patience)

    # -- the end -----------------------------------------------------------------------------------------
    @property
    def cancelled(self) -> bool:
        """Whether the engine asked to stop."""
        if not self._cancelled and self._asking.acquire(blocking=False):
            try:
                self._conn.take(False)
                while self._conn.queue:
                    self._other(self._conn.queue.popleft()[1])
            finally:
                self._asking.release()
        self._cancelled = self._cancelled or self._id in self._conn.cancelled
        return self._cancelled

    def stop_if_cancelled(self) -> None:
        """Raise `Cancelled` where the engine asked to stop."""
        if self.cancelled:
            raise Cancelled

    def _other(self, message: Any) -> None:
        """What else comes while training."""
        if isinstance(message, Cancel):
            self._cancelled = self._cancelled or message.id == self._id
        elif isinstance(message, Bye):
            self._cancelled = True
            self._conn.send(Ok(id=message.id))
        elif isinstance(message, Ping):
            self._conn.send(Ok(id=message.id))
        elif getattr(message, "id", 0) and not isinstance(message, (Ok, State, Error)):
            self._conn.send(Error(id=message.id, code="BAD_STATE", message="not now: training", retry=True))


def serve_training(service: Any) -> None:
    """Handle requests, `train` among them, until the engine says bye or is gone."""
    conn = service.conn
    while True:
        found = conn.next()
        if found is None:
            return
        came, message, read = found
        if isinstance(message, Cancel):
            continue
        answer = _train(service, message) if isinstance(message, Train) else service.handle(message, came, read)
        if answer is not None:
            conn.send(answer)
        if isinstance(message, Bye):
            return


def _train(service: Any, message: Train) -> Any:
    """Run the worker's `train`; nothing of it gets out but an answer."""
    conn = service.conn
    conn.working = message.id
    job = Job(conn, message)
    try:
        data = service.worker.train(job)
        answer: Any = Ok(id=message.id, data=data)
    except Cancelled:
        answer = Error(id=message.id, code="CANCELLED", message="stopped as asked")
    except WireError as error:
        traceback.print_exc()
        answer = Error(id=message.id, code=error.code, message=error.message, retry=error.retry)
    except ModuleNotFoundError as error:
        traceback.print_exc()
        text = "%s lacks the module %s; install it there, or name another interpreter" % (sys.executable, error.name)
        answer = Error(id=message.id, code="UPSTREAM", message=text)
    except Exception as error:
        traceback.print_exc()
        said = type(error).__name__ + ": " + str(error)
        answer = Error(id=message.id, code="INTERNAL", message=said[:500], detail=traceback.format_exc()[-4000:])
    finally:
        conn.working = 0
    job.close()
    conn.cancelled.discard(message.id)
    return answer
