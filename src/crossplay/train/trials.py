"""Fresh episodes of a policy in blocks that training never saw, and what ships with a policy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.kernel import Agent, Block, CrossplayError, columns, key, key64, make_batch, pick
from crossplay.train.config import teams_of
from crossplay.train.files import put, put_json

__all__ = ["evaluate", "ship", "versus", "view_digest"]


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


def versus(
    env: str,
    agent: Agent,
    other: Agent,
    games: int,
    *,
    root: int = 0,
    options: Mapping[str, Any] | None = None,
) -> dict[str, int]:
    """Wins, draws and losses of `agent` against `other` in a game of two teams.

    Half of the games on each side (the second half of the blocks on the other one); every game has
    a block of its own, so that games are independent trials.
    """
    batch = make_batch(env, 1, options)
    if batch is None:
        raise CrossplayError(f"versus: {env} has no array form")
    teams = teams_of(batch.seats)
    sides = list(dict.fromkeys(teams))
    if len(sides) != 2 or f"{sides[0]}_win" not in batch.metrics:
        raise CrossplayError(f"versus: {env} is not a game of two teams")
    told = {"wins": 0, "draws": 0, "losses": 0}
    for k, side in enumerate(sides):
        first, last = k * games // 2, (k + 1) * games // 2
        lineup = {s: agent if t == side else other for s, t in zip(batch.seats, teams, strict=True)}
        score = evaluate(env, lineup, last - first, root=root, first=first, options=options)[f"{sides[0]}_win"]
        won = score if k == 0 else 1.0 - score
        told["wins"] += int((won == 1.0).sum())
        told["draws"] += int((won == 0.5).sum())
        told["losses"] += int((won == 0.0).sum())
    return told


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
