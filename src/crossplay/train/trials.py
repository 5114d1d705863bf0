"""Fresh episodes of a policy in blocks that training never saw, and what ships with a policy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.kernel import Agent, Block, CrossplayError, columns, key, key64, make_batch, pick
from crossplay.train.files import put, put_json

__all__ = ["evaluate", "ship", "view_digest"]


def evaluate(
    env: str,
    lineup: Mapping[str, Agent],
    blocks: int,
    *,
    root: int = 0,
    first: int = 0,
    options: Mapping[str, Any] | None = None,
    width: int = 64,
) -> dict[str, np.ndarray]:
    """The scores of a lineup in `blocks` blocks of a root: metric -> float64[blocks], in block order.

    Training worlds have keys of their own, so every block is new to the policy.
    """
    batch = make_batch(env, min(width, blocks), options)
    if batch is None:
        raise CrossplayError(f"evaluate: {env} has no array form")
    ats = [Block(root, first + b) for b in range(blocks)]
    scores = {at: outcome.score for at, outcome in columns(batch, lineup, ats)}
    return {name: np.array([scores[at][name] for at in ats]) for name in scores[ats[0]]}


def view_digest(env: str, options: Mapping[str, Any] | None = None, ticks: int = 64) -> str:
    """sha256 (first 16 hex digits) of the array views of all seats along a fixed random play of 4 rows.

    A policy keeps the digest of the views that it was trained on; another digest means that the
    environment now shows something else under the same shape.
    """
    batch = make_batch(env, 4, options)
    if batch is None:
        raise CrossplayError(f"{env} has no array form")
    batch.reset(range(4), [key("views", i) for i in range(4)])
    streams = np.array([[key64(key("views", i, s)) for s in batch.seats] for i in range(4)], np.uint64)
    digest = hashlib.sha256()
    for tick in range(ticks):
        for i in range(len(batch.seats)):
            digest.update(batch.obs_array(i).tobytes())
        batch.step(pick(streams, len(batch.action_spec.names), tick))
    return digest.hexdigest()[:16]


def ship(run: Path, to: Path, trial: Mapping[str, Any]) -> None:
    """Copy the policy of a run, with its curve, to `to`.safetensors, .json and .csv.

    trial: how it did in fresh blocks, kept in the description.
    """
    put(to.with_name(to.name + ".safetensors"), (run / "policy.safetensors").read_bytes())
    put(to.with_name(to.name + ".csv"), (run / "curve.csv").read_bytes())
    about = json.loads((run / "policy.json").read_text())
    put_json(to.with_name(to.name + ".json"), {**about, "trial": dict(trial)})
