"""The engine process of one job: starts the worker, serves it environments, writes down what it tells, starts it again
from its last checkpoint when it dies, and stops it when asked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from crossplay.agents.remote.process import Child, environment
from crossplay.jobs.envserver import Environments, Served, shared
from crossplay.jobs.locks import Held, claim, gpus, slots_folder
from crossplay.jobs.registry import LIVE, Folder, State
from crossplay.jobs.telling import LARGEST, Book
from crossplay.kernel import CrossplayError
from crossplay.wire.channel import Channel, Gone, welcome
from crossplay.wire.frames import WireError
from crossplay.wire.messages import Bye, Cancel, Event, Train

__all__ = ["Runner", "launch"]

FOREVER = 1e8  # seconds: trainings end by themselves, or are stopped
# Files that can run code when they are opened: no job resumes from one (the kit's `weights.PICKLED`).
PICKLED = (".zip", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".tar", ".npz", ".npy")
Progress = Callable[[State, int], None]


class _Died(Exception):
    """The worker went away, or was ended because it said nothing; the text says how."""


class Runner:
    """Runs one job to its end. progress(state, steps) is called with what comes, at most ten times a second."""

    def __init__(self, folder: Folder, progress: Progress | None = None, start_s: float = 120.0) -> None:
        self.folder, self.progress, self.start_s = folder, progress, start_s
        self.spec = folder.spec()
        self.state = State()
        self.stopping = threading.Event()
        self._writing = threading.Lock()
        self._hung = ""  # why its worker was ended, where it was
        self._written = self._shown = 0.0
        self._progress: Any = None  # as the beats name it
        self._moved = time.monotonic()  # when training last went on
        self._serving = False  # while the engine works for it, the worker waits
        self._book: Book | None = None
        self._base = (0, 0)  # events and lost events of earlier attempts

    # -- the whole ---------------------------------------------------------------------------------------
    def run(self) -> State:
        """Run or go on; how it stands in the end. Raises `CrossplayError` where it runs already."""
        try:
            lock = self._lock()
        except BlockingIOError:
            raise CrossplayError(f"job {self.folder.id} is already running") from None
        self.state = msgspec.json.decode((self.folder.path / "state.json").read_bytes(), type=State)
        old = self._signals()
        taken: list[tuple[str, Held]] = []
        try:
            self._now("queued", pid=os.getpid(), why="", ended=0.0, result=None)
            taken = self._claim()
            self._now("running", started=time.time(), slots=[name for name, _ in taken])
            self._attempts()
        except CrossplayError as error:
            self._now("cancelled" if self.stopping.is_set() else "failed", why=str(error))
        except KeyboardInterrupt:
            self._now("cancelled", why="interrupted twice: its worker was ended at once")
        except BaseException:
            self._now("failed", why="the engine of the job failed; see engine.log")
            raise
        finally:
            try:
                for _, slot in taken:
                    slot.release()
                for number, handler in old:
                    signal.signal(number, handler)
                (self.folder.path / "stop").unlink(missing_ok=True)
                if self.state.state not in LIVE:
                    self._now(self.state.state, pid=0, ended=time.time(), slots=[])
            finally:  # whatever cannot be written: a lock that nobody needs would make the job look alive
                lock.release()
        return self.state

    def _lock(self) -> Held:
        """The job's lock; whoever only looks at it holds it for a moment."""
        for _ in range(20):
            with contextlib.suppress(BlockingIOError):
                return Held(self.folder.path / "lock")
            time.sleep(0.05)
        return Held(self.folder.path / "lock")

    def _claim(self) -> list[tuple[str, Held]]:
        return claim(self.spec.gpus, gpus(), slots_folder(), lambda: not self._asked()) if self.spec.gpus else []

    def _attempts(self) -> None:
        """Start the worker until it is done, fails by itself, or has died too often."""
        while True:
            if self._asked():
                return self._now("cancelled", why="it was stopped before its worker was started")
            self.state.attempt += 1
            try:
                result = self._attempt()
            except _Died as death:
                self.state.deaths.append(str(death))
                if self.stopping.is_set():
                    return self._now("cancelled", why=str(death))
                if len(self.state.deaths) > self.spec.restarts:
                    return self._now("failed", why=f"its worker went away {len(self.state.deaths)} times; the last one {death}")  # fmt: skip
                self._now("running", why=f"started again: the worker {death}")
            except WireError as error:
                stopped = error.code == "CANCELLED" and self.stopping.is_set()
                return self._now("cancelled" if stopped else "failed", why="" if stopped else str(error))
            else:
                return self._now("done", result=result, why="")

    # -- one worker --------------------------------------------------------------------------------------
    def _attempt(self) -> Any:
        """What the worker answers in the end; raises `_Died`, or `WireError` where training failed."""
        ours, child, ring = self._spawn()
        environments = Environments(trust=True)
        channel: Channel | None = None
        watch = threading.Event()
        try:
            try:
                channel, hello = welcome(ours, timeout=self.start_s, ring=ring)
            except (Gone, TimeoutError) as error:
                child.wait(2.0)
                raise CrossplayError(f"worker {self.spec.name}: {error}; the process {child.reason()}") from None
            if "trainer" not in hello.roles:
                raise CrossplayError(
                    f"worker {self.spec.name}: {hello.name} does not train (roles: {', '.join(hello.roles)})"
                )
            self.state.worker = {
                "name": hello.name,
                "version": hello.version,
                "about": self._kept("what the worker says of itself", hello.about),
                "pid": child.pid,
            }
            self._open_book()
            channel.on_message = self._hearing(Served(environments, channel, self._told))
            message = Train(
                id=channel.number(), spec=self._wanted(), folder=str(self.folder.path.resolve()), resume=self.state.checkpoint
            )  # fmt: skip
            self._moved, self._progress = time.monotonic(), None
            self._now("running", heard=time.time())
            guard = threading.Thread(target=self._watch, args=(channel, child, message.id, watch), daemon=True)
            guard.start()
            answer = channel.ask(message, FOREVER)
            watch.set()
            with contextlib.suppress(Gone, TimeoutError, WireError):
                channel.ask(Bye(id=channel.number()), 2.0)
            return self._kept("the worker's result", answer.data)
        except Gone:
            child.wait(2.0)
            raise _Died(self._hung or child.reason()) from None
        finally:
            watch.set()
            if channel is not None:
                channel.close()
            else:
                ours.close()
            child.close()
            environments.close()
            self._close_book()

    def _spawn(self) -> tuple[socket.socket, Child, Any]:
        ours, theirs = socket.socketpair()
        memory = os.memfd_create("crossplay") if hasattr(os, "memfd_create") else -1
        ring = shared(memory) if memory >= 0 else None
        extra = {**self.spec.variables, "CROSSPLAY_FD": str(theirs.fileno())}
        extra["CUDA_VISIBLE_DEVICES"] = ",".join(self.state.slots)
        if ring is not None:
            extra["CROSSPLAY_SHM"] = str(memory)
        fds = [theirs.fileno(), *([memory] if ring is not None else [])]
        path = self.folder.path
        try:
            child = Child(
                self.spec.command, environment(extra), fds=fds, folder=Path(self.spec.folder),
                log=path / "stdout.log", errors=path / "stderr.log",
            )  # fmt: skip
        except CrossplayError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._hung = ""
        return ours, child, ring

    def _wanted(self) -> dict[str, Any]:
        names = ("env", "options", "seat", "fill", "steps", "seed", "config", "heartbeat_s")
        return {name: getattr(self.spec, name) for name in names}

    def _watch(self, channel: Channel, child: Child, number: int, over: threading.Event) -> None:
        """In a thread: pass on the wish to stop, end a worker that does nothing."""
        told = 0.0
        while not over.wait(0.1):
            now = time.time()
            if not told and self._asked():
                told = now
                self._now("stopping")
                with contextlib.suppress(Gone):
                    channel.tell(Cancel(id=number))
            if told and now - told > self.spec.stop_s:
                self._hung = f"did not stop in {self.spec.stop_s:g} s, so it was ended"
                child.kill()
            elif not self._serving and time.monotonic() - self._moved > self.spec.silence_s:
                self._hung = (
                    f"did nothing for {self.spec.silence_s:g} s (no step, metrics or checkpoint), so it was ended"
                )
                child.kill()

    def _asked(self) -> bool:
        if not self.stopping.is_set() and (self.folder.path / "stop").exists():
            self.stopping.set()
        return self.stopping.is_set()

    def _signals(self) -> list[tuple[int, Any]]:
        """Ctrl-C and SIGTERM stop the job; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            return []

        def stop(number: int, frame: Any) -> None:
            if self.stopping.is_set():
                raise KeyboardInterrupt
            self.stopping.set()

        return [(n, signal.signal(n, stop)) for n in (signal.SIGINT, signal.SIGTERM)]

    def _kept(self, what: str, data: Any) -> Any:
        """Data as state.json keeps it: arrays as lists. What cannot be kept is None, and a note says so."""
        try:
            text = msgspec.json.encode(data, enc_hook=_listed)
            if len(text) <= LARGEST:
                return msgspec.json.decode(text)
            why = f"{len(text)} bytes, at most {LARGEST}"
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            why = str(error)
        self._note(f"{what} cannot be kept: {why[:200]}")
        return None

    def _note(self, text: str) -> None:
        """For people who look at the job; the first 20."""
        if len(self.state.notes) < 20 and text not in self.state.notes:
            self.state.notes.append(text)

    # -- what it tells -----------------------------------------------------------------------------------
    def _hearing(self, served: Served) -> Callable[[Any], None]:
        def hear(message: Any) -> None:
            self.state.heard = time.time()
            self._serving = True
            try:
                served(message)
            finally:
                if self._goes_on(message):
                    self._moved = time.monotonic()
                self._serving = False

        return hear

    def _goes_on(self, message: Any) -> bool:
        """Whether a message shows that training goes on. Heartbeats come from a thread of their own: they count where
        the progress in them grew, or where they name none.
        """
        if not isinstance(message, Event) or message.kind not in ("heartbeat", "log"):
            return True
        if message.kind == "log":
            return False
        last, self._progress = self._progress, message.data.get("progress")
        return self._progress is None or self._progress != last

    def _open_book(self) -> None:
        self._book = Book(self.folder.path, self.state.attempt)
        self._base = self.state.events, self.state.lost_events
        if self._book.board:
            self._note(self._book.board)

    def _close_book(self) -> None:
        if self._book is not None:
            self._book.close()
            self._book = None

    def _told(self, event: Any) -> None:
        """An event of the worker."""
        if not isinstance(event, Event) or self._book is None:
            return
        data, state = self._book.add(event), self.state
        state.events, state.lost_events = self._base[0] + self._book.count, self._base[1] + self._book.lost
        if event.kind == "metrics":
            odd = [name for name in (str(n)[:80] for n in event.data) if name not in data]
            state.metrics = {k: v for k, v in {**state.metrics, **data}.items() if k not in odd}
            for name in odd[:5]:
                self._note(f"metrics: {name} is not always a finite number; see events.jsonl")
            state.step = max(state.step, _step(data))
        elif event.kind == "checkpoint":
            self._checkpoint(data)
        now = time.monotonic()
        if now - self._written > 1.0 or event.kind == "checkpoint":
            self._write()
            self._written = now
        if self.progress is not None and now - self._shown > 0.1:
            self._shown = now
            self.progress(state, self.spec.steps)

    def _checkpoint(self, data: dict[str, Any]) -> None:
        """Note a checkpoint, where it is a file of this folder."""
        path = str(data.get("path", ""))
        base = self.folder.path.resolve()
        if path and not (base / path).is_file() and (base / f"{path}.safetensors").is_file():
            path += ".safetensors"  # the kit's form: a name without suffix
        place = (base / path).resolve()
        if {Path(path).suffix.lower(), place.suffix.lower()} & {*PICKLED}:
            self._note(f"a checkpoint that can run code when it is opened, so it is not resumed from: {path[:200]!r}")
            return
        if not path or not place.is_relative_to(base) or not place.is_file():
            self._note(f"a checkpoint that is no file of the job's folder: {path[:200]!r}")
            return
        self.state.checkpoint, self.state.checkpoint_step = path, _step(data)

    def _now(self, state: str, **changes: Any) -> None:
        self.state.state = state
        for name, value in changes.items():
            setattr(self.state, name, value)
        self._write()

    def _write(self) -> None:
        with self._writing:
            self.folder.write(self.state)


def _listed(value: Any) -> Any:
    """An array or a number of numpy as JSON has it."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is no JSON")


def _step(data: dict[str, Any]) -> int:
    """The step that an event names, 0 where it names none: a trainer may say anything."""
    step = data.get("step", 0)
    good = isinstance(step, (int, float)) and not isinstance(step, bool) and 0 <= step < 1 << 62
    return int(step) if good else 0


def launch(folder: Folder) -> int:
    """Start the engine process of a job in a session of its own, where it outlives the terminal; its process id."""
    with (folder.path / "engine.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "crossplay.jobs", str(folder.path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    return process.pid
