"""The jobs of a folder: one folder each, with what was asked for, how it stands, and what it tells.

job.json          what was asked for
state.json        how it stands, replaced whole
events.jsonl      what the trainer told, as it came: metrics, checkpoints, heartbeats, logs
stdout.log, stderr.log, engine.log
lock              held by the engine process of the job; free while the state says "running": the job is lost
stop              laid there to stop it
checkpoints/, policy.safetensors, policy.json, tensorboard/
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import msgspec

from crossplay.jobs.locks import held
from crossplay.kernel import CrossplayError, nearest
from crossplay.train.files import put

__all__ = ["LIVE", "Folder", "Spec", "State", "create", "find", "jobs"]

LIVE = ("queued", "running", "stopping")
STARTING_S = 30.0  # in which the engine of a queued job has to show up


class Spec(msgspec.Struct, kw_only=True):
    """What was asked for.

    command: of the worker, as a list; `name`: what it is called. steps: decisions of the trained seats.
    config: settings of the trainer. gpus: slots. restarts: after deaths of the worker. silence_s: without a step,
    metrics or a checkpoint of it, after which it counts as hung. stop_s: that it has to write its last checkpoint when it is stopped.
    """

    id: str
    name: str
    command: list[str]
    env: str
    options: dict[str, Any] = {}
    seat: str = ""
    fill: Any = None
    steps: int = 100_000
    seed: int = 1
    config: dict[str, Any] = {}
    variables: dict[str, str] = {}
    gpus: int = 0
    restarts: int = 3
    silence_s: float = 300.0
    stop_s: float = 60.0
    heartbeat_s: float = 5.0
    folder: str = "."  # in which the command runs
    created: float = 0.0


class State(msgspec.Struct, kw_only=True):
    """How it stands. Times in seconds since 1970; attempt: starts of the worker; lost_events: gaps in its numbers.

    queued: when it was last given to an engine that is to come.
    """

    state: str = "queued"
    queued: float = 0.0
    pid: int = 0
    attempt: int = 0
    deaths: list[str] = []
    step: int = 0
    metrics: dict[str, float] = {}
    checkpoint: str = ""
    checkpoint_step: int = 0
    events: int = 0
    lost_events: int = 0
    slots: list[str] = []
    worker: dict[str, Any] = {}
    started: float = 0.0
    heard: float = 0.0
    ended: float = 0.0
    why: str = ""
    notes: list[str] = []
    result: Any = None


class Folder:
    """One job on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """Its name in the registry."""
        return self.path.name

    def spec(self) -> Spec:
        """What was asked for; raises `CrossplayError` where the folder holds no job."""
        return self._read("job.json", Spec)

    def state(self) -> State:
        """How it stands: "lost" where its engine is gone and the file says that it runs."""
        state = self._read("state.json", State)
        if state.state not in LIVE or held(self.path / "lock"):
            return state
        if not state.pid and time.time() - state.queued < STARTING_S:
            return state  # its engine is being started
        state = self._read("state.json", State)  # it may just have ended
        if state.state in LIVE:
            state.state, state.why = "lost", "its engine is gone"
        return state

    def _read(self, name: str, kind: Any) -> Any:
        try:
            return msgspec.json.decode((self.path / name).read_bytes(), type=kind)
        except FileNotFoundError:
            raise CrossplayError(f"{self.path} holds no job ({name} is missing)") from None
        except msgspec.DecodeError as error:
            raise CrossplayError(f"{self.path / name}: {error}") from None

    def write(self, data: Spec | State) -> None:
        """Replace job.json or state.json."""
        name = "job.json" if isinstance(data, Spec) else "state.json"
        put(self.path / name, msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n")

    def again(self) -> None:
        """Queue it once more, for an engine that is to come; wishes to stop it from before are forgotten."""
        (self.path / "stop").unlink(missing_ok=True)
        state = self._read("state.json", State)
        state.state, state.pid, state.deaths, state.queued = "queued", 0, [], time.time()
        self.write(state)

    def stop(self) -> None:
        """Ask its engine to stop it: the trainer writes a checkpoint and ends."""
        (self.path / "stop").touch()


def create(root: Path, spec: Spec) -> Folder:
    """A new job; its id is made unique."""
    base = re.sub(r"[^\w.-]+", "-", spec.id).strip("-.") or "job"
    root.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        spec.id = base if number == 1 else f"{base}.{number}"
        folder = Folder(root / spec.id)
        try:
            folder.path.mkdir()
            break
        except FileExistsError:
            number += 1
    spec.created = time.time()
    folder.write(State(queued=spec.created))
    folder.write(spec)
    return folder


def jobs(root: Path) -> list[Folder]:
    """All jobs of a folder, the oldest first."""
    found = [Folder(p.parent) for p in root.glob("*/job.json")]
    return sorted(found, key=lambda f: (f.spec().created, f.id))


def find(root: Path, name: str) -> Folder:
    """A job by its id; raises `CrossplayError` with the nearest one."""
    folder = Folder(root / name)
    if "/" in name or not (folder.path / "job.json").exists():
        raise CrossplayError(f'{root}: no job "{name}".{nearest(name, [f.id for f in jobs(root)])}')
    return folder
