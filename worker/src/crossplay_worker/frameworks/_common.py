"""What the workers of all frameworks share: playing a checkpoint, describing it, and the books of a training."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..envs import Tracks
from ..messages import Seat
from ..seeds import uniform
from ..train import Job
from ..weights import load, prune, save
from ..worker import Batch, Refused, Worker, run

__all__ = ["Books", "PolicyWorker", "choose", "flat", "serve", "settings", "trained_on", "versions"]

WIDTH = 64  # rows of every product when it plays: the bits of an answer do not depend on who else is asked

Forward = Callable[[np.ndarray], np.ndarray]


def serve(worker: Worker) -> None:
    """Serve the engine, then end at once: frameworks take seconds to be taken apart."""
    run(worker)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def flat(obs: Any) -> np.ndarray:
    """float32 [K, D] of views of any shape."""
    array = np.asarray(obs, np.float32)
    return np.ascontiguousarray(array.reshape(len(array), -1))


def choose(scores: np.ndarray, legal: Any, draws: np.ndarray | None) -> np.ndarray:
    """Actions int64 [K] from logits [K, n]: the likeliest legal one, or drawn with `draws` f8 [K] in [0, 1)."""
    scores = np.where(legal, scores, -np.inf) if legal is not None else scores
    if draws is None:
        return scores.argmax(1)
    odds = np.exp((scores - scores.max(1, keepdims=True)).astype(np.float64))
    odds = odds.cumsum(1)
    return (odds > draws[:, None] * odds[:, -1:]).argmax(1)


def settings(given: Mapping[str, Any], known: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings of a trainer with defaults; an unknown name is refused with those that are known."""
    for name in given:
        if name not in known:
            raise Refused("BAD_VALUE", "%s: unknown setting %r; known: %s" % (where, name, ", ".join(sorted(known))))
    out = dict(known)
    for name, value in given.items():
        if isinstance(known[name], float) and isinstance(value, int):
            value = float(value)
        if known[name] is not None and type(value) is not type(known[name]):
            raise Refused("BAD_VALUE", "%s: %s = %r must be %s" % (where, name, value, type(known[name]).__name__))
        out[name] = value
    return out


def versions(*names: str) -> dict[str, str]:
    """Interpreter and packages with their versions."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            pass
    return found


def trained_on(tracks: Tracks) -> dict[str, Any]:
    """What a policy was trained on, as its checkpoint says."""
    return {"env": tracks.rows.id, "seats": tracks.seats, "shape": list(tracks.shape), "spec": tracks.spec}


class PolicyWorker(Worker):
    """Plays a checkpoint in seats whose views and actions are those it was trained on.

    A subclass says `framework` and gives `forward(arrays, about)`: a function from float32 [64, D] to
    logits [64, n]. Options (`config`): checkpoint (file), sample (draw, or take the likeliest; default: draw).
    """

    framework = ""
    roles = ("agent", "trainer")
    views = ("array",)
    kinds = ("names",)
    state = "none"
    deterministic = True
    packages: Sequence[str] = ()

    def __init__(self) -> None:
        self.name = self.framework
        self._forward: Forward | None = None
        self._sample = True

    def about(self) -> dict[str, Any]:
        """Packages and their versions."""
        return {"packages": versions(*self.packages)}

    def forward(self, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Forward:
        """The network of a checkpoint, as a function."""
        raise NotImplementedError

    def bind(self, seats: list[Seat], config: dict[str, Any]) -> None:
        """Load the checkpoint, compare it with the seats."""
        given = settings(config, {"checkpoint": "", "sample": True}, self.name)
        if not given["checkpoint"]:
            raise Refused("BAD_VALUE", "%s: config = { checkpoint = ... } is missing" % self.name)
        arrays, about = load(given["checkpoint"], self.framework)
        for seat in seats:
            mine = (list(about["shape"]), about["spec"]["kind"], about["spec"].get("names"))
            if mine != (list(seat.shape), seat.spec["kind"], seat.spec.get("names")):
                raise Refused(
                    "BAD_SPACE",
                    "%s was trained on %s (array %s); seat %s of %s has array %s and actions %s"
                    % (given["checkpoint"], about["env"], about["shape"], seat.seat, seat.env, seat.shape, seat.spec.get("names")),
                )  # fmt: skip
        self._sample = given["sample"]
        self._forward = self.forward(arrays, about)

    def act_batch(self, batch: Batch) -> Any:
        """Actions of all rows."""
        if self._forward is None:
            raise Refused("BAD_STATE", "no seat is bound")
        views = flat(batch.views)
        scores = np.concatenate([self._padded(views[i : i + WIDTH]) for i in range(0, len(views), WIDTH)])
        draws = uniform(batch.keys, batch.ticks) if self._sample else None
        legal = None if batch.legal is None else _masks(batch.legal, scores.shape)
        return choose(scores, legal, draws)

    def _padded(self, views: np.ndarray) -> np.ndarray:
        rows = np.zeros((WIDTH, views.shape[1]), np.float32)
        rows[: len(views)] = views
        assert self._forward is not None
        return self._forward(rows)[: len(views)]


def _masks(legal: Any, shape: tuple[int, ...]) -> np.ndarray:
    mask = np.ones(shape, bool)
    for row, flags in enumerate(legal):
        if flags is not None:
            mask[row] = flags
    return mask


class Books:
    """The books of a training: episodes, metrics, checkpoints.

    every: decisions between checkpoints. base: what a checkpoint says of itself beside its step.
    """

    def __init__(self, job: Job, tracks: Tracks, framework: str, base: Mapping[str, Any], every: int) -> None:
        self.job, self.tracks, self.framework, self.every = job, tracks, framework, every
        self.base = {"framework": framework, **trained_on(tracks), **base, "seed": job.seed}
        self.recent: list[float] = []
        self.episodes = 0
        self.next = every

    def begin(self, step: int) -> None:
        """Where the training stands when it begins or goes on."""
        self.next = step + self.every

    def note(self, step: int, **values: float) -> None:
        """Metrics of an update, with the mean return of the last 200 episodes."""
        done = self.tracks.take_finished()
        self.episodes += len(done)
        self.recent = (self.recent + [one[1] for one in done])[-200:]
        if self.recent:
            values["return"] = float(np.mean(self.recent))
        self.job.metrics(step, episodes=self.episodes, **values)

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due."""
        return step >= self.next

    def write(self, step: int, arrays: Mapping[str, Any], **about: Any) -> Path:
        """A checkpoint of this step: told, and the oldest removed."""
        self.next = step + self.every
        folder = self.job.folder / "checkpoints"
        more = {"step": int(step), "block": self.tracks.block, "episodes": self.episodes}
        path = save(folder / str(step), arrays, {**self.base, **more, **about})
        prune(folder)
        self.job.checkpoint(path, step)
        return path

    def finish(self, step: int, arrays: Mapping[str, Any], **about: Any) -> dict[str, Any]:
        """The policy of the end, as `policy.safetensors`, and what the job answers."""
        path = save(self.job.folder / "policy", arrays, {**self.base, "step": int(step), **about})
        return {
            "policy": path.name,
            "step": int(step),
            "episodes": self.episodes,
            "return": float(np.mean(self.recent)) if self.recent else None,
        }
