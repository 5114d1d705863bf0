"""Episodes of the reference package: which ones are played, and our side's replay of them."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.envs.pitch import PitchBatch, Recorded
from crossplay.kernel.seeds import key

NAMES = {"max_steps": "horizon", "reward_shaping": "shaping"}  # the reference's options -> ours


def jobs(small: bool = False) -> list[dict[str, Any]]:
    """What the driver plays. small: few short episodes, for the committed file."""
    sizes = {
        "soccer": ["1v0", "0v1", "1v1", "2v2", "3v3", "2v1", "1v3", "3v0", "0v2"],
        "basketball": ["1v0", "1v1", "2v2", "3v3", "3v1", "2v3", "0v3"],
        "football": ["0v1", "1v1", "2v2", "3v3", "2v4", "4v1", "2v0"],
        "collect": ["1v1", "2v2", "solo"],
    }
    seeds = itertools.count(1)
    out = []
    for sport, names in sizes.items():
        for size in names:
            for k in range(1 if small else 4):
                options: dict[str, Any] = {}
                if sport in ("soccer", "basketball"):
                    options = (
                        {"max_steps": 40}
                        if small
                        else [
                            {},
                            {},
                            {"reward_shaping": False, "goals_to_win": 4},
                            {"steal_cooldown": 3, "max_steps": 90},
                        ][k]
                    )
                elif sport == "collect":
                    options = {"max_steps": 40} if small else {}
                elif k == 2:
                    options = {"reward_shaping": False}
                out.append({
                    "game": f"{sport}-{size}", "view": 3 if small else (3, 7, 3, 5)[k], "seed": next(seeds),
                    "chance": (0.15, 0.1, 0.15, 1.0)[k], "options": options,
                })  # fmt: skip
    if small:
        keep = {
            "soccer-1v0",
            "soccer-1v1",
            "soccer-2v1",
            "basketball-2v2",
            "football-0v1",
            "football-2v2",
            "collect-2v2",
            "collect-solo",
        }
        out = [job for job in out if job["game"] in keep]
    return out


def load(path: Path) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """(job, arrays) of every episode in a file of the driver."""
    with np.load(path) as file:
        played = json.loads(str(file["jobs"]))
        found: list[dict[str, np.ndarray]] = [{} for _ in played]
        for name in file.files:
            if name != "jobs":
                k, _, part = name.partition(".")
                found[int(k)][part] = file[name]
    return list(zip(played, found, strict=True))


def compare(job: dict[str, Any], theirs: dict[str, np.ndarray]) -> Counter[str]:
    """Replay one episode in reference mode and assert equality in every tick; what happened in it."""
    options = {NAMES.get(k, k): v for k, v in job["options"].items()}
    env = PitchBatch(job["game"], 1, reference=True, view_size=job["view"], **options)
    env.replay([Recorded(*(theirs[k] for k in ("agents", "balls", "orders", "passes", "spots")))])
    env.reset([0], [key("any")])
    ticks, seats = len(theirs["actions"]), range(len(env.seats))
    seen: Counter[str] = Counter(episodes=1, ticks=ticks, images=(ticks + 1) * len(env.seats))
    f = env.f
    for t in range(ticks + 1):
        where = f"{job}: after {t} ticks"
        carries = [int(f.carrier[0]) == j + 1 for j in seats]
        state = np.stack([f.x[0], f.y[0], f.face[0], carries, f.cool[0]], axis=1)
        assert (state == theirs["state"][t]).all(), f"{where}: {state.tolist()} is not {theirs['state'][t].tolist()}"
        loose = sorted(zip(f.bx[0].tolist(), f.by[0].tolist(), strict=True))
        assert loose == [tuple(p) for p in theirs["loose"][t].tolist()], f"{where}: balls"
        for i in seats:
            assert (env.images(i)[0] == theirs["images"][t, i]).all(), f"{where}: image of {env.seats[i]}"
            assert env.data(0, i)["facing"] == theirs["facings"][t, i], f"{where}: facing of {env.seats[i]}"
        if t == ticks:
            break
        assert env.ended(0) == 0, f"{where}: ended too early"
        rewards, ended = env.step(np.maximum(theirs["actions"][t], 0)[None].astype(np.int64))
        assert np.abs(rewards[0] - theirs["rewards"][t]).max() <= 1e-9, (
            f"{where}: rewards {rewards[0]}, {theirs['rewards'][t]}"
        )
        assert (theirs["terminated"][t] == (ended[0] == 1)).all(), f"{where}: terminated"
        assert (theirs["truncated"][t] == (f.t[0] >= env.horizon)).all(), f"{where}: truncated"
        assert env.game.collect or (f.event[0] == theirs["events"][t]).all(), f"{where}: events"
        seen["goals"] += int(f.event[0, 0] > 0)
        seen["passes"] += int(f.event[0, 1] > 0)
        seen["steals"] += int(f.event[0, 3] > 0)
        cells = list(zip(f.x[0].tolist(), f.y[0].tolist(), strict=True))
        seen["shared cells"] += int(len(set(cells)) < len(cells))
    assert env.ended(0) > 0, f"{job}: goes on"
    seen["terminal" if env.ended(0) == 1 else "horizon"] += 1
    seen["collected"] += int(f.goals[0].sum()) if env.game.collect else 0
    return seen
